//! `JoinHandle`: the result of a task or a job, and what stands between it and the host.
//!
//! The two ends share one small state. The runner's end is a [`Promise`]: whatever happens to it,
//! the handle learns of it, because a promise that is dropped unkept reports a cancellation.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

struct Shared<T> {
    cancelled: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    result: Slot<T>,
    /// Whoever awaits the handle.
    joiner: Option<Waker>,
    /// Whoever polls the task, to be told of a cancellation.
    runner: Option<Waker>,
}

enum Slot<T> {
    Empty,
    Kept(Result<T, JoinError>),
    Taken,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whom a cancellation wakes.
    #[cold]
    fn is_run_by(&self, waker: &Waker) {
        self.lock().runner = Some(waker.clone());
    }
}

/// The runner's end. Dropping it unkept is a cancellation.
struct Promise<T>(Arc<Shared<T>>);

impl<T> Promise<T> {
    fn keep(&self, result: Result<T, JoinError>) {
        let mut state = self.0.lock();
        let runner = state.runner.take();
        let unwanted = match state.result {
            Slot::Empty => {
                state.result = Slot::Kept(result);
                None
            }
            Slot::Kept(_) | Slot::Taken => Some(result),
        };
        let joiner = state.joiner.take();
        // Without the lock: what is dropped, or woken, may do anything.
        drop(state);
        drop((runner, unwanted));
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.keep(Err(JoinError::Cancelled));
    }
}

fn shared<T>() -> (Promise<T>, JoinHandle<T>) {
    let shared = Arc::new(Shared {
        cancelled: AtomicBool::new(false),
        state: Mutex::new(State { result: Slot::Empty, joiner: None, runner: None }),
    });
    (Promise(shared.clone()), JoinHandle { state: HandleState::Started(shared) })
}

/// Binds a future to a handle: the returned future never unwinds.
pub(crate) fn task<F: Future>(future: F) -> (Run<F>, JoinHandle<F::Output>) {
    let (promise, handle) = shared();
    (Run { future: Some(future), registered: None, promise }, handle)
}

/// Binds blocking work to a handle: the returned function never unwinds.
pub(crate) fn job<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (Box<dyn FnOnce() + Send>, JoinHandle<T>) {
    let (promise, handle) = shared();
    let run = move || {
        if promise.0.is_cancelled() {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(JoinError::panicked);
        if !promise.0.is_cancelled() {
            promise.keep(result);
        }
    };
    // Once more, for what is dropped here rather than run: what the work holds, or its result.
    (Box::new(|| drop(catch_unwind(AssertUnwindSafe(run)))), handle)
}

pin_project! {
    /// A task's future: keeps its promise at the end, on a panic and on cancellation.
    pub(crate) struct Run<F: Future> {
        // Before the promise: what it holds is gone by the time that its handle hears of it.
        #[pin]
        future: Option<F>,
        // The waker that a cancellation wakes. Kept here too, to compare without the lock.
        registered: Option<Waker>,
        promise: Promise<F::Output>,
    }
}

impl<F: Future> Future for Run<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let shared = &this.promise.0;
        if !this.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *this.registered = Some(cx.waker().clone());
            shared.is_run_by(cx.waker());
        }
        let step = catch_unwind(AssertUnwindSafe(|| {
            if shared.is_cancelled() {
                this.future.set(None);
                return Poll::Ready(Err(JoinError::Cancelled));
            }
            match this.future.as_mut().as_pin_mut() {
                Some(future) => future.poll(cx).map(Ok),
                None => Poll::Ready(Err(JoinError::Cancelled)),
            }
        }));
        let mut result = match step {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => Err(JoinError::panicked(payload)),
        };
        // The future is dropped before its result is seen, and may panic at that as well.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.future.set(None))) {
            result = Err(JoinError::panicked(payload));
        }
        *this.registered = None;
        // Nobody may want the result, and dropping it may panic as well.
        let _ = catch_unwind(AssertUnwindSafe(|| this.promise.keep(result)));
        Poll::Ready(())
    }
}

