//! `Listener`: where a server listens, and what a connection passes through before its first
//! request: a PROXY header, a TLS handshake.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_net::{TcpListener, TcpStream, UnixListener, UnixStream};
use listenfd::ListenFd;

use crate::proxy::Proxies;
use crate::tls::Tls;
use crate::transport::{Accepted, Door};

/// The name of the first socket that a service manager has passed, as an address.
const PASSED: &str = "systemd";

/// The environment variable in which a service manager names the sockets that it passes.
const PASSED_NAMES: &str = "LISTEN_FDNAMES";

/// A listening socket, on TCP or on a path of the file system, plain or with TLS.
#[derive(Debug)]
pub struct Listener {
    /// As it was asked for.
    address: String,
    /// Whether others may listen there as well, each with a socket of its own.
    shared: bool,
    socket: Socket,
    door: Arc<Door>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// The file, where there is one of ours, is removed first when the listener is dropped, before
    /// the socket is closed, so that a successor's file is not mistaken for it.
    Unix(
        #[expect(dead_code, reason = "what counts is when it is dropped")] Option<SocketFile>,
        UnixListener,
    ),
}

impl Listener {
    /// Listens on an address:
    ///
    /// | address | where |
    /// |---|---|
    /// | `host:port` | TCP; port 0 lets the system choose one |
    /// | `unix:path` | a path of the file system; `unix:path?mode=660` sets the file's permissions |
    /// | `systemd` | the first socket that a service manager has passed (`LISTEN_FDS`) |
    /// | `systemd:name` | the one of this name (`LISTEN_FDNAMES`) |
    ///
    /// A socket file that a server has left behind, and nobody listens on, is replaced. What a
    /// service manager has passed can be had once, by the first listener that asks; the rest is
    /// left alone.
    ///
    /// # Errors
    ///
    /// One sentence that names the address and what is wrong with it; the kind is the system's.
    pub fn bind(address: &str) -> io::Result<Listener> {
        let listener = Listener::reserve(address, false)?;
        listener.listen()?;
        Ok(listener)
    }

    /// Takes an address and does not listen on it yet: [`Bound::serve`](crate::Bound::serve) does,
    /// and until then clients are refused. With `reuse_port`, several servers may listen on one TCP
    /// port if all of them say so, and the system spreads connections among them (`SO_REUSEPORT`).
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use gateway_http::Listener;
    /// use std::net::TcpStream;
    ///
    /// let listener = Listener::reserve("127.0.0.1:0", false)?;
    /// assert!(TcpStream::connect(listener.local_addr()?).is_err());
    /// listener.listen()?;
    /// assert!(TcpStream::connect(listener.local_addr()?).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn reserve(address: &str, reuse_port: bool) -> io::Result<Listener> {
        let mut shared = false;
        let reserved = match address.split_once(':') {
            Some(("unix", path)) => reserve_unix(path),
            Some((PASSED, name)) => passed(Some(name)),
            None if address == PASSED => passed(None),
            _ => {
                shared = reuse_port;
                TcpListener::reserve(address, reuse_port).map(Socket::Tcp)
            }
        };
        let socket = reserved.map_err(|error| explained(address, error))?;
        Ok(Listener { address: address.to_owned(), shared, socket, door: Arc::default() })
    }

    /// Listens, if it does not yet.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn listen(&self) -> io::Result<()> {
        let listening = match &self.socket {
            Socket::Tcp(listener) => listener.listen(),
            Socket::Unix(_, listener) => listener.listen(),
        };
        listening.map_err(|error| explained(&self.address, error))
    }

    /// Speaks TLS with whoever connects, and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Listener {
        Arc::make_mut(&mut self.door).tls = Some(tls);
        self
    }

    /// Expects a PROXY header from these peers, before TLS where there is any.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Proxies) -> Listener {
        Arc::make_mut(&mut self.door).proxies = Some(proxies);
        self
    }

    /// What it speaks TLS with, to [reload](Tls::reload) it.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.door.tls.as_ref()
    }

    /// The TCP address it listens on.
    ///
    /// # Errors
    ///
    /// On a Unix socket, which has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr(),
            Socket::Unix(..) => Err(io::Error::other("a Unix socket has no TCP address")),
        }
    }

    fn given(socket: Socket) -> Listener {
        Listener {
            address: "the listener given".to_owned(),
            shared: false,
            socket,
            door: Arc::default(),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The system's; see [`TcpListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no connection.
    pub(crate) async fn accept(&mut self) -> io::Result<Accepted> {
        match &mut self.socket {
            Socket::Tcp(listener) => {
                listener.accept().await.map(|accepted| self.over_tcp(accepted))
            }
            Socket::Unix(_, listener) => {
                listener.accept().await.map(|stream| self.over_unix(stream))
            }
        }
    }

    /// Leaves those who come from now on to others, where there may be any. Whether there may.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn leave_port(&self) -> io::Result<bool> {
        match &self.socket {
            Socket::Tcp(listener) if self.shared => listener.leave_port().map(|()| true),
            _ => Ok(false),
        }
    }

    /// Takes a connection that waits in the system's queue.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`]; and `WouldBlock` when there is none.
    pub(crate) fn try_accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => listener.try_accept().map(|accepted| self.over_tcp(accepted)),
            Socket::Unix(_, listener) => listener.try_accept().map(|stream| self.over_unix(stream)),
        }
    }

    fn over_tcp(&self, (stream, address): (TcpStream, SocketAddr)) -> Accepted {
        // Refused only by a connection that is gone already.
        let _ = stream.set_nodelay(true);
        Accepted { stream: stream.any(), address: Some(address), door: self.door.clone() }
    }

    fn over_unix(&self, stream: UnixStream) -> Accepted {
        Accepted { stream: stream.any(), address: None, door: self.door.clone() }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener::given(Socket::Tcp(listener))
    }
}

