//! WebSocket for applications: a request becomes a [`WebSocket`], in a coroutine of its own.
//!
//! # The idea
//!
//! A WebSocket (RFC 6455) begins as a request of HTTP/1.1. The app agrees to it with `101 Switching
//! Protocols`, and from then on both sides send messages, text or binary, whenever they like. So the
//! answer comes at once, and what follows runs in a task beside it:
//!
//! ```
//! use gateway_core::{Error, Request, Response};
//!
//! async fn echo(request: Request) -> Result<Response, Error> {
//!     gateway_websocket::accept(request, async |mut socket| {
//!         while let Some(message) = socket.receive().await? {
//!             socket.send(message).await?;
//!         }
//!         Ok(())
//!     })
//! }
//! # fn is_app(_: impl gateway_core::App) {}
//! # is_app(echo);
//! ```
//!
//! The connection is closed when the coroutine has ended, and how it has ended is the close code:
//!
//! | what happens | close code | what the app sees |
//! |---|---|---|
//! | the coroutine returns `Ok`, or drops its socket | 1000 | |
//! | it returns an error, or panics: logged | 1011 | |
//! | [`WebSocket::close`] | the app's: 1001 when it goes away, say | `Ok` |
//! | the peer closes | the peer's, sent back | [`receive`](WebSocket::receive) gives `None`; [`peer_close`](WebSocket::peer_close) has code and reason |
//! | the server drains, and the coroutine returns | 1001 | `receive` gives `None`; [`draining`](gateway_core::draining) ends |
//! | the peer breaks the protocol: a frame without a mask, say | 1002 | an error, the client's fault |
//! | text that is not UTF-8 | 1007 | an error, the client's fault |
//! | a message or a frame beyond its limit | 1009 | an error, the client's fault |
//! | the peer vanishes, or leaves a ping unanswered | none: nobody is there | an error, the client's fault |
//!
//! # Who sets the pace
//!
//! Whoever reads. [`WebSocket::send`] waits until the socket has taken the message, so a peer that
//! does not read suspends it; what waits here is that one message, and at most one ping or pong.
//! The server's write deadline ([`Deadlines::write`](gateway_http::Deadlines::write)) gives up a peer
//! that takes next to nothing. The other way round, nothing is read while the app is not in
//! [`WebSocket::receive`]: then the peer's messages wait on its side. That is true of its pings, too,
//! which are answered within `receive`, and of its close. What has to be sent goes out before more is
//! read, so a peer that sends pings and reads no pongs is suspended, and nothing piles up.
//!
//! | bound | default | beyond it |
//! |---|---|---|
//! | [`MESSAGE_BYTES`]: one message received | 1 MiB | close 1009 |
//! | [`FRAME_BYTES`]: one frame, a part of a message | 1 MiB | close 1009 |
//! | [`PING_AFTER`]: silence in `receive` | 30 s | a ping; after as long again the peer is gone |
//! | [`CLOSE_DEADLINE`]: the close, once it has begun | 5 s | the connection is dropped |
//! | [`READ_BYTES`]: what is read at a time | 8 KiB | |
//!
//! The first three are [`Options`].
//!
//! # Other people's pages
//!
//! A browser lets any page open a WebSocket to any server, and sends that server's cookies along. An
//! app that knows its users by their cookies has to look at the Origin field, or a page of somebody
//! else speaks in their name (cross-site WebSocket hijacking): see [`same_origin`].
//!
//! # What there is not
//!
//! - WebSocket over HTTP/2 (RFC 8441). A request over HTTP/2 is answered with 400. Browsers open a
//!   WebSocket with HTTP/1.1, unless a server offers the other way.
//! - Extensions; so no compression.
//!
//! | file | what it holds |
//! |---|---|
//! | `handshake.rs` | what makes a request one for a WebSocket, and the answer |
//! | `socket.rs` | `WebSocket`, `Message`, `Close`: what an app works with |
//! | `connection.rs` | the connection beneath: receiving, sending, silence, the close |
//! | `options.rs` | the bounds, and the task that an upgrade starts |

#![forbid(unsafe_code)]

mod connection;
mod handshake;
mod options;
mod socket;

pub use async_tungstenite::tungstenite::Utf8Bytes;
pub use connection::{CLOSE_DEADLINE, READ_BYTES};
pub use handshake::same_origin;
pub use options::{FRAME_BYTES, MESSAGE_BYTES, Options, PING_AFTER, accept};
pub use socket::{Close, Message, WebSocket};
