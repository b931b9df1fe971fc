//! One host's run: rounds of load, each followed by silence in which everything must be back where
//! it was, and a drain in full load at the end.
//!
//! | part | what happens |
//! |---|---|
//! | warm-up | a round like the others; the baseline is taken behind it |
//! | rounds | mixed load, a flood, no descriptors left: the same each time, from the same seed |
//! | drain | mixed load, and SIGTERM in the midst of it |
//!
//! What must be true after each of them stands in the crate's README.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use gateway_core::{sleep, spawn};
use gateway_launch::HostName;

use crate::client::{Client, Phase, Target};
use crate::kinds::KINDS;
use crate::server::{LOOK, Server};
use crate::settings::{LATE, PATIENCE, Settings};
use crate::usage::{Usage, threads, usage, work};
use crate::wire::Connection;

/// The shortest mixed load of a round.
const SHORTEST: Duration = Duration::from_secs(3);

/// The longest round. More time means more rounds.
const LONGEST: Duration = Duration::from_secs(60);

/// What a round takes beside its mixed load: sessions that end, and the silence.
const BETWEEN: Duration = Duration::from_secs(7);

/// How long the flood goes on, and how long the server is out of descriptors.
const SPECIAL: Duration = Duration::from_secs(2);

/// How long the load goes on before SIGTERM comes, and behind it.
const BEFORE_DRAIN: Duration = Duration::from_millis(1_500);
const BEHIND_DRAIN: Duration = Duration::from_millis(500);

/// How many descriptors the server may open beyond those that it has, where it is to run out.
const DESCRIPTORS: u64 = 24;

/// How long everything may take to be back at its baseline. An idle connection is closed after 30
/// seconds, and a thread without work ends after ten.
const SETTLED: Duration = Duration::from_secs(60);

/// How often an idle server may switch threads within a second: it looks at its connections once,
/// which wakes a reactor and a worker. One that polls or spins does so thousands of times.
const QUIET_SWITCHES: u64 = 100;

/// How much processor time an idle server may use within a second, in ticks of 10 ms.
const QUIET_TICKS: u64 = 3;

/// How much processor time a server may use within a second that is out of descriptors and has
/// nothing else to do, in ticks of 10 ms. It tries again ten times.
const RESTING_TICKS: u64 = 25;

/// The metric that says how many requests have begun and not ended.
const IN_FLIGHT: &str = "gateway_requests_in_flight ";

/// How many threads may be kept for jobs: as many as there are clients that may ask for one at
/// once.
const KEPT: usize = 24;

/// How much more memory may be resident after a later round than after the first, in KiB. What was
/// freed stays with the allocator where something beside it is in use; that differs from round to
/// round, by up to half a MiB here. A leak of two hundred bytes per request shows in a minute, and
/// one per connection sooner.
const RESIDENT_TOLERANCE: u64 = 2 * 1024;

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) host: HostName,
    pub(crate) target: Arc<Target>,
    /// What the server held in each silence.
    pub(crate) silences: Vec<String>,
    /// What differs from what must be.
    pub(crate) faults: Vec<String>,
}

/// What a run is doing, for the progress line.
#[derive(Default)]
pub(crate) struct Status(Mutex<(String, Option<Arc<Target>>)>);

impl Status {
    fn set(&self, target: &Arc<Target>, doing: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (doing, Some(target.clone()));
    }

    /// What it is doing, and how many requests there have been, and how many went wrong.
    pub(crate) fn get(&self) -> (String, u64, u64) {
        let status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = status.1.as_ref().map(|target| target.tally.sums()).unwrap_or_default();
        (status.0.clone(), sums[1], sums[6])
    }
}

/// What all runs share.
pub(crate) struct Plan<'a> {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a Path,
}

