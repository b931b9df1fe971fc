//! `Yield`: everything a coroutine may wait for that needs its host.
//!
//! Each kind carries what a host needs to start it with its own primitive in one line:
//!
//! | kind | what the host does | tokio's primitive, say |
//! |---|---|---|
//! | [`Timer`] | [`Timer::poll`] with a function from a deadline to its own sleep | `sleep_until` |
//! | [`Io`] | [`Io::poll`] with its [`Reactor`] | `TcpStream::from_std` and `try_io` |
//! | [`Job`] | [`Job::start`] on a thread that may block | `spawn_blocking` |
//! | [`Task`] | [`Task::start`] beside the others | `spawn` |
//!
//! Results and panics of jobs and tasks travel back through core, never through the host.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::socket::{Direction, Operation, Reactor, Socket};

/// What a coroutine waits for. Closed: no kind is optional, and a new kind is a new version of the
/// contract, so that the compiler tells every host.
#[derive(Debug)]
pub enum Yield<'a> {
    /// Until a deadline.
    Timer(&'a mut Timer),
    /// Attempt an operation on a socket when it is ready.
    Io(Io<'a>),
    /// Blocking work, off the coroutine's thread. Must be answered at once.
    Job(Job),
    /// Another coroutine, beside this one. Must be answered at once.
    Task(Task),
}

/// The host's own timer, erased.
type HostTimer = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A wait until a deadline, and the host's own timer once it is armed.
///
/// Moving the deadline to a later moment leaves the armed timer alone: when that fires early, the
/// next one is armed. A deadline that is put off many times costs nothing until it comes.
pub struct Timer {
    deadline: Instant,
    armed: Option<(Instant, HostTimer)>,
}

impl Timer {
    /// A timer that nobody has armed yet.
    #[must_use]
    pub fn new(deadline: Instant) -> Timer {
        Timer { deadline, armed: None }
    }

    /// When the wait is over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed > deadline) {
            self.armed = None;
        }
    }

    /// For hosts: polls the host's timer, arming it with `arm` where that is needed.
    ///
    /// `arm`'s future must not finish before the deadline that it is given.
    // Not inlined, here and in `start`: sockets are what a host is asked for most, and should find
    // its `bounce` small.
    #[inline(never)]
    pub fn poll<F>(
        &mut self,
        cx: &mut Context<'_>,
        arm: impl Fn(Instant) -> F,
    ) -> Poll<io::Result<()>>
    where
        F: Future<Output: Send> + Send + Sync + 'static,
    {
        loop {
            let deadline = self.deadline;
            let (armed, timer) = self.armed.get_or_insert_with(|| {
                let timer = arm(deadline);
                (deadline, Box::pin(async move { drop(timer.await) }))
            });
            ready!(timer.as_mut().poll(cx));
            let fired = *armed;
            self.armed = None;
            if fired >= deadline {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let armed = self.armed.is_some();
        f.debug_struct("Timer").field("deadline", &self.deadline).field("armed", &armed).finish()
    }
}

/// An operation to attempt on a socket, when the host believes that the socket is ready.
#[derive(Debug)]
pub struct Io<'a> {
    pub(crate) socket: &'a mut Socket,
    pub(crate) operation: Operation<'a>,
}

impl Io<'_> {
    /// Which way the bytes go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.operation.direction()
    }

    /// For hosts: attempts the operation, waiting for readiness in between. The socket is registered
    /// with `reactor` if it is with none yet.
    ///
    /// # Errors
    ///
    /// What the reactor reports. The operation's own errors are its result, and never pass through
    /// here.
    #[inline]
    pub fn poll<R: Reactor>(mut self, reactor: &R, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (registered, drained) = self.socket.registered(reactor, self.operation.direction())?;
        registered.poll(&mut self.operation, drained, cx)
    }
}

/// Blocking work. Dropped without having run, it reports its cancellation to its join handle.
pub struct Job(pub(crate) Box<dyn FnOnce() + Send>);

impl Job {
    /// For trampolines around trampolines: other work in a job's place, the job's own inside it,
    /// perhaps. It must not unwind.
    #[must_use]
    pub fn new(work: impl FnOnce() + Send + 'static) -> Job {
        Job(Box::new(work))
    }

    /// Runs it on this thread.
    pub fn run(self) {
        (self.0)();
    }

    /// For hosts: hands the work to `start`, and answers the yield. The work never unwinds.
    ///
    /// # Errors
    ///
    /// When `start` gives nothing: the host can't start it. The join handle then says so.
    #[inline(never)]
    pub fn start<T>(
        self,
        start: impl FnOnce(Box<dyn FnOnce() + Send>) -> Option<T>,
    ) -> Poll<io::Result<()>> {
        started(start(self.0))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// A coroutine to drive to its end, beside the others: a future without a result.
///
/// Polling it never unwinds: a panic arrives at the join handle. Dropped before its end, it reports
/// its cancellation there.
pub struct Task(pub(crate) Pin<Box<dyn Future<Output = ()> + Send>>);

impl Task {
    /// For trampolines around trampolines: another future in a task's place, the task itself inside
    /// it, perhaps. Polling it must not unwind.
    #[must_use]
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(Box::pin(future))
    }

    /// For hosts: hands the task to `start`, and answers the yield.
    ///
    /// # Errors
    ///
    /// When `start` gives nothing: the host can't start it. The join handle then says so.
    #[inline(never)]
    pub fn start<T>(self, start: impl FnOnce(Task) -> Option<T>) -> Poll<io::Result<()>> {
        started(start(self))
    }
}

fn started<T>(handle: Option<T>) -> Poll<io::Result<()>> {
    let refused = "the host can't start it: it has shut down, or the system gives it no thread";
    Poll::Ready(handle.map(drop).ok_or_else(|| io::Error::other(refused)))
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}
