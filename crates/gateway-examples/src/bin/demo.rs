//! All four hosts in one process, on four ports: what `cargo xtask demo` starts.

use std::io;
use std::process::ExitCode;
use std::thread;

use gateway_launch::{Ended, HostName, serve};

/// The first port, unless the command line names another.
const PORT: u16 = 8001;

/// How many threads each host has.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let port = match std::env::args().nth(1).map(|port| port.parse()) {
        None => PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            eprintln!("usage: demo [FIRST PORT, {PORT} by default, 0 for any four]");
            return ExitCode::from(2);
        }
    };
    match run(port) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(port: u16) -> io::Result<Ended> {
    let names = HostName::ALL.map(|host| host.to_string());
    let servers = gateway_examples::bind_ring(&names.each_ref().map(String::as_str), port)?;
    println!("one application, four hosts, one process; open any of these:\n");
    let running: Vec<_> = HostName::ALL
        .into_iter()
        .zip(servers)
        .map(|(host, server)| thread::spawn(move || serve(host, THREADS, server)))
        .collect();
    let mut ended = Ended::Drained;
    for server in running {
        if server.join().map_err(|_| io::Error::other("a host panicked"))?? == Ended::Forced {
            ended = Ended::Forced;
        }
    }
    Ok(ended)
}
