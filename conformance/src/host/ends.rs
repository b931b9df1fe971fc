//! Checks of ends: running, panics, cancellation, the end of a host.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{read_dir, read_link};
use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{
    Coroutine, JoinError, JoinHandle, Trampoline, sleep, spawn, timeout, trampoline, unblock,
};

use super::clock::Clock;
use super::fault::OrError;
use super::gauges::{
    Alive, Gate, OnDrop, drive, eventually, eventually_here, joined, lock, on_a_thread, pair,
    round_trip, telling,
};
use super::work::bounces;
use super::{Started, Subject};

const HOUR: Duration = Duration::from_secs(3600);

const SLOW: Duration = Duration::from_secs(5);

const MOMENT: Duration = Duration::from_millis(1);

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) fn run_01_run_gives_what_the_future_gives(subject: &Subject) {
    let host = subject.start();
    // Neither lives for good, nor may go to another thread: a host that would move them is not
    // compiled.
    let (borrowed, local) = (String::from("borrowed"), Rc::new(Cell::new(0)));
    let _: String = host.run(async {
        for _ in 0..3 {
            sleep(MOMENT).await;
            spawn(sleep(MOMENT)).await.expect("a task");
            unblock(|| ()).await.expect("a job");
            local.set(local.get() + 1);
        }
        format!("{borrowed} {}", local.get())
    });
    // And one that never waits.
    host.run(async {});
    // Only a plain thread wakes it, and only once.
    let (gate, polled) = (Gate::default(), Gate::default());
    let (opens, waits) = (gate.clone(), polled.clone());
    let opener = on_a_thread(move || {
        waits.block();
        opens.open();
    });
    let mut opened = pin!(gate.opened());
    host.run(poll_fn(|cx| {
        let answer = opened.as_mut().poll(cx);
        polled.open();
        answer
    }));
    joined(opener);
}

pub(super) fn run_02_a_panic_reaches_the_caller_and_no_further(subject: &Subject) {
    let host = subject.start();
    let gate = Gate::default();
    let payloads: [fn() -> Box<dyn Any + Send>; 3] =
        [|| Box::new("literal"), || Box::new(String::from("made")), || Box::new(7_i32)];
    for (n, payload) in payloads.into_iter().enumerate() {
        let mut neighbour = None;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            host.run(async {
                let wait = gate.clone();
                neighbour = Some(spawn(async move { wait.opened().await }));
                for _ in 0..n {
                    sleep(MOMENT).await;
                }
                // As a panic, without a word on the standard error.
                resume_unwind(payload());
            });
        }));
        let name = caught.err().map(|payload| {
            match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
                (Some(literal), _) => (*literal).to_owned(),
                (_, Some(made)) => made.clone(),
                _ => payload.downcast_ref::<i32>().map(i32::to_string).unwrap_or_default(),
            }
        });
        let sent = ["literal", "made", "7"][n];
        assert_eq!(name.as_deref(), Some(sent), "the payload of a panic that `run` passes on");
        if n == 2 {
            gate.open();
        }
        host.run(async {
            sleep(MOMENT).await;
            round_trip().await;
            spawn(async {}).await.expect("a task");
            unblock(|| ()).await.expect("a job");
        });
        if n == 2 {
            let told = neighbour.map(|neighbour| host.run(neighbour));
            assert!(matches!(told, Some(Ok(()))), "a task spawned before the panic gives {told:?}");
        }
    }
}

pub(super) fn run_03_run_again_and_again(subject: &Subject) {
    /// Refuses everything.
    struct Refuses;
    impl Trampoline for Refuses {
        fn bounce(
            &self,
            _: gateway_core::Yield<'_>,
            _: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Poll::Ready(Err(std::io::Error::other("refused by the outer one")))
        }
    }
    let host = subject.start();
    let began = Instant::now();
    // Fewer on a machine that has no time.
    for n in (0..1000_u32).take_while(|_| began.elapsed() < SLOW) {
        host.run(async {
            spawn(async {}).await.expect("a task");
            if n % 20 == 0 {
                sleep(Duration::from_micros(1)).await;
                unblock(|| ()).await.expect("a job");
            }
        });
    }
    // Inside a coroutine of somebody else: `run` has its own trampoline, and then gives way again.
    let nested = drive(Coroutine::new(Arc::new(Refuses), async {
        let inside = host.run(async { spawn(async { 1 }).await });
        (inside, spawn(async {}).await)
    }));
    let Some((Ok(1), Err(JoinError::Refused(_)))) = nested else {
        panic!("`run` inside another coroutine, and what follows it: {nested:?}");
    };
}

