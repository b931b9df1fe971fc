//! `Twin`: a server that breaks one rule, and what is to be said about it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gateway_conformance::scout;
use gateway_conformance::verdict::{Case, CaseResult};
use gateway_conformance::wire::{Declared, Instance, Launcher, Options, Patience, Target, run};
use gateway_conformance::{Outcome, Verdict, probe};
use gateway_core::App;
use gateway_http::{Deadlines, Limits, Server};
use gateway_tests::Serving;
use gateway_tokio::Tokio;

/// How long a twin is waited for. A good server answers within a fraction of it.
pub(crate) const PATIENCE: Patience = Patience {
    signal: Duration::from_secs(4),
    silence: Duration::from_millis(100),
    poll: Duration::from_millis(5),
    deadline: Duration::from_secs(3),
    run: Duration::from_secs(120),
};

/// How long a twin may take to start.
const START: Duration = Duration::from_secs(20);

/// How long a good server goes on with its requests when it drains.
const DRAIN: Duration = Duration::from_secs(1);

/// A server that breaks a rule.
pub(crate) struct Twin {
    /// The rule that it breaks.
    pub(crate) rule: &'static str,
    /// What a failed case has to say, in part: in its name, or in what came.
    says: &'static str,
    /// How many connections it is said to take.
    connections: Option<usize>,
    /// The cases that are about what is broken here.
    cases: fn(&Case) -> bool,
    start: Start,
}

/// Starts a server.
type Start = Arc<dyn Fn() -> Box<dyn Instance> + Send + Sync>;

impl Twin {
    /// A server of this kind.
    pub(crate) fn new(
        rule: &'static str,
        says: &'static str,
        start: impl Fn() -> Box<dyn Instance> + Send + Sync + 'static,
    ) -> Twin {
        Twin { rule, says, connections: None, cases: |_| true, start: Arc::new(start) }
    }

    /// The same, said to take no more than so many connections.
    pub(crate) fn limited_to(self, connections: usize) -> Twin {
        Twin { connections: Some(connections), ..self }
    }

    /// The same, with a say on these cases only.
    pub(crate) fn failing(self, cases: fn(&Case) -> bool) -> Twin {
        Twin { cases, ..self }
    }

    /// Whether this case is about what is broken here.
    pub(crate) fn is_about(&self, case: &Case) -> bool {
        (self.cases)(case)
    }

    /// A good server with a broken application in place of the probe.
    pub(crate) fn app<A: App>(rule: &'static str, says: &'static str, app: fn() -> A) -> Twin {
        Twin::new(rule, says, move || Box::new(Good::start(app())))
    }

    /// A good server that is not sent what the client sends, but what `front` makes of it, segment
    /// by segment.
    pub(crate) fn front(rule: &'static str, says: &'static str, front: fn(&mut Vec<u8>)) -> Twin {
        Twin::tampered(rule, says, front, |_| {})
    }

    /// A good server whose client is not sent what the server sends, but what `back` makes of it,
    /// segment by segment.
    pub(crate) fn back(rule: &'static str, says: &'static str, back: fn(&mut Vec<u8>)) -> Twin {
        Twin::tampered(rule, says, |_| {}, back)
    }

    /// Both.
    pub(crate) fn tampered(
        rule: &'static str,
        says: &'static str,
        front: fn(&mut Vec<u8>),
        back: fn(&mut Vec<u8>),
    ) -> Twin {
        Twin::new(rule, says, move || {
            let serve = move |client, server| tamper(client, server, front, back);
            Box::new(Proxied::start(good(), serve))
        })
    }

    /// As [`Twin::back`], on those connections alone whose first request begins so.
    pub(crate) fn back_of(
        begins: &'static str,
        (rule, says): (&'static str, &'static str),
        back: fn(&mut Vec<u8>),
    ) -> Twin {
        Twin::new(rule, says, move || {
            Box::new(Proxied::start(good(), move |client, server| {
                let mut first = vec![0; begins.len()];
                let peeked = client.peek(&mut first).unwrap_or_default();
                let meant = first[..peeked] == *begins.as_bytes();
                let back = |bytes: &mut Vec<u8>| {
                    if meant {
                        back(bytes)
                    }
                };
                tamper(client, server, |_| {}, back);
            }))
        })
    }

    /// A function that serves each connection: it is given the client's stream, and the address of
    /// a good server.
    pub(crate) fn server(
        rule: &'static str,
        says: &'static str,
        serve: fn(TcpStream, SocketAddr),
    ) -> Twin {
        Twin::new(rule, says, move || Box::new(Proxied::start(good(), serve)))
    }

    /// No twin, but the good server itself: it shows the cases of this rule's check.
    pub(crate) fn none(rule: &'static str) -> Twin {
        Twin::new(rule, "", good)
    }

    /// What comes of its rule's check on it.
    pub(crate) fn outcome(&self) -> Outcome {
        let start = self.start.clone();
        let mut target = target((self.start)());
        target.launcher = Some(Box::new(Starts(start)));
        target.declared.connection_limit = self.connections;
        let options = Options { only: vec![self.rule.to_owned()], jobs: 1, confirm: false };
        run(&target, &options, &|_| {}).pop().expect("a check of the twin's rule")
    }

