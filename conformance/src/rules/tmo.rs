//! TMO: deadlines and limits.

use crate::rule::{
    Bound::Connections,
    Level::{Must, Should},
    Need::{Declared, Probe},
    Rule,
    Status::Active,
    Tested::Wire,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "TMO-01",
        level: Must,
        sentence: "A client that does not finish its request head is given up within a deadline, \
                   with 408 or a plain close.",
        intent: "Each connection that is kept for a head that never comes costs a descriptor and \
                 memory. Anybody can open thousands of them.",
        source: "RFC 9110, section 15.5.9; the deadline is this project's",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the timer of the request head: whether one is set for a new connection, for each \
                  later request on it, and taken back once the head is complete",
    },
    Rule {
        id: "TMO-02",
        level: Must,
        sentence: "Bytes that arrive do not put off the deadline of the request head.",
        intent: "A timer that starts anew with each byte is none: one byte per second keeps a \
                 connection for days.",
        source: "this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where the timer of the request head is set: at its first byte, or at each read",
    },
    Rule {
        id: "TMO-03",
        level: Should,
        sentence: "A request body that stops arriving is given up within a deadline: the \
                   application gets an error, the client 408 and a close.",
        intent: "The handler waits inside the application, with all that it holds: a \
                 transaction, a lock, a place in a pool.",
        source: "RFC 9110, section 15.5.9; the deadline is this project's",
        tested: &[Wire],
        needs: &[Probe("read"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "reads of the request body: whether any of them has a deadline",
    },
    Rule {
        id: "TMO-04",
        level: Must,
        sentence: "A client that never reads its response costs a bounded amount of memory, and is \
                   dropped within a deadline.",
        intent: "What it has asked for would otherwise be kept for it for good, the application's \
                 half-made response included.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("flood"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "writes to the socket: the bound of the buffer before them, and their deadline",
    },
    Rule {
        id: "TMO-05",
        level: Must,
        sentence: "Two hundred slow clients, with half a head, with half a body, or not reading, \
                   keep nobody else from being answered.",
        intent: "Slow clients cost an attacker next to nothing. A server with a thread or a place \
                 for each is out of order as soon as they have taken all.",
        source: "this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what a connection holds while it waits: a thread, a place in a pool, a lock",
    },
    Rule {
        id: "TMO-06",
        level: Must,
        sentence: "Beyond the limit of open connections a client waits or is answered with 503, \
                   and is served once others have gone.",
        intent: "Without a limit a flood of connections takes the process down; with one whose \
                 places are not given back, a few aborted connections do.",
        source: "this project; RFC 9110, section 15.6.4",
        tested: &[Wire],
        needs: &[Declared(Connections)],
        status: Active,
        since: "0.1",
        look_at: "where a connection takes its place, and every way in which it may end",
    },
    Rule {
        id: "TMO-07",
        level: Must,
        sentence: "A handler whose client has closed its sending side is cancelled, or told so, \
                   within a grace time.",
        intent: "Such a client may wait for its answer, or be gone: nobody can tell. Work for it \
                 must not go on without end.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("slow"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "what the server does at the end of its input while a request is in hand",
    },
    Rule {
        id: "TMO-08",
        level: Should,
        sentence: "A handler that does not come to an end is answered for, with 503 or 504, once its \
                   time is over.",
        intent: "A client that hears nothing asks once more. What hangs behind a server must not \
                 take all its places.",
        source: "this project; RFC 9110, sections 15.6.4 and 15.6.5",
        tested: &[Wire],
        needs: &[Probe("slow")],
        status: Active,
        since: "0.1",
        look_at: "whether a handler has a deadline at all, and who answers when it has passed",
    },
];
