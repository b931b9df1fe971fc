//! Checks of tasks and jobs.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::AsyncReadExt;
use futures_util::future::{join, join_all};
use gateway_core::{
    Coroutine, Job, JoinError, JoinHandle, Task, Yield, sleep, sleep_until, spawn, timeout,
    trampoline, unblock,
};

use super::Subject;
use super::clock::Clock;
use super::gauges::{
    Alive, Gate, OnDrop, drive, eventually, give_up, joined, lock, on_a_thread, pair, perhaps_here,
    round_trip, telling, telling_of_wakes, turns,
};
use super::waits::hand_over;

const HOUR: Duration = Duration::from_secs(3600);

/// How many jobs a host runs beside each other at least.
const BESIDE: usize = 8;

/// How many jobs may be at work at once.
const AT_ONCE: usize = 1024;

pub(super) fn exe_03_a_cancelled_job_is_discarded(subject: &Subject) {
    subject.start().run(async {
        let (begun, go) = (Gate::default(), Gate::default());
        let (begin, gate) = (begun.clone(), go.clone());
        let job = unblock(move || {
            begin.open();
            gate.block()
        });
        begun.opened().await;
        job.cancel();
        job.cancel();
        go.open();
        let told = job.await;
        assert!(matches!(told, Err(JoinError::Cancelled)), "a cancelled job gives {told:?}");

        let finished = unblock(|| 1);
        eventually("a job has finished", || finished.is_finished()).await;
        finished.cancel();
        let told = finished.await;
        assert!(matches!(told, Ok(1)), "cancelled after its end, a job gives {told:?}");

        // Cancelled before they begin, for the most part.
        let jobs: Vec<_> = (0..100)
            .map(|_| {
                let job = unblock(|| ());
                job.cancel();
                job
            })
            .collect();
        for job in jobs {
            let told = job.await;
            let fair = matches!(told, Ok(()) | Err(JoinError::Cancelled));
            assert!(fair, "cancelled at once, a job gives {told:?}");
        }
        unblock(|| ()).await.expect("a job after cancelled ones");
    });
}

thread_local! {
    /// Whether this thread is inside the yield of a task or a job.
    static YIELDING: Cell<bool> = const { Cell::new(false) };
}

/// Starts a task or a job, and lets it know where it runs if that is inside this call.
fn yielding<T>(start: impl FnOnce() -> T) -> T {
    YIELDING.set(true);
    let started = start();
    YIELDING.set(false);
    started
}

pub(super) fn exe_05_a_job_runs_once_and_on_another_thread(subject: &Subject) {
    subject.start().run(async {
        let here = thread::current().id();
        for _ in 0..50 {
            let there = unblock(|| thread::current().id()).await.expect("the job");
            assert_ne!(there, here, "a job ran on the coroutine's own thread");
        }
        let inside = spawn(async { yielding(|| unblock(|| YIELDING.get())).await });
        let inside = inside.await.expect("the task").expect("the job");
        assert!(!inside, "a job ran inside the yield that started it");
    });
}

pub(super) fn exe_06_a_blocked_job_delays_nothing(subject: &Subject) {
    subject.start().run(async {
        let gate = Gate::default();
        let blocked: Vec<_> = (1..BESIDE)
            .map(|_| {
                let gate = gate.clone();
                unblock(move || gate.block())
            })
            .collect();
        for _ in 0..3 {
            sleep(Duration::from_millis(1)).await;
            spawn(sleep(Duration::from_millis(1))).await.expect("a task beside blocked jobs");
            round_trip().await;
            unblock(|| ()).await.expect("a job beside blocked jobs");
        }
        gate.open();
        for job in blocked {
            let let_through = job.await.expect("the blocked job");
            assert!(let_through, "timers, tasks, sockets or jobs stood still behind blocked jobs");
        }
    });
}

pub(super) fn exe_07_jobs_that_wait_for_each_other_all_run(subject: &Subject) {
    subject.start().run(async {
        // One more each time, so that there are threads which have nothing to do, and too few.
        for all in (1..=BESIDE).chain([BESIDE, BESIDE]) {
            let meeting = Arc::new((Mutex::new(0), Condvar::new()));
            let jobs = (0..all).map(|_| {
                let meeting = meeting.clone();
                unblock(move || meet(&meeting, all))
            });
            for job in join_all(jobs).await {
                let there = job.expect("a job");
                assert_eq!(there, all, "jobs at work beside each other, of {all} started");
            }
        }
    });
}

