//! BPR: backpressure, both ways.

use crate::rule::{Level::Must, Need::Probe, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "BPR-01",
        level: Must,
        sentence: "A client that reads slowly suspends the application once a bounded amount has \
                   been buffered, and all bytes arrive when it reads on.",
        intent: "Where the application is not held up, its whole response lies in memory: a few \
                 slow downloads of a large file end the process.",
        source: "PEP 3333, section Buffering and Streaming; the bound is this project's",
        tested: &[Wire],
        needs: &[Probe("flood"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "the queue between application and socket: whether adding to it ever waits",
    },
    Rule {
        id: "BPR-02",
        level: Must,
        sentence: "A request's body is not taken off the socket, beyond a bounded amount, until \
                   the application asks for it.",
        intent: "A server that reads ahead lets any client fill its memory, whatever the \
                 application's own limit is.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("late-read"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "who reads from the socket: the application's demand, or a loop of its own",
    },
    Rule {
        id: "BPR-03",
        level: Must,
        sentence: "A request that waits for its slow client blocks no other.",
        intent: "One slow reader would otherwise be as good as an outage.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("stream")],
        status: Active,
        since: "0.1",
        look_at: "writes that block a thread, and locks held across them",
    },
];
