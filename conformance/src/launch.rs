//! `Exec`: starts a server by its command, and ends it with all that it has started.
//!
//! Each server runs in a process group of its own, which is what ends with it: at the end, on a
//! panic, and when the suite is interrupted. The group's first process is waited for last of all,
//! so that its id, which is the group's, can't have been given to anyone else.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::wire::{Instance, Launcher};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// How long a server may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Between two looks at a process.
const POLL: Duration = Duration::from_millis(10);

/// How many bytes of a server's output are kept.
const OUTPUT: usize = 4096;

/// The ports that servers are given: below those that systems hand to clients, so that none of
/// the suite's own connections takes one before the server does.
const PORTS: std::ops::Range<u16> = 18_000..32_000;

/// The groups that are alive, for when the suite is interrupted.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A command that starts a server on a port that it is given.
#[derive(Clone, Debug)]
pub struct Exec {
    words: Vec<String>,
}

/// A server that a command has started. Dropping it ends its process group.
#[derive(Debug)]
pub struct Server {
    child: Child,
    group: Pid,
    address: SocketAddr,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// The last bytes that a server has printed, on both of its outputs.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Exec {
    /// A command, split at spaces, with quotes and backslashes as in a shell. There is no shell.
    ///
    /// # Errors
    ///
    /// When it is empty, has a quote without an end, or does not say where the port goes.
    pub fn parse(command: &str) -> Result<Exec, String> {
        let words = split(command)?;
        if words.is_empty() {
            return Err("the command is empty".to_owned());
        }
        if !words.iter().any(|word| word.contains("{port}") || word.contains("{address}")) {
            return Err(format!(
                "the command `{command}` does not say where the port goes; write {{port}}, or \
                 {{address}} for 127.0.0.1 with the port"
            ));
        }
        Ok(Exec { words })
    }

    /// Starts a server, and returns once it listens.
    ///
    /// # Errors
    ///
    /// When it can't be started, ends at once, or does not listen in time: with its last lines.
    pub fn start_server(&self) -> io::Result<Server> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let fill = |word: &String| {
            let word = word.replace("{address}", &address.to_string());
            word.replace("{port}", &address.port().to_string())
        };
        let words: Vec<String> = self.words.iter().map(fill).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        let mut server = Server::spawn(command, address).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start `{}`: {error}", words[0]))
        })?;
        let until = Instant::now() + START;
        while !server.listens() {
            let why = if server.has_ended() {
                "it ended at once (a server has to stay in the foreground)".to_owned()
            } else if Instant::now() > until {
                format!("nothing listens on {address} after {START:?}")
            } else {
                thread::sleep(POLL);
                continue;
            };
            let output = server.into_output();
            return Err(io::Error::other(format!(
                "`{}` did not come up: {why}{output}",
                words.join(" ")
            )));
        }
        Ok(server)
    }
}

impl Launcher for Exec {
    fn start(&self) -> io::Result<Box<dyn Instance>> {
        Ok(Box::new(self.start_server()?))
    }
}

impl Server {
    fn spawn(mut command: Command, address: SocketAddr) -> io::Result<Server> {
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Locked, so that an interruption finds either no child or its group.
        let mut groups = lock(&GROUPS);
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        groups.push(group);
        drop(groups);
        let output = Output::default();
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(output.collect(pipe));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(output.collect(pipe));
        }
        Ok(Server { child, group, address, output, readers })
    }

    /// Whether it takes connections: on the address that it was given, or on the same port of the
    /// other loopback address, which some take `localhost` for.
    fn listens(&mut self) -> bool {
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, self.address.port()));
        let takes = |address: &SocketAddr| TcpStream::connect_timeout(address, START).is_ok();
        let found = [self.address, other].into_iter().find(takes);
        self.address = found.unwrap_or(self.address);
        found.is_some()
    }

    /// What it prints, also after it has ended.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// Ends it, and gives what it has printed, as far as that comes in soon.
    fn into_output(mut self) -> Output {
        let (output, readers) = (self.output(), std::mem::take(&mut self.readers));
        drop(self);
        let until = Instant::now() + GRACE;
        while readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < until {
            thread::sleep(POLL);
        }
        output
    }
}

impl Instance for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGTERM to the first process, as a supervisor does. One that starts others passes it on.
    fn terminate(&mut self) {
        let _ = kill_process(self.group, Signal::TERM);
    }

    fn has_ended(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    fn memory(&self) -> Option<u64> {
        let sizes: Vec<u64> = members(self.group).filter_map(resident).collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum())
    }

    fn descriptors(&self) -> Option<usize> {
        let open = |id| fs::read_dir(format!("/proc/{id}/fd")).ok().map(Iterator::count);
        let counts: Vec<usize> = members(self.group).filter_map(open).collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        let until = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(POLL);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        lock(&GROUPS).retain(|group| *group != self.group);
        let _ = self.child.wait();
    }
}