/// Waits until everybody is there; tells how many came.
fn meet((there, changed): &(Mutex<usize>, Condvar), all: usize) -> usize {
    let mut count = lock(there);
    *count += 1;
    changed.notify_all();
    let waited = changed.wait_timeout_while(count, give_up(), |count| *count < all);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

pub(super) fn exe_08_more_jobs_than_threads_wait_their_turn(subject: &Subject) {
    const JOBS: usize = 2000;
    subject.start().run(async {
        let (gate, begun) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let jobs: Vec<_> = (0..JOBS)
            .map(|n| {
                let (gate, begun) = (gate.clone(), begun.clone());
                unblock(move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    gate.block();
                    n
                })
            })
            .collect();
        let (mut at_once, mut same) = (0, 0);
        while same < 5 {
            // As many threads of ours have come and gone meanwhile: so would the host's have.
            (0..50).for_each(|_| joined(on_a_thread(|| ())));
            turns(10).await;
            let now = begun.load(Ordering::SeqCst);
            same = if now == at_once { same + 1 } else { 0 };
            at_once = now;
        }
        gate.open();
        assert!(at_once <= AT_ONCE, "{at_once} jobs were at work at once: no bound in sight");
        for (n, job) in jobs.into_iter().enumerate() {
            let result = job.await;
            assert!(matches!(result, Ok(m) if m == n), "job {n} of {JOBS} gives {result:?}");
        }
    });
}

pub(super) fn exe_09_a_jobs_result_arrives_at_its_handle(subject: &Subject) {
    subject.start().run(async {
        let jobs = (0..200_usize).map(|n| async move { (n, unblock(move || n).await) });
        for (n, result) in join_all(jobs).await {
            assert!(matches!(result, Ok(m) if m == n), "job {n} gives {result:?}");
        }
        unblock(|| vec![7_u8; 1 << 20]).await.expect("a large result");
        // Finished long before anybody asks, and asked for from a task.
        let early = unblock(|| "early");
        eventually("the handle of a job that has ended says so", || early.is_finished()).await;
        let early = spawn(early).await.expect("the task");
        assert!(matches!(early, Ok("early")), "asked for late, a job gives {early:?}");
        // Given up, and taken up again.
        let gate = Gate::default();
        let mut late = {
            let gate = gate.clone();
            unblock(move || gate.block())
        };
        let clock = Clock::new();
        // Polled in this order.
        let given_up = clock.around(timeout(HOUR, &mut late));
        let _ = join(given_up, async { clock.advance(HOUR * 2) }).await;
        gate.open();
        let late = late.await;
        assert!(matches!(late, Ok(true)), "awaited again, a job gives {late:?}");
    });
}

pub(super) fn exe_10_a_job_without_its_handle_goes_on(subject: &Subject) {
    let host = subject.start();
    let (gate, done) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    host.run(async {
        for n in 0..10 {
            let (gate, done) = (gate.clone(), done.clone());
            let job = unblock(move || {
                // Some have ended by the time that the coroutine has, some have not.
                if n % 2 == 0 {
                    gate.block();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
            drop(job);
        }
    });
    gate.open();
    host.run(eventually("all jobs without a handle have run", || {
        done.load(Ordering::SeqCst) == 10
    }));
}

pub(super) fn spn_03_a_task_is_not_polled_inside_its_yield(subject: &Subject) {
    subject.start().run(async {
        let handle = yielding(|| spawn(async { YIELDING.get() }));
        let inside = handle.await.expect("the task");
        assert!(!inside, "the task was polled inside the yield that started it");
        let inside = spawn(async { yielding(|| spawn(async { YIELDING.get() })).await });
        let inside = inside.await.expect("the task").expect("its task");
        assert!(!inside, "a task's task was polled inside the yield that started it");
        let bottom = Gate::default();
        drop(spawn(descend(10_000, bottom.clone())));
        bottom.opened().await;
    });
}

/// Spawns itself so many times, each from within the last.
fn descend(depth: usize, bottom: Gate) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        match depth.checked_sub(1) {
            Some(depth) => drop(spawn(descend(depth, bottom))),
            None => bottom.open(),
        }
    })
}

