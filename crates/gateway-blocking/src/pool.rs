//! Threads that run tasks and jobs, and may be blocked.
//!
//! A pool keeps some threads for good, and starts more, up to its limit, when all are busy; those go
//! after a while without work.
//!
//! | a task is | entered | left by |
//! |---|---|---|
//! | `WAITING` | it was polled, and waits for a wake-up | a wake-up: `QUEUED` |
//! | `QUEUED` | it is woken, or new | a thread: `RUNNING` |
//! | `RUNNING` | a thread polls it | the end of the poll: `WAITING`, or nothing at its own end |
//! | `AGAIN` | it was woken while it was polled | the end of the poll: `QUEUED` |

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use gateway_core::Task;
use slab::Slab;

/// How long a thread that is not kept for good stays without work.
const IDLE: Duration = Duration::from_secs(10);

const WAITING: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const AGAIN: u8 = 3;

/// Threads, and the work that they take from one queue.
pub(crate) struct Pool {
    kept: usize,
    limit: usize,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    /// Every task that has not ended, so that stopping can drop it.
    tasks: Slab<Weak<TaskCell>>,
    threads: usize,
    idle: usize,
    stopped: bool,
}

enum Work {
    Task(Arc<TaskCell>),
    Job(Box<dyn FnOnce() + Send>),
}

struct TaskCell {
    pool: Arc<Pool>,
    key: usize,
    progress: AtomicU8,
    task: Mutex<Option<Task>>,
}

impl Pool {
    /// A pool that keeps `kept` threads for good, and has at most `limit`.
    pub(crate) fn start(kept: usize, limit: usize) -> io::Result<Arc<Pool>> {
        let (state, more) = (Mutex::default(), Condvar::new());
        let pool = Arc::new(Pool { kept, limit, state, more });
        for _ in 0..kept {
            let mut state = pool.lock();
            if let Err(error) = pool.add_thread(&mut state) {
                drop(state);
                pool.stop();
                return Err(error);
            }
        }
        Ok(pool)
    }

    /// Queues blocking work; nothing, when the pool has stopped, or can't start a first thread.
    pub(crate) fn job(self: &Arc<Pool>, job: Box<dyn FnOnce() + Send>) -> Option<()> {
        self.queue(Work::Job(job))
    }

    /// Queues a new task; nothing, when the pool has stopped.
    pub(crate) fn task(self: &Arc<Pool>, task: Task) -> Option<()> {
        let mut state = self.lock();
        if state.stopped {
            drop(state);
            drop(task);
            return None;
        }
        let entry = state.tasks.vacant_entry();
        let cell = Arc::new(TaskCell {
            pool: self.clone(),
            key: entry.key(),
            progress: AtomicU8::new(QUEUED),
            task: Mutex::new(Some(task)),
        });
        entry.insert(Arc::downgrade(&cell));
        drop(state);
        self.queue(Work::Task(cell))
    }

    /// Ends the threads as they come free, and drops all tasks that nobody is polling.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let queue = std::mem::take(&mut state.queue);
        let tasks: Vec<_> = state.tasks.iter().filter_map(|(_, task)| task.upgrade()).collect();
        drop(state);
        self.more.notify_all();
        // Without the lock: what is dropped may wake others, or spawn its clean-up. And one by one:
        // what panics when it is dropped must not keep the others.
        for work in queue {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
        for cell in tasks {
            // Where it is being polled, whoever does that drops it afterwards.
            let task = match cell.task.try_lock() {
                Ok(mut task) => task.take(),
                Err(_) => None,
            };
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        }
    }

    /// Work that is refused is dropped without the lock: that may do anything.
    fn queue(self: &Arc<Pool>, work: Work) -> Option<()> {
        let mut state = self.lock();
        if state.stopped {
            drop(state);
            drop(work);
            return None;
        }
        state.queue.push_back(work);
        if state.idle >= state.queue.len() {
            drop(state);
            self.more.notify_one();
        } else if state.threads < self.limit && self.add_thread(&mut state).is_err() {
            // The system gives no more threads. Those that there are will come to it; without any,
            // it is cancelled.
            if state.threads == 0 {
                let refused = state.queue.pop_back();
                drop(state);
                drop(refused);
                return None;
            }
        } else if state.idle > 0 {
            drop(state);
            self.more.notify_one();
        }
        Some(())
    }

    fn add_thread(self: &Arc<Pool>, state: &mut State) -> io::Result<()> {
        let pool = self.clone();
        thread::Builder::new().name("gateway-blocking".into()).spawn(move || pool.work())?;
        state.threads += 1;
        Ok(())
    }

    /// What a thread does until it has been idle for too long, or the pool has stopped.
    fn work(self: Arc<Pool>) {
        let mut state = self.lock();
        loop {
            if state.stopped {
                break;
            }
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                match work {
                    Work::Task(task) => TaskCell::run(task),
                    Work::Job(job) => job(),
                }
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.more.wait_timeout(state, IDLE);
            let timed_out;
            (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timed_out.timed_out() && state.queue.is_empty() && state.threads > self.kept {
                break;
            }
        }
        state.threads -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskCell {
    fn run(cell: Arc<TaskCell>) {
        // Acquires what whoever woke it has written; `wake` releases it.
        cell.progress.swap(RUNNING, Ordering::AcqRel);
        let waker = Waker::from(cell.clone());
        let mut task = cell.lock();
        let ended = match task.as_mut() {
            Some(task) => Pin::new(task).poll(&mut Context::from_waker(&waker)),
            None => Poll::Ready(()),
        };
        drop(task);
        // After the lock has been released: stopping has either dropped the task, or is seen here.
        if ended.is_ready() || cell.pool.lock().stopped {
            return cell.drop_task();
        }
        let waits =
            cell.progress.compare_exchange(RUNNING, WAITING, Ordering::AcqRel, Ordering::Acquire);
        if waits.is_err() {
            cell.progress.swap(QUEUED, Ordering::AcqRel);
            cell.pool.clone().queue(Work::Task(cell));
        }
    }

    /// Drops the task without the lock: that may wake others, or spawn its clean-up.
    fn drop_task(&self) {
        let task = self.lock().take();
        drop(task);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for TaskCell {
    fn wake(self: Arc<TaskCell>) {
        // Always a write, so that the poll to come sees what the waker has written before.
        let wake = |progress| match progress {
            WAITING => Some(QUEUED),
            RUNNING => Some(AGAIN),
            same => Some(same),
        };
        let before = self.progress.fetch_update(Ordering::AcqRel, Ordering::Acquire, wake);
        if before == Ok(WAITING) {
            self.pool.clone().queue(Work::Task(self));
        }
    }
}

impl Drop for TaskCell {
    fn drop(&mut self) {
        self.pool.lock().tasks.try_remove(self.key);
    }
}
