//! `Socket`: a socket on its way to a host, or registered there; and what hosts do with it.
//!
//! # Why an attempt and not a readiness flag
//!
//! Runtimes disagree on what bare readiness means. One caches it until it is cleared under a guard
//! taken *before* the operation; another registers interest only *after* the operation would have
//! blocked. Code that polls a flag and then reads spins on one of them, or loses a wake-up on the
//! other. So a coroutine yields the operation itself, and the host runs it when it believes that the
//! socket is ready. Three things may come of it:
//!
//! | attempt | what happened | what to do next |
//! |---|---|---|
//! | done | it went through, and the next one may too | attempt first |
//! | drained | it went through short: the next one would block | wait first |
//! | blocked | nothing happened | wait, then attempt again |
//!
//! To notice "drained" saves one system call per small request: the read that would only have said
//! `EAGAIN`. A host that caches readiness must clear it within the very call that made the attempt,
//! so [`Operation::attempt`] reports both "drained" and "blocked" as `WouldBlock`. The loop that
//! joins waiting and attempting stands once, in `Registered::poll`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

/// How often one poll attempts an operation, while its host says each time that another attempt is
/// worth making.
const ATTEMPTS_PER_POLL: u32 = 16;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the application. Accepting a connection is reading, too.
    Read,
    /// Towards the peer. Finishing a connect is writing, too.
    Write,
}

/// What came of an attempt; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Done,
    Drained,
    Blocked,
}

