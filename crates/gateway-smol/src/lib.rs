//! A host on smol: what it takes to run every gateway application there.
//!
//! ```
//! use gateway_core::{Host, sleep};
//! use gateway_smol::Smol;
//!
//! let host = Smol::new(2)?;
//! host.run(sleep(std::time::Duration::from_millis(1)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Where smol is running already, its own crates go on working beside ours:
//!
//! ```
//! use gateway_core::{Coroutine, sleep};
//! use gateway_smol::OnSmol;
//! use std::{sync::Arc, time::Duration};
//!
//! let executor = Arc::new(smol::Executor::new());
//! let trampoline = Arc::new(OnSmol(Arc::downgrade(&executor)));
//! let coroutine = Coroutine::new(trampoline, sleep(Duration::from_millis(1)));
//! smol::block_on(executor.run(coroutine));
//! ```

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;

use gateway_core::{Coroutine, Direction, Host, Reactor, Trampoline, Yield};
use smol::channel::{Sender, bounded};
use smol::{Async, Executor, Timer, block_on, unblock};

/// A host with a smol executor of its own. Dropping it drops the tasks that are left; jobs that have
/// begun go on.
// The executor, and what stops its threads when it is dropped.
pub struct Smol((Arc<Executor<'static>>, Sender<()>));

impl Smol {
    /// Starts so many threads, at least one.
    ///
    /// # Errors
    ///
    /// When the system gives no threads.
    pub fn new(threads: usize) -> io::Result<Smol> {
        let (executor, (stop, stopped)) = (Arc::new(Executor::new()), bounded(1));
        for _ in 0..threads.max(1) {
            let (executor, stopped) = (executor.clone(), stopped.clone());
            thread::Builder::new().spawn(move || block_on(executor.run(stopped.recv())))?;
        }
        Ok(Smol((executor, stop)))
    }
}

impl Host for Smol {
    fn run<F: Future>(&self, future: F) -> F::Output {
        block_on(Coroutine::new(Arc::new(OnSmol(Arc::downgrade(&self.0.0))), future))
    }
}

/// The trampoline of a smol executor, which somebody runs.
pub struct OnSmol(pub Weak<Executor<'static>>);

impl Trampoline for OnSmol {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Timer(timer) => timer.poll(cx, Timer::at),
            Yield::Io(io) => io.poll(self, cx),
            // Without its executor there is nothing to start them on, nor anybody to wait for them.
            Yield::Job(j) => j.start(|j| self.0.upgrade().map(|e| e.spawn(unblock(j)).detach())),
            Yield::Task(t) => t.start(|t| self.0.upgrade().map(|e| e.spawn(t).detach())),
        }
    }
}

impl Reactor for OnSmol {
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
