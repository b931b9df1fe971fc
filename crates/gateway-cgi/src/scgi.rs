//! `Scgi`: an app as a server of the Simple Common Gateway Interface, behind a web server.
//!
//! A request is a connection: a netstring with the variables, each name and value ended by a zero
//! byte, and behind it the body. The response is CGI's, up to the end of the connection:
//! <https://python.ca/scgi/protocol.txt>.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use gateway_blocking::{Blocking, Reader, decorate};
use gateway_core::{
    App, Client, Departure, Direction, Host, ScopedHandle, Socket, poll_io, sleep, spawn_scoped,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SocketFlags, accept_with};

use crate::answer;
use crate::variables::{self, Variables};

/// The bytes of a request's variables: 64 KiB. What has more is refused.
pub const HEAD_BYTES: usize = 64 * 1024;

/// How many requests are in hand at once: 64. More wait in the socket's queue.
pub const THREADS: usize = 64;

/// How long a web server may send nothing of what has to come, or take nothing: 60 s. What it has
/// sent so far is given up then.
pub const SILENCE: Duration = Duration::from_secs(60);

/// How long a connection is read when its response has been sent, so that the web server reads all
/// of that: 2 s.
pub const LINGER: Duration = Duration::from_secs(2);

/// How long a connection is not watched whose body has not been read: 250 ms.
const LOOK: Duration = Duration::from_millis(250);

/// How long nothing is accepted after an error, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many threads run the apps' tasks.
const TASK_THREADS: usize = 2;

/// A socket that listens for a web server's requests.
///
/// ```no_run
/// use gateway_cgi::Scgi;
/// use gateway_core::{Request, Response};
/// use std::net::TcpListener;
///
/// async fn app(_: Request) -> Response {
///     Response::default()
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let scgi = Scgi::new(TcpListener::bind("127.0.0.1:4000")?)?;
/// let stop = scgi.stop();
/// # drop(stop);
/// // `stop.stop()`, on another thread, ends it when the requests in hand have been answered.
/// scgi.serve(app)
/// # }
/// ```
#[derive(Debug)]
pub struct Scgi {
    /// Until it has been stopped, and nobody waits any more.
    listener: RwLock<Option<OwnedFd>>,
    stopped: UnixStream,
    stop: Stop,
}

/// Ends an [`Scgi`]. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<UnixStream>);

impl Stop {
    /// Lets nothing new in but those who wait in the socket's queue already.
    pub fn stop(&self) {
        // Fails only for one that has ended.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

impl Scgi {
    /// Takes a listening socket: a `TcpListener`, a `UnixListener`, or the one that a web server has
    /// passed as standard input. Whoever can connect to it can say what it likes of a request, its
    /// client's address for example.
    ///
    /// # Errors
    ///
    /// When the system has no more descriptors, or it is no socket.
    pub fn new(listener: impl Into<OwnedFd>) -> io::Result<Scgi> {
        let (stopped, stop) = UnixStream::pair()?;
        let listener = listener.into();
        rustix::io::ioctl_fionbio(&listener, true)?;
        let listener = RwLock::new(Some(listener));
        Ok(Scgi { listener, stopped, stop: Stop(Arc::new(stop)) })
    }

    /// What ends it.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves an app, on [`THREADS`] threads, until it is stopped and all requests in hand have been
    /// answered.
    ///
    /// # Errors
    ///
    /// When the system gives no threads or descriptors.
    pub fn serve(&self, app: impl App) -> io::Result<()> {
        let host = Arc::new(Blocking::new(TASK_THREADS)?);
        let app = decorate(&host, app);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let work = || {
                    while let Some(connection) = self.next() {
                        if let Err(error) = answer(connection, &host, &app) {
                            tracing::info!(%error, "the response was cut off");
                        }
                    }
                };
                let thread = thread::Builder::new().name("gateway-scgi".into());
                thread.spawn_scoped(scope, work).inspect_err(|_| self.stop.stop())?;
            }
            Ok(())
        })
    }

    /// The next connection; none when it has been stopped, and nobody waits any more.
    fn next(&self) -> Option<File> {
        let guard = self.listener.read().unwrap_or_else(PoisonError::into_inner);
        let listener = guard.as_ref()?;
        let mut is_stopped = false;
        loop {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(connection) => return Some(File::from(connection)),
                Err(Errno::WOULDBLOCK) if is_stopped => break,
                Err(Errno::WOULDBLOCK) => is_stopped = self.wait(listener),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    tracing::error!(%error, "no request can be accepted");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        drop(guard);
        // Whoever comes now is refused, and not left to wait for the requests in hand.
        self.listener.write().unwrap_or_else(PoisonError::into_inner).take();
        None
    }

    /// Waits until there may be a connection, and says whether it has been stopped.
    fn wait(&self, listener: &OwnedFd) -> bool {
        let mut ready =
            [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.stopped, PollFlags::IN)];
        // An error here is a signal, or a lack of memory: then it is looked at again.
        let _ = poll(&mut ready, None);
        !ready[1].revents().is_empty()
    }
}