pub(super) fn run_04_hosts_do_not_disturb_each_other(subject: &Subject) {
    let (one, other) = (subject.start(), subject.start());
    let gate = Gate::default();
    let task = || {
        let gate = gate.clone();
        async { [spawn(async move { gate.opened().await })] }
    };
    drop(one.run(task()));
    let [kept] = other.run(task());
    for n in 0..50 {
        let host = if n % 2 == 0 { &one } else { &other };
        host.run(async {
            sleep(Duration::from_micros(10)).await;
            spawn(async {}).await.expect("a task");
            unblock(|| ()).await.expect("a job");
        });
    }
    drop(one);
    gate.open();
    let told = other.run(async {
        round_trip().await;
        timeout(HOUR, sleep(MOMENT)).await.expect("a timer");
        unblock(|| ()).await.expect("a job");
        kept.await
    });
    assert!(told.is_ok(), "another host was dropped, and a task of this one gives {told:?}");
}

/// Passes wakes on to whoever drives it.
struct Counted {
    outer: Mutex<Waker>,
}

impl Wake for Counted {
    fn wake(self: Arc<Counted>) {
        let outer = lock(&self.outer).clone();
        outer.wake();
    }
}

pub(super) fn drp_03_dropped_at_any_yield_all_is_gone(subject: &Subject) {
    const MOST: usize = 200;
    subject.start().run(async {
        let alive = Alive::default();
        let waker = Arc::new(Counted { outer: Mutex::new(Waker::noop().clone()) });
        for yields in 0..MOST {
            let came_so_far = until(script(alive.clone()), yields, &waker).await;
            eventually(&format!("dropped at yield {yields}, all that it held is dropped"), || {
                alive.now() == 0
            })
            .await;
            eventually(&format!("dropped at yield {yields}, the host has forgotten it"), || {
                Arc::strong_count(&waker) == 1
            })
            .await;
            if !came_so_far {
                return;
            }
        }
        panic!("the script has no end: it was polled {MOST} times, and waits");
    });
}

/// Polls `future` until it waits for the so manieth time, and drops it there. Tells whether it came
/// so far.
async fn until(future: impl Future<Output = ()>, yields: usize, waker: &Arc<Counted>) -> bool {
    let mut future = pin!(Some(future));
    let mut waits = 0;
    poll_fn(|cx| {
        if waits == yields {
            future.set(None);
            return Poll::Ready(true);
        }
        *lock(&waker.outer) = cx.waker().clone();
        let inner = Waker::from(waker.clone());
        let polled = future.as_mut().as_pin_mut().or_error("a future that is not dropped yet");
        if polled.poll(&mut Context::from_waker(&inner)).is_ready() {
            return Poll::Ready(false);
        }
        waits += 1;
        if waits == yields { Poll::Ready(true) } else { Poll::Pending }
    })
    .await
}

/// Waits for one of each kind, and for two at once, with a guard at each step.
async fn script(alive: Alive) {
    let _whole = alive.guard();
    {
        let _guard = alive.guard();
        sleep(MOMENT).await;
    }
    let held = alive.guard();
    unblock(move || drop(held)).await.expect("the script's job");
    let held = alive.guard();
    let task = spawn(async move {
        let _held = held;
        sleep(MOMENT).await;
    });
    task.await.expect("the script's task");
    let ((mut one, mut peer), _guard) = (pair(), alive.guard());
    let answer = unblock(move || {
        peer.read_exact(&mut [0]).and_then(|()| std::io::Write::write_all(&mut peer, b"!"))
    });
    one.write_all(b"?").await.expect("the script's byte goes out");
    one.read_exact(&mut [0]).await.expect("the script's byte comes back");
    drop(answer.await);
    let held = alive.guard();
    let late = async move {
        let _held = held;
        sleep(HOUR).await;
    };
    let _ = timeout(MOMENT, join(late, unblock(|| ()))).await;
}

