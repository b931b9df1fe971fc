//! A report as JUnit's XML, which CI systems show: a suite for each family, a case for each rule.

use std::fmt::Write;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Judged, Report};
use crate::rule::FAMILIES;
use crate::specification::{level, prefix_of};
use crate::verdict::{CaseResult, Verdict, What};

/// The report as JUnit's XML.
///
/// # Panics
///
/// Never: it is written to memory.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut all = quick_junit::Report::new(format!("gateway-conformance: {}", report.server));
    for (prefix, title, _) in FAMILIES {
        let in_family = |it: &&Judged| prefix_of(&it.outcome.rule) == *prefix;
        let mut suite = TestSuite::new(format!("{prefix}: {title}"));
        suite.add_test_cases(report.outcomes.iter().filter(in_family).map(|it| case(report, it)));
        if !suite.test_cases.is_empty() {
            all.add_test_suite(suite);
        }
    }
    all.to_string().expect("memory takes everything")
}

fn case(report: &Report, judged: &Judged) -> TestCase {
    let outcome = &judged.outcome;
    let reason = outcome.reason.as_ref();
    let mut status = match outcome.verdict {
        Verdict::Pass | Verdict::Warn => TestCaseStatus::success(),
        Verdict::Fail | Verdict::Flaky => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skip | Verdict::Blocked => TestCaseStatus::skipped(),
    };
    let message = reason.map_or(&judged.sentence, |reason| &reason.text);
    status.set_message(message.as_str()).set_type(outcome.verdict.word());
    if matches!(outcome.verdict, Verdict::Fail | Verdict::Flaky | Verdict::Error) {
        status.set_description(evidence(report, judged));
    }
    let name = format!("{} ({}) {}", outcome.rule, level(judged.level), judged.sentence);
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("{}.{}", report.server, prefix_of(&outcome.rule)));
    case.set_time(outcome.elapsed).set_assertions(outcome.cases.len());
    if outcome.verdict == Verdict::Warn {
        case.set_system_out(evidence(report, judged));
    }
    case
}

/// The cases that did not pass, as text.
fn evidence(report: &Report, judged: &Judged) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("a String takes everything");
    };
    for case in judged.outcome.cases.iter().filter(|case| case.result != CaseResult::Pass) {
        line(format_args!("{}: expected {}, got {}", case.name, case.expected, case.got));
        for event in &case.trace {
            let (at, number) = (event.at.as_secs_f64() * 1000.0, event.connection);
            match &event.what {
                What::Sent(bytes) => line(format_args!("{at:10.3} ms #{number} > {}", bytes.text)),
                What::Received(bytes) => {
                    line(format_args!("{at:10.3} ms #{number} < {}", bytes.text));
                }
                What::Note(note) => line(format_args!("{at:10.3} ms #{number} * {note}")),
            }
        }
    }
    line(format_args!("why: {}", judged.intent));
    line(format_args!("look at: {}", judged.look_at));
    line(format_args!("again: {} {}", report.again, judged.outcome.rule));
    text
}
