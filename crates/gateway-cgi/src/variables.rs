//! `Variables`: what a server says of a request, and the request made of it.
//!
//! | variable (RFC 3875, section 4.1) | becomes |
//! |---|---|
//! | `REQUEST_METHOD`, `SERVER_PROTOCOL` | method, version |
//! | `HTTPS`, `REQUEST_SCHEME`; `HTTP_HOST`, else `SERVER_NAME` and `SERVER_PORT` | the URI's scheme and authority |
//! | `PATH_INFO`; else nginx's `DOCUMENT_URI`, else `REQUEST_URI`, behind `SCRIPT_NAME` | the URI's path: what is behind the place where the program is mounted |
//! | `QUERY_STRING` | the URI's query |
//! | `CONTENT_TYPE`, `CONTENT_LENGTH`, `HTTP_*` | fields |
//! | `REMOTE_ADDR`, `REMOTE_PORT` | the address of [`peer`](gateway_core::peer) |
//!
//! The first two are decoded and normalised: it is by them that a server decides who may ask for what.
//! They are taken as the client has encoded them where `REQUEST_URI` says the same.
//!
//! `HTTP_PROXY` is left out: a client's field `Proxy` is not to be taken for a setting.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Take};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gateway_blocking::request_uri;
use gateway_core::{Client, Peer};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// What is encoded in a path: all but the characters of RFC 3986, section 3.3.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The meta-variables of a request, among its extensions: for `SCRIPT_NAME`, `REMOTE_USER` and
/// whatever else a server says. Clones share them.
///
/// ```
/// use gateway_cgi::Variables;
/// use gateway_core::{Body, Request, Response};
///
/// async fn greet(request: Request) -> Response {
///     let variables = request.extensions().get::<Variables>();
///     let user = variables.and_then(|variables| variables.get("REMOTE_USER"));
///     Response::new(Body::from(format!("hello, {}", user.unwrap_or("stranger"))))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(greet);
/// ```
#[derive(Clone)]
pub struct Variables(Arc<HashMap<Vec<u8>, Vec<u8>>>);

impl Variables {
    pub(crate) fn new(variables: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Variables {
        Variables(Arc::new(variables.into_iter().collect()))
    }

    /// A variable. None where the server has set none, or one that is not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// A variable that says something.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The request that they describe. Without a length it has no body, whatever the reader says:
    /// RFC 3875, section 4.2. A body that is still chunked goes to the reader's end.
    ///
    /// # Errors
    ///
    /// The name of the variable that is none of a request's, or is missing.
    pub(crate) fn request<R: Read>(&self, body: R) -> Result<http::Request<Take<R>>, &'static str> {
        let framing = ["CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"];
        let has_body = framing.iter().any(|name| self.filled(name).is_some());
        let mut request = http::Request::new(body.take(if has_body { u64::MAX } else { 0 }));
        let method = self.bytes("REQUEST_METHOD").map(Method::from_bytes);
        *request.method_mut() = method.and_then(Result::ok).ok_or("REQUEST_METHOD")?;
        *request.version_mut() = match self.get("SERVER_PROTOCOL") {
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2" | "HTTP/2.0") => Version::HTTP_2,
            Some("HTTP/3" | "HTTP/3.0") => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        *request.uri_mut() = self.uri().ok_or("REQUEST_URI, PATH_INFO or QUERY_STRING")?;
        *request.headers_mut() = self.fields()?;
        request.extensions_mut().insert(self.client());
        request.extensions_mut().insert(self.clone());
        Ok(request)
    }

    fn uri(&self) -> Option<Uri> {
        let mut target = self.path().into_owned();
        let asked = || self.get("REQUEST_URI")?.split_once('?').map(|(_, query)| query);
        let query = self.get("QUERY_STRING").or_else(asked).filter(|query| !query.is_empty());
        if let Some(query) = query {
            target = target + "?" + query;
        }
        request_uri(self.is_secure(), &self.authority(), &target)
    }

    /// The path behind the place where the program is mounted.
    fn path(&self) -> Cow<'_, str> {
        let asked = self.get("REQUEST_URI").map(|uri| uri.split('?').next().unwrap_or_default());
        let mount = self.get("SCRIPT_NAME").unwrap_or_default().trim_end_matches('/');
        let within = asked
            .and_then(|path| path.strip_prefix(mount))
            .filter(|path| path.is_empty() || path.starts_with('/') || *path == "*");
        let behind = || self.bytes("DOCUMENT_URI")?.strip_prefix(mount.as_bytes());
        let path = match (self.bytes("PATH_INFO").or_else(behind), within) {
            (Some(path), Some(within))
                if percent_decode(within.as_bytes()).eq(path.iter().copied()) =>
            {
                Cow::Borrowed(within)
            }
            (Some(path), _) => Cow::Owned(percent_encode(path, &PATH).to_string()),
            (None, within) => Cow::Borrowed(within.or(asked).unwrap_or_default()),
        };
        if path.is_empty() { Cow::Borrowed("/") } else { path }
    }

