//! Apps on a `tiny_http` server: [`serve`].
//!
//! ```no_run
//! use gateway_core::{Body, Request, Response};
//!
//! async fn hello(request: Request) -> Response {
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let server = tiny_http::Server::http("127.0.0.1:8080")?;
//! gateway_tiny_http::serve(&server, 8, hello)?;
//! # Ok(())
//! # }
//! ```
//!
//! It runs the app through [`gateway_blocking::decorate`], so all that is said there holds here.
//! Bodies stream in and out, but not both at once, for `tiny_http` lends a request's body only until
//! the response begins: what the app keeps of it beyond that moment is read first, up to
//! [`HELD_BYTES`].

#![forbid(unsafe_code)]

use std::io::{self, Read, Take, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use gateway_blocking::{Blocking, Reader, decorate, request_uri};
use gateway_core::{App, Client, Peer};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use tiny_http::{HTTPVersion, Header, Response, Server};

/// How much is held of a body, in bytes, where `tiny_http` can't stream it: 2 MiB. A request that is
/// still read when its response begins is answered with 413 beyond that, and a response without a
/// known length over HTTP/1.0 with 505.
pub const HELD_BYTES: u64 = 2 * 1024 * 1024;

/// From which length on it is tried first whether there is memory for a whole body: 1 GiB.
const HUGE_BYTES: usize = 1024 * 1024 * 1024;

/// How many threads run the apps' tasks.
const TASK_THREADS: usize = 2;

/// What is sent in the place of a chunk when a body fails: no size, so that the client can tell.
const CUT_OFF: &[u8] = b"cut off\r\n";

/// Serves an app on so many threads, at least one, which is how many requests are in hand at once.
///
/// `server.unblock()` on another thread, called once, ends it when the requests that have come so far
/// have been answered. Drop the server then: it goes on accepting until that.
///
/// # Errors
///
/// When the server can accept no more connections, or the system gives no threads.
pub fn serve(server: &Server, threads: usize, app: impl App) -> io::Result<()> {
    let host = Arc::new(Blocking::new(TASK_THREADS)?);
    let (app, threads) = (decorate(&host, app), threads.max(1));
    let serving = AtomicUsize::new(threads);
    // A call of `unblock` ends one thread, which ends the next.
    let end = |count| {
        if serving.fetch_sub(count, Ordering::AcqRel) > count {
            server.unblock();
        }
    };
    let work = || {
        let error = loop {
            match server.recv() {
                Ok(request) => answer(request, &app),
                Err(error) => break error,
            }
        };
        end(1);
        // An error without a number of the system's is how `tiny_http` says that it was unblocked.
        error.raw_os_error().map_or(Ok(()), |_| Err(error))
    };
    thread::scope(|scope| {
        let mut started = Vec::new();
        let mut result = Ok(());
        for n in 0..threads {
            let thread = thread::Builder::new().name("gateway-tiny-http".into());
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    end(threads - n);
                    result = Err(error);
                    break;
                }
            }
        }
        for thread in started {
            result = result.and(thread.join().unwrap_or(Ok(())));
        }
        result
    })
}

/// A request, lent to its body until the response begins, and what is left of the body then.
struct Lent {
    request: Option<tiny_http::Request>,
    has_ended: bool,
    rest: io::Cursor<Vec<u8>>,
}

/// The body of a request.
struct Arriving(Arc<Mutex<Lent>>);

fn lock(lent: &Mutex<Lent>) -> MutexGuard<'_, Lent> {
    lent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for Arriving {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut lent = lock(&self.0);
        let Some(request) = &mut lent.request else { return lent.rest.read(buf) };
        let read = request.as_reader().read(buf)?;
        lent.has_ended |= read == 0;
        Ok(read)
    }
}

fn answer(
    request: tiny_http::Request,
    app: &impl Fn(http::Request<Take<Arriving>>) -> http::Response<Reader>,
) {
    if !can_be_dropped(&request) {
        tracing::warn!(?request, "a request announces more than there is memory: it has no answer");
        return std::mem::forget(request);
    }
    let Some(head) = head(&request) else { return excuse(request, StatusCode::BAD_REQUEST) };
    let is_chunked = head.headers().contains_key(TRANSFER_ENCODING);
    let has_body = is_chunked || head.headers().contains_key(CONTENT_LENGTH);
    let is_held_back = head.headers().contains_key(EXPECT);
    let lent = Lent { request: Some(request), has_ended: !has_body, rest: io::Cursor::default() };
    let lent = Arc::new(Mutex::new(lent));
    let body = Arriving(lent.clone()).take(if has_body { u64::MAX } else { 0 });
    let response = app(head.map(|()| body));
    let is_read_on = Arc::strong_count(&lent) > 1;
    let mut lent = lock(&lent);
    let Some(mut request) = lent.request.take() else { return };
    if is_read_on && !lent.has_ended {
        let mut rest = Vec::new();
        // An error ends the body early, which its length or the next read shows.
        let _ = request.as_reader().take(HELD_BYTES + 1).read_to_end(&mut rest);
        if rest.len() as u64 > HELD_BYTES {
            drop(lent);
            return excuse(request, StatusCode::PAYLOAD_TOO_LARGE);
        }
        lent.rest = io::Cursor::new(rest);
    } else if (is_chunked || is_held_back) && !lent.has_ended {
        // What is left would be taken for the next request, or be waited for without an invitation.
        let _ = io::copy(request.as_reader(), &mut io::sink());
    }
    drop(lent);
    if let Err(error) = send(request, response) {
        tracing::info!(%error, "the response was cut off");
    }
}

