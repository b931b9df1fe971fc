//! Hosts that break the rules of `host/waits.rs`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use gateway_blocking::Blocking;
use gateway_core::{
    Coroutine, Host, Sleep, Task, Timer, Trampoline, Yield, sleep_until, trampoline,
};

use super::twin::{Behind, Bounce, BounceFn, PATIENCE, Twin};
use super::work::{Numbered, deaf, in_a_worker};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        bounce("YLD-01", "none of these here", |good, yielded, cx| match yielded {
            Yield::Timer(_) => none(),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "none of these here", |good, yielded, cx| match yielded {
            Yield::Io(_) => none(),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "none of these here", |good, yielded, cx| match yielded {
            Yield::Job(_) => none(),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "none of these here", |good, yielded, cx| match yielded {
            Yield::Task(_) => none(),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "with Pending", |good, yielded, cx| match yielded {
            Yield::Job(_) => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "cancelled", |good, yielded, cx| match yielded {
            Yield::Task(_) => Poll::Ready(Ok(())),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-01", "it hangs", |good, yielded, cx| match yielded {
            Yield::Timer(_) => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        Twin::new("YLD-01", "outside any trampoline", || Bare),
        bounce("YLD-02", "without attempting it", |good, yielded, cx| match yielded {
            Yield::Io(_) => Poll::Ready(Ok(())),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-02", "none of these here", |good, yielded, cx| match yielded {
            // Started all the same.
            Yield::Job(job) => good.bounce(Yield::Job(job), cx).map(|_| Err(no())),
            other => good.bounce(other, cx),
        }),
        bounce("YLD-03", "after its end", |good, yielded, cx| match yielded {
            Yield::Task(task) => good.bounce(Yield::Task(Task::new(again(task))), cx),
            other => good.bounce(other, cx),
        }),
        Twin::new("YLD-03", "polled after", || Rerun(Blocking::new(2).unwrap())),
        Twin::new("YLD-03", "times after its end", || OneThread::new(How::ForgetsTheEnd)),
        Twin::new("YLD-04", "deeper after many wake-ups", || OneThread::new(How::Recurses(50))),
        Twin::new("YLD-04", "yields that are answered at once", || {
            OneThread::new(How::Recurses(1))
        }),
        bounce(
            "YLD-04",
            "deeper after many tasks, each spawned by the last",
            |good, yielded, cx| match yielded {
                Yield::Task(mut task) => {
                    match Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(()) => Poll::Ready(Ok(())),
                        Poll::Pending => good.bounce(Yield::Task(task), cx),
                    }
                }
                other => good.bounce(other, cx),
            },
        ),
        Twin::new("YLD-05", "starves tasks", || OneThread::new(How::MainFirst)),
        Twin::new("YLD-05", "starve others", || OneThread::new(How::TasksFirst)),
        bounce("YLD-07", "early", |good, yielded, cx| match yielded {
            Yield::Timer(timer) if timer.deadline() < Instant::now() + Duration::from_millis(2) => {
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        timers("YLD-07", "early", |good, timer, cx| {
            // Whole milliseconds, rounded to the nearest.
            let nearest = |at: Instant| at - Duration::from_micros(500);
            timer.poll(cx, |at| good_alarm(good, nearest(at)))
        }),
        Twin::new("YLD-07", "a timer put off ended", || {
            Behind::new(|good| ByAddress { good, armed: Mutex::default() })
        }),
        bounce("YLD-07", "ended early", |good, yielded, cx| match yielded {
            Yield::Timer(timer) if timer.deadline() > Instant::now() + YEAR * 10 => {
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        timers("YLD-07", "ended", |good, timer, cx| {
            // Milliseconds in sixteen bits.
            timer.poll(cx, |at| {
                let left = at.saturating_duration_since(Instant::now()).as_millis();
                let left = Duration::from_millis(left as u64 % (1 << 16) + 1);
                good_alarm(good, at.min(Instant::now() + left))
            })
        }),
        Twin::new("YLD-08", LOST, || Drowsy(Blocking::new(2).unwrap())),
        rewoken("YLD-08", LOST, |odd, _| odd.polling.load(SeqCst)),
        rewoken("YLD-08", LOST, |_, _| is_stranger()),
        rewoken("YLD-08", LOST, |odd, _| odd.before.swap(true, SeqCst)),
        Twin::new("YLD-08", LOST, || OneThread::new(How::SleepsThroughIt)),
        Twin::new("YLD-08", LOST, || TrustsUnparks(Blocking::new(1).unwrap())),
        rewoken("YLD-09", "woken, and there is nobody", |odd, _| {
            assert!(!odd.ended.load(SeqCst), "woken, and there is nobody");
            false
        }),
        // Loses the one wake-up or the other, of all that there are.
        rewoken("YLD-08", "`wake_by_ref` in the same poll", |odd, _| odd.nth(odd.is_own()) == 1),
        rewoken("YLD-08", "`wake` in the same poll", |odd, _| odd.nth(odd.is_own()) == 2),
        rewoken("YLD-08", "has outlived its original", |odd, _| odd.nth(odd.is_own()) == 3),
        rewoken("YLD-08", "many wake-ups in the same poll", |odd, _| {
            (4..=103).contains(&odd.nth(odd.is_own()))
        }),
        // In each round, since a wake-up of the two threads before it may be late, and make up for it.
        rewoken("YLD-08", "has used up", |odd, _| {
            let own = odd.is_own();
            own && odd.nth(own) % 104 == 0
        }),
        rewoken("YLD-08", "a thread, within the poll", |odd, used_up| {
            odd.nth(used_up && is_stranger()) == 1
        }),
        rewoken("YLD-08", "about when the poll ends", |odd, used_up| {
            odd.nth(used_up && is_stranger()) == 2
        }),
        rewoken("YLD-08", "from two threads", |odd, used_up| {
            (3..=4).contains(&odd.nth(used_up && is_stranger()))
        }),
        rewoken("YLD-08", "a wake-up from a job", |odd, used_up| {
            odd.nth(used_up && in_a_worker()) % 2 == 1
        }),
        rewoken("YLD-08", "a wake-up from a task", |odd, used_up| {
            let worker = used_up && in_a_worker();
            worker && odd.nth(worker) % 2 == 0
        }),
        rewoken("YLD-08", "of a parked host", |odd, used_up| {
            !odd.before.swap(true, SeqCst) && used_up && is_stranger()
        }),
        rewoken("YLD-08", "a wake-up does not panic", no_stranger),
        rewoken("YLD-03", "a late wake-up does not panic", no_stranger),
        rewoken("YLD-09", "a late wake-up from a thread does not panic", no_stranger),
        // Comes to it after a long time: more than half of the check's.
        rewoken("YLD-08", "for a long time", |odd, _| {
            let works = thread::current().name().is_some_and(|name| name.starts_with("gateway-"));
            let good = odd.good.clone();
            if works {
                thread::spawn(move || {
                    thread::sleep(PATIENCE * 2 / 3);
                    good.wake();
                });
            }
            works
        }),
        // Wakes the coroutine, and falls over the stranger who asked for it.
        rewoken("RUN-01", "who is that?", |odd, used_up| {
            odd.good.wake_by_ref();
            no_stranger(odd, used_up)
        }),
        Twin::new("YLD-12", "a trampoline inside `run`", || Bare),
        Twin::new("YLD-12", "the task whose hour has come", || {
            Behind::new(|good| Numbered::new(good, |_, good, task| deaf(true, good, task)))
        }),
        bounce("YLD-07", "a timer in a task", |good, yielded, cx| match yielded {
            Yield::Timer(_) if in_a_worker() => Poll::Ready(Ok(())),
            other => good.bounce(other, cx),
        }),
        Twin::new("YLD-07", "a timer brought forward ended", || {
            Behind::new(|good| Impatient { good, again: false, known: Mutex::default() })
        }),
        Twin::new("YLD-07", "a timer used again ended", || {
            Behind::new(|good| Impatient { good, again: true, known: Mutex::default() })
        }),
        bounce("YLD-15", "one of hundreds ended", |good, yielded, cx| match yielded {
            Yield::Timer(timer) if timer.deadline() < Instant::now() + Duration::from_millis(2) => {
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        strangers("YLD-07", "a deadline in the past ends", |good, yielded, cx| match yielded {
            Yield::Timer(_) => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        strangers("YLD-09", "a timer is over", |good, yielded, cx| match yielded {
            Yield::Timer(_) => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        strangers("YLD-09", "a byte arrives", |good, yielded, cx| match yielded {
            Yield::Io(_) => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        strangers("YLD-24", "a writer is woken when there is room", |good, yielded, _| {
            good.bounce(yielded, &mut Context::from_waker(Waker::noop()))
        }),
        strangers("YLD-26", "wake their wakers", |good, yielded, cx| {
            let Yield::Timer(timer) = yielded else { return good.bounce(yielded, cx) };
            // Takes the waker, and wakes nobody.
            timer.poll(cx, |at| {
                let (mut alarm, mut latest) = (good_alarm(good, at), None);
                poll_fn(move |cx| {
                    drop(latest.replace(cx.waker().clone()));
                    Pin::new(&mut alarm).poll(&mut Context::from_waker(Waker::noop()))
                })
            })
        }),
        strangers("YLD-26", "a timer wakes a waker that drops it", |good, yielded, cx| {
            let Yield::Timer(timer) = yielded else { return good.bounce(yielded, cx) };
            // Does not take the first waker.
            timer.poll(cx, |at| {
                let (mut alarm, mut first) = (good_alarm(good, at), true);
                poll_fn(move |cx| match std::mem::take(&mut first) {
                    true => Pin::new(&mut alarm).poll(&mut Context::from_waker(Waker::noop())),
                    false => Pin::new(&mut alarm).poll(cx),
                })
            })
        }),
        timers("YLD-26", "wakers that were replaced", |good, timer, cx| {
            timer.poll(cx, |at| forgetting(good_alarm(good, at)))
        }),
        timers("YLD-26", "the wakers of dropped waits", |good, timer, cx| {
            timer.poll(cx, |at| {
                let (mut alarm, mut kept) = (good_alarm(good, at), Kept(None));
                poll_fn(move |cx| {
                    kept.keep(cx.waker());
                    Pin::new(&mut alarm).poll(cx)
                })
            })
        }),
        timers("DRP-10", "waits are forgotten", |good, timer, cx| {
            timer.poll(cx, |at| forgetting(good_alarm(good, at)))
        }),
        bounce("DRP-08", "a wait begins", |good, yielded, cx| match yielded {
            Yield::Timer(_) => none(),
            other => good.bounce(other, cx),
        }),
        Twin::new("YLD-03", "a trampoline: ", || Bare),
        Twin::new("YLD-20", "a trampoline: ", || Bare),
        bounce("RUN-04", "a timer", |good, yielded, cx| match yielded {
            Yield::Timer(timer) if timer.deadline() > Instant::now() + YEAR / 20_000 => {
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        timers("DRP-10", "what is dropped on another thread", |good, timer, cx| {
            timer.poll(cx, |at| {
                let (mut alarm, at_home) = (good_alarm(good, at), AtHome);
                poll_fn(move |cx| {
                    let _ = &at_home;
                    Pin::new(&mut alarm).poll(cx)
                })
            })
        }),
        timers("YLD-07", "was waited for", |good, timer, cx| {
            timer.poll(cx, |at| pausing(5, good_alarm(good, at)))
        }),
        timers("YLD-23", "polls of 10000 timers", |good, timer, cx| {
            timer.poll(cx, |at| pausing(30, good_alarm(good, at)))
        }),
        timers("YLD-09", "wakers of waits that are no more", |good, timer, cx| {
            timer.poll(cx, |at| forgetting(good_alarm(good, at)))
        }),
        bounce("YLD-11", "one of ten timers is waited for", |good, yielded, cx| match yielded {
            Yield::Timer(timer) => {
                thread::sleep(timer.deadline().saturating_duration_since(Instant::now()));
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        bounce("YLD-11", "it hangs", |good, yielded, cx| match yielded {
            Yield::Job(job) => {
                job.run();
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }),
        timers("YLD-12", "timers that had been dropped", |_, timer, cx| {
            timer.poll(cx, |at| {
                let mut begun = false;
                poll_fn(move |cx| {
                    if Instant::now() >= at {
                        return Poll::Ready(());
                    }
                    if !std::mem::replace(&mut begun, true) {
                        let waker = cx.waker().clone();
                        thread::spawn(move || {
                            thread::sleep(at.saturating_duration_since(Instant::now()));
                            waker.wake();
                        });
                    }
                    Poll::Pending
                })
            })
        }),
        Twin::new("YLD-15", "with the same deadline is woken", || {
            Behind::new(|good| CancelsAnother { good, armed: Arc::default() })
        }),
        Twin::new("YLD-27", "threads never do", Spins::new),
        Twin::new("YLD-13", "it hangs", || {
            Behind::new(|good| OneSlot(good, Arc::new(Mutex::new(Waker::noop().clone()))))
        }),
        Twin::new("YLD-15", "with the same deadline is woken", || {
            Behind::new(|good| ByDeadline { good, wakers: Arc::default() })
        }),
        // Forgets a timer that has fired for a waker that counts no more.
        timers("YLD-15", "a timer's own waker", |good, timer, cx| {
            timer.poll(cx, |at| {
                let (mut alarm, mut first) = (good_alarm(good, at), None::<Waker>);
                poll_fn(move |cx| {
                    let known = first.get_or_insert_with(|| cx.waker().clone());
                    match Instant::now() >= at && !known.will_wake(cx.waker()) {
                        true => Poll::Pending,
                        false => Pin::new(&mut alarm).poll(cx),
                    }
                })
            })
        }),
        timers("YLD-15", "ten sleeps of a millisecond", |good, timer, cx| {
            timer.poll(cx, |at| good_alarm(good, at + Duration::from_secs(1)))
        }),
        timers("YLD-16", "timer's latest waker", |good, timer, cx| {
            timer.poll(cx, |at| {
                let (mut alarm, mut first) = (good_alarm(good, at), None);
                poll_fn(move |cx| {
                    let first: &Waker = first.get_or_insert_with(|| cx.waker().clone());
                    Pin::new(&mut alarm).poll(&mut Context::from_waker(first))
                })
            })
        }),
        bounce("YLD-20", "no reactor is running here", |good, yielded, cx| {
            if thread::current().name().is_none() {
                return Poll::Ready(Err(io::Error::other("no reactor is running here")));
            }
            good.bounce(yielded, cx)
        }),
        bounce("YLD-20", "it hangs", |good, yielded, cx| match yielded {
            Yield::Timer(_) if thread::current().name().is_none() => Poll::Pending,
            other => good.bounce(other, cx),
        }),
        bounce("YLD-21", "while it waited for one timer", |good, yielded, cx| match yielded {
            Yield::Timer(timer) => {
                cx.waker().wake_by_ref();
                good.bounce(Yield::Timer(timer), cx)
            }
            other => good.bounce(other, cx),
        }),
        Twin::new("YLD-21", "while it waited for one timer", || OneThread::new(How::PollsAll)),
        Twin::new("YLD-22", "from within a wake-up", || OneThread::new(How::PollsWithin)),
        Twin::new("YLD-22", "it hangs", || OneThread::new(How::LocksWithin)),
        Twin::new("YLD-26", "it hangs", || {
            Behind::new(|good| Locking { good, wakers: Arc::default(), made: AtomicU64::new(0) })
        }),
        Twin::new("YLD-23", "no more timers", || {
            Behind::new(|good| FewTimers(good, Mutex::new(0)))
        }),
    ]
}

/// Forgets all the wakers that it is given.
fn forgetting(mut alarm: Coroutine<Sleep>) -> impl Future<Output = ()> + Send + Sync {
    poll_fn(move |cx| {
        std::mem::forget(cx.waker().clone());
        Pin::new(&mut alarm).poll(cx)
    })
}

/// The latest waker of a wait, which is forgotten with it.
struct Kept(Option<Waker>);

impl Kept {
    fn keep(&mut self, latest: &Waker) {
        self.0 = Some(latest.clone());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

/// Not to be dropped by a stranger.
struct AtHome;

impl Drop for AtHome {
    fn drop(&mut self) {
        assert!(!is_stranger(), "who is that?");
    }
}

/// Whether this is none of the host's threads, nor the check's.
fn is_stranger() -> bool {
    thread::current().name().is_none()
}

/// A waker that only the host's own threads may use up.
fn no_stranger(_: &Odd, used_up: bool) -> bool {
    assert!(!used_up || !is_stranger(), "who is that?");
    false
}

/// Pauses so many times before it waits.
async fn pausing(times: usize, waits: impl Future) {
    for _ in 0..times {
        let mut paused = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    waits.await;
}

/// Where a wake-up was lost depends on the moment; where nothing asks for another one, it hangs.
const LOST: &str = "while the coroutine suspended|it hangs";

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn no() -> io::Error {
    io::Error::other("none of these here")
}

fn none() -> Poll<io::Result<()>> {
    Poll::Ready(Err(no()))
}

fn bounce(rule: &'static str, says: &'static str, wrong: BounceFn) -> Twin {
    Twin::new(rule, says, move || Wrapped::new(move |good| Arc::new(Bounce(good, wrong))))
}

fn timers(rule: &'static str, says: &'static str, wrong: TimerFn) -> Twin {
    Twin::new(rule, says, move || Wrapped::new(move |good| Arc::new(Timers(good, wrong))))
}

fn rewoken(rule: &'static str, says: &'static str, loses: fn(&Odd, bool) -> bool) -> Twin {
    Twin::new(rule, says, move || Rewoken(Blocking::new(2).unwrap(), loses))
}

/// A good host behind a trampoline that a closure makes.
struct Wrapped<W>(Blocking, W);

impl<W: Fn(Arc<dyn Trampoline>) -> Arc<dyn Trampoline>> Wrapped<W> {
    fn new(wrap: W) -> Wrapped<W> {
        Wrapped(Blocking::new(2).unwrap(), wrap)
    }
}

impl<W: Fn(Arc<dyn Trampoline>) -> Arc<dyn Trampoline>> Host for Wrapped<W> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async { Coroutine::new((self.1)(trampoline().unwrap()), future).await })
    }
}

/// A host that polls without a trampoline.
struct Bare;

impl Host for Bare {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let cx = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return output;
            }
        }
    }
}

/// A host that polls once more when `run` is over.
struct Rerun(Blocking);

impl Host for Rerun {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let mut future = pin!(Coroutine::new(trampoline().unwrap(), future));
            let output = future.as_mut().await;
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            output
        })
    }
}

/// Polls a task once more after its end.
async fn again(mut task: Task) {
    Pin::new(&mut task).await;
    let _ = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
}

/// A trampoline whose timers go wrong.
struct Timers(Arc<dyn Trampoline>, TimerFn);

type TimerFn = fn(&Arc<dyn Trampoline>, &mut Timer, &mut Context<'_>) -> Poll<io::Result<()>>;

impl Trampoline for Timers {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Timer(timer) => (self.1)(&self.0, timer, cx),
            other => self.0.bounce(other, cx),
        }
    }
}

fn good_alarm(good: &Arc<dyn Trampoline>, at: Instant) -> Coroutine<Sleep> {
    Coroutine::new(good.clone(), sleep_until(at))
}

/// Knows timers by their address, and looks at a deadline only the first time.
struct ByAddress {
    good: Arc<dyn Trampoline>,
    armed: Mutex<HashMap<usize, Coroutine<Sleep>>>,
}

impl Trampoline for ByAddress {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Yield::Timer(timer) = yielded else { return self.good.bounce(yielded, cx) };
        let mut armed = self.armed.lock().unwrap();
        let key = std::ptr::from_mut(timer).addr();
        let alarm = armed.entry(key).or_insert_with(|| good_alarm(&self.good, timer.deadline()));
        ready!(Pin::new(alarm).poll(cx));
        armed.remove(&key);
        Poll::Ready(Ok(()))
    }
}

/// Has no patience with a timer that is brought forward, or with one that is used again after that.
struct Impatient {
    good: Arc<dyn Trampoline>,
    again: bool,
    /// By their address: the latest deadline, and whether it has been brought forward before.
    known: Mutex<HashMap<usize, (Instant, bool)>>,
}

impl Trampoline for Impatient {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Yield::Timer(timer) = yielded else { return self.good.bounce(yielded, cx) };
        let (at, key) = (timer.deadline(), std::ptr::from_mut(timer).addr());
        if at > Instant::now() {
            let mut known = self.known.lock().unwrap();
            let (before, forward) = known.entry(key).or_insert((at, false));
            if if self.again { *forward && at > *before } else { at < *before } {
                return Poll::Ready(Ok(()));
            }
            (*before, *forward) = (at, *forward || at < *before);
        }
        self.good.bounce(Yield::Timer(timer), cx)
    }
}

/// A host that is good to the wakers that it has made itself, and not to those of a stranger.
struct Familiar(Blocking, StrangerFn);

type StrangerFn = fn(&Arc<dyn Trampoline>, Yield<'_>, &mut Context<'_>) -> Poll<io::Result<()>>;

fn strangers(rule: &'static str, says: &'static str, wrong: StrangerFn) -> Twin {
    Twin::new(rule, says, move || Familiar(Blocking::new(2).unwrap(), wrong))
}

thread_local! {
    /// What the coroutine that is being polled has been given.
    static OWN: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Notes the waker that a future is polled with.
fn noting<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        let before = OWN.replace(Some(cx.waker().clone()));
        let answer = future.as_mut().poll(cx);
        OWN.replace(before);
        answer
    })
}

impl Host for Familiar {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let familiar = WithItsOwn(trampoline().unwrap(), self.1);
            noting(Coroutine::new(Arc::new(familiar), future)).await
        })
    }
}

struct WithItsOwn(Arc<dyn Trampoline>, StrangerFn);

impl Trampoline for WithItsOwn {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = OWN.with_borrow(|own| own.as_ref().is_some_and(|own| own.will_wake(cx.waker())));
        match yielded {
            Yield::Task(task) => self.0.bounce(Yield::Task(Task::new(noting(task))), cx),
            other if own => self.0.bounce(other, cx),
            other => (self.1)(&self.0, other, cx),
        }
    }
}

/// Knows timers by their deadline, which others may have as well.
struct ByDeadline {
    good: Arc<dyn Trampoline>,
    wakers: Arc<Mutex<BTreeMap<Instant, Waker>>>,
}

impl Trampoline for ByDeadline {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Yield::Timer(timer) = yielded else { return self.good.bounce(yielded, cx) };
        let at = timer.deadline();
        if Instant::now() >= at {
            return Poll::Ready(Ok(()));
        }
        if self.wakers.lock().unwrap().insert(at, cx.waker().clone()).is_none() {
            let wakers = self.wakers.clone();
            thread::spawn(move || {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                let waker = wakers.lock().unwrap().remove(&at);
                waker.into_iter().for_each(Waker::wake);
            });
        }
        Poll::Pending
    }
}

/// Takes out a timer by its deadline, which others may have as well.
struct CancelsAnother {
    good: Arc<dyn Trampoline>,
    armed: Arc<Mutex<Vec<(Instant, Waker)>>>,
}

impl Trampoline for CancelsAnother {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        struct Alarm(Instant, bool, Arc<Mutex<Vec<(Instant, Waker)>>>);
        impl Future for Alarm {
            type Output = ();
            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                if Instant::now() >= self.0 {
                    return Poll::Ready(());
                }
                self.2.lock().unwrap().push((self.0, cx.waker().clone()));
                if !std::mem::replace(&mut self.1, true) {
                    let (at, armed) = (self.0, self.2.clone());
                    thread::spawn(move || {
                        thread::sleep(at.saturating_duration_since(Instant::now()).min(YEAR));
                        let mut armed = armed.lock().unwrap();
                        let due = |(deadline, _): &(Instant, Waker)| *deadline == at;
                        let (due, left): (Vec<_>, _) =
                            std::mem::take(&mut *armed).into_iter().partition(due);
                        *armed = left;
                        drop(armed);
                        due.into_iter().for_each(|(_, waker)| waker.wake());
                    });
                }
                Poll::Pending
            }
        }
        impl Drop for Alarm {
            fn drop(&mut self) {
                let mut armed = self.2.lock().unwrap();
                let found = armed.iter().position(|(deadline, _)| *deadline == self.0);
                let taken = found.map(|found| armed.remove(found));
                drop(armed);
                drop(taken);
            }
        }
        let Yield::Timer(timer) = yielded else { return self.good.bounce(yielded, cx) };
        timer.poll(cx, |at| Alarm(at, false, self.armed.clone()))
    }
}

/// A host with a thread that never rests.
struct Spins(Blocking, Arc<AtomicBool>);

impl Spins {
    fn new() -> Spins {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        thread::spawn(move || {
            while !stopped.load(SeqCst) {
                thread::yield_now();
            }
        });
        Spins(Blocking::new(2).unwrap(), stop)
    }
}

impl Host for Spins {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(future)
    }
}

impl Drop for Spins {
    fn drop(&mut self) {
        self.1.store(true, SeqCst);
    }
}

/// A host that looks whether it was woken, and then goes to sleep, with a moment in between.
struct Drowsy(Blocking);

impl Host for Drowsy {
    fn run<F: Future>(&self, future: F) -> F::Output {
        #[derive(Default)]
        struct Bell(AtomicBool, Mutex<()>, Condvar);
        impl Wake for Bell {
            fn wake(self: Arc<Bell>) {
                self.0.store(true, SeqCst);
                self.2.notify_all();
            }
        }
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let trampoline = self.0.run(async { trampoline().unwrap() });
        let mut future = pin!(Coroutine::new(trampoline, future));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            while !bell.0.swap(false, SeqCst) {
                thread::yield_now();
                let held = bell.1.lock().unwrap();
                drop(bell.2.wait(held).unwrap());
            }
        }
    }
}

/// Holds its lock while it wakes, and while it drops wakers.
struct Locking {
    good: Arc<dyn Trampoline>,
    wakers: Arc<Mutex<HashMap<u64, Waker>>>,
    made: AtomicU64,
}

impl Trampoline for Locking {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        struct Alarm(Instant, u64, Arc<Mutex<HashMap<u64, Waker>>>);
        impl Future for Alarm {
            type Output = ();
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                if Instant::now() >= self.0 {
                    return Poll::Ready(());
                }
                let mut wakers = self.2.lock().unwrap();
                let before = wakers.insert(self.1, cx.waker().clone());
                drop(before);
                Poll::Pending
            }
        }
        impl Drop for Alarm {
            fn drop(&mut self) {
                let mut wakers = self.2.lock().unwrap();
                let waker = wakers.remove(&self.1);
                drop(waker);
            }
        }
        let Yield::Timer(timer) = yielded else { return self.good.bounce(yielded, cx) };
        timer.poll(cx, |at| {
            let (key, wakers) = (self.made.fetch_add(1, SeqCst), self.wakers.clone());
            thread::spawn(move || {
                thread::sleep(at.saturating_duration_since(Instant::now()).min(YEAR / 1_000_000));
                let mut wakers = wakers.lock().unwrap();
                if let Some(waker) = wakers.remove(&key) {
                    waker.wake();
                }
            });
            Alarm(at, key, self.wakers.clone())
        })
    }
}

/// Remembers whom to wake in one place for all waits.
struct OneSlot(Arc<dyn Trampoline>, Arc<Mutex<Waker>>);

impl Trampoline for OneSlot {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        struct Relay(Arc<Mutex<Waker>>);
        impl Wake for Relay {
            fn wake(self: Arc<Relay>) {
                let latest = self.0.lock().unwrap().clone();
                latest.wake();
            }
        }
        *self.1.lock().unwrap() = cx.waker().clone();
        let relay = Waker::from(Arc::new(Relay(self.1.clone())));
        self.0.bounce(yielded, &mut Context::from_waker(&relay))
    }
}

/// Has room for five thousand timers in all.
struct FewTimers(Arc<dyn Trampoline>, Mutex<usize>);

impl Trampoline for FewTimers {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Yield::Timer(timer) = yielded else { return self.0.bounce(yielded, cx) };
        let answer = self.0.bounce(Yield::Timer(timer), cx);
        let mut armed = self.1.lock().unwrap();
        *armed += usize::from(answer.is_pending());
        match *armed {
            5000.. => Poll::Ready(Err(io::Error::other("no more timers"))),
            _ => answer,
        }
    }
}

/// A good host that gives its coroutines wakers of its own, which lose some wake-ups. Whether they do
/// may depend on whether the waker is used up.
struct Rewoken(Blocking, fn(&Odd, bool) -> bool);

/// Such a waker.
struct Odd {
    good: Waker,
    loses: fn(&Odd, bool) -> bool,
    /// Whether the coroutine is being polled; whether it has ended; whether it was ever woken.
    polling: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    before: Arc<AtomicBool>,
    /// The thread on which it was polled last, and how many wake-ups have been counted.
    home: ThreadId,
    count: Arc<AtomicUsize>,
}

impl Odd {
    /// Whether it is woken within its own poll, and by that.
    fn is_own(&self) -> bool {
        self.polling.load(SeqCst) && self.home == thread::current().id()
    }

    /// Counts a wake-up, if it is of the kind in question.
    fn nth(&self, counts: bool) -> usize {
        if counts { self.count.fetch_add(1, SeqCst) + 1 } else { 0 }
    }
}

impl Wake for Odd {
    fn wake(self: Arc<Odd>) {
        if !(self.loses)(&self, true) {
            self.good.wake_by_ref();
        }
    }

    fn wake_by_ref(self: &Arc<Odd>) {
        if !(self.loses)(self, false) {
            self.good.wake_by_ref();
        }
    }
}

fn odd<F: Future>(future: F, loses: fn(&Odd, bool) -> bool) -> impl Future<Output = F::Output> {
    let [polling, ended, before] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let (mut future, count) = (Box::pin(future), Arc::new(AtomicUsize::new(0)));
    poll_fn(move |cx| {
        let (polling, ended, before) = (polling.clone(), ended.clone(), before.clone());
        let (good, home, count) = (cx.waker().clone(), thread::current().id(), count.clone());
        let odd = Arc::new(Odd { good, loses, polling, ended, before, home, count });
        odd.polling.store(true, SeqCst);
        let answer = future.as_mut().poll(&mut Context::from_waker(&Waker::from(odd.clone())));
        odd.polling.store(false, SeqCst);
        odd.ended.store(answer.is_ready(), SeqCst);
        answer
    })
}

impl Host for Rewoken {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let tasks = RewokenTasks(trampoline().unwrap(), self.1);
            odd(Coroutine::new(Arc::new(tasks), future), self.1).await
        })
    }
}

