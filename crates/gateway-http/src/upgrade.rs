//! Upgrades: after a `101`, or a 2xx answer to `CONNECT`, the connection becomes the app's.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_core::{Error, Request};
use gateway_net::Portable;
use http::StatusCode;

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
    let claim = request.extensions().get::<Claim>().cloned().unwrap_or_default();
    claim.0.made.store(true, Ordering::Release);
    let upgrade = hyper::upgrade::on(request);
    async move {
        let failed = |error| Error::client(StatusCode::BAD_REQUEST, error);
        let upgraded = upgrade.await.map_err(failed)?;
        // hyper gives out a connection at its end, too, whatever the answer was.
        match claim.0.granted.load(Ordering::Acquire) {
            true => Ok(Portable(upgraded)),
            false => {
                let message = "the answer was another one, so the connection is not handed over";
                Err(Error::client(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

/// Whether an app has taken over the connection of its request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    made: AtomicBool,
    granted: AtomicBool,
}

impl Claim {
    pub(crate) fn is_made(&self) -> bool {
        self.0.made.load(Ordering::Acquire)
    }

    /// The answer is the one that hands the connection over.
    pub(crate) fn grant(&self) {
        self.0.granted.store(true, Ordering::Release);
    }
}
