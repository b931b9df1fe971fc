//! `cargo xtask soak`: all hosts under a mixed load of well-behaved and hostile clients.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Failure;
use crate::command::{self, cargo};

/// What the check in `ci` takes, and where its randomness comes from: the same load each time.
const CHECK: [&str; 4] = ["--minutes", "2", "--seed", "1"];

/// Becomes the soak, so that signals reach it and its exit status is ours. Returns only when that
/// fails.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let mut soak = built().map_err(Failure::Failed)?;
    let error = soak.args(words).exec();
    Err(Failure::Failed(format!("the soak could not be started: {error}")))
}

/// Two minutes of it.
///
/// # Errors
///
/// When an account is not in order.
pub(crate) fn check() -> Result<(), String> {
    command::run(built()?.args(CHECK))
}

/// The program, built with its server, which is found beside it.
fn built() -> Result<Command, String> {
    command::run(&mut cargo("build --locked --quiet -p gateway-soak --bins"))?;
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Ok(Command::new(format!("{target}/debug/soak")))
}
