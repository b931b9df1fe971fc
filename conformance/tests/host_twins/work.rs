//! Hosts that break the rules of `host/work.rs`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use gateway_blocking::Blocking;
use gateway_core::{Coroutine, Host, Job, Task, Trampoline, Yield, trampoline};

use super::ends::Bare;
use super::twin::{Behind, Bounce, Twin};

type Answer = Poll<io::Result<()>>;

pub(crate) fn twins() -> Vec<Twin> {
    [jobs(), tasks()].into_iter().flatten().collect()
}

fn jobs() -> Vec<Twin> {
    vec![
        // Forgets jobs, runs them on the spot, drops them.
        Twin::new("EXE-03", "a job has finished", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| lost(n > 0, job)))
        }),
        Twin::new("EXE-03", "a cancelled job gives Err(Refused", || {
            Behind::new(|good| Numbered::new(good, |n, good, job| denied(n == 0, good, job)))
        }),
        Twin::new("EXE-03", "hangs", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| lost(n > 50, job)))
        }),
        Twin::new("EXE-05", "the coroutine's own thread", || Behind::new(inline)),
        Twin::new("EXE-05", "the job: Cancelled", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| dropped(n == 20, job)))
        }),
        Twin::new("EXE-05", "inside the yield", || Behind::new(inline_in_tasks)),
        Twin::new("EXE-06", "stood still", || Behind::new(inline)),
        Twin::new("EXE-06", "stood still", || Behind::new(|good| Few::new(good, 7))),
        Twin::new("EXE-07", "beside each other", || Behind::new(|good| Few::new(good, 4))),
        Twin::new("EXE-07", "beside each other", || Behind::new(Thrifty::new)),
        // A thread for each job, and a queue that is soon full.
        Twin::new("EXE-08", "no bound in sight", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Job(job) => job.start(|job| thread::Builder::new().spawn(job).ok()),
                    other => good.bounce(other, cx),
                })
            })
        }),
        Twin::new("EXE-08", "Refused", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| refused(n >= 1000, job)))
        }),
        Twin::new("EXE-09", "gives Err(Cancelled)", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| dropped(n == 150, job)))
        }),
        Twin::new("EXE-09", "awaited again, a job gives", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| dropped_late(n == 203, job)))
        }),
        Twin::new("EXE-09", "the handle of a job that has ended", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| lost(n == 201, job)))
        }),
        Twin::new("EXE-09", "hangs", || {
            Behind::new(|good| Numbered::new(good, |n, _, job| lost(n == 150, job)))
        }),
        Twin::new("EXE-10", "without a handle have run", || JobsEnd(Blocking::new(2).unwrap())),
    ]
}

