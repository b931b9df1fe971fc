//! A host on compio, a runtime that nobody here wrote: the adapter, and the tests that it passes.
//!
//! A compio runtime can't leave its thread, and neither can its timers, nor its operations on
//! sockets. Coroutines can, and do. So the runtime has a thread of its own here, and whatever begins
//! there is sent there as a function. What comes back comes by a channel for one value, and closing
//! that gives the wait up.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use compio::driver::{AsyncifyPool, ProactorBuilder};
use compio::runtime::Runtime;
use compio::runtime::fd::PollFd;
use compio::runtime::time::{sleep, sleep_until};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_channel::oneshot;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use gateway_core::{Coroutine, Direction, Host, Reactor, Trampoline, Yield};
use pollster::block_on;
use smol::LocalExecutor;

// The adapter starts here.

/// A host on one thread with a compio runtime. Dropping it drops the tasks that are left; jobs that
/// have begun go on.
pub struct Compio(Arc<Remote>);

impl Compio {
    /// Starts the thread, and the runtime on it.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or nothing for the driver to wait with.
    pub fn new(driver: ProactorBuilder) -> io::Result<Compio> {
        Remote::start(driver).map(|remote| Compio(Arc::new(remote)))
    }
}

impl Host for Compio {
    fn run<F: Future>(&self, future: F) -> F::Output {
        block_on(Coroutine::new(Arc::new(OnCompio(Arc::downgrade(&self.0))), future))
    }
}

/// The trampoline of a [`Compio`].
#[derive(Clone)]
struct OnCompio(Weak<Remote>);

impl Trampoline for OnCompio {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let remote = self.0.upgrade().ok_or_else(gone)?;
        remote.check()?;
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, |at| remote.wait(move || sleep_until(at))),
            Yield::Io(io) => io.poll(self, cx),
            Yield::Job(job) => job.start(|job| remote.jobs.unbounded_send(job).ok()),
            Yield::Task(task) => task.start(|task| remote.spawn(|| task)),
        }
    }
}

impl Reactor for OnCompio {
    type Socket = Polled;

    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket> {
        Ok(Polled { fd: Arc::new(fd), on: self.clone(), waits: Default::default() })
    }

    fn poll_ready(io: &Self::Socket, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io.poll_wait(way, cx)
    }
}

// The adapter ends here.

/// How many jobs run at once. More of them wait their turn.
const JOBS: usize = 64;

/// How long a thread for jobs stays when there are none.
const IDLE: Duration = Duration::from_secs(5);

/// How long it takes until a job that has found no thread looks again.
const BUSY: Duration = Duration::from_millis(1);

type Job = Box<dyn FnOnce() + Send>;

/// Puts a task on the runtime's thread.
type Start = Box<dyn FnOnce(&LocalExecutor<'static>) + Send>;

/// The way to a runtime on its thread. Dropping it ends both.
struct Remote {
    starts: UnboundedSender<Start>,
    jobs: UnboundedSender<Job>,
}

impl Remote {
    fn start(driver: ProactorBuilder) -> io::Result<Remote> {
        let ((starts, mut begun), (jobs, queue)) = (unbounded::<Start>(), unbounded());
        let (failed, failure) = mpsc::channel();
        let serve = move || match Runtime::builder().with_proactor(driver).build() {
            Err(error) => drop(failed.send(error)),
            Ok(runtime) => runtime.block_on(async move {
                drop(failed);
                let tasks = LocalExecutor::new();
                tasks.spawn(run_jobs(queue)).detach();
                let begin = async {
                    while let Some(start) = begun.next().await {
                        start(&tasks)
                    }
                };
                tasks.run(begin).await;
            }),
        };
        thread::Builder::new().name("compio".into()).spawn(serve)?;
        failure.recv().map_or(Ok(Remote { starts, jobs }), Err)
    }

    /// An error when the thread has ended, which it does by itself only in a panic.
    fn check(&self) -> io::Result<()> {
        if self.starts.is_closed() { Err(gone()) } else { Ok(()) }
    }

    /// Drives what `make` makes to its end, on the runtime's thread.
    fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Option<()>
    where
        F: Future<Output = ()> + 'static,
    {
        self.starts.unbounded_send(Box::new(|tasks| tasks.spawn(make()).detach())).ok()
    }

    /// Waits there for what `make` makes. Dropping the receiver gives that up.
    fn wait<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> oneshot::Receiver<F::Output>
    where
        F: Future<Output: Send> + 'static,
    {
        let (mut tell, told) = oneshot::channel();
        self.spawn(|| async move {
            let wait = pin!(make());
            let given_up = tell.cancellation();
            let Either::Left((output, _)) = select(wait, given_up).await else { return };
            let _ = tell.send(output);
        });
        told
    }
}

/// Gives one job after the other a thread.
async fn run_jobs(mut queue: UnboundedReceiver<Job>) {
    let pool = AsyncifyPool::new(JOBS, IDLE);
    while let Some(mut job) = queue.next().await {
        while let Err(busy) = pool.dispatch(job) {
            job = busy.into_inner();
            sleep(BUSY).await;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the compio host has been dropped")
}

/// A socket, and for each direction the wait that is going on.
struct Polled {
    /// Shared with the driver: the kernel may look at it for a while after a wait was given up.
    fd: Arc<OwnedFd>,
    on: OnCompio,
    waits: [Mutex<Option<oneshot::Receiver<io::Result<()>>>>; 2],
}

impl Polled {
    fn poll_wait(&self, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wait = self.waits[way as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if wait.is_none() {
            let fd = self.fd.clone();
            let remote = self.on.0.upgrade().ok_or_else(gone)?;
            *wait = Some(remote.wait(move || ready_once(fd, way)));
        }
        let told = wait.as_mut().map(|told| Pin::new(told).poll(cx));
        let ready = ready!(told.expect("a wait has begun"));
        *wait = None;
        Poll::Ready(ready.unwrap_or_else(|_| Err(gone())))
    }
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

async fn ready_once(fd: Arc<OwnedFd>, way: Direction) -> io::Result<()> {
    let fd = PollFd::new(fd)?;
    match way {
        Direction::Read => fd.read_ready().await,
        Direction::Write => fd.write_ready().await,
    }
}

/// All rules for hosts, one test each.
mod conformance {
    gateway_conformance::host_tests!(super::Compio::new(Default::default()).unwrap());
}

/// The same with the driver that compio falls back on, where there is no io_uring.
mod polling {
    use compio::driver::{DriverType, ProactorBuilder};

    gateway_conformance::host_tests!({
        let mut driver = ProactorBuilder::new();
        driver.driver_type(DriverType::Poll);
        super::Compio::new(driver).unwrap()
    });
}
