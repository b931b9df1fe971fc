//! The host checks under test: each broken host is caught by its rule, and in its rule's words.
//!
//! A twin is a host that breaks one rule, mostly a good one behind a trampoline that does not keep
//! its promises. A check that no twin fails is not a check.

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
use std::sync::Mutex;
use std::thread;

use gateway_conformance::host::{self, CHECKS};
use gateway_conformance::rule::{self, Level, Status, Tested};
use host_twins::sites::Site;
use host_twins::twin::Twin;
use host_twins::{ends, serving, single, sites, sockets, waits, work};

/// How many twins are tried beside each other: most of them only hang.
const BESIDE: usize = 16;

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
        reported.lock().unwrap().extend(outcome.err());
    });
    let (mut missed, reported) = (missed.into_inner().unwrap(), reported.into_inner().unwrap());
    let sites = if only.is_empty() { sites::all() } else { Vec::new() };
    for site in sites.iter().filter(|site| !excused(site) && !site.has_failed(&reported)) {
        missed.push(format!("no twin fails {site}"));
    }
    for (file, text, _) in UNFAILED {
        if only.is_empty() && !sites.iter().any(|site| site.is(file, text)) {
            missed.push(format!("there is no {text:?} in {file:?}, and so no reason to excuse it"));
        }
    }
    assert!(missed.is_empty(), "{} problems:\n{}", missed.len(), missed.join("\n"));
}

/// Whether no twin has to fail it.
fn excused(site: &Site) -> bool {
    UNFAILED.iter().any(|(file, text, _)| site.is(file, text))
}

const SYSTEM: &str = "what the check asks of the system, and of no host";
const LOCK: &str = "a lock of the check's own, within which nothing can panic";
const OWN: &str = "between the check's own threads, which no host takes part in";
const CORE: &str = "of core, or of the types: no host in safe code can leave a trampoline behind, move \
                    `run`'s future, or change a result on its way";
const SERVER: &str = "of the server alone, for which `wire_twins` has a server that fails";

/// Assertions that no twin has to fail: end of the file's name, part of the text, reason.
const UNFAILED: &[(&str, &str, &str)] = &[
    ("host.rs", "the macro names checks", "the suite's own tables"),
    ("host.rs", "every check has a rule", "the suite's own tables"),
    ("host.rs", "{id}: {sentence}", "not what judges: it passes on what a check has said"),
    ("", "a free port", SYSTEM),
    ("", "a free path", SYSTEM),
    ("", "expect(\"an address\")", SYSTEM),
    ("", "its address", SYSTEM),
    ("", "expect(\"a connection\")", SYSTEM),
    ("", "expect(\"connects\")", SYSTEM),
    ("", "expect(\"accepts\")", SYSTEM),
    ("", "a pair of sockets", SYSTEM),
    ("", "a portable stream", SYSTEM),
    ("", "expect(\"a pipe\")", SYSTEM),
    ("", "a descriptor", SYSTEM),
    ("", "blocking mode", SYSTEM),
    ("", "no delay", SYSTEM),
    ("", "no linger", SYSTEM),
    ("", "half a close", SYSTEM),
    ("sockets.rs", "expect(\"a flag\")", SYSTEM),
    ("sockets.rs", "expect(\"zeros\")", SYSTEM),
    ("sockets.rs", "room for so little", SYSTEM),
    ("gauges.rs", "expect(\"a timeout\")", SYSTEM),
    ("serving.rs", "cannot connect to the server", SYSTEM),
    ("", "nobody panics here", LOCK),
    ("waits.rs", "expect(\"the log\")", LOCK),
    ("waits.rs", "expect(\"who wakes\")", LOCK),
    ("waits.rs", "expect(\"the wait\")", LOCK),
    ("waits.rs", "expect(\"the load\")", LOCK),
    ("waits.rs", "expect(\"depths\")", LOCK),
    ("sockets.rs", "the echo reads", OWN),
    ("sockets.rs", "the echo has room", OWN),
    ("sockets.rs", "the peer ends", OWN),
    ("gauges.rs", "the echo's thread", OWN),
    ("waits.rs", "expect(\"the thread ends\")", OWN),
    ("waits.rs", "expect(\"the thread listens\")", OWN),
    ("waits.rs", "expect(\"the coroutine waits\")", OWN),
    ("waits.rs", "expect(\"it has been put off\")", OWN),
    ("ends.rs", "the thread that opens the gate", OWN),
    ("ends.rs", "the thread that lets the job go", OWN),
    ("ends.rs", "the thread that lets the jobs go", OWN),
    ("ends.rs", "the thread that waits", OWN),
    ("ends.rs", "a wait has begun", OWN),
    ("ends.rs", "the check is listening", OWN),
    ("ends.rs", "it was spawned", OWN),
    ("ends.rs", "it is not dropped yet", OWN),
    ("work.rs", "a thread that ends", OWN),
    ("gauges.rs", "expect(\"the echo\")", OWN),
    ("waits.rs", "expect(\"the check waits\")", OWN),
    ("waits.rs", "expect(\"somebody waits\")", OWN),
    ("waits.rs", "another round's answer", OWN),
    ("ends.rs", "a byte for the reader", SYSTEM),
    ("work.rs", "a byte for the task that reads", SYSTEM),
    ("host.rs", "when the future has finished, and not before", CORE),
    ("clock.rs", "a trampoline inside `run`", "checks with a clock have asked for it before"),
    ("ends.rs", "trampoline().is_err()", CORE),
    ("ends.rs", "`run` is on another thread", CORE),
    ("ends.rs", "though its future has panicked", CORE),
    ("ends.rs", "work after a panic", CORE),
    ("ends.rs", "the output of run {n}", CORE),
    ("ends.rs", "work on two hosts by turns", CORE),
    ("ends.rs", "a task that panics", CORE),
    ("ends.rs", "expect_err(\"the loser\")", CORE),
    ("ends.rs", "a trap in a task gives", CORE),
    ("waits.rs", "outside `run` a trampoline is current", CORE),
    ("waits.rs", "outside any trampoline", CORE),
    ("waits.rs", "assert_eq!(log,", CORE),
    ("waits.rs", "completion against a deadline", CORE),
    ("work.rs", "a cancelled job gives", CORE),
    ("work.rs", "runs of jobs", CORE),
    ("work.rs", "tasks that await each other", CORE),
    ("work.rs", "it was cancelled and not dropped", CORE),
    ("work.rs", "waiting {what}, it gives", "what ends by itself is noticed just before it"),
    ("work.rs", "tasks cancelled at once and not dropped", CORE),
    ("work.rs", "dropped outside their trampoline", CORE),
    ("serving.rs", "pieces were sent", SERVER),
];

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
