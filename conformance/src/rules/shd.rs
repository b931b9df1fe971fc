//! SHD: start-up and shutdown.

use crate::rule::{
    Level::{Must, Should},
    Need::{Control, Probe},
    Rule,
    Status::Active,
    Tested::Wire,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "SHD-01",
        level: Must,
        sentence: "A server that is told to shut down takes no new connection, closes idle ones, \
                   finishes the requests in hand, and ends.",
        intent: "This is what makes a deployment invisible to users.",
        source: "this project",
        tested: &[Wire],
        needs: &[Control],
        status: Active,
        since: "0.1",
        look_at: "the handler of SIGTERM: what becomes of the listener, of connections that wait \
                  for a request, and of those that work on one",
    },
    Rule {
        id: "SHD-02",
        level: Should,
        sentence: "A response that is sent while the server shuts down says `Connection: close`.",
        intent: "The client then knows that this was the last one, and takes its next request \
                 elsewhere instead of losing it.",
        source: "RFC 9112, section 9.6",
        tested: &[Wire],
        needs: &[Control, Probe("slow"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "where the head of a response is made: whether it knows of the shutdown",
    },
    Rule {
        id: "SHD-03",
        level: Must,
        sentence: "Requests that do not finish within the deadline of the shutdown are dropped, \
                   visibly cut off, and the server ends.",
        intent: "A single request without end would otherwise keep the process until somebody \
                 kills it, and then nothing is cleaned up.",
        source: "this project",
        tested: &[Wire],
        needs: &[Control, Probe("slow"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "the wait for the last connection: whether it has a deadline, and what then \
                  happens to handlers, bodies and uploads",
    },
    Rule {
        id: "SHD-04",
        level: Must,
        sentence: "No request is read and then lost in a shutdown: it is answered, or the answer \
                   before it on its connection says close.",
        intent: "A client may try again only what it knows to be undone.",
        source: "RFC 9112, sections 9.3.1 and 9.6",
        tested: &[Wire],
        needs: &[Control],
        status: Active,
        since: "0.1",
        look_at: "the moment between reading a request and handing it to the application, and \
                  requests that wait behind another one",
    },
    Rule {
        id: "SHD-05",
        level: Must,
        sentence: "A server whose port takes connections answers them: its start-up is complete by \
                   then.",
        intent: "Whoever waits for the port, as process managers do, sends traffic at that moment.",
        source: "ASGI, lifespan protocol",
        tested: &[Wire],
        needs: &[Control],
        status: Active,
        since: "0.1",
        look_at: "the order of listening and of the application's own start-up",
    },
];