/// Runs one host to its end.
///
/// # Errors
///
/// When the run itself could not be made.
pub(crate) async fn run(
    host: HostName,
    plan: &Plan<'_>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    status: &Status,
) -> Result<Ran, String> {
    let mut server = Server::start(host, plan.settings, plan.folder)?;
    let target = Arc::new(Target::new(server.address, plan.settings.clone(), stop));
    let mut run = Run { host, plan, target, status, faults: Vec::new(), silences: Vec::new() };
    if let Err(fault) = run.all(&mut server).await {
        run.faults.push(fault);
    }
    if !run.faults.is_empty() || run.target.tally.sums()[6] > 0 {
        run.faults.push(format!("the server's log is {}", server.log.display()));
    }
    run.faults.extend(run.target.tally.faults());
    Ok(Ran { host, target: run.target, silences: run.silences, faults: run.faults })
}

struct Run<'a> {
    host: HostName,
    plan: &'a Plan<'a>,
    target: Arc<Target>,
    status: &'a Status,
    faults: Vec<String>,
    silences: Vec<String>,
}

impl Run<'_> {
    async fn all(&mut self, server: &mut Server) -> Result<(), String> {
        let fresh = self.fresh(server).await?;
        let rounds = (self.plan.time.as_secs() / LONGEST.as_secs()).max(2) as u32;
        let share = self.plan.time.saturating_sub(BEFORE_DRAIN + BEHIND_DRAIN) / (rounds + 1);
        let mixed = share.saturating_sub(BETWEEN + 2 * SPECIAL).max(SHORTEST);
        let mut baseline = fresh;
        let mut first = None;
        for round in 0..=rounds {
            let name = match round {
                0 => "warm-up".to_owned(),
                _ => format!("round {round} of {rounds}"),
            };
            self.round(server, &fresh, &name, mixed).await?;
            self.status.set(&self.target, format!("{name}: silence"));
            // The descriptors are those of a server that has just begun; its threads may be more.
            let (held, said) = self.silence(server, &baseline, round == 0).await?;
            self.silences.push(format!("{name}: {said}"));
            if !self.faults.is_empty() {
                // Later rounds would only say so again.
                break;
            }
            if round == 0 {
                baseline = Usage { threads: held.threads, ..fresh };
                continue;
            }
            let first = *first.get_or_insert(held);
            if held.resident > first.resident + RESIDENT_TOLERANCE {
                self.faults.push(format!(
                    "memory grows: {} KiB after round 1, {} KiB after round {round}, and at most \
                     {RESIDENT_TOLERANCE} KiB more are tolerated",
                    first.resident, held.resident
                ));
            }
        }
        self.drain(server).await
    }

    /// What a server holds that has answered once.
    async fn fresh(&mut self, server: &Server) -> Result<Usage, String> {
        self.status.set(&self.target, "starting".into());
        ask(self.target.address, "/counts").await?;
        if let Some(admin) = server.admin {
            ask(admin, "/metrics").await?;
        }
        let look = || usage(server.id()).map_err(|error| format!("the server is gone: {error}"));
        let (mut held, mut same) = (look()?, 0);
        while same < 10 {
            sleep(LOOK).await;
            let now = look()?;
            let is_same = now.descriptors == held.descriptors;
            same = if is_same { same + 1 } else { 0 };
            held = now;
        }
        Ok(held)
    }

    async fn round(
        &mut self,
        server: &mut Server,
        fresh: &Usage,
        name: &str,
        mixed: Duration,
    ) -> Result<(), String> {
        for (phase, time) in [(Phase::Mixed, mixed), (Phase::Flood, SPECIAL)] {
            self.status.set(&self.target, format!("{name}: {}", phase.name()));
            self.target.enter(phase);
            self.load(phase, time).await;
            self.is_alive(server)?;
        }
        self.status.set(&self.target, format!("{name}: descriptors"));
        self.target.enter(Phase::Descriptors);
        self.without_descriptors(server, fresh).await?;
        self.is_alive(server)
    }

    fn is_alive(&self, server: &mut Server) -> Result<(), String> {
        match server.ended()? {
            None => Ok(()),
            Some(status) => Err(format!(
                "the server ended with {status} in phase {}: {}",
                self.target.phase().name(),
                server.last_words()
            )),
        }
    }

    /// All clients of a phase, each from a seed of its own, until the last session has ended.
    async fn load(&mut self, phase: Phase, time: Duration) {
        let until = Instant::now() + time;
        let mut workers = Vec::new();
        for (kind, about) in KINDS.iter().enumerate() {
            for worker in 0..about.workers(phase) {
                let place = (phase as u64) << 32 | (kind as u64) << 16 | worker as u64;
                let mut rng = Rng::with_seed(self.plan.seed ^ Rng::with_seed(place).u64(..));
                let to = self.target.clone();
                let sessions = async move {
                    loop {
                        let client = Client { to: to.clone(), kind, rng: rng.fork(), until };
                        if client.is_over() {
                            return;
                        }
                        (KINDS[kind].session)(client).await;
                    }
                };
                workers.push((kind, spawn(sessions)));
            }
        }
        for (kind, worker) in workers {
            if let Err(error) = worker.await {
                self.faults.push(format!("a client, {}, failed: {error}", KINDS[kind].name));
            }
        }
    }

    /// More connections than the server can have descriptors for: it must neither end nor spin, and
    /// answer them all in the end.
    async fn without_descriptors(&mut self, server: &Server, fresh: &Usage) -> Result<(), String> {
        let gone = |error| format!("the server is gone: {error}");
        let id = server.id();
        let limit = fresh.descriptors as u64 + DESCRIPTORS;
        let before = server.limit_descriptors(Some(limit))?;
        let watch = async {
            // The connections are made at once; the quiet begins when all have been tried.
            sleep(SPECIAL / 4).await;
            let begun = work(id).map_err(gone)?;
            sleep(Duration::from_secs(1)).await;
            let ticks = work(id).map_err(gone)?.ticks - begun.ticks;
            Ok::<_, String>((ticks, usage(id).map_err(gone)?.descriptors as u64))
        };
        let (ticks, most) = {
            let load = self.load(Phase::Descriptors, SPECIAL);
            let ((), watched) = futures_util::future::join(load, watch).await;
            watched?
        };
        server.limit_descriptors(before)?;
        if most < limit {
            let what = format!("only {most} of {limit} descriptors were used: nothing was tried");
            self.faults.push(what);
        }
        if ticks > RESTING_TICKS {
            self.faults.push(format!(
                "out of descriptors, the server used {ticks} ticks of 10 ms within a second, and at \
                 most {RESTING_TICKS} are tolerated"
            ));
        }
        Ok(())
    }

    /// Waits until all is at its baseline, and the server sleeps.
    async fn silence(
        &mut self,
        server: &mut Server,
        baseline: &Usage,
        warming: bool,
    ) -> Result<(Usage, String), String> {
        let begun = Instant::now();
        let gone = |error| format!("the server is gone: {error}");
        let mut late = String::new();
        while begun.elapsed() < SETTLED {
            self.is_alive(server)?;
            sleep(LOOK).await;
            let held = usage(server.id()).map_err(gone)?;
            late = differences(&held, baseline, warming);
            if !late.is_empty() {
                continue;
            }
            let counts = ask(self.target.address, "/counts").await?;
            if counts.split(", ").any(|count| !count.ends_with(" 0")) {
                late = format!("still alive: {counts}");
                continue;
            }
            if let Some(admin) = server.admin {
                let metrics = ask(admin, "/metrics").await?;
                let busy = |line: &&str| line.starts_with(IN_FLIGHT) && !line.ends_with(" 0");
                if let Some(line) = metrics.lines().find(busy) {
                    late = format!("the metrics say: {line}");
                    continue;
                }
            }
            let before = work(server.id()).map_err(gone)?;
            sleep(Duration::from_secs(1)).await;
            let after = work(server.id()).map_err(gone)?;
            // A thread that has ended takes its count along.
            let switches = after.switches.saturating_sub(before.switches);
            let ticks = after.ticks - before.ticks;
            let held = usage(server.id()).map_err(gone)?;
            late = differences(&held, baseline, warming);
            if switches > QUIET_SWITCHES || ticks > QUIET_TICKS {
                late = format!(
                    "not idle: {switches} context switches and {ticks} ticks within a second, and \
                     at most {QUIET_SWITCHES} and {QUIET_TICKS} are tolerated"
                );
            }
            if late.is_empty() {
                let said = format!("{held}, {switches} context switches in a second");
                return Ok((held, said));
            }
        }
        let threads = threads(server.id()).map_err(gone)?.join(", ");
        self.faults.push(format!("{SETTLED:?} after the load: {late} (its threads: {threads})"));
        let held = usage(server.id()).map_err(gone)?;
        Ok((held, held.to_string()))
    }

    /// SIGTERM in full load.
    async fn drain(&mut self, server: &mut Server) -> Result<(), String> {
        self.status.set(&self.target, "drain".into());
        self.target.enter(Phase::Mixed);
        let target = self.target.clone();
        let deadline = target.settings.deadline("--drain-seconds").unwrap_or(PATIENCE);
        let terminated = async {
            sleep(BEFORE_DRAIN).await;
            // Entitled from here on: the signal is seen before this process goes on.
            target.enter(Phase::Drain);
            server.terminate()?;
            let begun = Instant::now();
            let status = server.wait(deadline + LATE).await?;
            Ok::<_, String>((status, begun.elapsed()))
        };
        let load = self.load(Phase::Drain, BEFORE_DRAIN + BEHIND_DRAIN);
        let ((), terminated) = futures_util::future::join(load, terminated).await;
        let (status, time) = terminated?;
        let words = server.last_words();
        self.silences.push(format!("drain: {status} after {:.1} s; {words}", time.as_secs_f64()));
        if !status.success() {
            self.faults.push(format!("{} ended with {status} after SIGTERM: {words}", self.host));
        }
        Ok(())
    }
}

