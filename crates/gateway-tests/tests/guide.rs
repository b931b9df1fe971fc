//! The host of `docs/guide-adapter.md`, written from nothing but std, and the tests that it passes.
//!
//! The adapter comes first: what the guide is about. Below it stands the least runtime that an
//! adapter can bind, which std lacks and yours has: threads, a clock, and sockets that are tried
//! again and again. It shares four states, each under a lock of its own:
//!
//! | state | what it holds | once it has stopped |
//! |---|---|---|
//! | `Queue` of `workers` | tasks to poll, and who polls them | nobody polls; tasks are refused |
//! | `Tasks` | all tasks that have not ended | they have been dropped |
//! | `Queue` of `jobs` | jobs to run, and who runs them | what had not begun has been dropped |
//! | `Alarms` | whom to wake when | all have been woken; every yield is answered with an error |
//!
//! They stop in this order, so a task that is being dropped has its clock still. Wakers are woken,
//! and tasks, jobs and wakers dropped, without any lock: each may run somebody's code.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use gateway_core::{Coroutine, Direction, Host, Reactor, Task, Trampoline, Yield};

// The adapter starts here.

/// A host on nothing but std. Dropping it drops the tasks that are left, and waits for jobs that
/// have begun.
pub struct StdHost(Owner);

impl StdHost {
    /// Starts the clock.
    ///
    /// # Errors
    ///
    /// When the system gives no thread for it.
    pub fn new() -> io::Result<StdHost> {
        Owner::start().map(StdHost)
    }
}

impl Host for StdHost {
    fn run<F: Future>(&self, future: F) -> F::Output {
        block_on(Coroutine::new(Arc::new(OnStd(self.0.runtime.clone())), future))
    }
}

/// The trampoline of a [`StdHost`].
struct OnStd(Arc<Runtime>);

impl Trampoline for OnStd {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.check()?;
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, |at| self.0.alarm(at)),
            Yield::Io(io) => io.poll(self, cx),
            Yield::Job(job) => job.start(|job| self.0.start(job).ok()),
            Yield::Task(task) => task.start(|task| self.0.drive(task).ok()),
        }
    }
}

impl Reactor for OnStd {
    type Socket = Retried;

    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket> {
        Ok(Retried { fd, runtime: self.0.clone(), pauses: Default::default() })
    }

    fn poll_ready(io: &Self::Socket, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io.poll_pause(way, cx).map(Ok)
    }
}

// The adapter ends here.

/// Drives `future` on the calling thread, which is parked while there is nothing to do.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parked = Arc::new(Parked { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(parked.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // The flag counts, and not the unpark: the future may have parked the thread itself, and
        // used that up.
        while !parked.woken.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    }
}

/// The waker of a thread in [`block_on`].
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Parked>) {
        self.woken.swap(true, Ordering::AcqRel);
        self.thread.unpark();
    }
}

/// How many threads drive tasks.
const WORKERS: usize = 4;

/// How many jobs run at once. More of them wait their turn.
const JOBS: usize = 64;

/// How long a socket is left alone after an attempt that found it not ready.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the clock sleeps while nobody waits for anything. It is woken when somebody does.
const IDLE: Duration = Duration::from_secs(3600);

/// What all threads of a host share: see the table above.
#[derive(Default)]
struct Runtime {
    workers: Arc<Pool>,
    tasks: Mutex<Tasks>,
    jobs: Arc<Pool>,
    alarms: Mutex<Alarms>,
    /// There is a new alarm, or the clock has to stop.
    changed: Condvar,
}

#[derive(Default)]
struct Tasks {
    /// By number, but for those that are being polled.
    left: HashMap<u64, Task>,
    made: u64,
}

#[derive(Default)]
struct Alarms {
    /// By moment; the number tells alarms for the same moment apart.
    set: BTreeMap<(Instant, u64), Waker>,
    made: u64,
    stopped: bool,
}

impl Runtime {
    /// An error once the clock has stopped.
    fn check(&self) -> io::Result<()> {
        match lock(&self.alarms).stopped {
            true => Err(io::Error::other("the std host has been dropped")),
            false => Ok(()),
        }
    }

    /// A future that ends at `at`, and not before.
    fn alarm(self: &Arc<Runtime>, at: Instant) -> Alarm {
        let mut alarms = lock(&self.alarms);
        alarms.made += 1;
        Alarm { runtime: self.clone(), key: (at, alarms.made) }
    }

