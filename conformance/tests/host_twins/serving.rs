//! Hosts that break the rules of `host/serving.rs`.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use gateway_blocking::Blocking;
use gateway_core::{
    Coroutine, Direction, Host, Operation, Reactor, Task, Trampoline, Yield, trampoline,
};
use gateway_smol::OnSmol;
use rustix::net::sockopt;

use super::ends::Bare;
use super::twin::{Behind, Twin};
use super::work::{Numbered, deaf, lost, refused};

pub(crate) fn twins() -> Vec<Twin> {
    [scheduling(), wires()].into_iter().flatten().collect()
}

fn scheduling() -> Vec<Twin> {
    vec![
        Twin::new("RUN-05", "in hand at once", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| refused(n >= 16, work)))
        }),
        Twin::new("RUN-06", "hangs", || {
            Behind::new(|good| Numbered::new(good, |_, good, work| deaf(true, good, work)))
        }),
        Twin::new("SPN-02", "its scoped tasks are dropped", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| lost(n > 0, work)))
        }),
    ]
}

fn wires() -> Vec<Twin> {
    const GOOD: Does = Does::NOTHING;
    const MALFORMED: Does = Does { replaces: Some(("HTTP/1.1", "HTTP")), ..GOOD };
    let wire = |rule, says, does| Twin::new(rule, says, move || Wired::new(does));
    let replaces =
        |rule, says, from, to| wire(rule, says, Does { replaces: Some((from, to)), ..GOOD });
    let quiet = |rule, says| wire(rule, says, Does { quiet: true, ..GOOD });
    let open = |rule, says| wire(rule, says, Does { stays_open: |_| true, ..GOOD });
    let adds = |rule, says, last_words| wire(rule, says, Does { last_words, ..GOOD });
    vec![
        wire("RUN-05", "is answered with", MALFORMED),
        replaces("RUN-05", "beside waiting requests", "pong", "song"),
        wire("RUN-06", "a request before the drain is", MALFORMED),
        wire("RUN-05", "a request that waited is", Does { which: |n| n < 27, ..MALFORMED }),
        wire("RUN-06", "the server drains is", Does { which: |n| n == 1, ..MALFORMED }),
        wire("RSP-04", "longer than announced is", MALFORMED),
        wire("RSP-08", "one of four requests is", MALFORMED),
        wire(
            "RSP-08",
            "a request whose app answers 100 is",
            Does { which: |n| n >= 1, ..MALFORMED },
        ),
        replaces("RUN-05", "a request that waited", "done", "gone"),
        open("RUN-06", "an idle connection is"),
        Twin::new("RUN-06", "a handler that the drain deadline ended", HangsUp::new),
        replaces("RUN-06", "in hand when the server drains", "done", "gone"),
        wire("RUN-06", "at the drain deadline", Does { stays_open: |sent| sent == 0, ..GOOD }),
        Twin::new("DRP-04", "a trampoline inside `run`", || Bare),
        quiet("DRP-04", "hears that its client has left"),
        wire("DRP-04", "no head", MALFORMED),
        wire("DRP-04", "logged as errors", Does { complains: true, ..GOOD }),
        quiet("DRP-11", "its client has left"),
        replaces("DRP-11", "bytes of an endless body", "5\r\ntick\n\r\n", ""),
        quiet("SPN-02", "a client has left"),
        replaces("SPN-02", "a handler with tasks", "done", "gone"),
        quiet("BODY-11", "the connection after"),
        wire("BODY-11", "what the app sees", Does { clients_last_words: "0123456789", ..GOOD }),
        replaces("ERR-06", "/late: ", "HTTP/1.1 200", "HTTP/1.1 201"),
        replaces("ERR-06", "heads in", "first", "HTTP/1.1 500 Late\r\n"),
        replaces("ERR-06", "replaced shows", "sorry", "late!"),
        open("ERR-06", "the connection after"),
        replaces("ERR-09", "that has seen panics", "HTTP/1.1 500", "HTTP/1.1 200"),
        wire("ERR-09", "/fine: ", Does { replaces: Some(("fine", "fi")), cuts: true, ..GOOD }),
        replaces(
            "ERR-09",
            "the client reads",
            "HTTP/1.1 500",
            "HTTP/1.1 500 A\r\ncontent-length: 8\r\n\r\na secret",
        ),
        replaces("ERR-09", "a panic: ", "first", "secret"),
        open("ERR-09", "a body that panics: the connection"),
        adds("ERR-09", "looks whole", "0\r\n\r\n"),
        wire(
            "ERR-09",
            "another connection",
            Does { replaces: Some(("HTTP/1.1 200", "HTTP/1.1 404")), which: |n| n >= 1, ..GOOD },
        ),
        replaces("RSP-04", "announced as 10", "xxxxxxxxxx", "xxxxxxxxx!"),
        replaces("RSP-04", "behind a body", "xxxxxxxxxx", "xxxxxxxxxxyyyyyyyyyy"),
        replaces(
            "RSP-04",
            "the next answer",
            "xxxxxxxxxx",
            "xxxxxxxxxxHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        replaces("RSP-05", "without such a field", "fine", "evil"),
        wire("RSP-05", "a connection to the server", Does { listens_once: true, ..GOOD }),
        replaces("RSP-05", "goes out", "200 OK\r\n", "200 OK\r\nkeep-alive: timeout=9\r\n"),
        replaces(
            "RSP-08",
            "in order",
            "HTTP/1.1 404",
            "HTTP/1.1 404 Twice\r\ncontent-length: 0\r\n\r\nHTTP/1.1 404",
        ),
        adds("RSP-08", "a fifth answer", "HTTP/1.1 200 OK\r\n\r\n"),
        replaces("RSP-08", "final for nobody", "HTTP/1.1 500", "HTTP/1.1 200"),
        replaces("SMG-07", "with good fields", "HTTP/1.1 200", "HTTP/1.1 500"),
        replaces("SMG-07", "sets a bad field", "HTTP/1.1 500", "HTTP/1.1 200"),
        replaces("SMG-07", "put into a field", "\r\n\r\n", "\r\nx-injected: yes\r\n\r\n"),
        replaces("MID-02", "through middleware", "fine", "evil"),
        wire("MID-02", "the way of a request", Does { asks_twice: true, ..GOOD }),
    ]
}

/// What a host's wires do to the bytes and to the ends that they carry.
#[derive(Clone, Copy)]
struct Does {
    /// Puts one in the place of the other, in what goes out, and may close the connection there;
    /// on connections with these numbers.
    replaces: Option<(&'static str, &'static str)>,
    cuts: bool,
    which: fn(usize) -> bool,
    /// Closes a client's connection when a request hangs.
    hangs_up: bool,
    /// Closes the listener behind the first connection.
    listens_once: bool,
    /// Keeps quiet about clients that leave.
    quiet: bool,
    /// Logs them as errors.
    complains: bool,
    /// Hands in everything twice.
    asks_twice: bool,
    /// Adds this before a client's end.
    clients_last_words: &'static str,
    /// Adds this before the server's end.
    last_words: &'static str,
    /// Whether a connection that has carried so many bytes out is not closed.
    stays_open: fn(usize) -> bool,
}

impl Does {
    const NOTHING: Does = Does {
        replaces: None,
        cuts: false,
        which: |_| true,
        hangs_up: false,
        listens_once: false,
        quiet: false,
        complains: false,
        asks_twice: false,
        clients_last_words: "",
        last_words: "",
        stays_open: |_| false,
    };
}

/// A good host whose sockets don't carry what they are given.
struct Wired(Blocking, Does);

impl Wired {
    fn new(does: Does) -> Wired {
        Wired(Blocking::new(2).unwrap(), does)
    }
}

impl Host for Wired {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let wire =
                Wire { good: trampoline().unwrap(), does: self.1, carried: AtomicUsize::new(0) };
            Coroutine::new(Arc::new(wire), future).await
        })
    }
}

