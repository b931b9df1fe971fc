//! Upgrades: after a `101`, or a 2xx answer to `CONNECT`, the connection becomes the app's.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_core::{Error, Request};
use gateway_net::Portable;

/// A connection that an app has taken over, in all three trait families. What the client sent
/// behind the head is read first.
pub type Upgraded = Portable<hyper::upgrade::Upgraded>;

/// Takes the connection over once the app has answered with `101 Switching Protocols`, or with 2xx
/// to `CONNECT`.
///
/// The future resolves only after that answer, so it belongs into a task of its own:
///
/// ```no_run
/// use gateway_core::{Body, Request, Response, spawn};
///
/// async fn echo(mut request: Request) -> Response {
///     let upgraded = gateway_http::upgrade(&mut request);
///     spawn(async {
///         let Ok(upgraded) = upgraded.await else { return };
///         // Speak the new protocol over `upgraded`.
///         # drop(upgraded);
///     });
///     let head = http::Response::builder().status(101);
///     head.header("connection", "upgrade").header("upgrade", "echo").body(Body::empty()).unwrap()
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(echo);
/// ```
///
/// # Errors
///
/// The client's fault, when the request did not ask for an upgrade; and when the connection ended
/// first, or the app answered otherwise.
pub fn upgrade(request: &mut Request) -> impl Future<Output = Result<Upgraded, Error>> + use<> {
    if let Some(claim) = request.extensions().get::<Claim>() {
        claim.0.store(true, Ordering::Release);
    }
    let upgrade = hyper::upgrade::on(request);
    async {
        let failed = |error| Error::client(http::StatusCode::BAD_REQUEST, error);
        upgrade.await.map(Portable).map_err(failed)
    }
}

/// Whether an app has taken over the connection of its request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    pub(crate) fn is_made(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
