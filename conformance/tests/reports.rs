//! Each report from one fixed run, in which the server sends what would be markup.

use std::time::Duration;

use gateway_conformance::baseline::{Baseline, UNSEEN};
use gateway_conformance::report::{self, Detail, Judged, Paint, Report};
use gateway_conformance::rule::Level;
use gateway_conformance::verdict::{
    Case, CaseResult, Event, Excerpt, Kind, Outcome, Reason, Verdict, What,
};

/// What would be markup in a page, in XML, in a script element, and to a terminal.
const HOSTILE: &str = "<script>alert(1)</script>]]><!--'\"&amp;\u{1b}[31m\u{0}\u{202e}</title>";

fn report() -> Report {
    let verdicts = [
        ("REQ-12", Verdict::Fail),
        ("REQ-13", Verdict::Pass),
        ("KA-01", Verdict::Warn),
        ("KA-02", Verdict::Skip),
        ("BPR-01", Verdict::Blocked),
        ("YLD-07", Verdict::Error),
        ("SMG-01", Verdict::Flaky),
    ];
    Report {
        format: Report::FORMAT,
        suite: "0.1.0".to_owned(),
        server: HOSTILE.to_owned(),
        url: "http://127.0.0.1:8000".to_owned(),
        features: Some(vec!["echo".to_owned(), HOSTILE.to_owned()]),
        http2: true,
        again: "gateway-conformance wire http://127.0.0.1:8000 --rule".to_owned(),
        outcomes: verdicts.into_iter().map(|(id, verdict)| judged(id, verdict)).collect(),
    }
}

fn judged(id: &str, verdict: Verdict) -> Judged {
    let result = match verdict {
        Verdict::Fail | Verdict::Flaky => CaseResult::Fail,
        Verdict::Warn => CaseResult::Warn,
        _ => CaseResult::Pass,
    };
    let at = |micros| Duration::from_micros(micros);
    let trace = vec![
        Event { at: at(7), connection: 1, what: What::Note("connected".to_owned()) },
        Event {
            at: at(1_250),
            connection: 1,
            what: What::Sent(Excerpt::of(b"GET / HTTP/1.1\r\n\r\n")),
        },
        Event {
            at: at(12_003_045),
            connection: 2,
            what: What::Received(Excerpt::of(HOSTILE.as_bytes())),
        },
    ];
    let case = |kind, result| Case {
        name: "no Host".to_owned(),
        kind,
        result,
        expected: "400, then a close".to_owned(),
        got: HOSTILE.to_owned(),
        trace: if result == CaseResult::Pass { Vec::new() } else { trace.clone() },
    };
    let unsaid = matches!(verdict, Verdict::Skip | Verdict::Blocked | Verdict::Error);
    let reason = Reason { slug: "because".to_owned(), text: format!("because of {HOSTILE}") };
    Judged {
        level: Level::Must,
        sentence: "A request without `Host` is refused.".to_owned(),
        intent: "Names route.".to_owned(),
        source: "RFC 9112, section 3.2".to_owned(),
        look_at: "the parser".to_owned(),
        outcome: Outcome {
            rule: id.to_owned(),
            verdict,
            reason: unsaid.then_some(reason),
            cases: vec![case(Kind::Accept, CaseResult::Pass), case(Kind::Refuse, result)],
            elapsed: Duration::from_millis(12),
        },
    }
}

#[test]
fn text_shows_a_failure_with_its_evidence() {
    let text = report::text(&report(), Detail::Usual, Paint(false));
    for part in [
        "FAIL REQ-12 (MUST) A request without `Host` is refused.",
        "  case      no Host (has to be refused)",
        "  expected  400, then a close",
        "       0.007 ms #1 * connected",
        "       1.250 ms #1 > GET / HTTP/1.1\\r\\n\n                     \\r\\n\n",
        "   12003.045 ms #2 < <script>alert(1)</script>",
        "  why       Names route.",
        "  look at   the parser",
        "  again     gateway-conformance wire http://127.0.0.1:8000 --rule REQ-12",
        "7 rules: 1 pass, 1 fail, 1 flaky, 1 warn, 1 error, 1 blocked, 1 skip",
        "refusals 4/7, accepted twins 7/7",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("PASS"), "{text}");
}

