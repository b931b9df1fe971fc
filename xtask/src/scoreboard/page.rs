//! The page: two tables of verdicts in Markdown, and the notes that people have written.

use super::Line;
use super::json::Json;

/// The lines around the notes, which are kept when the page is written again.
const NOTES: (&str, &str) = ("<!-- notes: begin -->", "<!-- notes: end -->");

/// The verdicts, in the order of the first table: how each is called, its sign, its heading.
const VERDICTS: [(&str, &str, &str); 7] = [
    ("pass", "✓", "pass"),
    ("fail", "✗", "fail"),
    ("warn", "!", "warn"),
    ("flaky", "~", "flaky"),
    ("error", "E", "error"),
    ("blocked", "○", "blocked"),
    ("skip", "–", "skip"),
];

/// What the tables don't show: a row of these alone says nothing of anybody.
const QUIET: [&str; 3] = ["pass", "blocked", "skip"];

const INTRODUCTION: &str = "\
# Scoreboard

What `gateway-conformance` says of well-known servers, and of this project's own. The page is made
by `cargo xtask scoreboard`, which also leaves `target/scoreboard/index.html`, where every verdict
can be opened down to the bytes.

Each server runs the probe application of [`conformance/probe.md`](../conformance/probe.md) as far
as it can, and is started as its users start it, in one process, with one difference: no client is
taken for a trusted proxy. nginx and lighttpd answer with a few bytes of their own, so that what
takes an application is skipped there. A rule is not a law: many are this project's own choice, and
say so in the [specification](specification.md). Read the [notes](#notes) before you judge.
";

/// Writes the page. `before` is what it was, whose notes are kept.
pub(super) fn page(lines: &[Line], before: &str) -> String {
    [
        INTRODUCTION,
        "\n## Servers\n\n",
        &servers(lines),
        "\n## Rules\n\n",
        &legend(),
        &rules(lines),
        "\n## Notes\n\n",
        NOTES.0,
        notes(before).unwrap_or("\n"),
        NOTES.1,
        "\n",
    ]
    .concat()
}

/// How many verdicts there are of each kind, in words.
pub(super) fn counts(report: &Json) -> String {
    let counts = VERDICTS.iter().map(|(verdict, _, _)| (count(report, verdict), verdict));
    let shown = counts.filter(|(count, _)| *count > 0);
    shown.map(|(count, verdict)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
}

fn count(report: &Json, verdict: &str) -> usize {
    report.list("outcomes").iter().filter(|it| it.text("verdict") == verdict).count()
}

/// Of this kind: how many cases passed, and how many there were.
fn rate(report: &Json, kind: &str) -> String {
    let cases = || {
        let outcomes = report.list("outcomes").iter();
        outcomes.flat_map(|it| it.list("cases")).filter(|case| case.text("kind") == kind)
    };
    let passed = cases().filter(|case| case.text("result") == "pass").count();
    format!("{passed}/{}", cases().count())
}

fn servers(lines: &[Line]) -> String {
    let headings = VERDICTS.map(|(_, _, heading)| heading).join(" | ");
    let mut text = format!(
        "| server | version | | {headings} | refused | accepted |\n|---|---|---|{}\n",
        "---:|".repeat(VERDICTS.len() + 2)
    );
    let mut missing = String::new();
    for line in lines {
        match &line.report {
            Ok(report) => {
                let counts =
                    VERDICTS.map(|(verdict, _, _)| count(report, verdict).to_string()).join(" | ");
                let (refused, accepted) = (rate(report, "refuse"), rate(report, "accept"));
                text += &format!(
                    "| {} | {} | {} | {counts} | {refused} | {accepted} |\n",
                    line.name, line.version, line.about
                );
            }
            Err(reason) => missing += &format!("- {}: {}\n", line.name, cell(reason)),
        }
    }
    text += "\nThe two last columns count cases: malformed requests that were refused, and the \
        well-formed\nones beside them that were accepted. A server that refuses everything would \
        do well in the\nfirst alone.\n";
    if !missing.is_empty() {
        text += &format!("\nNot there:\n\n{missing}");
    }
    text
}

fn legend() -> String {
    let signs = VERDICTS.map(|(verdict, sign, _)| format!("{sign} {verdict}")).join(", ");
    format!(
        "The rules that somebody does not keep. {signs}.\nM is a MUST, S a SHOULD. The servers:\n\n"
    )
}

/// A table of the rules that somebody breaks: a row for each, a column for each server.
fn rules(lines: &[Line]) -> String {
    let reports: Vec<(&str, &Json)> =
        lines.iter().filter_map(|line| Some((line.name, line.report.as_ref().ok()?))).collect();
    let mut text = String::new();
    for (at, (name, _)) in reports.iter().enumerate() {
        text += &format!("{}. {name}\n", at + 1);
    }
    let numbers: Vec<String> = (1..=reports.len()).map(|at| at.to_string()).collect();
    text += &format!(
        "\n| rule | | {} | what it says |\n|---|---|{}---|\n",
        numbers.join(" | "),
        ":-:|".repeat(reports.len())
    );
    let outcomes = reports.first().map_or(&[][..], |(_, report)| report.list("outcomes"));
    for rule in outcomes {
        let id = rule.text("rule");
        let verdicts: Vec<&str> = reports.iter().map(|(_, report)| verdict(report, id)).collect();
        if verdicts.iter().all(|verdict| QUIET.contains(verdict)) {
            continue;
        }
        let signs: Vec<&str> = verdicts.iter().map(|verdict| sign(verdict)).collect();
        let level = if rule.text("level").eq_ignore_ascii_case("must") { "M" } else { "S" };
        text += &format!(
            "| [{id}](specification.md#{}) | {level} | {} | {} |\n",
            id.to_lowercase(),
            signs.join(" | "),
            cell(rule.text("sentence"))
        );
    }
    text
}

fn verdict<'a>(report: &'a Json, id: &str) -> &'a str {
    let found = report.list("outcomes").iter().find(|outcome| outcome.text("rule") == id);
    found.map_or("skip", |outcome| outcome.text("verdict"))
}