    fn is_secure(&self) -> bool {
        self.filled("HTTPS").is_some_and(|value| !value.eq_ignore_ascii_case("off"))
            || self.get("REQUEST_SCHEME") == Some("https")
    }

    fn authority(&self) -> Cow<'_, str> {
        let server = self.get("SERVER_NAME").unwrap_or_default();
        match (self.filled("HTTP_HOST"), self.filled("SERVER_PORT")) {
            (Some(host), _) => Cow::Borrowed(host),
            (None, Some(port)) => Cow::Owned(format!("{server}:{port}")),
            (None, None) => Cow::Borrowed(server),
        }
    }

    fn fields(&self) -> Result<HeaderMap, &'static str> {
        let mut fields = HeaderMap::new();
        for (variable, value) in &*self.0 {
            let Some(name) = variable.strip_prefix(b"HTTP_") else { continue };
            let name: Vec<u8> = name.iter().map(|b| if *b == b'_' { b'-' } else { *b }).collect();
            let name = HeaderName::from_bytes(&name).map_err(|_| "an HTTP_ variable")?;
            let value = HeaderValue::from_bytes(value).map_err(|_| "an HTTP_ variable")?;
            fields.insert(name, value);
        }
        fields.remove("proxy");
        for (name, variable) in [(CONTENT_TYPE, "CONTENT_TYPE"), (CONTENT_LENGTH, "CONTENT_LENGTH")]
        {
            fields.remove(&name);
            if let Some(value) = self.bytes(variable).filter(|value| !value.is_empty()) {
                let value = HeaderValue::from_bytes(value).map_err(|_| variable)?;
                fields.insert(name, value);
            }
        }
        if fields.contains_key(CONTENT_LENGTH) {
            // The server has taken the coding off, and has counted.
            fields.remove("transfer-encoding");
        }
        Ok(fields)
    }

    /// Who has sent it, as the server tells.
    fn client(&self) -> Client {
        let client = Client::default();
        let address: Option<IpAddr> = self.get("REMOTE_ADDR").and_then(|text| text.parse().ok());
        let port = self.get("REMOTE_PORT").and_then(|text| text.parse().ok()).unwrap_or(0);
        let address = address.map(|address| SocketAddr::new(address, port));
        client.introduce(Peer::new(None, address, None));
        client
    }
}

impl fmt::Debug for Variables {
    /// Their number alone: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variables({})", self.0.len())
    }
}

