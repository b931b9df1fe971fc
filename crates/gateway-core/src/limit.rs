//! `BodyLimit`: how many bytes a request's body may have, which its app may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::Request;

/// For servers: how many bytes a request's body may have. It is put among the request's extensions,
/// and asked whenever more of the body has come.
#[derive(Clone, Debug)]
pub struct BodyLimit(Arc<AtomicU64>);

impl BodyLimit {
    /// So many bytes, unless the app says otherwise.
    #[must_use]
    pub fn new(bytes: u64) -> BodyLimit {
        BodyLimit(Arc::new(bytes.into()))
    }

    /// How many bytes that are now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets this request's body have so many bytes, whatever its server's limit says. Call it before the
/// body is read.
///
/// ```
/// use gateway_core::{Request, Response, set_body_limit};
///
/// async fn upload(request: Request) -> Response {
///     set_body_limit(&request, 1024 * 1024 * 1024);
///     // Read it frame by frame.
///     # drop(request);
///     Response::default()
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(upload);
/// ```
pub fn set_body_limit(request: &Request, bytes: u64) {
    if let Some(limit) = request.extensions().get::<BodyLimit>() {
        limit.0.store(bytes, Ordering::Relaxed);
    }
}
