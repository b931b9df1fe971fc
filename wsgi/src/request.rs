//! A request of its environ, and its body as it is read: what PEP 3333 says of both.

use std::fmt::Write;
use std::io::{self, Read};
use std::net::IpAddr;

use gateway_core::Error;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use pyo3::exceptions::{PyException, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::watch::Watch;

/// What a server tells of a request beside the request itself: among the extensions of each.
///
/// ```
/// use gateway_core::{Body, Request, Response};
/// use gateway_wsgi::Environ;
///
/// async fn greet(request: Request) -> Response {
///     let address = request.extensions().get::<Environ>().and_then(|environ| environ.address);
///     Response::new(Body::from(format!("hello, {address:?}")))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(greet);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environ {
    /// `wsgi.url_scheme`: how the client has come, as far as the server knows.
    pub scheme: Scheme,
    /// `REMOTE_ADDR`: the client's address, or that of a proxy before the server. Nothing on a Unix
    /// socket.
    pub address: Option<IpAddr>,
}

/// The request that an environ describes; the error is the client's fault.
///
/// # Errors
///
/// When the environ is none by PEP 3333, which is the server's fault.
pub(crate) fn read(
    environ: &Bound<'_, PyDict>,
    watch: &Watch,
) -> PyResult<Result<Request<Input>, Error>> {
    let missing =
        |key| PyKeyError::new_err(format!("the environ has no {key}: PEP 3333 asks for it"));
    let required = |key| text(environ, key)?.ok_or_else(|| missing(key));
    let method = required("REQUEST_METHOD")?;
    let path = text(environ, "SCRIPT_NAME")?.unwrap_or_default()
        + &text(environ, "PATH_INFO")?.unwrap_or_default();
    let query = text(environ, "QUERY_STRING")?.unwrap_or_default();
    let version = text(environ, "SERVER_PROTOCOL")?;
    let scheme = required("wsgi.url_scheme")?;
    let address = text(environ, "REMOTE_ADDR")?;
    let fields = fields(environ)?;
    let terminated = environ.get_item("wsgi.input_terminated")?;
    let terminated = terminated.map_or(Ok(false), |terminated| terminated.is_truthy())?;
    let stream = environ.get_item("wsgi.input")?.ok_or_else(|| missing("wsgi.input"))?.unbind();

    let parsed = || {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(bad)?;
        *request.uri_mut() = target(&path, &query)?;
        *request.version_mut() = match version.as_deref() {
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2" | "HTTP/2.0") => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        let (headers, is_chunked) = headers(fields)?;
        let left = match headers.get(header::CONTENT_LENGTH) {
            Some(length) => Some(digits(length)?),
            None if terminated => None,
            None if is_chunked => {
                return Err(Error::client(StatusCode::LENGTH_REQUIRED, UNREADABLE));
            }
            None => Some(0),
        };
        *request.headers_mut() = headers;
        let scheme = Scheme::try_from(scheme.as_str()).map_err(bad)?;
        let address = address.and_then(|address| address.parse().ok());
        request.extensions_mut().insert(Environ { scheme, address });
        let input = Input { stream, left, watch: watch.clone() };
        Ok(request.map(|()| input))
    };
    Ok(parsed())
}

/// What is said where a body would be lost.
const UNREADABLE: &str = "this server reads no chunked body: send a content-length";

/// An entry of the environ, if it is there.
fn text(environ: &Bound<'_, PyDict>, key: &str) -> PyResult<Option<String>> {
    environ.get_item(key)?.map(|value| value.extract()).transpose()
}

/// The header fields of the environ, by their names there.
fn fields(environ: &Bound<'_, PyDict>) -> PyResult<Vec<(String, String)>> {
    let mut fields = Vec::with_capacity(environ.len());
    for (key, value) in environ {
        let Ok(key) = key.cast::<PyString>() else { continue };
        let key = key.to_cow()?;
        let name = match &*key {
            "CONTENT_TYPE" | "CONTENT_LENGTH" => &*key,
            // Their places in the environ are those above.
            "HTTP_CONTENT_TYPE" | "HTTP_CONTENT_LENGTH" => continue,
            other => match other.strip_prefix("HTTP_") {
                Some(name) => name,
                None => continue,
            },
        };
        fields.push((name.to_owned(), value.extract()?));
    }
    Ok(fields)
}

/// Those fields as headers, without what concerns the connection, which is the server's; and
/// whether the body is in chunks.
fn headers(fields: Vec<(String, String)>) -> Result<(HeaderMap, bool), Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        // An empty one stands for none.
        if value.is_empty() && matches!(&*name, "CONTENT_TYPE" | "CONTENT_LENGTH") {
            continue;
        }
        let name = name.replace('_', "-");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(bad)?;
        let value = HeaderValue::from_bytes(&latin1(&value)?).map_err(bad)?;
        let too_many = |error| Error::client(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error);
        headers.try_insert(name, value).map_err(too_many)?;
    }
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    // Not those that `Connection` names: a client could have a field vanish that a proxy has added.
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    Ok((headers, is_chunked))
}

