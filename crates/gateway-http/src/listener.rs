//! `Listener`: where a server listens, `127.0.0.1:8080` or `unix:path`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use gateway_net::{TcpListener, UnixListener};

/// A listening socket of either kind.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a path of the file system. The file is removed first when the listener is dropped, before
    /// the socket is closed, so that a successor's file is not mistaken for it.
    Unix(SocketFile, UnixListener),
}

impl Listener {
    /// Listens on a TCP address, `host:port`, or on `unix:path`.
    ///
    /// A socket file that a server has left behind, and nobody listens on, is replaced.
    ///
    /// # Errors
    ///
    /// One sentence that names the address and what is wrong with it; the kind is the system's.
    pub fn bind(address: &str) -> io::Result<Listener> {
        let bound = match address.strip_prefix("unix:") {
            Some(path) => bind_unix(path.into()),
            None => TcpListener::bind(address).map(Listener::Tcp),
        };
        bound.map_err(|error| {
            let remedy = remedy(address, &error);
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{remedy}"))
        })
    }
}

impl Listener {
    /// The TCP address it listens on.
    ///
    /// # Errors
    ///
    /// On a Unix socket, which has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Unix(..) => Err(io::Error::other("a Unix socket has no TCP address")),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.local_addr()) {
            (Listener::Unix(file, _), _) => write!(f, "unix:{}", file.0.display()),
            (Listener::Tcp(_), Ok(address)) => write!(f, "http://{address}"),
            (Listener::Tcp(_), Err(error)) => write!(f, "an unknown address ({error})"),
        }
    }
}

/// The file of a Unix socket. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bind_unix(path: PathBuf) -> io::Result<Listener> {
    let bound = match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(&path) => {
            std::fs::remove_file(&path)?;
            UnixListener::bind(&path)
        }
        bound => bound,
    };
    bound.map(|listener| Listener::Unix(SocketFile(path), listener))
}

/// A socket file, and nobody listens on it.
fn is_left_behind(path: &PathBuf) -> bool {
    use std::os::unix::{fs::FileTypeExt, net::UnixStream};
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

/// What to do about it, where that is known.
fn remedy(address: &str, error: &io::Error) -> &'static str {
    let unix = address.starts_with("unix:");
    match error.kind() {
        io::ErrorKind::AddrInUse if unix => "; another server listens there, choose another path",
        io::ErrorKind::AddrInUse => "; choose another port, or 0 for any that is free",
        io::ErrorKind::NotFound if unix => "; create the directory first",
        io::ErrorKind::PermissionDenied if !unix => "; ports below 1024 need a privilege",
        io::ErrorKind::InvalidInput if !unix => "; give host:port, or unix:path",
        _ => "",
    }
}