    /// Whether its rule's check has failed on it, and said so.
    pub(crate) fn is_caught(&self, outcome: &Outcome) -> Result<(), String> {
        if self.says.is_empty() {
            return Ok(());
        }
        if !matches!(outcome.verdict, Verdict::Fail | Verdict::Warn | Verdict::Blocked) {
            return Err(format!("does not notice {:?}: {outcome:#?}", self.says));
        }
        let said = |case: &Case| {
            let seen = format!("{}: {}", case.name, case.got);
            self.says.split('|').any(|says| seen.contains(says))
        };
        if outcome.cases.iter().any(|case| case.result != CaseResult::Pass && said(case)) {
            return Ok(());
        }
        Err(format!("does not say {:?}: {outcome:#?}", self.says))
    }
}

/// The server under test, with what it offers.
pub(crate) fn target(server: Box<dyn Instance>) -> Target {
    let address = server.address();
    // To come up may take longer beside many others than any answer.
    let start = Patience { signal: START, ..PATIENCE };
    let mut target = scout::look(address, address.to_string(), start, Declared::default())
        .unwrap_or_else(|error| panic!("the twin does not answer at all: {error}"));
    target.patience = PATIENCE;
    target.launcher = Some(Box::new(Starts(Arc::new(|| good()))));
    // As much as `/echo` of the probe application takes.
    target.declared.body_limit = Some(16 * 1024 * 1024);
    target.instance = Some(server.into());
    target
}

struct Starts(Start);

impl Launcher for Starts {
    fn start(&self) -> io::Result<Box<dyn Instance>> {
        Ok((self.0)())
    }
}

/// A good server with the probe application.
pub(crate) fn good() -> Box<dyn Instance> {
    Box::new(Good::start(probe::app()))
}

/// A server of ours, in this process.
pub(crate) struct Good(pub(crate) Serving);

impl Good {
    pub(crate) fn start(app: impl App) -> Good {
        let deadlines = Deadlines { drain: DRAIN, ..Deadlines::default() };
        // The limit of a body is the application's here, and some twins have none.
        let limits = Limits { body_bytes: u64::MAX, ..Limits::default() };
        let server = Server::new(app).deadlines(deadlines).limits(limits);
        Good(Serving::start(Tokio::new(2).expect("the host starts"), server))
    }
}

impl Instance for Good {
    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn terminate(&mut self) {
        self.0.drain();
    }

    fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }
}

/// A good server, and something that stands in front of it.
pub(crate) struct Proxied {
    good: Box<dyn Instance>,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Proxied {
    /// `serve` is given each client's stream, and the good server's address.
    pub(crate) fn start(
        good: Box<dyn Instance>,
        serve: impl Fn(TcpStream, SocketAddr) + Clone + Send + 'static,
    ) -> Proxied {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, server) = (listener.local_addr().expect("an address"), good.address());
        let stopped = Arc::new(AtomicBool::new(false));
        let told = stopped.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), serve) = (client, serve.clone()) else { continue };
                if told.load(Ordering::Acquire) {
                    return;
                }
                thread::spawn(move || serve(client, server));
            }
        });
        Proxied { good, address, stopped }
    }

    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            // Wakes it up, to see that it is over.
            let _ = TcpStream::connect(self.address);
        }
    }
}

impl Instance for Proxied {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn terminate(&mut self) {
        self.stop();
        self.good.terminate();
    }

    fn has_ended(&mut self) -> bool {
        self.good.has_ended()
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Passes bytes on both ways, and what `front` and `back` make of them.
pub(crate) fn tamper(
    client: TcpStream,
    server: SocketAddr,
    front: impl FnMut(&mut Vec<u8>) + Send,
    back: impl FnMut(&mut Vec<u8>) + Send,
) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| {
            // A reset goes on as one: it is sent when the last descriptor is closed.
            if pass(&client, &server, front) {
                let _ = rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO));
                let _ = server.shutdown(Shutdown::Read);
            }
        });
        pass(&server, &client, back);
        // The server's side is over: what the client still sends has nobody to go to.
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// Passes bytes on one way, until there are no more. Whether that was a reset.
pub(crate) fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    mut change: impl FnMut(&mut Vec<u8>),
) -> bool {
    let mut buf = vec![0; 64 * 1024];
    let reset = loop {
        let mut bytes = match from.read(&mut buf) {
            Ok(read @ 1..) => buf[..read].to_vec(),
            Ok(0) => break false,
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        };
        change(&mut bytes);
        if to.write_all(&bytes).is_err() {
            break false;
        }
    };
    if !reset {
        let _ = to.shutdown(Shutdown::Write);
    }
    reset
}

/// Replaces each occurrence of `old`.
pub(crate) fn replace(bytes: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(old.len()).position(|window| window == old) {
        bytes.splice(at + found..at + found + old.len(), new.iter().copied());
        at += found + new.len();
    }
}