fn tasks() -> Vec<Twin> {
    vec![
        Twin::new("SPN-03", "inside the yield", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Task(mut task) => {
                        let noop = &mut Context::from_waker(Waker::noop());
                        match Pin::new(&mut task).poll(noop) {
                            Poll::Ready(()) => Poll::Ready(Ok(())),
                            Poll::Pending => good.bounce(Yield::Task(task), cx),
                        }
                    }
                    other => good.bounce(other, cx),
                })
            })
        }),
        Twin::new("SPN-03", "a task's task was polled inside", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Task(mut task) if in_a_worker() => {
                        let noop = &mut Context::from_waker(Waker::noop());
                        match Pin::new(&mut task).poll(noop) {
                            Poll::Ready(()) => Poll::Ready(Ok(())),
                            Poll::Pending => good.bounce(Yield::Task(task), cx),
                        }
                    }
                    other => good.bounce(other, cx),
                })
            })
        }),
        Twin::new("SPN-04", "gives Err(Cancelled)", || {
            Behind::new(|good| Numbered::new(good, |n, _, task| dropped(n == 5000, task)))
        }),
        Twin::new("SPN-04", "Refused", || {
            Behind::new(|good| Numbered::new(good, |n, _, task| refused(n >= 1024, task)))
        }),
        Twin::new("SPN-04", "ten thousand tasks have begun", || {
            Behind::new(|good| Numbered::new(good, |n, _, task| lost(n == 9999, task)))
        }),
        Twin::new("SPN-04", "spawned six hundred each", || {
            Behind::new(|good| Narrow(good, Arc::default()))
        }),
        Twin::new("SPN-05", "whose parents ended before", || Behind::new(Flat)),
        Twin::new("SPN-06", "from a run that is over", || PerRun),
        Twin::new("SPN-06", "due between two runs|came between two runs", || {
            Pausing(Blocking::new(2).unwrap(), Arc::default(), |_| true)
        }),
        Twin::new("SPN-06", "bytes that came between two runs", || {
            let sockets = |yielded: &Yield<'_>| matches!(yielded, Yield::Io(_));
            Pausing(Blocking::new(2).unwrap(), Arc::default(), sockets)
        }),
        Twin::new("SPN-07", "for a job, a task ends", || {
            Behind::new(|good| Numbered::new(good, |n, good, task| deaf(n == 3, good, task)))
        }),
        Twin::new("SPN-07", "for nothing, it was cancelled and not dropped", || {
            Behind::new(|good| Numbered::new(good, |n, good, task| denied(n == 0, good, task)))
        }),
        Twin::new("SPN-07", "for nothing, it gives Err(Refused", || {
            Behind::new(|good| Numbered::new(good, |n, _, task| tasted(n == 0, task)))
        }),
        Twin::new("SPN-07", "for nothing, a task ends", || {
            Behind::new(|good| Numbered::new(good, |_, good, task| deaf(true, good, task)))
        }),
        Twin::new("SPN-08", "hangs", || {
            Behind::new(|good| Numbered::new(good, |_, good, task| deaf(true, good, task)))
        }),
        Twin::new("SPN-08", "in a task, a task gives", || {
            Behind::new(|good| Numbered::new(good, |n, good, task| once(n == 0, good, task)))
        }),
        Twin::new("SPN-08", "after its host's run", || {
            Behind::new(|good| Numbered::new(good, |n, good, task| once(n == 3, good, task)))
        }),
        Twin::new("SPN-08", "a task has finished", || {
            Behind::new(|good| Numbered::new(good, |n, good, task| deaf(n == 3, good, task)))
        }),
        Twin::new("SPN-08", "a trampoline inside `run`", || Bare),
        Twin::new("SPN-09", "a trampoline inside `run`", || Bare),
        Twin::new("SPN-08", "four tasks have begun", || {
            Behind::new(|good| Numbered::new(good, |n, _, task| dropped(n == 2, task)))
        }),
    ]
}

/// Runs jobs on the spot.
fn inline(good: Arc<dyn Trampoline>) -> Bounce {
    Bounce(good, |good, yielded, cx| match yielded {
        Yield::Job(job) => {
            job.run();
            Poll::Ready(Ok(()))
        }
        other => good.bounce(other, cx),
    })
}

/// Runs jobs of tasks on the spot.
fn inline_in_tasks(good: Arc<dyn Trampoline>) -> Bounce {
    Bounce(good, |good, yielded, cx| match yielded {
        Yield::Job(job) if in_a_worker() => {
            job.run();
            Poll::Ready(Ok(()))
        }
        other => good.bounce(other, cx),
    })
}

/// Whether this is one of the host's own threads.
pub(crate) fn in_a_worker() -> bool {
    thread::current().name().is_some_and(|name| name.starts_with("gateway-"))
}

/// A trampoline that counts tasks and jobs, and treats some of them badly.
pub(crate) struct Numbered {
    good: Arc<dyn Trampoline>,
    count: AtomicUsize,
    start: fn(usize, &dyn Trampoline, Yield<'static>) -> Result<Answer, Yield<'static>>,
}

impl Numbered {
    /// `start` is given the number of the task or job; what it gives back goes to the good one.
    pub(crate) fn new(
        good: Arc<dyn Trampoline>,
        start: fn(usize, &dyn Trampoline, Yield<'static>) -> Result<Answer, Yield<'static>>,
    ) -> Numbered {
        Numbered { good, count: AtomicUsize::new(0), start }
    }
}

impl Trampoline for Numbered {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        let work = match yielded {
            Yield::Job(job) => Yield::Job(job),
            Yield::Task(task) => Yield::Task(task),
            other => return self.good.bounce(other, cx),
        };
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        match (self.start)(number, &*self.good, work) {
            Ok(answer) => answer,
            Err(work) => self.good.bounce(work, cx),
        }
    }
}

/// Neither runs the work nor drops it.
pub(crate) fn lost(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    if !bad {
        return Err(work);
    }
    mem::forget(work);
    Ok(Poll::Ready(Ok(())))
}

/// Drops the work.
pub(crate) fn dropped(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    if bad { Ok(Poll::Ready(Ok(()))) } else { Err(work) }
}

/// Drops the work after a while.
fn dropped_late(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    let Yield::Job(job) = work else { return Err(work) };
    if !bad {
        return Err(Yield::Job(job));
    }
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        drop(job);
    });
    Ok(Poll::Ready(Ok(())))
}

