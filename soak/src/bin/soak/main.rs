//! `soak`: all hosts under a mixed load of well-behaved and hostile clients, with exact accounts.

#![forbid(unsafe_code)]

mod client;
mod kinds;
mod report;
mod run;
mod server;
mod settings;
mod tally;
#[cfg(test)]
mod twins;
mod usage;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use gateway_core::{Host, sleep};
use gateway_launch::HostName;
use gateway_tokio::Tokio;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use report::Progress;
use run::{Plan, Ran, Status, run};
use settings::Settings;

/// How many hosts are under load beside each other: while one is silent, another is not.
const BESIDE: usize = 2;

/// How many threads the clients of one host have.
const CLIENT_THREADS: usize = 1;

const EXIT: &str = "\
Exit status:
  0    every request has its outcome, and everything is back at its baseline
  1    something is wrong: it says what, and how to run this again
  2    the command line can't be understood
  130  stopped by a signal, before there was a verdict";

/// Puts all hosts under a mixed load of well-behaved and hostile clients, and accounts for it.
#[derive(Parser)]
#[command(after_help = EXIT)]
struct Options {
    /// How long it takes, roughly, for all hosts together
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,

    /// Where the randomness comes from [default: the clock]
    #[arg(long)]
    seed: Option<u64>,

    /// Where the servers' logs go
    #[arg(long, value_name = "FOLDER", default_value = "target/soak")]
    logs: PathBuf,

    /// Says what each kind of client does, and ends
    #[arg(long)]
    kinds: bool,

    /// Which hosts [default: all]
    #[arg(value_enum, value_name = "HOST")]
    hosts: Vec<HostName>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.kinds {
        report::kinds();
        return ExitCode::SUCCESS;
    }
    match soak(options) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: Options) -> Result<ExitCode, String> {
    let stop = stop_flag().map_err(|error| format!("cannot catch signals: {error}"))?;
    raise_own_limit()?;
    let settings = Settings::ask(&server::program()?)?;
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = options.seed.unwrap_or_else(clock);
    let hosts = if options.hosts.is_empty() { HostName::ALL.to_vec() } else { options.hosts };
    let total = Duration::try_from_secs_f64(options.minutes * 60.0)
        .map_err(|_| format!("{} is no number of minutes", options.minutes))?;
    let time = total / hosts.len().div_ceil(BESIDE) as u32;
    println!("seed {seed}, {:.0} s for each host", time.as_secs_f64());
    if !settings.unknown().is_empty() {
        println!("not known to the launcher, so not tried: {}", settings.unknown().join(" "));
    }
    let plan = Plan { seed, time, settings: &settings, folder: &options.logs };
    let mut good = true;
    let mut progress = Progress::new(total);
    for pair in hosts.chunks(BESIDE) {
        for ran in beside(pair, &plan, &stop, &mut progress) {
            good &= match ran? {
                Some(ran) => report::host(&ran),
                None => {
                    eprintln!("stopped by a signal, before there was a verdict");
                    return Ok(ExitCode::from(130));
                }
            };
        }
    }
    if good {
        println!("\nall accounts are in order");
        return Ok(ExitCode::SUCCESS);
    }
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let minutes = options.minutes;
    println!(
        "\nto run this again: cargo xtask soak --minutes {minutes} --seed {seed} {}",
        hosts.join(" ")
    );
    Ok(ExitCode::FAILURE)
}

/// Runs some hosts beside each other. Nothing comes of those that were stopped.
fn beside(
    hosts: &[HostName],
    plan: &Plan<'_>,
    stop: &Arc<AtomicBool>,
    progress: &mut Progress,
) -> Vec<Result<Option<Ran>, String>> {
    let statuses: Vec<Status> = hosts.iter().map(|_| Status::default()).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .zip(&statuses)
            .map(|(host, status)| scope.spawn(move || on_own_host(*host, plan, stop, status)))
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            progress.show(hosts, &statuses);
            thread::sleep(server::LOOK);
        }
        progress.clear();
        let panicked = |_| Err("a run has panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

/// One run, its clients on a host of their own. The server is tied to this thread, and so is gone
/// whatever ends it.
fn on_own_host(
    host: HostName,
    plan: &Plan<'_>,
    stop: &Arc<AtomicBool>,
    status: &Status,
) -> Result<Option<Ran>, String> {
    let clients = Tokio::new(CLIENT_THREADS).map_err(|error| format!("no host: {error}"))?;
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            sleep(server::LOOK).await;
        }
    };
    let ran = std::pin::pin!(run(host, plan, stop.clone(), status));
    let stopped = std::pin::pin!(stopped);
    match clients.run(futures_util::future::select(ran, stopped)) {
        futures_util::future::Either::Left((ran, _)) => ran.map(Some),
        futures_util::future::Either::Right(_) => Ok(None),
    }
}

/// Set by the first signal. The second ends this process at once, and the servers with it.
fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// As many descriptors as may be: the flood needs them on this side as well.
fn raise_own_limit() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("setrlimit: {error}"))
}
