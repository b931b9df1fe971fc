//! `Client`: HTTP as a client, with connections that are used again, over portable sockets.
//!
//! hyper-util keeps the connections, and hyper speaks on them. They ask for three things, and all are
//! the gateway's: a way to connect, a way to start a task, and a timer. So one client serves all
//! requests of a host. It is made anywhere, and belongs to the host on which it first connects.
//!
//! | what | bound |
//! |---|---|
//! | a TCP connection with its TLS handshake | [`CONNECT`] |
//! | a request, up to the head of its answer | [`DEADLINE`] |
//! | idle connections to one server | [`IDLE_CONNECTIONS`], each for [`IDLE`] |
//!
//! A server may close an idle connection just when a request is sent on it. Such a request is sent once
//! more, on a fresh connection, if its method is idempotent and the connection had answered another
//! request before (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{BoxError, Sleep, sleep_until, spawn, timeout};
use gateway_net::TcpStream;
use http::{Extensions, Request, Response, Uri, uri::Scheme};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long connecting takes at most, a TLS handshake included.
pub const CONNECT: Duration = Duration::from_secs(5);

/// How long a request takes at most, up to the head of its answer.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How many idle connections are kept for each server.
pub const IDLE_CONNECTIONS: usize = 8;

/// How long a connection may be idle: less than most servers allow, so that it is seldom they who end it.
pub const IDLE: Duration = Duration::from_secs(30);

/// An HTTP/1.1 client. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    pooled: Pool,
    /// It keeps no connection, so each of its requests has a fresh one.
    fresh: Pool,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

impl Client {
    /// A client that trusts servers as [`crate::tls`] says.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Client {
        Client::with_idle(tls, IDLE)
    }

    /// As [`new`](Client::new), with connections that may be idle for so long.
    #[must_use]
    pub fn with_idle(tls: Arc<ClientConfig>, idle: Duration) -> Client {
        let connector = Connector { tls: tls.into() };
        let keeping = |connections| {
            legacy::Client::builder(Portable)
                .timer(Portable)
                .pool_timer(Portable)
                .pool_idle_timeout(idle)
                .pool_max_idle_per_host(connections)
                .build(connector.clone())
        };
        Client { pooled: keeping(IDLE_CONNECTIONS), fresh: keeping(0) }
    }

    /// Sends a request to the server that its URL names, `http` or `https`, and gives the answer's
    /// head. The body follows at the reader's pace; once it is read to its end, the connection is free
    /// for the next request.
    ///
    /// # Errors
    ///
    /// When the server can't be reached, does not answer in time, or not in HTTP.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection, unless the answer was there.
    pub async fn send(
        &self,
        request: Request<impl Into<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        let request = request.map(|body| Full::new(body.into()));
        let again = request.method().is_idempotent().then(|| request.clone());
        timeout(DEADLINE, async {
            let answer = match (self.pooled.request(request).await, again) {
                (Err(error), Some(again)) if was_idle(&error) => {
                    tracing::debug!(%error, "an idle connection was closed: the request goes again");
                    self.fresh.request(again).await?
                }
                (answer, _) => answer?,
            };
            if let Some(HasAnswered(answered)) = answer.extensions().get() {
                answered.store(true, Ordering::Relaxed);
            }
            Ok(answer)
        })
        .await?
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Whether a connection has answered a request before.
#[derive(Clone, Default)]
struct HasAnswered(Arc<AtomicBool>);

/// Whether a request has failed because its connection, used before, was closed without an answer.
fn was_idle(error: &legacy::Error) -> bool {
    let mut facts = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut facts);
    }
    let used = |HasAnswered(answered): &HasAnswered| answered.load(Ordering::Relaxed);
    let beneath = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let is_end = |error: &(dyn std::error::Error + 'static)| {
        let closed = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        error.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
            || error.downcast_ref().is_some_and(|error: &io::Error| closed.contains(&error.kind()))
    };
    facts.get().is_some_and(used) && beneath.into_iter().any(is_end)
}

/// Connects, by way of TLS where the URL says `https`.
#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Transport;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move { timeout(CONNECT, connect(tls, uri)).await? })
    }
}

async fn connect(tls: TlsConnector, uri: Uri) -> io::Result<Transport> {
    let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect(&format!("{host}:{port}")).await?;
    stream.set_nodelay(true)?;
    let bytes = match secure {
        false => Bytestream::Plain(stream),
        true => {
            // An IPv6 address stands in brackets in a URL, and without them in a certificate.
            let name = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            Bytestream::Tls(Box::new(tls.connect(name, stream).await?))
        }
    };
    Ok(Transport { bytes, answered: HasAnswered::default() })
}

/// A connection for hyper.
struct Transport {
    bytes: Bytestream,
    answered: HasAnswered,
}

enum Bytestream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.answered.clone())
    }
}

impl Read for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().bytes {
            Bytestream::Plain(stream) => Pin::new(stream).poll_read(cx, cursor),
            Bytestream::Tls(stream) => {
                let decrypted = ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
                let taken = decrypted.len().min(cursor.remaining());
                cursor.put_slice(&decrypted[..taken]);
                Pin::new(stream).consume(taken);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Calls a method of hyper's trait on a plain stream, and of tokio's on one through TLS.
macro_rules! write_with {
    ($self:ident, $plain:ident, $tls:ident, $($argument:expr),*) => {
        match &mut $self.get_mut().bytes {
            Bytestream::Plain(stream) => Write::$plain(Pin::new(stream), $($argument),*),
            Bytestream::Tls(stream) => AsyncWrite::$tls(Pin::new(stream), $($argument),*),
        }
    };
}

impl Write for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        write_with!(self, poll_write, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_with!(self, poll_write_vectored, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        write_with!(self, poll_flush, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        write_with!(self, poll_shutdown, poll_shutdown, cx)
    }
}

/// What hyper asks a runtime for, from whichever host drives it.
#[derive(Clone, Copy)]
struct Portable;

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Portable {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

impl Timer for Portable {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Alarm(sleep_until(deadline)))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Alarm>() {
            Some(alarm) => alarm.get_mut().0.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// A sleep in hyper's words.
struct Alarm(Sleep);

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl hyper::rt::Sleep for Alarm {}
