//! `decorate`: an app as a plain synchronous function, for servers that are synchronous already.
//!
//! What such servers have in common stands here, so that each of them is a translation and no more.
//!
//! | a request's | |
//! |---|---|
//! | fields of the connection (RFC 9110, section 7.6.1) | are taken off, but not what `Connection` names |
//! | body | is read as far as its `Content-Length` says, or to the reader's end without one; 400 when it is cut off |
//! | body beyond [`BODY_BYTES`] | 413, unless the app has called [`set_body_limit`](gateway_core::set_body_limit) |
//! | [`Client`], among its extensions | is the current one while the app runs, so that [`peer`](gateway_core::peer) knows it; told to be [gone](Departure::Gone), it cancels what waits |
//!
//! | a response's | |
//! |---|---|
//! | fields of the connection, and what `Connection` names | are taken off |
//! | `Content-Length` | is added where the length is known, and kept to: another length is the app's fault |
//! | body, to `HEAD`, and with 204, 205 and 304 | is dropped |
//! | status, where it is an interim one, and an upgrade | 500: there is no connection to hand over |

use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use gateway_core::{
    App, Body, BodyLimit, Client, Departure, Error, Fault, Host, JoinError, Request, Response,
    disconnected, respond,
};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Scheme};
use http::{Method, StatusCode, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::Blocking;

/// The bytes that a request's body may have, unless its app sets another limit: 2 MiB.
pub const BODY_BYTES: u64 = 2 * 1024 * 1024;

/// How many bytes of a request's body are read at a time.
const READ_BYTES: u64 = 16 * 1024;

/// Makes a plain synchronous function of an app.
///
/// Each call runs the app on the calling thread. The request's body is read when the app asks for
/// it, and the response's body is made as it is read, on whatever thread reads it. Tasks and jobs
/// run on `host`, as does whatever waits.
///
/// A panic, or an error, of the app is a response like any other.
///
/// ```
/// use gateway_blocking::{Blocking, decorate};
/// use gateway_core::{Body, Request, Response};
/// use std::{io::Read, sync::Arc};
///
/// async fn echo(request: Request) -> Response {
///     Response::new(request.into_body())
/// }
///
/// let serve = decorate(&Arc::new(Blocking::new(1)?), echo);
/// let response = serve(http::Request::new(&b"hello"[..]));
/// let mut text = String::new();
/// response.into_body().read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn decorate<A: App, R: Read + Send + 'static>(
    host: &Arc<Blocking>,
    app: A,
) -> impl Fn(http::Request<R>) -> http::Response<Reader> + Send + Sync + use<A, R> {
    let host = host.clone();
    move |mut request| {
        let is_head = request.method() == Method::HEAD;
        let mut client = Some(request.extensions_mut().remove().unwrap_or_default());
        let answer = async { checked(app.call(arrive(request)?).await?, is_head) };
        let Ok(response) = run(&host, &mut client, respond(unless_gone(answer)));
        let (response, left) = release(response, is_head);
        let host = host.clone();
        response.map(|body| Reader { host, client, body: Some(body), left, chunk: Bytes::new() })
    }
}

/// The body of a response, made as it is read: by [`Reader::chunk`], or by [`Read`]. Trailers are left
/// out.
///
/// Dropping it early cancels what is left: the client has gone.
pub struct Reader {
    host: Arc<Blocking>,
    client: Option<Client>,
    /// Until its end.
    body: Option<Body>,
    /// The bytes that are left of the length that the head announces.
    left: Option<u64>,
    chunk: Bytes,
}

impl Reader {
    /// The whole body, if it is there already; it is taken. None where it has to be made chunk by
    /// chunk.
    pub fn take_bytes(&mut self) -> Option<Bytes> {
        let bytes = self.body.as_mut()?.take_bytes()?;
        self.left = None;
        Some(bytes)
    }

    /// Waits for the next chunk, which is never empty. None at the end, and after an error.
    ///
    /// # Errors
    ///
    /// The body's own, and a panic of it: the response is cut off, and the client must be able to
    /// tell.
    pub fn chunk(&mut self) -> Option<io::Result<Bytes>> {
        while self.chunk.is_empty() {
            match self.frame() {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => {
                    self.end();
                    return None;
                }
                Err(error) => {
                    error.log();
                    self.end();
                    return Some(Err(io::Error::other(error)));
                }
            }
        }
        Some(Ok(std::mem::take(&mut self.chunk)))
    }

