//! `Connections`: what a server knows of all its connections, and how it tells them to go.
//!
//! A connection is busy from the moment its app is called until the response has been sent or given
//! up. It costs a request a few stores and no timer: one sweep looks at all connections, a few times
//! within the shortest deadline and at least once per second.
//!
//! | activity | entered | its deadline |
//! |---|---|---|
//! | `Opening` | when it is accepted | `head` |
//! | `Reading` | with the first byte of a head | `head` |
//! | `Busy` | with a whole head | `grace`, once its client has closed its sending side |
//! | `Idle` | when the last response has been sent or given up | `idle` |
//! | `Upgraded` | when the app has taken it over | none: it is the app's |
//!
//! | phase | entered | what the connection does |
//! |---|---|---|
//! | `Serve` | at the start | serves |
//! | `Drain` | the server drains, or the connection was idle too long | finishes what it has begun, its first request included, then closes |
//! | `Late` | a head has not come in time | says so, and closes |
//! | `Close` | the drain deadline, its client is gone, or the next sweep finds it there still | drops everything at once |

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gateway_core::{Client, Departure};
use slab::Slab;

use crate::bounds::{Deadline, Deadlines, Limits};
use crate::delivery::Receipt;
use crate::departures::Left;
use crate::lines::Message;
use crate::monitor::Activity;

/// How often the connections are looked at, unless a deadline is shorter than four of these.
const SWEEP: Duration = Duration::from_secs(1);

/// How often they are looked at, however short a deadline is.
const SHORTEST_SWEEP: Duration = Duration::from_millis(5);

/// How long a connection may take for its first byte once the server drains, from its accept. Some are
/// accepted a moment before, with the request still on its way. May be late by two seconds.
pub const FIRST_REQUEST: Duration = Duration::from_secs(2);

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
    Late,
    Close,
}

impl Phase {
    fn of(number: u8) -> Phase {
        match number {
            0 => Phase::Serve,
            1 => Phase::Drain,
            2 => Phase::Late,
            _ => Phase::Close,
        }
    }
}

/// All connections of a server. Dropping it closes them.
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

/// What the server, its connections and its monitors share.
pub(crate) struct Shared {
    pub(crate) deadlines: Deadlines,
    pub(crate) limits: Limits,
    ready: AtomicBool,
    /// Those who wait for the server to be ready.
    starting: Mutex<Vec<Waker>>,
    /// The number of sweeps so far: the connections' clock.
    now: AtomicU64,
    /// What every connection is to do at least.
    phase: AtomicU8,
    passed: [AtomicU64; Deadline::ALL.len()],
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    slots: Slab<Weak<Slot>>,
    /// How many have been admitted so far.
    admitted: u64,
    /// Whoever waits for one to go, or for the last one.
    waiting: Option<Waker>,
}

impl Shared {
    /// When the connections are looked at next: often enough for the shortest deadline.
    pub(crate) fn sweep_after(&self) -> Duration {
        let Deadlines { head, idle, grace, .. } = self.deadlines;
        (head.min(idle).min(grace) / 4).clamp(SHORTEST_SWEEP, SWEEP)
    }

    /// A deadline as a number of sweeps.
    fn sweeps(&self, deadline: Duration) -> u64 {
        deadline.as_nanos().div_ceil(self.sweep_after().as_nanos()) as u64
    }

    #[inline]
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// A deadline has passed: says so, to the log and to whoever watches.
    #[cold]
    pub(crate) fn passes(&self, deadline: Deadline) {
        self.passed[deadline as usize].fetch_add(1, Ordering::Relaxed);
        let (after, name) = (deadline.of(&self.deadlines), deadline.name());
        match deadline {
            // As it should be.
            Deadline::Idle => tracing::debug!(?after, "the {name} deadline has passed"),
            _ => tracing::info!(?after, "the {name} deadline has passed"),
        }
    }

    /// How often it has passed.
    pub(crate) fn passed(&self, deadline: Deadline) -> u64 {
        self.passed[deadline as usize].load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
        let starting = std::mem::take(&mut *lock(&self.starting));
        starting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut starting = lock(&self.starting);
        // Under the lock: whoever sets it takes the wakers afterwards.
        if self.is_ready() {
            return Poll::Ready(());
        }
        starting.push(cx.waker().clone());
        Poll::Pending
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.open).slots.len()
    }

    pub(crate) fn accepted(&self) -> u64 {
        lock(&self.open).admitted
    }

    /// All of them, for use without the lock: they take it themselves when they go.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.open).slots.iter().filter_map(|(_, slot)| slot.upgrade()).collect()
    }
}

