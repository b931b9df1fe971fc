//! All the threads of a host, and who ends them.

use std::io;
use std::sync::Arc;

use crate::pool::Pool;
use crate::reactor::Sockets;

/// How many jobs may run at once. More wait for their turn.
const JOB_THREADS: usize = 512;

/// What coroutines run on, and what waits for them. Coroutines share it.
pub(crate) struct Threads {
    pub(crate) tasks: Arc<Pool>,
    pub(crate) jobs: Arc<Pool>,
    pub(crate) sockets: Arc<Sockets>,
}

/// The host's own hold on its threads. Dropping it ends them.
pub(crate) struct Owner(pub(crate) Arc<Threads>);

impl Owner {
    pub(crate) fn start(threads: usize) -> io::Result<Owner> {
        let jobs = Pool::start(0, JOB_THREADS)?;
        let tasks = Pool::start(threads, threads)?;
        let sockets = Sockets::start().inspect_err(|_| tasks.stop())?;
        Ok(Owner(Arc::new(Threads { tasks, jobs, sockets })))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.tasks.stop();
        self.0.jobs.stop();
        self.0.sockets.stop();
    }
}
