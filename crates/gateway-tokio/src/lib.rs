//! A host on tokio: what it takes to run every gateway application there.
//!
//! ```
//! use gateway_core::{Host, sleep};
//! use gateway_tokio::Tokio;
//!
//! let host = Tokio::new(2)?;
//! host.run(sleep(std::time::Duration::from_millis(1)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Inside a runtime that is running already, its own crates go on working beside ours:
//!
//! ```
//! use gateway_core::{Coroutine, sleep};
//! use gateway_tokio::OnTokio;
//! use std::{sync::Arc, time::Duration};
//! use tokio::runtime::Handle;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let trampoline = Arc::new(OnTokio(Handle::current()));
//! Coroutine::new(trampoline, sleep(Duration::from_millis(1))).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway_core::{Coroutine, Direction, Host, Operation, Reactor, Trampoline, Yield};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::sleep_until;

/// A host with a tokio runtime of its own. Dropping it drops the tasks that are left, and waits for
/// jobs that have begun.
pub struct Tokio(Runtime);

impl Tokio {
    /// Starts so many worker threads, at least one.
    ///
    /// # Errors
    ///
    /// When the system gives no threads or descriptors.
    pub fn new(threads: usize) -> io::Result<Tokio> {
        Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build().map(Tokio)
    }
}

impl Host for Tokio {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(Coroutine::new(Arc::new(OnTokio(self.0.handle().clone())), future))
    }
}

/// The trampoline of a tokio runtime.
pub struct OnTokio(pub Handle);

impl Trampoline for OnTokio {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            // Entered, so that tokio finds its own clock wherever the coroutine is polled.
            Yield::Timer(timer) => timer.poll(cx, |at| (self.0.enter(), sleep_until(at.into())).1),
            Yield::Io(io) => io.poll(self, cx),
            Yield::Job(job) => job.start(|job| Some(self.0.spawn_blocking(job))),
            Yield::Task(task) => task.start(|task| Some(self.0.spawn(task))),
        }
    }
}

impl Reactor for OnTokio {
    /// In name only: any socket will do.
    type Socket = TcpStream;
    const CACHES_READINESS: bool = true;

    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket> {
        (self.0.enter(), TcpStream::from_std(fd.into())).1
    }

    fn poll_ready(io: &Self::Socket, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match way {
            Direction::Read => io.poll_read_ready(cx),
            Direction::Write => io.poll_write_ready(cx),
        }
    }

    fn attempt(io: &Self::Socket, operation: &mut Operation<'_>) -> io::Result<()> {
        let ways = [Interest::READABLE, Interest::WRITABLE];
        io.try_io(ways[operation.direction() as usize], || operation.attempt(io))
    }
}
