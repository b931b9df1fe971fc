//! The accounts: what has become of every request, kind by kind.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::kinds::KINDS;

/// How many failures are kept with their evidence. All are counted.
const KEPT: usize = 5;

/// What has become of a request. Each has exactly one outcome.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// One whole answer, and the right one.
    Answered,
    /// A status that says no.
    Refused,
    /// The connection was closed, or never made, before a byte of the answer, when the server was
    /// entitled to that.
    Closed,
    /// The client has left, on purpose, before it had an answer.
    Left,
    /// Anything else: what was expected, and what came instead.
    Wrong(String),
}

/// The names of the columns, in the order of [`Counts::all`].
pub(crate) const COLUMNS: [&str; 7] =
    ["connections", "requests", "answered", "refused", "closed", "left", "wrong"];

/// The accounts of one kind of client.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    left: AtomicU64,
    wrong: AtomicU64,
}

impl Counts {
    /// The values, column by column.
    pub(crate) fn all(&self) -> [u64; COLUMNS.len()] {
        let Counts { connections, requests, answered, refused, closed, left, wrong } = self;
        [connections, requests, answered, refused, closed, left, wrong]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

/// Something that went wrong, with what is needed to understand it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: &'static str,
    pub(crate) during: &'static str,
    pub(crate) what: String,
    pub(crate) sent: String,
    pub(crate) came: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}): {}", self.kind, self.during, self.what)?;
        writeln!(f, "    sent: {}", self.sent)?;
        write!(f, "    came: {}", self.came)
    }
}

/// All accounts of one host.
pub(crate) struct Tally {
    counts: Vec<Counts>,
    failures: Mutex<Vec<Failure>>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let counts = KINDS.iter().map(|_| Counts::default()).collect();
        Tally { counts, failures: Mutex::default() }
    }

    /// One kind's, by its place in [`KINDS`].
    pub(crate) fn of(&self, kind: usize) -> &Counts {
        &self.counts[kind]
    }

    /// Books the outcome of a request. `evidence` is asked for when it is wrong.
    pub(crate) fn book(
        &self,
        kind: usize,
        outcome: Outcome,
        evidence: impl FnOnce(String) -> Failure,
    ) {
        let counts = &self.counts[kind];
        let column = match outcome {
            Outcome::Answered => &counts.answered,
            Outcome::Refused => &counts.refused,
            Outcome::Closed => &counts.closed,
            Outcome::Left => &counts.left,
            Outcome::Wrong(what) => {
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failures.len() < KEPT {
                    failures.push(evidence(what));
                }
                &counts.wrong
            }
        };
        column.fetch_add(1, Ordering::Relaxed);
    }

    /// The sums over all kinds, column by column.
    pub(crate) fn sums(&self) -> [u64; COLUMNS.len()] {
        let add = |sums: [u64; COLUMNS.len()], counts: &Counts| {
            let all = counts.all();
            std::array::from_fn(|column| sums[column] + all[column])
        };
        self.counts.iter().fold([0; COLUMNS.len()], add)
    }

    /// What is wrong with the accounts themselves: a request without an outcome, or a well-behaved
    /// kind that was never answered.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (kind, counts) in KINDS.iter().zip(&self.counts) {
            let [_, requests, outcomes @ ..] = counts.all();
            let settled: u64 = outcomes.iter().sum();
            if settled != requests {
                faults.push(format!("{}: {requests} requests, {settled} outcomes", kind.name));
            }
            if outcomes[0] == 0 && !kind.hostile {
                faults.push(format!("{}: no request was answered", kind.name));
            }
        }
        faults
    }

    /// What was kept of what went wrong.
    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_an_outcome_is_a_fault() {
        let tally = Tally::new();
        let unexpected = |_| unreachable!("nothing is wrong");
        for kind in 0..KINDS.len() {
            tally.of(kind).requests.fetch_add(1, Ordering::Relaxed);
            tally.book(kind, Outcome::Answered, unexpected);
        }
        assert_eq!(tally.faults(), [""; 0]);
        tally.of(0).requests.fetch_add(1, Ordering::Relaxed);
        assert_eq!(tally.faults(), [format!("{}: 2 requests, 1 outcomes", KINDS[0].name)]);
    }

    #[test]
    fn a_well_behaved_kind_that_was_never_answered_is_a_fault() {
        let faults = Tally::new().faults();
        let well_behaved = KINDS.iter().filter(|kind| !kind.hostile).count();
        assert_eq!(faults.len(), well_behaved, "{faults:?}");
    }
}
