//! What the tests of behaviour share: one list of hosts, a server in the background, a plain client.

pub mod features;
pub mod guide;
pub mod programs;
pub mod secure;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use gateway_core::{App, Host};
use gateway_http::{Bound, Monitor, Server};

pub mod chromium;

/// The README's programs, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

/// The programs of the guide for axum, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide-axum.md")]
pub struct GuideForAxum;

/// The programs of the guide for servers that are not ours, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide-foreign-servers.md")]
pub struct GuideForForeignServers;

/// The four hosts, for [`on_every_host!`].
pub mod hosts {
    pub use gateway_async_std::AsyncStd;
    pub use gateway_blocking::Blocking;
    pub use gateway_smol::Smol;
    pub use gateway_tokio::Tokio;
}

/// Makes one test per host of each function named, `fn name(host: impl Host + Send + Sync + 'static)`.
/// The hosts have as many threads as the number says.
#[macro_export]
macro_rules! on_every_host {
    ($($threads:literal: $($test:ident),* $(,)?);* $(;)?) => {
        $crate::on_every_host!(@ tokio, Tokio, $($threads [$($test)*])*);
        $crate::on_every_host!(@ smol, Smol, $($threads [$($test)*])*);
        $crate::on_every_host!(@ async_std, AsyncStd, $($threads [$($test)*])*);
        $crate::on_every_host!(@ blocking, Blocking, $($threads [$($test)*])*);
    };
    (@ $name:ident, $host:ident, $($threads:literal [$($test:ident)*])*) => {
        mod $name {
            $($(
                #[test]
                fn $test() {
                    super::$test($crate::hosts::$host::new($threads).expect("the host starts"));
                }
            )*)*
        }
    };
}

/// How long a test waits for what has to come, before it gives it up for lost.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until `true`, for what happens soon but without a signal.
///
/// # Panics
///
/// When it has not happened within [`PATIENCE`].
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "still not: {what}");
        thread::yield_now();
    }
}

/// Runs `work` on a thread of its own, to fail where it hangs.
///
/// # Panics
///
/// When it does, or has not finished within [`PATIENCE`].
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, told) = mpsc::channel();
    let thread = thread::spawn(move || done.send(work()));
    match told.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not finished within {PATIENCE:?}"),
        Err(_) => std::panic::resume_unwind(thread.join().expect_err("it panicked")),
    }
}

/// What a count has come to when it has stood still for a while: whoever counts waits.
///
/// # Panics
///
/// When it has not begun, or has not come to rest, within [`PATIENCE`].
pub fn settled(count: &AtomicUsize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    eventually("a count that has come to rest", || {
        let now = count.load(Ordering::Relaxed);
        if now != last || now == 0 {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    last
}

/// Says that a test ends here for want of a program, and what would help.
///
/// # Panics
///
/// When the environment variable `CI` is set: there nothing may be skipped.
pub fn skip(remedy: &str) {
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("skipped: {remedy}");
}

/// A server in the background, until it is dropped or told to drain.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it shows of itself.
    pub monitor: Monitor,
    drain: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Serving {
    /// Serves an app on a host.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn start(host: impl Host + Send + 'static, server: Server<impl App>) -> Serving {
        Serving::on(host, server.bind("127.0.0.1:0").expect("a free port"))
    }

    /// Serves on a TCP listener that exists already.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn on(host: impl Host + Send + 'static, bound: Bound<impl App>) -> Serving {
        let address = bound.listener().local_addr().expect("an address");
        let (monitor, (drain, drained)) = (bound.monitor(), oneshot::channel());
        let serve = move || host.run(bound.serve(async { drained.await.unwrap_or_default() }));
        Serving { address, monitor, drain: Some(drain), thread: Some(thread::spawn(serve)) }
    }

    /// Tells it to drain.
    pub fn drain(&mut self) {
        self.drain = None;
    }

    /// Waits for its end, and gives what came of it.
    ///
    /// # Panics
    ///
    /// When it panics.
    pub fn end(&mut self) -> std::io::Result<()> {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().expect("the server does not panic")
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Connects a plain client.
    ///
    /// # Panics
    ///
    /// When the server does not accept it.
    #[must_use]
    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client::new(stream)
    }

    /// The answer to one request on a connection of its own.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        client.answer()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.drain();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, None | Some(Ok(Ok(())))), "the server failed: {ended:?}");
        }
    }
}

/// A client that sends what it is told to, byte for byte.
pub struct Client<S = TcpStream> {
    /// The connection.
    pub stream: BufReader<S>,
}

/// What came back: the head, and the body as its framing says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// The trailer fields, names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a connection of any kind.
    pub fn new(stream: S) -> Client<S> {
        Client { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.stream.get_mut();
        let sent = stream.write_all(bytes.as_ref()).and_then(|()| stream.flush());
        sent.expect("the server takes it");
    }

    /// Reads a whole answer, interim ones included.
    ///
    /// # Panics
    ///
    /// When it is cut off, or none comes.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("a whole answer")
    }

    /// Reads a whole answer, or nothing when it is cut off before its end.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = self.try_head()?;
        self.try_body(&mut answer)?;
        Some(answer)
    }

    fn try_head(&mut self) -> Option<Answer> {
        let status = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let fields = self.fields()?;
        Some(Answer { status, fields, body: Vec::new(), trailers: Vec::new() })
    }

    fn try_body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.status < 200 || answer.status == 204 || answer.status == 304 {
            return Some(());
        }
        if let Some(length) = answer.field("content-length") {
            answer.body = vec![0; length.parse().ok()?];
            self.stream.read_exact(&mut answer.body).ok()?;
        } else if answer.field("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).ok()?;
                if size == 0 {
                    answer.trailers = self.fields()?;
                    break;
                }
                let start = answer.body.len();
                answer.body.resize(start + size, 0);
                self.stream.read_exact(&mut answer.body[start..]).ok()?;
                (self.line()?.is_empty()).then_some(())?;
            }
        }
        Some(())
    }

    /// Whether the server has closed the connection, without another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// One line, without its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok()?;
        let line = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}