/// The fields between a client and its server alone, which PEP 3333 forbids to an app: those that
/// RFC 2616 lists in section 13.5.1, and a relative of theirs.
pub(crate) const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The target, in the form in which it was sent: servers for WSGI have taken the escapes out.
fn target(path: &str, query: &str) -> Result<Uri, Error> {
    let mut target = String::with_capacity(path.len() + query.len() + 1);
    for byte in latin1(path)? {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            | b'+' | b',' | b';' | b'=' | b':' | b'@' => target.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => target.push(char::from(byte)),
            _ => write!(target, "%{byte:02X}")?,
        }
    }
    match target.as_str() {
        "" => target.push('/'),
        "*" => {}
        path if path.starts_with('/') => {}
        path => return Err(bad(format!("{path:?} is no path: it begins without a slash"))),
    }
    let mut target = target.into_bytes();
    if !query.is_empty() {
        target.push(b'?');
        target.extend(latin1(query)?);
    }
    PathAndQuery::try_from(target).map(Uri::from).map_err(bad)
}

/// The bytes of a native string: each of its characters stands for one.
fn latin1(text: &str) -> Result<Vec<u8>, Error> {
    let bytes = text.chars().map(|character| u8::try_from(character).map_err(bad));
    bytes.collect()
}

fn digits(length: &HeaderValue) -> Result<u64, Error> {
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = length.to_str().ok().filter(is_number).and_then(|text| text.parse().ok());
    number.ok_or_else(|| bad(format!("{length:?} is no content-length")))
}

#[cold]
fn bad(error: impl Into<gateway_core::BoxError>) -> Error {
    Error::client(StatusCode::BAD_REQUEST, error)
}

/// `wsgi.input`. Each read takes the GIL for as long as it lasts.
pub(crate) struct Input {
    stream: Py<PyAny>,
    /// How many bytes are left, or nothing where the server ends the stream.
    left: Option<u64>,
    watch: Watch,
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.left.unwrap_or(u64::MAX);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        // Behind its end the stream may hold another request.
        if self.watch.is_closed() {
            return Err(io::Error::other("the request is over"));
        }
        let read = Python::attach(|py| {
            let read = self.stream.bind(py).call_method1("read", (most,))?;
            let bytes = read.cast::<PyBytes>()?.as_bytes();
            let Some(place) = buf[..most].get_mut(..bytes.len()) else {
                return Err(PyException::new_err("wsgi.input gave more than it was asked for"));
            };
            place.copy_from_slice(bytes);
            Ok(bytes.len())
        });
        let read = read.map_err(|error| self.failed(error))?;
        if read == 0 && self.left.is_some() {
            let message = format!("the body has ended {left} bytes before its content-length");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left = self.left.map(|left| left - read as u64);
        Ok(read)
    }
}

impl Input {
    /// What ends a process (`KeyboardInterrupt`, `SystemExit`) is raised again, whatever the app
    /// makes of the error.
    #[cold]
    fn failed(&self, error: PyErr) -> io::Error {
        let message = format!("wsgi.input: {error}");
        if !Python::attach(|py| error.is_instance_of::<PyException>(py)) {
            self.watch.keep(error);
        }
        io::Error::other(message)
    }
}
