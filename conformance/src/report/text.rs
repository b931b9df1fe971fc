//! A report for a terminal: what needs a look, with its evidence; then one summary.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Judged, Report};
use crate::specification::level;
use crate::verdict::{Case, CaseResult, Event, Excerpt, Kind, Verdict, What};

/// How many lines of one event's bytes are shown. The reports for programs have all that is kept.
const LINES: usize = 12;

/// How many columns of a line of bytes are shown.
const COLUMNS: usize = 160;

/// How many cases of a rule that did not pass are shown with their bytes, where not all are asked
/// for. One or two say what is wrong; forty bury it.
const CASES: usize = 3;

/// How much a report for a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The summary alone.
    Quiet,
    /// What needs a look, too.
    Usual,
    /// What passed, too.
    Verbose,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// Text in the colour of a verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict, text: &str) -> String {
        self.sgr(
            match verdict {
                Verdict::Pass => "32",
                Verdict::Fail => "1;31",
                Verdict::Warn => "33",
                Verdict::Error | Verdict::Flaky => "1;35",
                Verdict::Skip | Verdict::Blocked => "2",
            },
            text,
        )
    }

    fn strong(self, text: &str) -> String {
        self.sgr("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.sgr("2", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The report as text. It ends with the summary.
#[must_use]
pub fn text(report: &Report, detail: Detail, paint: Paint) -> String {
    let mut text = String::new();
    if detail != Detail::Quiet {
        for verdict in Verdict::ALL {
            let of = |judged: &&Judged| judged.outcome.verdict == verdict;
            let outcomes: Vec<&Judged> = report.outcomes.iter().filter(of).collect();
            match verdict {
                Verdict::Pass if detail == Detail::Usual => {}
                Verdict::Blocked | Verdict::Skip => reasons(&mut text, &outcomes, verdict, paint),
                _ => outcomes.iter().for_each(|one| outcome(&mut text, report, one, detail, paint)),
            }
        }
    }
    text + &summary(report, paint)
}

/// The summary: how many of each verdict, and the two rates apart.
#[must_use]
pub fn summary(report: &Report, paint: Paint) -> String {
    let seen = Verdict::ALL.iter().map(|verdict| (*verdict, report.count(*verdict)));
    let counts: Vec<String> = seen
        .filter(|(_, count)| *count > 0)
        .map(|(verdict, count)| paint.verdict(verdict, &format!("{count} {}", verdict.word())))
        .collect();
    let (refused, refusals) = report.rate(Kind::Refuse);
    let (accepted, twins) = report.rate(Kind::Accept);
    let server = paint.strong(&clean(&report.server));
    let rules = report.outcomes.len();
    format!(
        "{server}: {rules} {}: {}\n\
         refusals {refused}/{refusals}, accepted twins {accepted}/{twins}\n",
        if rules == 1 { "rule" } else { "rules" },
        counts.join(", ")
    )
}

/// One outcome with its evidence.
fn outcome(text: &mut String, report: &Report, judged: &Judged, detail: Detail, paint: Paint) {
    let found = &judged.outcome;
    let word = paint.verdict(found.verdict, &found.verdict.word().to_uppercase());
    let id = paint.strong(&clean(&found.rule));
    line(text, &format!("{word} {id} ({}) {}", level(judged.level), clean(&judged.sentence)));
    if let Some(reason) = &found.reason {
        item(text, "reason", &reason.text, paint);
    }
    let passed = found.verdict == Verdict::Pass;
    let cases = found.cases.iter().filter(|it| passed || it.result != CaseResult::Pass);
    for (at, one) in cases.enumerate() {
        match one.result == CaseResult::Pass || detail == Detail::Verbose || at < CASES {
            true => case(text, one, paint),
            false => also(text, one, at == CASES, paint),
        }
    }
    if !passed {
        text.push('\n');
        item(text, "why", &judged.intent, paint);
        item(text, "look at", &judged.look_at, paint);
        item(text, "source", &judged.source, paint);
        item(text, "again", &format!("{} {}", report.again, found.rule), paint);
    }
    text.push('\n');
}

fn case(text: &mut String, case: &Case, paint: Paint) {
    if case.result == CaseResult::Pass {
        return item(text, "pass", &format!("{}: {}", case.name, case.got), paint);
    }
    text.push('\n');
    let kind = match case.kind {
        Kind::Accept => " (has to be accepted)",
        Kind::Refuse => " (has to be refused)",
        Kind::Behave => "",
    };
    let warning = if case.result == CaseResult::Warn { ", a warning" } else { "" };
    item(text, "case", &format!("{}{kind}{warning}", case.name), paint);
    item(text, "expected", &case.expected, paint);
    item(text, "got", &case.got, paint);
    case.trace.iter().for_each(|one| event(text, one, paint));
}

/// A case whose bytes only `--verbose` shows.
fn also(text: &mut String, case: &Case, first: bool, paint: Paint) {
    if first {
        text.push('\n');
        line(text, &format!("  {}", paint.faint("and, with their bytes under --verbose:")));
    }
    let warning = if case.result == CaseResult::Warn { ", a warning" } else { "" };
    item(text, "case", &format!("{}{warning}: {}", case.name, case.got), paint);
}

fn event(text: &mut String, event: &Event, paint: Paint) {
    let (sign, lines) = match &event.what {
        What::Sent(excerpt) => ('>', bytes(excerpt)),
        What::Received(excerpt) => ('<', bytes(excerpt)),
        What::Note(note) => ('*', vec![clean(note)]),
    };
    let mut stamp = format!("{:>12} ms #{} {sign} ", milliseconds(event.at), event.connection);
    let margin = " ".repeat(stamp.chars().count());
    for one in lines {
        line(text, &format!("{}{one}", paint.faint(&stamp)));
        stamp.clone_from(&margin);
    }
}

/// Bytes as lines that end where theirs do.
fn bytes(excerpt: &Excerpt) -> Vec<String> {
    let all = clean(&excerpt.text).replace("\\n", "\\n\n");
    let mut lines: Vec<String> = all.lines().take(LINES).map(shortened).collect();
    let whole = all.lines().count() <= LINES && lines.iter().all(|line| !line.ends_with('…'));
    if !whole || excerpt.bytes > Excerpt::KEPT {
        lines.push(format!("({} bytes in all)", excerpt.bytes));
    }
    lines
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(COLUMNS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Rules of which nothing can be said, by reason.
fn reasons(text: &mut String, outcomes: &[&Judged], verdict: Verdict, paint: Paint) {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in outcomes.iter().map(|judged| &judged.outcome) {
        let reason = found.reason.as_ref().map_or("no reason", |reason| &reason.text);
        groups.entry(clean(reason)).or_default().push(clean(&found.rule));
    }
    for (reason, ids) in &groups {
        let word = paint.verdict(verdict, &verdict.word().to_uppercase());
        let rules = if ids.len() == 1 { "rule" } else { "rules" };
        line(text, &format!("{word} {} {rules}: {reason}", ids.len()));
        for some in ids.chunks(10) {
            line(text, &format!("  {}", some.join(" ")));
        }
    }
    if !groups.is_empty() {
        text.push('\n');
    }
}

fn item(text: &mut String, name: &str, value: &str, paint: Paint) {
    if !value.is_empty() {
        line(text, &format!("  {} {}", paint.faint(&format!("{name:<9}")), clean(value)));
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a String takes everything");
}

/// Milliseconds, with microseconds behind the point.
fn milliseconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_millis(), time.subsec_micros() % 1000)
}

/// Text without control characters: what a server sends must not reach the terminal as it is.
fn clean(text: &str) -> String {
    // Beside the controls: what is invisible, or turns the direction of what follows.
    let unseen = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    let hostile = |it: char| it.is_control() || unseen.iter().any(|range| range.contains(&it));
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if hostile(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}
