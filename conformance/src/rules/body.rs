//! BODY: framing of request bodies.

use crate::rule::{
    Bound,
    Level::{Must, Should},
    Need, Rule,
    Status::Active,
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "BODY-01",
        level: Must,
        sentence: "A request with neither Content-Length nor Transfer-Encoding has an empty body, \
                   whatever its method.",
        intent: "A server that waits for more hangs; one that reads more takes the next request \
                 for content.",
        source: "RFC 9112, section 6.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how the body's length is chosen when the head names none",
    },
    Rule {
        id: "BODY-02",
        level: Must,
        sentence: "A body announced by Content-Length is exactly so many bytes, whatever they are \
                   and however they arrive, and the next request begins right behind them.",
        intent: "A byte too few damages content, a byte too many belongs to somebody else's \
                 request.",
        source: "RFC 9112, section 6.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the counter of bytes that are left, where a read brings more or fewer than that",
    },
    Rule {
        id: "BODY-03",
        level: Must,
        sentence: "A Content-Length that is not a plain decimal number, that differs from another \
                   one, or that overflows, is answered with 400, and the connection closed; one \
                   too large to count is never taken for a small one.",
        intent: "Two parsers that read the same length differently are all that request smuggling \
                 takes.",
        source: "RFC 9112, section 6.3; RFC 9110, section 8.6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the conversion of the field's value: a general number parser takes signs, \
                  spaces and underscores",
    },
    Rule {
        id: "BODY-04",
        level: Must,
        sentence: "Content-Length repeated with the same value is refused, or collapsed into one; \
                   it never reaches the application twice.",
        intent: "An application or proxy behind that sees two will pick one of them by its own \
                 rule.",
        source: "RFC 9110, section 8.6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where fields of one name are joined, and what is handed to the application",
    },
    Rule {
        id: "BODY-05",
        level: Must,
        sentence: "A chunked body is decoded to exactly its data, with sizes in upper or lower \
                   hexadecimal and with leading zeros, however it arrives.",
        intent: "Every client that does not know its length in advance depends on it.",
        source: "RFC 9112, section 7.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the chunk decoder's state when a read ends in the middle of a line",
    },
    Rule {
        id: "BODY-06",
        level: Must,
        sentence: "A chunk size that is not plain hexadecimal digits is answered with 400, and \
                   the connection closed; one too large to count is never taken for a small one.",
        intent: "A size that two parsers read differently hides a request in a body.",
        source: "RFC 9112, section 7.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the conversion of the size: a general number parser takes signs, prefixes and \
                  spaces",
    },
    Rule {
        id: "BODY-07",
        level: Must,
        sentence: "Chunk data that is not followed by CRLF is answered with 400, and the \
                   connection closed.",
        intent: "A server that skips two bytes unseen lets a body end where the proxy in front \
                 does not.",
        source: "RFC 9112, section 7.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the chunk decoder does with the two bytes behind the data",
    },
    Rule {
        id: "BODY-08",
        level: Should,
        sentence: "Chunk extensions are ignored and bounded, and those with a bare semicolon, CR, \
                   LF or another control character are answered with 400, and the connection \
                   closed.",
        intent: "Unbounded extensions are a way to send without end; a line end within them is \
                 one that parsers disagree on.",
        source: "RFC 9112, section 7.1.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how the chunk decoder skips from the size to the end of the line",
    },
    Rule {
        id: "BODY-09",
        level: Must,
        sentence: "A trailer field never becomes a header field.",
        intent: "Whoever merges them lets a client set, behind all checks, the fields that \
                 routing and authentication look at.",
        source: "RFC 9112, section 7.1.2; RFC 9110, section 6.5.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where trailers are put when the body has ended",
    },
    Rule {
        id: "BODY-10",
        level: Should,
        sentence: "The trailer section keeps to the grammar and within limits as the header section \
                   does.",
        intent: "Memory that a client fills behind the checked head is memory without a limit, and \
                 lines that nobody checks hide what another server reads there.",
        source: "this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the limit of the chunk decoder's trailer state: bytes and fields",
    },
    Rule {
        id: "BODY-11",
        level: Must,
        sentence: "A body that ends before its framing says so is an error for the application \
                   and never an end, and the connection is not used again.",
        intent: "An application that takes a torn upload for a whole one stores it.",
        source: "RFC 9112, section 8",
        tested: &[Wire, InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how the end of input is reported while a body is being read",
    },
    Rule {
        id: "BODY-12",
        level: Must,
        sentence: "A transfer coding that the server does not know is answered with 501 or 400, \
                   and the connection closed.",
        intent: "Whoever ignores it guesses where the body ends.",
        source: "RFC 9112, section 6.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what happens to a Transfer-Encoding that is present and is not chunked",
    },
    Rule {
        id: "BODY-13",
        level: Must,
        sentence: "A Transfer-Encoding in which chunked is not the last coding is answered with \
                   400, and the connection closed.",
        intent: "The body's length can't be known, so that all that follows is a guess.",
        source: "RFC 9112, section 6.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether chunked is looked for as the last member, across all lines of the field",
    },
    Rule {
        id: "BODY-14",
        level: Must,
        sentence: "A body over the server's limit is answered with 413, and no more of it read \
                   than it takes to let the answer arrive.",
        intent: "A limit that is not kept is memory or disk for whoever asks.",
        source: "RFC 9110, section 15.5.14",
        tested: &[Wire],
        needs: &[Need::Declared(Bound::BodyBytes)],
        status: Active,
        since: "0.1",
        look_at: "whether chunked bodies are counted as those with a length are, and who stops \
                  the reading",
    },
    Rule {
        id: "BODY-15",
        level: Must,
        sentence: "A body found malformed while the application reads it, before there is a head \
                   of the response, is answered with 400, and the connection closed.",
        intent: "A 500 wakes up an operator for what a client has done.",
        source: "this project",
        tested: &[Wire],
        needs: &[Need::Probe("read"), Need::Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "how the error of the body comes back from the application, and to which status \
                  it is mapped",
    },
    Rule {
        id: "BODY-16",
        level: Must,
        sentence: "A body is framed in the same way whatever the method.",
        intent: "A server that does not expect a body of a GET or HEAD runs it as the next \
                 request.",
        source: "RFC 9110, section 9.3.1; RFC 9112, section 6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "any branch on the method before the body's length is chosen",
    },
    Rule {
        id: "BODY-17",
        level: Must,
        sentence: "A body that the application has not read is read away up to a bound, or the \
                   connection closed; it is never parsed as a request.",
        intent: "An application that answers early is no reason to run its client's upload as \
                 requests.",
        source: "RFC 9112, section 9.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what happens to the rest of the body between a response and the next request",
    },
];