impl Output {
    fn collect(&self, mut pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let kept = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut chunk = [0; 1024];
            while let Ok(read @ 1..) = pipe.read(&mut chunk) {
                let mut kept = lock(&kept);
                kept.extend(&chunk[..read]);
                let excess = kept.len().saturating_sub(OUTPUT);
                kept.drain(..excess);
            }
        })
    }
}

/// Its last lines, each on a line of its own, without what would act on a terminal.
impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept: Vec<u8> = lock(&self.0).iter().copied().collect();
        let text = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return f.write_str("; it printed nothing");
        }
        f.write_str("; its last lines:")?;
        for line in &lines[lines.len().saturating_sub(10)..] {
            let plain: String = line.chars().filter(|it| !it.is_control()).collect();
            write!(f, "\n  | {plain}")?;
        }
        Ok(())
    }
}

/// From now on, an interruption ends every server first, and then this process.
///
/// # Errors
///
/// When signals can't be caught.
pub fn end_on_signals() -> io::Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if reader.read_exact(&mut [0]).is_ok() {
            // Nobody starts another one from here on: the lock is kept until the process ends.
            let groups = lock(&GROUPS);
            end_all(&groups);
            eprintln!("interrupted");
            process::exit(130);
        }
    })?;
    Ok(())
}

fn end_all(groups: &[Pid]) {
    for group in groups {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let until = Instant::now() + GRACE;
    while groups.iter().any(|group| members(*group).next().is_some()) && Instant::now() < until {
        thread::sleep(POLL);
    }
    for group in groups {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

/// A port on which nobody listens, and that no other server of this process is given.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Two suites at the same time begin at different places.
    let begin = process::id().wrapping_mul(97) % u32::from(count);
    for _ in 0..count {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + ((begin + next) % u32::from(count)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other(format!("no port of {PORTS:?} is free")))
}

/// The processes of a group that have not ended, where the system shows them in `/proc`.
fn members(group: Pid) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(move |id| {
        // Behind the name, which may hold anything: state, parent, group.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let mut fields = behind.split_whitespace();
        let ended = matches!(fields.next(), None | Some("Z" | "X"));
        !ended && fields.nth(1).and_then(|id| id.parse().ok()) == Some(group.as_raw_nonzero().get())
    })
}

/// The memory of a process that is in use, in bytes.
fn resident(id: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Splits a command into words as a shell would, without anything else that a shell does.
fn split(command: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => {
                let next = characters.next().ok_or("the command ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    match quote {
        None => Ok(words),
        Some(quote) => Err(format!("the command has a {quote} without an end")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_split_as_a_shell_splits_it() {
        let cases: [(&str, &[&str]); 5] = [
            ("a  b\tc", &["a", "b", "c"]),
            ("a 'b c' \"d \\\" e\"", &["a", "b c", "d \" e"]),
            ("a\\ b '' c", &["a b", "", "c"]),
            ("x='1 2'", &["x=1 2"]),
            ("", &[]),
        ];
        for (command, words) in cases {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
        assert!(split("a 'b").unwrap_err().contains("without an end"));
        assert!(split("a\\").unwrap_err().contains("backslash"));
    }

    #[test]
    fn command_without_a_place_for_the_port_is_an_error() {
        assert!(Exec::parse("server").unwrap_err().contains("{port}"));
        assert!(Exec::parse(" ").unwrap_err().contains("empty"));
        assert!(Exec::parse("server --bind={address}").is_ok());
    }

    #[test]
    fn ports_are_free_and_different() {
        let ports: Vec<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len(), "{ports:?}");
    }

    #[test]
    fn server_that_ends_at_once_is_shown_with_its_last_lines() {
        let exec = Exec::parse("sh -c 'echo cannot bind {port} >&2; exit 3'").unwrap();
        let error = exec.start_server().unwrap_err().to_string();
        assert!(error.contains("ended at once") && error.contains("\n  | cannot bind "), "{error}");
    }

    #[test]
    fn command_that_is_not_there_is_an_error() {
        let error = Exec::parse("/no/such/server {port}").unwrap().start_server().unwrap_err();
        assert!(error.to_string().contains("cannot start `/no/such/server`"), "{error}");
    }

    #[test]
    fn whole_group_ends_with_its_server() {
        let mut command = Command::new("sh");
        // Neither the shell nor the child that it starts listens to SIGTERM.
        command.args(["-c", "trap '' TERM; sleep 600 & echo started; wait; sleep 600"]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let server = Server::spawn(command, address).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !server.output().to_string().contains("started") {
            assert!(Instant::now() < until, "the shell has not started its child");
            thread::sleep(POLL);
        }
        let group = server.group;
        assert!(members(group).count() >= 2, "the shell and its child");
        assert!(server.memory().is_some_and(|bytes| bytes > 0));
        assert!(server.descriptors().is_some_and(|count| count >= 2));
        drop(server);
        let until = Instant::now() + Duration::from_secs(20);
        while members(group).next().is_some() {
            assert!(Instant::now() < until, "its child is still there");
            thread::sleep(POLL);
        }
    }
}
