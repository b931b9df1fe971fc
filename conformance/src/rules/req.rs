//! REQ: the request line and its target.

use crate::rule::{Level::Must, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "REQ-03",
    level: Must,
    sentence: "A request whose method is not a token is answered with 400, and the connection \
               closed.",
    intent: "Whoever lets other characters pass sees another request than the proxy in front of \
             it does.",
    source: "RFC 9110, sections 5.6.2 and 9.1",
    tested: &[Wire],
    needs: &[],
    status: Active,
    since: "0.1",
    look_at: "the parser of the request line: which characters end the method",
}];
