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

use compio::driver::{AsyncifyPool, DriverType, ProactorBuilder};
use compio::runtime::Runtime;
use compio::runtime::fd::PollFd;
use compio::runtime::time::{sleep, sleep_until};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_channel::oneshot;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use gateway_core::{Coroutine, Direction, Host, Reactor, Trampoline, Yield};
use gateway_tests::in_time;
use pollster::block_on;
use smol::LocalExecutor;

// The adapter starts here.

/// A host on one thread with a compio runtime. Dropping it drops the tasks that are left; jobs that
/// have begun go on.
pub struct Compio(Arc<Remote>);

impl Compio {
    /// Starts the thread, and the runtime on it. The driver needs a capacity of 256 or more, as it
    /// has unless it is told otherwise.
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
                // Not compio's own, which may not be dropped while its tasks wait for each other.
                let tasks = LocalExecutor::new();
                tasks.spawn(run_jobs(queue)).detach();
                let starting = async {
                    while let Some(start) = begun.next().await {
                        start(&tasks);
                    }
                };
                tasks.run(starting).await;
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

/// All rules for hosts, one test each, and the tests below: on the driver that compio picks, and on
/// the one that it picks where there is no io_uring.
macro_rules! on_both_drivers {
    ($($test:ident),* $(,)?) => {
        on_both_drivers!(@ as_picked, ProactorBuilder::new(), $($test)*);
        on_both_drivers!(@ on_polling, driver(DriverType::Poll), $($test)*);
    };
    (@ $name:ident, $driver:expr, $($test:ident)*) => {
        mod $name {
            use super::*;

            gateway_conformance::host_tests!(Compio::new($driver).unwrap());

            $(
                #[test]
                fn $test() {
                    in_time(|| tests::$test($driver));
                }
            )*
        }
    };
}

on_both_drivers!(
    an_application_is_served,
    connections_are_served_beside_each_other,
    hosts_share_a_port,
    waits_that_are_given_up_leave_nothing_behind,
    a_socket_has_one_wait_for_each_direction,
    a_wake_up_does_not_wait_for_the_runtime,
    a_dropped_host_ends_its_thread_and_what_waits_there,
);

fn driver(kind: DriverType) -> ProactorBuilder {
    ProactorBuilder::new().driver_type(kind).clone()
}

mod tests {
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::future::{pending, poll_fn};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use futures_util::future::join_all;
    use futures_util::{AsyncReadExt, FutureExt};
    use gateway_core::{Body, Request, Response, spawn};
    use gateway_http::{Listener, Server};
    use gateway_tests::features::{self, Place};
    use gateway_tests::guide::Guide;
    use gateway_tests::{PATIENCE, Serving, eventually};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    gateway_tests::guide_tests!(Guide::on_compio(include_str!("compio.rs")));

    #[test]
    fn io_uring_is_picked_where_the_system_has_it() {
        let picked = |driver| {
            let host = Compio::new(driver)?;
            let kind = host.0.wait(|| async { Runtime::current().driver_type() });
            io::Result::Ok(block_on(kind).expect("the runtime's answer"))
        };
        assert_eq!(picked(driver(DriverType::Poll)).unwrap(), DriverType::Poll);
        let best = picked(driver(DriverType::IoUring)).unwrap_or(DriverType::Poll);
        assert_eq!(picked(ProactorBuilder::new()).unwrap(), best);
    }

    pub(super) fn an_application_is_served(driver: ProactorBuilder) {
        let host = Compio::new(driver).unwrap();
        let serving = Serving::start(host, Server::new(features::app));
        let place = Place { address: serving.address, mount: "", has_status: true };
        features::waits_are_waited_for(&place);
        features::chunks_arrive_as_they_are_made(&place);
        features::a_megabyte_comes_back(&place);
        features::a_chunked_upload_arrives(&place);
        features::a_gone_client_cancels_the_coroutine(&place);
        features::errors_and_panics_are_answers(&place);
        features::a_body_that_fails_is_cut_off_visibly(&place);
    }

    pub(super) fn connections_are_served_beside_each_other(driver: ProactorBuilder) {
        let host = Compio::new(driver).unwrap();
        const CONNECTIONS: usize = 100;
        let serving = Serving::start(host, Server::new(features::app));
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| serving.connect()).collect();
        for _ in 0..3 {
            for client in &mut clients {
                client.send("GET /waits HTTP/1.1\r\nhost: test\r\n\r\n");
            }
            for client in &mut clients {
                assert_eq!(client.answer().text(), "42");
            }
        }
    }

