//! The contract between an application and whatever runs it: yields, trampolines, coroutines, apps.
//!
//! # The idea
//!
//! [`Poll::Pending`](std::task::Poll::Pending) does not say what a future is waiting for. The
//! reactor that knows is found behind the application's back, so a timer or a socket of one runtime
//! fails on another. Here a coroutine *yields what it waits for*, and its host decides how to wait.
//!
//! | part | what it is | file |
//! |---|---|---|
//! | [`Yield`] | everything a coroutine may wait for that needs its host: a closed set | `yields.rs` |
//! | [`Trampoline`] | answers a yield: one method, one `match` | `trampoline.rs` |
//! | [`Host`] | owns what coroutines run on, and runs one to its end | `trampoline.rs` |
//! | [`Coroutine`] | a future together with the trampoline that drives it | `coroutine.rs` |
//! | [`sleep`], [`timeout`], [`spawn`], [`unblock`], [`poll_io`] | the only functions that ever yield | `leaves.rs` |
//! | [`Socket`], [`Reactor`] | a socket, and how its host waits for it | `socket.rs` |
//! | [`JoinHandle`], [`ScopedHandle`] | the result of a task or a job | `join.rs` |
//! | [`disconnected`], [`draining`] | what a handler hears of its client and its server | `client.rs` |
//! | [`peer`], [`set_body_limit`] | who has sent a request, and how large its body may be | `peer.rs`, `limit.rs` |
//! | [`App`], [`Request`], [`Response`], [`Body`], [`Error`] | what an application is made of | `app.rs`, `body.rs`, `error.rs` |
//!
//! # For application authors
//!
//! An application is an async function from [`Request`] to [`Response`]. Inside it, await anything
//! that needs only an honest waker, and use the leaf functions of this crate for time, tasks and
//! blocking work. It then runs on every host, unchanged.
//!
//! ```
//! use gateway_core::{Body, Request, Response, sleep};
//! use std::time::Duration;
//!
//! async fn hello(request: Request) -> Response {
//!     sleep(Duration::from_millis(10)).await;
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//! # fn is_app(_: impl gateway_core::App) {}
//! # is_app(hello);
//! ```
//!
//! # For host authors
//!
//! Implement [`Trampoline`], [`Reactor`] and [`Host`]. A whole host is about forty lines; the guide
//! `docs/guide-adapter.md` writes one from nothing but std.

#![forbid(unsafe_code)]

mod app;
mod body;
mod client;
mod coroutine;
mod error;
mod join;
mod leaves;
mod limit;
mod peer;
mod socket;
mod trampoline;
mod yields;

pub use app::{App, IntoResponse, Request, Response, Synchronous, respond, synchronous};
pub use body::{Body, Sender};
pub use client::{Attended, Client, Departure, disconnected, draining};
pub use coroutine::{Coroutine, YIELDS_PER_POLL, trampoline};
pub use error::{BoxError, Error, Fault};
pub use join::{JoinError, JoinHandle, ScopedHandle};
pub use leaves::{
    Elapsed, Sleep, poll_io, sleep, sleep_until, spawn, spawn_scoped, timeout, unblock,
};
pub use limit::{BodyLimit, set_body_limit};
pub use peer::{Peer, TlsFacts, WithPeer, peer, with_peer};
pub use socket::{Direction, Operation, Reactor, Socket};
pub use trampoline::{Host, Trampoline};
pub use yields::{Io, Job, Task, Timer, Yield};