pub(super) fn drp_06_a_destructor_may_yield(subject: &Subject) {
    subject.start().run(async {
        let cleaned_up = Arc::new(AtomicUsize::new(0));
        // Cancelled where it waits, and before it was polled.
        for wait in [true, false] {
            let (clean, begun) = (cleans_up(&cleaned_up), Gate::default());
            let begin = begun.clone();
            let task = spawn(async move {
                let _clean = clean;
                begin.open();
                pending::<()>().await;
            });
            if wait {
                begun.opened().await;
            }
            task.cancel();
            let told = task.await;
            assert!(matches!(told, Err(JoinError::Cancelled)), "cancelled, it gives {told:?}");
        }
        // At the end of a task, at its panic, and as the loser of a race.
        let clean = cleans_up(&cleaned_up);
        spawn(async move { drop(clean) }).await.expect("a task that ends");
        let clean = cleans_up(&cleaned_up);
        let panics = spawn(async move {
            let _clean = clean;
            panic_quietly("a panic");
        });
        drop(panics.await);
        let clean = cleans_up(&cleaned_up);
        let loser = async move {
            let _clean = clean;
            pending::<()>().await;
        };
        let clock = Clock::new();
        let race = clock.around(timeout(HOUR, loser));
        // Polled in this order.
        let _ = join(race, async { clock.advance(2 * HOUR) }).await;
        eventually("five destructors have spawned, and what they spawned has run", || {
            cleaned_up.load(Ordering::SeqCst) == 5
        })
        .await;
    });
}

/// What spawns its clean-up when it is dropped, which then counts.
fn cleans_up(cleaned_up: &Arc<AtomicUsize>) -> impl Send + use<> {
    let cleaned_up = cleaned_up.clone();
    OnDrop(move || {
        let cleaned_up = cleaned_up.clone();
        drop(spawn(async move {
            sleep(MOMENT).await;
            if unblock(|| ()).await.is_ok() {
                cleaned_up.fetch_add(1, Ordering::SeqCst);
            }
        }));
    })
}

pub(super) fn drp_07_no_task_is_left_in_limbo_by_a_dropped_host(subject: &Subject) {
    let host = subject.start();
    let (gate, blocked, dropping) = (Gate::default(), Gate::default(), Gate::default());
    let (alive, (mut stream, mut peer)) = (Alive::default(), pair());
    let task = |wait: Wait| {
        let guard = alive.guard();
        let begun = Gate::default();
        let task = spawn({
            let begun = begun.clone();
            async move {
                let _guard = guard;
                telling(begun, wait).await;
            }
        });
        (task, begun)
    };
    let (wait, job_gate, held) = (gate.clone(), blocked.clone(), alive.guard());
    let tasks = host.run(async {
        let begin = Gate::default();
        let begins = begin.clone();
        drop(unblock(move || {
            let _held = held;
            begins.open();
            job_gate.block();
        }));
        let (mut tasks, begun): (Vec<_>, Vec<_>) = [
            task(Box::pin(async move { wait.opened().await })),
            task(Box::pin(sleep(Duration::from_millis(20)))),
            task(Box::pin(async move { drop(stream.read(&mut [0]).await) })),
        ]
        .into_iter()
        .unzip();
        join_all(begun.iter().chain([&begin]).map(Gate::opened)).await;
        // One that may be at work, and one that may not have been polled.
        tasks.push(task(Box::pin(async { thread::yield_now() })).0);
        tasks.push(task(Box::pin(std::future::ready(()))).0);
        tasks
    });
    // Some hosts wait for the jobs that have begun.
    let (about_to, opens) = (dropping.clone(), blocked.clone());
    let opener = on_a_thread(move || {
        about_to.block();
        opens.open();
    });
    dropping.open();
    drop(host);
    joined(opener);
    // Whoever goes on can come to an end now.
    gate.open();
    drop(std::io::Write::write_all(&mut peer, b"!"));
    eventually_here("each task that a dropped host left was dropped, or has ended", || {
        alive.now() == 0
    });
    for (n, task) in tasks.into_iter().enumerate() {
        let told = drive(task);
        let fair = matches!(told, Some(Ok(()) | Err(JoinError::Cancelled)));
        assert!(fair, "its host was dropped, and task {n} gives {told:?}");
    }
    // With the task its socket goes: the end, or a reset, and no silence.
    let end = peer.read(&mut [0]).map_err(|error| error.kind());
    let silent = matches!(end, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!silent, "its host was dropped, and a task's socket is still open");
    jobs_that_have_not_begun(subject);
}

