//! `TcpListener` and `UnixListener`: sockets that accept connections.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use gateway_core::{Direction, Socket, poll_io};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, acceptfrom_with, sockopt,
};
use socket2::{SockFilter, SockRef};

use crate::stream::{TcpStream, UnixStream};

/// How many connections the system may hold that nobody has accepted yet. It may allow fewer.
const BACKLOG: i32 = 1024;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Drops each segment with the flag SYN, which is the bit of value 2 in byte 13 of TCP's header: RFC
/// 9293, section 3.1. The instructions are those of the classic packet filter: load this byte; go on,
/// or skip one, as the bit says; keep nothing; keep all.
const WITHOUT_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 2),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

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
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let listener = TcpListener::reserve(address, false)?;
        listener.listen()?;
        Ok(listener)
    }

    /// Takes an address without listening on it yet: clients are refused until
    /// [`TcpListener::listen`]. With `reuse_port`, other sockets that say the same may listen on the
    /// same port, and the system spreads connections among them (`SO_REUSEPORT`).
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`]. Whether somebody else listens there may show only when this one
    /// does.
    pub fn reserve(address: impl ToSocketAddrs, reuse_port: bool) -> io::Result<TcpListener> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "it has no addresses");
        for address in address.to_socket_addrs()? {
            match reserve(address, reuse_port) {
                Ok(fd) => return Ok(TcpListener { socket: Socket::new(fd) }),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Listens, if it does not yet.
    ///
    /// # Errors
    ///
    /// The system's: the port is in use.
    pub fn listen(&self) -> io::Result<()> {
        Ok(rustix::net::listen(self.socket.fd()?, BACKLOG)?)
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
        poll_io(&mut self.socket, Direction::Read, cx, |fd| Ok((accept_tcp(fd)?, false)))
    }

    /// Takes a connection that waits in the system's queue, and waits for none.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`]; and `WouldBlock` when there is none.
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        accept_tcp(self.socket.fd()?)
    }

    /// Takes no part any more in what comes to a port that others listen on as well: who begins to
    /// connect gets no answer here, asks again after a second, and finds one of the others if this
    /// listener has been dropped by then. Connections that are there already stay as they are.
    ///
    /// For what [`TcpListener::reserve`] has made with `reuse_port`: on a socket that another process
    /// has as well, it would hold there, too.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn leave_port(&self) -> io::Result<()> {
        SockRef::from(&self.socket.fd()?).attach_filter(&WITHOUT_SYN)
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
        let listener = TcpListener { socket: Socket::new(listener.into()) };
        // Listening again only changes the backlog, which std keeps small.
        listener.listen()?;
        Ok(listener)
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
        let listener = UnixListener::reserve(path, None)?;
        listener.listen()?;
        Ok(listener)
    }

    /// Makes the file, with these permissions where some are given, without listening on it yet:
    /// clients are refused until [`UnixListener::listen`].
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`].
    pub fn reserve(path: impl AsRef<Path>, mode: Option<u32>) -> io::Result<UnixListener> {
        let path = path.as_ref();
        let address = SocketAddrUnix::new(path)?;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        rustix::net::bind(&fd, &address)?;
        // Nobody can have connected in between: it does not listen yet.
        let permit = |mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
        if let Some(Err(error)) = mode.map(permit) {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(UnixListener { socket: Socket::new(fd) })
    }

    /// Listens, if it does not yet.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen(&self) -> io::Result<()> {
        Ok(rustix::net::listen(self.socket.fd()?, BACKLOG)?)
    }

    /// The path it listens on. Nothing where it has none.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn path(&self) -> io::Result<Option<PathBuf>> {
        let address: SocketAddrUnix = rustix::net::getsockname(self.socket.fd()?)?.try_into()?;
        Ok(address.path().map(|path| OsStr::from_bytes(path.to_bytes()).into()))
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
            Ok((UnixStream::new(accept_with(fd, FLAGS)?), false))
        })
    }

    /// Takes a connection that waits in the system's queue, and waits for none.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::accept`]; and `WouldBlock` when there is none.
    pub fn try_accept(&self) -> io::Result<UnixStream> {
        Ok(UnixStream::new(accept_with(self.socket.fd()?, FLAGS)?))
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for UnixListener {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener { socket: Socket::new(listener.into()) };
        listener.listen()?;
        Ok(listener)
    }
}

fn accept_tcp(fd: BorrowedFd<'_>) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, peer) = acceptfrom_with(fd, FLAGS)?;
    let peer = peer.ok_or(rustix::io::Errno::CONNABORTED)?.try_into()?;
    Ok((TcpStream::new(fd), peer))
}

/// A TCP socket with one address, as std makes it, but for the listening.
fn reserve(address: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    Ok(fd)
}
