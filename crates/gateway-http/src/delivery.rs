//! `delivery`: whether a response was sent whole.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;
use gateway_core::Response;

/// Tells whether a response was sent whole: head and body to their end, with all bytes given to the
/// system. Whether they have arrived nobody can tell; a client that says so in its own words can.
///
/// Ask before the response leaves the app; the future belongs into a task:
///
/// ```
/// use gateway_core::{Body, Request, Response, spawn};
/// use gateway_http::{Delivery, delivery};
///
/// async fn download(_: Request) -> Response {
///     let mut response = Response::new(Body::from("once and only once"));
///     let delivery = delivery(&mut response);
///     spawn(async move {
///         if delivery.await == Delivery::Whole {
///             // Take it off the list.
///         }
///     });
///     response
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(download);
/// ```
///
/// # Cancel safety
///
/// Giving it up loses the answer, and nothing else.
pub fn delivery(response: &mut Response) -> impl Future<Output = Delivery> + Send + use<> {
    let (receipt, delivery) = oneshot::channel();
    response.extensions_mut().insert(Receipt::new(receipt));
    async { delivery.await.unwrap_or(Delivery::Cut) }
}

/// What became of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// All of it was given to the system.
    Whole,
    /// It was cut off: the client has left, a deadline has passed, or the body failed.
    Cut,
}

/// What a response carries to the connection that sends it. Dropped unsigned, it says that the
/// response was cut off.
#[derive(Clone)]
pub(crate) struct Receipt(Arc<Mutex<Option<oneshot::Sender<Delivery>>>>);

impl Receipt {
    fn new(sender: oneshot::Sender<Delivery>) -> Receipt {
        Receipt(Arc::new(Mutex::new(Some(sender))))
    }

    /// The response was sent whole.
    pub(crate) fn sent(self) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody may want to know any more.
        let _ = sender.map(|sender| sender.send(Delivery::Whole));
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