struct RewokenTasks(Arc<dyn Trampoline>, fn(&Odd, bool) -> bool);

impl Trampoline for RewokenTasks {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Task(task) => self.0.bounce(Yield::Task(Task::new(odd(task, self.1))), cx),
            other => self.0.bounce(other, cx),
        }
    }
}

/// A host of one thread, whose tasks run while some `run` does. Timers, sockets and jobs it leaves
/// to a good one.
struct OneThread {
    _good: Blocking,
    trampoline: Arc<dyn Trampoline>,
    queue: Arc<Queue>,
    how: How,
}

/// How it goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Polls tasks only when `run`'s future rests.
    MainFirst,
    /// Polls `run`'s future only when all tasks rest.
    TasksFirst,
    /// Calls itself after so many polls.
    Recurses(usize),
    /// Polls all tasks whenever one is woken.
    PollsAll,
    /// Polls a task within its wake-up, unless it is being polled.
    PollsWithin,
    /// Waits, within a wake-up, until nobody polls the task.
    LocksWithin,
    /// Keeps a task that has ended in its queue, when it was woken in its last poll.
    ForgetsTheEnd,
    /// Forgets, after a poll, that it was woken in the meantime.
    SleepsThroughIt,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    main: bool,
    main_was_last: bool,
    queue: VecDeque<Arc<Cell>>,
    all: Vec<Arc<Cell>>,
}

