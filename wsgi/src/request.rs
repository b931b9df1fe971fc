//! A request of its environ, and its body as it is read: what PEP 3333 says of both.

use std::fmt::Write;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use gateway_blocking::request_uri;
use gateway_core::{Client, Error, Peer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use pyo3::exceptions::{PyException, PyKeyError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::watch::Watch;

/// The request that an environ describes; the error is the client's fault.
///
/// # Errors
///
/// When the environ is none by PEP 3333, which is the server's fault.
pub(crate) fn read(
    environ: &Bound<'_, PyDict>,
) -> PyResult<Result<(Request<Input>, Watch), Error>> {
    let missing =
        |key| PyKeyError::new_err(format!("the environ has no {key}: PEP 3333 asks for it"));
    let required = |key| text(environ, key)?.ok_or_else(|| missing(key));
    let method = required("REQUEST_METHOD")?;
    let mount = text(environ, "SCRIPT_NAME")?.unwrap_or_default();
    let path = text(environ, "PATH_INFO")?.unwrap_or_default();
    let query = text(environ, "QUERY_STRING")?.unwrap_or_default();
    let version = text(environ, "SERVER_PROTOCOL")?;
    let scheme = required("wsgi.url_scheme")?;
    let host = match text(environ, "HTTP_HOST")? {
        Some(host) => host,
        None => format!("{}:{}", required("SERVER_NAME")?, required("SERVER_PORT")?),
    };
    let address = text(environ, "REMOTE_ADDR")?;
    let port = text(environ, "REMOTE_PORT")?;
    let fields = fields(environ)?;
    let terminated = environ.get_item("wsgi.input_terminated")?;
    let terminated = terminated.map_or(Ok(false), |terminated| terminated.is_truthy())?;
    let stream = environ.get_item("wsgi.input")?.ok_or_else(|| missing("wsgi.input"))?.unbind();

    let parsed = || {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(bad)?;
        let uri = request_uri(scheme == "https", &host, &target(&path, &query)?);
        *request.uri_mut() = uri.ok_or_else(|| bad("the path or the query is none"))?;
        *request.version_mut() = match version.as_deref() {
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2" | "HTTP/2.0") => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        let (headers, is_chunked) = headers(fields)?;
        if is_chunked && !terminated {
            return Err(Error::client(StatusCode::LENGTH_REQUIRED, UNREADABLE));
        }
        let has_end = terminated || headers.contains_key(header::CONTENT_LENGTH);
        *request.headers_mut() = headers;

        let client = Client::default();
        let address: Option<IpAddr> = address.and_then(|address| address.parse().ok());
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
        let address = address.map(|address| SocketAddr::new(address, port));
        client.introduce(Peer::new(None, address, None));
        let watch = Watch::new(&client);
        request.extensions_mut().insert(ScriptName(mount));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(watch.clone());
        let input = Input { stream: has_end.then_some(stream), watch: watch.clone() };
        Ok((request.map(|()| input), watch))
    };
    Ok(parsed())
}

/// Where the app is mounted, among the extensions of its requests: what a link of its own has before the
/// path. It is empty at the root, and else has no slash at its end. As the server gives it: without
/// escapes, and in Latin-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptName(pub String);

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
    // A client's field is not to be taken for the variable of that name.
    headers.remove("proxy");
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
fn target(path: &str, query: &str) -> Result<String, Error> {
    let mut target = String::with_capacity(path.len() + query.len() + 1);
    for byte in latin1(path)? {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            | b'+' | b',' | b';' | b'=' | b':' | b'@' => target.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => target.push(char::from(byte)),
            _ => write!(target, "%{byte:02X}")?,
        }
    }
    if target.is_empty() {
        target.push('/');
    }
    if !query.is_empty() {
        target = target + "?" + query;
    }
    Ok(target)
}

/// The bytes of a native string: each of its characters stands for one.
fn latin1(text: &str) -> Result<Vec<u8>, Error> {
    let bytes = text.chars().map(|character| u8::try_from(character).map_err(bad));
    bytes.collect()
}

#[cold]
fn bad(error: impl Into<gateway_core::BoxError>) -> Error {
    Error::client(StatusCode::BAD_REQUEST, error)
}

/// `wsgi.input`. Each read takes the GIL for as long as it lasts.
pub(crate) struct Input {
    /// Nothing where the body has no length, and the stream no end.
    stream: Option<Py<PyAny>>,
    watch: Watch,
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = &self.stream else { return Ok(0) };
        // Behind its end the stream may hold another request.
        if self.watch.is_closed() {
            return Err(io::Error::other("the request is over"));
        }
        let read = Python::attach(|py| {
            let read = stream.bind(py).call_method1("read", (buf.len(),))?;
            let bytes = read.cast::<PyBytes>()?.as_bytes();
            let Some(place) = buf.get_mut(..bytes.len()) else {
                return Err(PyException::new_err("wsgi.input gave more than it was asked for"));
            };
            place.copy_from_slice(bytes);
            Ok(bytes.len())
        });
        read.map_err(|error| self.failed(error))
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