impl Connections {
    pub(crate) fn new(deadlines: Deadlines, limits: Limits) -> Connections {
        let shared = Shared {
            deadlines,
            limits,
            ready: AtomicBool::new(false),
            starting: Mutex::default(),
            now: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Serve as u8),
            passed: Default::default(),
            open: Mutex::default(),
        };
        Connections { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Admits a connection.
    pub(crate) fn admit(&self) -> Connection {
        let mut open = lock(&self.shared.open);
        open.admitted += 1;
        let admitted = open.admitted;
        let entry = open.slots.vacant_entry();
        let slot = Arc::new(Slot {
            shared: self.shared.clone(),
            key: entry.key(),
            number: (admitted << KEY_BITS) | entry.key() as u64,
            client: Client::default(),
            left: AtomicU64::new(STAYS),
            phase: AtomicU8::new(Phase::Serve as u8),
            waits: AtomicU8::new(OPENING),
            busy: AtomicUsize::new(0),
            unread: AtomicBool::new(false),
            message: Message::default(),
            since: AtomicU64::new(self.shared.now()),
            waker: Mutex::new(None),
            receipts: Mutex::default(),
            has_receipts: AtomicBool::new(false),
            writes: AtomicU8::new(COPIES),
            flushed: AtomicBool::new(true),
        });
        entry.insert(Arc::downgrade(&slot));
        drop(open);
        // After the insertion: whoever tells everyone has either seen this one, or is seen here.
        let phase = self.shared.phase.load(Ordering::Acquire);
        if phase != Phase::Serve as u8 {
            slot.client.drains();
            slot.tell(Phase::of(phase));
        }
        Connection { slot, registered: None }
    }

    /// Tells connections to go whose deadline has passed. To be called once per sweep.
    pub(crate) fn sweep(&self) {
        let shared = &self.shared;
        let now = shared.now.fetch_add(1, Ordering::Relaxed) + 1;
        let Deadlines { head, idle, grace, .. } = shared.deadlines;
        let [head, idle, grace] = [head, idle, grace].map(|deadline| shared.sweeps(deadline));
        let drains = shared.phase.load(Ordering::Acquire) != Phase::Serve as u8;
        let first = if drains { shared.sweeps(FIRST_REQUEST) } else { u64::MAX };
        for slot in shared.slots() {
            let since = |moment: &AtomicU64| now.saturating_sub(moment.load(Ordering::Relaxed));
            let told = Phase::of(slot.phase.load(Ordering::Acquire));
            match slot.activity() {
                Activity::Upgraded => {}
                Activity::Busy => {
                    let left = slot.left.load(Ordering::Relaxed) != STAYS;
                    if left && told < Phase::Close && since(&slot.left) > grace {
                        shared.passes(Deadline::Grace);
                        slot.tell(Phase::Close);
                    }
                }
                Activity::Opening if since(&slot.since) > first => slot.tell(Phase::Close),
                Activity::Opening | Activity::Reading if since(&slot.since) > head => {
                    if told < Phase::Late {
                        shared.passes(Deadline::Head);
                        slot.tell(Phase::Late);
                    } else {
                        slot.tell(Phase::Close);
                    }
                }
                Activity::Idle if since(&slot.since) > idle => {
                    if told < Phase::Drain {
                        shared.passes(Deadline::Idle);
                        slot.tell(Phase::Drain);
                    } else {
                        slot.tell(Phase::Close);
                    }
                }
                Activity::Opening | Activity::Reading | Activity::Idle => {}
            }
        }
    }

    /// Takes note of clients that have left.
    pub(crate) fn note(&self, departures: &[Left]) {
        for departure in departures {
            let key = (departure.number & ((1 << KEY_BITS) - 1)) as usize;
            let slot = lock(&self.shared.open).slots.get(key).and_then(Weak::upgrade);
            // Its number tells it from a successor.
            match slot.filter(|slot| slot.number == departure.number) {
                Some(slot) if departure.gone => {
                    slot.client.leaves(Departure::Gone);
                    slot.tell(Phase::Close);
                }
                Some(slot) => {
                    slot.left.store(self.shared.now(), Ordering::Relaxed);
                    slot.client.leaves(Departure::HalfClosed);
                }
                None => {}
            }
        }
    }

    /// Tells every connection, also those still to come.
    pub(crate) fn tell(&self, phase: Phase) {
        self.shared.phase.fetch_max(phase as u8, Ordering::AcqRel);
        for slot in self.shared.slots() {
            slot.client.drains();
            slot.tell(phase);
        }
    }

    /// Ready when one more may be admitted.
    pub(crate) fn poll_place(&self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.shared.limits.connections;
        self.poll_fewer(limit, cx)
    }

    /// Ready when there are none left, nor any of their requests.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_fewer(1, cx)
    }