/// A task, or `run`'s own future, which has none.
struct Cell {
    task: Option<Mutex<Task>>,
    ended: AtomicBool,
    queue: Arc<Queue>,
    how: How,
}

impl OneThread {
    fn new(how: How) -> OneThread {
        let good = Blocking::new(1).unwrap();
        let queue = Arc::new(Queue::default());
        let trampoline = good.run(async { trampoline().unwrap() });
        let trampoline = Arc::new(OnOneThread(trampoline, queue.clone(), how));
        OneThread { _good: good, trampoline, queue, how }
    }

    /// What is to be polled next: nothing means `run`'s future.
    fn next(&self) -> Option<Arc<Cell>> {
        let mut state = self.queue.state.lock().unwrap();
        loop {
            let main_first = match self.how {
                How::MainFirst => true,
                How::TasksFirst => false,
                // In turns, as long as it does no harm.
                _ => !state.main_was_last,
            };
            state.main_was_last = state.main && (main_first || state.queue.is_empty());
            if state.main_was_last {
                state.main = false;
                return None;
            }
            if let Some(cell) = state.queue.pop_front() {
                return Some(cell);
            }
            state = self.queue.more.wait(state).unwrap();
        }
    }

    /// Takes a turn: polls one of them.
    fn turn<T>(&self, main: &mut dyn FnMut(&Waker) -> Poll<T>) -> Poll<T> {
        let Some(cell) = self.next() else {
            let cell =
                Cell { task: None, ended: false.into(), queue: self.queue.clone(), how: self.how };
            let answer = main(&Waker::from(Arc::new(cell)));
            if self.how == How::SleepsThroughIt {
                self.queue.state.lock().unwrap().main = false;
            }
            return answer;
        };
        poll_cell(&cell);
        Poll::Pending
    }