fn sign(verdict: &str) -> &'static str {
    VERDICTS.iter().find(|(name, _, _)| *name == verdict).map_or("?", |(_, sign, _)| sign)
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// What stands between the markers.
fn notes(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(NOTES.0)?;
    rest.split_once(NOTES.1).map(|(notes, _)| notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, verdict: &str) -> Line {
        let text = format!(
            r#"{{"outcomes": [
                {{"rule": "REQ-01", "level": "should", "sentence": "A | b.", "verdict": "{verdict}",
                  "cases": [{{"kind": "refuse", "result": "fail"}},
                            {{"kind": "refuse", "result": "pass"}},
                            {{"kind": "accept", "result": "pass"}}]}},
                {{"rule": "REQ-02", "level": "must", "sentence": "C.", "verdict": "pass",
                  "cases": []}}]}}"#
        );
        let report = Json::parse(&text);
        Line { name, about: "", version: "1".to_owned(), report }
    }

    #[test]
    fn servers_have_their_counts_and_rates() {
        let text = page(&[line("one", "warn")], "");
        assert!(text.contains("| one | 1 |  | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 1/2 | 1/1 |"), "{text}");
    }

    #[test]
    fn rules_that_all_keep_are_left_out() {
        let text = page(&[line("one", "pass"), line("two", "fail")], "");
        assert!(text.contains("(specification.md#req-01) | S | ✓ | ✗ | A \\| b. |"), "{text}");
        assert!(!text.contains("REQ-02"), "{text}");
    }

    #[test]
    fn server_without_a_report_is_named_with_the_reason() {
        let report = Err("it is in the Debian package nginx".to_owned());
        let missing = Line { name: "nginx", about: "", version: String::new(), report };
        let text = page(&[line("one", "pass"), missing], "");
        assert!(text.contains("- nginx: it is in the Debian package nginx\n"), "{text}");
    }

    #[test]
    fn notes_are_kept() {
        let first = page(&[line("one", "pass")], "");
        let noted = first.replace(NOTES.1, &format!("What people wrote.\n{}", NOTES.1));
        let second = page(&[line("one", "fail")], &noted);
        assert!(second.contains("What people wrote.\n"), "{second}");
        assert_eq!(second.matches(NOTES.0).count(), 1);
    }
}
