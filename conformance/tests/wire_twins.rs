//! The wire checks under test: the good server passes all, each broken one is caught by its rule.

mod wire_twins {
    pub(crate) mod backpressure;
    pub(crate) mod bodies;
    pub(crate) mod bodyless;
    pub(crate) mod classes;
    pub(crate) mod context;
    pub(crate) mod disconnects;
    pub(crate) mod expect;
    pub(crate) mod failures;
    pub(crate) mod fields;
    pub(crate) mod http2;
    pub(crate) mod jobs;
    pub(crate) mod limits;
    pub(crate) mod middleware;
    pub(crate) mod persistence;
    pub(crate) mod request_line;
    pub(crate) mod responses;
    pub(crate) mod shutdown;
    pub(crate) mod smuggling;
    pub(crate) mod twin;
    pub(crate) mod upgrades;
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use gateway_conformance::rule::{self, Level, Status, Tested};
use gateway_conformance::verdict::{Case, CaseResult};
use gateway_conformance::wire::{Options, When, checks, run};
use gateway_conformance::{Outcome, Verdict};
use wire_twins::twin::{Twin, good, target};
use wire_twins::*;

/// How many twins are tried beside each other.
const BESIDE: usize = 24;

fn twins() -> Vec<Twin> {
    let files = [
        request_line::twins(),
        fields::twins(),
        bodies::twins(),
        smuggling::twins(),
        expect::twins(),
        persistence::twins(),
        bodyless::twins(),
        responses::twins(),
        upgrades::twins(),
        limits::twins(),
        http2::twins(),
        disconnects::twins(),
        failures::twins(),
        backpressure::twins(),
        jobs::twins(),
        shutdown::twins(),
        middleware::twins(),
        context::twins(),
    ];
    files.into_iter().flatten().collect()
}

/// The rules that the good server is known to break.
const KNOWN: &[&str] = &[];

#[test]
fn each_broken_server_is_caught_by_its_rule_in_its_words_and_no_case_passes_on_all() {
    quiet_handlers();
    // `WIRE_TWINS=REQ,FLD-03` tries those alone.
    let only = std::env::var("WIRE_TWINS").unwrap_or_default();
    let wanted = |id: &str| only.split(',').any(|prefix| id.starts_with(prefix));
    let (seen, missed) = (Mutex::default(), Mutex::new(Vec::new()));
    // The good server shows the cases that there are, also where each twin is caught early.
    let rules = checks().into_iter().map(|check| check.rule).filter(|id| wanted(id));
    let classes = Mutex::new(Vec::new());
    beside(rules.map(Twin::none).collect(), |twin| {
        let outcome = twin.outcome();
        note(&mut seen.lock().unwrap(), twin, &outcome);
        classes.lock().unwrap().extend(classes::twins(twin.rule, &outcome.cases));
    });
    let mut chosen: Vec<Twin> = twins().into_iter().filter(|twin| wanted(twin.rule)).collect();
    chosen.extend(classes.into_inner().unwrap());
    // Some checks are a heavy load: those of one rule are not tried beside each other.
    let mut of_rule = BTreeMap::new();
    chosen.sort_by_cached_key(|twin| {
        let number = of_rule.entry(twin.rule).or_insert(0);
        *number += 1;
        *number
    });
    beside(chosen, |twin| {
        let outcome = twin.outcome();
        if let Err(problem) = twin.is_caught(&outcome) {
            missed.lock().unwrap().push(format!("{}: {problem}", twin.rule));
        }
        note(&mut seen.lock().unwrap(), twin, &outcome);
    });
    let mut missed = missed.into_inner().unwrap();
    for ((rule, name, expected), failed) in seen.into_inner().unwrap() {
        if !failed {
            missed.push(format!("{rule}: no twin fails the case {name:?}, expected {expected:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Tries them, some beside each other.
fn beside(twins: Vec<Twin>, with: impl Fn(&Twin) + Sync) {
    let twins = Mutex::new(twins);
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                loop {
                    let Some(twin) = twins.lock().unwrap().pop() else { break };
                    with(&twin);
                }
            });
        }
    });
}

/// The cases that were tried: rule, name, what was expected; and whether a twin has failed it.
type Seen = BTreeMap<(String, String, String), bool>;

fn note(seen: &mut Seen, twin: &Twin, outcome: &Outcome) {
    for case in outcome.cases.iter().filter(|case| twin.is_about(case)) {
        let key = (outcome.rule.clone(), plain(&case.name), plain(&case.expected));
        *seen.entry(key).or_default() |= case.result != CaseResult::Pass;
    }
}

/// Without what differs from run to run, or from row to row of a table of numbers: `#` stands for
/// digits, for a byte in hex, and for an identifier.
fn plain(words: &str) -> String {
    let (mut plain, mut rest) = (String::new(), words);
    while let Some(first) = rest.chars().next() {
        let hex = |text: &str| {
            text.bytes().take_while(|it| it.is_ascii_hexdigit() || *it == b'-').count()
        };
        let (kept, skipped) = match rest {
            _ if rest.starts_with("id=") => ("id=#", 3 + hex(&rest[3..])),
            _ if rest.starts_with("0x") => ("0x#", 2 + hex(&rest[2..])),
            _ if first.is_ascii_digit() => {
                ("#", rest.bytes().take_while(u8::is_ascii_digit).count())
            }
            _ => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        plain += kept;
        rest = &rest[skipped..];
    }
    plain
}

#[test]
fn the_good_server_passes_every_rule() {
    quiet_handlers();
    let only = std::env::var("WIRE_TWINS").unwrap_or_default();
    let wanted = |id: &str| only.split(',').any(|prefix| id.starts_with(prefix));
    let quick = checks().into_iter().filter(|check| check.when != When::Background);
    let ids = quick.map(|check| check.rule).filter(|id| wanted(id)).map(str::to_owned).collect();
    let server = good();
    let options = Options { only: ids, ..Options::default() };
    let outcomes = run(&target(server), &options, &|_| {});
    let bad: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !matches!(outcome.verdict, Verdict::Pass | Verdict::Warn | Verdict::Skip))
        .filter(|outcome| !KNOWN.contains(&outcome.rule.as_str()))
        .map(|outcome| {
            let bad = |case: &&Case| case.result == CaseResult::Fail;
            let cases: Vec<_> = outcome.cases.iter().filter(bad).collect();
            format!("{} {:?} {:?} {cases:#?}", outcome.rule, outcome.verdict, outcome.reason)
        })
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_run_without_time_skips_what_is_left_and_says_so() {
    let mut target = target(good());
    target.patience.run = std::time::Duration::ZERO;
    let outcomes = run(&target, &Options::default(), &|_| {});
    assert_eq!(outcomes.len(), checks().len());
    for outcome in outcomes {
        let reason = outcome.reason.map(|reason| reason.slug);
        let said = (outcome.verdict, reason.as_deref());
        assert_eq!(said, (Verdict::Skip, Some("no-time")), "{}", outcome.rule);
    }
}

/// Thousands of handlers panic here on purpose, and need not tell of it.
fn quiet_handlers() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some("tokio-rt-worker") {
            usual(info);
        }
    }));
}

#[test]
fn each_must_for_servers_has_a_broken_server() {
    let broken: BTreeSet<&str> = twins().iter().map(|twin| twin.rule).collect();
    let whole: Vec<&str> = rule::all()
        .filter(|rule| rule.level == Level::Must && rule.status == Status::Active)
        .filter(|rule| rule.tested.contains(&Tested::Wire))
        .map(|rule| rule.id)
        .filter(|id| !broken.contains(id))
        .collect();
    assert!(whole.is_empty(), "no broken server for {whole:?}");
}
