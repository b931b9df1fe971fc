//! `Coroutine`: a future together with the trampoline that drives it.
//!
//! Who answers a yield is a matter of dynamic scope, as it is with `yield` in Python: whoever is
//! driving the coroutine right now. For the length of each poll the coroutine's trampoline *changes
//! places* with what is in a thread-local, and back when the poll returns or panics: no lock, no
//! reference count, no unsafe code. So coroutines nest, also across hosts.
//!
//! The trampoline is current while the wrapped future is dropped, too, so that a guard's `Drop` may
//! spawn its clean-up.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::trampoline::Trampoline;
use crate::yields::Yield;

/// How many yields one poll of a coroutine may have answered at once. When they are spent, the
/// coroutine is woken and suspended, so that one whose waits are always over starves nobody, also
/// on hosts without a budget of their own.
pub const YIELDS_PER_POLL: u32 = 128;

/// Whoever drives the coroutine that is being polled on this thread, and what it has left.
struct Scope {
    trampoline: Arc<dyn Trampoline>,
    budget: u32,
}

thread_local! {
    /// Without a destructor, which every access would have to ask about: where nothing is polled, it
    /// is nobody's.
    static CURRENT: Cell<ManuallyDrop<Option<Scope>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

pin_project! {
    /// A future that is driven by a trampoline: every leaf polled inside it yields to that one.
    ///
    /// A coroutine is itself a future, so it can be awaited inside a runtime that is running
    /// already: `Coroutine::new(trampoline, app).await`.
    ///
    /// # Panics
    ///
    /// Polling panics when the future does, and after completion.
    pub struct Coroutine<F> {
        scope: Option<Scope>,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Coroutine<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = Entered::new(this.scope);
            this.future.set(None);
        }
    }
}

impl<F: Future> Coroutine<F> {
    /// Wraps `future`, so that `trampoline` answers what it yields.
    pub fn new(trampoline: Arc<dyn Trampoline>, future: F) -> Coroutine<F> {
        Coroutine { scope: Some(Scope { trampoline, budget: 0 }), future: Some(future) }
    }
}

impl<F: Future> Future for Coroutine<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = Entered::new(this.scope);
        let future = this.future.as_mut().as_pin_mut();
        let answer = future.expect("a coroutine is not polled after its end").poll(cx);
        if answer.is_ready() {
            this.future.set(None);
        }
        answer
    }
}

impl<F> fmt::Debug for Coroutine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("finished", &self.future.is_none()).finish()
    }
}

/// While it lives, the coroutine's scope is the current one.
struct Entered<'a>(&'a mut Option<Scope>);

impl<'a> Entered<'a> {
    #[inline]
    fn new(home: &'a mut Option<Scope>) -> Entered<'a> {
        if let Some(scope) = home {
            scope.budget = YIELDS_PER_POLL;
        }
        swap(home);
        Entered(home)
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        swap(self.0);
    }
}

#[inline]
fn swap(home: &mut Option<Scope>) {
    *home = ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(home.take())));
}

/// The current scope, taken out of its place while it is in use. Puts it back, on a panic too.
struct Borrowed(ManuallyDrop<Option<Scope>>);

impl Borrowed {
    #[inline]
    fn new() -> Borrowed {
        Borrowed(CURRENT.take())
    }
}

impl Drop for Borrowed {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(ManuallyDrop::new(self.0.take()));
    }
}

/// Yields to whoever is driving the coroutine that is being polled.
#[inline(always)]
pub(crate) fn bounce(yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut borrowed = Borrowed::new();
    let Some(scope) = borrowed.0.as_mut() else { return Poll::Ready(Err(outside())) };
    if scope.budget == 0 {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    let answer = scope.trampoline.bounce(yielded, cx);
    scope.budget -= u32::from(answer.is_ready());
    answer
}

/// Yields a task or a job, which has to be answered at once, and takes no part in the budget.
pub(crate) fn start(yielded: Yield<'_>) -> io::Result<()> {
    let borrowed = Borrowed::new();
    let scope = borrowed.0.as_ref().ok_or_else(outside)?;
    match scope.trampoline.bounce(yielded, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(io::Error::other(
            "the host answered a task or a job with Pending: its trampoline must start it at once",
        )),
    }
}

/// The trampoline that drives the coroutine being polled, to wrap it or to hand it on.
///
/// # Errors
///
/// Outside any coroutine. The message names the remedy.
pub fn trampoline() -> io::Result<Arc<dyn Trampoline>> {
    let borrowed = Borrowed::new();
    borrowed.0.as_ref().map(|scope| scope.trampoline.clone()).ok_or_else(outside)
}

#[cold]
fn outside() -> io::Error {
    io::Error::other(
        "a sleep, socket, task or job of the gateway was used outside any trampoline, where no host \
         can answer it: run the future with `Host::run`, or wrap it in `Coroutine::new(trampoline, \
         future)`",
    )
}
