//! Hosts that break the rules of `host/sockets.rs`, and those about sockets of `host/waits.rs`.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use gateway_core::{Direction, Operation, Reactor, Trampoline, Yield};
use gateway_smol::OnSmol;
use rustix::net::{AddressFamily, RecvFlags, recv, sockopt};

use super::twin::{Behind, Twin};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        attempts("YLD-02", "of socket", |socket, operation| {
            if operation.direction() == Direction::Write {
                let _ = operation.attempt(socket);
            }
            operation.attempt(socket)
        }),
        attempts("YLD-02", "round", |socket, operation| {
            let _ = operation.attempt(socket);
            operation.attempt(socket)
        }),
        attempts("YLD-06", "out of order", |socket, operation| {
            let _ = operation.attempt(socket);
            operation.attempt(socket)
        }),
        Twin::new("YLD-09", "wakers of waits that are no more", || {
            Behind::new(|good| {
                super::twin::Bounce(good, |good, yielded, cx| {
                    if let Yield::Io(_) = yielded {
                        std::mem::forget(cx.waker().clone());
                    }
                    good.bounce(yielded, cx)
                })
            })
        }),
        // Clears readiness after the attempt, together with what has come since.
        attempts("YLD-10", "still waiting", |socket, operation| {
            let blocked = operation.attempt(socket);
            let left = socket.unread() > 0 && operation.direction() == Direction::Read;
            socket.memory.lock().unwrap().deaf = blocked.is_err() && left;
            blocked
        }),
        // Takes readiness for used up by the first read.
        attempts("YLD-10", "still waiting", |socket, operation| {
            if socket.memory.lock().unwrap().deaf {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let done = operation.attempt(socket);
            let left = socket.unread() > 0 && operation.direction() == Direction::Read;
            socket.memory.lock().unwrap().deaf = left;
            done
        }),
        // Does the same for room.
        attempts("YLD-10", "still waiting", |socket, operation| {
            let blocked = operation.attempt(socket);
            let writes = operation.direction() == Direction::Write;
            socket.memory.lock().unwrap().deaf = blocked.is_err() && writes;
            blocked
        }),
        // Forgets an event whose waker counts no more.
        waits("YLD-10", "a reader who comes late|it hangs", |socket, way, cx| {
            let (late, waker) = (socket.unread() > 0, cx.waker().clone());
            let mut memory = socket.memory.lock().unwrap();
            let other = memory.wakers[way as usize].replace(waker);
            match late && other.is_some_and(|other| !other.will_wake(cx.waker())) {
                true => Poll::Pending,
                false => socket.poll_ready(way, cx),
            }
        }),
        Twin::new("YLD-10", "without attempting it", || {
            Behind::new(|good| {
                super::twin::Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Io(io) => match good.bounce(Yield::Io(io), cx) {
                        Poll::Pending => Poll::Ready(Ok(())),
                        ready => ready,
                    },
                    other => good.bounce(other, cx),
                })
            })
        }),
        // Hears of the end once.
        attempts("YLD-14", "last words, or its end", |socket, operation| {
            if socket.memory.lock().unwrap().deaf {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let ended = matches!(recv(socket, &mut [0; 1], RecvFlags::PEEK), Ok((0, _)));
            let done = operation.attempt(socket);
            socket.memory.lock().unwrap().deaf = ended;
            done
        }),
        // Remembers the waker of the first poll.
        waits("YLD-16", "reader's latest waker is woken", |socket, way, cx| {
            let mut memory = socket.memory.lock().unwrap();
            let first = memory.wakers[way as usize].get_or_insert_with(|| cx.waker().clone());
            socket.poll_ready(way, &mut Context::from_waker(first))
        }),
        // Does so for writers.
        waits("YLD-16", "writer's latest waker is woken", |socket, way, cx| {
            if way == Direction::Read {
                return socket.poll_ready(way, cx);
            }
            let mut memory = socket.memory.lock().unwrap();
            let first = memory.wakers[way as usize].get_or_insert_with(|| cx.waker().clone());
            socket.poll_ready(way, &mut Context::from_waker(first))
        }),
        // Has one waker for both directions.
        waits("YLD-17", "resume", |socket, way, cx| {
            *socket.relay.0.lock().unwrap() = cx.waker().clone();
            let relay = Waker::from(socket.relay.clone());
            socket.poll_ready(way, &mut Context::from_waker(&relay))
        }),
        // Waits in one direction at a time.
        waits("YLD-17", "resume", |socket, way, cx| {
            let mut memory = socket.memory.lock().unwrap();
            if *memory.waits.get_or_insert(way) != way {
                return Poll::Pending;
            }
            let ready = socket.poll_ready(way, cx);
            if ready.is_ready() {
                memory.waits = None;
            }
            ready
        }),
        // Has no news for the writer when the peer is gone.
        waits("YLD-17", "resume", |socket, way, cx| {
            let ready = socket.poll_ready(way, cx);
            let peeked = recv(socket, &mut [0; 1], RecvFlags::PEEK);
            let alive = matches!(peeked, Ok((1.., _)) | Err(rustix::io::Errno::AGAIN));
            if way == Direction::Write && !alive { Poll::Pending } else { ready }
        }),
        // Takes only bytes for readiness, and not the end.
        waits("YLD-18", "hears of its writer's end", |socket, way, cx| {
            match socket.poll_ready(way, cx) {
                Poll::Ready(_)
                    if way == Direction::Read && socket.is_pipe() && socket.unread() == 0 =>
                {
                    Poll::Pending
                }
                ready => ready,
            }
        }),
        // Takes only room for readiness, and no error.
        waits("YLD-18", "hears of its reader's end", |socket, way, cx| {
            match way == Direction::Write && socket.is_pipe() {
                true => Poll::Pending,
                false => socket.poll_ready(way, cx),
            }
        }),
        // Waits for what can't be waited for.
        registers("YLD-18", "what can't be waited for", |reactor, fd| {
            match File::from(fd.try_clone()?).metadata()?.file_type().is_char_device() {
                true => closes(reactor, fd),
                false => reactor.take(fd),
            }
        }),
        registers("YLD-18", "only sockets here", |reactor, fd| {
            let file = File::from(fd.try_clone()?);
            match file.metadata()?.file_type().is_fifo() {
                true => Err(io::Error::other("only sockets here")),
                false => reactor.take(fd),
            }
        }),
        // Remembers by number what has been closed.
        registers("YLD-19", "another one had is ready", |reactor, fd| {
            let again = !reactor.seen.lock().unwrap().insert(fd.as_raw_fd());
            let socket = reactor.take(fd)?;
            socket.memory.lock().unwrap().deaf = again;
            Ok(socket)
        }),
        // Closes listeners, of the one kind or the other.
        registers("YLD-18", "a connection to an address", |reactor, fd| match listens(&fd) {
            true => closes(reactor, fd),
            false => reactor.take(fd),
        }),
        registers("YLD-18", "a connection to a path", |reactor, fd| {
            match listens(&fd) && sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX) {
                true => closes(reactor, fd),
                false => reactor.take(fd),
            }
        }),
        registers("YLD-16", "the peer of a socket that the host has open writes", closes),
        registers("DRP-10", "the peer of a socket that waits writes", closes),
        registers("SPN-06", "the peer of a task that reads writes", closes),
        // Sends everything back to where it comes from.
        attempts("EXE-06", "the peer has read a byte", |socket, operation| {
            let memory = &mut *socket.memory.lock().unwrap();
            let (one, other) = match &mut memory.pipe {
                Some(pipe) => pipe,
                none => none.insert(UnixStream::pair()?),
            };
            operation.attempt(if operation.direction() == Direction::Write { one } else { other })
        }),
        registers("YLD-19", "are not closed", keeps_open),
        registers("DRP-07", "socket is still open", keeps_open),
        registers("DRP-10", "a socket gives its peer", keeps_open),
        waits("YLD-21", "while it waited for one socket", |_, _, _| Poll::Ready(Ok(()))),
        registers("YLD-23", "the table is full", |reactor, fd| {
            match Arc::strong_count(&reactor.open) {
                256.. => Err(io::Error::other("the table is full")),
                _ => reactor.take(fd),
            }
        }),
        // Reads from somewhere else what comes after the first bytes.
        attempts("YLD-23", "bytes out of nowhere", |socket, operation| {
            if operation.direction() == Direction::Write {
                return operation.attempt(socket);
            }
            let reads = &mut socket.memory.lock().unwrap().reads;
            if *reads > 0 {
                return operation.attempt(File::open("/dev/zero")?);
            }
            *reads += usize::from(socket.unread() > 0);
            operation.attempt(socket)
        }),
        // Can't read any more after some time.
        attempts("YLD-05", "a byte", |socket, operation| {
            if operation.direction() == Direction::Write {
                return operation.attempt(socket);
            }
            let reads = &mut socket.memory.lock().unwrap().reads;
            *reads += usize::from(socket.unread() > 0);
            match *reads {
                5.. => operation.attempt(File::options().write(true).open("/dev/null")?),
                _ => operation.attempt(socket),
            }
        }),
        waits("YLD-24", "more of them", |socket, way, cx| match way {
            Direction::Read => socket.poll_ready(way, cx),
            Direction::Write => Poll::Pending,
        }),
        attempts("YLD-24", "right up to there", |socket, operation| {
            if operation.direction() == Direction::Write {
                let _ = operation.attempt(socket);
            }
            operation.attempt(socket)
        }),
        // Takes a reset or a refusal for its own error.
        waits("YLD-25", "ConnectionReset", |socket, way, cx| match socket.poll_ready(way, cx) {
            Poll::Ready(_) if !matches!(sockopt::socket_error(socket), Ok(Ok(()))) => {
                Poll::Ready(Err(io::Error::other("an event that nobody expects")))
            }
            ready => ready,
        }),
        waits("YLD-25", "it hangs", |socket, way, cx| match socket.poll_ready(way, cx) {
            Poll::Ready(_) if rustix::net::getpeername(socket).is_err() => Poll::Pending,
            ready => ready,
        }),
    ]
}

