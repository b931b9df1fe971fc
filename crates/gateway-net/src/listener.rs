//! `TcpListener` and `UnixListener`: sockets that accept connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::task::{Context, Poll};

use gateway_core::{Direction, Socket, poll_io};
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};

use crate::stream::{TcpStream, UnixStream};

/// How many connections the system may hold that nobody has accepted yet. It may allow fewer.
const BACKLOG: i32 = 1024;

const ACCEPTED: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Accepts TCP connections.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
}

impl TcpListener {
    /// Listens on an address, outside or inside a coroutine. Port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// The system's: the port is in use, no such address, no permission; and for a bad address.
    pub fn bind(address: impl std::net::ToSocketAddrs) -> io::Result<TcpListener> {
        std::net::TcpListener::bind(address)?.try_into()
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The system's. Some concern the connection alone; out of descriptors (EMFILE), the listener
    /// goes on working when some have been freed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for the next connection.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`].
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        poll_io(&mut self.socket, Direction::Read, cx, |fd| {
            let (fd, peer) = acceptfrom_with(fd, ACCEPTED)?;
            let peer = peer.ok_or(rustix::io::Errno::CONNABORTED)?.try_into()?;
            Ok(((TcpStream::new(fd), peer), false))
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(rustix::net::getsockname(self.socket.fd()?)?.try_into()?)
    }
}

impl TryFrom<std::net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener { socket: listening(listener.into())? })
    }
}

/// Accepts connections on a path of the file system.
#[derive(Debug)]
pub struct UnixListener {
    socket: Socket,
}

impl UnixListener {
    /// Listens on `path`, which must not exist yet. The file is left behind at the end.
    ///
    /// # Errors
    ///
    /// The system's: the path exists, its directory doesn't, no permission.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        std::os::unix::net::UnixListener::bind(path)?.try_into()
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection.
    pub async fn accept(&mut self) -> io::Result<UnixStream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for the next connection.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`].
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        poll_io(&mut self.socket, Direction::Read, cx, |fd| {
            Ok((UnixStream::new(accept_with(fd, ACCEPTED)?), false))
        })
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for UnixListener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener { socket: listening(listener.into())? })
    }
}

/// Listening again only changes the backlog, which std keeps small.
fn listening(fd: OwnedFd) -> io::Result<Socket> {
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(Socket::new(fd))
}