    /// Runs `job` on a thread that may block, in its turn.
    fn start(&self, job: Work) -> io::Result<()> {
        self.jobs.push(JOBS, job)
    }

    /// Drives `task` to its end, or until the host is dropped.
    fn drive(self: &Arc<Runtime>, task: Task) -> io::Result<()> {
        let mut tasks = lock(&self.tasks);
        tasks.made += 1;
        let number = tasks.made;
        Arc::new(Driven { runtime: self.clone(), number, wakes: AtomicUsize::new(1) }).queue()?;
        // Whoever polls it first waits for the lock.
        tasks.left.insert(number, task);
        Ok(())
    }

    /// Drops the tasks that are left. Nobody drives them any more.
    fn drop_tasks(&self) {
        let left = mem::take(&mut lock(&self.tasks).left);
        drop(left);
    }

    fn stop_clock(&self) {
        lock(&self.alarms).stopped = true;
        self.changed.notify_one();
    }

    /// What the clock does until it has to stop.
    fn keep_time(&self) {
        let mut alarms = lock(&self.alarms);
        while !alarms.stopped {
            let now = Instant::now();
            let later = alarms.set.split_off(&(now, u64::MAX));
            let due = mem::replace(&mut alarms.set, later);
            if due.is_empty() {
                let next = alarms.set.first_key_value().map_or(IDLE, |((at, _), _)| *at - now);
                let waited = self.changed.wait_timeout(alarms, next);
                alarms = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                drop(alarms);
                due.into_values().for_each(Waker::wake);
                alarms = lock(&self.alarms);
            }
        }
        let left = mem::take(&mut alarms.set);
        drop(alarms);
        left.into_values().for_each(Waker::wake);
    }
}

/// What drives a task: its waker.
struct Driven {
    runtime: Arc<Runtime>,
    number: u64,
    /// How often it was woken that no poll has answered. Until that is none, it is in the queue or
    /// with a worker, and so never twice.
    wakes: AtomicUsize,
}

impl Wake for Driven {
    fn wake(self: Arc<Driven>) {
        if self.wakes.fetch_add(1, Ordering::AcqRel) == 0 {
            // Refused only while the host is being dropped, and the task with it.
            let _ = self.queue();
        }
    }
}

impl Driven {
    fn queue(self: Arc<Driven>) -> io::Result<()> {
        let workers = self.runtime.workers.clone();
        workers.push(WORKERS, Box::new(move || self.poll()))
    }

    fn poll(self: Arc<Driven>) {
        let answered = self.wakes.load(Ordering::Acquire);
        let task = lock(&self.runtime.tasks).left.remove(&self.number);
        let Some(mut task) = task else { return };
        let waker = Waker::from(self.clone());
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        // A task that has dropped its own host is dropped here: nobody else does.
        if polled.is_ready() || self.runtime.workers.stopped() {
            return;
        }
        lock(&self.runtime.tasks).left.insert(self.number, task);
        if self.wakes.fetch_sub(answered, Ordering::AcqRel) > answered {
            let _ = self.queue();
        }
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads that share a queue. Each is started when there is more work than threads at rest.
#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    /// There is work, or the threads have to stop.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    threads: Vec<JoinHandle<()>>,
    /// How many threads wait for work.
    at_rest: usize,
    stopped: bool,
}

impl Pool {
    /// Has `work` done by one of `most` threads, in its turn. What is refused is dropped when the
    /// lock is free again.
    fn push(self: &Arc<Pool>, most: usize, work: Work) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        if queue.stopped {
            return Err(io::Error::other("the std host is being dropped"));
        }
        if queue.work.len() >= queue.at_rest && queue.threads.len() < most {
            let pool = self.clone();
            match thread::Builder::new().name("std-host".into()).spawn(move || pool.work()) {
                Ok(thread) => queue.threads.push(thread),
                Err(error) if queue.threads.is_empty() => return Err(error),
                Err(_) => {} // The others will come to it.
            }
        }
        queue.work.push_back(work);
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// What each thread does until it has to stop.
    fn work(&self) {
        let mut queue = lock(&self.queue);
        while !queue.stopped {
            if let Some(work) = queue.work.pop_front() {
                drop(queue);
                work();
                queue = lock(&self.queue);
            } else {
                queue.at_rest += 1;
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.at_rest -= 1;
            }
        }
    }

    fn stopped(&self) -> bool {
        lock(&self.queue).stopped
    }