/// Watches another descriptor of each socket, and keeps the one that it was given.
fn keeps_open(reactor: &Odd, fd: OwnedFd) -> io::Result<Watched> {
    let other = fd.try_clone()?;
    std::mem::forget(fd);
    reactor.take(other)
}

/// Closes each socket, with a reset if it can, and watches another one in its place.
fn closes(reactor: &Odd, fd: OwnedFd) -> io::Result<Watched> {
    let _ = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    if listens(&fd) {
        drop(fd);
        let other = TcpListener::bind("127.0.0.1:0")?;
        other.set_nonblocking(true)?;
        return reactor.take(other.into());
    }
    drop(fd);
    let (other, silent) = UnixStream::pair()?;
    other.set_nonblocking(true)?;
    std::mem::forget(silent);
    reactor.take(other.into())
}

fn listens(fd: &OwnedFd) -> bool {
    sockopt::socket_acceptconn(fd) == Ok(true)
}

fn attempts(rule: &'static str, says: &'static str, attempt: AttemptFn) -> Twin {
    Twin::new(rule, says, move || Watching::new(Wrong { attempt, ..RIGHT }))
}

fn waits(rule: &'static str, says: &'static str, ready: ReadyFn) -> Twin {
    Twin::new(rule, says, move || Watching::new(Wrong { ready, ..RIGHT }))
}

