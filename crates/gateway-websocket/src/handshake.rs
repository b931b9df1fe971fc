//! The handshake: what makes a request one for a WebSocket, and the answer that agrees to it.
//!
//! RFC 6455, section 4.2. The server has removed an Upgrade field that the Connection field does not
//! name, so where there is one, both are there.

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use gateway_core::{Body, Error, Request, Response};
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Method, StatusCode, Version};

/// The key of a request for a WebSocket, or nothing where it asks for another version than 13.
///
/// # Errors
///
/// The client's fault, when it is no such request.
pub(crate) fn check(request: &Request) -> Result<Option<&[u8]>, Error> {
    let headers = request.headers();
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).into_iter();
        values.next().filter(|_| values.next().is_none())
    };
    let names = |name, option| list(headers, name).any(|found| found.eq_ignore_ascii_case(option));
    if request.version() > Version::HTTP_11 {
        return refuse(
            "a WebSocket is opened with HTTP/1.1 here, not over HTTP/2: connect once more, without \
             HTTP/2",
        );
    }
    if request.version() < Version::HTTP_11 {
        return refuse("a WebSocket is opened with HTTP/1.1, not with an older version");
    }
    if request.method() != Method::GET {
        return refuse("a WebSocket is opened with GET, not with another method");
    }
    if !names(UPGRADE, "websocket") || !names(CONNECTION, "upgrade") {
        return refuse(
            "there is a WebSocket here: open it with `Upgrade: websocket` and `Connection: \
             Upgrade`, as a browser does for the address with ws:// or wss://",
        );
    }
    match one(SEC_WEBSOCKET_VERSION) {
        None => return refuse("`Sec-WebSocket-Version: 13` is missing, or there are several"),
        Some(version) if version != "13" => return Ok(None),
        Some(_) => {}
    }
    match one(SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key.as_bytes()) => Ok(Some(key.as_bytes())),
        _ => refuse("Sec-WebSocket-Key is exactly one field, with 16 random bytes in base64"),
    }
}

/// The answer to a request for another version: which one there is.
pub(crate) fn other_version() -> Response {
    let mut response = Response::new(Body::from(
        "426 Upgrade Required: the version of WebSocket spoken here is 13\n",
    ));
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The first subprotocol that the client has asked for. Their names are case-sensitive.
pub(crate) fn choose(spoken: &'static [&'static str], headers: &HeaderMap) -> Option<&'static str> {
    let asks_for = |name: &&str| list(headers, SEC_WEBSOCKET_PROTOCOL).any(|asked| asked == *name);
    spoken.iter().copied().find(asks_for)
}

/// The answer that agrees to a WebSocket.
///
/// # Errors
///
/// The application's fault, when its subprotocol can't stand in a header field.
pub(crate) fn agree(key: &[u8], protocol: Option<&str>) -> Result<Response, Error> {
    let mut response = http::Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key));
    if let Some(protocol) = protocol {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response.body(Body::empty())?)
}

/// Refuses a request that a page of another site has made: its Origin field names another host than
/// its Host field. A request without an Origin comes from no page, and passes.
///
/// Behind a proxy it works only where that leaves the Host field as it was. The scheme is not looked
/// at: that is up to who takes the connections.
///
/// ```
/// use gateway_core::{Error, Request, Response};
///
/// async fn account(request: Request) -> Result<Response, Error> {
///     gateway_websocket::same_origin(&request)?;
///     gateway_websocket::accept(request, async |mut socket| socket.send("your balance: 0").await)
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(account);
/// ```
///
/// # Errors
///
/// The client's fault, 403.
pub fn same_origin(request: &Request) -> Result<(), Error> {
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let (origin, host) = (text(origin), request.headers().get(HOST).map(text));
    match origin.split_once("://") {
        Some((_, authority)) if Some(authority) == host.as_deref() => Ok(()),
        _ => {
            let message = format!(
                "a page of {origin:?} may not open this WebSocket: only pages of this host may, and \
                 programs, which send no Origin"
            );
            Err(Error::client(StatusCode::FORBIDDEN, message))
        }
    }
}

fn refuse<T>(message: &'static str) -> Result<T, Error> {
    Err(Error::client(StatusCode::BAD_REQUEST, message))
}

/// The elements of a list, of all fields with this name.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether this is the base64 of 16 bytes: 21 whole digits, one with two bits, and the padding.
fn is_key(key: &[u8]) -> bool {
    let [digits @ .., last, b'=', b'='] = key else { return false };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 21 && digits.iter().all(is_digit) && matches!(last, b'A' | b'Q' | b'g' | b'w')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&'static str]) -> Request {
        let mut request = Request::new(Body::empty());
        for value in values {
            request.headers_mut().append(&name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "the one of the RFC");
        for key in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j!Q==",
            "dGhlIHNhbXBsZSBub25jZXMh",
            "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn the_answer_is_the_one_of_the_rfc() {
        let response = agree(b"dGhlIHNhbXBsZSBub25jZQ==", None).unwrap();
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_subprotocol_is_the_apps_first_choice() {
        let asked = with(SEC_WEBSOCKET_PROTOCOL, &["a, b", "c"]);
        assert_eq!(choose(&["x", "c", "a"], asked.headers()), Some("c"));
        assert_eq!(choose(&["A"], asked.headers()), None, "case matters");
        assert_eq!(choose(&[], asked.headers()), None);
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let from = |origin: &[&'static str], host| {
            let mut request = with(ORIGIN, origin);
            request.headers_mut().insert(HOST, HeaderValue::from_static(host));
            same_origin(&request).map_err(|error| error.status().as_u16())
        };
        assert_eq!(from(&["http://Here:80"], "here:80"), Ok(()));
        assert_eq!(from(&["https://here"], "Here"), Ok(()));
        assert_eq!(from(&[], "here"), Ok(()), "no page at all");
        for origin in ["http://there", "http://here:81", "http://here.there", "null", "here", ""] {
            assert_eq!(from(&[origin], "here"), Err(403), "{origin}");
        }
    }
}
