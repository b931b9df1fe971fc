//! Checks of waits: timers, wakers, joins, fairness.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join, join_all, select};
use gateway_core::{
    Coroutine, JoinError, Sleep, Task, Yield, sleep, sleep_until, spawn, timeout, trampoline,
    unblock,
};

use super::clock::Clock;
use super::gauges::{Gate, eventually, give_up, joined, lock, on_a_thread, perhaps_here};
use super::sockets::End;
use super::{Doing, Subject};

/// How long others may be kept waiting by a coroutine that never rests.
const STARVED: Duration = Duration::from_secs(8);

/// Between looks.
const LOOK: Duration = Duration::from_millis(1);

/// Longer than any check.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// How much deeper the stack may get: less than a fraction of what a recursion would take.
const STACK: usize = 256 * 1024;

pub(super) fn yld_01_each_kind_of_yield_is_answered(subject: &Subject) {
    let host = subject.start();
    host.run(all_kinds(1));
    host.run(async { spawn(all_kinds(2)).await.expect("the task has its yields answered") });
    host.run(async {
        let nested = spawn(async { spawn(all_kinds(3)).await.expect("so has a task's task") });
        join(nested, all_kinds(4)).await.0.expect("and the task between");
    });
}

pub(super) fn yld_02_a_yield_is_answered_once_with_its_own_result(subject: &Subject) {
    subject.start().run(async {
        let works = (0..100_usize).map(|n| async move {
            let (task, job) = (spawn(async move { n }), unblock(move || n));
            task.await.expect("a task's result");
            job.await.expect("a job's result");
        });
        join_all(works).await;
        let sockets = (0..50_u8).map(|n| async move {
            let (mut one, mut other) = End::pair();
            // Bytes that are written twice, or read twice, are seen here.
            for round in 0..20 {
                one.write_all(&[n, round]).await;
                assert_eq!(other.read_exact::<1>().await, [n], "round {round}");
                assert_eq!(other.read_exact::<1>().await, [round], "of socket {n}");
            }
            drop(one);
            let end = other.read(&mut [0; 8]).await.expect("an end");
            assert_eq!(end, 0, "bytes arrived that were not sent");
        });
        join_all(sockets).await;
    });
}

pub(super) fn yld_03_nothing_is_polled_after_its_end(subject: &Subject) {
    /// Ends at its so many-th poll. It is woken in each of them, the last one included.
    fn trap(
        mut left: usize,
        [ended, after]: [Arc<AtomicUsize>; 2],
        kept: mpsc::Sender<Waker>,
    ) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            if left == 0 {
                after.fetch_add(1, SeqCst);
                return Poll::Pending;
            }
            left -= 1;
            cx.waker().wake_by_ref();
            let _ = kept.send(cx.waker().clone());
            if left > 0 {
                return Poll::Pending;
            }
            ended.fetch_add(1, SeqCst);
            Poll::Ready(())
        })
    }
    let host = subject.start();
    let [ended, after] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let counts = || [ended.clone(), after.clone()];
    let (keep, kept) = mpsc::channel();
    for polls in 1..4 {
        host.run(trap(polls, counts(), keep.clone()));
    }
    host.run(async {
        for polls in 1..20 {
            hand_over(trap(polls, counts(), keep.clone()));
        }
        eventually("all tasks have ended", || ended.load(SeqCst) == 22).await;
        // And once more when it is all over, from here and from elsewhere.
        let late: Vec<_> = kept.try_iter().collect();
        late.iter().for_each(Waker::wake_by_ref);
        let elsewhere = on_a_thread(move || late.into_iter().for_each(Waker::wake));
        elsewhere.join().expect("a late wake-up does not panic");
        // By the time that all of these have ended, so would those have been polled.
        for _ in 0..200 {
            hand_over(trap(2, counts(), keep.clone()));
        }
        eventually("later tasks have ended", || ended.load(SeqCst) == 222).await;
        spawn(async {}).await.expect("a task still runs");
    });
    let after = after.load(SeqCst);
    assert_eq!(after, 0, "polled {after} times after its end");
}

pub(super) fn yld_04_the_stack_stays_as_it_is(subject: &Subject) {
    const TIMES: usize = 50_000;
    const SLOW: Duration = Duration::from_secs(1);
    async fn many(depth: Arc<Depth>) {
        let began = Instant::now();
        for _ in 0..TIMES {
            sleep_until(began).await;
            shallow(depth.now(), "yields that are answered at once");
        }
        let began = Instant::now();
        for _ in 0..TIMES {
            pause().await;
            shallow(depth.now(), "wake-ups");
            // A slow host has gone deep enough by then, if it goes deeper at all.
            if began.elapsed() > SLOW {
                break;
            }
        }
    }
    /// A task that spawns a task that spawns a task, up to the last one, or to where it gets too deep.
    fn chain(
        left: usize,
        depth: Arc<Depth>,
        end: oneshot::Sender<usize>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match (left, depth.now()) {
                (1.., deep) if deep < STACK => drop(spawn(chain(left - 1, depth, end))),
                (_, deep) => drop(end.send(deep)),
            }
        })
    }
    let host = subject.start();
    host.run(many(Arc::default()));
    host.run(async { spawn(many(Arc::default())).await.expect("a task's stack stays, too") });
    host.run(async {
        let (end, ended) = oneshot::channel();
        spawn(chain(2000, Arc::default(), end));
        let deep = ended.await.expect("the last of tasks in a chain");
        shallow(deep, "tasks, each spawned by the last");
    });
}

