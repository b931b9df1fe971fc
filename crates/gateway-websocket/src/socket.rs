//! `WebSocket`: messages both ways, and how they end.

use async_tungstenite::tungstenite::Utf8Bytes;
use bytes::Bytes;
use futures_channel::oneshot;
use gateway_core::Error;

use crate::connection::Connection;

/// A message, whole: fragments have been put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text. A clone shares its bytes.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
}

/// Messages from whatever their payload is made of without a copy.
macro_rules! from_payload {
    ($($variant:ident: $($source:ty),*;)*) => {$($(
        impl From<$source> for Message {
            fn from(payload: $source) -> Message {
                Message::$variant(payload.into())
            }
        }
    )*)*};
}

from_payload!(Text: &str, String, Utf8Bytes; Binary: Bytes, Vec<u8>, &'static [u8];);

/// How a peer has closed: RFC 6455, section 7.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// 1000 when all is well, 1001 when the peer goes away (a page that is left, say), 3000 to 4999
    /// what the app makes of it. 1005 says that the peer has given no code.
    pub code: u16,
    /// A reason for people to read, often empty.
    pub reason: String,
}

/// A WebSocket that an app has accepted.
///
/// One coroutine uses it at a time. To send while waiting for messages, wait for both: giving up
/// [`receive`](WebSocket::receive) loses nothing.
///
/// Dropping it closes it, with 1000, once the coroutine that [`accept`](crate::accept) was given has
/// ended, or with 1011 where that has failed.
#[derive(Debug)]
pub struct WebSocket {
    /// There until it is closed or dropped.
    connection: Option<Connection>,
    /// Where the connection goes when this is dropped: to the task that closes it.
    home: Option<oneshot::Sender<Connection>>,
    protocol: Option<&'static str>,
}

impl WebSocket {
    pub(crate) fn new(
        connection: Connection,
        home: oneshot::Sender<Connection>,
        protocol: Option<&'static str>,
    ) -> WebSocket {
        WebSocket { connection: Some(connection), home: Some(home), protocol }
    }

    /// The subprotocol agreed on, one of those that the app speaks.
    #[must_use]
    pub fn protocol(&self) -> Option<&'static str> {
        self.protocol
    }

    /// Waits for the next message. `None` says that the peer has closed, which has been answered then;
    /// or that the server drains, and it is time to come to an end. What is still to be said can be
    /// sent then.
    ///
    /// Pings are answered on the way, and sent to a peer that has been silent for long: see
    /// [`PING_AFTER`](crate::PING_AFTER).
    ///
    /// # Errors
    ///
    /// The client's fault, when it breaks the protocol, goes beyond a limit, or is gone. After an
    /// error there is no message any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped early.
    pub async fn receive(&mut self) -> Result<Option<Message>, Error> {
        self.connection().receive().await
    }

    /// Sends a message, and waits until the socket has taken it: a peer that does not read suspends
    /// it.
    ///
    /// # Errors
    ///
    /// The client's fault, when it has closed or is gone.
    ///
    /// # Cancel safety
    ///
    /// When this is dropped early, the message is sent as a whole, by the next call or the close, or
    /// not at all; nobody can tell which.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.connection().send(message.into()).await
    }

    /// The code and the reason with which the peer has closed, after [`receive`](WebSocket::receive)
    /// has given `None`.
    #[must_use]
    pub fn peer_close(&self) -> Option<&Close> {
        self.connection.as_ref().and_then(Connection::peer_close)
    }

    /// Closes with a code and a reason, and waits for the peer to agree, for
    /// [`CLOSE_DEADLINE`](crate::CLOSE_DEADLINE) at most. What the peer still sends is dropped.
    ///
    /// Where the peer has closed or broken the protocol before, that stands.
    ///
    /// # Errors
    ///
    /// The application's fault, when the code is none that can be sent (RFC 6455, section 7.4), or
    /// the reason is longer than 123 bytes. Then the connection is closed with 1000 or 1011, as if it
    /// had been dropped.
    ///
    /// # Cancel safety
    ///
    /// When this is dropped early, the connection is dropped.
    pub async fn close(mut self, code: u16, reason: &str) -> Result<(), Error> {
        Connection::check_close(code, reason)?;
        if let Some(connection) = self.connection.take() {
            connection.end(code, reason).await;
        }
        Ok(())
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("only closing and dropping take it, and they take all of it")
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if let (Some(connection), Some(home)) = (self.connection.take(), self.home.take()) {
            // Nobody is at home when the host is going: then the connection is dropped.
            let _ = home.send(connection);
        }
    }
}
