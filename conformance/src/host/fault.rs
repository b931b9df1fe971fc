//! `OrError`: what only the suite itself is to blame for. It is an *error*, as over the wire, and no
//! failure of a host.
//!
//! A check asks for things in which the host under test has no part: a free port of the system, a
//! thread of its own. Without them nothing can be said of the host. The panic that says so may come up
//! anywhere, also in a task whose handle keeps its words alone, or that nobody awaits; and what a check
//! sees then looks like a failure. So it is written down as well, and whatever a check says behind an
//! error is one. Checks beside each other in one process share what is written down: what a process
//! lacks, it lacks for all of them.
//!
//! No host can bring one about, but for one that leaves its process no descriptor, or no thread. From
//! here that looks like a machine that has none; DRP-12 is there to catch such a host.

use std::fmt::Display;
use std::sync::Mutex;
use std::time::Instant;

use super::gauges::lock;

/// What an error begins with.
pub(super) const ERROR: &str = "error: the suite's own fault: ";

/// The latest one of this process, and when it was.
static LATEST: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Takes out what is there whatever the host does.
pub(super) trait OrError<T>: Sized {
    /// The value. Without it, this panics, and `what` is missing by the suite's own fault.
    fn or_error(self, what: &str) -> T;
}

impl<T, E: Display> OrError<T> for Result<T, E> {
    #[track_caller]
    fn or_error(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => stop(format!("{what}: {error}")),
        }
    }
}

impl<T> OrError<T> for Option<T> {
    #[track_caller]
    fn or_error(self, what: &str) -> T {
        match self {
            Some(value) => value,
            None => stop(what.to_owned()),
        }
    }
}

#[track_caller]
fn stop(fault: String) -> ! {
    let fault = format!("{ERROR}{fault}");
    *lock(&LATEST) = Some((Instant::now(), fault.clone()));
    std::panic::panic_any(fault)
}

/// What becomes of what a check that began at `since` has `seen`: an error, when there was one since
/// then, and else a failure.
pub(super) fn judged(seen: String, since: Instant) -> String {
    if seen.starts_with(ERROR) {
        return seen;
    }
    match &*lock(&LATEST) {
        Some((at, fault)) if *at >= since => format!("{fault}; behind it was seen: {seen}"),
        _ => seen,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::future::pending;
    use std::time::Duration;

    use gateway_blocking::Blocking;
    use gateway_core::spawn;

    use super::super::gauges::{eventually, joined, on_a_thread};
    use super::super::{HostCheck, Subject, check, report};
    use super::*;

    /// What a check that does this says of a good host, and what is printed of it.
    fn outcome(does: fn(&Subject)) -> (String, String) {
        let tried = HostCheck { rule: "YLD-01", name: "yld_01", check: does };
        let start = || Blocking::new(1).unwrap();
        let seen = check(&tried, Duration::from_secs(4), start).unwrap_err();
        let printed = report(&tried, &seen);
        (seen, printed)
    }

    fn impossible() {
        let _ = File::open("/dev/null/nothing").or_error("a file that nobody has");
    }

    /// One test, since errors are shared by the checks of a process.
    #[test]
    fn an_error_is_told_from_a_failure_wherever_it_comes_up() {
        let failures: [fn(&Subject); 3] = [
            |_| panic!("the host is wrong"),
            |_| joined(on_a_thread(|| panic!("the host is wrong"))),
            |subject| {
                subject
                    .start()
                    .run(async { spawn(async { panic!("the host is wrong") }).await.unwrap() })
            },
        ];
        for failure in failures {
            let (seen, printed) = outcome(failure);
            assert!(seen.contains("the host is wrong") && !seen.contains("error:"), "{seen}");
            assert!(printed.starts_with("YLD-01: Each kind of yield"), "{printed}");
            assert!(printed.contains("why:") && printed.contains("look at:"), "{printed}");
        }
        let errors: [fn(&Subject); 6] = [
            |_| impossible(),
            |_| None.or_error("a file that nobody has"),
            |_| joined(on_a_thread(impossible)),
            |subject| subject.start().run(async { spawn(async { impossible() }).await.unwrap() }),
            // Nobody asks the task, or the thread, and what follows looks like a failure.
            |subject| {
                subject.start().run(async {
                    drop(spawn(async { impossible() }));
                    eventually("what the task would do has happened", || false).await;
                });
            },
            |subject| {
                drop(on_a_thread(impossible));
                subject.start().run(pending::<()>());
            },
        ];
        for error in errors {
            let (seen, printed) = outcome(error);
            let begins = "error: the suite's own fault: a file that nobody has";
            assert!(seen.starts_with(begins), "{seen}");
            assert!(printed.starts_with("YLD-01 was not checked") && printed.contains(begins));
            assert!(!printed.contains("why:") && !printed.contains("look at:"), "{printed}");
        }
        // And it is over with the check that it came up in.
        let (seen, _) = outcome(failures[0]);
        assert_eq!(seen, "the host is wrong");
    }
}
