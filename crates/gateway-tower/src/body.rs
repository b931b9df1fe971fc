//! `RequestBody`: what a service reads; and how errors cross the bridge, both ways.

use std::error::Error as StdError;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gateway_core::{Body, BoxError, Error};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};

/// The body of a request to a service: a [`Body`], frame by frame, whose errors are those that
/// services know.
///
/// More bytes than the server accepts are http-body-util's [`LengthLimitError`], of which axum and
/// tower-http make a 413. Any other error is the gateway's own.
#[derive(Debug, Default)]
pub struct RequestBody(pub(crate) Body);

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(told)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl From<RequestBody> for Body {
    fn from(body: RequestBody) -> Body {
        body.0
    }
}

/// An error of the server's, in the words of services.
#[cold]
fn told(error: Error) -> BoxError {
    if error.status() != StatusCode::PAYLOAD_TOO_LARGE {
        return error.into();
    }
    // Only a body that is too long for its limit makes one.
    let mut too_long = pin!(Limited::new(Full::new(Bytes::from_static(b".")), 0));
    match too_long.as_mut().poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(Some(Err(too_long))) => too_long,
        _ => error.into(),
    }
}

/// A service's error, or that of its body: an [`Error`] within keeps its fault and its status.
#[cold]
pub(crate) fn failed(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(cause) = next {
        if cause.is::<LengthLimitError>() {
            return Error::client(StatusCode::PAYLOAD_TOO_LARGE, error);
        }
        next = cause.source();
    }
    io::Error::other(error).into()
}

/// Somebody else's body as one of ours.
#[inline]
pub(crate) fn body<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(body.map_err(failed)),
    }
}
