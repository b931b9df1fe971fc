//! `cargo xtask bench`: what a small request costs on each host, beside raw hyper.
//!
//! Counts come before times, since a busy machine changes them little. What a server
//! does once (starting, accepting, ending) is taken out by measuring two loads and dividing the
//! difference by the difference of their requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process, thread};

use crate::Failure;
use crate::command::{self, cargo};
use crate::server::{CONNECTIONS, Server, eventually};

/// The peer that everything is measured against.
const PEER: &str = "raw-hyper";

/// The hosts, in the order of the table.
const HOSTS: [&str; 4] = ["tokio", "smol", "async-std", "blocking"];

/// What can stand around the app on the first host: what an operator asks for, or the suite's lint.
/// Measured only where it is named.
const AROUND: [&str; 5] =
    ["tokio+ids", "tokio+log", "tokio+metrics", "tokio+lint-app", "tokio+lint"];

/// The peer with the one deadline that it has, and copying its responses; one axum router on its own
/// server and by way of smol-axum, and the same on gateway hosts. Measured when they are asked for.
const OTHERS: [&str; 6] = [
    "raw-hyper+deadline",
    "raw-hyper+copies",
    "axum",
    "gateway-axum",
    "smol-axum",
    "gateway-axum-smol",
];

/// The fewest requests that can be asked for: a fifth of them still is one for each connection.
const FEWEST: usize = 5 * CONNECTIONS;

/// The longest wait for strace to write its summary once the server has ended.
const SUMMARY: Duration = Duration::from_secs(10);

/// A tool: its program, the Debian package that brings it, and what is missed without it.
type Tool = (&'static str, &'static str, &'static str);

const LOAD: Tool = ("h2load", "nghttp2-client", "nothing is measured");
const VALGRIND: Tool = ("valgrind", "valgrind", "no instructions are counted");
const STRACE: Tool = ("strace", "strace", "no system calls are counted");
const TASKSET: Tool = ("taskset", "util-linux", "no CPU time is measured");

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Plan {
    requests: usize,
    rounds: usize,
    hosts: Vec<&'static str>,
}

/// What was measured of one server; a value is absent where that could not be.
struct Row {
    name: &'static str,
    instructions: Option<f64>,
    calls: Option<f64>,
    /// CPU time as a multiple of the peer's, one for each round.
    cpu: Option<Vec<f64>>,
}

/// Measures the hosts asked for and prints a table.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let plan = Plan::parse(words).map_err(Failure::Usage)?;
    if !is_there(LOAD) {
        return Ok(());
    }
    let (valgrind, strace) = (is_there(VALGRIND), is_there(STRACE));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pinned = is_there(TASKSET) && cores > 1;
    if cores == 1 {
        println!("there is one core, and CPU time takes two: one for the server, one for the load");
    }
    build().map_err(Failure::Failed)?;
    let folder = Folder::new().map_err(Failure::Failed)?;

    let mut errors = Vec::new();
    let mut rows = Vec::new();
    for name in [PEER].into_iter().chain(plan.hosts.iter().copied()) {
        let instructions = valgrind.then(|| instructions(name, &plan, &folder.0));
        let calls = strace.then(|| calls(name, &plan, &folder.0));
        let cpu = (pinned && name != PEER).then(|| cpu(name, &plan));
        rows.push(Row {
            name,
            instructions: keep(&mut errors, name, instructions),
            calls: keep(&mut errors, name, calls),
            cpu: keep(&mut errors, name, cpu),
        });
    }
    print!("\n{}", table(&rows));
    if errors.is_empty() { Ok(()) } else { Err(Failure::Failed(errors.join("\n"))) }
}

