//! A tower service as an app, and an app as a tower service: axum on every host, and back.
//!
//! # The idea
//!
//! A tower service is a function from a request to a future of a response, and so is an app. What
//! stands between is small: who is ready when, whose body it is, and who answers a yield.
//!
//! | from | to | by |
//! |---|---|---|
//! | a tower service, an axum `Router`, say | an app, on every host | [`app`](crate::app()) |
//! | an app | a service, inside an app | [`service`](crate::service()) |
//! | an app | a service, in a server of axum's or hyper's | [`service_on`] |
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     let router = Router::new().route("/", get("hello"));
//!     gateway_launch::main(gateway_tower::app(router))
//! }
//! ```
//!
//! What axum and tower-http have for tokio alone is here for every host: [`TimeoutLayer`] and
//! [`keep_alive`](crate::keep_alive()). A WebSocket is `gateway_websocket::accept` in a handler.
//! The guide `docs/guide-axum.md` lists what works as it is, what to use instead, and what needs
//! the tokio host.
//!
//! # What is not portable
//!
//! A service that needs tokio and is on another host panics: "there is no reactor running". That
//! is a 500, as any panic of an app's is, and the log has the panic's text. On the tokio host it
//! works.
//!
//! # Bounds
//!
//! | bound | value | beyond it |
//! |---|---|---|
//! | [`READY_DEADLINE`]: a service that is not ready | 30 s | 503 |
//!
//! Nothing is buffered here: a body is asked for its next frame when the other side has taken the
//! last one. As many requests wait as the server has in hand.
//!
//! # What it costs
//!
//! One router with one route, a small request, one thread, on tokio
//! (`cargo xtask bench tokio axum gateway-axum`; axum 0.8.9, hyper 1.12, Rust 1.95):
//!
//! | server | instructions per request | ÷ axum's own server | system calls |
//! |---|---:|---:|---:|
//! | axum's own | 12,323 | 1.00 | 2.07 |
//! | the gateway, with the router | 13,655 | 1.11 | 2.07 |
//! | the gateway, without a router | 8,969 | 0.73 | 2.07 |
//! | raw hyper, without a router | 7,506 | 0.61 | 2.07 |
//!
//! The bridge is not where the difference is. A router adds 4,686 instructions to the gateway's
//! server and 4,817 to raw hyper, with what axum's own server does besides. The gateway's server
//! itself takes 1,463 more than raw hyper: for its checks of requests and responses, for deadlines
//! and departures.
//!
//! | file | what it holds |
//! |---|---|
//! | `app.rs` | a service as an app: readiness |
//! | `service.rs` | an app as a service: its trampoline |
//! | `body.rs` | bodies and errors on their way across |
//! | `timeout.rs` | a deadline for a response |
//! | `keep_alive.rs` | server-sent events that are never silent for long |

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
