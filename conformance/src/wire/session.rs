//! `Session`: one rule at work on one server. It connects, tries cases, and keeps the evidence.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::rule::Need;
use crate::verdict::{Case, CaseResult, Event, Kind, Reason};
use crate::wire::client::Trace;
use crate::wire::{Client, Ended, Patience, Received, Response, Target};

/// Statuses by which a server says that it takes a request for malformed, too large, or for
/// something that it does not do. Where a rule asks for another of them, any of these with a close
/// is a refusal all the same, and a warning.
pub(super) const REFUSALS: [u16; 10] = [400, 408, 411, 413, 414, 417, 426, 431, 501, 505];

/// One rule at work on one server.
pub struct Session<'a> {
    /// The server.
    pub target: &'a Target,
    pub(crate) cases: Vec<Case>,
    trace: Trace,
    evidence: Vec<Event>,
    connections: usize,
    /// How many cases have waited in vain, here and on the server as a whole.
    pub(crate) vain: u32,
    vain_in_all: Arc<AtomicU32>,
    since: Instant,
    budget: Budget,
}

/// Why something was skipped that the run had no time for.
pub(crate) const NO_TIME: &str = "no-time";

/// When a run gives up waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// For the server's own deadlines.
    pub(crate) deadlines: Instant,
    /// For everything.
    pub(crate) all: Instant,
}

impl Budget {
    /// Of a run that begins now.
    pub(crate) fn of(patience: Patience) -> Budget {
        let now = Instant::now();
        Budget { deadlines: now + patience.deadline, all: now + patience.run }
    }

    /// The same for what runs for as long as it takes: its deadlines are over with the run.
    pub(crate) fn whole(self) -> Budget {
        Budget { deadlines: self.all, ..self }
    }

    /// Goes on only while there is time.
    ///
    /// # Errors
    ///
    /// Skipped, when the run has taken as long as it may.
    pub(crate) fn left(self) -> Result<(), Stop> {
        if Instant::now() < self.all {
            return Ok(());
        }
        Err(Stop::skip(NO_TIME, "the run had taken as long as it may: check it alone"))
    }
}

/// How many waits in vain halve the next ones.
const VAIN: u32 = 6;

/// Why a check ended before its cases did.
#[derive(Clone, Debug)]
pub enum Stop {
    /// Something that it depends on did not hold.
    Blocked(Reason),
    /// It does not apply here.
    Skip(Reason),
    /// The suite can't go on.
    Error(String),
}

impl Stop {
    /// Blocked, for a reason.
    pub fn blocked(slug: &str, text: impl Into<String>) -> Stop {
        Stop::Blocked(Reason { slug: slug.to_owned(), text: text.into() })
    }

