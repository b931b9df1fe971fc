//! `Report`: what came of a run on one server, with what the rules say beside it.
//!
//! It is also the form of the JSON that `--json` writes and `matrix` reads: the fields of these
//! types under their names, with [`Outcome`]'s fields beside those of [`Judged`].
//!
//! | file | what it holds |
//! |---|---|
//! | `text.rs` | a report for a terminal |
//! | `json.rs` | for programs, and to be read again |
//! | `junit.rs` | for what shows test results |
//! | `markdown.rs` | two tables that show several reports |
//! | `html.rs`, `page.css`, `page.js` | one page that shows one report or several |

mod html;
mod json;
mod junit;
mod markdown;
mod text;

use serde::{Deserialize, Serialize};

pub use html::html;
pub use json::{from_json, to_json};
pub use junit::junit;
pub use markdown::markdown;
pub use text::{Detail, Paint, summary, text};

use crate::rule::{self, Level};
use crate::verdict::{Kind, Outcome, Verdict};
use crate::wire::Target;

/// What came of a run on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form: [`Report::FORMAT`].
    pub format: u32,
    /// The version of the suite.
    pub suite: String,
    /// The server's name.
    pub server: String,
    /// Where it was.
    pub url: String,
    /// The features of its probe application, where it runs that.
    pub features: Option<Vec<String>>,
    /// Whether it speaks HTTP/2 with prior knowledge.
    pub http2: bool,
    /// The command that runs a rule again, up to the rule's id.
    pub again: String,
    /// What came of each rule, in the order of the specification.
    pub outcomes: Vec<Judged>,
}

/// What came of one rule, and what the rule says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// The rule's level.
    pub level: Level,
    /// What must be so.
    pub sentence: String,
    /// Why it matters.
    pub intent: String,
    /// Where it comes from.
    pub source: String,
    /// What to look at when it fails.
    pub look_at: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Report {
    /// The version of the form that this suite writes.
    pub const FORMAT: u32 = 1;

    /// The report of a run on this server.
    #[must_use]
    pub fn new(target: &Target, server: String, url: String, again: String) -> Report {
        let features = target.probe.as_ref().map(|it| it.features.iter().cloned().collect());
        Report {
            format: Report::FORMAT,
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            server,
            url,
            features,
            http2: target.http2,
            again,
            outcomes: Vec::new(),
        }
    }

    /// With these outcomes, each with what its rule says.
    #[must_use]
    pub fn with(mut self, outcomes: Vec<Outcome>) -> Report {
        self.outcomes = outcomes.into_iter().map(Judged::from).collect();
        self
    }

    /// How many outcomes have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|judged| judged.outcome.verdict == verdict).count()
    }

    /// Of this kind: how many cases passed, and how many there were.
    #[must_use]
    pub fn rate(&self, kind: Kind) -> (usize, usize) {
        let rates = self.outcomes.iter().map(|judged| judged.outcome.rate(kind));
        rates.fold((0, 0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1))
    }
}

impl From<Outcome> for Judged {
    fn from(outcome: Outcome) -> Judged {
        let rule = rule::find(&outcome.rule);
        let text = |of: fn(&rule::Rule) -> &'static str| rule.map_or("", of).to_owned();
        Judged {
            level: rule.map_or(Level::Must, |rule| rule.level),
            sentence: text(|rule| rule.sentence),
            intent: text(|rule| rule.intent),
            source: text(|rule| rule.source),
            look_at: text(|rule| rule.look_at),
            outcome,
        }
    }
}

impl Verdict {
    /// All verdicts, in the order in which reports show them.
    pub const ALL: [Verdict; 7] = [
        Verdict::Pass,
        Verdict::Fail,
        Verdict::Flaky,
        Verdict::Warn,
        Verdict::Error,
        Verdict::Blocked,
        Verdict::Skip,
    ];

    /// Its word, as reports and baselines write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Warn => "warn",
            Verdict::Skip => "skip",
            Verdict::Blocked => "blocked",
            Verdict::Error => "error",
            Verdict::Flaky => "flaky",
        }
    }
}
