//! RSP: how responses are framed and sent.

use crate::rule::{
    Level::Must,
    Level::Should,
    Need::Probe,
    Rule,
    Status::Active,
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "RSP-01",
        level: Must,
        sentence: "A body of known length is sent with exactly that `Content-Length`, and byte \
                   for byte.",
        intent: "Progress bars, caches and range requests need the length; a wrong one desyncs \
                 the connection.",
        source: "RFC 9110, section 8.6; RFC 9112, section 6.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what counts the body, and large bodies that are written in several goes",
    },
    Rule {
        id: "RSP-02",
        level: Must,
        sentence: "A body of unknown length is chunked for HTTP/1.1, and for HTTP/1.0 sent as it \
                   is and ended by the connection's end.",
        intent: "A client of HTTP/1.0 takes chunk sizes for content; one of 1.1 needs them to \
                 tell a whole body from half of one.",
        source: "RFC 9112, sections 6.1, 6.3 and 7.1",
        tested: &[Wire],
        needs: &[Probe("stream")],
        status: Active,
        since: "0.1",
        look_at: "what picks the framing, and whether it looks at the request's version",
    },
    Rule {
        id: "RSP-03",
        level: Must,
        sentence: "A body that ends before its announced length is visibly cut off: the \
                   connection is closed, and neither filled up nor used again.",
        intent: "A client that can't tell keeps half a file, or takes the next response for the \
                 other half.",
        source: "RFC 9112, sections 6.3 and 8",
        tested: &[Wire],
        needs: &[Probe("short")],
        status: Active,
        since: "0.1",
        look_at: "the end of a body: does anybody compare it with what was announced?",
    },
    Rule {
        id: "RSP-04",
        level: Must,
        sentence: "Bytes beyond a body's announced length are not sent, and the application \
                   is told.",
        intent: "They would be the beginning of the next response: an application's mistake in \
                 one becomes an attacker's way into another.",
        source: "PEP 3333; RFC 9112, section 6.3",
        tested: &[Wire, InProcess],
        needs: &[Probe("long")],
        status: Active,
        since: "0.1",
        look_at: "the writer of bodies with a length, when it has no bytes left to send",
    },
    Rule {
        id: "RSP-05",
        level: Must,
        sentence: "Fields of the connection that an application sets (`Transfer-Encoding`, \
                   `Connection`, `Keep-Alive`, `Upgrade`) are refused or dropped, and the framing \
                   is the server's.",
        intent: "The connection is the server's: an application that announces another coding or \
                 another deadline makes the server lie.",
        source: "PEP 3333; RFC 9110, section 7.6.1",
        tested: &[Wire, InProcess],
        needs: &[Probe("hop")],
        status: Active,
        since: "0.1",
        look_at: "the list of fields that go from the application to the wire",
    },
    Rule {
        id: "RSP-06",
        level: Must,
        sentence: "Each piece of a body is sent before the next is asked for.",
        intent: "Events, progress and chat live on it. An application may wait for its client to \
                 act on what it has been sent.",
        source: "PEP 3333, on streaming",
        tested: &[Wire],
        needs: &[Probe("gated")],
        status: Active,
        since: "0.1",
        look_at: "buffers between the application and the socket, and when they are flushed",
    },
    Rule {
        id: "RSP-07",
        level: Must,
        sentence: "An empty piece does not end the body.",
        intent: "As a chunk, it would be the last one: the rest would be read as a response.",
        source: "RFC 9112, section 7.1",
        tested: &[Wire],
        needs: &[Probe("empty-chunk")],
        status: Active,
        since: "0.1",
        look_at: "the writer of chunks, when it is given nothing",
    },
    Rule {
        id: "RSP-08",
        level: Must,
        sentence: "Each request has exactly one final response, and interim ones come before it \
                   alone.",
        intent: "A second response goes to whoever asks next.",
        source: "RFC 9110, section 15.2",
        tested: &[Wire, InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "error handling: what answers when the head is out already",
    },
    Rule {
        id: "RSP-09",
        level: Must,
        sentence: "`Set-Cookie` lines stay apart and in order.",
        intent: "They can't be joined by commas: clients would lose all but the first.",
        source: "RFC 9110, section 5.3",
        tested: &[Wire],
        needs: &[Probe("cookies")],
        status: Active,
        since: "0.1",
        look_at: "maps from a name to one value",
    },
    Rule {
        id: "RSP-10",
        level: Should,
        sentence: "Trailer fields are sent only to a client that has said `TE: trailers`.",
        intent: "Others drop them, or choke on them.",
        source: "RFC 9110, section 6.5.1",
        tested: &[Wire],
        needs: &[Probe("send-trailers")],
        status: Active,
        since: "0.1",
        look_at: "the end of a chunked body",
    },
    Rule {
        id: "RSP-11",
        level: Must,
        sentence: "A response of 2xx, 3xx or 4xx has exactly one `Date`, the application's own or \
                   else the time, as an IMF-fixdate.",
        intent: "Caches reckon ages from it.",
        source: "RFC 9110, sections 5.6.7 and 6.6.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the cached date and what renews it; whether the application's own is seen",
    },
];