pub(super) fn yld_05_one_that_never_rests_starves_nobody(subject: &Subject) {
    const GREEDY: [&str; 3] =
        ["whose waits are always over", "that wakes itself", "whose socket is always ready"];
    /// Never rests until `fed`, and takes ten turns at least.
    async fn greedy(how: usize, fed: Arc<AtomicBool>) -> bool {
        let (started, (mut one, mut other)) = (Instant::now(), End::pair());
        for turn in 0.. {
            if turn >= 10 && fed.load(SeqCst) {
                break;
            }
            match how {
                0 => sleep_until(started).await,
                1 => pause().await,
                _ => {
                    one.write_all(b"x").await;
                    other.read(&mut [0; 8]).await.expect("a byte");
                }
            }
            if started.elapsed() > STARVED {
                return false;
            }
        }
        true
    }
    for (how, what) in GREEDY.into_iter().enumerate() {
        let host = subject.start();
        let fed = Arc::new(AtomicBool::new(false));
        let patient = host.run(async {
            let fed = fed.clone();
            let told = fed.clone();
            spawn(async move {
                all_kinds(1).await;
                told.store(true, SeqCst);
            });
            greedy(how, fed).await
        });
        assert!(patient, "a coroutine {what} starves tasks, or their yields");
        fed.store(false, SeqCst);
        host.run(async {
            let greedy: Vec<_> = (0..4).map(|_| spawn(greedy(how, fed.clone()))).collect();
            all_kinds(2).await;
            spawn(all_kinds(3)).await.expect("a task beside the greedy ones");
            fed.store(true, SeqCst);
            for patient in join_all(greedy).await {
                assert!(patient.expect("it ends"), "tasks {what} starve others");
            }
        });
    }
}

pub(super) fn yld_06_yields_take_effect_in_their_order(subject: &Subject) {
    subject.start().run(async {
        let (mut one, mut other) = End::pair();
        for round in 0..20_u8 {
            unblock(|| ()).await.expect("a job");
            one.write_all(&[round]).await;
            spawn(async {}).await.expect("a task");
            sleep(Duration::from_micros(100)).await;
            one.write_all(&[round, !round]).await;
            let came = other.read_exact::<3>().await;
            assert_eq!(came, [round, round, !round], "out of order");
            spawn(async { unblock(|| ()).await }).await.expect("a task").expect("its job");
        }
    });
}

pub(super) fn yld_07_a_timer_is_never_early(subject: &Subject) {
    subject.start().run(async {
        for micros in [1, 10, 100, 499, 501, 999, 1000, 1001, 1500, 20_000] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            sleep_until(deadline).await;
            not_early(deadline, &format!("a sleep of {micros} µs"));
        }
        for past in [Duration::ZERO, LOOK, Duration::from_secs(1)] {
            let Some(past) = Instant::now().checked_sub(past) else { continue };
            let mut polls = 0;
            let mut sleep = pin!(sleep_until(past));
            when_woken("a deadline in the past ends", |cx| {
                polls += 1;
                sleep.as_mut().poll(cx)
            })
            .await;
            // Clocks that look once more may put it off by a turn.
            assert!(polls < 3, "a deadline in the past was waited for: {polls} polls");
        }
        // Put off while it is armed, and not polled in between: the first deadline must not count.
        let started = Instant::now();
        let mut sleep = sleep_until(started + Duration::from_millis(5));
        let _ = poll_once(&mut sleep);
        sleep.reset(started + Duration::from_millis(20));
        (&mut sleep).await;
        not_early(started + Duration::from_millis(20), "a timer put off");
        // Brought forward.
        sleep.reset(started + HOUR);
        let _ = poll_once(&mut sleep);
        let deadline = Instant::now() + Duration::from_millis(3);
        sleep.reset(deadline);
        (&mut sleep).await;
        not_early(deadline, "a timer brought forward");
        // Used again after its end, and longer than the clock can tell.
        let deadline = Instant::now() + Duration::from_millis(2);
        sleep.reset(deadline);
        (&mut sleep).await;
        not_early(deadline, "a timer used again");
        for long in [Duration::MAX, HOUR * 24 * 365 * 20, HOUR * 24 * 50, HOUR] {
            let ended = timeout(Duration::from_millis(2), gateway_core::sleep(long)).await;
            assert!(ended.is_err(), "a sleep of {long:?} ended early");
        }
        let _ = timeout(Duration::from_millis(60), far_deadlines()).await;
        // Many at once, in tasks of their own.
        let tasks = (0..50_u64).map(|n| {
            spawn(async move {
                let deadline = Instant::now() + Duration::from_micros(n * 317 % 9000);
                sleep_until(deadline).await;
                not_early(deadline, "a timer in a task");
            })
        });
        for task in join_all(tasks).await {
            task.unwrap_or_else(|error| panic!("{error}"));
        }
    });
}

/// Waits for deadlines beyond the places where counters wrap, whatever their unit and their size, and
/// of which a part alone is soon.
async fn far_deadlines() {
    let units = [(1, 60), (1000, 50), (1_000_000, 40), (1_000_000_000, 29)];
    let wraps = units.into_iter().flat_map(|(unit, bits)| (0..bits).map(move |bit| unit << bit));
    let round = [1, 10, 60, 100, 1000, 3600, 86_400].map(|seconds| seconds * 1_000_000_000);
    let soon = Duration::from_millis(10);
    let far = wraps.chain(round).map(Duration::from_nanos).filter(|far| *far > soon * 20);
    let sleeps = far.map(|far| async move {
        let deadline = Instant::now() + far + soon;
        sleep_until(deadline).await;
        not_early(deadline, &format!("a sleep of {:?}", far + soon));
    });
    join_all(sleeps).await;
}

pub(super) fn yld_08_no_wake_up_is_lost(subject: &Subject) {
    let (host, now) = (subject.start(), || subject.doing.clone());
    host.run(async {
        subject.now("wake-ups came before, after and while the coroutine suspended");
        wake_ups(now()).await;
    });
    host.run(async { spawn(wake_ups(now())).await.expect("wake-ups of a task") });
    // While others keep the host busy, and while it has nothing else to do.
    host.run(async {
        let busy = (0..2).map(|_| spawn(async { join_all((0..300).map(|_| pause())).await }));
        let both = join(spawn(wake_ups(now())), wake_ups(now()));
        join(join_all(busy), both).await.1.0.expect("wake-ups of a task on a busy host");
    });
    let here = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    host.run(resumed_by(&subject.doing, "a wake-up of a parked host", |waker| {
        on_a_thread(move || {
            // Whether it ever rests is for another rule.
            perhaps_here(give_up() / 2, || is_asleep(&here));
            waker.wake();
        });
    }));
}

