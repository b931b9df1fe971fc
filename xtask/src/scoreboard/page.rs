//! The page: the suite's tables, and the notes that people have written.

/// The lines around the notes, which are kept when the page is written again.
const NOTES: (&str, &str) = ("<!-- notes: begin -->", "<!-- notes: end -->");

const INTRODUCTION: &str = "\
# Scoreboard

What `gateway-conformance` says of well-known servers, and of this project's own. The page is made
by `cargo xtask scoreboard`, which also leaves `target/scoreboard/index.html`, where every verdict
can be opened down to the bytes.

Each server runs the probe application of [`conformance/probe.md`](../conformance/probe.md) as far
as it can, and is started as its users start it, in one process, but for two things: no client is
taken for a trusted proxy, and programs written for this page have a bound of memory. nginx and
lighttpd answer with a few bytes of their own, so that what takes an application is skipped there. A
rule is not a law: many are this project's own choice, and say so in the
[specification](specification.md). Read the [notes](#notes) before you judge.
";

/// Writes the page: the suite's tables, who is missing, and the notes of the page as it was.
pub(super) fn page(tables: &str, missing: &[(&str, String)], before: &str) -> String {
    let missing: String =
        missing.iter().map(|(name, reason)| format!("- {name}: {reason}\n")).collect();
    let missing = if missing.is_empty() { missing } else { format!("\nNot there:\n\n{missing}") };
    [
        INTRODUCTION,
        "\n## Verdicts\n\n",
        tables,
        &missing,
        "\n## Notes\n\n",
        NOTES.0,
        notes(before).unwrap_or("\n"),
        NOTES.1,
        "\n",
    ]
    .concat()
}

/// What stands between the markers.
fn notes(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(NOTES.0)?;
    rest.split_once(NOTES.1).map(|(notes, _)| notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_without_a_report_is_named_with_the_reason() {
        let reason = "it is in the Debian package nginx".to_owned();
        let text = page("tables", &[("nginx", reason)], "");
        assert!(text.contains("- nginx: it is in the Debian package nginx\n"), "{text}");
    }

    #[test]
    fn notes_are_kept() {
        let noted =
            page("one", &[], "").replace(NOTES.1, &format!("What people wrote.\n{}", NOTES.1));
        let second = page("two", &[], &noted);
        assert!(second.contains("What people wrote.\n") && second.contains("two"), "{second}");
        assert_eq!(second.matches(NOTES.0).count(), 1);
    }
}
