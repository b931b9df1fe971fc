//! The wire checks under test: the good server passes all, each broken one is caught by its rule.

mod wire_twins {
    pub(crate) mod backpressure;
    pub(crate) mod bodies;
    pub(crate) mod bodyless;
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

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use gateway_conformance::Verdict;
use gateway_conformance::rule::{self, Level, Status, Tested};
use gateway_conformance::verdict::{Case, CaseResult};
use gateway_conformance::wire::{Options, When, checks, run};
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
fn each_broken_server_is_caught_by_its_rule_in_its_words() {
    quiet_handlers();
    // `WIRE_TWINS=REQ,FLD-03` tries those alone.
    let only = std::env::var("WIRE_TWINS").unwrap_or_default();
    let wanted = |twin: &Twin| only.split(',').any(|prefix| twin.rule.starts_with(prefix));
    let chosen: Vec<Twin> = twins().into_iter().filter(wanted).collect();
    let (chosen, missed) = (Mutex::new(chosen), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                loop {
                    let Some(twin) = chosen.lock().unwrap().pop() else { break };
                    if let Err(problem) = twin.is_caught() {
                        missed.lock().unwrap().push(format!("{}: {problem}", twin.rule));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
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
