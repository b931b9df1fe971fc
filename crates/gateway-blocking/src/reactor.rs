//! One thread that waits for all sockets and timers, and wakes whoever waits for them.
//!
//! Interest in a socket is good for one event (`polling`'s oneshot mode): it is stated anew for each
//! wait, and the system then looks at the socket's level, so no edge is ever lost.
//!
//! | a direction is | meaning |
//! |---|---|
//! | `Idle` | nobody waits |
//! | `Waiting` | a coroutine waits, and the poller knows |
//! | `Ready` | the event came: the next `poll_ready` says so, once |

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use gateway_core::Direction;
use polling::{Event, Events, Poller};
use slab::Slab;

use crate::register;

/// All sockets and timers of a host.
pub(crate) struct Sockets {
    poller: Poller,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sources: Slab<Weak<Source>>,
    /// By deadline; the number tells timers with the same deadline apart.
    timers: BTreeMap<(Instant, u64), Waker>,
    timers_made: u64,
}

impl Sockets {
    /// Starts the thread that waits.
    pub(crate) fn start() -> io::Result<Arc<Sockets>> {
        let (stopped, state) = (AtomicBool::new(false), Mutex::default());
        let sockets = Arc::new(Sockets { poller: Poller::new()?, stopped, state });
        let waiting = sockets.clone();
        thread::Builder::new().name("gateway-reactor".into()).spawn(move || waiting.wait())?;
        Ok(sockets)
    }

    /// Ends the thread. Whoever waits still is woken, to hear that nobody waits for it any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = self.poller.notify();
    }

    /// A future that ends at `at`.
    pub(crate) fn alarm(self: &Arc<Sockets>, at: Instant) -> Alarm {
        Alarm { sockets: self.clone(), at, number: None }
    }

    /// Takes a socket.
    pub(crate) fn register(self: &Arc<Sockets>, fd: OwnedFd) -> io::Result<Arc<Source>> {
        let mut state = self.lock();
        let entry = state.sources.vacant_entry();
        let (key, directions) = (entry.key(), Mutex::default());
        let source = Arc::new(Source { fd, key, sockets: self.clone(), directions });
        entry.insert(Arc::downgrade(&source));
        drop(state);
        register::add(&self.poller, &source, key)?;
        Ok(source)
    }

    fn wait(&self) {
        let mut events = Events::new();
        let mut wakers = Vec::new();
        loop {
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
            let first = self.lock().timers.first_key_value().map(|((at, _), _)| *at);
            let timeout = first.map(|at| at.saturating_duration_since(Instant::now()));
            events.clear();
            // An error here is a signal that interrupted the wait, or a bug: nobody has closed it.
            let _ = self.poller.wait(&mut events, timeout);
            for event in events.iter() {
                let source = self.lock().sources.get(event.key).and_then(Weak::upgrade);
                if let Some(source) = source {
                    source.take_event(event, &mut wakers);
                }
            }
            let mut state = self.lock();
            let now = Instant::now();
            while let Some(timer) = state.timers.first_entry() {
                if timer.key().0 > now {
                    break;
                }
                wakers.push(timer.remove());
            }
            drop(state);
            wakers.drain(..).for_each(Waker::wake);
        }
        self.let_go();
    }

    /// Wakes everyone, for the last time.
    fn let_go(&self) {
        let mut state = self.lock();
        let mut wakers: Vec<_> = std::mem::take(&mut state.timers).into_values().collect();
        let sources: Vec<_> = state.sources.iter().filter_map(|(_, s)| s.upgrade()).collect();
        drop(state);
        for source in sources {
            source.take_event(Event::all(source.key), &mut wakers);
        }
        wakers.drain(..).for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered socket.
pub(crate) struct Source {
    fd: OwnedFd,
    key: usize,
    sockets: Arc<Sockets>,
    directions: Mutex<[Wait; 2]>,
}

#[derive(Default)]
enum Wait {
    #[default]
    Idle,
    Waiting(Waker),
    Ready,
}

impl Source {
    /// Ready once after each event; else takes `cx`'s waker.
    pub(crate) fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut directions = self.lock();
        let wait = &mut directions[direction as usize];
        let known = match wait {
            Wait::Ready => {
                *wait = Wait::Idle;
                return Poll::Ready(Ok(()));
            }
            Wait::Waiting(waker) if waker.will_wake(cx.waker()) => return Poll::Pending,
            Wait::Waiting(_) => true,
            Wait::Idle => false,
        };
        let before = std::mem::replace(wait, Wait::Waiting(cx.waker().clone()));
        let stated = if known { Ok(()) } else { self.state_interest(&directions) };
        drop(directions);
        // Without the lock: a waker that is dropped may take its task along.
        drop(before);
        stated?;
        // After waiting has begun: stopping has either seen it, or is seen here.
        if self.sockets.stopped.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::other("the blocking host has been dropped")));
        }
        Poll::Pending
    }

    /// Marks what the event says, and collects whom to wake.
    fn take_event(&self, event: Event, wakers: &mut Vec<Waker>) {
        let mut directions = self.lock();
        for (wait, ready) in directions.iter_mut().zip([event.readable, event.writable]) {
            if ready && matches!(wait, Wait::Waiting(_)) {
                if let Wait::Waiting(waker) = std::mem::replace(wait, Wait::Ready) {
                    wakers.push(waker);
                }
            }
        }
        // The event has ended all interest; whoever waits in the other direction still has some.
        if directions.iter().any(|wait| matches!(wait, Wait::Waiting(_))) {
            let _ = self.state_interest(&directions);
        }
    }

    fn state_interest(&self, directions: &[Wait; 2]) -> io::Result<()> {
        let [read, write] = directions.each_ref().map(|wait| matches!(wait, Wait::Waiting(_)));
        self.sockets.poller.modify(self.fd.as_fd(), Event::new(self.key, read, write))
    }

    fn lock(&self) -> MutexGuard<'_, [Wait; 2]> {
        self.directions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.sockets.poller.delete(self.fd.as_fd());
        self.sockets.lock().sources.try_remove(self.key);
    }
}

/// A timer. Dropping it takes it out of the reactor.
pub(crate) struct Alarm {
    sockets: Arc<Sockets>,
    at: Instant,
    number: Option<u64>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let sockets = self.sockets.clone();
        let mut state = sockets.lock();
        let number = *self.number.get_or_insert_with(|| {
            state.timers_made += 1;
            state.timers_made
        });
        let key = (self.at, number);
        let before = state.timers.insert(key, cx.waker().clone());
        let is_first = state.timers.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(state);
        // Without the lock: a waker that is dropped may take its task along.
        drop(before);
        // After it is known: stopping has either woken it, or is seen here.
        assert!(!sockets.stopped.load(Ordering::SeqCst), "the blocking host has been dropped");
        if is_first {
            // The thread waits for a later one: it has to look again.
            let _ = sockets.poller.notify();
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.sockets.lock().timers.remove(&(self.at, number));
            drop(waker);
        }
    }
}
