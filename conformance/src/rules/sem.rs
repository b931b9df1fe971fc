//! SEM: responses that have no body.

use crate::rule::{Level::Must, Need::Probe, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "SEM-01",
        level: Must,
        sentence: "HEAD is answered with the header fields of GET, and without a body.",
        intent: "Caches and link checkers go by these fields. A body behind them is read as the \
                 next response.",
        source: "RFC 9110, sections 8.6 and 9.3.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where HEAD is told from GET: late enough for the length, early enough for the \
                  body",
    },
    Rule {
        id: "SEM-02",
        level: Must,
        sentence: "A response with status 1xx or 204 has no `Content-Length`, no \
                   `Transfer-Encoding` and no body.",
        intent: "Clients differ in what they make of such fields here: some wait for a body that \
                 never comes.",
        source: "RFC 9110, sections 8.6, 15.2 and 15.3.5; RFC 9112, section 6.1",
        tested: &[Wire],
        needs: &[Probe("status")],
        status: Active,
        since: "0.1",
        look_at: "what adds the framing fields, and whether it looks at the status",
    },
    Rule {
        id: "SEM-03",
        level: Must,
        sentence: "A response with status 304 has no body, whatever its fields say.",
        intent: "A cache that revalidates would read the body as its next response.",
        source: "RFC 9110, section 15.4.5; RFC 9112, section 6.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what sends the body, and whether it looks at the status",
    },
    Rule {
        id: "SEM-04",
        level: Must,
        sentence: "CONNECT is refused by a server that is no proxy: it opens no tunnel, and a \
                   2xx to it has neither `Content-Length` nor `Transfer-Encoding`.",
        intent: "An open tunnel lets anybody reach what only the server can reach.",
        source: "RFC 9110, section 9.3.6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what a request with a host and port as its target is routed to",
    },
    Rule {
        id: "SEM-05",
        level: Must,
        sentence: "A body that an application gives to HEAD, 204 or 304 is dropped, and the next \
                   response on the connection is intact.",
        intent: "Frameworks write bodies without looking at the method. One byte too many, and \
                 every later response goes to the wrong request.",
        source: "RFC 9112, section 6.3",
        tested: &[Wire],
        needs: &[Probe("status")],
        status: Active,
        since: "0.1",
        look_at: "the writer of bodies, when the response has none",
    },
];
