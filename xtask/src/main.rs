//! The project's own command line: `cargo xtask ci | demo | bench | soak | rolling | spec |
//! scoreboard | wsgi`.
//!
//! It depends on the standard library alone, so that it builds in a moment and nothing has to be
//! installed before it. Each command is a module; `ci` is a list of sections, and each section can
//! run alone.

#![forbid(unsafe_code)]

mod arrows;
mod bench;
mod ci;
mod command;
mod demo;
mod lines;
mod packages;
mod rolling;
mod scoreboard;
mod server;
mod soak;
mod spec;
mod tree;
mod wire;
mod wsgi;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
The project's own command line.

  cargo xtask ci                  runs every check, in order, up to the first failure
  cargo xtask ci NAME...          runs these checks alone
  cargo xtask ci --list           lists the checks

  cargo xtask demo [PORT]         one application on all four hosts, from this port on, with
                                  PostgreSQL and Redis where they are installed

  cargo xtask bench [--requests N] [--rounds N] [HOST...]
                                  measures the hosts against raw hyper: instructions, system
                                  calls and CPU time per request (see bench/README.md)

  cargo xtask soak [--minutes N] [--seed S] [HOST...]
                                  all hosts under well-behaved and hostile clients, with exact
                                  accounts (see soak/README.md)

  cargo xtask rolling [--host HOST] [--seconds N]
                                  restarts an application under load, in the three ways that
                                  docs/deploy.md shows, and fails when a request is lost

  cargo xtask spec                writes docs/specification.md from the rules' data
  cargo xtask spec --check        fails when it is not what the rules say

  cargo xtask scoreboard [--only NAME] [--list]
                                  runs the conformance suite on well-known servers, and writes
                                  docs/scoreboard.md

  cargo xtask wsgi [TEST...]      builds an app as a module for Python, and tests it under servers
                                  for WSGI; `test_servers.Uwsgi` is one of the tests

  cargo xtask --help              prints this
";

/// Why a command ended without success.
#[derive(Debug)]
enum Failure {
    /// The command line can't be understood: exit status 2.
    Usage(String),
    /// What was asked for has failed: exit status 1.
    Failed(String),
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let (message, status) = match dispatch(&words) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Failed(message)) => (message, 1),
    };
    eprintln!("error: {message}");
    ExitCode::from(status)
}

fn dispatch(words: &[String]) -> Result<(), Failure> {
    env::set_current_dir(root()).map_err(|error| {
        Failure::Failed(format!("cannot enter the workspace at {}: {error}", root().display()))
    })?;
    let Some((command, rest)) = words.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    match command.as_str() {
        "ci" => ci::run(rest),
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "soak" => soak::run(rest),
        "rolling" => rolling::run(rest),
        "spec" => spec::run(rest),
        "scoreboard" => scoreboard::run(rest),
        "wsgi" => wsgi::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::Usage(format!(
            "there is no command `{command}`; `cargo xtask --help` lists them"
        ))),
    }
}

/// The workspace's folder. `cargo run` names the package's folder, which is one below.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
