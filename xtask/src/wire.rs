//! `cargo xtask ci wire`: the wire rules on the probe application, on all four hosts, from outside.

use std::process::{Child, Command, Stdio};
use std::thread;

use crate::command::{self, cargo};

const HOSTS: [&str; 4] = ["tokio", "smol", "async-std", "blocking"];

/// What the hosts are known to break, and why.
const BASELINE: &str = "conformance/baseline.toml";

/// Short deadlines, so that nobody waits for the usual ones; the drain's is longer than any rule keeps
/// the server at work, on a loaded machine. And limits that the rules can reach.
const BOUNDS: &str = "--head-seconds 4 --body-seconds 4 --write-seconds 4 --idle-seconds 5 \
    --grace-seconds 5 --handler-seconds 15 --drain-seconds 6 --connection-limit 400";

/// What the suite is told of that. The application's own limit for `/echo` is the body's.
const DECLARED: [&str; 6] =
    ["--deadline", "20", "--connection-limit", "400", "--body-limit", "16777216"];

/// How many lines a report's summary has, with the baseline's.
const SUMMARY_LINES: usize = 3;

/// Runs the suite against all hosts beside each other: most of its time is spent waiting.
///
/// # Errors
///
/// When a host's verdicts differ from the baseline.
pub(crate) fn check() -> Result<(), String> {
    command::run(&mut cargo("build --locked -p gateway-conformance -p gateway-examples --bins"))?;
    let runs = HOSTS.map(|host| (host, start(host)));
    let collect = |run: Result<Child, String>| {
        thread::spawn(move || run?.wait_with_output().map_err(|error| error.to_string()))
    };
    let runs = runs.map(|(host, run)| (host, collect(run)));
    let mut failed = Vec::new();
    for (host, run) in runs {
        let output = run.join().map_err(|_| "a thread has panicked")??;
        let report = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            // The summary stands at the end.
            let lines: Vec<&str> = report.lines().rev().take(SUMMARY_LINES).collect();
            println!("--- {host}: {}", lines.into_iter().rev().collect::<Vec<_>>().join("; "));
        } else {
            println!("--- {host}\n{}{report}", String::from_utf8_lossy(&output.stderr));
            failed.push(host);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("not as {BASELINE} says: {}", failed.join(", "))),
    }
}

fn start(host: &str) -> Result<Child, String> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let probe = format!(
        "{target}/debug/probe --host {host} --threads 2 --bind 127.0.0.1:{{port}} --log off {BOUNDS}"
    );
    Command::new(format!("{target}/debug/gateway-conformance"))
        .args(["wire", "--strict", "--name", host, "--baseline", BASELINE, "--exec", &probe])
        .args(DECLARED)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the suite: {error}"))
}
