//! `cargo xtask scoreboard`: well-known servers under the conformance suite, and their verdicts.
//!
//! Nothing is installed outside `target/scoreboard`, and no server stops the others: one that can't
//! be had is left out with a reason, one that fails has a report that says so.

mod entrants;
mod json;
mod page;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::command::{self, cargo};
use crate::server::eventually;
use entrants::{ENTRANTS, Entrant, Ready};
use json::Json;

/// Where everything is prepared and written.
const FOLDER: &str = "target/scoreboard";

/// The page that is kept.
const PAGE: &str = "docs/scoreboard.md";

/// The longest that one server may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

const SUITE: &str = "target/release/gateway-conformance";

/// A server's place on the page.
pub(crate) struct Line {
    name: &'static str,
    about: &'static str,
    version: String,
    /// Its report, or why there is none.
    report: Result<Json, String>,
}

/// Runs the suite on every server, or on those asked for, and writes the page.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    if words.iter().any(|word| word == "--list") {
        for entrant in ENTRANTS {
            println!("{:18}{}", entrant.name, entrant.about);
        }
        return Ok(());
    }
    let chosen = chosen(words).map_err(Failure::Usage)?;
    prepare().map_err(Failure::Failed)?;
    let mut lines = Vec::new();
    for (at, entrant) in ENTRANTS.iter().enumerate() {
        if chosen.is_empty() || chosen.contains(&entrant.name) {
            lines.push(one(entrant, at + 1));
        } else if let Ok(report) = report(entrant.name) {
            let version = entrants::ready(entrant).map_or_else(|_| String::new(), |it| it.version);
            let (name, about) = (entrant.name, entrant.about);
            lines.push(Line { name, about, version, report: Ok(report) });
        }
    }
    matrix(&lines).map_err(Failure::Failed)?;
    if lines.len() < ENTRANTS.len() {
        println!("{PAGE} is left as it is: there are reports of {} servers only", lines.len());
        return Ok(());
    }
    let before = fs::read_to_string(PAGE).unwrap_or_default();
    let text = page::page(&lines, &before);
    fs::write(PAGE, text).map_err(|error| Failure::Failed(format!("{PAGE}: {error}")))?;
    println!("{PAGE} is written");
    Ok(())
}

/// The names after `--only`.
fn chosen(words: &[String]) -> Result<Vec<&'static str>, String> {
    let mut chosen = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word != "--only" {
            return Err(format!("`scoreboard` takes --only NAME and --list, not `{word}`"));
        }
        let name = words.next().ok_or("`--only` takes the name of a server")?;
        let entrant = ENTRANTS.iter().find(|entrant| entrant.name == name).ok_or_else(|| {
            format!("there is no server `{name}`; `cargo xtask scoreboard --list` lists them")
        })?;
        chosen.push(entrant.name);
    }
    Ok(chosen)
}

/// Builds what is ours, and the servers that are libraries.
fn prepare() -> Result<(), String> {
    fs::create_dir_all(FOLDER).map_err(|error| format!("cannot make {FOLDER}: {error}"))?;
    command::run(&mut cargo("build --release --locked -p gateway-conformance"))?;
    command::run(&mut cargo("build --release --locked -p gateway-examples --bin probe"))?;
    let line =
        "build --release --locked --manifest-path bench/Cargo.toml --target-dir bench/target";
    command::run(&mut cargo(line))
}

/// Runs the suite on one server.
fn one(entrant: &Entrant, number: usize) -> Line {
    let (name, about) = (entrant.name, entrant.about);
    let ready = entrants::ready(entrant);
    let version = ready.as_ref().map_or("", |ready| &ready.version).to_owned();
    println!("[{number}/{}] {name} {version}", ENTRANTS.len());
    let report = ready.and_then(|ready| tried(name, &ready));
    match &report {
        Ok(report) => println!("    {}", page::counts(report)),
        Err(reason) => println!("    no report: {reason}"),
    }
    Line { name, about, version, report }
}

fn tried(name: &str, ready: &Ready) -> Result<Json, String> {
    let (file, log) = (file(name, "json"), file(name, "log"));
    // What an earlier run has left would otherwise pass for this one's.
    let _ = fs::remove_file(&file);
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut child = Command::new(SUITE)
        .args(["wire", "--name", name, "--exec", &ready.command, "--json"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{SUITE} could not be started: {error}"))?;
    let ended = eventually(LIMIT, || child.try_wait().map_err(|error| error.to_string()))?;
    if ended.is_none() {
        // It may have ended just now; then there is nothing to kill.
        let _ = (child.kill(), child.wait());
        return Err(format!("the suite did not end within {LIMIT:?}; see {}", log.display()));
    }
    println!("    {:.0} s, {}", begun.elapsed().as_secs_f64(), log.display());
    report(name).map_err(|error| {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("{error}; the suite said: {last}")
    })
}

fn report(name: &str) -> Result<Json, String> {
    let file = file(name, "json");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Json::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn file(name: &str, ending: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{name}.{ending}"))
}

/// All reports on one page, with their evidence.
fn matrix(lines: &[Line]) -> Result<(), String> {
    let reported = lines.iter().filter(|line| line.report.is_ok());
    let files: Vec<PathBuf> = reported.map(|line| file(line.name, "json")).collect();
    if files.is_empty() {
        return Err("no server could be tried".to_owned());
    }
    let page = format!("{FOLDER}/index.html");
    command::run(Command::new(SUITE).arg("matrix").args(files).args(["--html", &page]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn servers_are_chosen_by_name() {
        assert_eq!(chosen(&words("--only nginx --only node")), Ok(vec!["nginx", "node"]));
        assert_eq!(chosen(&[]), Ok(vec![]));
    }

    #[test]
    fn what_is_not_there_is_refused_and_shown() {
        assert!(chosen(&words("--only iis")).unwrap_err().contains("`iis`"));
        assert!(chosen(&words("--only")).unwrap_err().contains("takes the name"));
        assert!(chosen(&words("nginx")).unwrap_err().contains("`nginx`"));
    }

    #[test]
    fn names_of_servers_are_distinct() {
        for entrant in ENTRANTS {
            let twins = ENTRANTS.iter().filter(|other| other.name == entrant.name);
            assert_eq!(twins.count(), 1, "{}", entrant.name);
        }
    }
}