/// Whether a request may be dropped unread: `tiny_http` allocates as much as is left of its body then,
/// and ends the process when that fails. One that is forgotten instead holds a thread and a socket.
fn can_be_dropped(request: &tiny_http::Request) -> bool {
    let length = request.body_length().unwrap_or(0);
    length < HUGE_BYTES || Vec::<u8>::new().try_reserve_exact(length).is_ok()
}

/// A request as the app knows it, but for its body. None for what is no request.
fn head(request: &tiny_http::Request) -> Option<http::Request<()>> {
    let mut head = http::Request::new(());
    let mut fields = HeaderMap::new();
    for Header { field, value } in request.headers() {
        let name = HeaderName::from_bytes(field.as_str().as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    let upgrades = fields.get_all(CONNECTION).iter();
    let upgrades = upgrades.filter_map(|value| value.to_str().ok());
    let mut upgrades = upgrades.filter(|value| value.to_ascii_lowercase().contains("upgrade"));
    if upgrades.next().is_some() && fields.contains_key(TRANSFER_ENCODING) {
        // `tiny_http` gives such a body out with its chunks' sizes in it.
        return None;
    }
    let host = fields.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    *head.uri_mut() = request_uri(request.secure(), host, request.url())?;
    *head.method_mut() = Method::from_bytes(request.method().as_str().as_bytes()).ok()?;
    *head.version_mut() = match request.http_version() {
        HTTPVersion(1, 1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    *head.headers_mut() = fields;
    let client = Client::default();
    client.introduce(Peer::new(request.remote_addr().copied(), None, None));
    head.extensions_mut().insert(client);
    Some(head)
}

/// Sends a response, each chunk as soon as it is made.
fn send(request: tiny_http::Request, response: http::Response<Reader>) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let status = head.status.as_u16();
    // What is not ASCII, `tiny_http` has no type for.
    let fields = head.headers.iter();
    let mut fields: Vec<Header> = fields
        .filter_map(|(name, value)| Header::from_bytes(name.as_str(), value.as_bytes()).ok())
        .collect();
    let is_old = *request.http_version() < (1, 1);
    let whole = match body.take_bytes() {
        None if is_old => match collect(&mut body)? {
            Some(bytes) => Some(bytes),
            None => {
                excuse(request, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
                return Ok(());
            }
        },
        whole => whole,
    };
    if let Some(bytes) = whole {
        let response = Response::new(status.into(), fields, &bytes[..], None, None);
        return request.respond(response.with_chunked_threshold(usize::MAX));
    }
    // It would keep `tiny_http` from announcing chunks, which show whether they are all there.
    fields.retain(|field| !field.field.equiv("Content-Length"));
    let version = request.http_version().clone();
    let mut out = request.into_writer();
    let head = Response::new(status.into(), fields, io::empty(), None, None);
    head.raw_print(&mut out, version, &[], true, None)?;
    out.flush()?;
    while let Some(chunk) = body.chunk() {
        match chunk {
            Ok(chunk) => {
                write!(out, "{:x}\r\n", chunk.len())?;
                out.write_all(&chunk)?;
                out.write_all(b"\r\n")?;
                out.flush()?;
            }
            Err(error) => {
                out.write_all(CUT_OFF)?;
                out.flush()?;
                return Err(error);
            }
        }
    }
    out.write_all(b"0\r\n\r\n")?;
    out.flush()
}

/// All of a body; none, when it has more than [`HELD_BYTES`].
fn collect(body: &mut Reader) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    body.take(HELD_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= HELD_BYTES).then(|| bytes.into()))
}

/// The response in the place of one that can't be sent.
fn excuse(request: tiny_http::Request, status: StatusCode) {
    let response = Response::from_string(format!("{status}\n")).with_status_code(status.as_u16());
    if let Err(error) = request.respond(response) {
        tracing::info!(%error, "the response was cut off");
    }
}
