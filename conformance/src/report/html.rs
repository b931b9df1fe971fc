//! Reports as one page that needs no network: rules down, servers across, and the evidence of each
//! cell beside.
//!
//! Servers send whatever they like, so nothing of theirs is ever markup: here everything is
//! escaped, and `page.js` makes text nodes alone. The page forbids itself to load anything.

use std::fmt::Write;

use super::{Judged, Report};
use crate::rule::{self, FAMILIES};
use crate::specification::{level, prefix_of};
use crate::verdict::{Kind, Verdict};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
///
/// # Panics
///
/// Never: reports are plain data, and a `String` takes everything.
#[must_use]
pub fn html(reports: &[Report]) -> String {
    let names: Vec<&str> = reports.iter().map(|report| report.server.as_str()).collect();
    let title = escaped(&format!("{} – gateway-conformance", names.join(", ")));
    // Within a script element, `<` alone could end it.
    let data = serde_json::to_string(reports).expect("reports are plain data");
    let data = data.replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>gateway-conformance</h1>\n{}</header>\n\
         <section class=\"servers\" aria-label=\"Servers\">\n{}</section>\n{}\
         <div class=\"both\">\n<div class=\"matrix\">\n{}</div>\n\
         <aside id=\"evidence\" aria-label=\"Evidence\" tabindex=\"-1\" hidden></aside>\n</div>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        legend(),
        reports.iter().map(totals).collect::<String>(),
        filters(),
        table(reports),
    )
}

/// What the signs mean.
fn legend() -> String {
    let words = Verdict::ALL.iter().map(|verdict| {
        let (word, sign) = (verdict.word(), sign(*verdict));
        format!("<li><span class=\"sign {word}\">{sign}</span> {}</li>\n", meaning(*verdict))
    });
    format!("<ul class=\"legend\" aria-label=\"Legend\">\n{}</ul>\n", words.collect::<String>())
}

/// One server: what it is, and its totals.
fn totals(report: &Report) -> String {
    let mut text = format!(
        "<article>\n<h2>{}</h2>\n<p class=\"where\">{}</p>\n<p class=\"bar\" aria-hidden=\"true\">",
        escaped(&report.server),
        escaped(&report.url)
    );
    let counts = Verdict::ALL.iter().map(|verdict| (*verdict, report.count(*verdict)));
    let counts: Vec<(Verdict, usize)> = counts.filter(|(_, count)| *count > 0).collect();
    for (verdict, count) in &counts {
        put(&mut text, format_args!("<i class=\"{}\" style=\"flex:{count}\"></i>", verdict.word()));
    }
    text.push_str("</p>\n<p class=\"counts\">");
    for (verdict, count) in &counts {
        let word = verdict.word();
        put(&mut text, format_args!("<b class=\"{word}\">{count}</b> {word} "));
    }
    let (refused, refusals) = report.rate(Kind::Refuse);
    let (accepted, twins) = report.rate(Kind::Accept);
    let probe = report.features.as_ref().map_or_else(
        || "no probe application".to_owned(),
        |features| format!("probe: {}", features.join(" ")),
    );
    put(
        &mut text,
        format_args!(
            "</p>\n<p>refusals {refused}/{refusals}, accepted twins {accepted}/{twins}</p>\n\
             <p class=\"faint\">{}, {}, suite {}</p>\n</article>\n",
            if report.http2 { "HTTP/2" } else { "no HTTP/2" },
            escaped(&probe),
            escaped(&report.suite)
        ),
    );
    text
}

fn filters() -> String {
    let mut text = "<form class=\"filters\" aria-label=\"Filters\">\n\
        <input type=\"search\" id=\"words\" placeholder=\"Filter by text\" \
        aria-label=\"Text\">\n<select id=\"family\" aria-label=\"Family\">\n\
        <option value=\"\">all families</option>\n"
        .to_owned();
    for (prefix, title, _) in FAMILIES {
        let title = escaped(title);
        put(&mut text, format_args!("<option value=\"{prefix}\">{prefix}: {title}</option>\n"));
    }
    text.push_str(
        "</select>\n<select id=\"level\" aria-label=\"Level\">\n\
         <option value=\"\">both levels</option>\n<option>MUST</option>\n\
         <option>SHOULD</option>\n</select>\n<output id=\"shown\"></output>\n\
         <fieldset aria-label=\"Verdicts\">\n",
    );
    for verdict in Verdict::ALL.iter() {
        let (word, sign) = (verdict.word(), sign(*verdict));
        put(
            &mut text,
            format_args!(
                "<label><input type=\"checkbox\" name=\"verdict\" value=\"{word}\">\
                 <span class=\"sign {word}\">{sign}</span>{word}</label>\n"
            ),
        );
    }
    text + "</fieldset>\n</form>\n"
}

