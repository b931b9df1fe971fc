//! `cargo xtask rolling`: an application is restarted under load, in the ways that `docs/deploy.md`
//! shows, and loses no request.
//!
//! | way | what is restarted | who takes the clients meanwhile |
//! |---|---|---|
//! | `balancer` | two processes behind HAProxy, in turn | the other process |
//! | `shared port` | a process, by a new one on its port (`--reuse-port`) | the new process |
//! | `passed socket` | a process, after its end (`--bind systemd`) | the socket's queue |
//!
//! HAProxy's file and the service's command line are the ones in `docs/deploy/`.

mod load;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::command::{self, cargo};
use crate::server::{Guard, eventually, free_port};
use crate::{Failure, packages};
use load::Load;

/// How long all ways take together, unless told otherwise, in seconds.
const SECONDS: u64 = 30;

/// The longest wait for a process to start, to be found ready, or to drain.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many requests of each client have to be answered between two restarts. So nobody who was asked
/// to come again, as on a shared port, is in the middle of that.
const BETWEEN: u64 = 4;

/// The balancer's, and what the processes behind it are told. The delay is longer than its checks
/// take.
const HAPROXY: &str = "docs/deploy/haproxy.cfg";
const BEHIND: &str =
    "--proxy-from 127.0.0.1 --access-log --log-format json --drain-delay-seconds 1";

/// What a process on a shared port is told. The delay lets connections in use end with an answer.
const BESIDE: &str = "--reuse-port --drain-delay-seconds 0.1 --log warn";

/// The service manager's.
const SERVICE: &str = include_str!("../../docs/deploy/app.service");

pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let (mut host, mut seconds) = ("tokio", SECONDS);
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| Failure::Usage(format!("{flag} takes a value")))?;
        match flag.as_str() {
            "--host" => host = value,
            "--seconds" => {
                seconds = value
                    .parse()
                    .map_err(|_| Failure::Usage(format!("`{value}` is not a number of seconds")))?;
            }
            _ => return Err(Failure::Usage(format!("`rolling` has no option `{flag}`"))),
        }
    }
    match packages::provide("haproxy", "haproxy") {
        Ok(true) => roll(host, Duration::from_secs(seconds)).map_err(Failure::Failed),
        Ok(false) => Err(Failure::Failed("HAProxy is missing".to_owned())),
        Err(error) => Err(Failure::Failed(error)),
    }
}

/// On one host, for half a minute.
///
/// # Errors
///
/// When a request is lost.
pub(crate) fn check() -> Result<(), String> {
    match packages::provide("haproxy", "haproxy")? {
        true => roll("tokio", Duration::from_secs(SECONDS)),
        false => {
            println!("skipped: nothing stands in front of the servers");
            Ok(())
        }
    }
}

fn roll(host: &str, time: Duration) -> Result<(), String> {
    command::run(&mut cargo("build --locked --quiet -p gateway-examples --bin gateway-examples"))?;
    let folder = Folder::new()?;
    let time = time / 3;
    balancer(host, time, &folder)?;
    shared_port(host, time)?;
    passed_socket(host, time, &folder)
}

