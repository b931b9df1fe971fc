//! `cargo xtask ci wire`: the wire rules on the probe application, on all four hosts, from outside.

use std::process::{Child, Command, Stdio};
use std::thread;

use crate::command::{self, cargo};

const HOSTS: [&str; 4] = ["tokio", "smol", "async-std", "blocking"];

/// What the hosts are known to break, and why.
const BASELINE: &str = "conformance/baseline.toml";

/// How long a server of ours drains here: longer than any rule keeps it at work, on a loaded machine.
const DRAIN_SECONDS: &str = "6";

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
        "{target}/debug/probe --host {host} --threads 2 --drain-seconds {DRAIN_SECONDS} \
         --bind 127.0.0.1:{{port}} --log off"
    );
    Command::new(format!("{target}/debug/gateway-conformance"))
        .args(["wire", "--strict", "--name", host, "--baseline", BASELINE, "--exec", &probe])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the suite: {error}"))
}
