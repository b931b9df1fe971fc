//! `Observed`: an app around an app, that names each request and takes down what became of it.
//!
//! All that is known of one request is an [`Exchange`], from its arrival to the end of its
//! response. It travels with what is at work: first in the app's future, then in the response's
//! body. Whatever happens to those, the exchange is dropped with them, and its drop is the one place
//! where lines are written and requests are counted.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use gateway_core::{App, Body, Error, Fault, JoinError, Request, Response};
use http::{HeaderValue, Method, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::access_log::{self, Asked};
use crate::metrics::Metrics;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// An app whose requests have ids, and are logged and counted where that is asked for.
///
/// Each request has its [`RequestId`] in the field `x-request-id` and in its extensions, and each
/// response has it in the same field, also where the app fails: errors and panics become responses
/// here, as they would in the server, and what is logged of them names the request.
///
/// It belongs outermost, around all other middleware. Requests that the server refuses by itself
/// (malformed ones, say) never come here.
///
/// ```
/// use gateway_core::{Body, Request, Response};
/// use gateway_operations::{Metrics, Observed};
///
/// async fn hello(_: Request) -> Response {
///     Response::new(Body::from("hello"))
/// }
///
/// let metrics = Metrics::new();
/// let app = Observed::new(hello).access_log().metrics(&metrics);
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(app);
/// ```
#[derive(Clone, Debug)]
pub struct Observed<A> {
    app: A,
    logged: bool,
    metrics: Option<Metrics>,
    client: fn(&Request) -> Option<SocketAddr>,
}

impl<A: App> Observed<A> {
    /// Names requests, and no more.
    pub fn new(app: A) -> Observed<A> {
        Observed { app, logged: false, metrics: None, client: |_| None }
    }

    /// Writes a line for each request through `tracing`, as info of the target
    /// [`ACCESS_LOG`](crate::ACCESS_LOG). The fields are described in `docs/operations.md`.
    #[must_use]
    pub fn access_log(mut self) -> Observed<A> {
        self.logged = true;
        self
    }

    /// Counts requests.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Observed<A> {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Tells the access log how to find a request's client. Unless told, its lines name none.
    #[must_use]
    pub fn client(mut self, client: fn(&Request) -> Option<SocketAddr>) -> Observed<A> {
        self.client = client;
        self
    }

    fn begin(&self, request: &mut Request) -> Exchange {
        let id = RequestId::of(request);
        if let Some(metrics) = &self.metrics {
            metrics.begin();
        }
        Exchange {
            started: Instant::now(),
            id,
            method: request.method().clone(),
            version: request.version(),
            asked: self.logged.then(|| Box::new(Asked::new(request, (self.client)(request)))),
            metrics: self.metrics.clone(),
            received: received(request),
            head: None,
            sent: 0,
            end: End::Dropped,
        }
    }
}

impl<A: App> App for Observed<A> {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        let exchange = self.begin(&mut request);
        let answer = AssertUnwindSafe(async { self.app.call(request).await }).catch_unwind().await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => exchange.excuse(&error),
            Err(payload) => {
                exchange.panicked();
                exchange.excuse(&JoinError::panicked(payload).into())
            }
        };
        Ok(exchange.answer(response))
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All of it was handed to the connection.
    Complete,
    /// Its body failed after the head: by an error, a panic, or a length other than announced.
    Failed,
    /// The server let go of it, or of the app's future: the client has left, or a deadline has
    /// passed.
    Dropped,
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Failed => "failed",
            End::Dropped => "dropped",
        }
    }
}

/// One request and its response. Its drop is when both are over.
pub(crate) struct Exchange {
    started: Instant,
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    version: Version,
    /// For the access log, if it is kept.
    asked: Option<Box<Asked>>,
    metrics: Option<Metrics>,
    /// What came of the request's body, if there is one.
    received: Option<Arc<Received>>,
    /// The response's head, and after which time it was there.
    pub(crate) head: Option<(StatusCode, Duration)>,
    /// The bytes of the response's body.
    pub(crate) sent: u64,
    pub(crate) end: End,
}

