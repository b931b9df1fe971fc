//! A server under measurement, and the load on it: both are child processes, and both end with us.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for a server to answer, which under valgrind takes seconds.
const START: Duration = Duration::from_secs(30);

/// The longest wait for a server to end after SIGTERM. Valgrind writes its findings meanwhile.
const STOP: Duration = Duration::from_secs(60);

/// The longest that a load may take: a part of its own, and a part for each request.
const LOAD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(10));

/// How often a bounded wait looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The connections of every load.
pub(crate) const CONNECTIONS: usize = 16;

/// A server that answers at a port of its own. Dropping it kills it.
pub(crate) struct Server {
    child: Guard,
    port: u16,
}

impl Server {
    /// Starts a program, its words followed by a free port, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it can't be started, ends by itself or stays silent for [`START`].
    pub(crate) fn start(words: &[&str]) -> Result<Server, String> {
        let port = free_port().map_err(|error| format!("no free port: {error}"))?;
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Server { child: Guard::spawn(&mut command)?, port };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answers = eventually(START, || {
            if let Some(status) = server.child.ended()? {
                return Err(format!("`{}` ended with {status} before any load", words.join(" ")));
            }
            Ok(TcpStream::connect(address).ok())
        })?;
        answers.map(|_| server).ok_or_else(|| {
            format!("`{}` did not answer at {address} within {START:?}", words.join(" "))
        })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends so many requests and waits for the answers. `prefix` are words before `h2load`.
    ///
    /// # Errors
    ///
    /// When not all of them succeed, or not in time.
    pub(crate) fn load(&self, prefix: &[&str], requests: usize) -> Result<(), String> {
        let words = [prefix, &["h2load", "--h1"]].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["-n", &requests.to_string(), "-c", &CONNECTIONS.to_string()])
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = Guard::spawn(&mut command)?;
        let limit = LOAD.0 + LOAD.1 * u32::try_from(requests).unwrap_or(u32::MAX);
        child.wait(limit, "h2load")?;
        let mut text = String::new();
        if let Some(output) = &mut child.0.stdout {
            output
                .read_to_string(&mut text)
                .map_err(|error| format!("h2load's output: {error}"))?;
        }
        match succeeded(&text) {
            Some(count) if count == requests => Ok(()),
            Some(count) => Err(format!("{count} of {requests} requests succeeded")),
            None => Err(format!("h2load says nothing of its requests: {text}")),
        }
    }

    /// Ends the server with SIGTERM, so that what measures it writes down its findings.
    ///
    /// # Errors
    ///
    /// When it does not end within [`STOP`].
    pub(crate) fn stop(mut self) -> Result<(), String> {
        self.child.terminate()?;
        self.child.wait(STOP, "the server").map(drop)
    }
}

/// Asks until there is an answer or the time is up.
pub(crate) fn eventually<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, String>,
) -> Result<Option<T>, String> {
    let end = Instant::now() + limit;
    loop {
        let answer = ask()?;
        if answer.is_some() || Instant::now() >= end {
            return Ok(answer);
        }
        thread::sleep(PAUSE);
    }
}

/// A child process that does not outlive us.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    pub(crate) fn spawn(command: &mut Command) -> Result<Guard, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let error = |error| format!("`{program}` could not be started: {error}");
        command.spawn().map(Guard).map_err(error)
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> Result<(), String> {
        // The shell's own `kill`, which is everywhere; the standard library has SIGKILL alone.
        let id = self.0.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(format!("process {id} could not be sent SIGTERM")),
            Err(error) => Err(format!("`sh` could not be started: {error}")),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.0.try_wait().map_err(|error| format!("cannot wait for a child process: {error}"))
    }

    pub(crate) fn wait(&mut self, limit: Duration, who: &str) -> Result<ExitStatus, String> {
        let status = eventually(limit, || self.ended())?;
        status.ok_or_else(|| format!("{who} did not end within {limit:?}"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when the child has ended and been waited for, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port nobody listens at. Another process could take it before the server does, which then
/// ends and says so.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// How many requests h2load counts as answered with success.
fn succeeded(text: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.starts_with("requests:"))?;
    let count = line.split(',').find_map(|part| part.trim().strip_suffix(" succeeded"))?;
    count.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_are_read_from_the_summary() {
        let text = "finished in 1s\nrequests: 9 total, 9 started, 9 done, 7 succeeded, 2 failed\n";
        assert_eq!(succeeded(text), Some(7));
        assert_eq!(succeeded("finished in 1s\n"), None);
    }

    #[test]
    fn server_that_ends_at_once_is_reported() {
        let error = Server::start(&["false"]).err().expect("`false` serves nothing");
        assert!(error.contains("before any load"), "{error}");
    }

    #[test]
    fn child_is_gone_when_its_guard_is() {
        let guard = Guard::spawn(Command::new("sleep").arg("600")).unwrap();
        let entry = format!("/proc/{}", guard.0.id());
        assert!(std::path::Path::new(&entry).exists());
        drop(guard);
        assert!(!std::path::Path::new(&entry).exists());
    }
}
