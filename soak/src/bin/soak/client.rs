//! `Client`: one session of a client, and how it judges what it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use gateway_soak::{Content, ID};

use crate::kinds::KINDS;
use crate::settings::Settings;
use crate::tally::{Failure, Outcome, Tally};
use crate::wire::{Answer, Broken, Connection, How};

/// What is going on. It decides what a server is entitled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// All kinds at once. Nothing well-behaved may be refused.
    Mixed,
    /// More connections than the limit allows. Those beyond it may be refused or closed.
    Flood,
    /// No descriptors are left. Connections wait.
    Descriptors,
    /// The server was told to end. What it has not begun may be refused or closed.
    Drain,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Mixed, Phase::Flood, Phase::Descriptors, Phase::Drain];

    /// As one would say it.
    pub(crate) fn name(self) -> &'static str {
        ["mixed", "flood", "descriptors", "drain"][self as usize]
    }
}

/// The statuses that say no, in a way that a client can tell from an answer.
const REFUSALS: [u16; 5] = [408, 413, 429, 431, 503];

/// One host's server, as its clients know it.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) settings: Settings,
    pub(crate) tally: Tally,
    stop: Arc<AtomicBool>,
    phase: AtomicU8,
    /// Whether the server, which drains, has closed its listener.
    closed: AtomicBool,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, settings: Settings, stop: Arc<AtomicBool>) -> Target {
        let (phase, closed) = (AtomicU8::new(0), AtomicBool::new(false));
        Target { address, settings, tally: Tally::new(), stop, phase, closed }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether everything is to end now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the server may turn well-behaved clients away.
    fn may_refuse(&self) -> bool {
        match self.phase() {
            Phase::Mixed | Phase::Descriptors => false,
            Phase::Flood => self.settings.knows("--connection-limit"),
            Phase::Drain => true,
        }
    }
}

/// A request that has been begun, and what answers it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) target: String,
    pub(crate) answer: Bytes,
}

impl Ask {
    /// The request without a body.
    pub(crate) fn get(&self) -> String {
        format!("GET {} HTTP/1.1\r\nhost: soak\r\n\r\n", self.target)
    }

    /// Whether these are the right answer.
    pub(crate) fn check(&self, id: Option<&str>, body: &[u8]) -> Result<(), String> {
        if id.and_then(|id| id.parse().ok()) != Some(self.id) {
            return Err(format!("request {} has an answer to {id:?}", self.id));
        }
        if *body != *self.answer {
            let same = body.iter().zip(&self.answer).take_while(|(came, due)| came == due).count();
            let (came, due) = (body.len(), self.answer.len());
            return Err(format!("{came} bytes came, {due} are right, {same} are the same"));
        }
        Ok(())
    }
}

/// One session of one client.
pub(crate) struct Client {
    pub(crate) to: Arc<Target>,
    pub(crate) kind: usize,
    pub(crate) rng: Rng,
    /// When no new session begins any more.
    pub(crate) until: Instant,
}

impl Client {
    /// Whether it is time to leave.
    pub(crate) fn is_over(&self) -> bool {
        let closed = self.to.closed.load(Ordering::Relaxed);
        closed || Instant::now() >= self.until || self.to.is_stopped()
    }

