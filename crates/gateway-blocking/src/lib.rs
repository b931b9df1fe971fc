//! A host without any async runtime: threads that may be blocked, and what waits for them.
//!
//! So many threads mean so many blocked handlers at once. A coroutine that waits holds no thread, so
//! idle connections, however many, starve nobody. Jobs have threads of their own.
//!
//! ```
//! use gateway_blocking::Blocking;
//! use gateway_core::{Host, sleep};
//!
//! let host = Blocking::new(2)?;
//! host.run(sleep(std::time::Duration::from_millis(1)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `reactor.rs` | one thread that waits for all sockets and timers |
//! | `pool.rs` | threads that run tasks and jobs |
//! | `threads.rs` | all of them, and who ends them |
//! | `register.rs` | the one line of unsafe code |
//! | `decorate.rs` | an app as a plain synchronous function, for servers that are synchronous already |

mod decorate;
mod pool;
mod reactor;
mod register;
mod threads;

pub use decorate::{BODY_BYTES, Reader, decorate, request_uri};

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway_core::{Coroutine, Direction, Host, Reactor, Trampoline, Yield};
use pollster::block_on;
use reactor::Source;
use threads::{Owner, Threads};

/// A host on plain threads. Dropping it drops the tasks that are left; what has begun goes on.
pub struct Blocking(Owner);

impl Blocking {
    /// Starts so many threads for coroutines, at least one, and one that waits.
    ///
    /// # Errors
    ///
    /// When the system gives no threads or descriptors.
    pub fn new(threads: usize) -> io::Result<Blocking> {
        Owner::start(threads.max(1)).map(Blocking)
    }
}

impl Host for Blocking {
    fn run<F: Future>(&self, future: F) -> F::Output {
        block_on(Coroutine::new(Arc::new(OnBlocking(self.0.0.clone())), future))
    }
}

/// The trampoline of a [`Blocking`] host.
struct OnBlocking(Arc<Threads>);

impl Trampoline for OnBlocking {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, |at| self.0.sockets.alarm(at)),
            Yield::Io(io) => io.poll(self, cx),
            Yield::Job(job) => job.start(|job| self.0.jobs.job(job)),
            Yield::Task(task) => task.start(|task| self.0.tasks.task(task)),
        }
    }
}

impl Reactor for OnBlocking {
    type Socket = Arc<Source>;

    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket> {
        self.0.sockets.register(fd)
    }

    fn poll_ready(io: &Self::Socket, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        io.poll_ready(way, cx)
    }
}
