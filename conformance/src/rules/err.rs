//! ERR: failures, and what they must not touch.

use crate::rule::{
    Level::{Must, Should},
    Need::Probe,
    Rule,
    Status::{Active, ByConstruction},
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "ERR-01",
        level: Must,
        sentence: "An error or a panic of the application before the head is answered with a \
            500, framed as any response.",
        intent: "The client has to learn that it failed, and a proxy in between has to keep its \
            framing.",
        source: "this project, after PEP 3333",
        tested: &[Wire],
        needs: &[Probe("fail")],
        status: Active,
        since: "0.1",
        look_at: "who catches the application's error, and whether the connection's task \
            survives a panic",
    },
    Rule {
        id: "ERR-02",
        level: Must,
        sentence: "A failure after the head cuts the body off so that the client can tell: no \
            last chunk, or fewer bytes than announced, and a close.",
        intent: "A body that ends in good order is a whole one, and will be cached and used as \
            such.",
        source: "RFC 9112, section 8",
        tested: &[Wire],
        needs: &[Probe("fail-late")],
        status: Active,
        since: "0.1",
        look_at: "what the server sends when the body's maker fails: never a last chunk, never \
            padding",
    },
    Rule {
        id: "ERR-03",
        level: Must,
        sentence: "A panic touches no other request, and a thousand of them lose no worker.",
        intent: "One bad input, sent often enough, would take the server down.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("panic")],
        status: Active,
        since: "0.1",
        look_at: "what a panic unwinds through: a worker's loop, a lock shared by requests",
    },
    Rule {
        id: "ERR-04",
        level: Must,
        sentence: "A panic in a task or a job arrives as an error where it is awaited, with its \
            message, whatever its payload.",
        intent: "A lost panic is a wait without an end, or half a result that looks whole.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host does around tasks and jobs: they never unwind, so it has nothing \
            to catch",
    },
    Rule {
        id: "ERR-05",
        level: Must,
        sentence: "An application that ends without giving a response is answered with a 500.",
        intent: "The client waits for an answer; a silent close looks like a broken network.",
        source: "this project, after PEP 3333",
        tested: &[],
        needs: &[],
        status: ByConstruction(
            "an application is a function to a response or an error: there is no third way for \
             it to end, and a panic is ERR-01",
        ),
        since: "0.1",
        look_at: "the adapter between the server and the application",
    },
    Rule {
        id: "ERR-06",
        level: Must,
        sentence: "Another response may take a response's place until its head is sent; after \
            that no second head follows.",
        intent: "An error page in the middle of another page's body is taken for its content, or \
            for the next answer.",
        source: "this project, after PEP 3333's `exc_info`",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what is sent when the application fails once its head is out",
    },
    Rule {
        id: "ERR-07",
        level: Should,
        sentence: "No text of an error or a panic of the application reaches the client.",
        intent: "Messages hold paths, queries and keys.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("fail")],
        status: Active,
        since: "0.1",
        look_at: "the body of the 500",
    },
    Rule {
        id: "ERR-08",
        level: Must,
        sentence: "A thousand panics of tasks and jobs lose no thread, and disturb no neighbour.",
        intent: "Each lost thread is a bit of the server that never comes back.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "threads of the host that end without being replaced, and counters that are not \
            put back",
    },
    Rule {
        id: "ERR-09",
        level: Must,
        sentence: "On this host a panic before the head is a 500 and the connection goes on; a \
            panic in a body cuts it off.",
        intent: "One broken route must not cost a client its other requests.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host does when what it polls has panicked inside",
    },
];
