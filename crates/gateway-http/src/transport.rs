//! `Transport`: a connection's bytes, plain or through TLS, and how a new connection gets there.
//!
//! | what a connection begins with | read where | else |
//! |---|---|---|
//! | a PROXY header | from trusted proxies, within the deadline `proxy` | a close |
//! | a TLS handshake | on a listener with TLS, within the deadline `handshake` | an alert; plain HTTP: a `400` |
//! | HTTP | | |

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use gateway_core::{Peer, TlsFacts, timeout};
use gateway_net::{Any, Stream};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tracing::field::display;

use crate::bounds::Deadline;
use crate::connections::{Connection, Phase, Slot};
use crate::guarded::Guarded;
use crate::linger::LINGER;
use crate::preface::Protocol;
use crate::proxy::{self, Proxies};
use crate::tls::{self, Tls};

/// The answer to a client that speaks plain HTTP to a port with TLS.
const SPEAKS_TLS: &str = "this port speaks TLS: use https://\n";

/// The answer to a PROXY header from anybody else than a trusted proxy.
const NOT_TRUSTED: &str = "a PROXY header is taken from trusted proxies alone\n";

/// A connection's bytes. One type, so that hyper's connection is compiled once; a plain one pays a
/// branch for it.
pub(crate) enum Transport {
    Plain(Stream<Any>),
    Tls(Box<TlsStream<Stream<Any>>>),
}

impl Transport {
    /// Reads, with a look at what has come: as [`Stream::poll_read_some`].
    #[inline]
    pub(crate) fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
        mut take: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(stream) => stream.poll_read_some(cx, cursor, take),
            Transport::Tls(stream) => poll_decrypted(stream, cx, cursor, &mut take),
        }
    }
}

impl Read for Transport {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, cursor),
            Transport::Tls(stream) => {
                poll_decrypted(stream, cx, cursor, &mut |came| Ok(came.len()))
            }
        }
    }
}

fn poll_decrypted(
    stream: &mut TlsStream<Stream<Any>>,
    cx: &mut Context<'_>,
    mut cursor: ReadBufCursor<'_>,
    take: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> Poll<io::Result<()>> {
    let decrypted = ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
    let came = decrypted.len().min(cursor.remaining());
    // A copy, for nobody but rustls may change its own.
    let mut piece = decrypted[..came].to_vec();
    Pin::new(stream).consume(came);
    let taken = take(&mut piece)?;
    cursor.put_slice(&piece[..taken]);
    Poll::Ready(Ok(()))
}

impl Write for Transport {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Write::poll_write(Pin::new(stream), cx, buf),
            Transport::Tls(stream) => AsyncWrite::poll_write(Pin::new(stream), cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(stream) => Write::poll_write_vectored(Pin::new(stream), cx, bufs),
            Transport::Tls(stream) => AsyncWrite::poll_write_vectored(Pin::new(stream), cx, bufs),
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Write::poll_flush(Pin::new(stream), cx),
            Transport::Tls(stream) => AsyncWrite::poll_flush(Pin::new(stream), cx),
        }
    }

    /// Through TLS the client is told first (`close_notify`), so that it can tell the end from a
    /// connection cut off.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(stream) => Write::poll_shutdown(Pin::new(stream), cx),
            Transport::Tls(stream) => AsyncWrite::poll_shutdown(Pin::new(stream), cx),
        }
    }
}

/// What a listener's connections pass through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    pub(crate) tls: Option<Tls>,
    pub(crate) proxies: Option<Proxies>,
}

/// A connection that has just been accepted.
pub(crate) struct Accepted {
    pub(crate) stream: Stream<Any>,
    /// Its peer's address; a Unix socket has none.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) door: Arc<Door>,
}

/// A connection that is ready for its first request.
pub(crate) struct Opened {
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
    /// What ALPN has chosen.
    pub(crate) protocol: Option<Protocol>,
}