/// What is said of a variable that is none of a request's.
pub(crate) fn complaint(variable: &str) -> String {
    format!("the web server describes no request: {variable} is missing or malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Empty = Take<std::io::Empty>;

    fn request(variables: &[(&str, &str)]) -> Result<http::Request<Empty>, &'static str> {
        let get = [("REQUEST_METHOD", "GET")];
        let all = get.iter().chain(variables);
        Variables::new(all.map(|(name, value)| ((*name).into(), (*value).into())))
            .request(std::io::empty())
    }

    fn uri(variables: &[(&str, &str)]) -> String {
        request(variables).expect("a request").uri().to_string()
    }

    #[test]
    fn the_path_is_what_is_behind_the_mount_as_the_client_has_encoded_it() {
        let mounted = |asked, info| {
            uri(&[("SCRIPT_NAME", "/app"), ("REQUEST_URI", asked), ("PATH_INFO", info)])
        };
        assert_eq!(mounted("/app/a%2Fb?x", "/a/b"), "/a%2Fb?x");
        assert_eq!(mounted("/app", ""), "/");
        // The server has rewritten the target, or has another idea of it.
        assert_eq!(mounted("/other", "/a b/ü%"), "/a%20b/%C3%BC%25");
        assert_eq!(mounted("/app//a/../b", "/b"), "/b");
        assert_eq!(mounted("/application", "/x"), "/x");
    }

    #[test]
    fn a_server_may_say_only_one_of_target_and_path() {
        assert_eq!(uri(&[("REQUEST_URI", "/a%20b?c=d")]), "/a%20b?c=d");
        assert_eq!(uri(&[("PATH_INFO", "/a b"), ("QUERY_STRING", "c=d")]), "/a%20b?c=d");
        assert_eq!(uri(&[("SCRIPT_NAME", "/app")]), "/");
        let normalised = [("SCRIPT_NAME", "/app"), ("REQUEST_URI", "/app/../app/b%2Fc")];
        assert_eq!(uri(&normalised), "/../app/b%2Fc");
        assert_eq!(uri(&[&normalised[..], &[("DOCUMENT_URI", "/app/b/c")]].concat()), "/b/c");
        assert_eq!(uri(&[("SCRIPT_NAME", "/app"), ("REQUEST_URI", "/app/x")]), "/x");
        assert_eq!(uri(&[("REQUEST_URI", "*"), ("HTTP_HOST", "a")]), "*");
    }

    #[test]
    fn scheme_and_authority_are_the_clients_or_else_the_servers() {
        let server = [("SERVER_NAME", "b"), ("SERVER_PORT", "81"), ("REQUEST_URI", "/")];
        assert_eq!(uri(&server), "http://b:81/");
        let host = [&server[..], &[("HTTP_HOST", "a:80"), ("HTTPS", "on")]].concat();
        assert_eq!(uri(&host), "https://a:80/");
        assert_eq!(uri(&[("HTTPS", "off"), ("HTTP_HOST", "a"), ("PATH_INFO", "/")]), "http://a/");
        for host in ["no host", "a/b", "a@b", "a?b"] {
            assert_eq!(uri(&[("HTTP_HOST", host), ("PATH_INFO", "/x")]), "/x");
        }
    }

    #[test]
    fn fields_are_variables_and_a_client_sets_no_proxy() {
        let request = request(&[
            ("HTTP_X_OWN", "1"),
            ("HTTP_PROXY", "http://evil"),
            ("HTTP_CONTENT_LENGTH", "9"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_TRANSFER_ENCODING", "chunked"),
            ("PATH", "/bin"),
        ]);
        let request = request.unwrap();
        let mut fields: Vec<_> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        fields.sort_unstable();
        let expected = [("content-length", "5"), ("content-type", "text/plain"), ("x-own", "1")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_describes_no_request_is_named() {
        assert_eq!(request(&[("REQUEST_METHOD", "")]).unwrap_err(), "REQUEST_METHOD");
        assert!(request(&[("PATH_INFO", "le")]).unwrap_err().contains("PATH_INFO"));
        assert!(request(&[("REQUEST_URI", "/a b")]).unwrap_err().contains("REQUEST_URI"));
        assert_eq!(
            request(&[("HTTP_X", "a\nb"), ("PATH_INFO", "/")]).unwrap_err(),
            "an HTTP_ variable"
        );
    }
}
