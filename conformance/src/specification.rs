//! The specification for people: the document, the list of rules, and everything about one of them.
//!
//! All of it comes from the rules' own data, so that it can't say anything else than they do.

use std::fmt::Write;

use crate::rule::{self, Bound, FAMILIES, Level, Need, Rule, Status, Tested};

const INTRODUCTION: &str = "\
<!-- Written by `cargo xtask spec` from conformance/src/rules/. Edit those, not this file. -->

# The specification

What a server and a host of the gateway do, as rules. Each has an id that is its name for good: it
is never renumbered, nor used again. This document is written from the rules' data, which is the
data that the checks, `gateway-conformance list` and every report are made from.

**Level.** Breaking a rule at level MUST is a failure; missing one at level SHOULD is a warning.

**How a rule is tested.** *From outside*: over a socket, on any HTTP server in any language, with
`gateway-conformance wire URL`. *In process*: on a host, with `gateway_conformance::host_tests!`.
*Compared*: the same application on several hosts, and the answers beside each other. Some rules
need more than a server that answers: the probe application (`conformance/probe.md`) with one of its
features, a command that starts the server, HTTP/2 with prior knowledge, or a bound that the
server's operator declares.

**Verdicts.** *Pass*: the server keeps the rule. *Fail*: it breaks a MUST. *Warn*: it misses a
SHOULD, or keeps a MUST in a way that could be better. *Skip*: the rule doesn't apply, or can't be
tested here. *Blocked*: something that it depends on failed, so that nothing can be said; a refusal
counts only where the server accepts the refused request's well-formed twin. *Flaky*: a second run
gave another verdict. *Error*: the suite itself failed, which says nothing about the server, or
the host.
";

/// The document, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str(
        "\n## Families\n\n| family | about | rules | MUST | SHOULD |\n|---|---|--:|--:|--:|\n",
    );
    let row = |name: &str, title: &str, rules: &[&Rule]| {
        let must = rules.iter().filter(|rule| rule.level == Level::Must).count();
        format!("| {name} | {title} | {} | {must} | {} |\n", rules.len(), rules.len() - must)
    };
    for (prefix, title, rules) in FAMILIES {
        let name = format!("[{prefix}](#{})", anchor(prefix));
        text.push_str(&row(&name, title, &rules.iter().collect::<Vec<_>>()));
    }
    text.push_str(&row("all", "", &rule::all().collect::<Vec<_>>()));
    for (prefix, title, rules) in FAMILIES {
        write!(text, "\n<a id=\"{}\"></a>\n\n## {prefix}: {title}\n", anchor(prefix))
            .expect("a String takes everything");
        for rule in *rules {
            text.push_str(&section(rule));
        }
    }
    text
}

/// A rule, as a section of the document.
fn section(rule: &Rule) -> String {
    let mut text = format!(
        "\n<a id=\"{}\"></a>\n\n### {} ({})\n\n{}\n\n",
        anchor(rule.id),
        rule.id,
        level(rule.level),
        markup(rule.sentence)
    );
    for (name, value) in particulars(rule) {
        writeln!(text, "- {name}: {}", markup(&value)).expect("a String takes everything");
    }
    text
}

/// Everything about one rule.
#[must_use]
pub fn explain(rule: &Rule) -> String {
    let title = FAMILIES.iter().find(|(prefix, ..)| prefix_of(rule.id) == *prefix);
    let title = title.map_or("", |(_, title, _)| title);
    let mut text = format!("{} ({}), {title}\n\n", rule.id, level(rule.level));
    text.push_str(&wrapped(rule.sentence, 0));
    text.push('\n');
    for (name, value) in particulars(rule) {
        let lines = wrapped(&value, 13);
        write!(text, "{name:<13}{}", lines.trim_start()).expect("a String takes everything");
    }
    text
}

/// All rules, one a line, by family.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for (prefix, title, rules) in FAMILIES.iter().filter(|(_, _, rules)| !rules.is_empty()) {
        writeln!(text, "{prefix}: {title}").expect("a String takes everything");
        for rule in *rules {
            writeln!(text, "  {:<8}{:<8}{}", rule.id, level(rule.level), rule.sentence)
                .expect("a String takes everything");
        }
        text.push('\n');
    }
    text
}

