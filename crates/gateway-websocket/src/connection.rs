//! `Connection`: what is beneath a WebSocket. Receiving, sending, silence, and the close.
//!
//! The frames are tungstenite's. What is added here is who waits for whom:
//!
//! - Before anything is read or sent, what is still to be sent goes out. So what waits is one
//!   message and one ping or pong, whatever the peer does.
//! - A peer that is silent gets a ping, and is gone when it stays silent.
//! - A close ends after a deadline, and nothing that was sent last is lost in it: the sending side is
//!   closed first, and what still comes is read and dropped. A socket closed with unread input is
//!   reset, and the reset may overtake the close code that explains it.
//!
//! | state | entered | how it ends |
//! |---|---|---|
//! | `Open` | at the start | our code is sent, and the peer's awaited |
//! | `Closed` | the peer has closed, and that has been answered | nothing is left to send |
//! | `Draining` | the server drains, and no message is there | our code says so, and the peer's is awaited |
//! | `Failed` | the peer has broken the protocol | the code that says so is sent, and not awaited |
//! | `Gone` | the connection has failed, or the peer is silent | it is dropped |

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::error::ProtocolError;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error as WireError, Message as Frame};
use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt, SinkExt, StreamExt};
use gateway_core::{Error, Fault, Sleep, sleep_until, timeout};
use gateway_http::Upgraded;
use http::StatusCode;

use crate::socket::{Close, Message};

/// How long a close may take, from sending the code until the peer has closed as well.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How much is read at a time, in bytes. Each WebSocket has a buffer of this size.
pub const READ_BYTES: usize = 8 * 1024;

/// The code of a close that has no reason to be another.
pub(crate) const NORMAL: u16 = 1000;

/// The code of a server that drains.
const GOING_AWAY: u16 = 1001;

/// The longest reason of a close, in bytes: RFC 6455, section 5.5.
const REASON_BYTES: usize = 123;

/// The connection beneath a WebSocket.
pub(crate) struct Connection {
    socket: WebSocketStream<Upgraded>,
    state: State,
    ping_after: Duration,
    drains: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    silence: Sleep,
    /// When the silence has lasted too long.
    until: Instant,
    /// Whether there was a ping in this silence.
    pinged: bool,
}

