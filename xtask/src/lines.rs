//! The lines: how long an adapter is, and how that is counted.
//!
//! A line counts when, as rustfmt leaves it, it is neither blank, nor a comment (`//`, `///`,
//! `//!`), nor part of an import (`use`, however long). Attributes and closing braces count. The
//! module `tests` behind `#[cfg(test)]` does not.

use std::fs;
use std::path::{Path, PathBuf};

/// The bound: the most lines an adapter may have.
const MOST: usize = 40;

/// The adapters that are one file.
const ASYNC_ADAPTERS: [&str; 3] = ["gateway-tokio", "gateway-smol", "gateway-async-std"];

/// The host that brings its own reactor and pool, in other files than its adapter.
const BLOCKING: &str = "gateway-blocking";

/// What the adapters stand on, printed beside them.
const BENEATH: [&str; 3] = ["gateway-core", "gateway-net", "gateway-http"];

/// Counts the adapters and what is beneath them.
///
/// # Errors
///
/// When an adapter is longer than the bound, or has a second file.
pub(crate) fn check() -> Result<(), String> {
    let mut faults = Vec::new();
    for name in ASYNC_ADAPTERS {
        println!("{name:18}{:5} of at most {MOST}", adapter(name, &mut faults)?);
        for file in sources(name)?.iter().filter(|file| !is_adapter(file)) {
            faults.push(format!("{} is a second file: an adapter is one", file.display()));
        }
    }
    let lines = adapter(BLOCKING, &mut faults)?;
    let rest = total(sources(BLOCKING)?.iter().filter(|file| !is_adapter(file)))?;
    println!("{BLOCKING:18}{lines:5} of at most {MOST}, and {rest} in its other modules");
    println!("beneath them:");
    for name in BENEATH {
        println!("{name:18}{:5}", total(sources(name)?.iter())?);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Counts an adapter's one file.
fn adapter(name: &str, faults: &mut Vec<String>) -> Result<usize, String> {
    let file = Path::new("crates").join(name).join("src/lib.rs");
    let lines = count(&read(&file)?);
    if lines == 0 || lines > MOST {
        faults.push(format!("{} has {lines} lines; an adapter has 1 to {MOST}", file.display()));
    }
    Ok(lines)
}

fn is_adapter(file: &Path) -> bool {
    file.ends_with("src/lib.rs")
}

fn total<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<usize, String> {
    files.map(|file| read(file).map(|text| count(&text))).sum()
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// A crate's source files: all Rust beneath `src`, and a build script, which is code as well.
fn sources(name: &str) -> Result<Vec<PathBuf>, String> {
    let package = Path::new("crates").join(name);
    let mut found = Vec::new();
    let mut folders = vec![package.join("src")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.extend(Some(package.join("build.rs")).filter(|script| script.exists()));
    Ok(found)
}

/// Counts the lines of one file.
fn count(source: &str) -> usize {
    let mut lines = source.lines().peekable();
    let mut counted = 0;
    while let Some(line) = lines.next() {
        let text = line.trim();
        if line == "#[cfg(test)]" && lines.peek() == Some(&"mod tests {") {
            // To the brace that closes the module, the first one that is not indented.
            lines.by_ref().take_while(|line| *line != "}").for_each(drop);
        } else if is_import(text) {
            if !ends_import(text) {
                lines.by_ref().take_while(|line| !ends_import(line)).for_each(drop);
            }
        } else if !text.is_empty() && !text.starts_with("//") {
            counted += 1;
        }
    }
    counted
}

fn is_import(text: &str) -> bool {
    let bare = match text.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ").map_or(text, |(_, item)| item),
        Some(rest) => rest.trim_start(),
        None => text,
    };
    bare.starts_with("use ")
}

/// Whether the semicolon is on this line, outside a comment.
fn ends_import(text: &str) -> bool {
    text.split("//").next().unwrap_or(text).contains(';')
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn blank_lines_and_comments_do_not_count() {
        assert_eq!(count("//! A file.\n\n/// An item.\n// Why.\nstruct A;\n   \n    // Why.\n"), 1);
    }

    #[test]
    fn comment_behind_code_leaves_the_line_counted() {
        assert_eq!(count("let a = 1; // one\n"), 1);
    }

    #[test]
    fn slashes_inside_a_line_are_not_a_comment() {
        assert_eq!(count("let url = \"http://host\";\n"), 1);
    }

    #[test]
    fn imports_do_not_count() {
        assert_eq!(count("use std::io;\npub use a::b;\npub(crate) use c::d;\nfn f() {}\n"), 1);
        assert_eq!(count("pub(in crate::a) use c::d;\n"), 0);
    }

    #[test]
    fn import_of_many_lines_does_not_count() {
        let source =
            "use a::{\n    b, // the old one; see below\n    c::{\n        d,\n    },\n};\nx();\n";
        assert_eq!(count(source), 1);
    }

    #[test]
    fn import_with_a_comment_behind_it_ends_there() {
        assert_eq!(count("use a::b; // why\nfn f() {}\n"), 1);
    }

    #[test]
    fn import_inside_a_function_does_not_count() {
        assert_eq!(count("fn f() {\n    use std::io::{\n        Read,\n    };\n    g();\n}\n"), 3);
    }

    #[test]
    fn word_that_begins_like_an_import_counts() {
        assert_eq!(count("user.greet();\nuse_it();\npublic_use();\npub fn used() {}\n"), 4);
    }

    #[test]
    fn attributes_and_closing_braces_count() {
        assert_eq!(
            count("#![forbid(unsafe_code)]\n#[derive(Clone)]\nstruct A {\n    b: u8,\n}\n"),
            5
        );
    }

    #[test]
    fn module_of_tests_does_not_count_and_what_follows_it_does() {
        let tests = "#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\n";
        assert_eq!(count(&format!("fn f() {{}}\n\n{tests}")), 1);
        assert_eq!(count(&format!("{tests}\nfn hidden() {{}}\n")), 1);
    }

    #[test]
    fn other_item_behind_the_test_attribute_counts() {
        assert_eq!(count("#[cfg(test)]\nfn helper() {}\n"), 2);
    }
}
