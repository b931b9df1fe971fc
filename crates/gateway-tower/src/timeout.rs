//! `TimeoutLayer`: a deadline for a service's response, by the gateway's timers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gateway_core::{Sleep, sleep};
use http::StatusCode;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// A layer that answers with a status of your choice where the service inside has no response in
/// time: what tower-http's layer of this name does, on every host.
///
/// The time is counted from the moment when the service first has to wait, so one that never does
/// costs no timer. It ends with the response's head: for bodies see `gateway_http::Deadlines`.
///
/// # Panics
///
/// The service's future does, when it has to wait outside any trampoline.
///
/// # Cancel safety
///
/// When the time is over, the future of the service inside is dropped along with this one's.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use gateway_tower::TimeoutLayer;
/// use std::time::Duration;
///
/// async fn slow() -> &'static str {
///     gateway_core::sleep(Duration::from_secs(60)).await;
///     "at last"
/// }
///
/// let late = StatusCode::SERVICE_UNAVAILABLE;
/// let limit = TimeoutLayer::with_status_code(late, Duration::from_secs(2));
/// let router: Router = Router::new().route("/", get(slow)).layer(limit);
/// # drop(router);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    status: StatusCode,
    after: Duration,
}

impl TimeoutLayer {
    /// Answers with `status` where there is no response within `after`. 503 says that the server is
    /// too slow; 408, which tower-http is often told, that the client is.
    #[must_use]
    pub fn with_status_code(status: StatusCode, after: Duration) -> TimeoutLayer {
        TimeoutLayer { status, after }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, service: S) -> Timeout<S> {
        Timeout { service, layer: *self }
    }
}

/// The service that [`TimeoutLayer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    service: S,
    layer: TimeoutLayer,
}

impl<S, R, B> Service<R> for Timeout<S>
where
    S: Service<R, Response = http::Response<B>>,
    B: Default,
{
    type Response = http::Response<B>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        TimeoutFuture { answer: self.service.call(request), layer: self.layer, waiting: None }
    }
}

pin_project! {
    /// The future of [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        answer: F,
        layer: TimeoutLayer,
        waiting: Option<Sleep>,
    }
}

impl<F, B, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            return Poll::Ready(answer);
        }
        let TimeoutLayer { status, after } = *this.layer;
        ready!(Pin::new(this.waiting.get_or_insert_with(|| sleep(after))).poll(cx));
        let mut response = http::Response::new(B::default());
        *response.status_mut() = status;
        Poll::Ready(Ok(response))
    }
}
