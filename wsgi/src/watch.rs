//! `Watch`: what ends a wait early, a signal whose handler raises or the server's `close()`.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use gateway_core::{Sleep, sleep};
use pyo3::prelude::*;
use rustix::process::getpid;
use rustix::thread::gettid;

/// How often a wait on Python's main thread looks whether there was a signal. Python runs the
/// handlers of signals on that thread alone, so no other one looks.
const SIGNALS: Duration = Duration::from_millis(200);

/// One request's. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    waiting: AtomicWaker,
    raised: Mutex<Option<PyErr>>,
}

/// The looks of one wait.
#[derive(Default)]
pub(crate) struct Looks(Option<Sleep>);

impl Watch {
    /// The request is over: its waits end, and its input is read no more.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.waiting.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Keeps what was raised, for the server.
    pub(crate) fn keep(&self, raised: PyErr) {
        *self.0.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
    }

    /// Raises what was kept.
    pub(crate) fn raise(&self) -> PyResult<()> {
        let raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        raised.map_or(Ok(()), Err)
    }

    /// Ready when a wait has to end.
    pub(crate) fn poll(&self, looks: &mut Looks, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.0.waiting.register(cx.waker());
        if self.is_closed() {
            return Poll::Ready(io::Error::other("the server has closed the response"));
        }
        while gettid() == getpid() {
            let look = looks.0.get_or_insert_with(|| sleep(SIGNALS));
            ready!(Pin::new(&mut *look).poll(cx));
            look.reset(Instant::now() + SIGNALS);
            if let Err(raised) = Python::attach(|py| py.check_signals()) {
                self.keep(raised);
                return Poll::Ready(io::Error::other("a signal has interrupted the wait"));
            }
        }
        Poll::Pending
    }
}