/// Two processes behind HAProxy. Each is told to drain when the other is ready, and replaced.
fn balancer(host: &str, time: Duration, folder: &Folder) -> Result<(), String> {
    let ports = [(); 5].map(|()| free_port().map_err(|error| error.to_string()));
    let [front, a, b, a_admin, b_admin] =
        ports.map(|port| port.map(|port| format!("127.0.0.1:{port}")));
    let (front, places) = (front?, [("a", a?, a_admin?), ("b", b?, b_admin?)]);
    let (stats, log) = (folder.path("stats"), folder.path("log"));
    let start = |(_, address, admin): &(&str, String, String)| {
        let log = File::options().create(true).append(true).open(&log);
        let log = log.map_err(|error| format!("cannot write the log: {error}"))?;
        let flags = format!("--bind {address} --admin {admin} {BEHIND}");
        Application::start(app(host, &flags).stderr(log))
    };
    let mut running = [start(&places[0])?, start(&places[1])?];
    let port = |admin: &str| admin.rsplit(':').next().unwrap_or_default().to_owned();
    let mut haproxy = Command::new("haproxy");
    haproxy.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    haproxy.args(["-db", "-f", HAPROXY]).env("GATEWAY_STATS", &stats).env("GATEWAY_FRONT", &front);
    haproxy.env("GATEWAY_A", &places[0].1).env("GATEWAY_A_ADMIN", port(&places[0].2));
    haproxy.env("GATEWAY_B", &places[1].1).env("GATEWAY_B_ADMIN", port(&places[1].2));
    let said = File::create(folder.path("haproxy")).map_err(|error| error.to_string())?;
    let mut haproxy =
        Guard::spawn(haproxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said))?;
    let ready = |name: &str| {
        let up = eventually(PATIENCE, || Ok(is_up(&stats, name).then_some(())))?;
        up.ok_or_else(|| {
            let said = fs::read_to_string(folder.path("haproxy")).unwrap_or_default();
            format!("HAProxy does not find `{name}` ready: {said}")
        })
    };
    places.iter().try_for_each(|(name, ..)| ready(name))?;
    let load = Load::start(address(&front)?);
    let restarts = under_load(&load, time, |n| {
        let which = n % 2;
        ready(places[1 - which].0)?;
        running[which].drain()?;
        running[which] = start(&places[which])?;
        ready(places[which].0)
    })?;
    let told = report("balancer", restarts, load)?;
    let log = fs::read_to_string(&log).map_err(|error| format!("cannot read the log: {error}"))?;
    let clients = clients(&log)?;
    if clients < told {
        return Err(format!("{told} requests were answered, and the log tells of {clients} alone"));
    }
    println!("    the address of the client was told with each of {clients} requests");
    haproxy.0.kill().map_err(|error| format!("cannot end HAProxy: {error}"))
}

/// Whether HAProxy finds this server ready, as its own statistics say.
fn is_up(stats: &PathBuf, name: &str) -> bool {
    let mut said = String::new();
    let asked = UnixStream::connect(stats).and_then(|mut stream| {
        stream.write_all(b"show stat\n")?;
        stream.read_to_string(&mut said)
    });
    let line = format!("application,{name},");
    asked.is_ok() && said.lines().any(|said| said.starts_with(&line) && said.contains(",UP,"))
}

/// How many lines of the access log tell of a request. Each has the address that the client has
/// written into its target.
fn clients(log: &str) -> Result<u64, String> {
    let mut count = 0;
    for line in log.lines().filter(|line| line.contains("/echo?number=")) {
        let value = |before: &str| line.split(before).nth(1)?.split('"').next();
        let (from, client) = (value("&from="), value("\"client\":\""));
        if from.is_none() || from != client {
            return Err(format!("the client's address is not what its request says: {line}"));
        }
        count += 1;
    }
    Ok(count)
}

/// One process on a port, and the next beside it before it is told to drain.
fn shared_port(host: &str, time: Duration) -> Result<(), String> {
    let start =
        |address: &str| Application::start(&mut app(host, &format!("--bind {address} {BESIDE}")));
    let mut running = start("127.0.0.1:0")?;
    let place = running.address;
    let load = Load::start(place);
    let restarts = under_load(&load, time, |_| {
        let mut old = std::mem::replace(&mut running, start(&place.to_string())?);
        old.drain()
    })?;
    report("shared port", restarts, load).map(drop)
}

/// One process on a socket that is passed to it, and the next when it has ended.
fn passed_socket(host: &str, time: Duration, folder: &Folder) -> Result<(), String> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let place = socket.local_addr().map_err(|error| error.to_string())?;
    let flags = exec_start(SERVICE)?.replace("%t", &folder.0.display().to_string());
    fs::create_dir(folder.path("app")).map_err(|error| error.to_string())?;
    let start = || {
        let socket = socket.try_clone().map_err(|error| error.to_string())?;
        let log = File::create(folder.path("log")).map_err(|error| error.to_string())?;
        // The shell's own process becomes the program's, so its number is the one that is meant.
        let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program()).args(["--host", host]);
        command.args(flags.split_whitespace()).env("LISTEN_FDS", "1").stderr(log);
        Application::start(command.stdin(Stdio::from(OwnedFd::from(socket))))
    };
    let mut running = start()?;
    let load = Load::start(place);
    let restarts = under_load(&load, time, |_| {
        running.drain()?;
        running = start()?;
        Ok(())
    })?;
    report("passed socket", restarts, load).map(drop)
}