/// One operation on a non-blocking socket. It never blocks, and keeps its result to itself.
pub struct Operation<'a> {
    direction: Direction,
    run: &'a mut dyn FnMut(BorrowedFd<'_>) -> Attempt,
    last: Attempt,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(
        direction: Direction,
        run: &'a mut dyn FnMut(BorrowedFd<'_>) -> Attempt,
    ) -> Operation<'a> {
        Operation { direction, run, last: Attempt::Blocked }
    }

    /// Which way the bytes go.
    #[must_use]
    #[inline]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// For hosts: makes the attempt.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the next attempt in this direction would
    /// block: a host that caches readiness clears it then. Never anything else.
    #[inline]
    pub fn attempt(&mut self, socket: impl AsFd) -> io::Result<()> {
        self.last = (self.run)(socket.as_fd());
        match self.last {
            Attempt::Done => Ok(()),
            Attempt::Drained | Attempt::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl fmt::Debug for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// For hosts: how to register a socket, and to wait for its readiness.
pub trait Reactor: 'static {
    /// The form in which the host keeps a socket. Dropping it ends the registration, forgets its
    /// wakers, and closes the descriptor.
    type Socket: AsFd + Send + Sync + 'static;

    /// Whether [`attempt`](Self::attempt) is always left out while the host knows that the socket is
    /// not ready. To attempt is then the cheaper question, so it is asked first after a wait.
    const CACHES_READINESS: bool = false;

    /// Takes a descriptor in non-blocking mode, of any kind: a listening socket, too. Called on the
    /// socket's first use, be it ready or not.
    ///
    /// # Errors
    ///
    /// When the host can't take it. It is closed then.
    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket>;

    /// Ready when an attempt in this direction is worth making; else takes `cx`'s waker, to wake it
    /// when one is. Each direction has a waker of its own.
    ///
    /// # Errors
    ///
    /// When the host can't wait for this socket any more, because it has shut down, say.
    fn poll_ready(
        socket: &Self::Socket,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;

    /// Makes the attempt and passes its outcome on. A host that caches readiness clears it here when
    /// that is `WouldBlock`, and may leave the attempt out while it knows that the socket is not
    /// ready.
    ///
    /// # Errors
    ///
    /// Nobody reads them.
    fn attempt(socket: &Self::Socket, operation: &mut Operation<'_>) -> io::Result<()> {
        operation.attempt(socket)
    }
}

/// A socket in its host's form, whichever that is.
pub(crate) trait Registered: Send + Sync {
    fn fd(&self) -> BorrowedFd<'_>;

    /// Attempts the operation, waiting for readiness in between. `drained` says whether the next
    /// attempt would block, before and after.
    fn poll(
        &self,
        operation: &mut Operation<'_>,
        drained: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;
}

struct RegisteredWith<R: Reactor>(R::Socket);

impl<R: Reactor> RegisteredWith<R> {
    /// One round of waiting, where that is needed, and attempting.
    #[inline]
    fn round(
        &self,
        operation: &mut Operation<'_>,
        drained: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Attempt>> {
        if *drained && R::poll_ready(&self.0, operation.direction, cx)?.is_pending() {
            *drained = !R::CACHES_READINESS;
            return Poll::Pending;
        }
        operation.last = Attempt::Blocked;
        // Dropped where it is known to be an error, which costs less.
        if let Err(error) = R::attempt(&self.0, operation) {
            drop(error);
        }
        *drained = operation.last != Attempt::Done;
        Poll::Ready(Ok(operation.last))
    }

    /// Further rounds.
    #[cold]
    fn again(
        &self,
        operation: &mut Operation<'_>,
        drained: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 1..ATTEMPTS_PER_POLL {
            if ready!(self.round(operation, drained, cx))? != Attempt::Blocked {
                return Poll::Ready(Ok(()));
            }
        }
        // Ready again and again, and nothing to be had: others get their turn first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Reactor> Registered for RegisteredWith<R> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn poll(
        &self,
        operation: &mut Operation<'_>,
        drained: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.round(operation, drained, cx))? {
            Attempt::Blocked => self.again(operation, drained, cx),
            Attempt::Done | Attempt::Drained => Poll::Ready(Ok(())),
        }
    }
}

/// A non-blocking socket. The first yield hands its descriptor to the host, which keeps its own
/// registered form here from then on; the descriptor is never duplicated.
///
/// Any coroutine of the same host may use it next: the registration moves along with the socket.
pub struct Socket {
    state: State,
    /// Per direction: the next attempt would block, so wait first.
    drained: [bool; 2],
}

enum State {
    Unregistered(OwnedFd),
    Registered(Box<dyn Registered>),
    /// The host refused it, and the descriptor went down with the attempt.
    Closed,
}

impl Socket {
    /// Takes a descriptor, which must be in non-blocking mode already.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Socket {
        Socket { state: State::Unregistered(fd), drained: [false; 2] }
    }

    /// The registered form, made the first time, and whether it is drained.
    #[inline]
    pub(crate) fn registered<R: Reactor>(
        &mut self,
        reactor: &R,
        direction: Direction,
    ) -> io::Result<(&dyn Registered, &mut bool)> {
        if let State::Unregistered(_) = self.state {
            self.register(reactor)?;
        }
        match &self.state {
            State::Registered(socket) => Ok((&**socket, &mut self.drained[direction as usize])),
            _ => Err(closed()),
        }
    }

    #[cold]
    fn register<R: Reactor>(&mut self, reactor: &R) -> io::Result<()> {
        if let State::Unregistered(fd) = std::mem::replace(&mut self.state, State::Closed) {
            let registered = RegisteredWith::<R>(reactor.register(fd)?);
            self.state = State::Registered(Box::new(registered));
        }
        Ok(())
    }

    /// The descriptor, to look at its addresses and options.
    ///
    /// # Errors
    ///
    /// When the host has refused to register the socket, which closed it.
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.state {
            State::Unregistered(fd) => Ok(fd.as_fd()),
            State::Registered(registered) => Ok(registered.fd()),
            State::Closed => Err(closed()),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fd() {
            Ok(fd) => f.debug_tuple("Socket").field(&fd).finish(),
            Err(_) => f.write_str("Socket(closed)"),
        }
    }
}

#[cold]
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the host refused to register this socket earlier")
}
