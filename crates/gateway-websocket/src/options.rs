//! `Options`: the bounds of a WebSocket, its subprotocols, and the task that an upgrade starts.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use futures_channel::oneshot;
use futures_util::FutureExt;
use gateway_core::{Error, JoinError, Request, Response, draining, spawn_scoped};
use gateway_http::Upgraded;

use crate::connection::{Connection, NORMAL, READ_BYTES};
use crate::handshake;
use crate::socket::WebSocket;

/// The largest message, in bytes, that is received unless told otherwise.
pub const MESSAGE_BYTES: usize = 1024 * 1024;

/// The largest frame, in bytes without its head, that is received unless told otherwise. Room for a
/// frame is set aside as soon as its head has arrived.
pub const FRAME_BYTES: usize = 1024 * 1024;

/// How long a peer may be silent before it gets a ping, unless told otherwise. When it is silent for
/// as long again, it is gone.
pub const PING_AFTER: Duration = Duration::from_secs(30);

/// Accepts a WebSocket with the default [`Options`]: see there.
///
/// # Errors
///
/// As [`Options::accept`].
pub fn accept<C, F>(request: Request, coroutine: C) -> Result<Response, Error>
where
    C: FnOnce(WebSocket) -> F + Send + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    Options::new().accept(request, coroutine)
}

/// How a WebSocket is accepted.
///
/// ```
/// use gateway_core::{Error, Request, Response};
/// use gateway_websocket::{Message, Options};
///
/// const CHAT: Options = Options::new().message_bytes(64 * 1024).protocols(&["chat.v2", "chat.v1"]);
///
/// async fn chat(request: Request) -> Result<Response, Error> {
///     CHAT.accept(request, async |mut socket| match socket.protocol() {
///         Some("chat.v2") => socket.send("welcome to the second version").await,
///         Some(_) => socket.send("welcome").await,
///         None => socket.close(1002, "this speaks chat.v2 and chat.v1").await,
///     })
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(chat);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    message_bytes: usize,
    frame_bytes: usize,
    ping_after: Duration,
    protocols: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The default bounds, and no subprotocols.
    #[must_use]
    pub const fn new() -> Options {
        Options {
            message_bytes: MESSAGE_BYTES,
            frame_bytes: FRAME_BYTES,
            ping_after: PING_AFTER,
            protocols: &[],
        }
    }

    /// The largest message that is received, in bytes.
    #[must_use]
    pub const fn message_bytes(self, message_bytes: usize) -> Options {
        Options { message_bytes, ..self }
    }

    /// The largest frame that is received, in bytes.
    #[must_use]
    pub const fn frame_bytes(self, frame_bytes: usize) -> Options {
        Options { frame_bytes, ..self }
    }

    /// How long the peer may be silent before it gets a ping, while the app is receiving.
    #[must_use]
    pub const fn ping_after(self, ping_after: Duration) -> Options {
        Options { ping_after, ..self }
    }

    /// The subprotocols that the app speaks, the best first. The first one that the client has asked
    /// for is agreed on; where there is none, the socket opens without, and either side may close it.
    #[must_use]
    pub const fn protocols(self, protocols: &'static [&'static str]) -> Options {
        Options { protocols, ..self }
    }

    /// Answers a request for a WebSocket with `101 Switching Protocols`, and starts a task with the
    /// coroutine that uses it. How that ends is the close code: see the crate's table.
    ///
    /// The answer has to reach the server as it is. Where it does not, because a middleware answers
    /// otherwise, the coroutine never starts, and is dropped when the connection ends.
    ///
    /// A request for another version than 13 is answered with 426, which says so.
    ///
    /// # Errors
    ///
    /// The client's fault, 400, when the request is none for a WebSocket, by the rules of RFC 6455,
    /// section 4.2.1. The text says what is missing.
    pub fn accept<C, F>(self, mut request: Request, coroutine: C) -> Result<Response, Error>
    where
        C: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let Some(key) = handshake::check(&request)? else { return Ok(handshake::other_version()) };
        let protocol = handshake::choose(self.protocols, request.headers());
        let response = handshake::agree(key, protocol)?;
        let upgraded = gateway_http::upgrade(&mut request);
        let task = spawn_scoped(async move {
            match upgraded.await {
                Ok(upgraded) => self.run(upgraded, protocol, coroutine).await,
                Err(error) => error.log(),
            }
        });
        // It outlives its request, and hears of the client and the server as a handler does.
        drop(task.unscoped());
        Ok(response)
    }

    /// Runs the coroutine to its end, and closes the connection then, unless it has done so itself.
    async fn run<C, F>(self, upgraded: Upgraded, protocol: Option<&'static str>, coroutine: C)
    where
        C: FnOnce(WebSocket) -> F,
        F: Future<Output = Result<(), Error>>,
    {
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.message_bytes))
            .max_frame_size(Some(self.frame_bytes))
            .read_buffer_size(READ_BYTES)
            // A message is sent when it has been handed over, not when more have come.
            .write_buffer_size(0);
        let connection = Connection::new(upgraded, config, self.ping_after, draining()).await;
        let (home, returned) = oneshot::channel();
        let socket = WebSocket::new(connection, home, protocol);
        let coroutine = AssertUnwindSafe(async move { coroutine(socket).await });
        let failure = match coroutine.catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(payload) => Some(JoinError::panicked(payload).into()),
        };
        let code = match failure {
            None => NORMAL,
            Some(error) => {
                error.log();
                1011
            }
        };
        if let Ok(connection) = returned.await {
            connection.end(code, "").await;
        }
    }
}