    /// Skipped, for a reason.
    pub fn skip(slug: &str, text: impl Into<String>) -> Stop {
        Stop::Skip(Reason { slug: slug.to_owned(), text: text.into() })
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(target: &'a Target) -> Session<'a> {
        Session::beside(target, &Arc::default(), Budget::of(target.patience))
    }

    /// As [`Session::new`], where others count their waits in vain, too, and have the same budget.
    pub(crate) fn beside(
        target: &'a Target,
        vain_in_all: &Arc<AtomicU32>,
        budget: Budget,
    ) -> Session<'a> {
        Session {
            target,
            cases: Vec::new(),
            trace: Trace::new(),
            evidence: Vec::new(),
            connections: 0,
            vain: 0,
            vain_in_all: vain_in_all.clone(),
            since: Instant::now(),
            budget,
        }
    }

    /// How long to wait. A server that keeps on saying nothing is waited for half as long, and
    /// then a quarter, so that it can't draw out a run for ever; and deadlines are waited for up to
    /// one moment, which all checks of a run share.
    #[must_use]
    pub fn patience(&self) -> Patience {
        let usual = self.target.patience;
        let halvings = (self.vain_in_all.load(Ordering::Relaxed) / VAIN).min(2);
        let left = self.budget.deadlines.saturating_duration_since(Instant::now());
        let deadline = left.clamp(usual.signal.min(usual.deadline), usual.deadline);
        Patience { signal: usual.signal / (1 << halvings), deadline, ..usual }
    }

    /// Goes on only while there is time: what has waited in vain till the end of a run says nothing.
    ///
    /// # Errors
    ///
    /// Skipped, when the run has taken as long as it may.
    pub(crate) fn has_time(&self) -> Result<(), Stop> {
        self.budget.left()
    }

    /// Goes on only where the server offers this.
    ///
    /// # Errors
    ///
    /// Blocked without the probe application, skipped without one of its features, or anything else.
    pub fn need(&self, need: Need) -> Result<(), Stop> {
        match need {
            Need::Probe(feature) => match &self.target.probe {
                None => Err(Stop::blocked("needs-probe", "needs the probe application")),
                Some(probe) if probe.features.contains(feature) => Ok(()),
                Some(_) => Err(Stop::skip(
                    "lacks-feature",
                    format!("the probe application here lacks `{feature}`"),
                )),
            },
            Need::Control if self.target.launcher.is_some() => Ok(()),
            Need::Control => {
                let text = "needs to start and stop the server: --exec \"command {port}\"";
                Err(Stop::skip("needs-control", text))
            }
            Need::Http2 if self.target.http2 => Ok(()),
            Need::Http2 => {
                Err(Stop::skip("no-http2", "the server speaks no HTTP/2 with prior knowledge"))
            }
            Need::Declared(bound) => {
                use crate::rule::Bound::{BodyBytes, Connections, Requests};
                let declared = &self.target.declared;
                let (value, option) = match bound {
                    Connections => (declared.connection_limit, "--connection-limit N"),
                    BodyBytes => (declared.body_limit, "--body-limit BYTES"),
                    Requests => (declared.requests_per_connection, "--requests-per-connection N"),
                };
                let text = || format!("nobody has declared the server's bound: {option}");
                value.map(drop).ok_or_else(|| Stop::skip("undeclared", text()))
            }
        }
    }

    /// Whether the probe application is there, with this feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.target.probe.as_ref().is_some_and(|probe| probe.features.contains(feature))
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When the server takes no connection, or the run has taken as long as it may.
    pub fn connect(&mut self) -> Result<Client, Stop> {
        self.open(self.target.address, self.patience())
    }

    /// Connects to another server of the kind; see [`Launcher`](crate::wire::Launcher). It has kept
    /// nobody waiting yet, and is waited for with whole patience.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub fn connect_to(&mut self, address: SocketAddr) -> Result<Client, Stop> {
        let signal = self.target.patience.signal;
        self.open(address, Patience { signal, ..self.patience() })
    }

    fn open(&mut self, address: SocketAddr, patience: Patience) -> Result<Client, Stop> {
        self.has_time()?;
        self.connections += 1;
        Client::connect(address, self.connections, &self.trace, patience)
            .map_err(|error| Stop::Error(format!("cannot connect to {address}: {error}")))
    }

    /// Connects from another address of this machine; none, where it has no such address.
    pub(crate) fn connect_from(&mut self, source: std::net::Ipv4Addr) -> Option<Client> {
        let SocketAddr::V4(address) = self.target.address else { return None };
        self.connections += 1;
        Client::connect_from(source, address, self.connections, &self.trace, self.patience()).ok()
    }

    /// A plain request of HTTP/1.1 with a `Host`, and with these header lines (each ending with
    /// CRLF).
    #[must_use]
    pub fn request(&self, method: &str, target: &str, lines: &str) -> Vec<u8> {
        let authority = &self.target.authority;
        format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n").into_bytes()
    }