/// The matrix: a body for each family, a row for each rule, a cell for each server.
fn table(reports: &[Report]) -> String {
    let class = if reports.len() > 4 { "many" } else { "few" };
    let mut text = format!("<table class=\"{class}\">\n<thead>\n<tr><th scope=\"col\">Rule</th>");
    for report in reports {
        let name = escaped(&report.server);
        put(&mut text, format_args!("<th scope=\"col\" class=\"server\"><span>{name}</span></th>"));
    }
    text.push_str("</tr>\n</thead>\n");
    for (prefix, title, _) in FAMILIES {
        let rows: String = ids(reports, prefix).iter().map(|id| row(reports, id)).collect();
        if !rows.is_empty() {
            let columns = reports.len() + 1;
            let title = escaped(title);
            put(
                &mut text,
                format_args!(
                    "<tbody data-family=\"{prefix}\">\n<tr class=\"family\">\
                     <th scope=\"rowgroup\" colspan=\"{columns}\">{prefix}: {title}</th></tr>\n\
                     {rows}</tbody>\n"
                ),
            );
        }
    }
    text + "</table>\n"
}

/// The rules of a family that any report has, in the order of the specification; then those that
/// this suite does not know.
fn ids<'a>(reports: &'a [Report], prefix: &str) -> Vec<&'a str> {
    let mut ids: Vec<&str> = reports
        .iter()
        .flat_map(|report| report.outcomes.iter().map(|judged| judged.outcome.rule.as_str()))
        .filter(|id| prefix_of(id) == prefix)
        .collect();
    let place = |id: &str| rule::all().position(|rule| rule.id == id).unwrap_or(usize::MAX);
    ids.sort_by_key(|id| (place(id), *id));
    ids.dedup();
    ids
}

fn row(reports: &[Report], id: &str) -> String {
    let found: Vec<Option<&Judged>> = reports
        .iter()
        .map(|report| report.outcomes.iter().find(|judged| judged.outcome.rule == id))
        .collect();
    let Some(judged) = found.iter().flatten().next() else { return String::new() };
    let (level, sentence) = (level(judged.level), escaped(&judged.sentence));
    let id = escaped(id);
    let mut text = format!(
        "<tr class=\"rule\" data-level=\"{level}\"><th scope=\"row\" title=\"{sentence}\">\
         <b>{id}</b> <small>{level}</small> <span>{sentence}</span></th>"
    );
    for (at, (report, judged)) in reports.iter().zip(&found).enumerate() {
        let Some(judged) = judged else {
            text.push_str("<td></td>");
            continue;
        };
        let (word, sign) = (judged.outcome.verdict.word(), sign(judged.outcome.verdict));
        let server = escaped(&report.server);
        put(
            &mut text,
            format_args!(
                "<td><button type=\"button\" class=\"sign {word}\" data-verdict=\"{word}\" \
                 data-report=\"{at}\" data-rule=\"{id}\" \
                 title=\"{id}, {server}: {word}\n{sentence}\" \
                 aria-label=\"{id}, {server}: {word}\">{sign}</button></td>"
            ),
        );
    }
    text + "</tr>\n"
}

/// A verdict's sign, which tells it from the others without its colour.
fn sign(verdict: Verdict) -> char {
    match verdict {
        Verdict::Pass => '✓',
        Verdict::Fail => '✗',
        Verdict::Warn => '!',
        Verdict::Skip => '–',
        Verdict::Blocked => 'B',
        Verdict::Error => 'E',
        Verdict::Flaky => '~',
    }
}

fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "keeps the rule",
        Verdict::Fail => "breaks it",
        Verdict::Warn => "could do better",
        Verdict::Skip => "skipped",
        Verdict::Blocked => "blocked by something else",
        Verdict::Error => "the suite failed",
        Verdict::Flaky => "differed on a second run",
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

/// Text that is text wherever it stands, within quotes too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push(' '),
            hidden if hidden.is_control() => out.extend(hidden.escape_default()),
            other => out.push(other),
        }
    }
    out
}