/// All rules, for machines.
///
/// # Panics
///
/// Never: the rules are plain data.
#[must_use]
pub fn json() -> String {
    let rules: Vec<&Rule> = rule::all().collect();
    serde_json::to_string_pretty(&rules).expect("rules are plain data") + "\n"
}

/// The ids that somebody may have meant by this one, nearest first.
#[must_use]
pub fn near(id: &str) -> Vec<&'static str> {
    let id = id.to_ascii_uppercase();
    let mut ids: Vec<(usize, &str)> = rule::all()
        .map(|rule| (distance(&id, rule.id), rule.id))
        .filter(|(distance, _)| *distance <= 2)
        .collect();
    ids.sort_unstable();
    ids.into_iter().take(4).map(|(_, id)| id).collect()
}

/// The family's part of an id.
#[must_use]
pub fn prefix_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

/// A level, as the specification writes it.
#[must_use]
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Must => "MUST",
        Level::Should => "SHOULD",
    }
}

/// What there is to say of a rule beside its sentence.
fn particulars(rule: &Rule) -> Vec<(&'static str, String)> {
    let tested: Vec<&str> = rule.tested.iter().map(|how| tested(*how)).collect();
    let needs: Vec<String> = rule.needs.iter().map(|what| need(*what)).collect();
    let status = match rule.status {
        Status::Active => "active".to_owned(),
        Status::ByConstruction(why) => format!("holds by construction: {why}"),
        Status::Reserved(why) => format!("reserved: {why}"),
        Status::Retired(why) => format!("retired: {why}"),
    };
    let all = [
        ("why", rule.intent.to_owned()),
        ("source", rule.source.to_owned()),
        ("tested", tested.join("; ")),
        ("needs", needs.join("; ")),
        ("status", status),
        ("since", rule.since.to_owned()),
        ("look at", rule.look_at.to_owned()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn tested(how: Tested) -> &'static str {
    match how {
        Tested::Wire => "from outside",
        Tested::InProcess => "in process",
        Tested::Compared => "compared",
    }
}

fn need(what: Need) -> String {
    let bound = |name, option| format!("the server's {name}, declared with `{option}`");
    match what {
        Need::Probe(feature) => format!("the probe application with `{feature}`"),
        Need::Control => "a command that starts the server: `--exec`".to_owned(),
        Need::Http2 => "HTTP/2 with prior knowledge".to_owned(),
        Need::Declared(Bound::Connections) => bound("limit of connections", "--connection-limit"),
        Need::Declared(Bound::BodyBytes) => bound("limit of a body", "--body-limit"),
        Need::Declared(Bound::Requests) => {
            bound("limit of requests on a connection", "--requests-per-connection")
        }
    }
}

fn anchor(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// Text as Markdown: what would be markup outside a code span is escaped.
fn markup(text: &str) -> String {
    let mut code = false;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        code ^= character == '`';
        if !code && matches!(character, '*' | '_' | '<' | '>' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// Text in lines of at most 96 columns, indented.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width <= 96 {
            out.push(' ');
            column += 1;
        } else {
            out.push_str(if column > 0 { "\n" } else { "" });
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        out.push_str(word);
        column += width;
    }
    out + "\n"
}

/// How many characters have to be put in, left out or changed to make one the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let change = before + usize::from(a != b);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes() {
        for (one, other, count) in
            [("", "", 0), ("REQ-1", "REQ-12", 1), ("RQE-12", "REQ-12", 2), ("", "KA", 2)]
        {
            assert_eq!(distance(one, other), count, "{one} {other}");
            assert_eq!(distance(other, one), count, "{other} {one}");
        }
    }

    #[test]
    fn markup_outside_code_is_escaped() {
        assert_eq!(markup("a * b `G <T` <c>"), "a \\* b `G <T` \\<c\\>");
    }

    #[test]
    fn lines_are_wrapped_and_indented() {
        let text = wrapped(&"word ".repeat(40), 4);
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 96), "{text}");
        assert!(text.lines().all(|line| line.starts_with("    word")), "{text}");
    }
}
