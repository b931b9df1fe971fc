//! A tower service as an app, and an app as a tower service: axum on every host, and back.
#![forbid(unsafe_code)]

mod app;
mod body;
mod keep_alive;
mod service;
mod timeout;

pub use app::{READY_DEADLINE, ServiceApp, app};
pub use body::RequestBody;
pub use keep_alive::{KeepAlive, keep_alive};
pub use service::{AppBody, AppService, service, service_on};
pub use timeout::{Timeout, TimeoutFuture, TimeoutLayer};
