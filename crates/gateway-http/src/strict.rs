//! What hyper lets through and the gateway does not: checked here, before the app sees a request,
//! and before the client sees a response.

use std::sync::OnceLock;

use gateway_core::{Body, Error, Fault, Request, Response};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{Method, StatusCode, Version};
use http_body::Body as _;

use crate::announced;
use crate::bounds::Limits;
use crate::upgrade::Claim;

/// The largest body, in bytes, of a request that asks for an upgrade.
pub const UPGRADE_BODY: usize = 1024 * 1024;

/// What a request asks of its connection, beyond an answer, and whether the app has taken it.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Nothing,
    /// For the head alone.
    Head,
    /// To speak another protocol from here on.
    Upgrade(Claim),
    /// To be a tunnel from here on.
    Connect(Claim),
}

/// Admits a request, or says what is wrong with it. After a refusal the connection is to be closed.
///
/// # Errors
///
/// The client's fault: 400; 414 and 431 for a head that is too large; 417 and 501 for what it asks
/// and nobody here does.
pub(crate) fn admit(
    request: &mut Request,
    hosts: &KnownHost,
    limits: &Limits,
) -> Result<Asked, Error> {
    let mut upgrades = false;
    check_size(request, limits)?;
    if request.version() <= Version::HTTP_11 {
        check_target(request)?;
        upgrades = check_fields(request, hosts)?;
    }
    let asked: fn(Claim) -> Asked = if request.method() == Method::CONNECT {
        Asked::Connect
    } else if upgrades && asks_for_upgrade(request) {
        Asked::Upgrade
    } else if request.method() == Method::HEAD {
        return Ok(Asked::Head);
    } else {
        return Ok(Asked::Nothing);
    };
    let claim = Claim::default();
    request.extensions_mut().insert(claim.clone());
    Ok(asked(claim))
}