#[test]
fn text_keeps_control_characters_from_the_terminal() {
    for detail in [Detail::Quiet, Detail::Usual, Detail::Verbose] {
        let text = report::text(&report(), detail, Paint(false));
        let hostile = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
        assert!(!text.contains(hostile), "{text:?}");
    }
}

#[test]
fn text_is_as_long_as_it_was_asked_to_be() {
    let lines = |detail| report::text(&report(), detail, Paint(false)).lines().count();
    assert_eq!(lines(Detail::Quiet), 2);
    assert!(lines(Detail::Verbose) > lines(Detail::Usual));
    assert!(report::text(&report(), Detail::Verbose, Paint(false)).contains("PASS REQ-13"));
    assert!(
        report::text(&report(), Detail::Quiet, Paint(true)).contains("\x1b[1;31m1 fail\x1b[0m")
    );
}

#[test]
fn text_shows_the_bytes_of_a_few_cases_and_names_all() {
    let mut report = report();
    let mut one = judged("REQ-12", Verdict::Fail);
    let case = one.outcome.cases[1].clone();
    one.outcome.cases.extend((0..7).map(|at| Case { name: format!("no {at}"), ..case.clone() }));
    report.outcomes = vec![one];
    for (detail, shown) in [(Detail::Usual, 3), (Detail::Verbose, 8)] {
        let text = report::text(&report, detail, Paint(false));
        assert_eq!(text.matches("* connected").count(), shown, "{text}");
        assert!((0..7).all(|at| text.contains(&format!("  case      no {at}"))), "{text}");
        assert_eq!(text.contains("under --verbose"), detail == Detail::Usual, "{text}");
    }
}

#[test]
fn reasons_are_grouped() {
    let mut report = report();
    report.outcomes = (10..35).map(|at| judged(&format!("KA-{at}"), Verdict::Skip)).collect();
    let text = report::text(&report, Detail::Usual, Paint(false));
    assert!(text.starts_with("SKIP 25 rules: because of <script>"), "{text}");
    assert_eq!(text.matches("because of").count(), 1, "{text}");
    assert!(text.contains("\n  KA-30 KA-31 KA-32 KA-33 KA-34\n"), "{text}");
}

#[test]
fn long_bytes_are_cut_and_counted() {
    let mut report = report();
    let long = [b'x'; 100_000];
    let received = What::Received(Excerpt::of(&long));
    report.outcomes[0].outcome.cases[1].trace[2].what = received;
    let text = report::text(&report, Detail::Usual, Paint(false));
    assert!(text.contains("(100000 bytes in all)"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
}

#[test]
fn json_is_read_as_it_was_written() {
    let json = report::to_json(&report());
    let read = report::from_json(&json).unwrap();
    assert_eq!(report::to_json(&read), json);
    assert_eq!(read.server, HOSTILE);
    assert_eq!(read.outcomes.len(), 7);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["outcomes"][0]["rule"], "REQ-12");
    assert_eq!(value["outcomes"][0]["verdict"], "fail");
    assert_eq!(value["outcomes"][0]["level"], "must");
    assert_eq!(value["outcomes"][0]["cases"][1]["kind"], "refuse");
}

#[test]
fn json_of_another_form_is_refused() {
    assert!(report::from_json("{}").unwrap_err().contains("no report"));
    let later = report::to_json(&report()).replace("\"format\": 1", "\"format\": 2");
    assert!(report::from_json(&later).unwrap_err().contains("form 2"));
}

#[test]
fn junit_is_xml_with_a_suite_for_each_family() {
    let xml = report::junit(&report());
    let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let names: Vec<&str> = read.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let sum = |of: fn(&quick_junit::TestSuite) -> usize| read.test_suites.iter().map(of).sum();
    let counts: [usize; 4] = [
        sum(|suite| suite.tests),
        sum(|suite| suite.failures),
        sum(|suite| suite.errors),
        xml.matches("<skipped").count(),
    ];
    assert_eq!(counts, [7, 2, 1, 2], "tests, failures, errors, skipped:\n{xml}");
    assert!(xml.contains("expected 400, then a close"), "{xml}");
    assert!(xml.contains("message=\"because of"), "{xml}");
}

#[test]
fn page_lets_nothing_of_the_servers_be_markup() {
    let page = report::html(&[report(), report()]);
    assert!(page.contains("&lt;script&gt;alert(1)"));
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 2, "the data and the page's own");
    assert_eq!(lower.matches("</script").count(), 2);
    assert_eq!(lower.matches("</title").count(), 1);
    assert!(!lower.contains("<!--"), "it could hide the end of a script element");
    assert!(!page.contains("&amp;amp;amp;"));
    assert!(!page.contains(['\u{0}', '\u{1b}']));
    let script = include_str!("../src/report/page.js");
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(way), "{way} makes markup or code of text");
    }
}