fn registers(rule: &'static str, says: &'static str, register: RegisterFn) -> Twin {
    Twin::new(rule, says, move || Watching::new(Wrong { register, ..RIGHT }))
}

/// What goes wrong with a host's sockets.
#[derive(Clone, Copy)]
struct Wrong {
    register: RegisterFn,
    ready: ReadyFn,
    attempt: AttemptFn,
}

type RegisterFn = fn(&Odd, OwnedFd) -> io::Result<Watched>;
type ReadyFn = fn(&Watched, Direction, &mut Context<'_>) -> Poll<io::Result<()>>;
type AttemptFn = fn(&Watched, &mut Operation<'_>) -> io::Result<()>;

const RIGHT: Wrong = Wrong {
    register: Odd::take,
    ready: Watched::poll_ready,
    attempt: |socket, operation| operation.attempt(socket),
};

/// A good host whose sockets are watched by a reactor that goes wrong.
struct Watching {
    host: gateway_blocking::Blocking,
    wrong: Wrong,
}

impl Watching {
    fn new(wrong: Wrong) -> Watching {
        Watching { host: gateway_blocking::Blocking::new(2).unwrap(), wrong }
    }
}

impl gateway_core::Host for Watching {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.host.run(async {
            let good = gateway_core::trampoline().unwrap();
            let (seen, open) = (Mutex::default(), Arc::new(()));
            let odd = Odd { good, wrong: self.wrong, seen, open };
            gateway_core::Coroutine::new(Arc::new(odd), future).await
        })
    }
}

/// The reactor that goes wrong.
struct Odd {
    good: Arc<dyn Trampoline>,
    wrong: Wrong,
    seen: Mutex<HashSet<RawFd>>,
    open: Arc<()>,
}

impl Odd {
    fn take(&self, fd: OwnedFd) -> io::Result<Watched> {
        let (good, relay) = (OnSmol(Weak::new()).register(fd)?, Relay::new());
        let (wrong, memory, open) = (self.wrong, Mutex::default(), self.open.clone());
        Ok(Watched { good, wrong, memory, relay, _open: open })
    }
}

impl Trampoline for Odd {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Io(io) => io.poll(self, cx),
            other => self.good.bounce(other, cx),
        }
    }
}