pub(super) fn spn_04_ten_thousand_tasks_all_run(subject: &Subject) {
    const TASKS: usize = 10_000;
    subject.start().run(async {
        let (gate, alive) = (Gate::default(), Alive::default());
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| {
                let (gate, guard) = (gate.clone(), alive.guard());
                let (begun, ended) = (begun.clone(), ended.clone());
                spawn(async move {
                    let _guard = guard;
                    begun.fetch_add(1, Ordering::SeqCst);
                    gate.opened().await;
                    sleep(Duration::from_micros(n as u64 % 1000)).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                    n
                })
            })
            .collect();
        // All are there at once, and wait: nobody needs a thread for that.
        eventually("ten thousand tasks have begun", || {
            begun.load(Ordering::SeqCst) == TASKS || tasks.iter().any(JoinHandle::is_finished)
        })
        .await;
        gate.open();
        for (n, task) in tasks.into_iter().enumerate() {
            let result = task.await;
            assert!(matches!(result, Ok(m) if m == n), "task {n} of {TASKS} gives {result:?}");
        }
    });
    // Spawned by tasks, which keep all threads that poll from taking them.
    subject.start().run(async {
        subject.now("sixteen tasks spawned six hundred each");
        let ended = Arc::new(AtomicUsize::new(0));
        let spawners = (0..16).map(|_| {
            let ended = ended.clone();
            spawn(async move {
                for _ in 0..TASKS / 16 {
                    let ended = ended.clone();
                    spawn(async move { ended.fetch_add(1, Ordering::SeqCst) });
                }
            })
        });
        join_all(spawners).await;
        eventually("ten thousand tasks, spawned by sixteen, have ended", || {
            ended.load(Ordering::SeqCst) == TASKS
        })
        .await;
    });
}

pub(super) fn spn_05_a_task_outlives_the_task_that_spawned_it(subject: &Subject) {
    subject.start().run(async {
        let (gate, done) = (Gate::default(), Gate::default());
        let (wait, end) = (gate.clone(), done.clone());
        let begun = Gate::default();
        let begin = begun.clone();
        let parent = spawn(async move {
            spawn(async move {
                spawn(async move {
                    telling(begin, wait.opened()).await;
                    sleep(Duration::from_millis(1)).await;
                    let job = unblock(|| ()).await;
                    round_trip().await;
                    if job.is_ok() {
                        end.open();
                    }
                });
            });
        });
        parent.await.expect("the parent");
        eventually("a task begins whose parents ended before", || begun.is_open()).await;
        gate.open();
        eventually("a task has ended whose parents ended before", || done.is_open()).await;
        // The other way round: each awaits its own.
        spawn(deep(200)).await.expect("the first of them");
    });
}

/// Awaits itself so many times, each within the last.
fn deep(left: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Some(left) = left.checked_sub(1) {
            spawn(deep(left)).await.expect("a task inside a task");
        }
    })
}

pub(super) fn spn_06_a_task_outlives_the_run_that_spawned_it(subject: &Subject) {
    let host = subject.start();
    let gate = Gate::default();
    let begun: Vec<Gate> = (0..10).map(|_| Gate::default()).collect();
    let task = |n: usize| {
        let (gate, begin) = (gate.clone(), begun[n].clone());
        spawn(async move {
            telling(begin, gate.opened()).await;
            sleep(Duration::from_millis(1)).await;
            unblock(move || n).await.expect("a task's job")
        })
    };
    // Some that have been polled, and some that may have not.
    let tasks: Vec<JoinHandle<usize>> = host.run(async {
        let first = (0..5).map(task).collect::<Vec<_>>();
        join_all(begun[..5].iter().map(Gate::opened)).await;
        first.into_iter().chain((5..10).map(task)).collect()
    });
    host.run(async {});
    gate.open();
    // What comes due while nothing runs counts as well.
    let (mut stream, mut peer) = pair();
    let moment = Instant::now() + Duration::from_millis(20);
    let woken = [Gate::default(), Gate::default()];
    let [one, other] = woken.clone();
    let due = host.run(async {
        let waits = [Gate::default(), Gate::default()];
        let [first, second] = waits.clone();
        let timer = spawn(telling_of_wakes(first, one, sleep_until(moment)));
        let socket =
            spawn(async move { telling_of_wakes(second, other, stream.read(&mut [0])).await });
        join_all(waits.iter().map(Gate::opened)).await;
        (timer, socket)
    });
    std::io::Write::write_all(&mut peer, b"!").expect("the peer of a task that reads writes");
    // Some hosts hear of it now, and some only in their next run.
    perhaps_here(Duration::from_millis(200), || {
        Instant::now() >= moment && woken.iter().all(Gate::is_open)
    });
    host.run(async {
        eventually("a timer that was due between two runs has ended", || due.0.is_finished()).await;
        eventually("bytes that came between two runs are read", || due.1.is_finished()).await;
    });
    host.run(async {
        for (n, task) in tasks.into_iter().enumerate() {
            let result = task.await;
            let kept = matches!(result, Ok(m) if m == n);
            assert!(kept, "task {n}, from a run that is over, gives {result:?}");
        }
    });
}

