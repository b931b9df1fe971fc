//! `cargo xtask demo`: one application on all four hosts, in one process.

use std::os::unix::process::CommandExt;

use crate::Failure;
use crate::command::cargo;

/// Becomes the demo, so that signals reach it and its exit status is ours. Returns only when that
/// fails.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    if let [_, more, ..] = words {
        return Err(Failure::Usage(format!("`demo` takes one port, and then came `{more}`")));
    }
    let mut command = cargo("run --release --locked -p gateway-examples --bin demo --");
    if let Some(port) = words.first() {
        if port.parse::<u16>().is_err() {
            return Err(Failure::Usage(format!("`{port}` is not a port; give 0 to 65535")));
        }
        command.arg(port);
    }
    let error = command.exec();
    Err(Failure::Failed(format!("cargo could not be started: {error}")))
}
