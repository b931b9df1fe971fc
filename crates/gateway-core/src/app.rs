//! `App`: what an application is. An async function from [`Request`] to [`Response`], or a type of
//! its own; middleware is an app around an app.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::body::Body;
use crate::error::Error;
use crate::join::JoinError;
use crate::leaves::unblock;

/// A request: method, target, headers, and a body that is read as it arrives.
pub type Request = http::Request<Body>;

/// A response: status, headers, and a body that is made as it is sent.
pub type Response = http::Response<Body>;

/// An application.
///
/// Implemented for every async function (or closure that returns a future) from [`Request`] to
/// [`Response`] or to `Result<Response, E>`; see [`synchronous`] for plain functions. Middleware is
/// an app around an app:
///
/// ```
/// use gateway_core::{App, Error, Request, Response};
///
/// struct Stamped<A>(A);
///
/// impl<A: App> App for Stamped<A> {
///     async fn call(&self, request: Request) -> Result<Response, Error> {
///         let mut response = self.0.call(request).await?;
///         response.headers_mut().insert("x-stamp", "seen".parse()?);
///         Ok(response)
///     }
/// }
/// ```
pub trait App: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    ///
    /// An [`Error`] becomes the response that it describes, as long as the head is unsent. So does a
    /// panic: it is a 500, and touches no other request.
    ///
    /// # Cancel safety
    ///
    /// The host drops the future when nobody waits for the answer any more. What must go on then
    /// belongs into a task of its own: see [`spawn`](crate::spawn).
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send;
}

impl<F, R> App for F
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output: IntoResponse> + Send,
{
    #[inline]
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        Answer { future: self(request) }
    }
}

impl<A: App> App for Arc<A> {
    #[inline]
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        (**self).call(request)
    }
}

/// What an app's function may return: a [`Response`], or a `Result` of one.
pub trait IntoResponse {
    /// The response, or whose fault it is that there is none.
    ///
    /// # Errors
    ///
    /// The app's own.
    fn into_response(self) -> Result<Response, Error>;
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    #[inline]
    fn into_response(self) -> Result<Response, Error> {
        Ok(self.map(Into::into))
    }
}

impl<B: Into<Body>, E: Into<Error>> IntoResponse for Result<http::Response<B>, E> {
    fn into_response(self) -> Result<Response, Error> {
        self.map(|response| response.map(Into::into)).map_err(Into::into)
    }
}

/// Makes a response of whatever comes of an app's future: what every server does with an app.
///
/// Errors and panics are logged, each by whose fault it is. No panic's text reaches the client. The
/// error type is what servers ask for: there is never one.
///
/// # Cancel safety
///
/// Dropping it drops the app's future.
///
/// ```
/// use gateway_core::{App, Request, Response, respond};
///
/// async fn serve(app: impl App, request: Request) -> Response {
///     let Ok(response) = respond(async { app.call(request).await }).await;
///     response
/// }
/// ```
pub fn respond<F, B>(answer: F) -> impl Future<Output = Result<http::Response<B>, Infallible>>
where
    F: Future<Output = Result<http::Response<B>, Error>>,
    B: From<Body>,
{
    Respond { answer }
}

// Both of these are plain structs: an async block would move the request once more.

pin_project! {
    /// An app's function at work, to convert what it returns.
    struct Answer<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future<Output: IntoResponse>> Future for Answer<F> {
    type Output = Result<Response, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(IntoResponse::into_response)
    }
}

pin_project! {
    /// An app at work, to catch its panics and to make a response of its errors.
    struct Respond<F> {
        #[pin]
        answer: F,
    }
}

impl<F, B> Future for Respond<F>
where
    F: Future<Output = Result<http::Response<B>, Error>>,
    B: From<Body>,
{
    type Output = Result<http::Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.project().answer;
        let error = match catch_unwind(AssertUnwindSafe(|| answer.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => return Poll::Ready(Ok(response)),
            Ok(Poll::Ready(Err(error))) => error,
            Err(payload) => JoinError::panicked(payload).into(),
        };
        Poll::Ready(Ok(excuse(&error).map(B::from)))
    }
}

#[cold]
fn excuse(error: &Error) -> Response {
    error.log();
    error.response()
}

/// The largest request body, in bytes, that [`synchronous`] collects for a plain function.
const COLLECTED_BODY: usize = 2 * 1024 * 1024;

/// Makes an app of a plain synchronous function, which may block as it likes: each call runs as a
/// job, and delays no other request.
///
/// The request's body is collected first, up to 2 MiB; a larger one is answered with 413.
///
/// ```
/// use bytes::Bytes;
/// use gateway_core::synchronous;
///
/// let app = synchronous(|request: http::Request<Bytes>| {
///     http::Response::new(format!("{} bytes", request.body().len()))
/// });
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(app);
/// ```
pub fn synchronous<F, R>(function: F) -> Synchronous<F>
where
    F: Fn(http::Request<Bytes>) -> R + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    Synchronous(Arc::new(function))
}

/// The app that [`synchronous`] makes.
#[derive(Debug)]
pub struct Synchronous<F>(Arc<F>);

impl<F, R> App for Synchronous<F>
where
    F: Fn(http::Request<Bytes>) -> R + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let (head, body) = request.into_parts();
        let request = http::Request::from_parts(head, body.collect(COLLECTED_BODY).await?);
        let function = self.0.clone();
        unblock(move || function(request).into_response()).await?
    }
}
