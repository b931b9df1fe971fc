//! All four hosts in one process, on four ports: what `cargo xtask demo` starts.
//!
//! The guestbook's database and cache are those of `DATABASE_URL` and `REDIS_URL`. Where the first is
//! not set, both are started for as long as the demo runs, if they are installed; where it is empty,
//! there is no guestbook.

use std::io;
use std::process::ExitCode;
use std::thread;

use gateway_core::BoxError;
use gateway_examples::guestbook;
use gateway_examples::local::{Kind, Service};
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

fn run(port: u16) -> Result<Ended, BoxError> {
    let (guestbook, _services) = guestbook();
    let names = HostName::ALL.map(|host| host.to_string());
    let names = names.each_ref().map(String::as_str);
    let servers = gateway_examples::bind_ring(&names, port, &guestbook)?;
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

/// Where the guestbook's entries are, and what was started for them.
fn guestbook() -> (guestbook::Options, Vec<Service>) {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut services = Vec::new();
    let mut start = |kind| match Service::start(kind, None) {
        Ok(service) => {
            let url = service.url();
            services.push(service);
            Some(url)
        }
        Err(error) => {
            println!("the guestbook goes without: {error}");
            None
        }
    };
    let mut options = guestbook::Options {
        postgres: set("DATABASE_URL"),
        redis: set("REDIS_URL"),
        trust: set("GATEWAY_TRUST").map(Into::into),
    };
    if std::env::var_os("DATABASE_URL").is_none() {
        options.postgres = start(Kind::Postgres);
        options.redis = options.redis.or_else(|| start(Kind::Redis));
    }
    (options, services)
}