/// A host that closes a connection by itself, and whose tasks, in its second run, hear nothing from
/// the thread of that run: what has the connection goes on.
struct HangsUp(Wired, AtomicUsize);

impl HangsUp {
    fn new() -> HangsUp {
        let does = Does { hangs_up: true, quiet: true, ..Does::NOTHING };
        HangsUp(Wired::new(does), AtomicUsize::new(0))
    }
}

impl Host for HangsUp {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let deaf = self.1.fetch_add(1, Ordering::SeqCst) == 1;
        self.0.run(async {
            let deafens = Deafens(trampoline().unwrap(), deaf.then(|| thread::current().id()));
            Coroutine::new(Arc::new(deafens), future).await
        })
    }
}

struct Deafens(Arc<dyn Trampoline>, Option<ThreadId>);

impl Trampoline for Deafens {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// Wakes, if it is not called on this thread.
        struct NotFrom(Waker, Option<ThreadId>);
        impl Wake for NotFrom {
            fn wake(self: Arc<NotFrom>) {
                if self.1 != Some(thread::current().id()) {
                    self.0.wake_by_ref();
                }
            }
        }
        let Yield::Task(mut task) = yielded else { return self.0.bounce(yielded, cx) };
        let deaf_to = self.1;
        let deaf = poll_fn(move |cx| {
            let waker = Waker::from(Arc::new(NotFrom(cx.waker().clone(), deaf_to)));
            Pin::new(&mut task).poll(&mut Context::from_waker(&waker))
        });
        self.0.bounce(Yield::Task(Task::new(deaf)), cx)
    }
}

