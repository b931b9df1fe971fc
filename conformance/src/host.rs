//! The host rules: checks in process, of anything that implements `Host`.
//!
//! A check counts polls, wakes and drops; it never sleeps to let something happen, and where it needs
//! time as a means it moves a clock of its own. Only what a host makes of real moments is judged by
//! the real clock, and by bounds on one side. Where a check can only hang when a host is wrong, it is
//! given up after a while: see [`check`].
//!
//! | file | what its checks are about |
//! |---|---|
//! | `waits.rs` | timers, wakers, joins, fairness |
//! | `sockets.rs` | readiness, registration, hang-ups |
//! | `work.rs` | tasks and jobs |
//! | `ends.rs` | running, panics, cancellation, the end of a host |
//! | `serving.rs` | the HTTP server on this host |
//! | `clock.rs` | a clock that a check moves by hand |
//! | `gauges.rs` | what checks count and wait with |
//! | `fault.rs` | what only the suite itself is to blame for: an *error*, and no failure |
//! | `catalogue.rs` | all of them by name, and `host_tests!` |

mod catalogue;
mod clock;
mod ends;
mod fault;
mod gauges;
mod serving;
mod sockets;
mod waits;
mod work;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gateway_core::{Host, JoinError};

pub use catalogue::CHECKS;

use crate::rule;
use fault::{ERROR, OrError};
use gauges::lock;

/// The check of one rule, in process.
#[derive(Debug)]
pub struct HostCheck {
    /// The rule's id.
    pub rule: &'static str,
    /// The name of its test: the id, and the rule as a sentence.
    pub name: &'static str,
    /// Asserts that the rule holds.
    pub check: fn(&Subject),
}

/// How long a check may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The host under test: starts as many of it as a check asks for.
pub struct Subject {
    start: Box<dyn Fn() -> Box<dyn ErasedHost>>,
    doing: Doing,
}

impl Subject {
    /// Starts a host.
    #[must_use]
    pub fn start(&self) -> Started {
        self.now("a host was started");
        Started { host: (self.start)(), doing: self.doing.clone() }
    }

    /// Notes what the check is about to do, to tell where it hangs, if it does.
    fn now(&self, doing: &str) {
        self.doing.set(doing);
    }
}

/// A host under test that has been started. Dropping it drops the host.
pub struct Started {
    host: Box<dyn ErasedHost>,
    doing: Doing,
}

impl Started {
    /// [`Host::run`].
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut output = None;
        self.doing.set("`run` was called");
        self.host.run_erased(Box::pin(async { output = Some(future.await) }));
        self.doing.set("`run` had returned");
        // Nobody can return it that has not finished the future.
        output.or_error("the output of `run`")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.doing.set("a host was dropped");
    }
}

/// What a check has done last.
#[derive(Clone, Default)]
struct Doing(Arc<Mutex<String>>);

impl Doing {
    fn set(&self, doing: &str) {
        doing.clone_into(&mut lock(&self.0));
    }

    fn get(&self) -> String {
        lock(&self.0).clone()
    }
}

/// A host whose type is forgotten, so that a check is compiled once for all hosts.
trait ErasedHost {
    fn run_erased<'a>(&'a self, future: Pin<Box<dyn Future<Output = ()> + 'a>>);
}

impl<H: Host> ErasedHost for H {
    fn run_erased<'a>(&'a self, future: Pin<Box<dyn Future<Output = ()> + 'a>>) {
        self.run(future);
    }
}

/// Checks one rule on a host that `start` starts, within `patience`.
///
/// The check runs on a thread of its own. One that hangs is left behind on that thread.
///
/// # Errors
///
/// How the host breaks the rule: what the check asserts, or that it hangs. Where the suite itself was
/// at fault, that; it begins with `error: the suite's own fault`, and says nothing of the host.
pub fn check<H: Host + 'static>(
    check: &HostCheck,
    patience: Duration,
    start: impl Fn() -> H + Send + 'static,
) -> Result<(), String> {
    gauges::be_patient(patience);
    let (done, finished) = mpsc::channel();
    let (run, doing, began) = (check.check, Doing::default(), Instant::now());
    let noted = doing.clone();
    let body = move || {
        let subject = Subject { start: Box::new(move || Box::new(start())), doing: noted };
        let result = catch_unwind(AssertUnwindSafe(|| run(&subject)));
        let _ = done.send(result.map_err(|payload| match JoinError::panicked(payload) {
            JoinError::Panicked(message) => message,
            other => other.to_string(),
        }));
    };
    let thread = thread::Builder::new().name(check.name.to_owned()).spawn(body);
    thread.map_err(|error| format!("{ERROR}a thread for the check: {error}"))?;
    let result = match finished.recv_timeout(patience) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            let last = doing.get();
            Err(format!(
                "it hangs: not finished within {patience:?}; the last that happened: {last}"
            ))
        }
        Err(RecvTimeoutError::Disconnected) => Err(format!("{ERROR}the check's thread has died")),
    };
    result.map_err(|seen| fault::judged(seen, began))
}

/// What a test made by [`host_tests!`](crate::host_tests) does.
///
/// # Panics
///
/// When the host breaks the rule: with the rule, what was seen, why it matters and what to look at.
/// And when the suite itself was at fault: with that alone.
pub fn test<H: Host + 'static>(name: &str, start: impl Fn() -> H + Send + 'static) {
    let found = CHECKS.iter().find(|check| check.name == name).or_error("a check of this name");
    if let Err(seen) = check(found, PATIENCE, start) {
        panic!("{}", report(found, &seen));
    }
}

/// What is printed of a check that did not pass.
fn report(check: &HostCheck, seen: &str) -> String {
    let (id, name) = (check.rule, check.name);
    if seen.starts_with(ERROR) {
        return format!("{id} was not checked\n  {seen}\n  again:   cargo test {name}");
    }
    let rule = rule::find(id).or_error("a rule of this id");
    format!(
        "{id}: {sentence}\n  seen:    {seen}\n  why:     {intent}\n  look at: {look_at}\n  \
         again:   cargo test {name}",
        sentence = rule.sentence,
        intent = rule.intent,
        look_at = rule.look_at,
    )
}
