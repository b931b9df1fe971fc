//! `Rule`: one sentence of the specification, as data; and the table of all of them.
//!
//! The data stands in `rules/`, one file per family. Everything that names a rule takes it from
//! here: the specification, `--list`, `--explain`, every report. Ids are never used again, nor
//! renumbered: a rule may be reworded, split or retired, with a reason.

use serde::{Deserialize, Serialize};

use crate::rules;

/// One rule.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// Its name for good: family and number, `REQ-01`.
    pub id: &'static str,
    /// What missing it means.
    pub level: Level,
    /// What must be so, in one sentence.
    pub sentence: &'static str,
    /// Why it matters.
    pub intent: &'static str,
    /// Where it comes from: an RFC and its section, or this project.
    pub source: &'static str,
    /// How it is tested; empty when its status says why it is not.
    pub tested: &'static [Tested],
    /// What a server has to offer for the test from outside.
    pub needs: &'static [Need],
    /// Whether it holds today.
    pub status: Status,
    /// The version of the suite in which it appeared.
    pub since: &'static str,
    /// What to look at when it fails.
    pub look_at: &'static str,
}

/// What missing a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Missing it is a failure.
    Must,
    /// Missing it is a warning.
    Should,
}

/// How a rule is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tested {
    /// From outside, over a socket.
    Wire,
    /// In process, on a host.
    InProcess,
    /// By comparing hosts with each other.
    Compared,
}

/// What a test from outside needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// This feature of the probe application.
    Probe(&'static str),
    /// To start and stop servers of this kind: `--exec`.
    Control,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A bound that the server has, and that only its operator knows.
    Declared(Bound),
}

/// A bound of a server, which its operator declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Open connections: `--connection-limit N`.
    Connections,
    /// Bytes of a request's body: `--body-limit BYTES`.
    BodyBytes,
    /// Requests on one connection: `--requests-per-connection N`.
    Requests,
}

/// Whether a rule holds today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It holds, and is tested.
    Active,
    /// It holds, and can't be broken in this language: here is why.
    ByConstruction(&'static str),
    /// Its id is kept for later: here is what for.
    Reserved(&'static str),
    /// It holds no more: here is why.
    Retired(&'static str),
}

/// The families, in the order of the specification: prefix, title and rules.
pub const FAMILIES: &[(&str, &str, &[Rule])] = &[
    ("REQ", "Request line and target", rules::req::RULES),
    ("FLD", "Header fields", rules::fld::RULES),
    ("BODY", "Framing of request bodies", rules::body::RULES),
    ("SMG", "Request smuggling", rules::smg::RULES),
    ("EXP", "Expect: 100-continue", rules::exp::RULES),
    ("KA", "Persistent connections", rules::ka::RULES),
    ("SEM", "Responses without a body", rules::sem::RULES),
    ("RSP", "Framing of responses", rules::rsp::RULES),
    ("UPG", "Upgrades", rules::upg::RULES),
    ("TMO", "Deadlines and limits", rules::tmo::RULES),
    ("H2", "HTTP/2", rules::h2::RULES),
    ("YLD", "The yield protocol", rules::yld::RULES),
    ("RUN", "Running a coroutine", rules::run::RULES),
    ("DRP", "Disconnects and cancellation", rules::drp::RULES),
    ("ERR", "Failures and isolation", rules::err::RULES),
    ("BPR", "Backpressure", rules::bpr::RULES),
    ("EXE", "Jobs", rules::exe::RULES),
    ("SPN", "Tasks", rules::spn::RULES),
    ("SHD", "Start-up and shutdown", rules::shd::RULES),
    ("MID", "Middleware", rules::mid::RULES),
    ("CTX", "Context", rules::ctx::RULES),
];

/// All rules, in the order of the specification.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|(_, _, rules)| rules.iter())
}

/// The rule with this id, in upper or lower case.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}
