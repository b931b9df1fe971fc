//! `cargo xtask spec`: writes `docs/specification.md` from the rules' data, or checks that it is so.

use std::fs;

use crate::Failure;
use crate::command::{self, cargo};

/// Where the specification stands.
const FILE: &str = "docs/specification.md";

/// Writes the specification; with `--check`, compares it.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    match words {
        [] => {
            let text = current().map_err(Failure::Failed)?;
            let error = |error| Failure::Failed(format!("cannot write {FILE}: {error}"));
            fs::write(FILE, text).map_err(error)
        }
        [word] if word == "--check" => check().map_err(Failure::Failed),
        _ => Err(Failure::Usage("`spec` takes `--check`, or nothing".to_owned())),
    }
}

/// Compares the document with the rules' data.
///
/// # Errors
///
/// When they differ.
pub(crate) fn check() -> Result<(), String> {
    let text = current()?;
    let file = fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?;
    compare(&text, &file)
}

fn compare(text: &str, file: &str) -> Result<(), String> {
    if text == file {
        return Ok(());
    }
    let same = text.lines().zip(file.lines()).take_while(|(one, other)| one == other).count();
    Err(format!(
        "{FILE} is not what the rules say, from line {} on; `cargo xtask spec` writes it anew",
        same + 1
    ))
}

/// The document as it should be.
fn current() -> Result<String, String> {
    command::output(&mut cargo("run --quiet --locked -p gateway-conformance -- spec"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_document_is_shown_with_its_line_and_remedy() {
        assert_eq!(compare("a\nb\n", "a\nb\n"), Ok(()));
        for file in ["a\nc\n", "a\n", "a\nb"] {
            let error = compare("a\nb\n", file).unwrap_err();
            assert!(error.contains("line") && error.contains("cargo xtask spec"), "{error}");
        }
        assert!(compare("a\nb\n", "a\nc\n").unwrap_err().contains("line 2"));
    }
}
