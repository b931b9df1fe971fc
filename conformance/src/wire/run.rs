//! `run`: all rules on one server. What did not pass runs once more at the end, with nothing beside it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use gateway_core::JoinError;

use crate::rule;
use crate::verdict::{Case, CaseResult, Kind, Outcome, Reason, Verdict};
use crate::wire::session::{Budget, NO_TIME};
use crate::wire::{Session, Stop, Target, When, WireCheck, checks};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ids of the rules to run; empty for all.
    pub only: Vec<String>,
    /// How many checks run beside each other.
    pub jobs: usize,
    /// Whether what did not pass runs once more.
    pub confirm: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { only: Vec::new(), jobs: 4, confirm: true }
    }
}

/// What a run reports while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// So many rules will be run.
    Begins(usize),
    /// One more is done.
    Done(&'a Outcome),
}

/// Runs the rules on a server, and gives an outcome for each, in the order of the specification.
///
/// A rule that failed runs once more, alone. When the verdict differs, it is flaky: nothing is
/// tried again until it passes. One that failed by hanging more than once has shown that already.
///
/// A run takes no longer than [`Patience::run`](crate::wire::Patience), and a wait that has begun: what
/// has not been tried by then is skipped, as `no-time`.
pub fn run(
    target: &Target,
    options: &Options,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Vec<Outcome> {
    let wanted = |check: &&&WireCheck| {
        options.only.is_empty() || options.only.iter().any(|id| id.eq_ignore_ascii_case(check.rule))
    };
    let all = checks();
    let chosen: Vec<&WireCheck> = all.iter().filter(wanted).copied().collect();
    progress(Progress::Begins(chosen.len()));
    let budget = Budget::of(target.patience);
    let done = Mutex::new(HashMap::<&str, Outcome>::new());
    let vain = Arc::new(AtomicU32::new(0));
    let finish = |check: &WireCheck| {
        let failed_before = |id: &&&str| {
            let done = done.lock().expect("no check panics here");
            done.get(**id).is_some_and(|outcome| outcome.verdict == Verdict::Fail)
        };
        let outcome = match check.after.iter().find(failed_before) {
            Some(id) => blocked(check, id),
            // What waits for a deadline shares neither its waits nor others'.
            None if check.when == When::Background => {
                run_one(target, check, &Arc::default(), budget)
            }
            None => run_one(target, check, &vain, budget.whole()),
        };
        progress(Progress::Done(&outcome));
        done.lock().expect("no check panics here").insert(check.rule, outcome);
    };
    let of = |when: When, dependent: bool| -> Vec<&WireCheck> {
        let fits = |check: &&&WireCheck| check.when == when && check.after.is_empty() != dependent;
        chosen.iter().filter(fits).copied().collect()
    };
    thread::scope(|scope| {
        for check in [of(When::Background, false), of(When::Background, true)].concat() {
            let finish = &finish;
            scope.spawn(move || finish(check));
        }
        for dependent in [false, true] {
            let (beside, next) = (of(When::Beside, dependent), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..options.jobs.max(1) {
                    scope.spawn(|| {
                        while let Some(check) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                            finish(check);
                        }
                    });
                }
            });
            for check in of(When::Alone, dependent) {
                finish(check);
            }
        }
    });
    let mut done = done.into_inner().expect("no check panics here");
    for check in chosen.iter().filter(|check| options.confirm && check.when != When::Background) {
        if let Some(first) = done.remove(check.rule) {
            done.insert(check.rule, confirmed(target, check, first, &vain, budget.whole()));
        }
    }
    rule::all().filter_map(|rule| done.remove(rule.id)).collect()
}

/// Runs the check of one rule.
fn run_one(target: &Target, check: &WireCheck, vain: &Arc<AtomicU32>, budget: Budget) -> Outcome {
    let rule = rule::find(check.rule).expect("every check has a rule");
    let mut session = Session::beside(target, vain, budget);
    let started = Instant::now();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        session.has_time()?;
        rule.needs.iter().try_for_each(|need| session.need(*need))?;
        (check.check)(&mut session)
    }));
    let tried = tried.unwrap_or_else(|payload| {
        Err(Stop::Error(format!("the check failed itself: {}", JoinError::panicked(payload))))
    });
    let cases = std::mem::take(&mut session.cases);
    // What has been seen counts, whatever stopped the rest.
    let missed = |case: &Case| case.kind != Kind::Accept && case.result == CaseResult::Fail;
    let seen = Outcome::judge(rule.level, &cases);
    let (verdict, reason) = match tried {
        Ok(()) if session.vain > 1 => (seen, Some(hangs(session.vain))),
        Ok(()) => (seen, None),
        Err(Stop::Blocked(reason) | Stop::Skip(reason)) if cases.iter().any(missed) => {
            (seen, Some(reason))
        }
        Err(Stop::Blocked(reason)) => (Verdict::Blocked, Some(reason)),
        Err(Stop::Skip(reason)) => (Verdict::Skip, Some(reason)),
        Err(Stop::Error(text)) if cases.iter().any(missed) => {
            (seen, Some(Reason { slug: "suite".to_owned(), text }))
        }
        Err(Stop::Error(text)) => (Verdict::Error, Some(Reason { slug: "suite".to_owned(), text })),
    };
    let rule = rule.id.to_owned();
    Outcome { rule, verdict, reason, cases, elapsed: started.elapsed() }
}

/// Why a rule does not run again.
fn hangs(cases: u32) -> Reason {
    let text = format!("not run again, since {cases} cases waited in vain");
    Reason { slug: HANGS.to_owned(), text }
}

const HANGS: &str = "hangs";

fn blocked(check: &WireCheck, by: &str) -> Outcome {
    Outcome {
        rule: check.rule.to_owned(),
        verdict: Verdict::Blocked,
        reason: Some(Reason { slug: "depends".to_owned(), text: format!("{by} failed") }),
        cases: Vec::new(),
        elapsed: std::time::Duration::ZERO,
    }
}

/// Runs a check once more, where it did not pass.
fn confirmed(
    target: &Target,
    check: &WireCheck,
    first: Outcome,
    vain: &Arc<AtomicU32>,
    budget: Budget,
) -> Outcome {
    let hangs = first.reason.as_ref().is_some_and(|reason| reason.slug == HANGS);
    if hangs || !matches!(first.verdict, Verdict::Fail | Verdict::Warn | Verdict::Error) {
        return first;
    }
    let second = run_one(target, check, vain, budget);
    let cut_off = |reason: &Reason| reason.slug == NO_TIME;
    if second.reason.as_ref().is_some_and(cut_off) {
        let text = "not run again, since the run had taken as long as it may".to_owned();
        let untold = Some(Reason { slug: NO_TIME.to_owned(), text });
        return Outcome { reason: first.reason.or(untold), ..first };
    }
    // A server that is gone by now has not changed its mind.
    let gone = second.verdict == Verdict::Error && first.verdict != Verdict::Error;
    if gone || second.verdict == first.verdict {
        return first;
    }
    let text = format!("{:?} at first, then {:?}", first.verdict, second.verdict);
    let reason = Some(Reason { slug: "differs".to_owned(), text });
    Outcome { verdict: Verdict::Flaky, reason, ..first }
}