    /// One host per core, each with a server of its own: what compio is for.
    pub(super) fn hosts_share_a_port(driver: ProactorBuilder) {
        let server = |name: &'static str| {
            Server::new(move |_: Request| async move { Response::new(Body::from(name)) })
        };
        let one = Listener::reserve("127.0.0.1:0", true).unwrap();
        let other = Listener::reserve(&one.local_addr().unwrap().to_string(), true).unwrap();
        one.listen().unwrap();
        other.listen().unwrap();
        let one = Serving::on(Compio::new(driver.clone()).unwrap(), server("one").listen(one));
        let _other = Serving::on(Compio::new(driver).unwrap(), server("other").listen(other));
        let mut answered = HashSet::new();
        eventually("each of them has answered", || {
            answered.insert(one.get("/").text());
            answered.len() == 2
        });
    }

    pub(super) fn waits_that_are_given_up_leave_nothing_behind(mut driver: ProactorBuilder) {
        // More than io_uring has places for what is submitted in one turn: what does not find one
        // is not cancelled.
        const WAITS: usize = 400;
        let host = Compio::new(driver.capacity(256).clone()).unwrap();
        let (sockets, peers): (Vec<_>, Vec<_>) =
            (0..WAITS).map(|_| UnixStream::pair().unwrap()).unzip();
        // All of them reach the kernel, since the runtime takes messages in their order, and then
        // all are given up at once.
        let waiting = host.run(async {
            let mut waiting = Vec::new();
            for socket in sockets {
                let mut socket = gateway_net::UnixStream::try_from(socket).unwrap();
                let mut read = Box::pin(async move { socket.read(&mut [0]).await });
                assert!(read.as_mut().now_or_never().is_none(), "there is nothing to be read");
                waiting.push(read);
            }
            spawn(async {}).await.unwrap();
            waiting
        });
        let guard = Arc::new(());
        let timers: Vec<_> = (0..WAITS)
            .map(|_| {
                let held = guard.clone();
                host.0.wait(move || async move {
                    sleep(HOUR).await;
                    drop(held);
                })
            })
            .collect();
        drop((waiting, timers));
        for mut peer in peers {
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the other end is closed");
        }
        eventually("the runtime has forgotten its timers", || Arc::strong_count(&guard) == 1);
    }

    pub(super) fn a_socket_has_one_wait_for_each_direction(driver: ProactorBuilder) {
        let host = Compio::new(driver).unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        host.run(async {
            let fd = Arc::new(OwnedFd::from(socket));
            let on = OnCompio(Arc::downgrade(&host.0));
            let socket = Polled { fd: fd.clone(), on, waits: Default::default() };
            let given_up = || poll_fn(|cx| OnCompio::poll_ready(&socket, Direction::Read, cx));
            for _ in 0..1000 {
                assert!(given_up().now_or_never().is_none());
            }
            spawn(async {}).await.unwrap();
            // One here, one in the socket, and one with the driver.
            assert_eq!(Arc::strong_count(&fd), 3);
            peer.write_all(b"!").unwrap();
            given_up().await.unwrap();
            eventually("the driver lets go", || Arc::strong_count(&fd) == 2);
        });
    }

    /// compio's own executor has room for 64 wakes from other threads. Whoever wakes one more waits
    /// until the runtime has come to them.
    pub(super) fn a_wake_up_does_not_wait_for_the_runtime(driver: ProactorBuilder) {
        let host = Compio::new(driver).unwrap();
        const TASKS: usize = 1000;
        let (blocked, unblock) = (mpsc::channel(), mpsc::channel::<()>());
        host.run(async {
            let (wakes, tasks): (Vec<_>, Vec<_>) = (0..TASKS)
                .map(|_| {
                    let (wake, woken) = oneshot::channel::<()>();
                    (wake, spawn(woken))
                })
                .unzip();
            let blocks = spawn(async move {
                blocked.0.send(()).unwrap();
                unblock.1.recv().unwrap();
            });
            blocked.1.recv().unwrap();
            wakes.into_iter().for_each(|wake| wake.send(()).unwrap());
            unblock.0.send(()).unwrap();
            blocks.await.unwrap();
            for task in join_all(tasks).await {
                assert_eq!(task.unwrap(), Ok(()));
            }
        });
    }

    pub(super) fn a_dropped_host_ends_its_thread_and_what_waits_there(driver: ProactorBuilder) {
        let host = Compio::new(driver).unwrap();
        thread_local! {
            static UNTIL_THE_END: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
        }
        let ((ends, ended), (drops, dropped)) = (mpsc::channel(), mpsc::channel::<()>());
        let mut listener = gateway_net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        host.run(async move {
            let (timer, socket) = (drops.clone(), drops.clone());
            let begun = spawn(async move { UNTIL_THE_END.set(Some(ends)) });
            spawn(async move {
                gateway_core::sleep(HOUR).await;
                drop(timer);
            });
            spawn(async move { drop((listener.accept().await, socket)) });
            spawn(async move {
                pending::<()>().await;
                drop(drops);
            });
            begun.await.unwrap();
        });
        drop(host);
        assert!(dropped.recv().is_err(), "what waited has been dropped");
        assert!(ended.recv().is_err(), "the thread has ended");
        eventually("nobody listens", || std::net::TcpStream::connect(address).is_err());
    }
}
