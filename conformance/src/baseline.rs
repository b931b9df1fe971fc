//! `Baseline`: failures that are known, each with a reason, so that only changes count.
//!
//! ```toml
//! [[known]]
//! server = "nginx"        # any, when left out
//! rule = "REQ-12"
//! verdict = "fail"        # or "flaky", or "warn"
//! reason = "https://example.org/issues/7: it serves a request without Host"
//! ```

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::rule;
use crate::verdict::Verdict;

/// The reason that [`Baseline::of`] writes. It is none: whoever reads the file has to give one.
pub const UNSEEN: &str = "not looked at yet";

/// The failures that are known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// In no order that matters.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// A failure that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The server's name in reports; any, when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The rule's id.
    pub rule: String,
    /// Fail, flaky or warn.
    pub verdict: Verdict,
    /// Why it is as it is, and who does what about it.
    #[serde(default)]
    pub reason: String,
}

/// What differs between a baseline and a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ids of rules that failed as they were known to.
    pub known: Vec<String>,
    /// What failed, and was not known to: a sentence for each.
    pub new: Vec<String>,
    /// What was known to fail, and no longer does: a sentence for each.
    pub stale: Vec<String>,
}

impl Baseline {
    /// Reads a baseline, and holds it to its own rules.
    ///
    /// # Errors
    ///
    /// When it is no TOML of this form, or an entry has no reason, stands twice, or has a verdict
    /// that is not a failure.
    pub fn read(text: &str) -> Result<Baseline, String> {
        let baseline = Baseline::parse(text)?;
        let mut seen = HashSet::new();
        for known in &baseline.known {
            let Known { server, rule, verdict, reason } = known;
            let reason = reason.trim();
            if reason.is_empty() || reason == UNSEEN {
                return Err(format!("the entry for {rule} has no reason; write down why it fails"));
            }
            if !matches!(verdict, Verdict::Fail | Verdict::Flaky | Verdict::Warn) {
                return Err(format!(
                    "the entry for {rule} has the verdict {verdict:?}; \
                     only fail, flaky and warn can be known"
                ));
            }
            if !seen.insert((server, rule.to_ascii_uppercase())) {
                return Err(format!("there are two entries for {rule} on one server; keep one"));
            }
        }
        Ok(baseline)
    }

    /// Reads a baseline as it is, with entries that nobody has looked at.
    ///
    /// # Errors
    ///
    /// When it is no TOML of this form.
    pub fn parse(text: &str) -> Result<Baseline, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The baseline after this run: what failed in it, with the reasons that were known before, and
    /// what `before` says of other servers and of rules that were not run.
    #[must_use]
    pub fn of(report: &Report, strict: bool, before: &Baseline) -> Baseline {
        let ran = |known: &&Known| {
            known.is_about(report) && report.outcomes.iter().any(|it| known.names(&it.outcome.rule))
        };
        let mut known: Vec<Known> =
            before.known.iter().filter(|known| !ran(known)).cloned().collect();
        for outcome in report.outcomes.iter().map(|judged| &judged.outcome) {
            if !counts(outcome.verdict, strict) {
                continue;
            }
            let old =
                before.entry(report, &outcome.rule).filter(|it| it.verdict == outcome.verdict);
            known.push(old.cloned().unwrap_or_else(|| Known {
                server: Some(report.server.clone()),
                rule: outcome.rule.clone(),
                verdict: outcome.verdict,
                reason: UNSEEN.to_owned(),
            }));
        }
        Baseline { known }
    }

    /// As TOML.
    ///
    /// # Panics
    ///
    /// Never: entries are plain data.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("entries are plain data");
        format!("# Failures that are known, each with its reason; see `--baseline`.\n\n{text}")
    }

    /// What differs between this baseline and a run. A rule that was not run, or of which nothing
    /// can be said, is no change.
    #[must_use]
    pub fn compare(&self, report: &Report, strict: bool) -> Changes {
        let mut changes = Changes::default();
        for outcome in report.outcomes.iter().map(|judged| &judged.outcome) {
            let (id, verdict) = (&outcome.rule, outcome.verdict);
            match self.entry(report, id) {
                Some(known) if known.verdict == verdict => changes.known.push(id.clone()),
                Some(known) if is_said(verdict) => changes.stale.push(format!(
                    "{id} is known as {}, and its verdict is {} now",
                    known.verdict.word(),
                    verdict.word()
                )),
                None if counts(verdict, strict) => changes.new.push(format!(
                    "{id} is not in the baseline, and its verdict is {}",
                    verdict.word()
                )),
                _ => {}
            }
        }
        let ran = |known: &Known| report.outcomes.iter().any(|it| known.names(&it.outcome.rule));
        let gone = self.known.iter().filter(|known| {
            known.is_about(report) && !ran(known) && rule::find(&known.rule).is_none()
        });
        let sentence = |known: &Known| format!("{} is in the baseline, and is no rule", known.rule);
        changes.stale.extend(gone.map(sentence));
        changes
    }

    /// The entry for a rule on the server of a report: one for this server before one for any.
    fn entry(&self, report: &Report, rule: &str) -> Option<&Known> {
        let all = || self.known.iter().filter(|it| it.is_about(report) && it.names(rule));
        all().find(|known| known.server.is_some()).or_else(|| all().next())
    }
}

impl Known {
    fn is_about(&self, report: &Report) -> bool {
        self.server.as_ref().is_none_or(|server| *server == report.server)
    }

    fn names(&self, rule: &str) -> bool {
        self.rule.eq_ignore_ascii_case(rule)
    }
}

/// Whether a verdict is a failure.
fn counts(verdict: Verdict, strict: bool) -> bool {
    matches!(verdict, Verdict::Fail | Verdict::Flaky) || (strict && verdict == Verdict::Warn)
}

/// Whether a verdict says anything about the server.
fn is_said(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Pass | Verdict::Fail | Verdict::Warn | Verdict::Flaky)
}
