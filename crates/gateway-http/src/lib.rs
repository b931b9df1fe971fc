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
//! | `peer.rs` | who is at the other end, for the app |
//! | `connection.rs` | one connection: which protocol, which app, when to go |
//! | `connections.rs` | what the server knows of all its connections |
//! | `departures.rs` | clients that leave while their request is in hand |
//! | `strict.rs` | what hyper lets through, and the gateway does not |
//! | `announced.rs` | a body that keeps to the length that its head announces |
//! | `linger.rs` | closing without losing the last response |
//! | `preface.rs` | HTTP/1 or HTTP/2, by the first bytes |
//! | `upgrade.rs` | `101` and `CONNECT`: the connection becomes the app's |

#![forbid(unsafe_code)]

mod announced;
mod connection;
mod connections;
mod departures;
mod linger;
mod listener;
mod peer;
mod preface;
mod proxy;
mod server;
mod strict;
mod tls;
mod transport;
mod upgrade;

pub use connection::HEAD_BYTES;
pub use connections::{DEPARTURE_GRACE, IDLE_DEADLINE};
pub use linger::LINGER;
pub use listener::Listener;
pub use peer::{Peer, TlsFacts};
pub use proxy::{PROXY_BYTES, PROXY_DEADLINE, Proxies};
pub use server::{Bound, DRAIN_DEADLINE, Server};
pub use strict::UPGRADE_BODY;
pub use tls::{HANDSHAKE_DEADLINE, Tls};
pub use upgrade::{Upgraded, upgrade};
