//! Tasks, jobs and join handles; nested and neighbouring hosts; leaves outside any trampoline.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, pending};
use gateway_core::{
    Coroutine, Host, JoinError, Trampoline, Yield, sleep, spawn, trampoline, unblock,
};
use gateway_net::{TcpStream, UnixStream};
use gateway_tests::{eventually, hosts, on_every_host};

on_every_host!(2:
    run_stays_on_its_thread_gives_the_output_and_leaves_no_trampoline,
    a_panic_of_run_reaches_its_caller_and_leaves_no_trampoline,
    results_arrive_and_dropping_the_handle_detaches,
    panics_arrive_as_errors,
    a_cancelled_task_is_dropped_under_its_trampoline,
    a_handle_is_told_when_what_its_task_held_is_gone,
    a_cancelled_job_is_discarded_unless_it_has_finished,
    a_thousand_panics_lose_no_worker,
    a_task_finds_the_trampoline_that_its_parent_had,
    yields_of_one_coroutine_take_effect_in_their_order,
    tasks_await_each_other_two_hundred_deep,
    a_blocking_host_runs_inside_a_job,
    a_blocking_host_runs_inside_a_coroutine,
    two_hosts_do_not_disturb_each_other,
    a_trampoline_around_a_trampoline_sees_every_yield,
    more_jobs_than_threads_all_run,
);

fn run_stays_on_its_thread_gives_the_output_and_leaves_no_trampoline(host: impl Host) {
    let here = thread::current().id();
    // Neither lives for good, nor may go to another thread.
    let (borrowed, local) = (String::from("borrowed"), Rc::new(Cell::new(0)));
    for n in 1..4 {
        let output = host.run(async {
            sleep(Duration::from_millis(1)).await;
            assert_eq!(thread::current().id(), here, "after a timer");
            spawn(sleep(Duration::from_millis(1))).await.unwrap();
            assert_eq!(thread::current().id(), here, "after a task");
            unblock(|| ()).await.unwrap();
            assert_eq!(thread::current().id(), here, "after a job");
            local.set(local.get() + 1);
            format!("{borrowed} {}", local.get())
        });
        assert_eq!(output, format!("borrowed {n}"));
        outside_any_trampoline_all_leaves_fail_at_once();
    }
}

fn a_panic_of_run_reaches_its_caller_and_leaves_no_trampoline(host: impl Host) {
    for waits in [false, true] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            host.run(async {
                if waits {
                    sleep(Duration::from_millis(1)).await;
                }
                resume_unwind(Box::new(7_i32));
            });
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7_i32));
        outside_any_trampoline_all_leaves_fail_at_once();
        let sum =
            host.run(async { spawn(async { 1 }).await.unwrap() + unblock(|| 2).await.unwrap() });
        assert_eq!(sum, 3);
    }
}

fn outside_any_trampoline_all_leaves_fail_at_once() {
    assert!(trampoline().is_err(), "a trampoline is current");
    let refused = |result| matches!(result, Some(Err(JoinError::Refused(_))));
    assert!(refused(spawn(async {}).now_or_never()), "a task");
    assert!(refused(unblock(|| ()).now_or_never()), "a job");
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut socket = UnixStream::try_from(socket).unwrap();
    let read = futures_util::AsyncReadExt::read(&mut socket, &mut [0]).now_or_never();
    assert!(matches!(read, Some(Err(_))), "a socket: {read:?}");
    let slept = catch_unwind(|| sleep(Duration::from_secs(3600)).now_or_never());
    assert!(slept.is_err(), "a timer");
}

fn results_arrive_and_dropping_the_handle_detaches(host: impl Host) {
    let (told, hears) = mpsc::channel();
    host.run(async {
        assert_eq!(spawn(async { 1 + 1 }).await.unwrap(), 2);
        assert_eq!(unblock(|| "done").await.unwrap(), "done");
        let detached = told.clone();
        drop(spawn(async move {
            sleep(Duration::from_millis(5)).await;
            detached.send("task").unwrap();
        }));
        drop(unblock(move || told.send("job").unwrap()));
    });
    let mut heard: Vec<&str> = hears.iter().collect();
    heard.sort_unstable();
    assert_eq!(heard, ["job", "task"]);
}