/// A connection's body.
type Arriving = Take<BufReader<File>>;

/// Answers the request of one connection.
///
/// # Errors
///
/// When the response was cut off. The web server can tell.
fn answer(
    mut out: File,
    host: &Blocking,
    app: &impl Fn(http::Request<Arriving>) -> http::Response<Reader>,
) -> io::Result<()> {
    for direction in [Timeout::Recv, Timeout::Send] {
        sockopt::set_socket_timeout(&out, direction, Some(SILENCE))?;
    }
    // Chunks go out as they are made. A Unix socket does so anyway.
    let _ = sockopt::set_tcp_nodelay(&out, true);
    let mut connection = BufReader::new(out.try_clone()?);
    let sent = match head(&mut connection).map(|variables| variables.request(connection)) {
        Ok(Ok(request)) => {
            let _watched = watch(&out, host, request.extensions().get().cloned())?;
            answer::send(app(request), &mut out)
        }
        Ok(Err(variable)) => answer::refuse(&variables::complaint(variable), &mut out),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            answer::refuse(&error.to_string(), &mut out)
        }
        // It has closed without a word, as health checks do, or has fallen silent.
        Err(_) => return Ok(()),
    };
    match &sent {
        Ok(()) => linger(out),
        // A reset, where there is such a thing: an end would look like the response's.
        Err(_) => sockopt::set_socket_linger(&out, Some(Duration::ZERO))?,
    }
    sent
}

/// Watches a connection while its request is in hand: a web server closes it when its client leaves,
/// and none is known to close its sending side alone. Dropping the handle ends the watch.
fn watch(
    connection: &File,
    host: &Blocking,
    client: Option<Client>,
) -> io::Result<ScopedHandle<()>> {
    let mut socket = Socket::new(connection.try_clone()?.into());
    let look = |fd: BorrowedFd<'_>| {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        Ok((rustix::net::recv(fd, &mut [0], flags)?.0, false))
    };
    let watch = async move {
        loop {
            match poll_fn(|cx| poll_io(&mut socket, Direction::Read, cx, look)).await {
                // The app has not read all of the body yet.
                Ok(1..) => sleep(LOOK).await,
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return,
                Ok(0) | Err(_) => break,
            }
        }
        client.inspect(|client| client.leaves(Departure::Gone));
    };
    host.run(async { Ok(spawn_scoped(watch)) })
}

/// Reads the netstring, and the variables in it.
///
/// # Errors
///
/// `InvalidData`, when it is none.
fn head(connection: &mut impl BufRead) -> io::Result<Variables> {
    let mut length = Vec::new();
    // As many digits as the bound has, and the colon.
    connection.take(6).read_until(b':', &mut length)?;
    if length.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let digits = length.strip_suffix(b":").and_then(|digits| std::str::from_utf8(digits).ok());
    let length = digits.and_then(|digits| digits.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length <= HEAD_BYTES) else {
        return Err(malformed(&format!(
            "this port speaks SCGI, whose requests begin with the length of their head and a colon, \
             at most {HEAD_BYTES}: let a web server pass requests on to it"
        )));
    };
    let mut head = vec![0; length + 1];
    connection.read_exact(&mut head)?;
    let strings = head.strip_suffix(b"\0,").ok_or_else(|| malformed("an SCGI head ends early"))?;
    let mut strings = strings.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let mut variables = Vec::new();
    while let Some(name) = strings.next() {
        let value = strings.next().ok_or_else(|| malformed("an SCGI variable has no value"))?;
        variables.push((name, value));
    }
    Ok(Variables::new(variables))
}

fn malformed(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Closes a connection without losing the response: to close it while input is unread would reset
/// it, and the reset may overtake the response.
fn linger(mut connection: File) {
    let until = Instant::now() + LINGER;
    let _ = rustix::net::shutdown(&connection, rustix::net::Shutdown::Write);
    let mut dropped = [0; 8 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let waits = sockopt::set_socket_timeout(connection.as_fd(), Timeout::Recv, Some(left));
        if left.is_zero() || waits.is_err() || !matches!(connection.read(&mut dropped), Ok(1..)) {
            return;
        }
    }
}