    /// Opens a connection. One that can't be made is booked as a request that got no answer, unless
    /// the server drains: then there is nobody to ask any more.
    pub(crate) async fn connect(&self) -> Option<Connection> {
        match Connection::open(self.to.address).await {
            Ok(connection) => {
                self.to.tally.of(self.kind).connections.fetch_add(1, Ordering::Relaxed);
                Some(connection)
            }
            Err(_) if self.to.phase() == Phase::Drain => {
                self.to.closed.store(true, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.begin();
                self.settle_without(format!("no connection: {error}"));
                None
            }
        }
    }

    /// Begins a request that nothing answers.
    pub(crate) fn begin(&self) {
        self.to.tally.of(self.kind).requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins a request of this route.
    pub(crate) fn ask(&mut self, route: &str, bytes: usize) -> Ask {
        let id = self.rng.u64(..);
        let answer = Content::new(id, bytes).whole();
        self.begin();
        Ask { id, target: format!("/{route}id={id}&bytes={bytes}"), answer }
    }

    /// Begins a request of any route that answers, mostly a small one.
    pub(crate) fn ask_any(&mut self) -> Ask {
        let bytes = match self.rng.u8(..20) {
            0 => self.rng.usize(..200_000),
            1..4 => self.rng.usize(..20_000),
            _ => self.rng.usize(..500),
        };
        match self.rng.u8(..20) {
            0..3 => {
                let route = format!("slow?ms={}&", self.rng.u64(..40));
                self.ask(&route, bytes)
            }
            3..6 => self.ask("stream?", bytes),
            6..8 => self.ask("job?", bytes),
            8 => self.ask("spawn?", bytes),
            _ => self.ask("quick?", bytes),
        }
    }

    /// Books an outcome.
    pub(crate) fn book(&self, connection: &Connection, outcome: Outcome) {
        self.to.tally.book(self.kind, outcome, |what| {
            self.failure(what, connection.sent.show(), connection.came.show())
        });
    }

    /// Books a request that got no byte of an answer.
    pub(crate) fn settle_without(&self, what: String) {
        let closed = self.to.may_refuse();
        let outcome = if closed { Outcome::Closed } else { Outcome::Wrong(what) };
        let nothing = || "nothing that could be shown".to_owned();
        self.to.tally.book(self.kind, outcome, |what| self.failure(what, nothing(), nothing()));
    }

    /// Books an outcome of a protocol whose bytes are not kept.
    pub(crate) fn book_silently(&self, outcome: Outcome) {
        let encoded = || "frames of HTTP/2, which are not kept".to_owned();
        self.to.tally.book(self.kind, outcome, |what| self.failure(what, encoded(), encoded()));
    }

    /// Books a request that has gone wrong, with its evidence.
    pub(crate) fn wrong(&self, what: String, sent: String, came: String) {
        let failure = |what| self.failure(what, sent, came);
        self.to.tally.book(self.kind, Outcome::Wrong(what), failure);
    }

    fn failure(&self, what: String, sent: String, came: String) -> Failure {
        let kind = KINDS[self.kind].name;
        Failure { kind, during: self.to.phase().name(), what, sent, came }
    }

    /// Judges what a well-behaved client gets, and books it. Whether the connection may go on.
    pub(crate) fn settle(
        &self,
        connection: &Connection,
        ask: &Ask,
        came: Result<Answer, Broken>,
    ) -> bool {
        let mut goes_on = false;
        let outcome = match came {
            Ok(answer) if REFUSALS.contains(&answer.status) && self.to.may_refuse() => {
                Outcome::Refused
            }
            Ok(answer) if answer.status != 200 => {
                Outcome::Wrong(format!("the status is {}", answer.status))
            }
            Ok(answer) => match ask.check(answer.field(ID), &answer.body) {
                Ok(()) => {
                    goes_on = !answer.is_last();
                    Outcome::Answered
                }
                Err(what) => Outcome::Wrong(what),
            },
            Err(Broken { begun: false, how: How::Ended(_) }) if self.to.may_refuse() => {
                Outcome::Closed
            }
            Err(broken) => Outcome::Wrong(format!("no whole answer: {broken}")),
        };
        self.book(connection, outcome);
        goes_on
    }

    /// Books a request whose answer is missing, or cut off, which only a server that drains may do.
    pub(crate) fn settle_cut(&self, connection: &Connection, what: &str) {
        let closed = self.to.may_refuse();
        let outcome = if closed { Outcome::Closed } else { Outcome::Wrong(what.to_owned()) };
        self.book(connection, outcome);
    }

    /// Ends a connection with nothing outstanding: nothing may come any more. Half of the time that
    /// is waited for.
    pub(crate) async fn finish(&mut self, mut connection: Connection) {
        let mut surplus = connection.has_surplus();
        if !surplus && self.rng.bool() {
            connection.close_write();
            surplus = connection.skip(1).await.unwrap_or(false);
        }
        if surplus {
            self.begin();
            self.book(&connection, Outcome::Wrong("bytes that nobody has asked for".into()));
        }
    }
}