/// Refuses the work.
pub(crate) fn refused(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    if bad { Ok(Poll::Ready(Err(io::Error::other("too much")))) } else { Err(work) }
}

/// Starts the work, and says that it has not.
fn denied(
    bad: bool,
    good: &dyn Trampoline,
    work: Yield<'static>,
) -> Result<Answer, Yield<'static>> {
    if !bad {
        return Err(work);
    }
    let _ = good.bounce(work, &mut Context::from_waker(Waker::noop()));
    Ok(Poll::Ready(Err(io::Error::other("too much"))))
}

/// Polls a task once, on the spot, and refuses it then.
fn tasted(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    let Yield::Task(mut task) = work else { return Err(work) };
    if bad {
        let _ = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
    }
    refused(bad, Yield::Task(task))
}

/// Starts a task that can't be woken from outside the host's own threads.
pub(crate) fn deaf(
    bad: bool,
    good: &dyn Trampoline,
    work: Yield<'static>,
) -> Result<Answer, Yield<'static>> {
    match work {
        Yield::Task(task) if bad => {
            let task = Yield::Task(Task::new(deafened(task)));
            Ok(good.bounce(task, &mut Context::from_waker(Waker::noop())))
        }
        other => Err(other),
    }
}

/// Starts a task that is polled once, and given up for finished.
pub(crate) fn once(
    bad: bool,
    good: &dyn Trampoline,
    work: Yield<'static>,
) -> Result<Answer, Yield<'static>> {
    match work {
        Yield::Task(mut task) if bad => {
            let once = poll_fn(move |cx| {
                let _ = Pin::new(&mut task).poll(cx);
                Poll::Ready(())
            });
            let task = Yield::Task(Task::new(once));
            Ok(good.bounce(task, &mut Context::from_waker(Waker::noop())))
        }
        other => Err(other),
    }
}

/// A future that can't be woken from outside the host's own threads.
pub(crate) fn deafened<F: Future>(future: F) -> impl Future<Output = F::Output> {
    /// Wakes, if it is called on the right thread.
    struct Deaf(Waker);
    impl Wake for Deaf {
        fn wake(self: Arc<Deaf>) {
            if in_a_worker() {
                self.0.wake_by_ref();
            }
        }
    }
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        let deaf = Waker::from(Arc::new(Deaf(cx.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&deaf))
    })
}

/// A host with so many threads for jobs, and no more.
struct Few {
    good: Arc<dyn Trampoline>,
    queue: Mutex<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
}

impl Few {
    fn new(good: Arc<dyn Trampoline>, threads: usize) -> Few {
        let (queue, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = jobs.clone();
            thread::spawn(move || {
                loop {
                    let job = jobs.lock().unwrap().recv();
                    let Ok(job) = job else { break };
                    job();
                }
            });
        }
        Few { good, queue: Mutex::new(queue) }
    }
}

impl Trampoline for Few {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        match yielded {
            Yield::Job(job) => job.start(|job| self.queue.lock().unwrap().send(job).ok()),
            other => self.good.bounce(other, cx),
        }
    }
}

/// A host that starts a thread for a job when it knows of none without work. That one may be on its
/// way to another job.
struct Thrifty {
    good: Arc<dyn Trampoline>,
    pool: Arc<(Mutex<Queue>, Condvar)>,
}

/// Jobs, and how many threads have nothing to do.
type Queue = (VecDeque<Job>, usize);

impl Thrifty {
    fn new(good: Arc<dyn Trampoline>) -> Thrifty {
        Thrifty { good, pool: Arc::default() }
    }
}