/// Whether a thread of this process sleeps, or the system does not tell.
fn is_asleep(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(thread).join("stat"));
    // The name stands in parentheses and may contain anything; the state comes next.
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")))
}

/// Every way in which a waker may be used.
async fn wake_ups(now: Doing) {
    suspending().await;
    for _ in 0..20 {
        resumed_by(&now, "`wake_by_ref` in the same poll", |waker| waker.wake_by_ref()).await;
        resumed_by(&now, "`wake` in the same poll", Waker::wake).await;
        resumed_by(&now, "the wake-up of a clone that has outlived its original", |waker| {
            let clone = waker.clone();
            drop(waker);
            clone.wake();
        })
        .await;
        resumed_by(&now, "many wake-ups in the same poll", |waker| {
            (0..100).for_each(|_| waker.wake_by_ref());
        })
        .await;
        resumed_by(&now, "a wake-up from a thread, within the poll", |waker| {
            on_a_thread(move || waker.wake()).join().expect("a wake-up does not panic");
        })
        .await;
        resumed_by(&now, "a wake-up from a thread, about when the poll ends", |waker| {
            on_a_thread(move || waker.wake());
        })
        .await;
        resumed_by(&now, "wake-ups from two threads", |waker| {
            for waker in [waker.clone(), waker] {
                on_a_thread(move || waker.wake());
            }
        })
        .await;
        resumed_by(&now, "a wake-up whose unpark the coroutine has used up", |waker| {
            waker.wake();
            thread::park_timeout(Duration::ZERO);
        })
        .await;
        resumed_by(&now, "a wake-up from a job", |waker| drop(unblock(move || waker.wake()))).await;
        let wake = |waker: Waker| drop(spawn(async move { waker.wake() }));
        resumed_by(&now, "a wake-up from a task", wake).await;
    }
    // And again and again, with one thread: each round is answered before the next one begins.
    now.set("wake-ups from one thread, again and again");
    let (ask, asked) = mpsc::channel::<Gate>();
    let answering = on_a_thread(move || asked.iter().for_each(|answer| answer.open()));
    for _ in 0..500 {
        let answer = Gate::default();
        // A thread that has fallen over a waker says so below.
        if ask.send(answer.clone()).is_err() {
            break;
        }
        answer.opened().await;
    }
    drop(ask);
    joined(answering);
}

/// Is woken while it suspends, a bit later each time: there is a moment between the last look at
/// what has been woken and the sleep.
async fn suspending() {
    const ROUNDS: usize = 40_000;
    const SLOW: Duration = Duration::from_millis(400);
    let (arm, armed) = mpsc::channel::<(Waker, usize, Arc<AtomicBool>)>();
    let waking = on_a_thread(move || {
        let mut lost = 0;
        while let Some((waker, spins, resumed)) = soon(&armed) {
            (0..spins).for_each(|_| std::hint::spin_loop());
            let asked = Instant::now();
            waker.wake_by_ref();
            for turns in 0.. {
                if resumed.load(SeqCst) {
                    break;
                }
                alert(turns);
                if asked.elapsed() > give_up() / 2 {
                    // A second one shows whether the first was lost.
                    lost += 1;
                    waker.wake();
                    break;
                }
            }
        }
        lost
    });
    let started = Instant::now();
    for round in 0..ROUNDS {
        let resumed = Arc::new(AtomicBool::new(false));
        let told = resumed.clone();
        suspended(|waker| {
            // As above.
            if let Err(mpsc::SendError((waker, ..))) = arm.send((waker, round % 200, told)) {
                waker.wake();
            }
        })
        .await;
        resumed.store(true, SeqCst);
        if started.elapsed() > SLOW {
            break;
        }
    }
    drop(arm);
    let lost = joined(waking);
    assert!(lost == 0, "{lost} wake-ups lost that came while the coroutine suspended");
}

/// What comes next, looked for without a rest: it is to be answered within the microsecond.
fn soon<T>(from: &mpsc::Receiver<T>) -> Option<T> {
    for turns in 0.. {
        match from.try_recv() {
            Ok(next) => return Some(next),
            Err(mpsc::TryRecvError::Empty) => alert(turns),
            Err(mpsc::TryRecvError::Disconnected) => break,
        }
    }
    None
}

/// Stays awake, and lets others have the processor now and then.
fn alert(turns: usize) {
    match turns % 1000 {
        999 => thread::yield_now(),
        _ => std::hint::spin_loop(),
    }
}

/// Suspends, and is resumed by what this does with the waker. Where it hangs, `now` says so.
async fn resumed_by(now: &Doing, what: &str, wake: impl FnOnce(Waker)) {
    let asked = Instant::now();
    now.set(what);
    suspended(wake).await;
    assert!(asked.elapsed() < give_up(), "nothing came of {what}, for a long time");
}

/// Suspends, after `wake` has been given the waker, until it is resumed.
async fn suspended(wake: impl FnOnce(Waker)) {
    let mut wake = Some(wake);
    poll_fn(|cx| match wake.take() {
        None => Poll::Ready(()),
        Some(wake) => {
            wake(cx.waker().clone());
            Poll::Pending
        }
    })
    .await;
}

pub(super) fn yld_09_a_late_wake_up_does_no_harm(subject: &Subject) {
    let host = subject.start();
    let (keep, kept) = mpsc::channel();
    let keeping = || {
        let keep = keep.clone();
        poll_fn(move |cx| {
            let _ = keep.send(cx.waker().clone());
            Poll::Ready(())
        })
    };
    let use_late = |wakers: &[Waker]| {
        for waker in wakers {
            waker.wake_by_ref();
            drop(waker.clone());
            let elsewhere = waker.clone();
            let woken = on_a_thread(move || elsewhere.wake()).join();
            woken.expect("a late wake-up from a thread does not panic");
        }
    };
    host.run(keeping());
    host.run(async { spawn(keeping()).await.expect("a task that ends at once") });
    let late: Vec<_> = kept.try_iter().collect();
    use_late(&late);
    host.run(async {
        use_late(&late);
        join(all_kinds(1), spawn(all_kinds(2))).await.1.expect("the host goes on");
        subject.now("the wakers of waits that are no more were counted");
        waits_are_forgotten().await;
        spawn(waits_are_forgotten()).await.unwrap_or_else(|error| panic!("{error}"));
    });
    drop(host);
    use_late(&late);
}