fn panics_arrive_as_errors(host: impl Host) {
    /// Panics when it is dropped.
    struct Trap;
    impl Drop for Trap {
        fn drop(&mut self) {
            panic!("the trap");
        }
    }
    host.run(async {
        let panicked = spawn(async { panic!("the {}", "task") }).await.unwrap_err();
        assert_eq!(panicked.to_string(), "the work panicked: the task");
        let panicked = unblock(|| panic!("the job")).await.unwrap_err();
        assert_eq!(panicked.to_string(), "the work panicked: the job");
        let trap = Trap;
        let panicked = spawn(std::future::poll_fn(move |_| {
            let _ = &trap;
            Poll::Ready(())
        }));
        assert_eq!(panicked.await.unwrap_err().to_string(), "the work panicked: the trap");
        let panicked = spawn(async { std::panic::panic_any(7) }).await.unwrap_err();
        assert_eq!(panicked.to_string(), "the work panicked: a panic without a message");
    });
}

fn a_cancelled_task_is_dropped_under_its_trampoline(host: impl Host) {
    /// Spawns its clean-up when it is dropped.
    struct Guard(mpsc::Sender<bool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let told = self.0.clone();
            let has_trampoline = trampoline().is_ok();
            spawn(async move { told.send(has_trampoline) });
        }
    }
    let (told, hears) = mpsc::channel();
    host.run(async {
        let (begun, begins) = futures_channel::oneshot::channel();
        let task = spawn(async move {
            let _guard = Guard(told);
            begun.send(()).unwrap();
            pending::<()>().await;
        });
        begins.await.unwrap();
        assert!(!task.is_finished());
        task.cancel();
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
    });
    assert!(hears.recv().unwrap(), "dropped outside the trampoline");
}

fn a_handle_is_told_when_what_its_task_held_is_gone(host: impl Host) {
    let held = Arc::new(());
    host.run(async {
        for polled in [true, false] {
            for _ in 0..100 {
                let (guard, (begun, begins)) = (held.clone(), futures_channel::oneshot::channel());
                let task = spawn(async move {
                    let _guard = guard;
                    let _ = begun.send(());
                    pending::<()>().await;
                });
                if polled {
                    begins.await.unwrap();
                }
                task.cancel();
                assert!(matches!(task.await, Err(JoinError::Cancelled)));
                assert_eq!(Arc::strong_count(&held), 1, "told before it is dropped");
            }
        }
    });
}

fn a_cancelled_job_is_discarded_unless_it_has_finished(host: impl Host) {
    let (go, gate) = mpsc::channel::<()>();
    let held = Arc::new(());
    host.run(async {
        let (begun, begins) = futures_channel::oneshot::channel();
        let result = held.clone();
        let running = unblock(move || {
            begun.send(()).unwrap();
            gate.recv().unwrap();
            result
        });
        begins.await.unwrap();
        running.cancel();
        go.send(()).unwrap();
        assert!(matches!(running.await, Err(JoinError::Cancelled)));
        assert_eq!(Arc::strong_count(&held), 1, "the result is dropped before that is told");
        for _ in 0..100 {
            let held = held.clone();
            unblock(move || drop(held)).cancel();
        }
        eventually("what cancelled jobs held is dropped", || Arc::strong_count(&held) == 1);
        let finished = unblock(|| 1);
        eventually("finished", || finished.is_finished());
        finished.cancel();
        assert_eq!(finished.await.unwrap(), 1);
    });
}

