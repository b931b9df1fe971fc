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
//! | `Close` | the drain deadline, its client is gone, or the next sweep finds it idle still | drops everything at once |

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::departures::Departure;

/// How long a connection may stay without a complete request head: between requests, or while its
/// bytes drip in.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(30);

/// How long requests go on for a client that has closed its sending side. It may wait for its answer,
/// or be gone: nobody can tell.
pub const DEPARTURE_GRACE: Duration = Duration::from_secs(30);

/// How often the connections are looked at.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// How many bits of a connection's number its key takes: more than there can be descriptors.
const KEY_BITS: u32 = 32;

/// Stands for the moment at which a client has left that has not.
const STAYS: u64 = u64::MAX;

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
    /// How many have been admitted so far.
    admitted: u64,
    /// Whoever waits for the last one to go.
    waiting: Option<Waker>,
}

impl Connections {
    /// Admits a connection, idle at first.
    pub(crate) fn admit(&self) -> Connection {
        let mut open = lock(&self.shared.open);
        open.admitted += 1;
        let admitted = open.admitted;
        let entry = open.slots.vacant_entry();
        let slot = Arc::new(Slot {
            shared: self.shared.clone(),
            key: entry.key(),
            number: (admitted << KEY_BITS) | entry.key() as u64,
            left: AtomicU64::new(STAYS),
            phase: AtomicU8::new(Phase::Serve as u8),
            busy: AtomicUsize::new(0),
            unread: AtomicBool::new(false),
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
        let grace = DEPARTURE_GRACE.as_secs() / SWEEP.as_secs();
        for slot in self.slots() {
            let left = slot.left.load(Ordering::Relaxed);
            if left != STAYS && now.saturating_sub(left) > grace {
                slot.tell(Phase::Close);
            }
            let since = slot.idle_since.load(Ordering::Relaxed);
            if slot.busy.load(Ordering::Acquire) == 0 && now.saturating_sub(since) > deadline {
                let told = Phase::of(slot.phase.load(Ordering::Acquire));
                slot.tell(if told == Phase::Serve { Phase::Drain } else { Phase::Close });
            }
        }
    }

    /// Takes note of clients that have left.
    pub(crate) fn note(&self, departures: &[Departure]) {
        for departure in departures {
            let key = (departure.number & ((1 << KEY_BITS) - 1)) as usize;
            let slot = lock(&self.shared.open).slots.get(key).and_then(Weak::upgrade);
            // Its number tells it from a successor, when it has been handed over by an upgrade.
            match slot.filter(|slot| slot.number == departure.number) {
                Some(slot) if departure.gone => slot.tell(Phase::Close),
                Some(slot) => {
                    slot.left.store(self.shared.now.load(Ordering::Relaxed), Ordering::Relaxed)
                }
                None => {}
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
    /// Its key, and how many were admitted before it: unlike the key, never used again.
    number: u64,
    phase: AtomicU8,
    busy: AtomicUsize,
    /// Whether the body of a request has been given up before its end.
    unread: AtomicBool,
    idle_since: AtomicU64,
    /// When its client has closed its sending side, or `STAYS`.
    left: AtomicU64,
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

    /// What it is to do: what it has been told, or everybody, where its turn is still to come.
    fn phase(&self) -> Phase {
        let all = self.shared.phase.load(Ordering::Acquire);
        Phase::of(self.phase.load(Ordering::Acquire).max(all))
    }

    /// Whether it is to go, once it has finished what it has begun.
    pub(crate) fn is_going(&self) -> bool {
        self.phase() != Phase::Serve
    }

    /// The body of a request has been given up before its end.
    pub(crate) fn gives_up_a_body(&self) {
        self.unread.store(true, Ordering::Release);
    }

    /// Whether one has been.
    pub(crate) fn has_given_up_a_body(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    /// Whether its close has to wait for what the client still sends. A server that drains waits
    /// only where it knows that there is something.
    pub(crate) fn lingers(&self) -> bool {
        match self.phase() {
            Phase::Serve => true,
            Phase::Drain => self.has_given_up_a_body(),
            Phase::Close => false,
        }
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
        self.slot.phase()
    }

    /// What it is watched under.
    pub(crate) fn number(&self) -> u64 {
        self.slot.number
    }

    /// What its requests hold on to.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(connection: &mut Connection) -> Phase {
        connection.phase(&mut Context::from_waker(Waker::noop()))
    }

    fn sweeps(connections: &Connections, deadline: Duration) {
        for _ in 0..deadline.as_secs() / SWEEP.as_secs() + 1 {
            connections.sweep();
        }
    }

    #[test]
    fn an_idle_connection_drains_and_then_closes() {
        let connections = Connections::default();
        let mut connection = connections.admit();
        sweeps(&connections, IDLE_DEADLINE - SWEEP);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Drain);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Close);
    }

    #[test]
    fn a_busy_connection_is_never_idle_and_begins_anew_afterwards() {
        let connections = Connections::default();
        let mut connection = connections.admit();
        connection.slot().begin();
        sweeps(&connections, IDLE_DEADLINE * 3);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connection.slot().end();
        sweeps(&connections, IDLE_DEADLINE - SWEEP);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Drain);
    }

    #[test]
    fn a_reset_closes_at_once_and_a_closed_half_after_a_grace_time() {
        let connections = Connections::default();
        let [mut reset, mut half, mut other] = [(); 3].map(|()| connections.admit());
        half.slot().begin();
        other.slot().begin();
        let note = |number, gone| connections.note(&[Departure { number, gone }]);
        note(reset.number(), true);
        note(half.number(), false);
        assert_eq!([phase(&mut reset), phase(&mut half)], [Phase::Close, Phase::Serve]);
        sweeps(&connections, DEPARTURE_GRACE);
        assert_eq!([phase(&mut half), phase(&mut other)], [Phase::Close, Phase::Serve]);
    }

    #[test]
    fn a_successor_is_not_taken_for_the_one_that_left() {
        let connections = Connections::default();
        let number = connections.admit().number();
        let mut successor = connections.admit();
        assert_eq!(
            successor.slot.key as u64,
            number & u64::from(u32::MAX),
            "the key is used again"
        );
        connections.note(&[Departure { number, gone: true }]);
        assert_eq!(phase(&mut successor), Phase::Serve);
    }

    #[test]
    fn all_are_gone_when_their_requests_are() {
        let connections = Connections::default();
        let cx = &mut Context::from_waker(Waker::noop());
        let connection = connections.admit();
        let request = connection.slot();
        drop(connection);
        assert!(connections.poll_gone(cx).is_pending());
        drop(request);
        assert!(connections.poll_gone(cx).is_ready());
    }

    #[test]
    fn whoever_comes_while_the_server_drains_is_told_so() {
        let connections = Connections::default();
        connections.tell(Phase::Drain);
        assert_eq!(phase(&mut connections.admit()), Phase::Drain);
    }
}
