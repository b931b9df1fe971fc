//! A host on async-std: what it takes to run every gateway application there.
//!
//! async-std is discontinued (RUSTSEC-2025-0052). This host is kept for those who are stuck there;
//! whoever can choose takes another, and changes nothing else.
//!
//! ```
//! use gateway_async_std::AsyncStd;
//! use gateway_core::{Host, sleep};
//!
//! let host = AsyncStd::new(2)?;
//! host.run(sleep(std::time::Duration::from_millis(1)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Where async-std is running already, its own crates go on working beside ours:
//!
//! ```
//! use gateway_async_std::OnAsyncStd;
//! use gateway_core::{Coroutine, sleep};
//! use std::{sync::Arc, time::Duration};
//!
//! let trampoline = Arc::new(OnAsyncStd);
//! let coroutine = Coroutine::new(trampoline, sleep(Duration::from_millis(1)));
//! async_std::task::block_on(coroutine);
//! ```
//!
//! async-std shows nobody its readiness, so sockets register with async-io, on which it is built:
//! both resolve to one reactor.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_global_executor::{GlobalExecutorConfig, init_with_config};
use async_io::{Async, Timer};
use async_std::task::{block_on, spawn, spawn_blocking};
use gateway_core::{Coroutine, Direction, Host, Reactor, Trampoline, Yield};

/// A host on async-std's executor, which the whole process shares. Dropping it changes nothing.
pub struct AsyncStd(());

impl AsyncStd {
    /// Starts so many threads, at least one, if nobody has started the executor yet and the
    /// environment variable `ASYNC_STD_THREAD_COUNT` does not say otherwise.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn new(threads: usize) -> io::Result<AsyncStd> {
        let config = GlobalExecutorConfig::default().with_env_var("ASYNC_STD_THREAD_COUNT");
        init_with_config(config.with_min_threads(threads.max(1)));
        Ok(AsyncStd(()))
    }
}

impl Host for AsyncStd {
    fn run<F: Future>(&self, future: F) -> F::Output {
        block_on(Coroutine::new(Arc::new(OnAsyncStd), future))
    }
}

/// The trampoline of async-std's executor.
pub struct OnAsyncStd;

impl Trampoline for OnAsyncStd {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, Timer::at),
            Yield::Io(io) => io.poll(self, cx),
            Yield::Job(job) => job.start(|job| Some(spawn_blocking(job))),
            Yield::Task(task) => task.start(|task| Some(spawn(task))),
        }
    }
}

impl Reactor for OnAsyncStd {
    type Socket = Async<OwnedFd>;

    fn register(&self, fd: OwnedFd) -> io::Result<Self::Socket> {
        Async::new_nonblocking(fd)
    }

    fn poll_ready(io: &Self::Socket, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match way {
            Direction::Read => io.poll_readable(cx),
            Direction::Write => io.poll_writable(cx),
        }
    }
}