/// See the file's table.
enum State {
    Open,
    Closed(Close),
    Draining,
    Failed(u16, &'static str),
    Gone,
}

impl Connection {
    pub(crate) async fn new(
        upgraded: Upgraded,
        config: WebSocketConfig,
        ping_after: Duration,
        drains: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Connection {
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        let until = Instant::now() + ping_after;
        let silence = sleep_until(until);
        let (state, drains, pinged) = (State::Open, Box::pin(drains), false);
        Connection { socket, state, ping_after, drains, silence, until, pinged }
    }

    pub(crate) fn peer_close(&self) -> Option<&Close> {
        match &self.state {
            State::Closed(close) => Some(close),
            _ => None,
        }
    }

    /// The next message, or `None` once the peer has closed or the server drains.
    pub(crate) async fn receive(&mut self) -> Result<Option<Message>, Error> {
        if !matches!(self.state, State::Open) {
            return Ok(None);
        }
        // Nobody has listened meanwhile, so that was no silence.
        if self.until <= Instant::now() {
            self.listens();
        }
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        loop {
            if let Poll::Ready(received) = self.poll_message(cx) {
                return Poll::Ready(received.map_err(|error| self.fails(error)));
            }
            if self.drains.as_mut().poll(cx).is_ready() {
                self.state = State::Draining;
                return Poll::Ready(Ok(None));
            }
            ready!(Pin::new(&mut self.silence).poll(cx));
            if self.pinged {
                self.state = State::Gone;
                let silent = format!("the peer leaves a ping unanswered for {:?}", self.ping_after);
                return Poll::Ready(Err(Error::client(StatusCode::REQUEST_TIMEOUT, silent)));
            }
            self.pinged = true;
            self.listens();
            if let Err(error) = self.socket.start_send_unpin(Frame::Ping(Bytes::new())) {
                return Poll::Ready(Err(self.fails(error)));
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, WireError>> {
        loop {
            ready!(self.socket.poll_flush_unpin(cx))?;
            let Some(frame) = ready!(self.socket.poll_next_unpin(cx)) else {
                return Poll::Ready(Ok(None));
            };
            let frame = frame?;
            self.pinged = false;
            self.listens();
            match frame {
                Frame::Text(text) => return Poll::Ready(Ok(Some(Message::Text(text)))),
                Frame::Binary(bytes) => return Poll::Ready(Ok(Some(Message::Binary(bytes)))),
                Frame::Close(close) => self.state = State::Closed(closed(close)),
                // tungstenite has made the pong, which the next turn sends.
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
        }
    }

    /// The silence begins now.
    fn listens(&mut self) {
        self.until = Instant::now() + self.ping_after;
        self.silence.reset(self.until);
    }

    pub(crate) async fn send(&mut self, message: Message) -> Result<(), Error> {
        if !matches!(self.state, State::Open | State::Draining) {
            let message = "the WebSocket is closed, and nothing can be sent any more";
            return Err(Error::client(StatusCode::BAD_REQUEST, message));
        }
        let frame = match message {
            Message::Text(text) => Frame::Text(text),
            Message::Binary(bytes) => Frame::Binary(bytes),
        };
        // What an earlier call has left behind goes out first.
        let sent = match self.socket.flush().await {
            Ok(()) => self.socket.send(frame).await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| self.fails(error))
    }

    /// Takes note of what the connection has failed with.
    fn fails(&mut self, error: WireError) -> Error {
        self.state = match &error {
            WireError::Capacity(_) => State::Failed(1009, "larger than what is accepted here"),
            WireError::Utf8(_) => State::Failed(1007, "text that is not UTF-8"),
            WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => State::Gone,
            WireError::Protocol(_) => State::Failed(1002, "not the protocol of RFC 6455"),
            _ => State::Gone,
        };
        Error::client(StatusCode::BAD_REQUEST, error)
    }

    /// # Errors
    ///
    /// The application's fault, when these can't be sent.
    pub(crate) fn check_close(code: u16, reason: &str) -> Result<(), Error> {
        let wrong = if !CloseCode::from(code).is_allowed() {
            format!("{code} is no close code that can be sent: take 1000, or one of 3000 to 4999")
        } else if reason.len() > REASON_BYTES {
            format!("a reason of {} bytes: {REASON_BYTES} are the most", reason.len())
        } else {
            return Ok(());
        };
        Err(Error::new(Fault::Application, StatusCode::INTERNAL_SERVER_ERROR, wrong))
    }

    /// Closes it, with this code where nothing has been decided yet.
    pub(crate) async fn end(self, code: u16, reason: &str) {
        let ended = timeout(CLOSE_DEADLINE, self.say_goodbye(code, reason)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "a WebSocket was gone before it was closed");
        }
    }

    async fn say_goodbye(mut self, code: u16, reason: &str) -> Result<(), WireError> {
        let frame = |code: u16, reason: &str| {
            Frame::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
        };
        let (code, reason) = match self.state {
            State::Draining if code == NORMAL => (GOING_AWAY, "the server goes away"),
            _ => (code, reason),
        };
        match self.state {
            State::Open | State::Draining => {
                self.socket.send(frame(code, reason)).await?;
                while let Some(Ok(_)) = self.socket.next().await {}
            }
            State::Failed(code, reason) => self.socket.send(frame(code, reason)).await?,
            // The peer's own code, where receiving was given up before it had been sent back.
            State::Closed(_) => self.socket.flush().await?,
            State::Gone => return Ok(()),
        }
        let mut stream = self.socket.into_inner();
        stream.close().await?;
        let mut dropped = vec![0; READ_BYTES];
        while stream.read(&mut dropped).await? > 0 {}
        Ok(())
    }
}

/// What a peer's close says.
fn closed(close: Option<CloseFrame>) -> Close {
    match close {
        Some(CloseFrame { code, reason }) => {
            Close { code: code.into(), reason: reason.as_str().to_owned() }
        }
        None => Close { code: CloseCode::Status.into(), reason: String::new() },
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