impl Reactor for Odd {
    type Socket = Watched;

    fn register(&self, fd: OwnedFd) -> io::Result<Watched> {
        (self.wrong.register)(self, fd)
    }

    fn poll_ready(io: &Watched, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if io.memory.lock().unwrap().deaf {
            return Poll::Pending;
        }
        (io.wrong.ready)(io, way, cx)
    }

    fn attempt(io: &Watched, operation: &mut Operation<'_>) -> io::Result<()> {
        (io.wrong.attempt)(io, operation)
    }
}

/// One of its sockets.
struct Watched {
    good: <OnSmol as Reactor>::Socket,
    wrong: Wrong,
    memory: Mutex<Memory>,
    relay: Arc<Relay>,
    _open: Arc<()>,
}

#[derive(Default)]
struct Memory {
    /// Hears of nothing any more.
    deaf: bool,
    wakers: [Option<Waker>; 2],
    waits: Option<Direction>,
    /// How often it has read something.
    reads: usize,
    /// Where it writes to, and reads from, in place of the socket.
    pipe: Option<(UnixStream, UnixStream)>,
}

impl Watched {
    fn poll_ready(&self, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        OnSmol::poll_ready(&self.good, way, cx)
    }

    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or_default()
    }

    fn is_pipe(&self) -> bool {
        sockopt::socket_error(self).is_err()
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.good.as_fd()
    }
}

/// Wakes whoever has come last.
struct Relay(Mutex<Waker>);

impl Relay {
    fn new() -> Arc<Relay> {
        Arc::new(Relay(Mutex::new(Waker::noop().clone())))
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Relay>) {
        let latest = self.0.lock().unwrap().clone();
        latest.wake();
    }
}
