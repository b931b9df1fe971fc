//! `cargo xtask scoreboard`: well-known servers under the conformance suite, and their verdicts.
//!
//! Nothing is installed outside `target/scoreboard`, and no server stops the others: one that can't
//! be had is left out with a reason, one that fails has a report that says so.

mod entrants;
mod page;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::command::{self, cargo};
use crate::server::eventually;
use entrants::{ENTRANTS, Entrant, Ready};

/// Where everything is prepared and written.
const FOLDER: &str = "target/scoreboard";

/// The page that is kept.
const PAGE: &str = "docs/scoreboard.md";

/// The longest that one server may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How many servers are tried beside each other: most of the time is spent waiting for deadlines.
const BESIDE: usize = 3;

const SUITE: &str = "target/release/gateway-conformance";

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
    let wanted = |entrant: &&Entrant| chosen.is_empty() || chosen.contains(&entrant.name);
    let (entrants, missing) = (Mutex::new(ENTRANTS.iter().filter(wanted)), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                loop {
                    let Some(entrant) = locked(&entrants).next() else { break };
                    if let Err(reason) = tried(entrant) {
                        println!("{}: no report: {reason}", entrant.name);
                        locked(&missing).push((entrant.name, reason));
                    }
                }
            });
        }
    });
    let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
    write(&missing).map_err(Failure::Failed)
}

/// Writes both pages, of all reports that there are.
fn write(missing: &[(&str, String)]) -> Result<(), String> {
    let reports = ENTRANTS.iter().map(|entrant| file(entrant.name, "json"));
    let files: Vec<PathBuf> = reports.filter(|file| file.exists()).collect();
    if files.is_empty() {
        return Err("no server could be tried".to_owned());
    }
    let (html, tables) = (format!("{FOLDER}/index.html"), format!("{FOLDER}/tables.md"));
    let pages = ["--html", &html, "--markdown", &tables];
    command::run(Command::new(SUITE).arg("matrix").args(&files).args(pages))?;
    if files.len() + missing.len() < ENTRANTS.len() {
        println!("{PAGE} is left as it is: there are reports of {} servers only", files.len());
        return Ok(());
    }
    let tables = fs::read_to_string(&tables).map_err(|error| format!("{tables}: {error}"))?;
    let before = fs::read_to_string(PAGE).unwrap_or_default();
    let text = page::page(&tables, missing, &before);
    fs::write(PAGE, text).map_err(|error| format!("{PAGE}: {error}"))?;
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
    let line = "build --release --locked --manifest-path bench/Cargo.toml --target-dir bench/target -p probes";
    command::run(&mut cargo(line))
}

/// Runs the suite on one server.
fn tried(entrant: &Entrant) -> Result<(), String> {
    let Ready { version, command } = entrants::ready(entrant)?;
    let (file, log) = (file(entrant.name, "json"), file(entrant.name, "log"));
    // What an earlier run has left would otherwise pass for this one's.
    let _ = fs::remove_file(&file);
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    println!("{} {version}: {}", entrant.name, entrant.about);
    let begun = Instant::now();
    let mut child = Command::new(SUITE)
        .args(["wire", "--name", format!("{} {version}", entrant.name).trim()])
        .args(["--exec", &command, "--json"])
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
    let said = fs::read_to_string(&log).unwrap_or_default();
    let summary = said.lines().rfind(|line| line.contains(" rules: ")).unwrap_or("nothing");
    println!("{:.0} s, {}: {summary}", begun.elapsed().as_secs_f64(), log.display());
    match file.exists() {
        true => Ok(()),
        false => Err(format!("the suite has written no report; see {}", log.display())),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file(name: &str, ending: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{name}.{ending}"))
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
