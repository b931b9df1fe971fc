//! EXP: the expectation of a 100.

use crate::rule::{
    Level::{Must, Should},
    Rule,
    Status::Active,
    Tested::Wire,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "EXP-01",
        level: Must,
        sentence: "To a request that expects it, 100 is sent when the application first reads the \
                   body, and not before.",
        intent: "The client holds its upload back until somebody wants it: an early 100 brings it \
                 for nothing, a missing one stalls it.",
        source: "RFC 9110, section 10.1.1; this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what sends the 100: it has to be the first read of the body",
    },
    Rule {
        id: "EXP-02",
        level: Must,
        sentence: "No 100 goes to a client of HTTP/1.0, to a request without the expectation, or \
                   to one without a body.",
        intent: "A client that does not expect it takes it for its answer.",
        source: "RFC 9110, section 10.1.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the conditions under which a read of the body sends a 100",
    },
    Rule {
        id: "EXP-03",
        level: Must,
        sentence: "A final status that needed no body comes without a 100, and the body, sent or \
                   not, is read away or the connection closed.",
        intent: "Refusing an upload before it is sent is what the expectation is for.",
        source: "RFC 9110, section 10.1.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what is done about the body that is still to come when the response is over",
    },
    Rule {
        id: "EXP-04",
        level: Should,
        sentence: "An expectation that the server does not know is answered with 417.",
        intent: "A client that needs something should hear that it is not there.",
        source: "RFC 9110, sections 10.1.1 and 15.5.18",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the value of Expect is compared with",
    },
    Rule {
        id: "EXP-05",
        level: Must,
        sentence: "At most one 100 is sent to a request, and none behind the head of its final \
                   response.",
        intent: "A second one is taken for the head of the next response.",
        source: "RFC 9110, section 15.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether the expectation is forgotten once it has been met, or once a response \
                  has begun",
    },
];