    fn recurse<T>(&self, turns: usize, main: &mut dyn FnMut(&Waker) -> Poll<T>) -> T {
        let some = black_box([0_u8; 1024]);
        for _ in 0..turns {
            if let Poll::Ready(output) = self.turn(main) {
                return output;
            }
        }
        let output = self.recurse(turns, main);
        black_box(some);
        output
    }
}

fn poll_cell(cell: &Arc<Cell>) {
    let Some(task) = &cell.task else { return };
    if cell.ended.load(SeqCst) && cell.how != How::ForgetsTheEnd {
        return;
    }
    let Ok(mut task) = task.try_lock() else { return };
    let waker = Waker::from(cell.clone());
    let ended = Pin::new(&mut *task).poll(&mut Context::from_waker(&waker)).is_ready();
    cell.ended.fetch_or(ended, SeqCst);
}

impl Host for OneThread {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(Coroutine::new(self.trampoline.clone(), future));
        let mut poll = |waker: &Waker| future.as_mut().poll(&mut Context::from_waker(waker));
        self.queue.state.lock().unwrap().main = true;
        if let How::Recurses(turns) = self.how {
            return self.recurse(turns, &mut poll);
        }
        loop {
            if let Poll::Ready(output) = self.turn(&mut poll) {
                return output;
            }
        }
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Cell>) {
        let Some(task) = &self.task else {
            self.queue.state.lock().unwrap().main = true;
            return self.queue.more.notify_one();
        };
        match self.how {
            How::PollsWithin if task.try_lock().is_ok() => return poll_cell(&self),
            How::LocksWithin => drop(task.lock()),
            _ => {}
        }
        let mut state = self.queue.state.lock().unwrap();
        if self.how == How::PollsAll {
            let all = state.all.clone();
            state.queue.extend(all);
        } else {
            state.queue.push_back(self.clone());
        }
        drop(state);
        self.queue.more.notify_one();
    }
}

/// Takes `park`'s return for a wake-up, and for the only one.
struct TrustsUnparks(Blocking);

impl Host for TrustsUnparks {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let trampoline = self.0.run(async { trampoline().unwrap() });
        let mut future = pin!(Coroutine::new(trampoline, future));
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

struct OnOneThread(Arc<dyn Trampoline>, Arc<Queue>, How);

impl Trampoline for OnOneThread {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Yield::Task(task) = yielded else { return self.0.bounce(yielded, cx) };
        let task = Some(Mutex::new(task));
        let cell = Cell { task, ended: false.into(), queue: self.1.clone(), how: self.2 };
        let cell = Arc::new(cell);
        let mut state = self.1.state.lock().unwrap();
        state.all.push(cell.clone());
        state.queue.push_back(cell);
        drop(state);
        self.1.more.notify_one();
        Poll::Ready(Ok(()))
    }
}