impl Accepted {
    /// Leads a connection to its first request. Nothing is left of one that does not get there,
    /// which is logged, or that the server has told to go before.
    pub(crate) async fn open(self, connection: &mut Connection) -> Option<Opened> {
        let Accepted { stream, address, door } = self;
        if door.tls.is_none() && door.proxies.is_none() {
            let (transport, peer) = (Transport::Plain(stream), Peer::new(address, None, None));
            return Some(Opened { transport, peer, protocol: None });
        }
        let slot = connection.slot();
        // In a box, for what a handshake takes would be taken all through the connection's life.
        let mut opening = Box::pin(door.open(stream, address, slot));
        std::future::poll_fn(|cx| match connection.phase(cx) {
            Phase::Serve | Phase::Drain => opening.as_mut().poll(cx),
            Phase::Late | Phase::Close => Poll::Ready(None),
        })
        .await
    }
}

impl Door {
    async fn open(
        &self,
        mut stream: Stream<Any>,
        address: Option<SocketAddr>,
        slot: Arc<Slot>,
    ) -> Option<Opened> {
        let mut client = None;
        if self.proxies.as_ref().is_some_and(|proxies| proxies.contain(address)) {
            let deadline = slot.shared().deadlines.proxy;
            let read = timeout(deadline, proxy::read(&mut stream)).await;
            match read.unwrap_or_else(|elapsed| {
                slot.shared().passes(Deadline::Proxy);
                Err(io::Error::other(elapsed))
            }) {
                Ok(named) => client = named,
                // As a proxy does that looks whether anybody is there.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let peer = address.map(display);
                    tracing::debug!(peer, "a trusted proxy has left before its PROXY header");
                    return None;
                }
                Err(error) => {
                    let peer = address.map(display);
                    tracing::warn!(peer, %error, "no PROXY header from a trusted proxy");
                    return None;
                }
            }
        }
        let Some(tls) = &self.tls else {
            let (transport, peer) = (Transport::Plain(stream), Peer::new(address, client, None));
            return Some(Opened { transport, peer, protocol: None });
        };
        let peer = client.or(address);
        let deadline = slot.shared().deadlines.handshake;
        let shaken = timeout(deadline, shake_hands(tls, stream, peer, slot.clone())).await;
        let (stream, facts) = shaken.unwrap_or_else(|elapsed| {
            slot.shared().passes(Deadline::Handshake);
            failed(peer, &elapsed);
            None
        })?;
        let protocol = match facts.alpn {
            Some("h2") => Some(Protocol::Http2),
            Some(_) => Some(Protocol::Http1),
            None => None,
        };
        let peer = Peer::new(address, client, Some(facts));
        Some(Opened { transport: Transport::Tls(stream), peer, protocol })
    }
}

/// Shakes hands. A client that does something else is told so, and its connection closed.
async fn shake_hands(
    tls: &Tls,
    mut stream: Stream<Any>,
    peer: Option<SocketAddr>,
    slot: Arc<Slot>,
) -> Option<(Box<TlsStream<Stream<Any>>>, TlsFacts)> {
    let mut first = [0];
    let seen = std::future::poll_fn(|cx| stream.poll_peek(cx, &mut first)).await;
    // Each method's name begins with such a letter, and no record of TLS does.
    if seen.is_ok() && first[0].is_ascii_uppercase() {
        failed(peer, &"the client speaks plain HTTP");
        refuse(Guarded::new(Transport::Plain(stream), slot), SPEAKS_TLS).await;
        return None;
    }
    match tls.accept(stream).await {
        Ok(stream) => {
            let facts = tls::facts(&stream);
            Some((stream, facts))
        }
        Err((error, stream)) => {
            failed(peer, &error);
            let _ = Guarded::new(Transport::Plain(stream), slot).says_last(b"").await;
            None
        }
    }
}

fn failed(peer: Option<SocketAddr>, error: &dyn std::fmt::Display) {
    tracing::debug!(peer = peer.map(display), %error, "a TLS handshake has failed");
}

/// Refuses a PROXY header from a peer that is not trusted: it may be an attack, by somebody who
/// wants to pass for another client.
#[cold]
pub(crate) async fn refuse_proxy(stream: Guarded<Transport>, peer: &Peer) {
    let peer = peer.socket_address().map(display);
    tracing::warn!(peer, "a PROXY header from a peer that is not a trusted proxy, refused");
    refuse(stream, NOT_TRUSTED).await;
}

/// Answers what is no request with a 400, and closes.
async fn refuse(stream: Guarded<Transport>, why: &str) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{why}",
        why.len(),
    );
    let _ = timeout(LINGER, stream.says_last(answer.as_bytes())).await;
}