#[test]
fn page_loads_nothing() {
    let page = report::html(&[report()]);
    assert!(page.contains("default-src 'none'"));
    for way in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.contains(way), "{way}");
    }
}

#[test]
fn page_has_a_cell_for_each_rule_and_server() {
    let mut other = report();
    other.server = "other".to_owned();
    other.outcomes.remove(0);
    let page = report::html(&[report(), other]);
    assert_eq!(page.matches("data-report=\"0\"").count(), 7);
    assert_eq!(page.matches("data-report=\"1\"").count(), 6);
    assert_eq!(page.matches("<td></td>").count(), 1, "what was not run has an empty cell");
    assert_eq!(page.matches("<tr class=\"rule\"").count(), 7);
}

#[test]
fn baseline_tells_known_from_new_from_stale() {
    let text = r#"
        [[known]]
        rule = "req-12"
        verdict = "fail"
        reason = "issue 1"
        [[known]]
        rule = "REQ-13"
        verdict = "fail"
        reason = "it passes now"
        [[known]]
        rule = "REQ-12345"
        verdict = "fail"
        reason = "no such rule"
        [[known]]
        server = "another"
        rule = "KA-01"
        verdict = "fail"
        reason = "not about this server"
        [[known]]
        rule = "BPR-01"
        verdict = "fail"
        reason = "nothing can be said of it"
    "#;
    let changes = Baseline::read(text).unwrap().compare(&report(), false);
    assert_eq!(changes.known, ["REQ-12"]);
    assert!(changes.new.len() == 1 && changes.new[0].starts_with("SMG-01 "), "{changes:?}");
    assert!(changes.stale.len() == 2, "{changes:?}");
    assert!(changes.stale[0].contains("REQ-13 is known as fail, and its verdict is pass now"));
    assert!(changes.stale[1].contains("REQ-12345 is in the baseline, and is no rule"));
    let strict = Baseline::default().compare(&report(), true);
    assert_eq!(strict.new.len(), 3, "a warning counts: {strict:?}");
}

#[test]
fn baseline_that_is_written_is_read_once_it_has_reasons() {
    let first = Baseline::of(&report(), false, &Baseline::default());
    let written = first.to_toml();
    assert!(Baseline::read(&written).unwrap_err().contains("has no reason"));
    let text = written.replace(UNSEEN, "issue 1");
    let known = Baseline::read(&text).unwrap();
    let changes = known.compare(&report(), false);
    assert!(changes.new.is_empty() && changes.stale.is_empty(), "{changes:?}");
    let again = Baseline::of(&report(), false, &known);
    assert_eq!(again.known, known.known, "reasons that are there stay");
}

#[test]
fn baseline_with_mistakes_is_refused() {
    let entry = |more: &str| format!("[[known]]\nrule = \"REQ-12\"\nverdict = \"fail\"\n{more}\n");
    let good = entry("reason = \"x\"");
    for (text, part) in [
        (entry(""), "has no reason"),
        (entry("reason = \" \""), "has no reason"),
        (entry("reason = \"x\"\ncolour = \"red\""), "unknown field"),
        (good.replace("fail", "pass"), "only fail, flaky and warn"),
        (good.replace("fail", "broken"), "unknown variant"),
        (format!("{good}{good}"), "two entries"),
    ] {
        let error = Baseline::read(&text).unwrap_err();
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(Baseline::read(&good).is_ok() && Baseline::read("").is_ok());
}

#[test]
fn tables_have_a_row_for_each_server_and_for_each_rule_that_somebody_breaks() {
    let good = Report { server: "good | one".to_owned(), outcomes: Vec::new(), ..report() };
    let text = report::markdown(&[report(), good], "spec.md");
    assert!(text.contains("| good \\| one | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0/0 | 0/0 |"), "{text}");
    assert!(text.contains("| [REQ-12](spec.md#req-12) | M | ✗ | – |"), "{text}");
    assert!(!text.contains("REQ-13") && !text.contains("<script>"), "{text}");
}
