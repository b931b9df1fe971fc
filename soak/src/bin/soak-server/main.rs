//! `soak-server`: the server under load, one process for one host.

#![forbid(unsafe_code)]

mod alive;
mod routes;

use std::io::{self, Write};
use std::process::ExitCode;

use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> ExitCode {
    // Whoever puts the load on is gone: there is nothing left to serve.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("error: cannot be tied to the parent process: {error}");
        return ExitCode::FAILURE;
    }
    let status = gateway_launch::main(routes::serve);
    // After the drain: the last word on what is still alive.
    let _ = writeln!(io::stdout(), "left: {}", alive::counts());
    status
}