impl Exchange {
    /// The bytes of the request's body that the app has read.
    pub(crate) fn received(&self) -> u64 {
        self.received.as_ref().map_or(0, |received| received.bytes.load(Ordering::Relaxed))
    }

    /// Takes the response, and stays with its body until that has ended.
    fn answer(mut self, mut response: Response) -> Response {
        response.headers_mut().insert(&X_REQUEST_ID, self.id.as_value().clone());
        let status = response.status();
        self.head = Some((status, self.started.elapsed()));
        let bodyless = self.method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if bodyless || response.body().is_end_stream() {
            self.end = End::Complete;
            return response;
        }
        let announced =
            || response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let length = response.body().size_hint().exact().or_else(announced);
        response.map(|body| Body::new(Sent { body, length, exchange: Some(self) }))
    }

    /// The response that stands in for one that failed. What is logged of it names the request.
    #[cold]
    fn excuse(&self, error: &Error) -> Response {
        self.failed(error.fault());
        tracing::error_span!("request", id = self.id.as_str()).in_scope(|| error.log());
        let mut response = error.response();
        // A body that was given up may be what is malformed: nobody knows where the next request
        // begins. The server closes behind an error for the same reason.
        let gave_up = self.received.as_ref().is_some_and(|received| received.gave_up());
        if gave_up && self.version <= Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    #[cold]
    fn failed(&self, fault: Fault) {
        if let Some(metrics) = &self.metrics {
            metrics.failed(fault);
        }
    }

    #[cold]
    fn panicked(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.panicked();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        if let Some(asked) = &self.asked {
            access_log::write(self, asked, total);
        }
        if let Some(metrics) = &self.metrics {
            metrics.end(self, total);
        }
    }
}

/// What the app has read of a request's body.
#[derive(Default)]
struct Received {
    bytes: AtomicU64,
    gave_up: AtomicBool,
}

impl Received {
    fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }
}

/// Counts what is read of a request's body, if there is one.
fn received(request: &mut Request) -> Option<Arc<Received>> {
    if request.body().is_end_stream() {
        return None;
    }
    let received = Arc::new(Received::default());
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::new(Arriving { body, ended: false, received: received.clone() });
    Some(received)
}

/// A request's body that is counted.
struct Arriving {
    body: Body,
    ended: bool,
    received: Arc<Received>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.received.bytes.fetch_add(size(frame), Ordering::Relaxed);
            }
            Some(Err(_)) => {}
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.received.gave_up.store(true, Ordering::Relaxed);
        }
    }
}

/// A response's body, and the exchange that ends with it.
struct Sent {
    body: Body,
    /// The length that is announced, or known.
    length: Option<u64>,
    exchange: Option<Exchange>,
}

impl Sent {
    fn end(&mut self, end: End) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end = end;
        }
    }

    /// Takes note of a frame, and of the end where this was the last one.
    fn note(&mut self, frame: &Option<Result<Frame<Bytes>, Error>>) {
        let Some(exchange) = &mut self.exchange else { return };
        match frame {
            Some(Ok(frame)) => {
                exchange.sent += size(frame);
                // hyper asks for no more than that, and drops the body.
                match self.length {
                    Some(length) if exchange.sent < length => {}
                    Some(length) if exchange.sent > length => self.end(End::Failed),
                    None if !frame.is_trailers() && !self.body.is_end_stream() => {}
                    _ => self.end(End::Complete),
                }
            }
            Some(Err(error)) => {
                exchange.failed(error.fault());
                self.end(End::Failed);
            }
            None if self.length.is_some() => self.end(End::Failed),
            None => self.end(End::Complete),
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = &mut self.body;
        let frame = match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(frame) => ready!(frame),
            Err(payload) => {
                if let Some(exchange) = &self.exchange {
                    exchange.panicked();
                    exchange.failed(Fault::Application);
                }
                self.end(End::Failed);
                // The server cuts the body off, and says why.
                resume_unwind(payload)
            }
        };
        self.note(&frame);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn size(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, Bytes::len) as u64
}
