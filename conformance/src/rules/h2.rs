//! H2: HTTP/2, for servers that speak it with prior knowledge.

use crate::rule::{
    Level::Must,
    Need::{self, Http2, Probe},
    Rule,
    Status::Active,
    Tested::Wire,
};

/// A rule of HTTP/2: all of them are MUSTs, tested from outside.
const fn rule(
    id: &'static str,
    sentence: &'static str,
    intent: &'static str,
    source: &'static str,
    needs: &'static [Need],
    look_at: &'static str,
) -> Rule {
    Rule {
        id,
        level: Must,
        sentence,
        intent,
        source,
        tested: &[Wire],
        needs,
        status: Active,
        since: "0.1",
        look_at,
    }
}

pub(crate) const RULES: &[Rule] = &[
    rule(
        "H2-01",
        "Frames that RFC 9113 or RFC 7541 forbids are answered with the error that they name, or \
         with a close; those that they tell a server to ignore change nothing.",
        "Two ends that disagree about the state of a connection mix up requests.",
        "RFC 9113, sections 3.4 to 6.10; RFC 7541",
        &[Http2],
        "the frame that the case is named after, in the library that parses frames",
    ),
    rule(
        "H2-02",
        "A request with connection-specific, upper-case, misplaced, doubled or missing fields is \
         malformed: its stream ends with an error, or with a 4xx.",
        "A gateway that writes such a request out as HTTP/1.1 lets one request smuggle another.",
        "RFC 9113, sections 8.1 to 8.3",
        &[Http2],
        "what the server checks between decoding a header block and calling the application",
    ),
    rule(
        "H2-03",
        "A request whose content-length differs from the sum of its DATA is a stream error.",
        "An application that trusts the length, or a gateway that passes it on, is led astray.",
        "RFC 9113, section 8.1.1",
        &[Http2],
        "who counts the bytes of a body, and whether that happens before the stream's end counts",
    ),
    rule(
        "H2-04",
        "A response that is given up behind its head ends with RST_STREAM, never with END_STREAM.",
        "END_STREAM says that the body is whole: a client would keep a part of it for all of it.",
        "RFC 9113, section 8.1",
        &[Http2, Probe("fail-late")],
        "what happens to an error of the response's body",
    ),
    rule(
        "H2-05",
        "Floods of resets, of CONTINUATION and of frames that ask for answers are bounded: others \
         are served meanwhile, and where handlers can be cancelled none is left of streams that \
         were reset.",
        "One client with little bandwidth must not keep a server's memory or processor busy.",
        "RFC 9113, section 10.5; CVE-2023-44487",
        &[Http2],
        "which counters end a connection: streams reset, bytes of a header block, answers queued",
    ),
    rule(
        "H2-06",
        "Windows are obeyed and kept open: no more DATA comes than the client allows, and a body \
         of any size goes through.",
        "Without windows a slow reader fills memory; with one that is not reopened an upload hangs.",
        "RFC 9113, section 5.2",
        &[Http2, Probe("known"), Probe("echo")],
        "when the server gives credit back: it has to be when the application reads",
    ),
    rule(
        "H2-07",
        "A stream that waits delays no other stream of its connection.",
        "To send requests beside each other is what HTTP/2 is for.",
        "RFC 9113, section 5",
        &[Http2, Probe("hold"), Probe("open"), Probe("known")],
        "whether each stream is a task of its own, and who writes their frames",
    ),
    rule(
        "H2-08",
        "RST_STREAM cancels the handler of its stream at once, or tells it and leaves it to go on, \
         and leaves the connection alone.",
        "A browser resets a stream when its user leaves: work for nobody should end.",
        "this project",
        &[Http2, Probe("hold"), Probe("open"), Probe("state")],
        "whether the server polls for a reset while the handler waits",
    ),
    rule(
        "H2-09",
        "SETTINGS and PING are acknowledged once, and a stream beyond the limit that the server \
         has named is refused.",
        "Clients measure and adapt by the answers, and rely on a refused stream not having run.",
        "RFC 9113, sections 5.1.2, 6.5.3 and 6.7",
        &[Http2],
        "the connection's own frames: they are answered even while streams are busy",
    ),
];
