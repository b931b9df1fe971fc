//! `Verdict` and `Outcome`: what came of a rule on a server, and the evidence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rule::Level;

/// What came of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The server keeps the rule.
    Pass,
    /// It breaks a MUST.
    Fail,
    /// It misses a SHOULD, or keeps a MUST in a way that could be better.
    Warn,
    /// The rule does not apply, or can't be tested here; the reason says which.
    Skip,
    /// Something that it depends on failed, so that nothing can be said.
    Blocked,
    /// The suite itself failed.
    Error,
    /// A second run gave another verdict.
    Flaky,
}

/// What came of one rule on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The rule's id.
    pub rule: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, where that is not in the cases: a slug for machines, then a sentence.
    pub reason: Option<Reason>,
    /// What was tried, in order.
    pub cases: Vec<Case>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a rule was skipped, blocked, or could not be tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For machines: `needs-probe`, `needs-control`, `twin-refused` and so on.
    pub slug: String,
    /// For people.
    pub text: String,
}

/// Something that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// What it was, in a few words.
    pub name: String,
    /// Whether the server was to accept, to refuse, or to behave in some other way.
    pub kind: Kind,
    /// What came of it.
    pub result: CaseResult,
    /// What would have been right: a set, as words.
    pub expected: String,
    /// What came.
    pub got: String,
    /// The bytes both ways. Empty when the case passed.
    pub trace: Vec<Event>,
}

/// What a server was to do with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Accept: the twin of refusals. Those count only where it passed.
    Accept,
    /// Refuse.
    Refuse,
    /// Anything else.
    Behave,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseResult {
    /// As expected.
    Pass,
    /// Not as expected, where a MUST asks for it.
    Fail,
    /// Not as expected, where a SHOULD asks for it.
    Warn,
}

/// One thing that happened on a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When, counted from the start of the case.
    pub at: Duration,
    /// On which of the case's connections.
    pub connection: usize,
    /// What.
    pub what: What,
}

/// What happened on a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The suite sent these bytes.
    Sent(Excerpt),
    /// The server sent these.
    Received(Excerpt),
    /// Something else: connected, closed, reset, waited in vain.
    Note(String),
}

/// Bytes, as text with escapes, and how many there were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Excerpt {
    /// The first of them, escaped.
    pub text: String,
    /// How many there were in all.
    pub bytes: usize,
}

impl Excerpt {
    /// How many bytes are kept.
    pub const KEPT: usize = 2048;

    /// Keeps the first bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Excerpt {
        let kept = &bytes[..bytes.len().min(Excerpt::KEPT)];
        Excerpt { text: kept.escape_ascii().to_string(), bytes: bytes.len() }
    }
}

impl Outcome {
    /// The verdict on what was tried, under a rule of this level.
    #[must_use]
    pub fn judge(level: Level, cases: &[Case]) -> Verdict {
        let any = |result| cases.iter().any(|case| case.result == result);
        match (any(CaseResult::Fail), any(CaseResult::Warn)) {
            (true, _) if level == Level::Must => Verdict::Fail,
            (true, _) | (_, true) => Verdict::Warn,
            (false, false) => Verdict::Pass,
        }
    }

    /// Of this kind: how many cases passed, and how many there were.
    #[must_use]
    pub fn rate(&self, kind: Kind) -> (usize, usize) {
        let cases = || self.cases.iter().filter(|case| case.kind == kind);
        (cases().filter(|case| case.result == CaseResult::Pass).count(), cases().count())
    }
}
