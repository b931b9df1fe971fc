//! The leaf functions: the only ones that ever yield.
//!
//! Everything that a coroutine can wait for goes through one of these. They find whoever is driving
//! the coroutine (see `coroutine.rs`), so what was made in one request can be used in another: a
//! pooled connection belongs to its host, not to the coroutine that opened it.
//!
//! | leaf | yields | outside any trampoline |
//! |---|---|---|
//! | [`sleep`], [`sleep_until`], [`timeout`] | [`Yield::Timer`] | panics: the signature has no room for an error |
//! | [`poll_io`], which all sockets use | [`Yield::Io`] | an error |
//! | [`unblock`] | [`Yield::Job`] | the join handle gives an error |
//! | [`spawn`], [`spawn_scoped`] | [`Yield::Task`] | the join handle gives an error |
//!
//! Each leaf takes the waker that it is polled with, so join, select and `FuturesUnordered` work as
//! they are, and the cost of a wake-up does not grow with the number of waits outstanding.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::client::Inherited;
use crate::coroutine::{self, Coroutine, bounce, trampoline};
use crate::join::{self, JoinHandle, ScopedHandle};
use crate::socket::{Attempt, Direction, Operation, Socket};
use crate::yields::{Io, Job, Task, Timer, Yield};

/// Where [`sleep`] ends up when the clock has no room for the moment asked for.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Waits for `duration`, counted from now, not from the first poll.
///
/// # Panics
///
/// When polled outside any trampoline.
///
/// # Cancel safety
///
/// Dropping it ends the wait; the host forgets it.
///
/// ```no_run
/// # async fn example() {
/// gateway_core::sleep(std::time::Duration::from_millis(5)).await;
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    let now = Instant::now();
    sleep_until(now.checked_add(duration).unwrap_or(now + FAR_FUTURE))
}

/// Waits until `deadline`. Never ends early; a deadline in the past ends at once.
///
/// # Panics
///
/// When polled outside any trampoline.
///
/// # Cancel safety
///
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { timer: Timer::new(deadline) }
}

/// The future of [`sleep`] and [`sleep_until`].
#[derive(Debug)]
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep {
    timer: Timer,
}

impl Sleep {
    /// Moves the deadline, also after it has passed. Putting it off costs next to nothing.
    pub fn reset(&mut self, deadline: Instant) {
        self.timer.reset(deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(bounce(Yield::Timer(&mut self.timer), cx)) {
            Ok(()) => Poll::Ready(()),
            Err(error) => panic!("sleep: {error}"),
        }
    }
}

/// Gives `future` until `duration` has passed, counted from now. The future is asked first: one that
/// is ready wins over a deadline that has passed.
///
/// # Errors
///
/// [`Elapsed`] when the time is over. The future is then dropped.
///
/// # Panics
///
/// When the future has to wait outside any trampoline.
///
/// # Cancel safety
///
/// Dropping it drops the future.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = sleep(duration);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed(duration)))
    })
    .await
}

/// The time given to [`timeout`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not finished within {:?}", self.0)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Starts `future` as a coroutine of its own, beside this one and under the same trampoline.
///
/// It runs whether or not the handle is awaited. Dropping the handle detaches it.
///
/// # Errors
///
/// The handle gives an error when the task panics, is cancelled, or was refused by the host; outside
/// any trampoline it does so at once, and `future` is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), gateway_core::JoinError> {
/// let sum = gateway_core::spawn(async { 1 + 1 }).await?;
/// assert_eq!(sum, 2);
/// # Ok(())
/// # }
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let trampoline = match trampoline() {
        Ok(trampoline) => trampoline,
        Err(error) => return JoinHandle::refused(error),
    };
    let (future, handle) = join::task(future);
    let task = Task(Box::pin(Coroutine::new(trampoline, future)));
    start(Yield::Task(task), handle)
}

/// Starts `future` as [`spawn`] does, to end with whoever holds the handle: dropping that cancels it.
///
/// A handler that holds the handles of its children takes them along when it is cancelled, and also
/// [`disconnected`](crate::disconnected) goes on working in them.
///
/// # Errors
///
/// As [`spawn`].
///
/// ```no_run
/// # async fn example() -> Result<(), gateway_core::JoinError> {
/// use gateway_core::spawn_scoped;
///
/// let parts: Vec<_> = (0..3).map(|n| spawn_scoped(async move { n * n })).collect();
/// let mut sum = 0;
/// for part in parts {
///     sum += part.await?;
/// }
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
pub fn spawn_scoped<F>(future: F) -> ScopedHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    ScopedHandle::new(spawn(Inherited::new(future)))
}

/// Runs `work`, which may block, on a thread kept for that.
///
/// Once it has begun it can't be stopped: cancelling discards its result. Dropping the handle
/// detaches it.
///
/// # Errors
///
/// As [`spawn`].
///
/// ```no_run
/// # async fn example() -> Result<(), gateway_core::JoinError> {
/// let text = gateway_core::unblock(|| std::fs::read_to_string("/etc/hostname")).await?;
/// # Ok(())
/// # }
/// ```
pub fn unblock<T, W>(work: W) -> JoinHandle<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (work, handle) = join::job(work);
    start(Yield::Job(Job(work)), handle)
}

fn start<T>(yielded: Yield<'_>, handle: JoinHandle<T>) -> JoinHandle<T> {
    coroutine::start(yielded).map_or_else(JoinHandle::refused, |()| handle)
}

/// Attempts `operation` on `socket`, and waits for readiness where it would block. All sockets are
/// built on this leaf.
///
/// `operation` returns its result, and whether the next one in this direction would block. It must
/// not block. It may be called several times; [`WouldBlock`](io::ErrorKind::WouldBlock) and
/// [`Interrupted`](io::ErrorKind::Interrupted) are never its final result.
///
/// # Errors
///
/// The operation's own; the host's, when it can't wait; and outside any trampoline.
#[inline(always)]
pub fn poll_io<T>(
    socket: &mut Socket,
    direction: Direction,
    cx: &mut Context<'_>,
    mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<(T, bool)>,
) -> Poll<io::Result<T>> {
    let mut result = None;
    let mut attempt = |fd: BorrowedFd<'_>| loop {
        return match operation(fd) {
            Ok((value, drained)) => {
                result = Some(Ok(value));
                if drained { Attempt::Drained } else { Attempt::Done }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocked,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                result = Some(Err(error));
                Attempt::Done
            }
        };
    };
    let io = Io { socket, operation: Operation::new(direction, &mut attempt) };
    ready!(bounce(Yield::Io(io), cx))?;
    Poll::Ready(result.unwrap_or_else(|| {
        Err(io::Error::other("the host resumed a socket operation without attempting it"))
    }))
}