pub(super) fn spn_07_a_cancelled_task_is_dropped_where_it_waits(subject: &Subject) {
    type Wait = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);
    subject.start().run(async {
        let (alive, (go, blocked)) = (Alive::default(), mpsc::channel::<()>());
        let (mut stream, _peer) = pair();
        let waits: Vec<Wait> = vec![
            ("for nothing", Box::pin(pending())),
            ("for a timer", Box::pin(sleep(HOUR))),
            ("for a socket", Box::pin(async move { drop(stream.read(&mut [0]).await) })),
            ("for a job", Box::pin(async move { drop(unblock(move || blocked.recv()).await) })),
            ("for a task", Box::pin(async { drop(spawn(sleep(HOUR)).await) })),
            ("for a gate", Box::pin(async { Gate::default().opened().await })),
        ];
        for (what, wait) in waits {
            let (guard, begun, over) = (alive.guard(), Gate::default(), Gate::default());
            let (begin, end) = (begun.clone(), over.clone());
            let task = spawn(async move {
                let _guard = guard;
                let waits = async {
                    wait.await;
                    end.open();
                };
                telling(begin, waits).await;
            });
            begun.opened().await;
            assert!(!over.is_open(), "a task that waits {what} has ended by itself");
            task.cancel();
            eventually(&format!("cancelled while it waits {what}, a task ends"), || {
                task.is_finished()
            })
            .await;
            assert_eq!(alive.now(), 0, "waiting {what}, it was cancelled and not dropped");
            let told = task.await;
            assert!(matches!(told, Err(JoinError::Cancelled)), "waiting {what}, it gives {told:?}");
        }
        drop(go);
        for _ in 0..100 {
            let task = spawn(pending::<()>());
            task.cancel();
            let told = task.await;
            assert!(
                matches!(told, Err(JoinError::Cancelled)),
                "cancelled at once, it gives {told:?}"
            );
        }
    });
}

pub(super) fn spn_09_a_task_that_has_ended_is_dropped(subject: &Subject) {
    let host = subject.start();
    let (keep, kept) = mpsc::channel();
    host.run(async {
        subject.now("tasks ended, whose destructors start tasks and jobs");
        let (alive, ran) = (Alive::default(), Arc::new(AtomicUsize::new(0)));
        for polls in [1, 2, 3] {
            let (held, clean, keep) = (alive.guard(), bounces(&ran), keep.clone());
            let mut left = polls;
            hand_over(poll_fn(move |cx| {
                let _held = (&held, &clean);
                let _ = keep.send(cx.waker().clone());
                cx.waker().wake_by_ref();
                left -= 1;
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        eventually("tasks that have ended are dropped, though their wakers are kept", || {
            alive.now() == 0
        })
        .await;
        eventually("what their destructors started has run", || ran.load(Ordering::SeqCst) == 6)
            .await;
    });
    assert_eq!(kept.try_iter().count(), 6, "polls of three tasks");
}

/// What starts a task and a job when it is dropped, each of which counts. It takes its trampoline
/// along, and so does without a current one.
pub(super) fn bounces(ran: &Arc<AtomicUsize>) -> impl Send + use<> {
    let (ran, here) = (ran.clone(), trampoline().expect("a trampoline inside `run`"));
    OnDrop(move || {
        let cx = &mut Context::from_waker(Waker::noop());
        let (task, job) = (ran.clone(), ran.clone());
        let count = |ran: &AtomicUsize| {
            ran.fetch_add(1, Ordering::SeqCst);
        };
        let task = Task::new(async move { count(&task) });
        let job = Job::new(move || count(&job));
        let _ = here.bounce(Yield::Task(task), cx);
        let _ = here.bounce(Yield::Job(job), cx);
    })
}

pub(super) fn spn_08_a_tasks_result_arrives_wherever_it_is_awaited(subject: &Subject) {
    let (host, other) = (subject.start(), subject.start());
    let elsewhere = other.run(async { trampoline().expect("a trampoline inside `run`") });
    let [finished] = host.run(async {
        let gate = Gate::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let task = |n: usize| {
            let (gate, begun) = (gate.clone(), begun.clone());
            spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.opened().await;
                n
            })
        };
        let (one, two, three, four) = (task(1), task(2), task(3), task(4));
        let in_a_task = spawn(one);
        let on_a_thread = unblock(move || drive(two));
        let on_a_host = unblock(move || drive(Coroutine::new(elsewhere, three)));
        eventually("four tasks have begun", || begun.load(Ordering::SeqCst) == 4).await;
        gate.open();
        let results = [
            ("in a task", Some(in_a_task.await.expect("the task that awaits"))),
            ("on a plain thread", on_a_thread.await.expect("the thread that awaits")),
            ("on another host", on_a_host.await.expect("the host that awaits")),
        ];
        for (n, (place, result)) in (1..).zip(results) {
            let arrived = matches!(result, Some(Ok(m)) if m == n);
            assert!(arrived, "awaited {place}, a task gives {result:?}");
        }
        eventually("a task has finished", || four.is_finished()).await;
        [four]
    });
    let result = other.run(finished);
    assert!(matches!(result, Ok(4)), "awaited after its host's run, a task gives {result:?}");
}