/// A wait that is over, or given up, leaves no clone of its waker behind.
async fn waits_are_forgotten() {
    let (counter, waker) = Counter::waker();
    let before = Arc::strong_count(&counter);
    let cx = || Context::from_waker(&waker);
    let (mut end, mut peer) = End::pair();
    let (mut given_up, _silent) = End::pair();
    let mut over = pin!(sleep(LOOK));
    let mut dropped: Vec<_> = (0..50).map(|_| Box::pin(sleep(HOUR))).collect();
    let timers_pend = dropped.iter_mut().all(|sleep| sleep.as_mut().poll(&mut cx()).is_pending());
    assert!(timers_pend, "a sleep of an hour ended at once");
    let reads_pend = [&mut given_up, &mut end]
        .into_iter()
        .all(|end| end.poll_read(&mut cx(), &mut [0; 8]).is_pending());
    assert!(reads_pend, "bytes out of nowhere");
    eventually("a timer is over", || over.as_mut().poll(&mut cx()).is_ready()).await;
    peer.write_all(b"x").await;
    eventually("a byte arrives", || end.poll_read(&mut cx(), &mut [0; 8]).is_ready()).await;
    drop((dropped, given_up, end));
    eventually("the host has dropped the wakers of waits that are no more", || {
        Arc::strong_count(&counter) == before
    })
    .await;
}

