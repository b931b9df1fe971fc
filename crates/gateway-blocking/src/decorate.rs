//! `decorate`: an app as a plain synchronous function, for servers that are synchronous already.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use gateway_core::{App, Body, Error, Host, respond};
use http::StatusCode;
use http_body_util::BodyExt;

use crate::Blocking;

/// How many bytes of a request's body are read at a time.
const READ_BYTES: usize = 16 * 1024;

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
    move |request| {
        let request = request.map(|body| Body::stream(Chunks(body)));
        let Ok(response) = host.run(respond(async { app.call(request).await }));
        response.map(|body: Body| Reader { host: host.clone(), body, chunk: Bytes::new() })
    }
}

/// The body of a response, made as it is read. Dropping it early cancels what is left.
pub struct Reader {
    host: Arc<Blocking>,
    body: Body,
    chunk: Bytes,
}

impl Read for Reader {
    /// Waits for the next chunk, and gives out what fits. Trailers are left out.
    ///
    /// # Errors
    ///
    /// The body's own: the response is cut off, and the client must be able to tell.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.host.run(self.body.frame()) {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                // A body is not asked again after its end, but a reader may be.
                Some(Err(error)) => {
                    self.body = Body::empty();
                    return Err(io::Error::other(error));
                }
                None => {
                    self.body = Body::empty();
                    return Ok(0);
                }
            }
        }
        let given = self.chunk.len().min(buf.len());
        self.chunk.copy_to_slice(&mut buf[..given]);
        Ok(given)
    }
}

/// What a reader gives, chunk by chunk. What it can't give is the client's fault.
struct Chunks<R>(R);

impl<R> Unpin for Chunks<R> {}

impl<R: Read> Stream for Chunks<R> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut chunk = BytesMut::zeroed(READ_BYTES);
        loop {
            return match self.0.read(&mut chunk) {
                Ok(0) => Poll::Ready(None),
                Ok(read) => {
                    chunk.truncate(read);
                    Poll::Ready(Some(Ok(chunk.freeze())))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Poll::Ready(Some(Err(Error::client(StatusCode::BAD_REQUEST, error)))),
            };
        }
    }
}
