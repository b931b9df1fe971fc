//! SMG: request smuggling.

use crate::rule::{
    Level::{Must, Should},
    Need, Rule,
    Status::Active,
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "SMG-01",
        level: Must,
        sentence: "A request with both Transfer-Encoding and Content-Length is answered with 400, \
                   or read by its Transfer-Encoding alone, and the connection is closed in either \
                   case.",
        intent: "It is the oldest way to make two servers disagree on where a request ends.",
        source: "RFC 9112, sections 6.1 and 6.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether the connection closes also where the request is served",
    },
    Rule {
        id: "SMG-02",
        level: Must,
        sentence: "A request of HTTP/1.0 with a Transfer-Encoding is answered with 400, or the \
                   connection closed behind it.",
        intent: "Old proxies pass the field on without understanding it.",
        source: "RFC 9112, section 6.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether the version is known where the framing is chosen, and keep-alive of \
                  HTTP/1.0",
    },
    Rule {
        id: "SMG-03",
        level: Must,
        sentence: "A Transfer-Encoding that names chunked more than once is answered with 400, \
                   and the connection closed.",
        intent: "Decoded once or twice, the body ends in two places.",
        source: "RFC 9112, sections 6.1 and 7.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether all members of all lines are looked at, or the last alone",
    },
    Rule {
        id: "SMG-04",
        level: Must,
        sentence: "A field or value that only looks like chunked is never decoded as such.",
        intent: "Attackers search for the one spelling that one of two servers takes for chunked.",
        source: "RFC 9112, section 6.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what is trimmed, folded or searched for before the value is compared: exactly \
                  the token, in any case",
    },
    Rule {
        id: "SMG-05",
        level: Must,
        sentence: "Nothing behind a request whose framing is wrong is parsed as a request.",
        intent: "What follows was chosen by whoever spoiled the framing.",
        source: "RFC 9112, section 11.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether the connection's input is dropped for good with the refusal",
    },
    Rule {
        id: "SMG-06",
        level: Must,
        sentence: "The next request begins exactly behind the one before, and the next response \
                   too.",
        intent: "One byte too many or too few shifts all answers on the connection to other \
                 requests.",
        source: "RFC 9112, section 11.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what is consumed at the end of an empty body, of a last chunk, and of a \
                  response without a body",
    },
    Rule {
        id: "SMG-07",
        level: Must,
        sentence: "A field that an application sets with CR, LF or NUL in its value is not sent: \
                   the answer is 500.",
        intent: "A value with a line end in it is a second field, or a second response, by \
                 whoever supplied the value.",
        source: "RFC 9112, section 11.1; PEP 3333",
        tested: &[Wire, InProcess],
        needs: &[Need::Probe("bad-field")],
        status: Active,
        since: "0.1",
        look_at: "the check of what the application sets, before it is written",
    },
    Rule {
        id: "SMG-08",
        level: Should,
        sentence: "The refusal of a request whose framing is wrong says `Connection: close`, and \
                   the connection closes.",
        intent: "A client or proxy that is not told sends its next request into a connection that \
                 ends.",
        source: "RFC 9112, section 9.6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the head of the answers that the parser makes by itself",
    },
];