impl Plan {
    fn parse(words: &[String]) -> Result<Plan, String> {
        let mut plan = Plan { requests: 20_000, rounds: 7, hosts: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--requests" => plan.requests = number(word, words.next(), FEWEST)?,
                "--rounds" => plan.rounds = number(word, words.next(), 1)?,
                _ => plan.hosts.push(host(word)?),
            }
        }
        if plan.hosts.is_empty() {
            plan.hosts.extend(HOSTS);
        }
        Ok(plan)
    }

    /// The smaller load, which also warms up.
    fn base(&self) -> usize {
        self.requests / 5
    }
}

/// A folder for what the tools write. Dropping it removes it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let path = env::temp_dir().join(format!("gateway-bench-{}", process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Folder(path)),
            Err(error) => Err(format!("cannot make the folder {}: {error}", path.display())),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove the folder {}: {error}", self.0.display());
        }
    }
}

fn number(option: &str, word: Option<&String>, least: usize) -> Result<usize, String> {
    let word = word.ok_or_else(|| format!("`{option}` takes a number of at least {least}"))?;
    word.parse()
        .ok()
        .filter(|number| (least..=10_000_000).contains(number))
        .ok_or_else(|| format!("`{option}` takes a number from {least} to 10000000, not `{word}`"))
}

fn host(word: &str) -> Result<&'static str, String> {
    let found = HOSTS.iter().chain(&AROUND).chain(&OTHERS).find(|host| **host == word);
    let unknown =
        || format!("there is no host `{word}`; there are {HOSTS:?}, {AROUND:?} and {OTHERS:?}");
    found.copied().ok_or_else(unknown)
}

/// The value, if there is one; an error is kept for the end, so that the others are measured.
fn keep<T>(errors: &mut Vec<String>, name: &str, value: Option<Result<T, String>>) -> Option<T> {
    value?.map_err(|error| errors.push(format!("{name}: {error}"))).ok()
}

/// Whether a tool is installed. Says what to do when it isn't.
fn is_there((program, package, missed): Tool) -> bool {
    let is_there = command::is_installed(program);
    if !is_there {
        println!("without {program} (Debian package {package}) {missed}");
    }
    is_there
}

fn build() -> Result<(), String> {
    let line =
        "build --release --locked --manifest-path bench/Cargo.toml --target-dir bench/target";
    command::run(&mut cargo(line))
}

/// The words that start a server, up to its port.
fn server(name: &str) -> Vec<&str> {
    match name {
        PEER => vec!["bench/target/release/raw-hyper", "plain"],
        "raw-hyper+deadline" => vec!["bench/target/release/raw-hyper", "deadline"],
        "raw-hyper+copies" => vec!["bench/target/release/raw-hyper", "copies"],
        "axum" => vec!["bench/target/release/axum"],
        "smol-axum" => vec!["bench/target/release/smol-axum"],
        "gateway-axum" => vec!["bench/target/release/gateway-axum", "tokio"],
        "gateway-axum-smol" => vec!["bench/target/release/gateway-axum", "smol"],
        host => vec!["bench/target/release/gateway", host],
    }
}

/// User-space instructions per request.
fn instructions(name: &str, plan: &Plan, folder: &Path) -> Result<f64, String> {
    let one = |requests| {
        let file = folder.join(format!("{name}-{requests}.callgrind"));
        let option = format!("--callgrind-out-file={}", file.display());
        let wrapper = ["valgrind", "-q", "--tool=callgrind", &option];
        measured(&wrapper, name, requests)?;
        let text = read(&file)?;
        instructions_in(&text).ok_or_else(|| format!("no summary in {}", file.display()))
    };
    let (less, more) = (one(plan.base())?, one(plan.base() + plan.requests)?);
    let each = (more as f64 - less as f64) / plan.requests as f64;
    println!("{name}: {each:.0} instructions per request");
    Ok(each)
}