struct Wire {
    good: Arc<dyn Trampoline>,
    does: Does,
    carried: AtomicUsize,
}

impl Trampoline for Wire {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Io(io) => io.poll(self, cx),
            other => self.good.bounce(other, cx),
        }
    }
}

/// A socket; and what goes wrong, if it listens, or watches for clients that leave.
struct Kept(<OnSmol as Reactor>::Socket, Does);

impl Kept {
    /// Whether it listened, and does so no more.
    fn is_closed(&self) -> bool {
        self.1.listens_once && sockopt::socket_acceptconn(self) != Ok(true)
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Reactor for Wire {
    type Socket = Kept;

    fn register(&self, fd: OwnedFd) -> io::Result<Kept> {
        let register = |fd| OnSmol(Weak::new()).register(fd);
        let stream = TcpStream::from(fd);
        if stream.peer_addr().is_err() {
            // A listener; or what watches for clients that leave, which is no socket at all.
            let watches = stream.local_addr().is_err();
            let listens = Does { listens_once: self.does.listens_once, ..Does::NOTHING };
            let does = if watches { Does { listens_once: false, ..self.does } } else { listens };
            return Ok(Kept(register(stream.into())?, does));
        }
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        stream.set_nonblocking(false)?;
        let (from, to, does) = (stream.try_clone()?, theirs.try_clone()?, self.does);
        let number = self.carried.fetch_add(1, Ordering::SeqCst);
        let replaces = does.replaces.filter(|_| (does.which)(number));
        thread::spawn(move || carry_in(from, to, does));
        thread::spawn(move || carry_out(theirs, stream, does, replaces));
        Ok(Kept(register(ours.into())?, Does::NOTHING))
    }

    fn poll_ready(io: &Kept, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if io.1.quiet || io.is_closed() {
            return Poll::Pending;
        }
        OnSmol::poll_ready(&io.0, way, cx)
    }

    fn attempt(io: &Kept, operation: &mut Operation<'_>) -> io::Result<()> {
        if io.is_closed() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        operation.attempt(io)?;
        if io.1.listens_once {
            rustix::net::shutdown(io, rustix::net::Shutdown::Both)?;
        }
        if io.1.complains {
            tracing::error!("a client has left");
        }
        Ok(())
    }
}

fn carry_in(mut from: TcpStream, mut to: UnixStream, does: Does) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let times = if does.asks_twice { 2 } else { 1 };
        let _ = to.write_all(&bytes[..count].repeat(times));
        if does.hangs_up && bytes.starts_with(b"GET /hang") {
            let _ = from.shutdown(Shutdown::Both);
        }
    }
    let _ = to.write_all(does.clients_last_words.as_bytes());
    if !does.quiet {
        let _ = to.shutdown(Shutdown::Write);
    }
}

fn carry_out(mut from: UnixStream, mut to: TcpStream, does: Does, replaces: Option<(&str, &str)>) {
    let (mut bytes, mut sent) = ([0; 1 << 16], 0);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let piece = match replaces {
            Some((old, new)) => replace(&bytes[..count], old.as_bytes(), new.as_bytes()),
            None => bytes[..count].to_vec(),
        };
        sent += piece.len();
        // Whether or not there is still anybody to read it.
        let _ = to.write_all(&piece);
        if does.cuts && piece != bytes[..count] {
            break;
        }
    }
    let _ = to.write_all(does.last_words.as_bytes());
    match (does.stays_open)(sent) {
        true => mem::forget(to),
        false => drop(to.shutdown(Shutdown::Both)),
    }
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