/// More jobs than there are threads: those that wait for their turn are dropped, or run.
fn jobs_that_have_not_begun(subject: &Subject) {
    const JOBS: usize = 600;
    let host = subject.start();
    let (gate, dropping, ran) = (Gate::default(), Gate::default(), Arc::default());
    let alive = Alive::default();
    let jobs: Vec<_> = host.run(async {
        let job = |_| {
            let (gate, held) = (gate.clone(), (alive.guard(), bounces(&ran)));
            unblock(move || {
                gate.block();
                drop(held);
            })
        };
        (0..JOBS).map(job).collect()
    });
    let (about_to, opens) = (dropping.clone(), gate.clone());
    let opener = on_a_thread(move || {
        about_to.block();
        opens.open();
    });
    dropping.open();
    drop(host);
    joined(opener);
    eventually_here("each job that a dropped host left was dropped, or has ended", || {
        alive.now() == 0 && jobs.iter().all(JoinHandle::is_finished)
    });
}

pub(super) fn drp_08_nobody_waits_for_a_host_that_is_gone(subject: &Subject) {
    let host = subject.start();
    let left = host.run(async { trampoline().expect("a trampoline inside `run`") });
    // Waits that have begun, on threads of their own.
    let (tell, told) = mpsc::channel();
    let (mut stream, mut peer) = pair();
    let waits: [(_, Wait); 2] = [
        ("a timer", Box::pin(sleep(Duration::from_millis(200)))),
        ("a socket", Box::pin(async move { drop(stream.read(&mut [0]).await) })),
    ];
    let waiting = waits.map(|(what, wait)| {
        let (left, tell) = (left.clone(), tell.clone());
        (what, on_a_thread(move || ends(left, first_polled(wait, tell))))
    });
    drop(tell);
    for _ in &waiting {
        told.recv().expect("a wait begins, and does not fail at once");
    }
    drop(host);
    // The byte comes when the timer is over: by then the host's threads have gone, if they go.
    for (what, thread) in waiting {
        if what == "a socket" {
            drop(std::io::Write::write_all(&mut peer, b"!"));
        }
        assert!(joined(thread), "the host was dropped, and whoever waited for {what} hangs");
    }
    // Waits that begin only now.
    let late: [(_, Wait); 4] = [
        ("a timer", Box::pin(sleep(Duration::from_millis(5)))),
        ("a socket", Box::pin(late_read())),
        ("a job", Box::pin(async { drop(unblock(|| ()).await) })),
        ("a task", Box::pin(async { drop(spawn(async {}).await) })),
    ];
    for (what, wait) in late {
        assert!(ends(left.clone(), wait), "the host is gone, and {what} asked of it hangs");
    }
}

/// Tells when it has been polled for the first time.
async fn first_polled(mut wait: Wait, tell: mpsc::Sender<()>) {
    let mut tell = Some(tell);
    poll_fn(|cx| {
        let polled = wait.as_mut().poll(cx);
        if let Some(tell) = tell.take() {
            let _ = tell.send(());
        }
        polled
    })
    .await;
}

async fn late_read() {
    let (mut stream, mut peer) = pair();
    let begun = Gate::default();
    let waits = begun.clone();
    let writer = on_a_thread(move || {
        waits.block();
        drop(std::io::Write::write_all(&mut peer, b"!"));
        peer
    });
    drop(telling(begun, stream.read(&mut [0])).await);
    drop(joined(writer));
}

/// Whether a wait comes to an end of any kind: what it waits for, an error, a documented panic.
fn ends(left: Arc<dyn Trampoline>, wait: impl Future<Output = ()>) -> bool {
    let quietly = AssertUnwindSafe(|| drive(Coroutine::new(left, wait)).is_some());
    catch_unwind(quietly).unwrap_or(true)
}