impl Trampoline for Thrifty {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        let Yield::Job(job) = yielded else { return self.good.bounce(yielded, cx) };
        let mut state = self.pool.0.lock().unwrap();
        state.0.push_back(job);
        if state.1 == 0 {
            let pool = self.pool.clone();
            thread::spawn(move || {
                let mut state = pool.0.lock().unwrap();
                loop {
                    while let Some(job) = state.0.pop_front() {
                        drop(state);
                        job.run();
                        state = pool.0.lock().unwrap();
                    }
                    state.1 += 1;
                    state = pool.1.wait(state).unwrap();
                    state.1 -= 1;
                }
            });
        }
        self.pool.1.notify_one();
        Poll::Ready(Ok(()))
    }
}

/// A host whose queue has room for five hundred tasks; whoever spawns one more has to wait.
struct Narrow(Arc<dyn Trampoline>, Arc<AtomicUsize>);

impl Trampoline for Narrow {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        let Yield::Task(mut task) = yielded else { return self.0.bounce(yielded, cx) };
        while self.1.load(Ordering::SeqCst) >= 500 {
            thread::sleep(Duration::from_millis(1));
        }
        let queued = self.1.clone();
        queued.fetch_add(1, Ordering::SeqCst);
        let mut begun = false;
        let counted = poll_fn(move |cx| {
            if !mem::replace(&mut begun, true) {
                queued.fetch_sub(1, Ordering::SeqCst);
            }
            Pin::new(&mut task).poll(cx)
        });
        self.0.bounce(Yield::Task(Task::new(counted)), cx)
    }
}

/// A host some of whose waits wake nobody while nothing runs.
struct Pausing(Blocking, Arc<AtomicBool>, fn(&Yield<'_>) -> bool);

impl Host for Pausing {
    fn run<F: Future>(&self, future: F) -> F::Output {
        struct WhileRunning(Arc<dyn Trampoline>, Arc<AtomicBool>, fn(&Yield<'_>) -> bool);
        impl Trampoline for WhileRunning {
            fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
                struct Woken(Waker, Arc<AtomicBool>);
                impl Wake for Woken {
                    fn wake(self: Arc<Woken>) {
                        if self.1.load(Ordering::SeqCst) {
                            self.0.wake_by_ref();
                        }
                    }
                }
                if !(self.2)(&yielded) {
                    return self.0.bounce(yielded, cx);
                }
                let waker = Arc::new(Woken(cx.waker().clone(), self.1.clone())).into();
                self.0.bounce(yielded, &mut Context::from_waker(&waker))
            }
        }
        self.1.store(true, Ordering::SeqCst);
        let output = self.0.run(async {
            let pausing = WhileRunning(trampoline().unwrap(), self.1.clone(), self.2);
            Coroutine::new(Arc::new(pausing), future).await
        });
        self.1.store(false, Ordering::SeqCst);
        output
    }
}

/// A host that begins no job while it runs, and drops them all when `run` returns.
struct JobsEnd(Blocking);

impl Host for JobsEnd {
    fn run<F: Future>(&self, future: F) -> F::Output {
        /// Keeps the jobs.
        struct Until(Arc<dyn Trampoline>, Mutex<Vec<Job>>);
        impl Trampoline for Until {
            fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
                let Yield::Job(job) = yielded else { return self.0.bounce(yielded, cx) };
                self.1.lock().unwrap().push(job);
                Poll::Ready(Ok(()))
            }
        }
        self.0.run(async {
            let until = Until(trampoline().unwrap(), Mutex::default());
            Coroutine::new(Arc::new(until), future).await
        })
    }
}

/// A host whose tasks may not spawn.
struct Flat(Arc<dyn Trampoline>);

thread_local! {
    static IN_A_TASK: Cell<bool> = const { Cell::new(false) };
}

impl Trampoline for Flat {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        match yielded {
            Yield::Task(_) if IN_A_TASK.get() => Poll::Ready(Err(io::Error::other("too deep"))),
            Yield::Task(mut task) => {
                let marked = poll_fn(move |cx| {
                    IN_A_TASK.set(true);
                    let polled = Pin::new(&mut task).poll(cx);
                    IN_A_TASK.set(false);
                    polled
                });
                self.0.bounce(Yield::Task(Task::new(marked)), cx)
            }
            other => self.0.bounce(other, cx),
        }
    }
}

/// A host that is made for each `run`.
struct PerRun;

impl Host for PerRun {
    fn run<F: Future>(&self, future: F) -> F::Output {
        Blocking::new(2).unwrap().run(future)
    }
}