    /// Drops the work that has not begun, and waits for the rest.
    fn stop(&self) {
        let mut queue = lock(&self.queue);
        queue.stopped = true;
        let (work, threads) = (mem::take(&mut queue.work), mem::take(&mut queue.threads));
        drop(queue);
        self.changed.notify_all();
        drop(work);
        threads.into_iter().for_each(join);
    }
}

/// The host's own hold on its runtime. Dropping it ends all threads.
struct Owner {
    runtime: Arc<Runtime>,
    clock: Option<JoinHandle<()>>,
}

impl Owner {
    fn start() -> io::Result<Owner> {
        let runtime = Arc::new(Runtime::default());
        let kept = runtime.clone();
        let clock = thread::Builder::new().name("std-clock".into()).spawn(move || kept.keep_time());
        Ok(Owner { runtime, clock: Some(clock?) })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.runtime.workers.stop();
        self.runtime.drop_tasks();
        self.runtime.jobs.stop();
        self.runtime.stop_clock();
        self.clock.take().into_iter().for_each(join);
    }
}

/// A moment to wait for. Dropping it makes the clock forget it, waker included.
struct Alarm {
    runtime: Arc<Runtime>,
    key: (Instant, u64),
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.0 {
            return Poll::Ready(());
        }
        let mut alarms = lock(&self.runtime.alarms);
        if alarms.stopped {
            drop(alarms);
            // Nobody would wake it later. The next bounce says why.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = alarms.set.insert(self.key, cx.waker().clone());
        drop(alarms);
        self.runtime.changed.notify_one();
        // The waker of an earlier poll, which counts no more.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = lock(&self.runtime.alarms).set.remove(&self.key);
        drop(waker);
    }
}

/// A socket that is tried again and again, because std can't tell when it is ready.
struct Retried {
    fd: OwnedFd,
    runtime: Arc<Runtime>,
    /// Per direction: how long to leave it alone.
    pauses: [Mutex<Option<Alarm>>; 2],
}

impl Retried {
    /// Ready when the pause in this direction is over. The next call begins another.
    fn poll_pause(&self, way: Direction, cx: &mut Context<'_>) -> Poll<()> {
        let mut pause = lock(&self.pauses[way as usize]);
        let alarm = pause.get_or_insert_with(|| self.runtime.alarm(Instant::now() + PAUSE));
        ready!(Pin::new(alarm).poll(cx));
        *pause = None;
        Poll::Ready(())
    }
}

impl AsFd for Retried {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits for a thread, unless it is this one: the host may be dropped on a thread of its own.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All rules for hosts, one test each.
mod conformance {
    gateway_conformance::host_tests!(super::StdHost::new().unwrap());
}

mod tests {
    use std::cell::Cell;
    use std::future;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net;
    use std::sync::{Barrier, mpsc};

    use futures_util::future::{Either, join, select};
    use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
    use gateway_core::{Body, JoinError, Request, Response, Sleep};
    use gateway_core::{sleep, spawn, timeout, trampoline, unblock};
    use gateway_http::Server;
    use gateway_net::{TcpListener, TcpStream};
    use gateway_tests::guide::Guide;
    use gateway_tests::{PATIENCE, in_time};

    use super::*;

    /// Longer than any test.
    const HOUR: Duration = Duration::from_secs(3600);

