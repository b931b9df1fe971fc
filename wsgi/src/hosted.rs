//! `Hosted`: the app around the app. It holds request and response to their bounds.

use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use gateway_core::{
    App, Body, Coroutine, Error, Fault, JoinError, Request, Response, Trampoline, respond,
    trampoline,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;

use crate::watch::{Looks, Watch};

/// What the server's call brings along with its request.
#[derive(Clone)]
pub(crate) struct Call {
    watch: Watch,
    body_limit: u64,
}

impl Call {
    pub(crate) fn new(watch: &Watch, body_limit: u64) -> Call {
        Call { watch: watch.clone(), body_limit }
    }
}

pub(crate) struct Hosted<A>(pub(crate) A);

impl<A: App> App for Hosted<A> {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        let call = request.extensions_mut().remove::<Call>();
        let Call { watch, body_limit } = call.ok_or_else(|| broken("a request without a call"))?;
        let announced = length(request.headers()).unwrap_or(0);
        let request = request.map(|body| bounded(body, announced, body_limit));
        let mut answer = pin!(respond(async { self.0.call(request).await }));
        let mut looks = Looks::default();
        let answered = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending => watch.poll(&mut looks, cx).map(|_| None),
        });
        // Without an answer there is an exception to raise, in the place of this one.
        let Some(Ok(mut response)): Option<Result<Response, _>> = answered.await else {
            return Ok(Response::default());
        };
        let status = response.status();
        if status.is_informational() {
            return Err(broken("no server for WSGI can hand a connection over, as 1xx would"));
        }
        let size = response.body().size_hint().exact();
        let bodyless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let (Some(size), false) = (size, bodyless) {
            let headers = response.headers_mut();
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(size));
        }
        let left = length(response.headers());
        let trampoline = trampoline()?;
        Ok(response.map(|body| Body::new(Watched { body, left, watch, looks, trampoline })))
    }
}

#[cold]
fn broken(message: &str) -> Error {
    Error::new(Fault::Application, StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// The length that a head announces.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A request's body that ends with 413 beyond the limit, by what was announced or by what has come.
fn bounded(body: Body, announced: u64, limit: u64) -> Body {
    let mut read = 0;
    Body::stream(body.into_data_stream().map(move |chunk| {
        let chunk = chunk?;
        read += chunk.len() as u64;
        if read.max(announced) > limit {
            let message = format!("the body is larger than the {limit} bytes accepted here");
            return Err(Error::client(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok(chunk)
    }))
}

/// A response's body: its waits can be ended, its panics are errors, and it keeps to the length
/// that its head announces.
struct Watched {
    body: Body,
    left: Option<u64>,
    watch: Watch,
    looks: Looks,
    trampoline: Arc<dyn Trampoline>,
}

impl Watched {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = Pin::new(&mut self.body);
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(Poll::Pending) => {
                self.watch.poll(&mut self.looks, cx).map(|stopped| Some(Err(stopped.into())))
            }
            Ok(ready) => ready,
            Err(payload) => Poll::Ready(Some(Err(JoinError::panicked(payload).into()))),
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(self.poll_body(cx));
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => return Poll::Ready(frame),
            None => 0,
        };
        let left = self.left.map(|left| left.checked_sub(size));
        Poll::Ready(match left {
            Some(None) => Some(Err(broken("the body goes beyond the length announced"))),
            Some(Some(1..)) if frame.is_none() => {
                Some(Err(broken("the body has ended before the length announced")))
            }
            left => {
                self.left = left.flatten();
                frame
            }
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let body = mem::take(&mut self.body);
        // A coroutine is dropped under its trampoline, with all that it holds. A panic of it would
        // end the server's worker.
        let dropped = Coroutine::new(self.trampoline.clone(), async move { drop(body) });
        let _ = catch_unwind(AssertUnwindSafe(|| drop(dropped)));
    }
}