/// What the server says at a path. The connection is gone afterwards.
async fn ask(address: SocketAddr, path: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{path} is not answered: {error}");
    let mut connection = Connection::open(address).await.map_err(|error| failed(&error))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n");
    connection.send(request).await.map_err(|error| failed(&error))?;
    let answer = connection.answer().await.map_err(|broken| failed(&broken))?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// What is not at its baseline.
fn differences(held: &Usage, baseline: &Usage, warming: bool) -> String {
    let mut differences = Vec::new();
    let mut compare = |name, held: usize, was: usize, differs: bool| {
        if differs {
            differences.push(format!("{held} {name}, and {was} are right"));
        }
    };
    let (now, was) = (held.descriptors, baseline.descriptors);
    compare("descriptors", now, was, now != was);
    let (now, was) = (held.registrations, baseline.registrations);
    compare("registrations", now, was, now != was);
    let (now, was) = (held.threads, baseline.threads);
    compare("threads", now, was, now > was && !warming);
    let kept = held.kept;
    compare("kept threads, which are no fewer than jobs at once", kept, KEPT, kept > KEPT);
    differences.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: Usage =
        Usage { descriptors: 14, registrations: 5, threads: 6, kept: 0, resident: 5_000 };

    #[test]
    fn what_is_at_its_baseline_does_not_differ() {
        assert_eq!(differences(&BASELINE, &BASELINE, false), "");
        let fewer = Usage { threads: 4, resident: 9_000, ..BASELINE };
        assert_eq!(differences(&fewer, &BASELINE, false), "");
    }

    #[test]
    fn each_difference_is_named() {
        for (held, said) in [
            (Usage { descriptors: 15, ..BASELINE }, "15 descriptors, and 14 are right"),
            (Usage { descriptors: 13, ..BASELINE }, "13 descriptors, and 14 are right"),
            (Usage { registrations: 6, ..BASELINE }, "6 registrations, and 5 are right"),
            (Usage { threads: 7, ..BASELINE }, "7 threads, and 6 are right"),
            (Usage { kept: KEPT + 1, ..BASELINE }, "25 kept threads"),
        ] {
            let differences = differences(&held, &BASELINE, false);
            assert!(differences.starts_with(said), "{differences}");
        }
    }
}