/// System calls per request. Prints them by name.
fn calls(name: &str, plan: &Plan, folder: &Path) -> Result<f64, String> {
    let one = |requests| {
        let file = folder.join(format!("{name}-{requests}.strace"));
        // `-D` makes the server our child and strace a bystander, so that signals reach the server.
        let wrapper = ["strace", "-D", "-c", "-f", "-o", &file.display().to_string()];
        measured(&wrapper, name, requests)?;
        let counts = eventually(SUMMARY, || Ok(read(&file).ok().and_then(|text| calls_in(&text))))?;
        counts.ok_or_else(|| format!("strace wrote no summary within {SUMMARY:?}"))
    };
    let (less, more) = (one(plan.base())?, one(plan.base() + plan.requests)?);
    let each = |call: &String| {
        let before = less.get(call).copied().unwrap_or(0);
        (more[call] as f64 - before as f64) / plan.requests as f64
    };
    let mut by_name: Vec<(&String, f64)> = more.keys().map(|call| (call, each(call))).collect();
    by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum = by_name.iter().map(|(_, each)| each).sum();
    let often: Vec<String> = by_name
        .iter()
        .filter(|(_, each)| each.abs() >= 0.005)
        .map(|(call, each)| format!("{call} {each:.2}"))
        .collect();
    println!("{name}: {sum:.2} system calls per request: {}", often.join(", "));
    Ok(sum)
}

/// Runs a server inside a tool under a load and ends it.
fn measured(wrapper: &[&str], name: &str, requests: usize) -> Result<(), String> {
    let server = Server::start(&[wrapper, &server(name)].concat())?;
    server.load(&[], requests)?;
    server.stop()
}

/// CPU time as a multiple of the peer's, for each round. Both servers share a core, the load has
/// another; in a round one follows the other, so that what slows the machine slows both.
fn cpu(name: &str, plan: &Plan) -> Result<Vec<f64>, String> {
    let start = |name| {
        let server = Server::start(&[&["taskset", "-c", "0"], &server(name)[..]].concat())?;
        server.load(&["taskset", "-c", "1"], plan.base())?;
        Ok::<_, String>(server)
    };
    let (peer, host) = (start(PEER)?, start(name)?);
    let ratios = (0..plan.rounds)
        .map(|_| match (ticks(&peer, plan.requests)?, ticks(&host, plan.requests)?) {
            (0, _) => Err("the clock did not tick; raise --requests".to_owned()),
            (peer, host) => Ok(host as f64 / peer as f64),
        })
        .collect::<Result<Vec<_>, _>>()?;
    println!("{name}: CPU time ÷ {PEER}: {}", spread(&ratios));
    peer.stop()?;
    host.stop()?;
    Ok(ratios)
}

/// The CPU time a server takes for a load, in ticks of the system's clock.
fn ticks(server: &Server, requests: usize) -> Result<u64, String> {
    let file = PathBuf::from(format!("/proc/{}/stat", server.id()));
    let now = || {
        let text = read(&file)?;
        ticks_in(&text).ok_or_else(|| format!("no CPU time in {}: {text}", file.display()))
    };
    let before = now()?;
    server.load(&["taskset", "-c", "1"], requests)?;
    Ok(now()?.saturating_sub(before))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// The instructions that callgrind counted.
fn instructions_in(text: &str) -> Option<u64> {
    let value = |line: &str| {
        let rest = line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:"))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    text.lines().find_map(value)
}

/// How often each call was made, once strace's summary is complete.
fn calls_in(text: &str) -> Option<BTreeMap<String, u64>> {
    text.lines().find(|line| line.ends_with(" total"))?;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), words.get(3)?.parse().ok()?))
    };
    Some(text.lines().filter_map(row).collect())
}

/// `utime` and `stime` of a process, together: fields 14 and 15, which are the 12th and 13th behind
/// its name. The name stands in parentheses and may contain anything.
fn ticks_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

