//! `ServiceApp`: a tower service as an app.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::{App, BoxError, Error, Fault, Request, Response, Sleep, sleep};
use http::StatusCode;
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::{RequestBody, body, failed};

/// How long a request waits for a service that is not ready, before it is answered with 503.
pub const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Makes an app of a tower service: an axum `Router`, or whatever stands around one.
///
/// Each request has a clone of the service, which is made ready and then called, as axum and hyper
/// do. A service that is not ready keeps its request waiting, for [`READY_DEADLINE`] at most.
///
/// The service reads the request's body as it arrives ([`RequestBody`]), and the body that it
/// answers with is read as it is sent: neither is copied. Extensions of the request arrive with
/// it.
///
/// It must be `Clone` and `Sync`: where it is boxed, take tower's `BoxCloneSyncService`. One that
/// takes axum's own body alone has its requests mapped first: `map_request(|request| request.map(
/// axum::body::Body::new))`.
///
/// # Errors
///
/// The app's error is the service's: with the fault and the status of the [`Error`] that it is or
/// holds within, or else the application's fault, 500. It is the application's fault, with 503,
/// when the service was not ready in time.
///
/// # Cancel safety
///
/// Dropping the app's future drops the service's, or what was ready for it.
///
/// ```
/// use axum::extract::{Path, State};
/// use axum::{Json, Router, routing::get};
/// use gateway_core::{App, Body, Host};
///
/// type Item = (&'static str, u32);
///
/// async fn item(State(shop): State<&'static str>, Path(id): Path<u32>) -> Json<Item> {
///     Json((shop, id))
/// }
///
/// # fn main() -> Result<(), gateway_core::BoxError> {
/// let router = Router::new().route("/items/{id}", get(item)).with_state("corner shop");
/// let app = gateway_tower::app(router);
///
/// let host = gateway_tokio::Tokio::new(1)?;
/// let request = http::Request::get("/items/7").body(Body::empty())?;
/// let response = host.run(app.call(request))?;
/// assert_eq!(host.run(response.into_body().collect(100))?, r#"["corner shop",7]"#);
/// # Ok(())
/// # }
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
    #[inline]
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        let (mut service, request) = (self.0.clone(), request.map(RequestBody));
        // Most services are ready at once, and then their requests need not be kept on the way.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Answer::Begun { answer: service.call(request) },
            Poll::Ready(Err(error)) => Answer::Failed { error: Some(failed(error)) },
            Poll::Pending => late(service, request),
        }
    }
}

pin_project! {
    /// A service on its way to an answer.
    #[project = AnswerProjected]
    enum Answer<S, F> {
        Begun { #[pin] answer: F },
        Late { late: Box<Late<S>> },
        Failed { error: Option<Error> },
    }
}

/// A request that waits for its service to be ready.
struct Late<S> {
    service: S,
    request: Option<http::Request<RequestBody>>,
    deadline: Sleep,
}

#[cold]
fn late<S, F>(service: S, request: http::Request<RequestBody>) -> Answer<S, F> {
    let late = Late { service, request: Some(request), deadline: sleep(READY_DEADLINE) };
    Answer::Late { late: Box::new(late) }
}

impl<S, B> Future for Answer<S, S::Future>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error: Into<BoxError>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.as_mut().project() {
            AnswerProjected::Begun { answer } => answer,
            AnswerProjected::Late { late } => {
                let answer = ready!(late.poll(cx))?;
                self.set(Answer::Begun { answer });
                return self.poll(cx);
            }
            AnswerProjected::Failed { error } => {
                let error = error.take().expect("it is not polled after its end");
                return Poll::Ready(Err(error));
            }
        };
        answer.poll(cx).map(|answer| match answer {
            Ok(response) => Ok(response.map(body)),
            Err(error) => Err(failed(error)),
        })
    }
}

impl<S> Late<S>
where
    S: Service<http::Request<RequestBody>, Error: Into<BoxError>>,
{
    #[cold]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Future, Error>> {
        if let Poll::Ready(ready) = self.service.poll_ready(cx) {
            ready.map_err(failed)?;
            let request = self.request.take().expect("it is called once");
            return Poll::Ready(Ok(self.service.call(request)));
        }
        ready!(Pin::new(&mut self.deadline).poll(cx));
        let message = format!("the service was not ready within {READY_DEADLINE:?}");
        let unready = Error::new(Fault::Application, StatusCode::SERVICE_UNAVAILABLE, message);
        Poll::Ready(Err(unready))
    }
}