    fn poll_fewer(&self, than: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut open = lock(&self.shared.open);
        if open.slots.len() < than {
            return Poll::Ready(());
        }
        let before = open.waiting.replace(cx.waker().clone());
        drop(open);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.tell(Phase::Close);
    }
}

// What a connection waits for while no request is in hand.
const OPENING: u8 = 0;
const READING: u8 = 1;
const IDLE: u8 = 2;
const UPGRADED: u8 = 3;

// How HTTP/1 is written: with copies, and vectored once a response was larger than they are worth. See
// `connection::Ended::Outgrown`.
const COPIES: u8 = 0;
const OUTGROWN: u8 = 1;
const VECTORED: u8 = 2;

/// What the server knows of one connection. It is gone when the connection's stream and all its
/// requests have let go of it.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    key: usize,
    /// Its key, and how many were admitted before it: unlike the key, never used again.
    number: u64,
    client: Client,
    phase: AtomicU8,
    waits: AtomicU8,
    busy: AtomicUsize,
    /// Whether the body of a request has been given up before its end.
    unread: AtomicBool,
    message: Message,
    /// Since when it waits for what it waits for.
    since: AtomicU64,
    /// When its client has closed its sending side, or `STAYS`.
    left: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// Of responses that have come to their end, and are still to be sent.
    receipts: Mutex<Vec<Receipt>>,
    has_receipts: AtomicBool,
    writes: AtomicU8,
    /// Whether all that was written is sent.
    flushed: AtomicBool,
}

impl Slot {
    /// The bounds that it is under.
    #[inline]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whoever is at the other end.
    #[inline]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Of HTTP/1, the message in hand.
    #[inline]
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// What it is doing.
    #[inline]
    pub(crate) fn activity(&self) -> Activity {
        match self.waits.load(Ordering::Acquire) {
            UPGRADED => Activity::Upgraded,
            _ if self.busy.load(Ordering::Acquire) > 0 => Activity::Busy,
            OPENING => Activity::Opening,
            READING => Activity::Reading,
            _ => Activity::Idle,
        }
    }

    /// Bytes have come, of a head if no request is in hand.
    #[inline]
    pub(crate) fn reads(&self) {
        match self.waits.load(Ordering::Relaxed) {
            // The deadline of the first head runs from the accept on.
            OPENING => self.waits.store(READING, Ordering::Release),
            IDLE if self.busy.load(Ordering::Relaxed) == 0 => self.waits_for(READING),
            _ => {}
        }
    }

    /// The server's clock, in seconds as the sweep counts them.
    pub(crate) fn second(&self) -> u64 {
        let sweeps = self.shared.sweep_after().saturating_mul(self.shared.now() as u32);
        sweeps.as_secs()
    }

    /// HTTP/2 has begun: its connection is idle without a stream, whatever else comes.
    pub(crate) fn speaks_http2(&self) {
        self.waits_for(IDLE);
    }

    /// Whether the app has taken it over.
    #[inline]
    pub(crate) fn is_upgraded(&self) -> bool {
        self.waits.load(Ordering::Acquire) == UPGRADED
    }

    /// The app has taken it over.
    pub(crate) fn is_handed_over(&self) {
        self.waits.store(UPGRADED, Ordering::Release);
        self.message.is_tunnel();
    }

    #[inline]
    fn waits_for(&self, what: u8) {
        self.since.store(self.shared.now(), Ordering::Relaxed);
        self.waits.store(what, Ordering::Release);
    }

