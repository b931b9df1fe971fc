//! Reports as two tables in Markdown: the servers, and the rules that somebody does not keep.

use std::fmt::Write;

use crate::report::Report;
use crate::rule::Level;
use crate::verdict::{Kind, Verdict};

/// Writes both tables. Rules link to `specification`, a path to the specification's document.
#[must_use]
pub fn markdown(reports: &[Report], specification: &str) -> String {
    let mut text = String::new();
    // To write to a string never fails.
    let _ = servers(&mut text, reports);
    let _ = rules(&mut text, reports, specification);
    text
}

fn servers(text: &mut String, reports: &[Report]) -> std::fmt::Result {
    let headings = Verdict::ALL.map(Verdict::word).join(" | ");
    writeln!(text, "| server | {headings} | refused | accepted |")?;
    writeln!(text, "|---|{}", "---:|".repeat(Verdict::ALL.len() + 2))?;
    for report in reports {
        let counts = Verdict::ALL.map(|verdict| report.count(verdict).to_string()).join(" | ");
        let [refused, accepted] = [Kind::Refuse, Kind::Accept].map(|kind| {
            let (passed, all) = report.rate(kind);
            format!("{passed}/{all}")
        });
        writeln!(text, "| {} | {counts} | {refused} | {accepted} |", cell(&report.server))?;
    }
    let rates = "\nThe last two columns count cases: malformed requests that were refused, and the \
                 well-formed\nones beside them that were accepted. A server that refuses everything \
                 would do well in the\nfirst alone.\n";
    writeln!(text, "{rates}")
}

fn rules(text: &mut String, reports: &[Report], specification: &str) -> std::fmt::Result {
    let signs = Verdict::ALL.map(|verdict| format!("{} {}", sign(verdict), verdict.word()));
    writeln!(text, "The rules that somebody does not keep: {}.", signs.join(", "))?;
    writeln!(text, "M is a MUST, S a SHOULD. The servers:\n")?;
    for (at, report) in reports.iter().enumerate() {
        writeln!(text, "{}. {}", at + 1, cell(&report.server))?;
    }
    let numbers: Vec<String> = (1..=reports.len()).map(|at| at.to_string()).collect();
    writeln!(text, "\n| rule | | {} | what it says |", numbers.join(" | "))?;
    writeln!(text, "|---|---|{}---|", ":-:|".repeat(reports.len()))?;
    let known = reports.first().map_or(&[][..], |report| &report.outcomes);
    for judged in known {
        let id = &judged.outcome.rule;
        let verdicts: Vec<Verdict> = reports.iter().map(|report| of(report, id)).collect();
        let quiet =
            |verdict: &Verdict| matches!(verdict, Verdict::Pass | Verdict::Blocked | Verdict::Skip);
        if verdicts.iter().all(quiet) {
            continue;
        }
        let signs: Vec<&str> = verdicts.into_iter().map(sign).collect();
        let level = if judged.level == Level::Must { "M" } else { "S" };
        let (row, link) = (signs.join(" | "), id.to_lowercase());
        let sentence = cell(&judged.sentence);
        writeln!(text, "| [{id}]({specification}#{link}) | {level} | {row} | {sentence} |")?;
    }
    Ok(())
}

fn of(report: &Report, id: &str) -> Verdict {
    let found = report.outcomes.iter().find(|judged| judged.outcome.rule == id);
    found.map_or(Verdict::Skip, |judged| judged.outcome.verdict)
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Flaky => "~",
        Verdict::Warn => "!",
        Verdict::Error => "E",
        Verdict::Blocked => "○",
        Verdict::Skip => "–",
    }
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|").replace('<', "&lt;")
}
