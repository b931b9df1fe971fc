//! The host checks under test: each broken host is caught by its rule, and in its rule's words.
//!
//! A twin is a host that breaks one rule, mostly a good one behind a trampoline that does not keep
//! its promises. A check that no twin fails is not a check, and neither is an assertion in one.

mod host_twins {
    pub(crate) mod ends;
    pub(crate) mod serving;
    pub(crate) mod single;
    pub(crate) mod sites;
    pub(crate) mod sockets;
    pub(crate) mod twin;
    pub(crate) mod waits;
    pub(crate) mod work;
}

use std::collections::BTreeSet;
use std::io::Error;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::task::Poll;
use std::thread;

use gateway_conformance::host::{self, CHECKS};
use gateway_conformance::rule::{self, Level, Status, Tested};
use host_twins::twin::{Behind, Bounce, Twin, is_error};
use host_twins::{ends, serving, single, sites, sockets, waits, work};

/// How many twins are tried beside each other: most of them only hang.
const BESIDE: usize = 24;

fn twins() -> Vec<Twin> {
    let files = [
        waits::twins(),
        sockets::twins(),
        work::twins(),
        ends::twins(),
        serving::twins(),
        single::twins(),
    ];
    files.into_iter().flatten().collect()
}

#[test]
fn each_broken_host_is_caught_by_its_rule_in_its_words_and_each_assertion_fails() {
    sites::watch();
    // `HOST_TWINS=YLD,RUN-03` tries those alone.
    let only = std::env::var("HOST_TWINS").unwrap_or_default();
    let wanted = |twin: &Twin| only.split(',').any(|prefix| twin.rule.starts_with(prefix));
    let (missed, reported) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    beside(twins().into_iter().filter(wanted).collect(), |twin| {
        let outcome = twin.outcome();
        if let Err(problem) = twin.is_caught(&outcome) {
            missed.lock().unwrap().push(format!("{}: {problem}", twin.rule));
        }
        reported.lock().unwrap().extend(outcome.err().filter(|seen| !is_error(seen)));
    });
    reported.lock().unwrap().push(thread::spawn(printed).join().unwrap());
    let (mut missed, reported) = (missed.into_inner().unwrap(), reported.into_inner().unwrap());
    let sites = if only.is_empty() { sites::all() } else { Vec::new() };
    for site in sites.iter().filter(|site| !site.has_failed(&reported)) {
        missed.push(format!("no twin fails {site}"));
    }
    assert!(missed.is_empty(), "{} problems:\n{}", missed.len(), missed.join("\n"));
}

/// What a test that `host_tests!` makes prints of a host that breaks its rule.
fn printed() -> String {
    let start = || Behind::new(|good| Bounce(good, |_, _, _| Poll::Ready(Err(Error::other("no")))));
    let failed = catch_unwind(|| host::test("yld_01_each_kind_of_yield_is_answered", start));
    *failed.unwrap_err().downcast().unwrap()
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

#[test]
fn each_must_for_hosts_has_a_broken_host() {
    let broken: BTreeSet<&str> = twins().iter().map(|twin| twin.rule).collect();
    let in_process = |rule: &&rule::Rule| {
        rule.level == Level::Must
            && rule.status == Status::Active
            && rule.tested.contains(&Tested::InProcess)
    };
    let whole: Vec<&str> = rule::all()
        .filter(in_process)
        .map(|rule| rule.id)
        .filter(|id| !broken.contains(id))
        .collect();
    assert!(whole.is_empty(), "no broken host for {whole:?}");
}

#[test]
fn each_rule_for_hosts_has_one_check_that_is_named_after_it() {
    for check in CHECKS {
        let prefix = check.rule.to_lowercase().replace('-', "_") + "_";
        assert!(check.name.starts_with(&prefix), "{} checks {}", check.name, check.rule);
        let rule = rule::find(check.rule).unwrap_or_else(|| panic!("no rule {}", check.rule));
        assert!(rule.tested.contains(&Tested::InProcess), "{} is not for hosts", rule.id);
        let twins = CHECKS.iter().filter(|other| other.rule == check.rule);
        assert_eq!(twins.count(), 1, "{}", check.rule);
    }
    let checked: BTreeSet<&str> = CHECKS.iter().map(|check| check.rule).collect();
    let in_process = rule::all().filter(|rule| rule.tested.contains(&Tested::InProcess));
    let unchecked: Vec<&str> =
        in_process.map(|rule| rule.id).filter(|id| !checked.contains(id)).collect();
    assert!(unchecked.is_empty(), "no check for {unchecked:?}");
}

#[test]
fn a_hanging_host_is_given_up() {
    let never = |_: &host::Subject| loop {
        thread::park();
    };
    let check = host::HostCheck { rule: "YLD-01", name: "never", check: never };
    let patience = std::time::Duration::from_millis(50);
    let start = || gateway_blocking::Blocking::new(1).unwrap();
    let error = host::check(&check, patience, start).unwrap_err();
    assert!(error.contains("hangs"), "{error}");
}