pub(super) fn drp_09_a_destructor_may_yield_while_its_host_is_dropped(subject: &Subject) {
    for polled in [true, false] {
        let host = subject.start();
        let (gate, dropped) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        host.run(async {
            let task = |_| {
                let (gate, begun, yields) = (gate.clone(), Gate::default(), yields(&dropped));
                let begin = begun.clone();
                spawn(async move {
                    let _yields = yields;
                    begin.open();
                    gate.opened().await;
                });
                begun
            };
            let begun: Vec<_> = (0..20).map(task).collect();
            if polled {
                join_all(begun.iter().map(Gate::opened)).await;
            }
        });
        drop(host);
        gate.open();
        eventually_here("destructors that yield have run to their end", || {
            dropped.load(Ordering::SeqCst) == 20
        });
    }
}

/// What spawns a task and a job when it is dropped, and then counts.
fn yields(dropped: &Arc<AtomicUsize>) -> impl Send + use<> {
    let dropped = dropped.clone();
    OnDrop(move || {
        drop(spawn(async { sleep(MOMENT).await }));
        drop(unblock(|| ()));
        dropped.fetch_add(1, Ordering::SeqCst);
    })
}

pub(super) fn drp_10_a_wait_may_change_threads(subject: &Subject) {
    subject.start().run(async {
        let here = trampoline().expect("a trampoline inside `run`");
        let waker = Arc::new(Counted { outer: Mutex::new(Waker::noop().clone()) });
        let polled = Waker::from(waker.clone());
        // Polled here first, then to its end on another thread.
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut timer = Box::pin(gateway_core::sleep_until(deadline));
        poll_once(timer.as_mut(), &polled).await;
        let (mut stream, mut peer) = pair();
        let mut read = Box::pin(async move { stream.read_exact(&mut [0]).await.map(drop) });
        poll_once(read.as_mut(), &polled).await;
        let elsewhere = here.clone();
        let timer = unblock(move || drive(Coroutine::new(elsewhere, timer)).is_some());
        let begun = Gate::default();
        let reads = telling(begun.clone(), read);
        let read = unblock(move || drive(Coroutine::new(here, reads)));
        begun.opened().await;
        std::io::Write::write_all(&mut peer, b"!").expect("the peer of a socket that waits writes");
        let ended = timer.await.expect("the thread with the timer");
        assert!(ended, "a timer that has changed threads hangs");
        assert!(Instant::now() >= deadline, "a timer that has changed threads ended early");
        let ended = read.await.ok().flatten();
        let arrived = matches!(ended, Some(Ok(())));
        assert!(arrived, "a socket that has changed threads gives {ended:?}");

        // Polled here, dropped elsewhere.
        let mut timer = Box::pin(sleep(HOUR));
        poll_once(timer.as_mut(), &polled).await;
        let (mut stream, mut peer) = pair();
        let mut read = Box::pin(async move { stream.read(&mut [0]).await.map(drop) });
        poll_once(read.as_mut(), &polled).await;
        let elsewhere = on_a_thread(move || drop((timer, read)));
        elsewhere.join().expect("what is dropped on another thread");
        drop(polled);
        eventually("dropped on another thread, waits are forgotten", || {
            Arc::strong_count(&waker) == 1
        })
        .await;
        let end = peer.read(&mut [0]);
        assert!(matches!(end, Ok(0)), "dropped on another thread, a socket gives its peer {end:?}");
    });
}

/// Polls a future once, which has to wait.
async fn poll_once<F: Future>(mut future: Pin<&mut F>, waker: &Waker) {
    let polled = poll_fn(|_| {
        Poll::Ready(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending())
    });
    assert!(polled.await, "a wait that has just begun is over");
}

pub(super) fn drp_12_hosts_leave_nothing_behind(subject: &Subject) {
    const HOSTS: usize = 60;
    let work = |host: &Started| {
        host.run(async {
            spawn(sleep(Duration::from_micros(1))).await.expect("a task");
            unblock(|| ()).await.expect("a job");
            drop(spawn(pending::<()>()));
        });
    };
    // What all hosts of a process share is there after the first of them.
    work(&subject.start());
    for what in ["task", "fd"] {
        let before = open(what);
        for _ in 0..HOSTS {
            work(&subject.start());
        }
        // Other tests of this process come and go: only what stays counts, and only a lot of it.
        eventually_here(
            &format!("{HOSTS} dropped hosts have closed what they had ({what})"),
            || open(what).difference(&before).count() < HOSTS / 2,
        );
    }
}