    /// One more request is in its hands.
    #[inline]
    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// One request less.
    #[inline]
    pub(crate) fn end(&self) {
        if self.waits.load(Ordering::Relaxed) != UPGRADED {
            self.waits_for(IDLE);
        }
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    /// What it is to do: what it has been told, or everybody, where its turn is still to come.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        let all = self.shared.phase.load(Ordering::Acquire);
        Phase::of(self.phase.load(Ordering::Acquire).max(all))
    }

    /// Whether it is to go, once it has finished what it has begun: it was told so, or all will be.
    #[inline]
    pub(crate) fn is_going(&self) -> bool {
        self.phase() != Phase::Serve || !self.shared.is_ready()
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
            _ if self.is_upgraded() => false,
            Phase::Serve | Phase::Late => true,
            Phase::Drain => self.has_given_up_a_body(),
            Phase::Close => false,
        }
    }

    /// Keeps a receipt until what has been written is sent.
    #[cold]
    pub(crate) fn owes(&self, receipt: Receipt) {
        lock(&self.receipts).push(receipt);
        self.has_receipts.store(true, Ordering::Release);
    }

    /// A response is too large for copies. Whether there are some all the same, until the next one.
    pub(crate) fn outgrows(&self) -> bool {
        self.writes.fetch_max(OUTGROWN, Ordering::Relaxed) != VECTORED
    }

    /// Whether it has outgrown copies, and is between two requests.
    #[inline]
    pub(crate) fn has_outgrown(&self) -> bool {
        self.writes.load(Ordering::Relaxed) == OUTGROWN && self.is_between_requests()
    }

    #[cold]
    fn is_between_requests(&self) -> bool {
        self.is_flushed() && !self.has_given_up_a_body() && self.activity() == Activity::Idle
    }

    /// From here on it writes without copies.
    pub(crate) fn writes_vectored(&self) {
        self.writes.store(VECTORED, Ordering::Relaxed);
    }

    /// Whether all that was written is sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// Something is written, or will never be again.
    #[inline]
    pub(crate) fn writes(&self) {
        self.flushed.store(false, Ordering::Relaxed);
    }

    /// All that has been written is sent.
    #[inline]
    pub(crate) fn sent(&self) {
        self.flushed.store(true, Ordering::Relaxed);
        if self.has_receipts.load(Ordering::Acquire) {
            self.has_receipts.store(false, Ordering::Release);
            let receipts = std::mem::take(&mut *lock(&self.receipts));
            receipts.into_iter().for_each(Receipt::sent);
        }
    }

    /// To wake when it is told something, in the place of whom it would have woken before.
    pub(crate) fn wakes(&self, waker: &Waker) {
        let mut registered = lock(&self.waker);
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            let before = registered.replace(waker.clone());
            drop(registered);
            drop(before);
        }
    }

    /// Whether it is to close at once. Whoever asks is woken when it is.
    #[cold]
    pub(crate) fn closes(&self, cx: &mut Context<'_>) -> bool {
        self.wakes(cx.waker());
        self.phase() == Phase::Close
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
        let waiting = open.waiting.take();
        drop(open);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// One connection's own end. Dropping it means that its client gets nothing more.
pub(crate) struct Connection {
    slot: Arc<Slot>,
    /// The waker that the server wakes, kept here too to compare without the lock.
    registered: Option<Waker>,
}

impl Connection {
    /// What to do now. A change wakes `cx`'s waker.
    #[inline]
    pub(crate) fn phase(&mut self, cx: &mut Context<'_>) -> Phase {
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.register(cx.waker());
        }
        self.slot.phase()
    }

    #[cold]
    fn register(&mut self, waker: &Waker) {
        self.registered = Some(waker.clone());
        self.slot.wakes(waker);
    }

    /// Whether a request is in hand.
    pub(crate) fn is_busy(&self) -> bool {
        self.slot.busy.load(Ordering::Acquire) > 0
    }

    /// Whether it has outgrown copies, and is between two requests.
    #[inline]
    pub(crate) fn has_outgrown(&self) -> bool {
        self.slot.has_outgrown()
    }

    /// What it is watched under.
    pub(crate) fn number(&self) -> u64 {
        self.slot.number
    }

    /// What its stream and its requests hold on to.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.slot.is_upgraded() {
            self.slot.client.leaves(Departure::Gone);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Connections {
        Connections::new(Deadlines::default(), Limits { connections: 2, ..Limits::default() })
    }

    fn phase(connection: &mut Connection) -> Phase {
        connection.phase(&mut Context::from_waker(Waker::noop()))
    }

    fn sweeps(connections: &Connections, deadline: Duration) {
        (0..connections.shared.sweeps(deadline)).for_each(|_| connections.sweep());
    }

    /// A connection that has served a request.
    fn idle(connections: &Connections) -> Connection {
        let connection = connections.admit();
        connection.slot.begin();
        connection.slot.end();
        connection
    }

    #[test]
    fn an_idle_connection_drains_and_then_closes() {
        let connections = connections();
        let mut connection = idle(&connections);
        sweeps(&connections, Deadlines::default().idle);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Drain);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Close);
        assert_eq!(connections.shared.passed(Deadline::Idle), 1);
    }

    #[test]
    fn a_head_is_late_however_its_bytes_come() {
        let connections = connections();
        let [mut silent, mut dripping] = [connections.admit(), idle(&connections)];
        for _ in 0..connections.shared.sweeps(Deadlines::default().head) {
            dripping.slot.reads();
            connections.sweep();
        }
        assert_eq!([phase(&mut silent), phase(&mut dripping)], [Phase::Serve; 2]);
        connections.sweep();
        assert_eq!([phase(&mut silent), phase(&mut dripping)], [Phase::Late; 2]);
        assert_eq!(connections.shared.passed(Deadline::Head), 2);
    }

    #[test]
    fn a_busy_connection_is_never_idle_and_begins_anew_afterwards() {
        let connections = connections();
        let mut connection = connections.admit();
        connection.slot().begin();
        sweeps(&connections, Deadlines::default().idle * 3);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connection.slot().end();
        sweeps(&connections, Deadlines::default().idle);
        assert_eq!(phase(&mut connection), Phase::Serve);
        connections.sweep();
        assert_eq!(phase(&mut connection), Phase::Drain);
    }

    #[test]
    fn a_connection_that_was_handed_over_has_no_deadline() {
        let connections = connections();
        let mut connection = connections.admit();
        connection.slot.begin();
        connection.slot.is_handed_over();
        connection.slot.end();
        sweeps(&connections, Deadlines::default().idle * 3);
        assert_eq!(phase(&mut connection), Phase::Serve);
    }

    #[test]
    fn a_reset_closes_at_once_and_a_closed_half_after_a_grace_time() {
        let connections = connections();
        let [mut reset, mut half, mut other] = [(); 3].map(|()| connections.admit());
        half.slot().begin();
        other.slot().begin();
        let note = |number, gone| connections.note(&[Left { number, gone }]);
        note(reset.number(), true);
        note(half.number(), false);
        assert_eq!([phase(&mut reset), phase(&mut half)], [Phase::Close, Phase::Serve]);
        sweeps(&connections, Deadlines::default().grace);
        connections.sweep();
        assert_eq!([phase(&mut half), phase(&mut other)], [Phase::Close, Phase::Serve]);
    }

    #[test]
    fn a_successor_is_not_taken_for_the_one_that_left() {
        let connections = connections();
        let number = connections.admit().number();
        let mut successor = connections.admit();
        assert_eq!(
            successor.slot.key as u64,
            number & u64::from(u32::MAX),
            "the key is used again"
        );
        connections.note(&[Left { number, gone: true }]);
        assert_eq!(phase(&mut successor), Phase::Serve);
    }

    #[test]
    fn all_are_gone_when_their_requests_are() {
        let connections = connections();
        let cx = &mut Context::from_waker(Waker::noop());
        let connection = connections.admit();
        let request = connection.slot();
        drop(connection);
        assert!(connections.poll_gone(cx).is_pending());
        drop(request);
        assert!(connections.poll_gone(cx).is_ready());
    }

    #[test]
    fn there_are_as_many_places_as_the_limit_says() {
        let connections = connections();
        let cx = &mut Context::from_waker(Waker::noop());
        let places = [connections.admit(), connections.admit()];
        assert!(connections.poll_place(cx).is_pending());
        drop(places);
        assert!(connections.poll_place(cx).is_ready());
    }

    #[test]
    fn whoever_comes_while_the_server_drains_is_told_so() {
        let connections = connections();
        connections.tell(Phase::Drain);
        assert_eq!(phase(&mut connections.admit()), Phase::Drain);
    }
}
