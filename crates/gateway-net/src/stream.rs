//! `Stream`: a connected socket, and the ways to get one.

use std::fmt;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gateway_core::{Direction, Socket, poll_io, sleep, unblock};
use hyper::rt::ReadBufCursor;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, recv, sendmsg, sockopt,
};

use crate::cursor;

/// How many buffers go into one system call: what Linux takes at most (`IOV_MAX`).
const BUFFERS_PER_WRITE: usize = 1024;

/// How soon a Unix socket is tried again whose listener has no room in its queue.
const UNIX_RETRY: Duration = Duration::from_millis(5);

/// Which kind of addresses a [`Stream`] has.
pub trait Family: Send + Sync + Unpin + 'static {}

/// The family of [`TcpStream`].
#[derive(Debug)]
pub enum Tcp {}

/// The family of [`UnixStream`].
#[derive(Debug)]
pub enum Unix {}

/// The family of a stream that may be either: see [`Stream::any`].
#[derive(Debug)]
pub enum Any {}

impl Family for Tcp {}
impl Family for Unix {}
impl Family for Any {}

/// A TCP connection.
pub type TcpStream = Stream<Tcp>;

/// A connection over a Unix socket.
pub type UnixStream = Stream<Unix>;

/// A connected socket that works on every host: see [`TcpStream`] and [`UnixStream`].
///
/// Reading and writing come from the three trait families. For two halves, use the `split` of the
/// family at hand (`tokio::io::split`, say).
///
/// # Cancel safety
///
/// Giving up a read or a write loses no bytes: an operation either happens at once, or not at all.
pub struct Stream<F> {
    socket: Socket,
    family: PhantomData<fn() -> F>,
}

impl<F: Family> Stream<F> {
    /// Takes a connected descriptor that is in non-blocking mode already.
    pub(crate) fn new(fd: OwnedFd) -> Stream<F> {
        Stream { socket: Socket::new(fd), family: PhantomData }
    }

    /// The same stream without its family, for code that serves both with one instance.
    #[must_use]
    pub fn any(self) -> Stream<Any> {
        Stream { socket: self.socket, family: PhantomData }
    }

    /// Looks at what has come, from its start, without taking it: the next read gets it as well.
    /// Ready as soon as there is a byte, and with 0 at the end of the input.
    ///
    /// Looking again does not wait for more: take what was seen first.
    ///
    /// # Errors
    ///
    /// The system's: the peer has reset the connection, for example.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_io(&mut self.socket, Direction::Read, cx, |fd| {
            Ok((recv(fd, &mut *buf, RecvFlags::PEEK)?.0, false))
        })
    }

    /// Reads, with a look at what has come on its way: `take` may change it, and says how many bytes of
    /// it the cursor gets, from the first on. The others are gone, but for what `take` has kept. It is
    /// called at most once; at the end of the input, with none.
    ///
    /// # Errors
    ///
    /// The system's, and those of `take`, of whatever kind: what it has seen does not come again.
    ///
    /// # Cancel safety
    ///
    /// As any read: it has either happened, or not at all.
    #[inline]
    pub fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
        mut take: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<()>> {
        let read = poll_io(&mut self.socket, Direction::Read, cx, |fd| {
            cursor::fill(fd, &mut cursor, |came| take(came))
        });
        Poll::Ready(ready!(read)?)
    }

    /// Closes the sending side: the peer reads to the end, and may go on sending.
    ///
    /// # Errors
    ///
    /// The system's. A connection that the peer has reset counts as closed.
    pub fn close_write(&mut self) -> io::Result<()> {
        match rustix::net::shutdown(self.socket.fd()?, Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The descriptor, to look at its options.
    ///
    /// # Errors
    ///
    /// When the host has refused to register the socket, which closed it.
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.socket.fd()
    }
}

impl<F: Family> hyper::rt::Read for Stream<F> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_some(cx, cursor, |came| Ok(came.len()))
    }
}

impl<F: Family> hyper::rt::Write for Stream<F> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_io(&mut self.get_mut().socket, Direction::Write, cx, |fd| {
            let sent = rustix::net::send(fd, buf, SendFlags::NOSIGNAL)?;
            Ok((sent, sent < buf.len()))
        })
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bufs = &bufs[..bufs.len().min(BUFFERS_PER_WRITE)];
        poll_io(&mut self.get_mut().socket, Direction::Write, cx, |fd| {
            let control = &mut SendAncillaryBuffer::default();
            let sent = sendmsg(fd, bufs, control, SendFlags::NOSIGNAL)?;
            Ok((sent, sent < bufs.iter().map(|buf| buf.len()).sum()))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().close_write())
    }
}

impl Stream<Tcp> {
    /// Connects to `host:port`. A name is resolved as a job, and its addresses are tried in order.
    ///
    /// # Errors
    ///
    /// When the name can't be resolved, or with the last address's error.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the half-open connection.
    pub async fn connect(address: &str) -> io::Result<TcpStream> {
        if let Ok(address) = address.parse() {
            return TcpStream::connect_to(address).await;
        }
        let name = address.to_owned();
        let resolved = unblock(move || name.to_socket_addrs()).await.map_err(io::Error::other)?;
        let mut failed =
            io::Error::new(io::ErrorKind::NotFound, format!("{address} has no addresses"));
        for address in resolved? {
            match TcpStream::connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Connects to one address.
    ///
    /// # Errors
    ///
    /// The system's: refused, unreachable and so on.
    ///
    /// # Cancel safety
    ///
    /// As [`TcpStream::connect`](Stream::connect).
    pub async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        connect(family, |fd| rustix::net::connect(fd, &address)).await
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(rustix::net::getsockname(self.socket.fd()?)?.try_into()?)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// When the peer is gone already, for example.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = rustix::net::getpeername(self.socket.fd()?)?;
        Ok(peer.ok_or(io::ErrorKind::NotConnected)?.try_into()?)
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(self.socket.fd()?, nodelay)?)
    }
}

impl Stream<Unix> {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// The system's: nothing there, nobody listening, no permission.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the half-open connection.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let address = SocketAddrUnix::new(path.as_ref())?;
        loop {
            let start = |fd: BorrowedFd<'_>| rustix::net::connect(fd, &address);
            match connect(AddressFamily::UNIX, start).await {
                // The listener's queue is full, and Linux has no way to wait for room in it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(UNIX_RETRY).await,
                connected => return connected,
            }
        }
    }
}

impl TryFrom<std::net::TcpStream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        Ok(Stream::new(stream.into()))
    }
}

impl TryFrom<std::os::unix::net::UnixStream> for UnixStream {
    type Error = io::Error;

    fn try_from(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        Ok(Stream::new(stream.into()))
    }
}

impl<F> fmt::Debug for Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&self.socket).finish()
    }
}

/// Starts to connect without blocking, and waits for the outcome.
async fn connect<F: Family>(
    family: AddressFamily,
    start: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> io::Result<Stream<F>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    let started = start(fd.as_fd());
    let mut stream = Stream::new(fd);
    match started {
        Ok(()) => return Ok(stream),
        Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    std::future::poll_fn(|cx| {
        poll_io(&mut stream.socket, Direction::Write, cx, |fd| {
            sockopt::socket_error(fd)??;
            // Without an error, and without a peer, it is still under way.
            match rustix::net::getpeername(fd) {
                Ok(_) => Ok(((), false)),
                Err(rustix::io::Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            }
        })
    })
    .await?;
    Ok(stream)
}
