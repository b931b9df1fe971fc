//! A response's body that keeps to the length which its head announces.
//!
//! hyper notices on HTTP/1.1 that there are too few bytes, leaves out what is too many, and leaves
//! both alone on HTTP/2. Here the application hears of it, and the client sees a body cut off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gateway_core::{Body, Error, Fault};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Holds a body to its length.
///
/// # Errors
///
/// The application's fault, when the body is known to have another one.
pub(crate) fn check(body: Body, length: u64) -> Result<Body, Error> {
    match body.size_hint().exact() {
        Some(exact) if exact == length => Ok(body),
        Some(exact) => Err(mismatch(format!("announced {length} bytes, and has {exact}"))),
        None => Ok(Body::new(Announced { body, left: length })),
    }
}

struct Announced {
    body: Body,
    left: u64,
}

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => return Poll::Ready(frame),
            None if self.left > 0 => {
                let missing = format!("ended {} bytes before the length announced", self.left);
                self.left = 0;
                return Poll::Ready(Some(Err(mismatch(missing))));
            }
            None => return Poll::Ready(None),
        };
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                Poll::Ready(frame)
            }
            None => {
                let beyond = format!("goes {} bytes beyond the length announced", size - self.left);
                Poll::Ready(Some(Err(mismatch(beyond))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn mismatch(what: String) -> Error {
    let message = format!("the response's body {what}");
    Error::new(Fault::Application, StatusCode::INTERNAL_SERVER_ERROR, message)
}