/// The threads or descriptors of this process; none where the system does not tell.
fn open(what: &str) -> HashSet<(OsString, Option<PathBuf>)> {
    let entries = read_dir(format!("/proc/self/{what}")).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name(), read_link(entry.path()).ok())).collect()
}

/// Panics when it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        if !thread::panicking() {
            resume_unwind(Box::new("the trap"));
        }
    }
}

pub(super) fn err_04_a_panic_arrives_where_the_work_is_awaited(subject: &Subject) {
    type Payload = (&'static str, fn());
    const PAYLOADS: [Payload; 4] = [
        ("a literal", || panic_quietly("a literal")),
        ("made", || panic_quietly(String::from("made"))),
        ("a panic without a message", || panic_quietly(7_i32)),
        ("the trap", || drop(Trap)),
    ];
    subject.start().run(async {
        let harmless = Gate::default();
        let wait = harmless.clone();
        let neighbour = spawn(async move { wait.opened().await });
        for (message, panics) in PAYLOADS {
            let at_once = spawn(async move { panics() });
            let late = spawn(async move {
                sleep(MOMENT).await;
                unblock(|| ()).await.expect("a job before the panic");
                panics();
            });
            let job = unblock(panics);
            let nested = spawn(async move { spawn(async move { panics() }).await });
            let nested = nested.await.expect("a task that awaits one that panics");
            let told = [
                ("a task", at_once.await),
                ("a task that has waited", late.await),
                ("a job", job.await),
                ("a task's task", nested),
            ];
            for (what, told) in told {
                let kept = matches!(&told, Err(JoinError::Panicked(text)) if text == message);
                assert!(kept, "{what} panicked with {message:?}, and its handle gives {told:?}");
            }
        }
        // Payloads, results and captured values that panic when they are dropped.
        drop(spawn(async { panic_quietly(Trap) }).await);
        drop(unblock(|| panic_quietly(Trap)).await);
        let (task, job) = (spawn(async { Trap }), unblock(|| Trap));
        // Here, if they have ended by now, and else where they run.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
        let trap = Trap;
        let told = spawn(poll_fn(move |_| {
            let _trap = &trap;
            Poll::Ready(())
        }));
        let told = told.await;
        assert!(matches!(told, Err(JoinError::Panicked(_))), "a trap in a task gives {told:?}");
        harmless.open();
        let told = neighbour.await;
        assert!(told.is_ok(), "beside panics, a task gives {told:?}");
    });
}

/// Panics, without a word on the standard error.
fn panic_quietly(payload: impl Any + Send) {
    resume_unwind(Box::new(payload));
}

pub(super) fn err_08_a_thousand_panics_lose_no_worker(subject: &Subject) {
    let host = subject.start();
    host.run(async {
        let gate = Gate::default();
        let neighbours: Vec<_> = (0..10)
            .map(|_| {
                let gate = gate.clone();
                spawn(async move { gate.opened().await })
            })
            .collect();
        for _ in 0..10 {
            let panics = (0..100).map(|_| async {
                let task = spawn(async { panic_quietly("a task") });
                let job = unblock(|| panic_quietly("a job"));
                (task.await, job.await)
            });
            for told in join_all(panics).await {
                let (Err(JoinError::Panicked(_)), Err(JoinError::Panicked(_))) = told else {
                    panic!("a task and a job that panicked give {told:?}");
                };
            }
        }
        gate.open();
        for neighbour in neighbours {
            let told = neighbour.await;
            assert!(told.is_ok(), "beside a thousand panics, a task gives {told:?}");
        }
    });
    works(&host, "after a thousand panics");
}

/// Whether all kinds of work are still done.
fn works(host: &Started, when: &str) {
    let sum: usize = host.run(async {
        sleep(MOMENT).await;
        round_trip().await;
        let work = (0..50_usize).map(|n| async move {
            let task = spawn(async move {
                sleep(MOMENT).await;
                n
            });
            let job = unblock(move || n);
            task.await.unwrap_or(usize::MAX / 200) + job.await.unwrap_or(usize::MAX / 200)
        });
        join_all(work).await.into_iter().sum()
    });
    assert_eq!(sum, 2 * 49 * 50 / 2, "the sum of fifty tasks' and jobs' results {when}");
}
