//! UPG: connections that change their protocol.

use crate::rule::{Level::Must, Need::Probe, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "UPG-01",
        level: Must,
        sentence: "101 is sent only where the application accepts a protocol that the client has \
                   offered, and names it; else the request is answered as if nothing had been \
                   offered.",
        intent: "A client that has offered nothing, or something else, can't read what comes \
                 after the 101.",
        source: "RFC 9110, sections 7.8 and 15.2.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what compares the offer with what was accepted",
    },
    Rule {
        id: "UPG-02",
        level: Must,
        sentence: "`Upgrade` is ignored in a request of HTTP/1.0, and in one whose `Connection` \
                   does not list `upgrade`.",
        intent: "Such a field has been passed on by somebody who does not know it, and who would \
                 read the new protocol as HTTP.",
        source: "RFC 9110, section 7.8",
        tested: &[Wire],
        needs: &[Probe("upgrade")],
        status: Active,
        since: "0.1",
        look_at: "where an upgrade is recognised: it takes the version, and both fields",
    },
    Rule {
        id: "UPG-03",
        level: Must,
        sentence: "After the switch, all bytes behind the request's head reach the application \
                   as they came and in order, and its bytes the client.",
        intent: "A client may send at once. What the server has read ahead is the first thing to \
                 get lost.",
        source: "this project; RFC 9110, section 7.8",
        tested: &[Wire],
        needs: &[Probe("upgrade")],
        status: Active,
        since: "0.1",
        look_at: "the server's read buffer at the moment of the switch",
    },
    Rule {
        id: "UPG-04",
        level: Must,
        sentence: "The body of a request that asks for an upgrade is no part of the new protocol.",
        intent: "Else the body is read as frames, and the peers are out of step from the start.",
        source: "RFC 9110, section 7.8",
        tested: &[Wire],
        needs: &[Probe("upgrade")],
        status: Active,
        since: "0.1",
        look_at: "an unread request body at the moment of the switch",
    },
];
