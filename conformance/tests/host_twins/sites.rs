//! The sites of assertions: where the host checks can fail, and where broken hosts have made them.
//!
//! A check fails by a panic, which has a location. All locations that there may be are found in the
//! checks' own text. A site has failed when a panic was seen there whose words were part of what a
//! check has reported: not what fell over behind a failure, or on a thread that nobody asks.
//!
//! A helper that asserts has one location for all of its calls. There each call is a site of its own, and
//! has failed when a check has reported what it is given to say, in the helper's words.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::Path;
use std::sync::{Mutex, Once};
use std::thread;

/// What panics: macros, and methods.
const MACROS: &[&str] = &["assert!(", "assert_eq!(", "assert_ne!(", "panic!(", "unreachable!("];
const METHODS: &[&str] = &[".expect(", ".expect_err(", ".unwrap()", ".unwrap_err()"];

/// What asserts in a check's place, and says what it is given: the call, and the words that stand before
/// and behind that.
const HELPERS: &[(&str, &str, &str)] = &[
    ("eventually(", "still not so after ", ""),
    ("eventually_here(", "still not so after ", ""),
    ("when_woken(", "still not so after ", ""),
    ("in_time(", "still waiting after ", ""),
    ("let what = \"", "still ", ""),
    ("let what = format!(", "still ", ""),
    ("resumed_by(", "the last that happened: ", ""),
    ("not_early(", "", " ended"),
    ("connected(", "a connection to ", " gives"),
    ("response(", "", " is answered with"),
    ("shallow(", "deeper after many ", ""),
    ("works(", "results ", ""),
];

/// File, line and column, as a panic has them.
type Place = (String, usize, usize);

/// All panics so far: where, and in which words.
static PANICS: Mutex<Vec<(Place, String)>> = Mutex::new(Vec::new());

/// Writes down all panics of this process from now on. Only those of the calling thread are told of:
/// hundreds are what the twins are for.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (usual, own) = (panic::take_hook(), thread::current().id());
        panic::set_hook(Box::new(move |info| {
            if let Some(at) = info.location() {
                let payload = info.payload();
                let words = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
                let words = words.or_else(|| payload.downcast_ref::<String>().cloned());
                let place = (at.file().to_owned(), at.line() as usize, at.column() as usize);
                PANICS.lock().unwrap().push((place, words.unwrap_or_default()));
            }
            if thread::current().id() == own {
                usual(info);
            }
        }));
    });
}

/// A place where a check asserts.
pub(crate) struct Site {
    place: Place,
    /// The assertion, or what stands in the method's parentheses.
    text: String,
    /// What a helper that asserts in its place is given to say: the parts between what is put in.
    words: Option<Vec<String>>,
}

impl Site {
    /// Whether a panic from here was part of what some check has `reported`.
    pub(crate) fn has_failed(&self, reported: &[String]) -> bool {
        if let Some(words) = &self.words {
            return reported.iter().any(|report| contains_all(report, words));
        }
        let (file, line, column) = &self.place;
        let panics = PANICS.lock().unwrap();
        let here = panics.iter().filter(|((at, on, from), _)| {
            at.ends_with(file.as_str()) && (on, from) == (line, column)
        });
        let words: BTreeSet<&String> = here.map(|(_, words)| words).collect();
        words.into_iter().any(|words| reported.iter().any(|report| contains(report, words)))
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{} {}", self.place.0, self.place.1, self.place.2, self.text)
    }
}

/// Whether a report has all of these in it, in their order.
fn contains_all(report: &str, words: &[String]) -> bool {
    let mut rest = report;
    words.iter().all(|words| match rest.split_once(words.as_str()) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// Whether a report has these words in it, be it as a task's panic that was passed on, quoted.
fn contains(report: &str, words: &str) -> bool {
    let quoted = words.escape_debug().to_string();
    let twice = quoted.escape_debug().to_string();
    [words, &quoted, &twice].into_iter().any(|words| report.contains(words))
}

/// All sites of the host checks.
pub(crate) fn all() -> Vec<Site> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("host.rs")];
    files.extend(fs::read_dir(src.join("host")).unwrap().map(|entry| entry.unwrap().path()));
    files.sort();
    let mut sites = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // Its own tests stand at a file's end, and are no checks.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
        let mut before = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let code = if line.trim_start().starts_with("//") { "" } else { line };
            let panics = MACROS.iter().map(|what| (what, 0));
            for (what, skip) in panics.chain(METHODS.iter().map(|what| (what, 1))) {
                for (at, _) in code.match_indices(what) {
                    let column = line[..at].chars().count() + skip + 1;
                    let place = (format!("src/{name}"), number + 1, column);
                    let text = call(&text[before + at + skip..]);
                    sites.push(Site { place, text, words: None });
                }
            }
            for (what, front, back) in HELPERS {
                for (at, _) in code.match_indices(what).filter(|(at, _)| is_called(&line[..*at])) {
                    let place = (format!("src/{name}"), number + 1, at + 1);
                    let text = call(&text[before + at..]);
                    if let Some(quoted) = text.split('"').nth(1) {
                        let words = Some(words(front, quoted, back));
                        sites.push(Site { place, text, words });
                    }
                }
            }
            before += line.len();
        }
    }
    sites.sort_by(|one, other| one.place.cmp(&other.place));
    sites
}

/// The call that `text` begins with, in one line.
fn call(text: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let end = text.char_indices().find(|(_, char)| {
        let escapes = quoted && !escaped && *char == '\\';
        match char {
            '"' if !escaped => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        escaped = escapes;
        *char == ')' && !quoted && depth == 0
    });
    let whole = end.map_or(text, |(end, _)| &text[..=end]);
    whole.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether what follows is a helper's own name, and a call of it.
fn is_called(before: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_' || char == '.';
    !before.ends_with(part) && !before.ends_with("fn ")
}

/// The words of a failure, without what is put into them.
fn words(front: &str, quoted: &str, back: &str) -> Vec<String> {
    let parts = quoted.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let words = [front].into_iter().chain(parts).chain([back]);
    words.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