    fn frame(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(body) = &mut self.body else { return Ok(None) };
        let next = unless_gone(async { body.frame().await.transpose() });
        let next = AssertUnwindSafe(|| run(&self.host, &mut self.client, next));
        let frame = catch_unwind(next).map_err(JoinError::panicked)??;
        let data = frame.map(|frame| frame.into_data().unwrap_or_default());
        let size = data.as_ref().map_or(0, |data| data.len() as u64);
        match (&data, self.left) {
            (None, Some(1..)) => return Err(mismatch()),
            (_, Some(left)) => self.left = Some(left.checked_sub(size).ok_or_else(mismatch)?),
            _ => {}
        }
        Ok(data)
    }

    /// Drops the body, where its destructors find their host and their client.
    fn end(&mut self) {
        if let Some(body) = self.body.take() {
            run(&self.host, &mut self.client, async { drop(body) });
        }
    }
}

impl Read for Reader {
    /// Gives out what fits of the next chunk.
    ///
    /// # Errors
    ///
    /// As [`Reader::chunk`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(chunk) = self.chunk() else { return Ok(0) };
        self.chunk = chunk?;
        let given = self.chunk.len().min(buf.len());
        self.chunk.copy_to_slice(&mut buf[..given]);
        Ok(given)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let (Some(_), Some(client)) = (&self.body, &self.client) {
            client.leaves(Departure::Gone);
        }
        self.end();
    }
}

/// The URI of a request, of its target and of the host that it asks for, as apps know it from HTTP/2:
/// with scheme and authority. Without them, where the host is none; as it is, where it has them
/// already.
///
/// None where the target is none: RFC 9112, section 3.2.
///
/// ```
/// use gateway_blocking::request_uri;
///
/// assert_eq!(request_uri(true, "a:81", "/b?c").unwrap(), "https://a:81/b?c");
/// assert_eq!(request_uri(false, "a/b", "/c").unwrap(), "/c");
/// assert!(request_uri(false, "a", "b").is_none());
/// ```
#[must_use]
pub fn request_uri(is_secure: bool, host: &str, target: &str) -> Option<Uri> {
    let uri: Uri = target.parse().ok()?;
    if !target.starts_with('/') {
        return Some(uri).filter(|uri| target == "*" || uri.scheme().is_some());
    }
    let authority = host.parse().ok().filter(|host: &Authority| !host.as_str().contains('@'));
    let Some(authority) = authority else { return Some(uri) };
    let mut parts = uri.into_parts();
    parts.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    Uri::from_parts(parts).ok()
}

/// Runs a future whose client is the current one.
fn run<F: Future>(host: &Blocking, client: &mut Option<Client>, future: F) -> F::Output {
    let mut future = pin!(future);
    host.run(poll_fn(|cx| {
        let _attended = Client::attend(client);
        future.as_mut().poll(cx)
    }))
}

/// Drops a future whose client is told to be gone, where its destructors find their host.
///
/// # Errors
///
/// The future's own, and one that nobody reads.
async fn unless_gone<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let (mut future, mut left) = (pin!(future), None);
    poll_fn(|cx| {
        if let Poll::Ready(result) = future.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        // Only now: most do not wait.
        match Pin::new(left.get_or_insert_with(disconnected)).poll(cx) {
            Poll::Ready(Departure::Gone) => {
                Poll::Ready(Err(Error::client(StatusCode::BAD_REQUEST, "the client has left")))
            }
            Poll::Ready(Departure::HalfClosed) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A request as apps know it.
fn arrive<R: Read + Send + 'static>(request: http::Request<R>) -> Result<Request, Error> {
    let (mut head, reader) = request.into_parts();
    if head.headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112, section 6.3: it overrides the length.
        head.headers.remove(CONTENT_LENGTH);
    }
    strip(&mut head.headers);
    let refused = |message| Error::client(StatusCode::BAD_REQUEST, message);
    let left = length(&head.headers).map_err(refused)?;
    let limit = BodyLimit::new(BODY_BYTES);
    head.extensions.insert(limit.clone());
    let body = match left {
        Some(0) => Body::empty(),
        _ => Body::new(Arriving { reader: Some(reader), left, read: 0, limit }),
    };
    Ok(Request::from_parts(head, body))
}

/// A request's body, which has a length and a limit.
struct Arriving<R> {
    /// Until its end.
    reader: Option<R>,
    left: Option<u64>,
    read: u64,
    limit: BodyLimit,
}

impl<R> Unpin for Arriving<R> {}

impl<R: Read> Arriving<R> {
    fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(reader) = self.reader.as_mut().filter(|_| self.left != Some(0)) else {
            return Ok(None);
        };
        check_limit(self.read.saturating_add(self.left.unwrap_or(0)), &self.limit)?;
        let wanted = self.left.map_or(READ_BYTES, |left| left.min(READ_BYTES));
        let mut chunk = BytesMut::zeroed(wanted as usize);
        let read = loop {
            match reader.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    break read.map_err(|error| Error::client(StatusCode::BAD_REQUEST, error))?;
                }
            }
        };
        chunk.truncate(read);
        if let Some(left) = &mut self.left {
            if read == 0 {
                let message = format!("the body ended {left} bytes before the length announced");
                return Err(Error::client(StatusCode::BAD_REQUEST, message));
            }
            *left -= read as u64;
        }
        self.read += read as u64;
        check_limit(self.read, &self.limit)?;
        Ok((read > 0).then(|| chunk.freeze()))
    }
}

