//! `Control`: asks the probe application what it remembers, on a connection beside the case's own.
//!
//! Its own traffic is no evidence, so it stands in no record.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::client::Trace;
use super::{Client, Instance, Patience, Received, Response, Session, Stop};

/// The most that a server, and the system's buffers on both sides, may hold of what nobody reads.
pub(super) const BUFFERED: usize = 32 * 1024 * 1024;

/// An id that nobody has used before.
pub(super) fn fresh_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // A server that is not started here remembers those of earlier runs.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{now:x}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// What the probe application remembers of an id: see `conformance/probe.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) calls: usize,
    pub(super) state: String,
    pub(super) body: String,
    pub(super) read: usize,
    pub(super) produced: usize,
    pub(super) send: String,
    pub(super) task: String,
    pub(super) disconnected: bool,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { calls, state, body, read, produced, send, task, disconnected } = self;
        write!(f, "calls {calls}, handler {state}, body {body} ({read} bytes), ")?;
        write!(f, "sending {send} ({produced} bytes), task {task}, disconnected {disconnected}")
    }
}

/// A connection beside the case's own.
pub(super) struct Control {
    address: SocketAddr,
    authority: String,
    patience: Patience,
    client: Option<Client>,
}

impl Control {
    /// Of the server under test.
    pub(super) fn new(session: &Session<'_>) -> Control {
        Control::at(session, session.target.address)
    }

    /// Of another server of the kind.
    pub(super) fn at(session: &Session<'_>, address: SocketAddr) -> Control {
        let (authority, patience) = (session.target.authority.clone(), session.patience());
        Control { address, authority, patience, client: None }
    }

    /// The answer to a GET, which must be a complete 200.
    pub(super) fn get(&mut self, target: &str) -> Result<Response, Stop> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.authority);
        if let Some(mut kept) = self.client.take() {
            kept.send(&request);
            match kept.response("GET") {
                // It has been idle for too long.
                Received::Closed | Received::Reset => {}
                received => return self.keep(kept, target, received),
            }
        }
        let connected = Client::connect(self.address, 0, &Trace::new(), self.patience);
        let mut client = connected.map_err(|error| {
            let text = format!("GET {target}: cannot connect: {error}");
            Stop::blocked("helper-failed", text)
        })?;
        client.send(&request);
        let received = client.response("GET");
        self.keep(client, target, received)
    }

    fn keep(&mut self, client: Client, target: &str, received: Received) -> Result<Response, Stop> {
        match received {
            Received::Response(response) if response.status == 200 && response.complete => {
                if keeps(&response) {
                    self.client = Some(client);
                }
                Ok(*response)
            }
            other => Err(Stop::blocked("helper-failed", format!("GET {target} gave {other}"))),
        }
    }

    /// What is remembered of this id.
    pub(super) fn state(&mut self, id: &str) -> Result<State, Stop> {
        let text = self.get(&format!("/state?id={id}"))?.text();
        serde_json::from_str(&text)
            .map_err(|error| Stop::blocked("helper-failed", format!("/state: {error}: {text}")))
    }

    /// Looks until `held` holds, or this time is over. Gives the last state seen.
    pub(super) fn until(
        &mut self,
        id: &str,
        within: Duration,
        held: impl Fn(&State) -> bool,
    ) -> Result<State, Stop> {
        let started = Instant::now();
        loop {
            let state = self.state(id)?;
            if held(&state) || started.elapsed() > within {
                return Ok(state);
            }
            thread::sleep(self.patience.poll);
        }
    }

    /// Looks until a number grows no more, or exceeds `most`. Gives the last one.
    pub(super) fn settled(
        &mut self,
        id: &str,
        most: usize,
        number: impl Fn(&State) -> usize,
    ) -> Result<usize, Stop> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = number(&self.state(id)?);
            if now > most || (now == last && since.elapsed() > self.patience.silence * 4) {
                return Ok(now);
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            thread::sleep(self.patience.poll);
        }
    }

    /// Opens the gate of this id.
    pub(super) fn open(&mut self, id: &str) -> Result<(), Stop> {
        self.get(&format!("/open?id={id}")).map(drop)
    }

    /// How many handlers and bodies are alive.
    pub(super) fn live(&mut self) -> Result<usize, Stop> {
        let text = self.get("/live")?.text();
        let number = text.trim().parse();
        number.map_err(|_| Stop::blocked("helper-failed", format!("/live gave {text:?}")))
    }
}

/// What is remembered of an id.
pub(super) fn state(session: &Session<'_>, id: &str) -> Result<State, Stop> {
    Control::new(session).state(id)
}

/// Looks until `held` holds, with the patience for what has to come. Gives the last state seen.
pub(super) fn until(
    session: &Session<'_>,
    id: &str,
    held: impl Fn(&State) -> bool,
) -> Result<State, Stop> {
    Control::new(session).until(id, session.patience().signal, held)
}

/// A server for what may harm others that are tried at the same time: one of its own, where the
/// suite can start it.
pub(super) struct Apart {
    pub(super) address: SocketAddr,
    pub(super) instance: Option<Box<dyn Instance>>,
}

impl Apart {
    pub(super) fn start(session: &Session<'_>) -> Result<Apart, Stop> {
        let Some(launcher) = &session.target.launcher else {
            return Ok(Apart { address: session.target.address, instance: None });
        };
        let failed = |error| Stop::Error(format!("cannot start another server: {error}"));
        let instance = launcher.start().map_err(failed)?;
        Ok(Apart { address: instance.address(), instance: Some(instance) })
    }
}

/// Whether something has come, or the connection has ended. Leaves no mark in the record.
pub(super) fn has_news(client: &Client) -> bool {
    let stream = client.stream();
    let _ = stream.set_nonblocking(true);
    let seen = stream.peek(&mut [0]);
    let _ = stream.set_nonblocking(false);
    !matches!(seen, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Whether the connection stays open behind this response.
pub(super) fn keeps(response: &Response) -> bool {
    response.complete && response.version == "HTTP/1.1" && !response.lists("connection", "close")
}

/// Whether this is a complete 200.
pub(super) fn is_ok(received: &Received) -> bool {
    matches!(received, Received::Response(response) if response.status == 200 && response.complete)
}