fn a_thousand_panics_lose_no_worker(host: impl Host) {
    host.run(async {
        let panics = (0..1000).map(|n| async move {
            let task = spawn(async move { assert!(n > 5000, "{n}") });
            let job = unblock(move || assert!(n > 5000, "{n}"));
            assert!(task.await.is_err() && job.await.is_err());
        });
        join_all(panics).await;
        // As many at once as the host has threads: each must have been left alive.
        let meet = Arc::new(AtomicUsize::new(0));
        let meeting = (0..2).map(|_| {
            let meet = meet.clone();
            spawn(async move {
                meet.fetch_add(1, Ordering::AcqRel);
                eventually("everyone is there", || meet.load(Ordering::Acquire) == 2);
            })
        });
        for met in join_all(meeting).await {
            met.unwrap();
        }
    });
}

fn a_task_finds_the_trampoline_that_its_parent_had(host: impl Host) {
    host.run(async {
        let grandchild = spawn(async {
            spawn(async {
                sleep(Duration::from_millis(1)).await;
                unblock(|| 3).await.unwrap()
            })
            .await
            .unwrap()
        });
        assert_eq!(grandchild.await.unwrap(), 3);
    });
}

fn yields_of_one_coroutine_take_effect_in_their_order(host: impl Host) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |n: usize| {
        let log = log.clone();
        move || log.lock().unwrap().push(n)
    };
    host.run(async {
        for at in (0..100).step_by(4) {
            unblock(note(at)).await.unwrap();
            let task = note(at + 1);
            spawn(async move { task() }).await.unwrap();
            sleep(Duration::from_micros(100)).await;
            note(at + 2)();
            let job = note(at + 3);
            spawn(async move { unblock(job).await }).await.unwrap().unwrap();
        }
    });
    assert_eq!(*log.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

fn tasks_await_each_other_two_hundred_deep(host: impl Host) {
    fn deep(left: usize) -> Pin<Box<dyn Future<Output = usize> + Send>> {
        Box::pin(async move {
            match left.checked_sub(1) {
                Some(left) => spawn(deep(left)).await.unwrap() + 1,
                None => 0,
            }
        })
    }
    assert_eq!(host.run(async { spawn(deep(200)).await.unwrap() }), 200);
}

fn a_blocking_host_runs_inside_a_job(host: impl Host) {
    let sum = host.run(async {
        let inner = unblock(|| {
            let inner = hosts::Blocking::new(1).unwrap();
            inner.run(async {
                sleep(Duration::from_millis(5)).await;
                spawn(async { 20 }).await.unwrap()
            })
        });
        sleep(Duration::from_millis(1)).await;
        inner.await.unwrap() + spawn(async { 1 }).await.unwrap()
    });
    assert_eq!(sum, 21);
}

fn a_blocking_host_runs_inside_a_coroutine(host: impl Host) {
    let inner = hosts::Blocking::new(1).unwrap();
    let sum = host.run(async {
        // It holds this thread meanwhile, which is the caller's affair; nobody's scope gets mixed up.
        let inner = inner.run(async { spawn(async { 20 }).await.unwrap() });
        sleep(Duration::from_millis(1)).await;
        inner + spawn(async { 1 }).await.unwrap()
    });
    assert_eq!(sum, 21);
}

fn two_hosts_do_not_disturb_each_other(host: impl Host + Send + Sync) {
    let other = hosts::Blocking::new(2).unwrap();
    let work = || async {
        for n in 0..200 {
            assert_eq!(spawn(async move { n }).await.unwrap(), n);
            sleep(Duration::from_micros(50)).await;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| host.run(work()));
        scope.spawn(|| other.run(work()));
    });
}

fn more_jobs_than_threads_all_run(host: impl Host) {
    let ran = Arc::new(AtomicUsize::new(0));
    host.run(async {
        let jobs = (0..2000).map(|_| {
            let ran = ran.clone();
            unblock(move || ran.fetch_add(1, Ordering::Relaxed))
        });
        for job in join_all(jobs).await {
            job.unwrap();
        }
    });
    assert_eq!(ran.load(Ordering::Relaxed), 2000);
}