fn check_limit(bytes: u64, limit: &BodyLimit) -> Result<(), Error> {
    let limit = limit.bytes();
    if bytes <= limit {
        return Ok(());
    }
    let message = format!("the body is larger than the {limit} bytes accepted here");
    Err(Error::client(StatusCode::PAYLOAD_TOO_LARGE, message))
}

impl<R: Read> HttpBody for Arriving<R> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = self.next().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.reader = None;
        }
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.reader.is_none() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Finds what is wrong with a response, as long as another one can take its place.
fn checked(response: Response, is_head: bool) -> Result<Response, Error> {
    if response.status().is_informational() {
        let message = "the application has switched protocols, or has answered with an interim \
                       status, which a synchronous server can't pass on";
        return Err(fault(message));
    }
    let announced = length(response.headers()).map_err(fault)?;
    let actual = response.body().size_hint().exact();
    let has_body = !is_head && !is_bodyless(response.status());
    match (announced, actual) {
        (Some(announced), Some(actual)) if has_body && announced != actual => Err(mismatch()),
        _ => Ok(response),
    }
}

/// A response as servers take it, and how many bytes its body has to have.
fn release(mut response: Response, is_head: bool) -> (Response, Option<u64>) {
    strip_named(response.headers_mut());
    // Synchronous servers have no trailers.
    response.headers_mut().remove(TRAILER);
    let status = response.status();
    if is_bodyless(status) {
        *response.body_mut() = Body::empty();
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::RESET_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let mut announced = length(response.headers()).unwrap_or(None);
    if announced.is_none() && !matches!(status.as_u16(), 204 | 304) {
        announced = response.body().size_hint().exact();
        if let Some(length) = announced {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
    (response, announced.filter(|_| !is_head && !is_bodyless(status)))
}

/// RFC 9110, section 6.4.1.
fn is_bodyless(status: StatusCode) -> bool {
    matches!(status.as_u16(), 204 | 205 | 304)
}

/// The length that a head announces: RFC 9110, section 8.6.
fn length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut announced = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok());
        let length = length.ok_or("the Content-Length is not a number of bytes")?;
        if announced.is_some_and(|announced| announced != length) {
            return Err("there are two Content-Lengths");
        }
        announced = Some(length);
    }
    Ok(announced)
}

/// Takes off the fields that the app's `Connection` names, and those of the connection.
fn strip_named(headers: &mut HeaderMap) {
    let options = headers.get_all(CONNECTION).into_iter();
    let options = options.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named: Vec<HeaderName> =
        options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in named {
        headers.remove(name);
    }
    strip(headers);
}

/// Takes off the fields of the connection. Not those that a request's `Connection` names: a client
/// could have a field vanish that a proxy has added, or the length.
fn strip(headers: &mut HeaderMap) {
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn fault(message: &'static str) -> Error {
    Error::new(Fault::Application, StatusCode::INTERNAL_SERVER_ERROR, message)
}

#[cold]
fn mismatch() -> Error {
    fault("the response's body has another length than its head announces")
}
