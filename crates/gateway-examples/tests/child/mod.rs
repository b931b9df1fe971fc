//! A program as a child process: its lines, its signals, its memory, its end.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use gateway_tests::{Answer, Client, PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Makes one test per host of each function named, `fn name(host: &str)`.
#[allow(unused_macros, reason = "the demo has all hosts in one process")]
macro_rules! on_each_host {
    ($($test:ident),* $(,)?) => {
        on_each_host!(@ tokio "tokio": $($test)*);
        on_each_host!(@ smol "smol": $($test)*);
        on_each_host!(@ async_std "async-std": $($test)*);
        on_each_host!(@ blocking "blocking": $($test)*);
    };
    (@ $name:ident $host:literal: $($test:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::$test($host);
                }
            )*
        }
    };
}

/// The application with the launcher's command line.
pub(crate) const EXAMPLES: &str = env!("CARGO_BIN_EXE_gateway-examples");

/// The variables that stand in for flags: a test's own environment must not.
const VARIABLES: [&str; 19] = [
    "DATABASE_URL",
    "REDIS_URL",
    "GATEWAY_TRUST",
    "GATEWAY_HOST",
    "GATEWAY_BIND",
    "GATEWAY_THREADS",
    "GATEWAY_DRAIN_SECONDS",
    "GATEWAY_LOG",
    "GATEWAY_LOG_FORMAT",
    "GATEWAY_ACCESS_LOG",
    "GATEWAY_ADMIN",
    "GATEWAY_REUSE_PORT",
    "GATEWAY_TLS_CERT",
    "GATEWAY_TLS_KEY",
    "GATEWAY_PROXY_FROM",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];

/// A command with none of the gateway's variables.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}

/// A child process. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// How a process ended, and the lines that nobody had read until then.
#[derive(Debug)]
pub(crate) struct End {
    /// The exit code, if no signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        Program::with(command, Stdio::null(), Stdio::piped())
    }

    /// Starts it with something else as standard input, or as standard error.
    pub(crate) fn with(command: &mut Command, input: Stdio, errors: Stdio) -> Program {
        let command = command.stdin(input).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("the program starts");
        let out = lines(child.stdout.take().expect("standard output is piped"));
        let err = child.stderr.take().map_or_else(|| mpsc::channel().1, lines);
        Program { child, out, err }
    }

    /// The next line on standard output.
    pub(crate) fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("no line on standard output; standard error: {:?}", self.complaints())
        })
    }

    /// The next line on standard error that contains these words.
    pub(crate) fn complaint(&self, words: &str) -> String {
        loop {
            match self.err.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line on standard error with {words:?}: {error}"),
            }
        }
    }

    /// The lines on standard error until now that nobody has read.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.err.try_iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> End {
        let (out, err) = (rest(&self.out), rest(&self.err));
        let mut status = None;
        eventually("the process has ended", || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        End { code: status.and_then(|status| status.code()), out, err }
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that is resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The processor time used so far, of all threads, in the program and in the kernel.
    pub(crate) fn processor(&self) -> Duration {
        let stat = self.proc("stat");
        // The name, in parentheses, may contain anything.
        let (_, fields) = stat.rsplit_once(") ").expect("fields after the name");
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks: u64 = [fields[11], fields[12]].iter().map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    fn memory(&self, field: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("it is running")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The application on a port of its own.
pub(crate) struct Served {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts it on a host, with more flags.
    pub(crate) fn start(host: &str, flags: &[&str]) -> Served {
        let mut command = command(EXAMPLES);
        Served::from(command.args(["--host", host, "--bind", "127.0.0.1:0"]).args(flags))
    }

    /// Starts it with a whole command.
    pub(crate) fn from(command: &mut Command) -> Served {
        let program = Program::start(command);
        let (address, _) = listening(&program.line()).expect("the start-up line");
        Served { program, address }
    }

    pub(crate) fn connect(&self) -> Client {
        connect(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path)
    }
}

/// The address and the host that a start-up line names.
pub(crate) fn listening(line: &str) -> Option<(SocketAddr, &str)> {
    let line = line.strip_prefix("listening on http://")?.strip_suffix(" (Ctrl-C drains)")?;
    let (address, host) = line.split_once(", on ")?;
    Some((address.parse().ok()?, host))
}

/// A client that waits no longer than the test has patience.
pub(crate) fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    Client::new(stream)
}

/// The answer to one request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(&mut connect(address), path)
}

/// The answer to one more request on a connection.
pub(crate) fn ask(client: &mut Client, path: &str) -> Answer {
    client.send(request(path));
    client.answer()
}

/// The bytes of a request.
pub(crate) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for text in BufReader::new(pipe).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

/// All lines until the process has closed its end.
fn rest(lines: &Receiver<String>) -> Vec<String> {
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => rest.push(line),
            Err(RecvTimeoutError::Disconnected) => return rest,
            Err(RecvTimeoutError::Timeout) => panic!("it has not ended, but said {rest:?}"),
        }
    }
}