/// What a service is started with, but for its program.
fn exec_start(unit: &str) -> Result<String, String> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let flags = line.and_then(|line| line.split_once(' ')).map(|(_, flags)| flags.to_owned());
    flags.ok_or_else(|| "the service has no ExecStart with flags".to_owned())
}

/// Restarts again and again, while the load goes on between. Gives the number of restarts.
fn under_load(
    load: &Load,
    time: Duration,
    mut restart: impl FnMut(usize) -> Result<(), String>,
) -> Result<usize, String> {
    let (begun, mut restarts) = (Instant::now(), 0);
    while begun.elapsed() < time || restarts < 2 {
        let before = load.answered();
        let enough =
            || load.answered().iter().zip(&before).all(|(now, then)| now - then >= BETWEEN);
        let answered = eventually(PATIENCE, || Ok(enough().then_some(())))?;
        answered
            .ok_or_else(|| format!("after {restarts} restarts nothing is answered any more"))?;
        restart(restarts)?;
        restarts += 1;
    }
    Ok(restarts)
}

/// Ends the load, says what became of it, and how many requests were answered.
fn report(way: &str, restarts: usize, load: Load) -> Result<u64, String> {
    let tally = load.stop()?;
    let [sent, answered, retried] =
        [&tally.sent, &tally.answered, &tally.retried].map(|count| count.load(Relaxed));
    let (lost, described) = tally.lost();
    println!(
        "{way}: {restarts} restarts, {sent} sent, {answered} answered ({retried} of them at the \
         second attempt), {lost} lost"
    );
    match lost {
        0 => Ok(answered),
        _ => Err(format!("{way}: {lost} requests were lost; {described}")),
    }
}

fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    PathBuf::from(target).join("debug/gateway-examples")
}

/// The application, with these flags.
fn app(host: &str, flags: &str) -> Command {
    let mut command = Command::new(program());
    command.args(["--host", host]).args(flags.split_whitespace()).stdin(Stdio::null());
    command
}

/// A process of the application. Dropping it kills it.
struct Application {
    child: Guard,
    address: SocketAddr,
}

impl Application {
    /// Starts one, and waits until it says that it listens.
    fn start(command: &mut Command) -> Result<Application, String> {
        let mut child = Guard::spawn(command.stdout(Stdio::piped()))?;
        let output = child.0.stdout.take().ok_or("no standard output")?;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let said = line.strip_prefix("listening on http://");
            if let Some((place, _)) = said.and_then(|said| said.split_once(',')) {
                return Ok(Application { child, address: address(place)? });
            }
        }
        let status = child.wait(PATIENCE, "the application")?;
        Err(format!("the application did not start: {status}"))
    }

    /// Tells it to drain, and waits for its end.
    fn drain(&mut self) -> Result<(), String> {
        self.child.terminate()?;
        let status = self.child.wait(PATIENCE, "a process that drains")?;
        if status.success() { Ok(()) } else { Err(format!("a process has drained with {status}")) }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("`{text}` is no address: {error}"))
}

/// A folder of our own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("gateway-rolling-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Folder(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number behind the first of these words.
    fn seconds(text: &str, before: &str) -> u64 {
        let behind = text.split(before).nth(1).expect("the words are there");
        let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }

    #[test]
    fn times_in_the_documents_fit() {
        const HOOKS: u64 = 5;
        let drain = seconds(SERVICE, "--drain-seconds ");
        assert!(seconds(SERVICE, "TimeoutStopSec=") >= drain + HOOKS);
        let pod = include_str!("../../docs/deploy/kubernetes.yaml");
        let needed = seconds(pod, "--drain-delay-seconds=") + seconds(pod, "--drain-seconds=");
        assert!(seconds(pod, "terminationGracePeriodSeconds: ") >= needed + HOOKS);
    }

    #[test]
    fn a_log_is_held_against_what_the_clients_say() {
        let line =
            |from, client| format!(r#"{{"uri":"/echo?number=1&from={from}","client":"{client}"}}"#);
        assert_eq!(clients(&line("1.2.3.4:5", "1.2.3.4:5")), Ok(1));
        assert!(clients(&line("1.2.3.4:5", "1.2.3.4:6")).is_err());
        assert!(clients(r#"{"uri":"/echo?number=1&from=1.2.3.4:5"}"#).is_err());
        assert_eq!(clients("something else"), Ok(0));
    }
}
