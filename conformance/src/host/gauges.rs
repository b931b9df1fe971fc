//! What checks count and wait with: guards that are counted, gates, looks that give up.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{sleep, spawn, timeout};
use gateway_net::TcpStream;

use super::fault::OrError;

/// After how long a look is given up, in milliseconds.
static GIVE_UP: AtomicU64 = AtomicU64::new(0);

/// Looks are given up a while before the check itself is, so that they still can say why. The most
/// patient check of this process decides: looks are made on threads of all kinds.
pub(super) fn be_patient(patience: Duration) {
    let millis = u64::try_from(patience.as_millis() / 2).unwrap_or(u64::MAX);
    GIVE_UP.fetch_max(millis, Ordering::SeqCst);
}

/// After how long a look is given up. A good host needs a fraction of it, also when it is busy.
pub(super) fn give_up() -> Duration {
    Duration::from_millis(GIVE_UP.load(Ordering::SeqCst))
}

/// How long to wait between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Locks, also after a panic: what that was has been seen elsewhere.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread of the check's own.
pub(super) fn on_a_thread<T, W>(work: W) -> JoinHandle<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    thread::Builder::new().spawn(work).or_error("a thread")
}

/// What such a thread gives. What fails there, fails here.
pub(super) fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|payload| resume_unwind(payload))
}

/// Counts guards that are alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Alive(Arc<AtomicUsize>);

impl Alive {
    /// A guard, which counts until it is dropped.
    pub(super) fn guard(&self) -> Guard {
        self.0.fetch_add(1, Ordering::SeqCst);
        Guard(self.clone())
    }

    /// How many guards are alive.
    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Alive as long as it is. See [`Alive`].
#[derive(Debug)]
pub(super) struct Guard(Alive);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Calls a function when it is dropped.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Closed until it is opened for good. Coroutines and blocked threads may wait for it.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    given_up: bool,
    wakers: Vec<Waker>,
}

impl Gate {
    /// Opens it, and lets everyone through.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        state.open = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.0.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Blocks this thread until it is open. Whoever gives up lets all the others through as well.
    pub(super) fn block(&self) -> bool {
        let shut = |state: &mut GateState| !state.open && !state.given_up;
        let waited = self.0.changed.wait_timeout_while(self.lock(), give_up(), shut);
        let (mut state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        if timed_out.timed_out() {
            state.given_up = true;
            self.0.changed.notify_all();
        }
        state.open
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        lock(&self.0.state)
    }
}

/// Looks until `true`, in a coroutine.
pub(super) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let (started, give_up) = (Instant::now(), give_up());
    while !happened() {
        assert!(started.elapsed() < give_up, "still not so after {give_up:?}: {what}");
        sleep(LOOK).await;
    }
}

/// Tells when a future has been polled for the first time: it has begun to wait, unless it is over.
pub(super) async fn telling<F: Future>(begun: Gate, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        begun.open();
        polled
    })
    .await
}

/// So many turns of the host: whatever was woken before them has been polled by their end.
pub(super) async fn turns(count: usize) {
    for _ in 0..count {
        let mut yielded = false;
        let turn = poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        spawn(turn).await.expect("a task that takes a turn");
    }
}

/// Tells when a future has been polled for the first time, and when it has been woken.
pub(super) async fn telling_of_wakes<F: Future>(begun: Gate, woken: Gate, future: F) -> F::Output {
    struct Tells(Waker, Gate);
    impl Wake for Tells {
        fn wake(self: Arc<Tells>) {
            self.1.open();
            self.0.wake_by_ref();
        }
    }
    let mut future = pin!(future);
    let tells = poll_fn(|cx| {
        let waker = Arc::new(Tells(cx.waker().clone(), woken.clone())).into();
        future.as_mut().poll(&mut Context::from_waker(&waker))
    });
    telling(begun, tells).await
}

/// Looks until `true`, on a plain thread, and for no longer than this.
pub(super) fn perhaps_here(within: Duration, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() && started.elapsed() < within {
        thread::sleep(LOOK);
    }
}

/// What a future gives, which must not wait for ever.
pub(super) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    let given = timeout(give_up(), future).await;
    given.unwrap_or_else(|_| panic!("still waiting after {:?}: {what}", give_up()))
}

/// Looks until `true`, on a plain thread.
pub(super) fn eventually_here(what: &str, mut happened: impl FnMut() -> bool) {
    let (started, give_up) = (Instant::now(), give_up());
    while !happened() {
        assert!(started.elapsed() < give_up, "still not so after {give_up:?}: {what}");
        thread::sleep(LOOK);
    }
}

/// Unparks a thread.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Drives a future on this thread, without a host; nothing, when it has to be given up.
pub(super) fn drive<F: Future>(future: F) -> Option<F::Output> {
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(true)));
    let waker = Waker::from(unpark.clone());
    let (mut future, started, give_up) = (pin!(future), Instant::now(), give_up());
    while started.elapsed() < give_up {
        if !unpark.1.swap(false, Ordering::SeqCst) {
            thread::park_timeout(give_up.saturating_sub(started.elapsed()));
            continue;
        }
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
    }
    None
}

/// A portable stream, and its peer as a plain one.
pub(super) fn pair() -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").or_error("a free port");
    let address = listener.local_addr().or_error("its address");
    let ours = std::net::TcpStream::connect(address).or_error("a connection");
    let (theirs, _) = listener.accept().or_error("its other end");
    theirs.set_read_timeout(Some(give_up())).or_error("a timeout");
    (TcpStream::try_from(ours).or_error("a portable stream"), theirs)
}

/// A connection to a listener that is the host's. Where that does not listen, the host has closed it.
pub(super) fn connected<S>(to: &str, tried: io::Result<S>) -> S {
    use ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
    let kind = tried.as_ref().err().map(io::Error::kind);
    let listens = !matches!(kind, Some(ConnectionRefused | ConnectionReset | TimedOut));
    assert!(listens, "a connection to {to} gives {kind:?}");
    tried.or_error("a connection")
}

/// Sends a byte through the host's sockets and back.
pub(super) async fn round_trip() {
    let (mut stream, mut peer) = pair();
    let echo = on_a_thread(move || {
        let mut byte = [0];
        io::Read::read_exact(&mut peer, &mut byte)?;
        io::Write::write_all(&mut peer, &byte)
    });
    let mut byte = [0];
    stream.write_all(b"!").await.expect("a byte goes out");
    stream.read_exact(&mut byte).await.expect("a byte comes back");
    assert_eq!(&byte, b"!", "the byte that came back");
    joined(echo).expect("the peer has read a byte, and sent it back");
}
