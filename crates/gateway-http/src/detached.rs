//! Handlers that go on without their client: [`notified`] and [`run_on`].
//!
//! What happens to a handler when its client leaves is a matter of the app around it:
//!
//! | the client has | an app as it is | `notified(app)` | `run_on(app)` |
//! |---|---|---|---|
//! | reset its connection or stream | is dropped at once | is told, and goes on | goes on |
//! | closed its sending side | is told, and dropped after [`Deadlines::grace`](crate::Deadlines::grace) | is told, and goes on | goes on |
//!
//! "Told" is what [`gateway_core::disconnected`] waits for. Each is middleware: around the whole app
//! it is the server's policy, around one route that route's. For a part of a handler,
//! [`gateway_core::spawn`] does the same.
//!
//! What goes on is a task of its own, which no deadline of the server ends and no drain waits for.

use std::sync::Arc;

use gateway_core::{App, Error, Request, Response, spawn, spawn_scoped};

/// The app whose handlers are told that their client has left, and go on.
pub fn notified<A: App>(app: A) -> Notified<A> {
    Notified(Arc::new(app))
}

/// The app whose handlers go on, and never hear of a client that has left.
///
/// ```
/// use gateway_core::{Request, Response};
/// use gateway_http::{Server, run_on};
///
/// async fn pay(_: Request) -> Response {
///     // What has begun is finished, whoever waits for it.
///     Response::default()
/// }
/// # drop(
/// Server::new(run_on(pay))
/// # );
/// ```
pub fn run_on<A: App>(app: A) -> RunOn<A> {
    RunOn(Arc::new(app))
}

/// What [`notified`] makes.
#[derive(Debug)]
pub struct Notified<A>(Arc<A>);

/// What [`run_on`] makes.
#[derive(Debug)]
pub struct RunOn<A>(Arc<A>);

impl<A: App> App for Notified<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let app = self.0.clone();
        spawn_scoped(async move { app.call(request).await }).unscoped().await?
    }
}

impl<A: App> App for RunOn<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let app = self.0.clone();
        spawn(async move { app.call(request).await }).await?
    }
}