    /// Counts how often it is dropped.
    struct Guard(Arc<AtomicUsize>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Spawns a clean-up where it is dropped, and says whether that was refused at once. The clean-up
    /// holds the next of its kind, so many times.
    struct Spawns(mpsc::Sender<bool>, usize);

    impl Spawns {
        fn new(next: usize) -> (Spawns, mpsc::Receiver<bool>) {
            let (done, told) = mpsc::channel();
            (Spawns(done, next), told)
        }
    }

    impl Drop for Spawns {
        fn drop(&mut self) {
            let next = self.1.checked_sub(1).map(|next| Spawns(self.0.clone(), next));
            let answer = spawn(async move { drop(next) }).now_or_never();
            let _ = self.0.send(matches!(answer, Some(Err(JoinError::Refused(_)))));
        }
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Counter>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Polls with a waker that counts from nought.
    fn poll_counted<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> (Poll<T>, Arc<Counter>) {
        let counter = Arc::new(Counter::default());
        let polled = poll(&mut Context::from_waker(&Waker::from(counter.clone())));
        (polled, counter)
    }

    fn host() -> StdHost {
        StdHost::new().expect("a thread for the clock")
    }

    /// Runs `future` on a host of its own, to fail where it hangs.
    fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
        in_time(move || host().run(future))
    }

    /// How many alarms the clock remembers.
    fn alarms(host: &StdHost) -> usize {
        lock(&host.0.runtime.alarms).set.len()
    }

    gateway_tests::guide_tests!(Guide::on_std(include_str!("guide.rs")));

    #[test]
    fn a_sleep_does_not_end_early() {
        let (asked, slept) = run(async {
            let (asked, began) = (Duration::from_millis(20), Instant::now());
            sleep(asked).await;
            (asked, began.elapsed())
        });
        assert!(slept >= asked, "{slept:?}");
    }

    #[test]
    fn a_nearer_alarm_is_not_kept_waiting_by_a_later_one() {
        let first = run(async {
            let first = select(sleep(HOUR), sleep(Duration::from_millis(1))).await;
            matches!(first, Either::Right(_))
        });
        assert!(first, "an hour is over");
    }

    #[test]
    fn a_timeout_ends_what_has_no_end() {
        assert!(run(timeout(Duration::from_millis(1), future::pending::<()>())).is_err());
        assert_eq!(run(timeout(HOUR, async { 1 })), Ok(1));
    }

    #[test]
    fn a_dropped_timer_is_forgotten() {
        in_time(|| {
            let host = host();
            let mut long: Sleep = sleep(HOUR);
            let asked = future::poll_fn(|cx| Poll::Ready(Pin::new(&mut long).poll(cx)));
            assert!(host.run(asked).is_pending());
            assert_eq!(alarms(&host), 1);
            drop(long);
            assert_eq!(alarms(&host), 0);
        });
    }

    #[test]
    fn tasks_run_beside_each_other() {
        run(async {
            let both = Arc::new(Barrier::new(2));
            let task = |n| {
                let both = both.clone();
                spawn(async move {
                    both.wait();
                    n
                })
            };
            let (one, two) = join(task(1), task(2)).await;
            assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
        });
    }

    #[test]
    fn a_panic_of_a_task_or_a_job_arrives_where_it_is_awaited() {
        run(async {
            let task = spawn(async { panic!("task") }).await;
            assert!(matches!(task, Err(JoinError::Panicked(why)) if why == "task"));
            let job = unblock(|| panic!("job")).await;
            assert!(matches!(job, Err(JoinError::Panicked(why)) if why == "job"));
        });
    }

    #[test]
    fn a_job_blocks_nobody_else() {
        run(async {
            let (send, receive) = mpsc::channel();
            let job = unblock(move || receive.recv());
            spawn(async move { send.send(7) }).await.unwrap().unwrap();
            assert_eq!(job.await.unwrap(), Ok(7));
        });
    }

    #[test]
    fn a_cancelled_task_is_dropped_where_it_waits() {
        run(async {
            let dropped = Arc::new(AtomicUsize::new(0));
            let guard = Guard(dropped.clone());
            let (began, begun) = mpsc::channel();
            let task = spawn(async move {
                let _guard = guard;
                began.send(()).unwrap();
                sleep(HOUR).await;
            });
            unblock(move || begun.recv()).await.unwrap().unwrap();
            task.cancel();
            assert!(matches!(task.await, Err(JoinError::Cancelled)));
            assert_eq!(dropped.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn what_a_stopped_pool_refuses_may_push_in_turn() {
        struct Pushes(Arc<Pool>, mpsc::Sender<bool>);
        impl Drop for Pushes {
            fn drop(&mut self) {
                let refused = self.0.push(1, Box::new(|| ())).is_err();
                self.1.send(refused).unwrap();
            }
        }
        in_time(|| {
            let pool = Arc::new(Pool::default());
            let push = |work: Work| pool.push(1, work);
            let (tell, told) = mpsc::channel();
            let (begin, begun) = mpsc::channel();
            let (go, gate) = mpsc::channel();
            let waits = move || {
                begin.send(()).unwrap();
                gate.recv().unwrap();
            };
            push(Box::new(waits)).unwrap();
            begun.recv().unwrap();
            let pushes = Pushes(pool.clone(), tell.clone());
            push(Box::new(move || {
                drop(pushes);
                panic!("it was not its turn");
            }))
            .unwrap();
            let stops = pool.clone();
            let stopping = thread::spawn(move || stops.stop());
            assert_eq!(told.recv(), Ok(true), "dropped in the queue");
            let pushes = Pushes(pool.clone(), tell);
            assert!(push(Box::new(move || drop(pushes))).is_err());
            assert_eq!(told.recv(), Ok(true), "refused at once");
            go.send(()).unwrap();
            stopping.join().unwrap();
        });
    }

    #[test]
    fn an_unpark_that_the_future_has_used_up_loses_no_wake_up() {
        in_time(|| {
            let polls = Cell::new(0);
            block_on(future::poll_fn(|cx| {
                polls.set(polls.get() + 1);
                if polls.get() == 2 {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                thread::park();
                Poll::Pending
            }));
            assert_eq!(polls.get(), 2);
        });
    }

    #[test]
    fn no_wake_up_from_another_thread_is_lost() {
        in_time(|| {
            let (ask, asked) = mpsc::channel::<(Waker, Arc<AtomicBool>)>();
            let waking = thread::spawn(move || {
                for (waker, done) in asked {
                    done.store(true, Ordering::SeqCst);
                    waker.wake();
                }
            });
            for _ in 0..10_000 {
                let done = Arc::new(AtomicBool::new(false));
                block_on(future::poll_fn(|cx| {
                    if done.load(Ordering::SeqCst) {
                        return Poll::Ready(());
                    }
                    ask.send((cx.waker().clone(), done.clone())).unwrap();
                    Poll::Pending
                }));
            }
            drop(ask);
            waking.join().unwrap();
        });
    }

    #[test]
    fn a_dropped_host_drops_its_tasks_and_leaves_no_thread() {
        in_time(|| {
            let host = host();
            let runtime = Arc::downgrade(&host.0.runtime);
            let dropped = Arc::new(AtomicUsize::new(0));
            let address = host.run(async {
                let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let waits: [Pin<Box<dyn Future<Output = ()> + Send>>; 3] = [
                    Box::pin(future::pending()),
                    Box::pin(sleep(HOUR)),
                    Box::pin(async move { drop(listener.accept().await) }),
                ];
                let (begun, all_begun) = mpsc::channel();
                for wait in waits {
                    let (guard, begun) = (Guard(dropped.clone()), begun.clone());
                    spawn(async move {
                        let _guard = guard;
                        join(wait, async move { begun.send(()).unwrap() }).await;
                    });
                }
                unblock(move || all_begun.iter().take(3).count()).await.unwrap();
                address
            });
            assert_eq!(dropped.load(Ordering::SeqCst), 0);
            drop(host);
            assert_eq!(dropped.load(Ordering::SeqCst), 3);
            assert!(runtime.upgrade().is_none(), "somebody still holds the runtime");
            assert!(net::TcpStream::connect(address).is_err(), "the listener is still open");
        });
    }

    #[test]
    fn a_task_dropped_with_its_host_may_spawn_its_clean_up() {
        in_time(|| {
            let host = host();
            let (guard, cleaned_up) = Spawns::new(1);
            host.run(async {
                spawn(async move {
                    let _guard = guard;
                    future::pending::<()>().await;
                });
            });
            drop(host);
            assert_eq!(cleaned_up.iter().collect::<Vec<_>>(), [true, true]);
        });
    }

    #[test]
    fn a_host_may_be_dropped_by_its_own_task() {
        in_time(|| {
            for ends in [true, false] {
                let host = Arc::new(host());
                let last = host.clone();
                let (go, told) = mpsc::channel();
                let (done, ended) = mpsc::channel();
                host.run(async move {
                    spawn(async move {
                        told.recv().unwrap();
                        drop(last);
                        done.send(()).unwrap();
                        if !ends {
                            future::pending::<()>().await;
                        }
                        drop(done);
                    });
                });
                drop(host);
                go.send(()).unwrap();
                assert_eq!(ended.recv(), Ok(()));
                assert!(ended.recv().is_err(), "the task is still there");
            }
        });
    }

    #[test]
    fn a_dropped_host_has_waited_for_its_jobs() {
        struct Tells(mpsc::Sender<()>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        in_time(|| {
            let host = host();
            let finished = Arc::new(AtomicBool::new(false));
            let finish = finished.clone();
            let (tell, told) = mpsc::channel();
            let tells = Tells(tell);
            let (begin, begun) = mpsc::channel();
            host.run(async {
                spawn(async move {
                    let _tells = tells;
                    future::pending::<()>().await;
                });
                unblock(move || {
                    begin.send(()).unwrap();
                    // The task is dropped with the host, so from here on the host is going.
                    told.recv().unwrap();
                    (0..1000).for_each(|_| thread::yield_now());
                    finish.store(true, Ordering::SeqCst);
                });
            });
            // A job that has not begun would go down with the host.
            begun.recv().unwrap();
            drop(host);
            assert!(finished.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn a_dropped_host_leaves_no_clock() {
        in_time(|| {
            for _ in 0..1000 {
                let host = host();
                let runtime = Arc::downgrade(&host.0.runtime);
                drop(host);
                assert!(runtime.upgrade().is_none(), "the clock is still there");
            }
        });
    }

    #[test]
    fn a_clock_that_stops_wakes_the_latest_waker_of_each_alarm() {
        in_time(|| {
            let host = host();
            let mut alarm = host.0.runtime.alarm(Instant::now() + HOUR);
            let (first, early) = poll_counted(|cx| Pin::new(&mut alarm).poll(cx));
            let (second, latest) = poll_counted(|cx| Pin::new(&mut alarm).poll(cx));
            assert!(first.is_pending() && second.is_pending(), "an hour is over");
            assert_eq!((early.count(), latest.count()), (0, 0));
            drop(host);
            assert_eq!((early.count(), latest.count()), (0, 1));
            let (third, late) = poll_counted(|cx| Pin::new(&mut alarm).poll(cx));
            assert!(third.is_pending(), "an hour is over");
            assert_eq!(late.count(), 1, "nobody will wake it later");
        });
    }

    #[test]
    fn each_direction_of_a_socket_has_a_waker_of_its_own() {
        in_time(|| {
            let host = host();
            let reactor = OnStd(host.0.runtime.clone());
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = reactor.register(listener.into()).unwrap();
            // A pause may be over before it is asked about, but not for ever.
            let wait = |way| loop {
                let (ready, counter) = poll_counted(|cx| OnStd::poll_ready(&socket, way, cx));
                if ready.is_pending() {
                    return counter;
                }
            };
            let (reader, writer) = (wait(Direction::Read), wait(Direction::Write));
            drop(host);
            assert_eq!((reader.count(), writer.count()), (1, 1));
        });
    }

    #[test]
    fn whoever_outlives_the_host_is_told() {
        in_time(|| {
            let host = host();
            let trampoline = host.run(async { trampoline().unwrap() });
            let waits = trampoline.clone();
            let waiting = thread::spawn(move || {
                let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
                block_on(Coroutine::new(waits, async move { listener.accept().await.map(drop) }))
            });
            drop(host);
            assert!(waiting.join().unwrap().is_err());
            let late = block_on(Coroutine::new(trampoline, async { spawn(async {}).await }));
            assert!(matches!(late, Err(JoinError::Refused(_))), "{late:?}");
        });
    }

    #[test]
    fn an_echo_gives_back_every_byte() {
        let sent: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let received = run(async move {
            let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = spawn(async move {
                let (stream, _) = listener.accept().await?;
                let (reader, mut writer) = stream.split();
                futures_util::io::copy(reader, &mut writer).await?;
                writer.close().await
            });
            let (mut reader, mut writer) = TcpStream::connect(&address).await.unwrap().split();
            let client = spawn(async move {
                writer.write_all(&sent).await?;
                writer.close().await
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            client.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
            received
        });
        assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    }

    /// Sends a request and reads the response: its status line and its body.
    fn get(connection: &mut BufReader<net::TcpStream>, path: &str) -> io::Result<(String, String)> {
        write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().map_err(io::Error::other)?;
            }
            head.push(line.trim().to_owned());
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        Ok((head.swap_remove(0), String::from_utf8_lossy(&body).into_owned()))
    }

    async fn hello(request: Request) -> Response {
        sleep(Duration::from_millis(1)).await;
        Response::new(Body::from(format!("hello, {}", request.uri().path())))
    }

    #[test]
    fn a_server_answers_on_one_connection_and_drains() {
        let (answers, rest) = run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (drain, told) = mpsc::channel::<()>();
            let client = unblock(move || {
                let stream = net::TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut connection = BufReader::new(stream);
                let answers = [get(&mut connection, "/one")?, get(&mut connection, "/two")?];
                drop(drain);
                let mut rest = Vec::new();
                connection.read_to_end(&mut rest)?;
                io::Result::Ok((answers, rest))
            });
            let server = Server::new(hello).listen(gateway_http::Listener::from(listener));
            let shutdown = async { drop(unblock(move || told.recv()).await) };
            server.serve(shutdown).await.unwrap();
            client.await.unwrap().unwrap()
        });
        let ok = |body: &str| ("HTTP/1.1 200 OK".to_owned(), body.to_owned());
        assert_eq!(answers, [ok("hello, /one"), ok("hello, /two")]);
        assert!(rest.is_empty(), "sent after the drain: {rest:?}");
    }
}
