//! `Clock`: a trampoline around the host's whose timers end when the check says so.
//!
//! Where time is only a means (one thing is to come before another, a wait is to be given up), a
//! check decides what the time is, and no machine is too slow or too fast for it. Whoever polls and
//! wakes is still the host under test. What a host makes of real moments is another matter: that is
//! YLD-07's, and those like it.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use gateway_core::{Coroutine, Trampoline, Yield, trampoline};

use super::gauges::lock;

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(super) struct Clock(Arc<Mutex<Hands>>);

struct Hands {
    now: Instant,
    /// Who waits, by deadline and number.
    waiting: Vec<(Instant, u64, Waker)>,
    last: u64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock(Arc::new(Mutex::new(Hands { now: Instant::now(), waiting: Vec::new(), last: 0 })))
    }

    /// Runs a future, and the tasks that it spawns, by this clock.
    pub(super) async fn around<F: Future>(&self, future: F) -> F::Output {
        let inner = trampoline().expect("a trampoline inside `run`");
        let around = Around { inner, clock: self.clone() };
        Coroutine::new(Arc::new(around), future).await
    }

    /// How many timers wait.
    pub(super) fn waiting(&self) -> usize {
        self.hands().waiting.len()
    }

    /// Moves it, and wakes those whose deadlines have passed, the earliest first.
    pub(super) fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.now += by;
        let now = hands.now;
        hands.waiting.sort_by_key(|(deadline, number, _)| (*deadline, *number));
        let due = hands.waiting.iter().filter(|(deadline, ..)| *deadline <= now).count();
        let due: Vec<_> = hands.waiting.drain(..due).collect();
        drop(hands);
        due.into_iter().for_each(|(.., waker)| waker.wake());
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        lock(&self.0)
    }

    /// Waits for a moment by this clock. Dropped before, it is forgotten.
    fn reaches(&self, deadline: Instant) -> impl Future<Output = ()> + Send + Sync + use<> {
        struct Wait(Clock, u64);
        impl Wait {
            fn forget(&self) {
                self.0.hands().waiting.retain(|(_, number, _)| *number != self.1);
            }
        }
        impl Drop for Wait {
            fn drop(&mut self) {
                self.forget();
            }
        }
        let mut hands = self.hands();
        hands.last += 1;
        let wait = Wait(self.clone(), hands.last);
        drop(hands);
        poll_fn(move |cx| {
            wait.forget();
            let mut hands = wait.0.hands();
            if hands.now >= deadline {
                return Poll::Ready(());
            }
            hands.waiting.push((deadline, wait.1, cx.waker().clone()));
            Poll::Pending
        })
    }
}

struct Around {
    inner: Arc<dyn Trampoline>,
    clock: Clock,
}

impl Trampoline for Around {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, |deadline| self.clock.reaches(deadline)),
            other => self.inner.bounce(other, cx),
        }
    }
}