/// The table, in Markdown.
fn table(rows: &[Row]) -> String {
    let peer = rows.first().and_then(|row| row.instructions);
    let mut text = "| host | instructions per request | ÷ raw hyper | system calls per request | \
        CPU ÷ raw hyper (median, min–max) |\n|---|---:|---:|---:|---:|\n"
        .to_owned();
    for row in rows {
        let ratio = row.instructions.zip(peer).map(|(one, peer)| one / peer);
        let cpu = row.cpu.as_ref().map(|ratios| spread(ratios));
        let cells = [
            row.name.to_owned(),
            cell(row.instructions.map(|value| format!("{value:.0}"))),
            cell(ratio.map(|value| format!("{value:.2}"))),
            cell(row.calls.map(|value| format!("{value:.2}"))),
            if row.name == PEER { "1".to_owned() } else { cell(cpu) },
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn cell(value: Option<String>) -> String {
    value.unwrap_or_else(|| "not measured".to_owned())
}

/// Median, least and greatest of some ratios, at least one.
fn spread(ratios: &[f64]) -> String {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let (least, greatest) = (sorted[0], sorted[sorted.len() - 1]);
    format!("{:.2}, {least:.2}–{greatest:.2}", f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        Plan::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_and_hosts_come_in_any_order() {
        let plan = Plan { requests: 500, rounds: 3, hosts: vec!["smol", "tokio"] };
        assert_eq!(parse("smol --rounds 3 tokio --requests 500"), Ok(plan));
        assert_eq!(parse("").unwrap().hosts, HOSTS);
        assert_eq!(parse("tokio tokio+log").unwrap().hosts, ["tokio", "tokio+log"]);
        assert_eq!(parse("gateway-axum axum").unwrap().hosts, ["gateway-axum", "axum"]);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_and_shown() {
        assert!(parse("glommio").unwrap_err().contains("`glommio`"));
        assert!(parse("--requests 79").unwrap_err().contains("`79`"));
        assert!(parse("--requests").unwrap_err().contains("takes a number"));
        assert!(parse("--rounds 0").unwrap_err().contains("`0`"));
    }

    #[test]
    fn instructions_are_read_from_either_line() {
        assert_eq!(instructions_in("events: Ir\nsummary: 3590907\n"), Some(3_590_907));
        assert_eq!(instructions_in("fn=(1)\n1 2\ntotals: 42 7\n"), Some(42));
        assert_eq!(instructions_in("fn=(1)\n"), None);
    }

    #[test]
    fn calls_are_read_with_and_without_errors_once_complete() {
        let rows = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ------------------\n \
            55.18    0.014396        4798         3         1 futex\n \
            27.36    0.007137          17       400           writev\n";
        assert_eq!(calls_in(rows), None);
        let counts =
            calls_in(&format!("{rows}100.00    0.02    24      403    1 total\n")).unwrap();
        let expected = BTreeMap::from([("futex".to_owned(), 3), ("writev".to_owned(), 400)]);
        assert_eq!(counts, expected);
    }

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 50 20 0 0 20 0 2 0 99 0 0";
        assert_eq!(ticks_in(stat), Some(70));
        assert_eq!(ticks_in("7 (a) S 1 2"), None);
    }

    #[test]
    fn spread_is_median_least_and_greatest() {
        assert_eq!(spread(&[1.5, 1.0, 1.25]), "1.25, 1.00–1.50");
        assert_eq!(spread(&[1.0, 2.0]), "1.50, 1.00–2.00");
    }

    #[test]
    fn table_shows_what_was_not_measured() {
        let row = |name, instructions, cpu| Row { name, instructions, calls: Some(2.0), cpu };
        let text = table(&[
            row(PEER, Some(1000.0), None),
            row("tokio", Some(1500.0), Some(vec![1.1])),
            row("smol", None, None),
        ]);
        assert!(text.contains("| raw-hyper | 1000 | 1.00 | 2.00 | 1 |\n"), "{text}");
        assert!(text.contains("| tokio | 1500 | 1.50 | 2.00 | 1.10, 1.10–1.10 |\n"), "{text}");
        assert!(text.contains("| smol | not measured | not measured | 2.00 | not measured |\n"));
    }
}