/// The file is left alone at the end.
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        Listener::given(Socket::Unix(None, listener))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.door.tls.is_some() { "https" } else { "http" };
        match &self.socket {
            Socket::Unix(_, listener) => match listener.path() {
                Ok(Some(path)) => write!(f, "unix:{}", path.display()),
                _ => f.write_str("a Unix socket without a path"),
            },
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{scheme}://{address}"),
                Err(error) => write!(f, "an unknown address ({error})"),
            },
        }
    }
}

/// The file of a Unix socket. Dropping it removes the file.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn reserve_unix(address: &str) -> io::Result<Socket> {
    let (path, mode) = match address.split_once('?') {
        Some((path, option)) => (path, Some(mode(option)?)),
        None => (address, None),
    };
    let path = PathBuf::from(path);
    let reserved = match UnixListener::reserve(&path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(&path) => {
            std::fs::remove_file(&path)?;
            UnixListener::reserve(&path, mode)
        }
        reserved => reserved,
    };
    reserved.map(|listener| Socket::Unix(Some(SocketFile(path)), listener))
}

/// The permissions in `mode=660`.
fn mode(option: &str) -> io::Result<u32> {
    let digits = option.strip_prefix("mode=").filter(|digits| digits.len() <= 4);
    digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).ok_or_else(|| {
        let message =
            format!("`{option}` is not mode= and up to four octal digits, as in mode=660");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// A socket file, and nobody listens on it.
fn is_left_behind(path: &Path) -> bool {
    use std::os::unix::{fs::FileTypeExt, net};
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && net::UnixStream::connect(path).is_err_and(refused)
}

/// Takes a socket that a service manager has passed: the first, or the one of this name.
fn passed(name: Option<&str>) -> io::Result<Socket> {
    // Before the variables are read, and taken away.
    let names = std::env::var(PASSED_NAMES).unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    let index = name.map_or(Some(0), |name| names.split(':').position(|passed| passed == name));
    let absent = || {
        let message = match name {
            Some(name) if sockets.len() > 0 => {
                format!("no socket named `{name}` has been passed, only `{names}`")
            }
            _ => "no service manager has passed a socket".to_owned(),
        };
        io::Error::new(io::ErrorKind::NotFound, message)
    };
    let index = index.filter(|index| *index < sockets.len()).ok_or_else(absent)?;
    // The library looks at what kind of socket it is, and refuses what is none.
    if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
        return Ok(Socket::Unix(None, listener.try_into()?));
    }
    match sockets.take_tcp_listener(index)? {
        Some(listener) => Ok(Socket::Tcp(listener.try_into()?)),
        None => Err(io::Error::other("it has been taken already")),
    }
}

fn explained(address: &str, error: io::Error) -> io::Error {
    let remedy = remedy(address, &error);
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{remedy}"))
}

/// What to do about it, where that is known.
fn remedy(address: &str, error: &io::Error) -> &'static str {
    let unix = address.starts_with("unix:");
    match error.kind() {
        _ if address.starts_with(PASSED) => "; start it from a socket unit, or give host:port",
        io::ErrorKind::AddrInUse if unix => "; another server listens there, choose another path",
        io::ErrorKind::AddrInUse => "; choose another port, or 0 for any that is free",
        io::ErrorKind::NotFound if unix => "; create the directory first",
        io::ErrorKind::PermissionDenied if !unix => "; ports below 1024 need a privilege",
        io::ErrorKind::InvalidInput if !unix => "; give host:port, or unix:path",
        _ => "",
    }
}
