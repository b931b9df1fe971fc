//! The wire rules: checks of any HTTP server, from outside, over a socket.
//!
//! | file | what it holds |
//! |---|---|
//! | `target.rs` | the server under test: where it is, what it offers, how to start another |
//! | `client.rs` | a client that sends what it is told to, and keeps a record of both ways |
//! | `session.rs` | one rule at work on one server: its cases |
//! | `control.rs` | what the probe application remembers, for the checks |
//! | `run.rs` | all rules on one server: in which order, and what a second run says |
//! | the others | the checks, one file per family |

mod backpressure;
mod bodies;
mod bodyless;
mod client;
mod context;
mod control;
mod disconnects;
mod expect;
mod failures;
mod fields;
mod http2;
mod jobs;
mod limits;
mod middleware;
mod persistence;
mod request_line;
mod responses;
mod run;
mod session;
mod shutdown;
mod smuggling;
mod target;
mod unread;
mod upgrades;

pub(crate) use client::Trace;
pub use client::{Client, Ended, Framing, Received, Response};
pub use run::{Options, Progress, run};
pub use session::{Session, Stop};
pub use target::{Declared, Instance, Launcher, Patience, Probe, Target};

/// The check of one rule.
#[derive(Debug)]
pub struct WireCheck {
    /// The rule's id.
    pub rule: &'static str,
    /// Rules without which this one can't be judged: where they fail, it is blocked.
    pub after: &'static [&'static str],
    /// When it runs.
    pub when: When,
    /// Tries the rule's cases.
    pub check: fn(&mut Session<'_>) -> Result<(), Stop>,
}

/// When a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Beside a few others.
    Beside,
    /// With nothing beside it: it looks at times, counts or memory.
    Alone,
    /// From the start, for as long as all others take: it waits for a long deadline.
    Background,
}

/// All checks, by family.
#[must_use]
pub fn checks() -> Vec<&'static WireCheck> {
    let families = [
        request_line::CHECKS,
        fields::CHECKS,
        bodies::CHECKS,
        smuggling::CHECKS,
        expect::CHECKS,
        persistence::CHECKS,
        bodyless::CHECKS,
        responses::CHECKS,
        upgrades::CHECKS,
        limits::CHECKS,
        http2::CHECKS,
        disconnects::CHECKS,
        failures::CHECKS,
        backpressure::CHECKS,
        jobs::CHECKS,
        shutdown::CHECKS,
        middleware::CHECKS,
        context::CHECKS,
    ];
    families.iter().flat_map(|checks| checks.iter()).collect()
}
