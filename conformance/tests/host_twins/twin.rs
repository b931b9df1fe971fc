//! `Twin`: a host that breaks one rule, and what is to be said about it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gateway_blocking::Blocking;
use gateway_conformance::host::{self, CHECKS};
use gateway_core::{Coroutine, Host, Trampoline, Yield, trampoline};

/// How long a check may take before it counts as hanging. A good host takes a fraction of it, also
/// where the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// A host that breaks a rule.
pub(crate) struct Twin {
    /// The rule that it breaks.
    pub(crate) rule: &'static str,
    /// What the failure has to say, in part; or one of several things, with `|` between them.
    says: &'static str,
    check: Box<CheckFn>,
}

/// Runs a check on a host that breaks it.
type CheckFn = dyn Fn(&host::HostCheck) -> Result<(), String> + Send;

impl Twin {
    /// A host that `start` starts, which breaks `rule`; the failure has to say `says`.
    pub(crate) fn new<H: Host + 'static>(
        rule: &'static str,
        says: &'static str,
        start: impl Fn() -> H + Clone + Send + 'static,
    ) -> Twin {
        let check = move |check: &host::HostCheck| host::check(check, PATIENCE, start.clone());
        Twin { rule, says, check: Box::new(check) }
    }

    /// What its rule's check says of it.
    pub(crate) fn outcome(&self) -> Result<(), String> {
        let check = CHECKS.iter().find(|check| check.rule == self.rule).expect("a rule of hosts");
        (self.check)(check)
    }

    /// Whether its rule's check has failed on it, and said so.
    pub(crate) fn is_caught(&self, outcome: &Result<(), String>) -> Result<(), String> {
        match outcome {
            Ok(()) => Err(format!("it is not noticed: {}", self.says)),
            Err(seen) if is_error(seen) => Err(format!("nothing can be said: {seen}")),
            Err(seen) if self.says.split('|').any(|says| seen.contains(says)) => Ok(()),
            Err(seen) => Err(format!("its check says {seen:?}, not {:?}", self.says)),
        }
    }
}

/// Whether a check says that the suite itself was at fault.
pub(crate) fn is_error(seen: &str) -> bool {
    seen.starts_with("error: the suite's own fault")
}

/// A good host whose trampoline stands behind another one.
pub(crate) struct Behind<T> {
    host: Blocking,
    wrap: fn(Arc<dyn Trampoline>) -> T,
}

impl<T: Trampoline> Behind<T> {
    /// A good host behind the trampoline that `wrap` makes of the good one.
    pub(crate) fn new(wrap: fn(Arc<dyn Trampoline>) -> T) -> Behind<T> {
        Behind { host: Blocking::new(2).unwrap(), wrap }
    }
}

impl<T: Trampoline> Host for Behind<T> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.host.run(async {
            let wrapped = (self.wrap)(trampoline().unwrap());
            Coroutine::new(Arc::new(wrapped), future).await
        })
    }
}

/// A trampoline in front of a good one, as a function: it is given the good one.
pub(crate) struct Bounce(pub(crate) Arc<dyn Trampoline>, pub(crate) BounceFn);

/// See [`Bounce`].
pub(crate) type BounceFn = fn(&dyn Trampoline, Yield<'_>, &mut Context<'_>) -> Poll<io::Result<()>>;

impl Trampoline for Bounce {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.1)(&*self.0, yielded, cx)
    }
}