/// Checks what hyper has no limit for: the target's length, and how many fields there are on HTTP/2.
fn check_size(request: &Request, limits: &Limits) -> Result<(), Error> {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if authority + path > limits.target_bytes {
        let message = format!("the target is longer than {} bytes", limits.target_bytes);
        return Err(Error::client(StatusCode::URI_TOO_LONG, message));
    }
    if request.headers().len() > limits.head_fields {
        let message = format!("the head has more than {} fields", limits.head_fields);
        return Err(Error::client(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
    }
    Ok(())
}

/// Checks the fields, and says whether there is one for an upgrade.
fn check_fields(request: &mut Request, known: &KnownHost) -> Result<bool, Error> {
    let (mut host, mut hosts, mut codings, mut upgrades) = (None, 0, 0, false);
    for (name, value) in request.headers() {
        if name == HOST {
            hosts += 1;
            host = Some(value);
        } else if name == TRANSFER_ENCODING {
            codings += 1;
            check_coding(value)?;
        } else if name == EXPECT {
            check_expectation(value)?;
        } else if name == UPGRADE {
            upgrades = true;
        }
    }
    if codings > 1 {
        return Err(malformed("the body is chunked more than once"));
    }
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(malformed("a request has exactly one Host field"));
    }
    if host.is_some_and(|host| !known.admits(host.as_bytes())) {
        return Err(malformed("the Host field is not a host and a port"));
    }
    obey_authority(request)?;
    Ok(upgrades)
}

/// Reads the body of a request for an upgrade: it comes before the new protocol, whether or not the
/// app reads it. RFC 9110, section 7.8.
///
/// # Errors
///
/// The body's own; and 413, when it is larger than [`UPGRADE_BODY`].
pub(crate) async fn read_body(request: Request) -> Result<Request, Error> {
    let (head, body) = request.into_parts();
    let body = body.collect(UPGRADE_BODY).await?;
    Ok(Request::from_parts(head, body.into()))
}

/// Lets a response go, without the fields that are the connection's business, and with a body that
/// keeps to the length that its head announces. True when it hands the connection over.
///
/// # Errors
///
/// When it hands the connection over, and nobody has taken it: the application's fault, or the
/// client's, which has asked for a tunnel where there is none. And the application's fault, when the
/// body is known to have another length.
#[inline]
pub(crate) fn release(
    asked: &Asked,
    version: Version,
    response: &mut Response,
) -> Result<bool, Error> {
    if !matches!(asked, Asked::Nothing) || is_special(response.status()) {
        return release_special(asked, version, response);
    }
    if let Some(length) = tidy(version, response) {
        announce(response, length)?;
    }
    Ok(false)
}

/// Whether a response with this status has another body than most, or another connection.
#[inline]
fn is_special(status: StatusCode) -> bool {
    matches!(status.as_u16(), 100..=199 | 204 | 205 | 304)
}

#[cold]
fn release_special(
    asked: &Asked,
    version: Version,
    response: &mut Response,
) -> Result<bool, Error> {
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    match asked {
        Asked::Upgrade(claim) if switches && claim.is_made() => {
            claim.grant();
            return Ok(true);
        }
        _ if switches => {
            let message = "the application has switched protocols without a call of `upgrade`";
            return Err(Error::new(Fault::Application, StatusCode::INTERNAL_SERVER_ERROR, message));
        }
        Asked::Connect(claim) if status.is_success() && !claim.is_made() => {
            let message = "there is no tunnel here";
            return Err(Error::client(StatusCode::NOT_IMPLEMENTED, message));
        }
        Asked::Connect(claim) if status.is_success() => claim.grant(),
        _ => {}
    }
    let tunnels = matches!(asked, Asked::Connect(_)) && status.is_success();
    let announced = tidy(version, response);
    let bodied = !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let empty = || response.body().size_hint().exact() == Some(0);
    if matches!(asked, Asked::Head) && announced.is_none() && bodied && empty() {
        // As in the answer to GET, where hyper sees to it.
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if status == StatusCode::RESET_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::empty();
        return Ok(false);
    }
    match announced {
        // What has no body may announce the length of another response's.
        Some(length) if !matches!(asked, Asked::Head) && status != StatusCode::NOT_MODIFIED => {
            announce(response, length)?;
        }
        _ => {}
    }
    Ok(tunnels)
}

/// Takes the fields off that are the connection's business, and gives back the length that the head
/// announces.
#[inline]
fn tidy(version: Version, response: &mut Response) -> Option<u64> {
    let (mut announced, mut connections) = (None, false);
    for (name, value) in response.headers() {
        if name == CONTENT_LENGTH {
            announced = Some(value);
        } else {
            connections |= is_hop_by_hop(name);
        }
    }
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if connections {
        strip(response.headers_mut());
    }
    if version < Version::HTTP_11 && response.body().size_hint().exact().is_none() {
        // It ends with its connection, which hyper would promise to keep, in a newer version.
        *response.version_mut() = Version::HTTP_10;
    }
    announced
}

/// Holds a response's body to the length that its head announces.
fn announce(response: &mut Response, length: u64) -> Result<(), Error> {
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = announced::check(body, length)?;
    Ok(())
}

fn malformed(message: &'static str) -> Error {
    Error::client(StatusCode::BAD_REQUEST, message)
}

/// RFC 9112, section 3.2: which form of the target goes with which method.
fn check_target(request: &Request) -> Result<(), Error> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", |target| target.as_str());
    let fits = match *request.method() {
        Method::CONNECT => {
            let whole = |authority: &Authority| {
                !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0)
            };
            uri.scheme().is_none() && uri.authority().is_some_and(whole) && path.is_empty()
        }
        Method::OPTIONS if path == "*" => true,
        _ if uri.authority().is_some() => uri.scheme_str().is_some_and(|name| !name.is_empty()),
        _ => path.starts_with('/'),
    };
    if !fits || !path.is_ascii() {
        return Err(malformed("the request's target does not go with its method"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(malformed("the request's target names a user"));
    }
    Ok(())
}

/// RFC 9110, section 10.1.1.
#[cold]
fn check_expectation(value: &HeaderValue) -> Result<(), Error> {
    if value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Ok(());
    }
    let message = "the only expectation that can be met here is 100-continue";
    Err(Error::client(StatusCode::EXPECTATION_FAILED, message))
}

