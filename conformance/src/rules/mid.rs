//! MID: middleware.

use crate::rule::{
    Level::Must,
    Need::Probe,
    Rule,
    Status::Active,
    Tested::{Compared, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "MID-01",
        level: Must,
        sentence: "A middleware that does nothing changes nothing, once or ten times over.",
        intent: "Middleware can be added and taken away only where the contract itself passes \
                 through it unharmed.",
        source: "this project, after the practice of Rack::Lint",
        tested: &[Compared],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the server learns from an application otherwise than by its response",
    },
    Rule {
        id: "MID-02",
        level: Must,
        sentence: "Of several middlewares the outermost sees a request first, and its response \
                   last.",
        intent: "Authentication before logging, or the other way round: the order is the meaning.",
        source: "this project",
        tested: &[Compared],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the call of the inner application: whether it is awaited where it stands",
    },
    Rule {
        id: "MID-03",
        level: Must,
        sentence: "A middleware that does nothing holds nothing back: each piece of a body, either \
                   way, passes before the next one exists.",
        intent: "Otherwise one innocent layer turns streams into downloads, and its memory into \
                 the limit.",
        source: "PEP 3333, section Middleware Handling of Block Boundaries",
        tested: &[Wire],
        needs: &[Probe("inner"), Probe("gated"), Probe("open")],
        status: Active,
        since: "0.1",
        look_at: "how a body is handed through: as it is, or collected first",
    },
    Rule {
        id: "MID-04",
        level: Must,
        sentence: "Where a middleware answers by itself, the application behind it is never \
                   called, and the answer is framed as any other.",
        intent: "A refusal that the application has seen all the same is no refusal.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("stopped"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "when the inner application is started: at its call, or before",
    },
];
