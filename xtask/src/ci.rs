//! `cargo xtask ci`: every check of the project, as a list of timed sections.

use std::time::{Duration, Instant};

use crate::command::{self, cargo};
use crate::{Failure, arrows, lines, packages, rolling, soak, spec, tree, wire, wsgi};

/// One check: its name on the command line, what it makes sure of, and how.
struct Section {
    name: &'static str,
    about: &'static str,
    check: fn() -> Result<(), String>,
}

const SECTIONS: [Section; 12] = [
    Section { name: "fmt", about: "the source is as rustfmt leaves it", check: fmt },
    Section { name: "clippy", about: "no warnings, in tests and examples too", check: clippy },
    Section { name: "test", about: "every test, then every example in the docs", check: test },
    Section {
        name: "wire",
        about: "the wire rules, on every host, from outside",
        check: wire::check,
    },
    Section {
        name: "soak",
        about: "every host under hostile load, and its accounts",
        check: soak::check,
    },
    Section {
        name: "rolling",
        about: "a restart under load loses no request",
        check: rolling::check,
    },
    Section { name: "wsgi", about: "an app under servers for Python", check: wsgi::check },
    Section { name: "arrows", about: "which crate may depend on which", check: arrows::check },
    Section { name: "lines", about: "an adapter is at most 40 lines", check: lines::check },
    Section { name: "tree", about: "no runtime where none belongs", check: tree::check },
    Section { name: "spec", about: "the specification is what the rules say", check: spec::check },
    Section { name: "doc", about: "the documentation builds without warnings", check: doc },
];

/// Runs the sections named, or all of them, up to the first failure.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    if words.iter().any(|word| word == "--list") {
        for section in &SECTIONS {
            println!("{:8}{}", section.name, section.about);
        }
        return Ok(());
    }
    let chosen = words.iter().map(|word| named(word)).collect::<Result<Vec<_>, _>>()?;
    let chosen = if chosen.is_empty() { SECTIONS.iter().collect() } else { chosen };

    let mut passed = Vec::new();
    for section in &chosen {
        println!("\n=== {}: {}", section.name, section.about);
        let begun = Instant::now();
        let result = (section.check)();
        let time = begun.elapsed();
        println!("=== {}: {} in {}", section.name, verdict(&result), seconds(time));
        if let Err(error) = result {
            summarize(&passed, chosen.len());
            return Err(Failure::Failed(format!(
                "section `{0}` failed: {error}\nto run it alone: cargo xtask ci {0}",
                section.name
            )));
        }
        passed.push((section.name, time));
    }
    summarize(&passed, chosen.len());
    Ok(())
}

fn named(word: &str) -> Result<&'static Section, Failure> {
    SECTIONS.iter().find(|section| section.name == word).ok_or_else(|| {
        Failure::Usage(format!("`ci` has no section `{word}`; `cargo xtask ci --list` lists them"))
    })
}

fn summarize(passed: &[(&str, Duration)], of: usize) {
    println!("\n=== passed: {} of {of}", passed.len());
    for (name, time) in passed {
        println!("{name:8}{:>8}", seconds(*time));
    }
    println!("{:8}{:>8}", "total", seconds(passed.iter().map(|(_, time)| *time).sum()));
}

fn verdict(result: &Result<(), String>) -> &'static str {
    if result.is_ok() { "passed" } else { "FAILED" }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn fmt() -> Result<(), String> {
    command::run(&mut cargo("fmt --all --check"))?;
    command::run(&mut cargo("fmt --all --manifest-path bench/Cargo.toml --check"))?;
    command::run(&mut cargo("fmt --all --manifest-path wsgi/Cargo.toml --check"))
}

fn clippy() -> Result<(), String> {
    command::run(&mut cargo("clippy --workspace --all-targets --locked -- -D warnings"))
}

fn test() -> Result<(), String> {
    // Without them tests are skipped, which continuous integration forbids.
    packages::provide("chromium", "chromium")?;
    // The services that these two may start by themselves, on the usual ports, are not asked.
    packages::provide("pg_ctlcluster", "postgresql")?;
    packages::provide("redis-server", "redis-server")?;
    packages::provide("lighttpd", "lighttpd")?;
    packages::provide("nginx", "nginx-light")?;
    packages::provide("python3", "python3")?;
    if command::is_installed("cargo-nextest") {
        command::run(&mut cargo("nextest run --workspace --locked"))?;
    } else {
        println!("cargo-nextest is not installed: these are cargo's own tests, one after another");
        command::run(&mut cargo("test --workspace --locked --lib --bins --tests --examples"))?;
    }
    command::run(&mut cargo("test --workspace --doc --locked"))
}

fn doc() -> Result<(), String> {
    let mut command = cargo("doc --workspace --no-deps --locked");
    command::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_that_does_not_exist_is_the_users_error() {
        let words = ["arows".to_owned()];
        assert!(matches!(run(&words), Err(Failure::Usage(message)) if message.contains("`arows`")));
    }

    #[test]
    fn names_of_sections_are_distinct() {
        for section in &SECTIONS {
            let twins = SECTIONS.iter().filter(|other| other.name == section.name);
            assert_eq!(twins.count(), 1, "{}", section.name);
        }
    }
}