fn a_trampoline_around_a_trampoline_sees_every_yield(host: impl Host) {
    /// Counts what passes.
    struct Counting {
        inner: Arc<dyn Trampoline>,
        seen: Arc<[AtomicUsize; 4]>,
    }
    impl Trampoline for Counting {
        fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let kind = match &yielded {
                Yield::Timer(_) => 0,
                Yield::Io(_) => 1,
                Yield::Job(_) => 2,
                Yield::Task(_) => 3,
            };
            self.seen[kind].fetch_add(1, Ordering::Relaxed);
            self.inner.bounce(yielded, cx)
        }
    }
    let seen = Arc::<[AtomicUsize; 4]>::default();
    host.run(async {
        let counting = Counting { inner: trampoline().unwrap(), seen: seen.clone() };
        Coroutine::new(Arc::new(counting), async {
            let nobody = TcpStream::connect_to(([127, 0, 0, 1], 1).into()).await;
            assert!(nobody.is_err());
            unblock(|| ()).await.unwrap();
            // The task is under the counting trampoline, too.
            spawn(sleep(Duration::from_millis(1))).await.unwrap();
        })
        .await;
        sleep(Duration::from_millis(1)).await;
    });
    let [timers, io, jobs, tasks] = seen.each_ref().map(|seen| seen.load(Ordering::Relaxed));
    assert!(timers >= 1 && io >= 1, "{timers} timers, {io} operations");
    assert_eq!((jobs, tasks), (1, 1));
}

#[test]
fn a_leaf_outside_any_trampoline_fails_at_once_and_names_the_remedy() {
    let cx = &mut Context::from_waker(Waker::noop());
    let names_the_remedy = |text: &str| assert!(text.contains("`Host::run`"), "{text}");

    let Poll::Ready(Err(error)) = pin!(spawn(async {})).poll(cx) else { panic!("no error") };
    names_the_remedy(&error.to_string());
    let Poll::Ready(Err(error)) = pin!(unblock(|| ())).poll(cx) else { panic!("no error") };
    names_the_remedy(&error.to_string());
    let connecting = pin!(TcpStream::connect("127.0.0.1:1"));
    let Poll::Ready(Err(error)) = connecting.poll(cx) else { panic!("no error") };
    // A port that refuses at once needs no host; a name always does.
    let connecting = pin!(TcpStream::connect("localhost:1"));
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Other));
    let Poll::Ready(Err(error)) = connecting.poll(cx) else { panic!("no error") };
    names_the_remedy(&error.to_string());
    names_the_remedy(&trampoline().err().expect("no trampoline here").to_string());

    let mut sleeping = pin!(sleep(Duration::ZERO));
    let panic = catch_unwind(AssertUnwindSafe(|| sleeping.as_mut().poll(cx))).unwrap_err();
    names_the_remedy(panic.downcast_ref::<String>().expect("a message"));
}

#[test]
fn what_is_spawned_outside_any_trampoline_is_dropped() {
    let dropped = Arc::new(AtomicBool::new(false));
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Flag(dropped.clone());
    let handle = spawn(async move { drop(flag) });
    assert!(dropped.load(Ordering::Relaxed) && handle.is_finished());
}

#[test]
fn a_dropped_blocking_host_drops_its_tasks_and_tells_their_handles() {
    let dropped = Arc::new(());
    let host = hosts::Blocking::new(1).unwrap();
    let held = dropped.clone();
    let mut task = None;
    host.run(async {
        let (begun, begins) = futures_channel::oneshot::channel();
        task = Some(spawn(async move {
            begun.send(()).unwrap();
            sleep(Duration::from_secs(3600)).await;
            drop(held);
        }));
        begins.await.unwrap();
    });
    drop(host);
    eventually("the task is dropped", || Arc::strong_count(&dropped) == 1);
    let other = hosts::Blocking::new(1).unwrap();
    let told = other.run(task.expect("it was spawned"));
    assert!(matches!(told, Err(JoinError::Cancelled)));
}
