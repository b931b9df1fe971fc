//! The HTTP/1.1 and HTTP/2 server, written once over the yield protocol.
//!
//! The server is itself a coroutine: its accept loop, its connections and its timers all go through
//! the protocol. That is why a host of forty lines buys all of it. The wire is hyper's.
//!
//! ```no_run
//! use gateway_core::{Body, Request, Response};
//! use gateway_http::Server;
//!
//! async fn hello(request: Request) -> Response {
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//!
//! # fn example(host: &impl gateway_core::Host) -> std::io::Result<()> {
//! Server::new(hello).bind("127.0.0.1:8080")?.run_on(host)
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `server.rs` | the accept loop, and the way to shut down |
//! | `listener.rs` | where it listens: `127.0.0.1:8080`, `unix:path`, `systemd` |
//! | `transport.rs` | a connection's bytes, plain or through TLS, and how it gets to its first request |
//! | `proxy.rs` | the PROXY header, from trusted proxies |
//! | `tls.rs` | certificates and the handshake |
//! | `bounds.rs` | deadlines and limits, with what the client sees of them |
//! | `lifespan.rs` | what an app does before the first request and after the last |
//! | `monitor.rs` | what a server shows of itself |
//! | `connection.rs` | one connection: which protocol, when to go |
//! | `exchange.rs` | one request on its way to the app, and its response on the way back |
//! | `connections.rs` | what the server knows of all its connections |
//! | `departures.rs` | clients that leave while their request is in hand |
//! | `detached.rs` | handlers that go on without their client |
//! | `delivery.rs` | whether a response was sent whole |
//! | `guarded.rs` | a connection's stream under its server's eyes |
//! | `lines.rs` | what hyper's parser of HTTP/1 lets through, found before it |
//! | `stalled.rs` | a stream of HTTP/2 whose client takes nothing |
//! | `flood.rs` | frames of HTTP/2 that carry nothing |
//! | `strict.rs` | what hyper lets through, and the gateway does not |
//! | `announced.rs` | a body that keeps to the length that its head announces |
//! | `linger.rs` | closing without losing the last response |
//! | `preface.rs` | HTTP/1 or HTTP/2, by the first bytes |
//! | `upgrade.rs` | `101` and `CONNECT`: the connection becomes the app's |

#![forbid(unsafe_code)]

mod announced;
mod bodies;
mod bounds;
mod connection;
mod connections;
mod delivery;
mod departures;
mod detached;
mod exchange;
mod flood;
mod guarded;
mod lifespan;
mod lines;
mod linger;
mod listener;
mod monitor;
mod preface;
mod proxy;
mod server;
mod stalled;
mod strict;
mod tls;
mod transport;
mod upgrade;

pub use bounds::{Deadline, Deadlines, Limits};
pub use connection::STREAM_BUFFER;
pub use connections::FIRST_REQUEST;
pub use delivery::{Delivery, delivery};
pub use detached::{Notified, RunOn, notified, run_on};
pub use exchange::handler_deadline;
pub use flood::FLOOD;
pub use guarded::WRITE_PROGRESS;
pub use linger::LINGER;
pub use listener::Listener;
pub use monitor::{Activity, Monitor};
pub use proxy::{PROXY_BYTES, Proxies};
pub use server::{Bound, HANDSHAKES, Server};
pub use strict::UPGRADE_BODY;
pub use tls::Tls;
pub use upgrade::{Upgraded, upgrade};

pub use gateway_core::{Peer, TlsFacts, WithPeer, peer, set_body_limit, with_peer};
