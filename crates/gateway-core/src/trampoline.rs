//! `Trampoline` and `Host`: what answers yields, and what coroutines run on.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::yields::Yield;

/// Answers what coroutines yield.
///
/// One method with one match arm per kind of yield. A tracer, a limiter, a fault injector or a
/// simulator is a trampoline around a trampoline: it looks at the yield and passes it on.
///
/// # What a host must do
///
/// - [`Yield::Timer`] and [`Yield::Io`]: return `Ready` when the wait is over (or was never needed),
///   or take `cx`'s waker, wake it when another call is worth making, and return `Pending`. Only
///   the waker of the latest call counts. Waking too often is allowed; waking too seldom is not.
/// - [`Yield::Job`] and [`Yield::Task`]: start the work and return `Ready` at once. Dropping it
///   instead cancels it; its join handle is told.
/// - Forget a wait when it is dropped: the [`Timer`](crate::Timer) and the
///   [`Socket`](crate::Socket) own the host's part of the wait, and dropping them must release it,
///   wakers included.
/// - Never call back into the coroutine from within `bounce`, and hold no lock while dropping a task
///   or a job: its destructors may yield in turn.
///
/// # What a host may rely on
///
/// - A timer or a socket is waited for by one coroutine at a time: they are lent as `&mut`.
/// - A job, and the poll of a task, never unwinds.
pub trait Trampoline: Send + Sync + 'static {
    /// Answers one yield.
    ///
    /// # Errors
    ///
    /// An error says that the host can't wait for this, because it has shut down or is out of
    /// descriptors, say. The coroutine is resumed with it.
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<T: Trampoline + ?Sized> Trampoline for Arc<T> {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).bounce(yielded, cx)
    }
}

/// Owns what coroutines run on, and runs one to its end. Dropping it lets go of what is left.
///
/// It is not a trampoline itself, but puts one around what it runs: coroutines hold on to their
/// trampoline, and should not keep their host alive.
pub trait Host {
    /// Runs `future` as a coroutine of this host on the calling thread, and blocks until it has
    /// finished. Tasks spawned on the way may go on when this returns, as long as the host lives.
    ///
    /// # Panics
    ///
    /// If `future` panics, and where the runtime beneath forbids blocking (a tokio worker, say).
    fn run<F: Future>(&self, future: F) -> F::Output;
}
