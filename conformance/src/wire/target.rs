//! `Target`: the server under test, what it offers, and how to start another of its kind.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::wire::{Client, Received, Session, Stop};

/// The server under test.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What goes into `Host`: host and port, as in the URL.
    pub authority: String,
    /// How long to wait.
    pub patience: Patience,
    /// The probe application, where the server runs it.
    pub probe: Option<Probe>,
    /// Whether it speaks HTTP/2 with prior knowledge.
    pub http2: bool,
    /// What its operator has declared.
    pub declared: Declared,
    /// Starts servers of the same kind.
    pub launcher: Option<Box<dyn Launcher>>,
    /// The server itself, where the suite has started it.
    pub instance: Option<Mutex<Box<dyn Instance>>>,
}

impl Target {
    /// A server that listens already: looks for the probe application and for HTTP/2.
    ///
    /// # Errors
    ///
    /// When it takes no connection, or does not answer in HTTP.
    pub fn discover(
        address: SocketAddr,
        authority: &str,
        patience: Patience,
    ) -> io::Result<Target> {
        let mut target = Target {
            address,
            authority: authority.to_owned(),
            patience,
            probe: None,
            http2: false,
            declared: Declared::default(),
            launcher: None,
            instance: None,
        };
        let stopped = |stop: Stop| match stop {
            Stop::Error(text) => io::Error::other(text),
            Stop::Blocked(reason) | Stop::Skip(reason) => io::Error::other(reason.text),
        };
        let mut session = Session::new(&target);
        let root = session.request("GET", "/", "Connection: close\r\n");
        match session.ask(root).map_err(stopped)? {
            Received::Response(_) => {}
            other => return Err(io::Error::other(format!("GET / gave {other}"))),
        }
        let probe = session.get("/probe").ok().and_then(|response| Probe::parse(&response.text()));
        let http2 = speaks_http2(&mut session.connect().map_err(stopped)?);
        (target.probe, target.http2) = (probe, http2);
        Ok(target)
    }
}

impl Probe {
    /// What `/probe` says.
    fn parse(text: &str) -> Option<Probe> {
        let mut lines = text.lines();
        if lines.next()? != "gateway-conformance probe 1" {
            return None;
        }
        let features = lines.next()?.strip_prefix("features: ")?;
        Some(Probe { features: features.split(' ').map(str::to_owned).collect() })
    }
}

/// Whether the preface of HTTP/2 is answered with a SETTINGS frame.
fn speaks_http2(client: &mut Client) -> bool {
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let head = client.bytes(9, client.patience().signal);
    matches!(head[..], [0, _, _, 4, 0, 0, 0, 0, 0])
}

/// What the probe application of a server can do: the features that it names at `/probe`.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Its features; see `conformance/probe.md`.
    pub features: BTreeSet<String>,
}

/// How long to wait, each kind apart. One factor scales them all.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For what has to come: over as soon as it comes, so long is cheap.
    pub signal: Duration,
    /// To prove that nothing comes.
    pub silence: Duration,
    /// Between two looks at something that shows no signal.
    pub poll: Duration,
    /// For a server's own deadlines, where nobody has said how long they are.
    pub deadline: Duration,
}

impl Patience {
    /// The usual waits, times `factor`.
    #[must_use]
    pub fn scaled(factor: f64) -> Patience {
        Patience {
            signal: Duration::from_secs(5).mul_f64(factor),
            silence: Duration::from_millis(200).mul_f64(factor),
            poll: Duration::from_millis(10),
            // Some look at their deadlines of a minute only twice a minute.
            deadline: Duration::from_secs(95).mul_f64(factor),
        }
    }
}

/// What a server's operator has declared about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared {
    /// How many connections it keeps open at most.
    pub connection_limit: Option<usize>,
    /// How many bytes a request's body may have.
    pub body_limit: Option<usize>,
    /// How many requests it serves on one connection.
    pub requests_per_connection: Option<usize>,
}

/// Starts servers of one kind.
pub trait Launcher: Send + Sync {
    /// Starts one, and returns once it listens.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    fn start(&self) -> io::Result<Box<dyn Instance>>;
}

/// A server that the suite has started. Dropping it ends it, whatever it is doing.
pub trait Instance: Send {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Asks it to shut down, as SIGTERM does.
    fn terminate(&mut self);
    /// Whether it has ended.
    fn has_ended(&mut self) -> bool;
    /// The memory that it holds, in bytes, where that can be said.
    fn memory(&self) -> Option<u64>;
    /// How many descriptors it holds, where that can be said.
    fn descriptors(&self) -> Option<usize>;
}