/// Awaits the result of a task or a job. Dropping it detaches: the work goes on.
///
/// # Cancel safety
///
/// Awaiting `&mut handle` can be given up and taken up again; no result is lost.
pub struct JoinHandle<T> {
    state: HandleState<T>,
}

enum HandleState<T> {
    Started(Arc<Shared<T>>),
    Refused(Option<io::Error>),
}

impl<T> JoinHandle<T> {
    pub(crate) fn refused(error: io::Error) -> JoinHandle<T> {
        JoinHandle { state: HandleState::Refused(Some(error)) }
    }

    /// Asks for the end. A task is dropped where it waits, with its trampoline still current; a job
    /// that has not begun never does, and the result of one that has is discarded. Then the handle
    /// gives [`JoinError::Cancelled`], unless the work has finished already.
    pub fn cancel(&self) {
        let HandleState::Started(shared) = &self.state else { return };
        shared.cancelled.store(true, Ordering::Release);
        let runner = shared.lock().runner.take();
        if let Some(runner) = runner {
            runner.wake();
        }
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.state {
            HandleState::Started(shared) => !matches!(shared.lock().result, Slot::Empty),
            HandleState::Refused(_) => true,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            HandleState::Refused(error) => {
                let error = error.take().expect("a join handle is not polled after its end");
                Poll::Ready(Err(JoinError::Refused(error)))
            }
            HandleState::Started(shared) => {
                let mut state = shared.lock();
                match std::mem::replace(&mut state.result, Slot::Taken) {
                    Slot::Kept(result) => Poll::Ready(result),
                    Slot::Empty => {
                        state.result = Slot::Empty;
                        let before = state.joiner.replace(cx.waker().clone());
                        drop(state);
                        drop(before);
                        Poll::Pending
                    }
                    Slot::Taken => panic!("a join handle is not polled after its end"),
                }
            }
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let HandleState::Started(shared) = &self.state else { return };
        let mut state = shared.lock();
        let result = std::mem::replace(&mut state.result, Slot::Taken);
        let joiner = state.joiner.take();
        // Without the lock: what is dropped may do anything.
        drop(state);
        drop((result, joiner));
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

/// Awaits the result of a task that belongs to whoever holds this: dropping it cancels the task.
///
/// # Cancel safety
///
/// As [`JoinHandle`]: awaiting `&mut handle` can be given up and taken up again.
#[derive(Debug)]
#[must_use = "dropping it cancels the task"]
pub struct ScopedHandle<T>(Option<JoinHandle<T>>);

impl<T> ScopedHandle<T> {
    pub(crate) fn new(handle: JoinHandle<T>) -> ScopedHandle<T> {
        ScopedHandle(Some(handle))
    }

    /// Lets the task go on by itself: dropping what this returns cancels nothing.
    #[must_use = "it is an ordinary handle"]
    pub fn unscoped(mut self) -> JoinHandle<T> {
        self.0.take().expect("a handle is unscoped once")
    }
}

impl<T> Future for ScopedHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self.0.as_mut().expect("a handle is unscoped once")).poll(cx)
    }
}

impl<T> Drop for ScopedHandle<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.cancel();
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub enum JoinError {
    /// The work panicked, with this message. Whose fault: the application's.
    Panicked(String),
    /// The work was cancelled, by its handle or because its host shut down.
    Cancelled,
    /// The work never started. Whose fault: the host's; or the caller's, outside any trampoline.
    Refused(io::Error),
}

impl JoinError {
    /// Makes an error of what [`catch_unwind`] caught.
    #[must_use]
    pub fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
        let message = match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => match payload.downcast_ref::<&str>() {
                Some(message) => (*message).to_owned(),
                None => {
                    // A payload of another type may itself panic when it is dropped.
                    std::mem::forget(payload);
                    "a panic without a message".to_owned()
                }
            },
        };
        JoinError::Panicked(message)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(message) => write!(f, "the work panicked: {message}"),
            JoinError::Cancelled => f.write_str("the work was cancelled"),
            JoinError::Refused(error) => write!(f, "the work was not started: {error}"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::Refused(error) => Some(error),
            _ => None,
        }
    }
}
