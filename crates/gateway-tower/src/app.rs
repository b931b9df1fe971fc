//! `ServiceApp`: a tower service as an app.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::{App, BoxError, Error, Fault, Request, Response, Sleep, sleep};
use http::StatusCode;
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::body::{RequestBody, body, failed};

/// How long a request waits for a service that is not ready, before it is answered with 503.
pub const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Makes an app of a tower service: an axum `Router`, or whatever stands around one.
///
/// Each request has a clone of the service, which is made ready and then called, as axum and hyper
/// do. A service that is not ready keeps its request waiting, for [`READY_DEADLINE`] at most.
///
/// The service reads the request's body as it arrives ([`RequestBody`]), and the body that it answers
/// with is read as it is sent: neither is copied. Extensions of the request arrive with it.
///
/// It must be `Clone` and `Sync`: where it is boxed, take tower's `BoxCloneSyncService`. One that
/// takes axum's own body alone has its requests mapped first: `map_request(|request| request.map(
/// axum::body::Body::new))`.
///
/// # Errors
///
/// The app's error is the service's: with the fault and the status of the [`Error`] that it is or
/// holds within, or else the application's fault, 500. It is the application's fault, with 503, when
/// the service was not ready in time.
///
/// # Cancel safety
///
/// Dropping the app's future drops the service's, or what was ready for it.
///
/// ```
/// use axum::extract::{Path, State};
/// use axum::{Json, Router, routing::get};
/// use std::process::ExitCode;
///
/// async fn item(State(shop): State<&'static str>, Path(id): Path<u32>) -> Json<(&'static str, u32)> {
///     Json((shop, id))
/// }
///
/// fn main() -> ExitCode {
///     let router = Router::new().route("/items/{id}", get(item)).with_state("corner shop");
///     # let main = |_: &dyn std::any::Any| ExitCode::SUCCESS;
///     # return main(&gateway_tower::app(router));
///     # }
///     # fn unused(router: axum::Router) -> ExitCode {
///     gateway_launch::main(gateway_tower::app(router))
/// }
/// ```
pub fn app<S, B>(service: S) -> ServiceApp<S>
where
    S: Service<
            http::Request<RequestBody>,
            Response = http::Response<B>,
            Error: Into<BoxError>,
            Future: Send,
        >,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    ServiceApp(service)
}

/// The app that [`app`] makes.
#[derive(Clone, Debug)]
pub struct ServiceApp<S>(S);

impl<S, B> App for ServiceApp<S>
where
    S: Service<
            http::Request<RequestBody>,
            Response = http::Response<B>,
            Error: Into<BoxError>,
            Future: Send,
        >,
    S: Clone + Send + Sync + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let mut service = self.0.clone();
        let mut waiting = None;
        poll_fn(|cx| match service.poll_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.map_err(failed)),
            Poll::Pending => poll_late(&mut waiting, cx).map(Err),
        })
        .await?;
        let request = request.map(RequestBody);
        service.call(request).await.map(|response| response.map(body)).map_err(failed)
    }
}

#[cold]
fn poll_late(waiting: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<Error> {
    let waiting = waiting.get_or_insert_with(|| sleep(READY_DEADLINE));
    Pin::new(waiting).poll(cx).map(|()| {
        let message = format!("the service was not ready within {READY_DEADLINE:?}");
        Error::new(Fault::Application, StatusCode::SERVICE_UNAVAILABLE, message)
    })
}