pub(super) fn yld_11_a_join_waits_for_all_at_once(subject: &Subject) {
    subject.start().run(async {
        // The first can only end because the others are waited for as well.
        let (mut one, mut other) = End::pair();
        let (tell, told) = oneshot::channel();
        let (go, gate) = mpsc::channel();
        let reads = async {
            let came = other.read_exact::<1>().await;
            go.send(()).expect("the job waits");
            came
        };
        let job = unblock(move || gate.recv().map(|()| 7));
        let waits = async { told.await.map(|()| sleep(LOOK)).expect("told").map(|()| 8).await };
        let task = spawn(async move {
            pause().await;
            let _ = tell.send(());
            9
        });
        let writes = async {
            pause().await;
            one.write_all(b"!").await;
        };
        let ((came, job), (waited, task)) =
            join(join(reads, job), join(waits, join(task, writes).map(|(task, ())| task))).await;
        assert_eq!(came, *b"!", "another byte");
        drop((job, waited, task));
        subject.now("one of ten timers is waited for, and the others have not begun");
        armed_together().await;
        spawn(armed_together()).await.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Ten timers of an hour, and what ends as soon as all of them have begun. A host that waits for one
/// before it hears of the next does not come to that.
async fn armed_together() {
    const TIMERS: usize = 10;
    let armed = AtomicUsize::new(0);
    let timers = join_all((0..TIMERS).map(|_| async {
        armed.fetch_add(1, SeqCst);
        sleep(HOUR).await;
    }));
    let all_armed = poll_fn(|_| match armed.load(SeqCst) {
        TIMERS => Poll::Ready(()),
        _ => Poll::Pending,
    });
    let all_armed = pin!(all_armed);
    let first = select(timers, all_armed).await;
    assert!(matches!(first, Either::Right(_)), "timers of an hour have ended");
}

pub(super) fn yld_12_a_lost_select_is_forgotten(subject: &Subject) {
    subject.start().run(async {
        decided_by_the_clock().await;
        lost_selects().await;
        spawn(lost_selects()).await.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Timers against each other, in an order that the check decides by its clock.
async fn decided_by_the_clock() {
    let clock = Clock::new();
    // In tasks: each ends at its own moment, in the order of the deadlines and not of their making.
    let log = Arc::new(Mutex::new(Vec::new()));
    let tasks = clock.around(async {
        let timer = |hours: u32| {
            let log = log.clone();
            spawn(async move {
                sleep(HOUR * hours).await;
                lock(&log).push(hours);
            })
        };
        [3, 1, 4, 2].map(timer)
    });
    let tasks = tasks.await;
    eventually("four tasks wait for their timers", || clock.waiting() == 4).await;
    for hour in 1..=4 {
        // Half an hour late, since what is armed counts from when it was made.
        clock.advance(if hour == 1 { HOUR * 3 / 2 } else { HOUR });
        let ended = || lock(&log).len();
        eventually("the task whose hour has come goes on", || ended() == hour).await;
    }
    for task in tasks {
        drop(task.await);
    }
    // Put off while it is armed: the moment it was armed for does not count any more.
    let mut late = Box::pin(sleep(HOUR));
    let waits = clock.around(async {
        let _ = poll_once(&mut late);
        late.as_mut().reset(Instant::now() + HOUR * 20);
        late.await;
    });
    let passes = async {
        // Polled in this order, it has been put off by now; and once more, it waits again.
        clock.advance(HOUR * 2);
        pause().await;
        clock.advance(HOUR * 20);
    };
    join(waits, passes).await;
}

async fn lost_selects() {
    for winner in KINDS {
        for loser in KINDS {
            let dropped = Arc::new(());
            let (loses, guard) = waiting(loser);
            let held = dropped.clone();
            let loses = Box::pin(async move {
                let _held = held;
                loses.await
            });
            let won = match select(finishing(winner, 7), loses).await {
                Either::Left((won, loses)) => {
                    drop(loses);
                    won
                }
                Either::Right(_) => panic!("{loser:?} ended, which waits for ever"),
            };
            let left = Arc::strong_count(&dropped) - 1;
            assert_eq!((won, left), (7, 0), "{winner:?} against {loser:?}");
            drop(guard);
        }
    }
    // What has been given up before its time wakes nobody when that comes.
    let (counter, waker) = Counter::waker();
    let deadline = Instant::now() + Duration::from_millis(15);
    let mut lost: Vec<_> = (0..20).map(|_| Box::pin(sleep_until(deadline))).collect();
    for sleep in &mut lost {
        let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    }
    let before = counter.count();
    drop(lost);
    let in_time = Instant::now() < deadline;
    sleep_until(deadline + Duration::from_millis(2)).await;
    let stale = counter.count() - before;
    assert!(!in_time || stale == 0, "{stale} wake-ups by timers that had been dropped");
}

pub(super) fn yld_13_kinds_of_yields_mix(subject: &Subject) {
    let host = subject.start();
    host.run(pairs());
    host.run(async { spawn(pairs()).await.unwrap_or_else(|error| panic!("{error}")) });
}

async fn pairs() {
    for one in KINDS {
        for other in KINDS {
            let both = join(finishing(one, 1), finishing(other, 2)).await;
            assert_eq!(both, (1, 2), "{one:?} joined with {other:?}");
            // Whichever comes first, and the other is waited for on its own.
            let both = match select(finishing(one, 1), finishing(other, 2)).await {
                Either::Left((won, rest)) => (won, rest.await),
                Either::Right((won, rest)) => (rest.await, won),
            };
            assert_eq!(both, (1, 2), "{one:?} against {other:?}");
        }
    }
    let all = KINDS.into_iter().cycle().take(40).enumerate();
    let results = join_all(all.map(|(n, kind)| finishing(kind, n))).await;
    assert_eq!(results, (0..40).collect::<Vec<_>>(), "forty at once");
}

pub(super) fn yld_15_each_timer_ends_by_itself(subject: &Subject) {
    let host = subject.start();
    host.run(async {
        // Short sleeps, one after the other, are not rounded up to something coarse.
        let started = Instant::now();
        for _ in 0..10 {
            sleep(LOOK).await;
            let took = started.elapsed();
            assert!(took < STARVED, "ten sleeps of a millisecond took longer than {took:?}");
        }
        one_deadline().await;
        // Hundreds, armed in no order, every third dropped, some moved either way.
        let started = Instant::now();
        let at = |n: u64| started + Duration::from_micros(4000 + n * 7919 % 10_000);
        let mut timers: Vec<_> = (0..300).map(|n| (n, Box::pin(sleep_until(at(n))))).collect();
        for (_, timer) in &mut timers {
            let _ = poll_once(timer);
        }
        timers.retain(|(n, _)| n % 3 != 0);
        let ends = timers.into_iter().map(|(n, mut timer)| async move {
            let deadline = match n % 4 {
                0 => at(n) + Duration::from_millis(3),
                1 => started + Duration::from_millis(2),
                _ => at(n),
            };
            timer.reset(deadline);
            each_woken(timer).await;
            not_early(deadline, "one of hundreds");
        });
        join_all(ends).await;
        // One that is over while nobody listens: its first waker wakes nobody.
        let deadline = Instant::now() + LOOK;
        let mut over = Box::pin(sleep_until(deadline));
        let _ = poll_once(&mut over);
        sleep_until(deadline + LOOK).await;
        each_woken(over).await;
        // One that is sooner than all that are armed, and one after a long one is gone.
        let mut long = Box::pin(sleep(HOUR));
        let _ = poll_once(&mut long);
        each_woken(Box::pin(sleep(LOOK))).await;
        drop(long);
        each_woken(Box::pin(sleep(LOOK))).await;
    });
}

/// The very same deadline for many, each with a waker of its own, in one coroutine and in tasks.
async fn one_deadline() {
    // A machine under load may need longer than that to arm them all: then they are armed again.
    for millis in [10, 40, 160, 640] {
        let deadline = Instant::now() + Duration::from_millis(millis);
        let tasks: Vec<_> = (0..10).map(|_| spawn(sleep_until(deadline))).collect();
        let new = |_| (Box::pin(sleep_until(deadline)), Waiter::new());
        let mut timers: Vec<_> = (0..20).map(new).collect();
        for (timer, waiter) in &mut timers {
            let _ = waiter.poll(|cx| timer.as_mut().poll(cx));
        }
        // Two thirds are dropped, the first ones among them.
        let mut n = 0;
        timers.retain(|_| {
            n += 1;
            n % 3 == 2
        });
        let in_time = Instant::now() < deadline;
        for (mut timer, mut waiter) in timers.into_iter().filter(|_| in_time) {
            let what = "each of many timers with the same deadline is woken";
            waiter.resumed(what, || {}, |cx| timer.as_mut().poll(cx)).await;
        }
        for task in tasks {
            task.await.expect("a task whose timer has the same deadline as others");
        }
        if in_time {
            return;
        }
    }
}

/// Waits for a timer with a waker that is nobody else's, so that a stranger's wake-up is no help.
async fn each_woken(mut sleep: Pin<Box<Sleep>>) {
    when_woken("a timer's own waker is woken", |cx| sleep.as_mut().poll(cx)).await;
}

pub(super) fn yld_16_the_latest_waker_counts(subject: &Subject) {
    subject.start().run(async {
        let (_, earlier) = Counter::waker();
        let (_, other) = Counter::waker();
        let stale = &mut [earlier.clone(), other, earlier];
        let mut timer = pin!(sleep(Duration::from_millis(5)));
        for waker in &mut *stale {
            let _ = timer.as_mut().poll(&mut Context::from_waker(waker));
        }
        when_woken("the timer's latest waker is woken", |cx| timer.as_mut().poll(cx)).await;
        for round in 0..20 {
            let (mut end, mut peer) = End::pair();
            for waker in &mut *stale {
                let read = end.poll_read(&mut Context::from_waker(waker), &mut [0; 8]);
                assert!(read.is_pending(), "bytes out of nowhere");
            }
            // The peer writes once the latest waker is known.
            let mut sent = false;
            when_woken("the reader's latest waker is woken", |cx| {
                let read = end.poll_read(cx, &mut [0; 8]);
                if !std::mem::replace(&mut sent, true) {
                    peer.write_now(b"x");
                }
                read
            })
            .await
            .expect("a byte");
            end.fill();
            for waker in &mut *stale {
                let written = end.poll_write(&mut Context::from_waker(waker), b"x");
                assert!(written.is_pending(), "round {round}: there was no room");
            }
            let mut drained = false;
            when_woken("the writer's latest waker is woken", |cx| {
                let written = end.poll_write(cx, b"x");
                if !std::mem::replace(&mut drained, true) {
                    peer.drain();
                }
                written
            })
            .await
            .expect("room");
        }
        // A socket and a timer that one task has begun to wait for, and another goes on with.
        let (mut end, mut peer) = End::pair();
        let mut timer = Box::pin(sleep(Duration::from_millis(5)));
        for _ in 0..5 {
            let given_up = spawn(async move {
                let _ = poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx))).await;
                let read = poll_fn(|cx| Poll::Ready(end.poll_read(cx, &mut [0; 8]))).await;
                (timer, end, read.is_pending())
            });
            let pends;
            (timer, end, pends) = given_up.await.expect("a task");
            assert!(pends, "bytes out of nowhere");
        }
        let goes_on = spawn(async move {
            timer.await;
            end.read_exact::<1>().await
        });
        peer.write_all(b"y").await;
        assert_eq!(goes_on.await.expect("the last task is resumed"), *b"y", "another byte");
    });
}

pub(super) fn yld_20_a_coroutine_may_be_polled_on_any_thread(subject: &Subject) {
    let host = subject.start();
    host.run(async {
        for round in 0..3 {
            let foreign = (0..2).map(|n| {
                let (trampoline, (done, finished)) = (trampoline(), oneshot::channel::<()>());
                let trampoline = trampoline.expect("a trampoline");
                let thread = on_a_thread(move || {
                    let kinds = async {
                        join(all_kinds(n), spawn(all_kinds(n))).await.1.expect("its task");
                        pairs().await;
                    };
                    block_on(Coroutine::new(trampoline, kinds));
                    drop(done);
                });
                async move {
                    let _ = finished.await;
                    let ended = thread.join().map_err(JoinError::panicked);
                    ended.unwrap_or_else(|error| panic!("on a foreign thread {error}"));
                }
            });
            let foreign = join_all(foreign);
            match round {
                // The host has nothing else to do, or has.
                0 => drop(foreign.await),
                _ => drop(join(foreign, all_kinds(9)).await),
            }
        }
    });
}

pub(super) fn yld_21_what_waits_is_not_polled_again_and_again(subject: &Subject) {
    subject.start().run(async {
        waits_beside_a_busy_task().await;
        spawn(waits_beside_a_busy_task()).await.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// Whoever waits rests, also while another is woken all the time.
async fn waits_beside_a_busy_task() {
    let (polls, millis) = polls_beside_a_busy_task(sleep(HOUR)).await;
    assert!(polls <= 50 + millis, "polled {polls} times while it waited for one timer");
    let (mut end, _peer) = End::pair();
    let (polls, millis) = polls_beside_a_busy_task(end.read(&mut [0])).await;
    // Hosts without a view of sockets look now and then.
    assert!(polls <= 200 + 4 * millis, "polled {polls} times while it waited for one socket");
}

/// How often a future is polled that waits, while another task takes its turns; and in how many
/// milliseconds.
async fn polls_beside_a_busy_task(waits: impl Future) -> (usize, usize) {
    const TURNS: usize = 10_000;
    let (polls, began) = (AtomicUsize::new(0), Instant::now());
    let busy = spawn(async {
        for turn in 0..TURNS {
            pause().await;
            // Whoever polls without need is to have the time for it.
            if turn % 500 == 0 {
                thread::yield_now();
            }
        }
    });
    let waits = pin!(counted(&polls, waits));
    let ended = select(waits, busy).await;
    assert!(
        matches!(ended, Either::Right((Ok(()), _))),
        "not the busy task has ended, or not well"
    );
    let millis = usize::try_from(began.elapsed().as_millis()).unwrap_or(usize::MAX / 8);
    (polls.load(SeqCst), millis)
}

/// Processor time is what the rule is about, and it passes with real time alone. A round is long
/// enough for a thread that never rests to have its turn on a busy machine.
pub(super) fn yld_27_a_host_at_rest_needs_no_processor(subject: &Subject) {
    const ROUND: Duration = Duration::from_millis(100);
    const ROUNDS: usize = 20;
    subject.start().run(async {
        // Waits of all kinds, and readiness that nobody waits for: bytes unread, room, hang-ups.
        let [mut idle, mut unread, mut closed, mut left] = [(); 4].map(|()| End::pair());
        for (end, _) in [&mut idle, &mut unread, &mut closed, &mut left] {
            let read = end.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0; 8]);
            assert!(read.is_pending(), "bytes out of nowhere");
        }
        unread.1.write_all(b"unread").await;
        left.1.write_all(b"not all is read").await;
        assert_eq!(left.0.read_exact::<1>().await, *b"n", "another byte");
        let reads = spawn(async move { idle.0.read(&mut [0; 8]).await });
        drop(closed.1);
        assert_eq!(closed.0.read(&mut [0]).await.expect("the end"), 0, "bytes out of nowhere");
        let (task, mut timer) = (spawn(sleep(HOUR)), Box::pin(sleep(HOUR)));
        let _ = poll_once(&mut timer);
        unblock(|| ()).await.expect("a job");
        let mut busy: Option<HashMap<String, Duration>> = None;
        for _ in 0..ROUNDS {
            let (before, began) = (runnable(), Instant::now());
            sleep(ROUND).await;
            let took = began.elapsed();
            let mut now = runnable();
            now.retain(|thread, time| {
                let rested = *time < before.get(thread).copied().unwrap_or(*time) + took / 2;
                !rested && busy.as_ref().is_none_or(|busy| busy.contains_key(thread))
            });
            if now.is_empty() {
                task.cancel();
                reads.cancel();
                return;
            }
            busy = Some(now);
        }
        let threads = busy.map_or(0, |busy| busy.len());
        panic!("all wait, and {threads} threads never do: for {ROUNDS} times {ROUND:?}");
    });
}

/// For how long each thread of this process has run, or wanted to; nothing where the system does not
/// tell.
fn runnable() -> HashMap<String, Duration> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let time = |thread: std::fs::DirEntry| {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = times.split(' ').take(2).map_while(|time| time.parse::<u64>().ok()).sum();
        Some((thread.file_name().to_string_lossy().into_owned(), Duration::from_nanos(nanos)))
    };
    threads.filter_map(time).collect()
}

pub(super) fn yld_22_a_wake_up_never_polls(subject: &Subject) {
    let host = subject.start();
    host.run(woken_within_a_poll());
    host.run(async {
        spawn(woken_within_a_poll()).await.unwrap_or_else(|error| panic!("{error}"));
    });
}

async fn woken_within_a_poll() {
    let waking = Arc::new(Mutex::new(None::<ThreadId>));
    let [polls, within] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let (keep, kept) = mpsc::channel();
    for _ in 0..3 {
        let (waking, polls, within, keep) =
            (waking.clone(), polls.clone(), within.clone(), keep.clone());
        let mut left = 20;
        hand_over(poll_fn(move |cx| {
            let waker = *lock(&waking);
            within.fetch_add(usize::from(waker == Some(thread::current().id())), SeqCst);
            left -= 1;
            // Every other time it is left to the coroutine below to wake it.
            if left % 2 == 0 {
                cx.waker().wake_by_ref();
            }
            let _ = keep.send(cx.waker().clone());
            polls.fetch_add(1, SeqCst);
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
    // And other tasks' wake-ups, from within this one's poll.
    let started = Instant::now();
    while polls.load(SeqCst) < 60 {
        *lock(&waking) = Some(thread::current().id());
        kept.try_iter().for_each(Waker::wake);
        *lock(&waking) = None;
        assert!(started.elapsed() < give_up(), "tasks that are woken are not polled");
        sleep(Duration::from_micros(100)).await;
    }
    let within = within.load(SeqCst);
    assert_eq!(within, 0, "{within} polls from within a wake-up");
}

pub(super) fn yld_26_wakers_may_take_other_waits_along(subject: &Subject) {
    let host = subject.start();
    host.run(async {
        subject.now("wakers were woken, replaced or dropped, and let go of other waits");
        for _ in 0..10 {
            let [woken, replaced, dropped] = [(); 3].map(|()| Laden::default());
            let mut waits = [LOOK * 5, HOUR, HOUR].map(|time| (Box::pin(sleep(time)), End::pair()));
            // The host alone holds each of these wakers, and for one wait only.
            for ((timer, (end, _)), laden) in waits.iter_mut().zip([&woken, &replaced, &dropped]) {
                for _ in 0..2 {
                    let _ = timer.as_mut().poll(&mut Context::from_waker(&laden.waker()));
                    let read = end.poll_read(&mut Context::from_waker(&laden.waker()), &mut [0; 8]);
                    assert!(read.is_pending(), "bytes out of nowhere");
                }
            }
            let [(_fires, (_end, mut peer)), (mut long, (mut end, _peer)), lost] = waits;
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = (long.as_mut().poll(cx), end.poll_read(cx, &mut [0; 8]));
            drop((long, end, lost));
            eventually("wakers that were replaced are dropped", || replaced.is_gone()).await;
            eventually("the wakers of dropped waits are dropped", || dropped.is_gone()).await;
            peer.write_now(b"x");
            eventually("the timer and the socket wake their wakers", || woken.is_gone()).await;
        }
        subject.now("wakers were woken that own the very wait which wakes them");
        for _ in 0..10 {
            own_waits().await;
        }
        all_kinds(1).await;
    });
}

/// Waits whose wakers let go of these very waits when they are woken.
async fn own_waits() {
    let (mut end, mut peer) = End::pair();
    let socket = Arc::new(Own::default());
    let read = end.poll_read(&mut Context::from_waker(&socket.clone().into()), &mut [0; 8]);
    assert!(read.is_pending(), "bytes out of nowhere");
    socket.hold(end);
    peer.write_now(b"x");
    eventually("a socket wakes a waker that closes it", || socket.is_woken()).await;
    let (timer, mut wait) = (Arc::new(Own::default()), Box::pin(sleep(LOOK * 5)));
    if wait.as_mut().poll(&mut Context::from_waker(&timer.clone().into())).is_pending() {
        timer.hold(wait);
        eventually("a timer wakes a waker that drops it", || timer.is_woken()).await;
    }
}

/// A waker that drops the wait by which it is kept.
struct Own<T> {
    wait: Mutex<Option<T>>,
    woken: AtomicBool,
}

impl<T> Default for Own<T> {
    fn default() -> Own<T> {
        Own { wait: Mutex::new(None), woken: AtomicBool::new(false) }
    }
}

impl<T> Own<T> {
    fn hold(&self, wait: T) {
        *lock(&self.wait) = Some(wait);
    }

    /// It may have been woken before it held anything: nothing holds it up then.
    fn is_woken(&self) -> bool {
        self.woken.load(SeqCst)
    }
}

impl<T: Send> Wake for Own<T> {
    fn wake(self: Arc<Own<T>>) {
        let wait = lock(&self.wait).take();
        drop(wait);
        self.woken.store(true, SeqCst);
    }
}

/// Wakers that let go of other waits when they are woken, or dropped.
#[derive(Default)]
struct Laden(Arc<()>);

impl Laden {
    fn waker(&self) -> Waker {
        type Waits = (Pin<Box<Sleep>>, End, End);
        struct Load(Mutex<Option<(Waits, Arc<()>)>>);
        impl Wake for Load {
            fn wake(self: Arc<Load>) {
                let load = lock(&self.0).take();
                drop(load);
            }
        }
        let ((mut end, peer), mut timer) = (End::pair(), Box::pin(sleep(HOUR)));
        let cx = &mut Context::from_waker(Waker::noop());
        let waits = timer.as_mut().poll(cx).is_pending();
        let waits = waits && end.poll_read(cx, &mut [0; 8]).is_pending();
        assert!(waits, "waits that end at once");
        let load = ((timer, end, peer), self.0.clone());
        Waker::from(Arc::new(Load(Mutex::new(Some(load)))))
    }

    /// Whether all of them have been woken, or dropped.
    fn is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

// What the checks share.

/// All kinds of yields, with results that depend on `n`.
async fn all_kinds(n: usize) {
    for kind in KINDS {
        assert_eq!(finishing(kind, n).await, n, "{kind:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Timer,
    Socket,
    Job,
    Task,
}

const KINDS: [Kind; 4] = [Kind::Timer, Kind::Socket, Kind::Job, Kind::Task];

/// A wait of this kind that ends soon, but not at once, with `n`.
fn finishing(kind: Kind, n: usize) -> BoxFuture<'static, usize> {
    match kind {
        Kind::Timer => sleep(LOOK).map(move |()| n).boxed(),
        Kind::Socket => async move {
            let (mut end, mut peer) = End::pair();
            let read = async { usize::from_be_bytes(end.read_exact().await) };
            let write = async {
                pause().await;
                peer.write_all(&n.to_be_bytes()).await;
            };
            join(read, write).await.0
        }
        .boxed(),
        Kind::Job => {
            async move { unblock(move || n).await.unwrap_or_else(|e| panic!("a job: {e}")) }.boxed()
        }
        Kind::Task => {
            let task = async move {
                pause().await;
                n
            };
            async move { spawn(task).await.unwrap_or_else(|e| panic!("a task: {e}")) }.boxed()
        }
    }
}

/// A wait of this kind that does not end, and what to drop when the check is over.
fn waiting(kind: Kind) -> (BoxFuture<'static, usize>, Box<dyn std::any::Any + Send>) {
    match kind {
        Kind::Timer => (finishing_after(HOUR), Box::new(())),
        Kind::Socket => {
            let (mut end, peer) = End::pair();
            (async move { end.read_exact::<1>().await[0].into() }.boxed(), Box::new(peer))
        }
        Kind::Job => {
            let (go, gate) = mpsc::channel::<usize>();
            let job = async move { unblock(move || gate.recv()).await };
            (job.map(|_| 0).boxed(), Box::new(go))
        }
        Kind::Task => {
            let (go, gate) = oneshot::channel::<usize>();
            (async move { spawn(gate).await }.map(|_| 0).boxed(), Box::new(go))
        }
    }
}

fn finishing_after(time: Duration) -> BoxFuture<'static, usize> {
    sleep(time).map(|()| 0).boxed()
}

/// A waker that counts how often it is woken, and whose clones can be counted.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicUsize);

impl Counter {
    pub(super) fn waker() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (counter.clone(), Waker::from(counter))
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Counter>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls with a waker of its own, and again only when that one has been woken.
pub(super) async fn when_woken<T>(
    what: &str,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> T {
    let mut waiter = Waiter::new();
    match waiter.poll(&mut poll) {
        Poll::Ready(value) => value,
        Poll::Pending => waiter.resumed(what, || {}, poll).await,
    }
}

/// Somebody who waits, with a waker of their own.
pub(super) struct Waiter {
    counter: Arc<Counter>,
    waker: Waker,
    /// How often it had been woken before its latest poll.
    seen: usize,
}

impl Waiter {
    pub(super) fn new() -> Waiter {
        let (counter, waker) = Counter::waker();
        Waiter { counter, waker, seen: 0 }
    }

    pub(super) fn poll<T>(&mut self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.seen = self.counter.count();
        poll(&mut Context::from_waker(&self.waker))
    }

    /// Polls again whenever it has been woken, and only then; does `meanwhile` at each look.
    pub(super) async fn resumed<T>(
        &mut self,
        what: &str,
        mut meanwhile: impl FnMut(),
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> T {
        loop {
            // A poll whose budget is spent wakes at once: a new one has to follow, with another.
            pause().await;
            let (counter, seen) = (self.counter.clone(), self.seen);
            eventually(what, || {
                meanwhile();
                counter.count() > seen
            })
            .await;
            if let Poll::Ready(value) = self.poll(&mut poll) {
                return value;
            }
        }
    }
}

/// Hands a future to the host as a task as it stands, without a join handle around it.
pub(super) fn hand_over(future: impl Future<Output = ()> + Send + 'static) {
    let task = Yield::Task(Task::new(future));
    let trampoline = trampoline().expect("a trampoline");
    let answer = trampoline.bounce(task, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(()))), "a task was answered with {answer:?}");
}

/// Suspends once, woken already.
pub(super) fn pause() -> impl Future<Output = ()> {
    let mut paused = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// One poll whose wake-up nobody hears.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn not_early(deadline: Instant, what: &str) {
    let early = deadline.saturating_duration_since(Instant::now());
    assert!(early.is_zero(), "{what} ended {early:?} early");
}

/// Counts the polls of a future.
async fn counted<F: Future>(polls: &AtomicUsize, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.fetch_add(1, SeqCst);
        future.as_mut().poll(cx)
    })
    .await
}

/// Drives a future on this thread, which is no host's.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Where the stack has been, on each thread: lowest and highest address.
#[derive(Default)]
struct Depth(Mutex<HashMap<ThreadId, (usize, usize)>>);

impl Depth {
    /// How many bytes there are between the two on this thread by now.
    fn now(&self) -> usize {
        let here = 0_u8;
        let at = std::ptr::from_ref(black_box(&here)).addr();
        let mut threads = lock(&self.0);
        let (low, high) = threads.entry(thread::current().id()).or_insert((at, at));
        (*low, *high) = (at.min(*low), at.max(*high));
        *high - *low
    }
}

fn shallow(deep: usize, after: &str) {
    assert!(deep < STACK, "the stack is {deep} bytes deeper after many {after}");
}