/// RFC 9112, sections 6.1 and 7.1: chunked, once, and nothing else that this server knows.
#[cold]
fn check_coding(value: &HeaderValue) -> Result<(), Error> {
    let mut codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut chunked = 0;
    if codings.any(|coding| {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        chunked += u32::from(is_chunked);
        !is_chunked && !coding.is_empty()
    }) {
        let message = "the only transfer coding known here is chunked";
        return Err(Error::client(StatusCode::NOT_IMPLEMENTED, message));
    }
    if chunked == 1 { Ok(()) } else { Err(malformed("the body is chunked exactly once")) }
}

/// The characters of a registered name: RFC 3986, section 3.2.2, without the comma, at which lists
/// are split.
const NAMED: [bool; 256] = {
    let mut named = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        named[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~')
            || matches!(byte as u8, b'!' | b'$' | b'&'..=b'+' | b';' | b'=');
        byte += 1;
    }
    named
};

/// The first host that a connection has asked for: it mostly asks for the same again.
#[derive(Default)]
pub(crate) struct KnownHost(OnceLock<Box<[u8]>>);

impl KnownHost {
    #[inline]
    fn admits(&self, value: &[u8]) -> bool {
        match self.0.get() {
            Some(known) if **known == *value => true,
            _ => self.learn(value),
        }
    }

    #[cold]
    fn learn(&self, value: &[u8]) -> bool {
        let valid = is_host(value);
        if valid {
            // A copy, which keeps no buffer alive.
            self.0.get_or_init(|| value.into());
        }
        valid
    }
}