    /// Sends one request on a connection of its own, and reads the response. No case yet.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Result<Received, Stop> {
        let method = method_of(request.as_ref());
        let mut client = self.connect()?;
        client.send(request);
        Ok(client.response(&method))
    }

    /// A GET on a connection of its own, as a helper for what a check has to know or to set off.
    ///
    /// # Errors
    ///
    /// Stops the check when there is no complete 200.
    pub fn get(&mut self, target: &str) -> Result<Response, Stop> {
        let request = self.request("GET", target, "Connection: close\r\n");
        match self.ask(request)? {
            Received::Response(response) if response.status == 200 && response.complete => {
                Ok(*response)
            }
            other => Err(Stop::blocked("helper-failed", format!("GET {target} gave {other}"))),
        }
    }

    /// The twin of refusals: a request that has to be accepted. Any answer but a refusal or a
    /// failure counts, since without the probe application nobody knows what is there.
    ///
    /// # Errors
    ///
    /// Blocked, when it is refused: what a server does that refuses everything says nothing.
    pub fn accept(&mut self, name: &str, request: impl AsRef<[u8]>) -> Result<Response, Stop> {
        let received = self.ask(request)?;
        let held = matches!(&received, Received::Response(response)
            if !REFUSALS.contains(&response.status) && response.status < 500 && response.complete);
        self.case(name, Kind::Accept, CaseResult::of(held), "any answer but a refusal", &received);
        match received {
            Received::Response(response) if held => Ok(*response),
            other => {
                let text = format!("its accepted twin, {name}, gave {other}");
                Err(Stop::blocked("twin-refused", text))
            }
        }
    }

    /// As [`Session::accept`], where refusing is itself a miss and not a reason to stop.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub fn must_accept(
        &mut self,
        name: &str,
        request: impl AsRef<[u8]>,
    ) -> Result<Option<Response>, Stop> {
        match self.accept(name, request) {
            Ok(response) => Ok(Some(response)),
            Err(Stop::Blocked(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// A request that has to be refused with one of these statuses, and then the connection closed.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub fn refuse(
        &mut self,
        name: &str,
        request: impl AsRef<[u8]>,
        statuses: &[u16],
    ) -> Result<(), Stop> {
        self.refused(name, request, statuses, CaseResult::Fail)
    }

    /// As [`Session::refuse`], where a SHOULD asks for it.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub fn should_refuse(
        &mut self,
        name: &str,
        request: impl AsRef<[u8]>,
        statuses: &[u16],
    ) -> Result<(), Stop> {
        self.refused(name, request, statuses, CaseResult::Warn)
    }

    fn refused(
        &mut self,
        name: &str,
        request: impl AsRef<[u8]>,
        statuses: &[u16],
        miss: CaseResult,
    ) -> Result<(), Stop> {
        let mut client = self.connect()?;
        client.send(request);
        self.refusal(name, &mut client, statuses, miss);
        Ok(())
    }

    /// Judges what comes on a connection after something that has to be refused: one of these
    /// statuses, and a close.
    pub fn refusal(&mut self, name: &str, client: &mut Client, statuses: &[u16], miss: CaseResult) {
        let words: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let expected = format!("{}, then a close", words.join(" or "));
        let received = client.response("GET");
        let (result, got) = match &received {
            Received::Response(response) if statuses.contains(&response.status) => {
                match client.ended() {
                    Ended::Open => {
                        (miss, format!("{received}, and the connection {}", Ended::Open))
                    }
                    _ => (CaseResult::Pass, received.to_string()),
                }
            }
            Received::Response(response) if REFUSALS.contains(&response.status) => {
                match client.ended() {
                    Ended::Open => {
                        (miss, format!("{received}, and the connection {}", Ended::Open))
                    }
                    _ => (CaseResult::Warn, format!("{received}, then a close")),
                }
            }
            Received::Closed | Received::Reset => (CaseResult::Warn, received.to_string()),
            _ => (miss, received.to_string()),
        };
        self.case(name, Kind::Refuse, result, &expected, &got);
    }

    /// Any other case: what was expected, what came, and whether that is as it must be.
    pub fn check(&mut self, name: &str, expected: &str, got: impl fmt::Display, held: bool) {
        self.case(name, Kind::Behave, CaseResult::of(held), expected, &got);
    }

    /// As [`Session::check`], where a SHOULD asks for it.
    pub fn should(&mut self, name: &str, expected: &str, got: impl fmt::Display, held: bool) {
        let result = if held { CaseResult::Pass } else { CaseResult::Warn };
        self.case(name, Kind::Behave, result, expected, &got);
    }

    /// Adds a case. What happened on the connections since the last one is its evidence; where that is
    /// nothing, it is about the same as the last one.
    pub fn case(
        &mut self,
        name: &str,
        kind: Kind,
        result: CaseResult,
        expected: &str,
        got: &dyn fmt::Display,
    ) {
        if result != CaseResult::Pass && self.since.elapsed() >= self.patience().signal {
            self.vain += 1;
            self.vain_in_all.fetch_add(1, Ordering::Relaxed);
        }
        self.since = Instant::now();
        let trace = self.trace.take();
        if !trace.is_empty() {
            self.evidence = trace;
        }
        self.connections = 0;
        self.cases.push(Case {
            name: name.to_owned(),
            kind,
            result,
            expected: expected.to_owned(),
            got: got.to_string(),
            trace: if result == CaseResult::Pass { Vec::new() } else { self.evidence.clone() },
        });
    }
}

impl CaseResult {
    /// Pass or fail.
    #[must_use]
    pub fn of(held: bool) -> CaseResult {
        if held { CaseResult::Pass } else { CaseResult::Fail }
    }
}

/// The method of a request, for how its response is framed.
fn method_of(request: &[u8]) -> String {
    let word = request.split(|byte| *byte == b' ').next().unwrap_or_default();
    String::from_utf8_lossy(word).trim_start().to_owned()
}
