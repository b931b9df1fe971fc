//! What an operator needs: request ids, an access log, metrics, health. An app around an app, a
//! trampoline around a trampoline, and an app of its own.
//!
//! | part | what it is | file |
//! |---|---|---|
//! | [`Observed`] | an app around an app: ids, a line in the log, numbers | `observed.rs` |
//! | [`RequestId`] | the name of one request | `request_id.rs` |
//! | [`ACCESS_LOG`] | the lines, and how values are made safe for them | `access_log.rs` |
//! | [`Metrics`] | the numbers | `metrics.rs`, and `process.rs` for those of the process |
//! | [`Counted`] | a trampoline around a trampoline: waits by kind | `counted.rs` |
//! | [`Page`] | the numbers as Prometheus reads them | `page.rs` |
//! | [`Admin`] | `/livez`, `/readyz`, `/metrics`, on an address of their own | `admin.rs` |
//!
//! With `gateway-launch` these are flags: `--access-log`, `--log-format json`, `--admin ADDRESS`.
//! `docs/operations.md` is the page for operators, and tells what each costs: with all of them off,
//! nothing, since the server is then one for the bare app. By hand:
//!
//! ```no_run
//! use gateway_core::{Body, Coroutine, Host, Request, Response, spawn, trampoline};
//! use gateway_http::Server;
//! use gateway_operations::{Admin, Counted, Metrics, Observed};
//! use std::sync::Arc;
//!
//! async fn hello(_: Request) -> Response {
//!     Response::new(Body::from("hello"))
//! }
//!
//! # fn example(host: &impl Host) -> std::io::Result<()> {
//! let metrics = Metrics::new();
//! let app = Observed::new(hello).access_log().metrics(&metrics);
//! let server = Server::new(app).bind("127.0.0.1:8080")?;
//! let admin = Server::new(Admin::new(&metrics, || Ok(()))).bind("127.0.0.1:9090")?;
//! host.run(async {
//!     spawn(admin.serve(std::future::pending()));
//!     let counted = Counted::new(trampoline()?, &metrics);
//!     Coroutine::new(Arc::new(counted), server.serve(std::future::pending())).await
//! })
//! # }
//! ```

#![forbid(unsafe_code)]

mod access_log;
mod admin;
mod counted;
mod metrics;
mod observed;
mod page;
mod process;
mod request_id;

pub use access_log::{ACCESS_LOG, LONGEST_VALUE};
pub use admin::Admin;
pub use counted::Counted;
pub use metrics::Metrics;
pub use observed::Observed;
pub use page::Page;
pub use request_id::{LONGEST_REQUEST_ID, RequestId, X_REQUEST_ID};