/// Whether this is a host and perhaps a port; or nothing.
fn is_host(value: &[u8]) -> bool {
    let end = match value {
        [b'[', literal @ ..] => {
            let literal = literal
                .iter()
                .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            let end = 1 + literal.count();
            if end == 1 || value.get(end) != Some(&b']') {
                return false;
            }
            end + 1
        }
        _ => name_end(value),
    };
    match &value[end..] {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Where the name ends that this begins with.
fn name_end(value: &[u8]) -> usize {
    let end = value.iter().position(|byte| !NAMED[usize::from(*byte)]).unwrap_or(value.len());
    match &value[end..] {
        [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            end + 3 + name_end(rest)
        }
        _ => end,
    }
}

/// RFC 9112, section 3.2.2: the authority in the target is the host, whatever the field says.
fn obey_authority(request: &mut Request) -> Result<(), Error> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let host = HeaderValue::from_str(authority.as_str())?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// RFC 9110, section 7.8: an upgrade is asked for by HTTP/1.1, and in the Connection field as well.
/// Whoever asks otherwise is not heard.
fn asks_for_upgrade(request: &mut Request) -> bool {
    let asks = request.version() == Version::HTTP_11
        && options(request.headers()).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    if !asks {
        request.headers_mut().remove(UPGRADE);
    }
    asks
}

/// The options of the Connection fields.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The fields that are a connection's business.
const HOP_BY_HOP: [HeaderName; 5] =
    [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION];

#[inline]
fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.iter().any(|other| name == other)
}

/// Takes off what an app may not set, and what its Connection field names. `close` stays.
#[cold]
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        options(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    let closes = named.iter().any(|name| name == "close");
    for name in named.iter().filter(|name| *name != "close") {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn status(method: &str, target: &str, fields: &[(&str, &str)]) -> u16 {
        match admit(&mut request(method, target, fields), &KnownHost::default(), &Limits::default())
        {
            Ok(_) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        assert_eq!(status("GET", "/", &[("host", "a")]), 200);
        assert_eq!(status("GET", "/", &[]), 400);
        assert_eq!(status("GET", "/", &[("host", "a"), ("host", "a")]), 400);
        let mut old = request("GET", "/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(admit(&mut old, &KnownHost::default(), &Limits::default()).is_ok());
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in
            ["", "a", "a.b:80", "127.0.0.1:8000", "[::1]", "[::1]:80", "a:", "a%20b:1", "x_y-z~1"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a%zz", "a%", "a/b", "a@b", "a:b", "a:80:80", "[::1", "[]", "[::1]x", "a,b",
            "a#", "é",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_target_goes_with_its_method() {
        let host = [("host", "a")];
        for (method, target) in [
            ("OPTIONS", "*"),
            ("CONNECT", "a:80"),
            ("GET", "http://b/c"),
            ("GET", "http://b"),
            ("GET", "/c?d"),
        ] {
            assert_eq!(status(method, target, &host), 200, "{method} {target}");
        }
        for (method, target) in [
            ("GET", "*"),
            ("GET", "a:80"),
            ("CONNECT", "/"),
            ("CONNECT", "a"),
            ("GET", "http://u@b/"),
            ("GET", "/é"),
        ] {
            assert_eq!(status(method, target, &host), 400, "{method} {target}");
        }
    }

    #[test]
    fn the_authority_in_the_target_is_the_host() {
        let mut request = request("GET", "http://b:1/c", &[("host", "a")]);
        admit(&mut request, &KnownHost::default(), &Limits::default()).unwrap();
        assert_eq!(request.headers()[HOST], "b:1");
    }

    #[test]
    fn a_body_is_chunked_exactly_once() {
        let coded = |codings: &[&str]| {
            let mut fields = vec![("host", "a")];
            fields.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            status("POST", "/", &fields)
        };
        assert_eq!((coded(&["chunked"]), coded(&["Chunked ,"])), (200, 200));
        assert_eq!((coded(&["chunked, chunked"]), coded(&["chunked", "chunked"])), (400, 400));
        assert_eq!(
            (coded(&["gzip, chunked"]), coded(&["identity"]), coded(&[","])),
            (501, 501, 400)
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_twice_or_not_at_all() {
        let upgrade = ("upgrade", "echo");
        let mut both = request("GET", "/", &[("host", "a"), upgrade, ("connection", "x, Upgrade")]);
        assert!(matches!(
            admit(&mut both, &KnownHost::default(), &Limits::default()).unwrap(),
            Asked::Upgrade(_)
        ));
        let mut one = request("GET", "/", &[("host", "a"), upgrade]);
        assert!(matches!(
            admit(&mut one, &KnownHost::default(), &Limits::default()).unwrap(),
            Asked::Nothing
        ));
        assert!(!one.headers().contains_key(UPGRADE));
    }

    #[test]
    fn a_connection_is_handed_over_only_to_who_has_taken_it() {
        let answer = |asked: &Asked, status: u16| {
            let head = http::Response::builder().status(status);
            let mut response = head.body(Body::empty()).unwrap();
            release(asked, Version::HTTP_11, &mut response).map_err(|error| error.status().as_u16())
        };
        let upgrade = [("host", "a"), ("upgrade", "echo"), ("connection", "upgrade")];
        let mut upgrade = request("GET", "/", &upgrade);
        let mut connect = request("CONNECT", "a:80", &[("host", "a")]);
        let (upgraded, connected) = (
            admit(&mut upgrade, &KnownHost::default(), &Limits::default()).unwrap(),
            admit(&mut connect, &KnownHost::default(), &Limits::default()).unwrap(),
        );
        assert_eq!((answer(&Asked::Nothing, 101), answer(&upgraded, 101)), (Err(500), Err(500)));
        assert_eq!((answer(&connected, 200), answer(&connected, 404)), (Err(501), Ok(false)));
        drop(crate::upgrade(&mut upgrade));
        assert_eq!(answer(&upgraded, 101), Ok(true));
    }

    #[test]
    fn a_response_keeps_what_is_its_own() {
        let fields = [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=9"),
            ("transfer-encoding", "gzip"),
            ("upgrade", "nothing"),
            ("x-own", "1"),
        ];
        let mut response = http::Response::builder();
        for (name, value) in fields {
            response = response.header(name, value);
        }
        let mut response = response.body(Body::empty()).unwrap();
        release(&Asked::Nothing, Version::HTTP_11, &mut response).unwrap();
        let mut left: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["connection", "x-own"]);
        assert_eq!(response.headers()[CONNECTION], "close");
    }
}
