//! `Connections`: what a server knows of all its connections, and how it tells them to go.
//!
//! A connection is idle while no request is in its hands, and busy from the moment its app is called
//! until the response has been sent or given up. It costs a request two counter updates and no timer:
//! one sweep per second looks at all connections, so a deadline may be up to two seconds late.
//!
//! | phase | entered | what the connection does |
//! |---|---|---|
//! | `Serve` | at the start | serves |
//! | `Drain` | the server drains, or the connection was idle too long | finishes what it has begun, then closes |
//! | `Close` | the drain deadline, or the next sweep finds it idle still | drops everything at once |

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// How long a connection may stay without a complete request head: between requests, or while its
/// bytes drip in.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(30);

/// How often the connections are looked at.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// What a connection is to do; see the file's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Serve,
    Drain,
    Close,
}

impl Phase {
    fn of(number: u8) -> Phase {
        match number {
            0 => Phase::Serve,
            1 => Phase::Drain,
            _ => Phase::Close,
        }
    }
}

/// All connections of a server. Dropping it closes them.
#[derive(Default)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The number of sweeps so far: the connections' clock.
    now: AtomicU64,
    /// What every connection is to do at least.
    phase: AtomicU8,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    slots: Slab<Weak<Slot>>,
    /// Whoever waits for the last one to go.
    waiting: Option<Waker>,
}

impl Connections {
    /// Admits a connection, idle at first.
    pub(crate) fn admit(&self) -> Connection {
        let mut open = lock(&self.shared.open);
        let entry = open.slots.vacant_entry();
        let slot = Arc::new(Slot {
            shared: self.shared.clone(),
            key: entry.key(),
            phase: AtomicU8::new(Phase::Serve as u8),
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(self.shared.now.load(Ordering::Relaxed)),
            waker: Mutex::new(None),
        });
        entry.insert(Arc::downgrade(&slot));
        drop(open);
        // After the insertion: whoever tells everyone has either seen this one, or is seen here.
        slot.phase.fetch_max(self.shared.phase.load(Ordering::Acquire), Ordering::AcqRel);
        Connection { slot, registered: None }
    }

    /// Tells connections that have been idle for too long to go. To be called once per [`SWEEP`].
    pub(crate) fn sweep(&self) {
        let now = self.shared.now.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = IDLE_DEADLINE.as_secs() / SWEEP.as_secs();
        for slot in self.slots() {
            let since = slot.idle_since.load(Ordering::Relaxed);
            if slot.busy.load(Ordering::Acquire) == 0 && now.saturating_sub(since) > deadline {
                let told = Phase::of(slot.phase.load(Ordering::Acquire));
                slot.tell(if told == Phase::Serve { Phase::Drain } else { Phase::Close });
            }
        }
    }

    /// Tells every connection, also those still to come.
    pub(crate) fn tell(&self, phase: Phase) {
        self.shared.phase.fetch_max(phase as u8, Ordering::AcqRel);
        for slot in self.slots() {
            slot.tell(phase);
        }
    }

    /// Ready when there are none left, nor any of their requests.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut open = lock(&self.shared.open);
        if open.slots.is_empty() {
            return Poll::Ready(());
        }
        open.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.shared.open).slots.len()
    }

    /// All of them, for use without the lock: they take it themselves when they go.
    fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.shared.open).slots.iter().filter_map(|(_, slot)| slot.upgrade()).collect()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.tell(Phase::Close);
    }
}

/// What the server knows of one connection. It is gone when the connection and all its requests
/// have let go of it.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    key: usize,
    phase: AtomicU8,
    busy: AtomicUsize,
    idle_since: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Slot {
    /// One more request is in its hands.
    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// One request less.
    pub(crate) fn end(&self) {
        self.idle_since.store(self.shared.now.load(Ordering::Relaxed), Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    fn tell(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = lock(&self.shared.open);
        open.slots.remove(self.key);
        let waiting = if open.slots.is_empty() { open.waiting.take() } else { None };
        drop(open);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// One connection's own end.
pub(crate) struct Connection {
    slot: Arc<Slot>,
    /// The waker that the server wakes, kept here too to compare without the lock.
    registered: Option<Waker>,
}

impl Connection {
    /// What to do now. A change wakes `cx`'s waker.
    pub(crate) fn phase(&mut self, cx: &mut Context<'_>) -> Phase {
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.registered = Some(cx.waker().clone());
            let before = lock(&self.slot.waker).replace(cx.waker().clone());
            drop(before);
        }
        Phase::of(self.slot.phase.load(Ordering::Acquire))
    }

    /// What its requests hold on to.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
