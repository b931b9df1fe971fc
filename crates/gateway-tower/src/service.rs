//! `AppService`: an app as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use gateway_core::{App, Body, BoxError, Coroutine, Error, Response, Trampoline, respond};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower_service::Service;

use crate::body::body;

/// Makes a tower service of an app, for use inside a coroutine: as a route of a router that is
/// itself an app ([`app`](crate::app())), for example. Whoever drives that drives this one, too.
///
/// The service is always ready and never fails: the app's errors and panics are logged, and become
/// the responses that say so.
///
/// A WebSocket in an axum router, on every host:
///
/// ```
/// use axum::Router;
/// use gateway_core::Request;
///
/// async fn echo(request: Request) -> Result<gateway_core::Response, gateway_core::Error> {
///     gateway_websocket::accept(request, async |mut socket| {
///         while let Some(message) = socket.receive().await? {
///             socket.send(message).await?;
///         }
///         Ok(())
///     })
/// }
///
/// let router: Router = Router::new().route_service("/echo", gateway_tower::service(echo));
/// # drop(router);
/// ```
///
/// # Cancel safety
///
/// Dropping the service's future drops the app's.
pub fn service<A: App>(app: A) -> AppService<A> {
    AppService { app: Arc::new(app), trampoline: None }
}

/// Makes a tower service of an app, for use where no coroutine is: in a server of axum's or
/// hyper's on tokio, for example. `trampoline` answers what the app yields, and what the body of
/// its response does.
///
/// Apart from that it is [`service`]. [`disconnected`](gateway_core::disconnected) and
/// [`draining`](gateway_core::draining) never end there: a foreign server tells nobody. A client
/// that has left cancels the app, as far as that server notices.
///
/// ```
/// use axum::Router;
/// use gateway_core::{Body, Request, Response, sleep};
/// use gateway_tokio::OnTokio;
/// use std::{sync::Arc, time::Duration};
///
/// async fn hello(_: Request) -> Response {
///     sleep(Duration::from_millis(10)).await;
///     Response::new(Body::from("hello"))
/// }
///
/// #[tokio::main]
/// async fn main() {
///     let trampoline = Arc::new(OnTokio(tokio::runtime::Handle::current()));
///     let hello = gateway_tower::service_on(trampoline, hello);
///     let router: Router = Router::new().nest_service("/portable", hello);
///     // axum::serve(listener, router).await
///     # drop(router);
/// }
/// ```
pub fn service_on<A: App>(trampoline: Arc<dyn Trampoline>, app: A) -> AppService<A> {
    AppService { app: Arc::new(app), trampoline: Some(trampoline) }
}

/// The service that [`service`] and [`service_on`] make. Clones share the app.
pub struct AppService<A> {
    app: Arc<A>,
    trampoline: Option<Arc<dyn Trampoline>>,
}

impl<A> Clone for AppService<A> {
    fn clone(&self) -> AppService<A> {
        AppService { app: self.app.clone(), trampoline: self.trampoline.clone() }
    }
}

impl<A: fmt::Debug> fmt::Debug for AppService<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService").field("app", &self.app).finish_non_exhaustive()
    }
}

impl<A, B> Service<http::Request<B>> for AppService<A>
where
    A: App,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = http::Response<AppBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let AppService { app, trampoline } = self.clone();
        let request = request.map(body);
        // An app's future borrows it and has no name, so it takes a box to give both away together.
        Box::pin(async move {
            let answer = respond(async { app.call(request).await });
            let Ok::<Response, _>(response) = match &trampoline {
                Some(trampoline) => Coroutine::new(trampoline.clone(), answer).await,
                None => answer.await,
            };
            Ok(response.map(|body| AppBody { body, trampoline }))
        })
    }
}

/// The body of an [`AppService`]'s response. It is read, and dropped, under the trampoline that the
/// service has been given.
pub struct AppBody {
    body: Body,
    trampoline: Option<Arc<dyn Trampoline>>,
}

impl HttpBody for AppBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let AppBody { body, trampoline } = &mut *self;
        let Some(trampoline) = trampoline else { return Pin::new(body).poll_frame(cx) };
        // One poll of the body is the whole life of this coroutine: it ends with what that gives.
        let once = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx)));
        let polled = pin!(Coroutine::new(trampoline.clone(), once)).poll(cx);
        let Poll::Ready(polled) = polled else { return Poll::Pending };
        if let Poll::Ready(Some(Err(error))) = &polled {
            // A gateway server would say so. Others cut the body off, and keep quiet.
            error.log();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AppBody {
    fn drop(&mut self) {
        if let Some(trampoline) = self.trampoline.take() {
            let body = mem::take(&mut self.body);
            // A coroutine is dropped under its trampoline, with all that it holds.
            drop(Coroutine::new(trampoline, async move { drop(body) }));
        }
    }
}

impl fmt::Debug for AppBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AppBody").field(&self.body).finish()
    }
}
