//! REQ: the request line and its target.

use crate::rule::{
    Level::{Must, Should},
    Need, Rule,
    Status::Active,
    Tested::Wire,
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "REQ-01",
        level: Should,
        sentence: "An empty line before the request line is ignored.",
        intent: "Old clients send a stray CRLF behind a body; the next request on their \
                 connection must not suffer for it.",
        source: "RFC 9112, section 2.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the parser's first byte: CR and LF are skipped there, and nowhere else",
    },
    Rule {
        id: "REQ-02",
        level: Must,
        sentence: "A request line that is not exactly `method SP target SP version` is answered \
                   with 400, and the connection closed.",
        intent: "Whoever guesses where a request line's words end guesses otherwise than the \
                 proxy in front of it. The RFC lets a server be lenient about whitespace; here \
                 nobody is.",
        source: "RFC 9112, section 3; this project for the MUST",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the parser of the request line: one space between words, and a CRLF right \
                  behind the version",
    },
    Rule {
        id: "REQ-03",
        level: Must,
        sentence: "A request whose method is not a token is answered with 400, and the connection \
                   closed.",
        intent: "Whoever lets other characters pass sees another request than the proxy in front \
                 of it does.",
        source: "RFC 9110, sections 5.6.2 and 9.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the parser of the request line: which characters end the method",
    },
    Rule {
        id: "REQ-04",
        level: Must,
        sentence: "A CR in the head that is not part of a CRLF is answered with 400, and the \
                   connection closed.",
        intent: "Some parsers end a line at a bare CR and some do not, so one request becomes \
                 two, or a value becomes a field.",
        source: "RFC 9112, section 2.2; this project for 400 where the RFC would also have a \
                 space in its place",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "every state of the head's parser: a CR with anything but LF behind it is an \
                  error",
    },
    Rule {
        id: "REQ-05",
        level: Should,
        sentence: "A line of the head that ends with a bare LF is refused.",
        intent: "A server that ends lines where its proxy does not sees other fields than the \
                 proxy has checked. A switch for old clients may accept it.",
        source: "RFC 9112, section 2.2; this project for refusing",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where the head's parser ends a line",
    },
    Rule {
        id: "REQ-06",
        level: Must,
        sentence: "A version that is not `HTTP/` DIGIT `.` DIGIT is answered with 400, and the \
                   connection closed; one whose first digit is not 1 is answered with 505.",
        intent: "The version decides how the message is framed; a guess at it is a guess at where \
                 the next request begins.",
        source: "RFC 9112, section 2.3; RFC 9110, section 15.6.6",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how the version is compared: as eight bytes, not as a number or a prefix",
    },
    Rule {
        id: "REQ-07",
        level: Should,
        sentence: "A request of HTTP/1.2 to HTTP/1.9 is served as one of HTTP/1.1.",
        intent: "Minor versions are compatible by definition, so a client of a later one must not \
                 be turned away.",
        source: "RFC 9110, section 2.5",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the comparison with exactly 1.0 and 1.1",
    },
    Rule {
        id: "REQ-08",
        level: Must,
        sentence: "The method reaches the application letter for letter, and tokens that the \
                   server does not know reach it too.",
        intent: "Methods are case-sensitive, and an application may serve WebDAV, or a method of \
                 its own.",
        source: "RFC 9110, section 9.1; this project for tokens that the server does not know",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "a table of known methods, or a conversion to upper case, between the parser and \
                  the application",
    },
    Rule {
        id: "REQ-09",
        level: Must,
        sentence: "The target reaches the application as it was sent, split into path and query \
                   at the first `?`.",
        intent: "Decoding and tidying lose what was sent: signatures fail, `%2F` becomes a \
                 separator, and access rules of a proxy are passed by.",
        source: "RFC 9112, section 3.2.1; RFC 3986, section 3.4",
        tested: &[Wire],
        needs: &[Need::Probe("reflect")],
        status: Active,
        since: "0.1",
        look_at: "whatever parses, decodes, merges or normalises the target before the \
                  application sees it",
    },
    Rule {
        id: "REQ-10",
        level: Must,
        sentence: "A target in absolute-form is accepted, and its authority stands above `Host`.",
        intent: "Two names for the addressed host, and a proxy and a server that each believe \
                 another one, are how requests reach what they should not.",
        source: "RFC 9112, section 3.2.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the application is told about the host when the target names one itself",
    },
    Rule {
        id: "REQ-11",
        level: Must,
        sentence: "The target `*` comes only with OPTIONS and an authority alone only with \
                   CONNECT; anything else that is no path and no URL is answered with 400.",
        intent: "A target of another form reaches routers and log parsers that take it for a path.",
        source: "RFC 9112, sections 3.2.3 and 3.2.4; this project for the MUST",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the check of the target's form against the method",
    },
    Rule {
        id: "REQ-12",
        level: Must,
        sentence: "A request of HTTP/1.1 without `Host`, and any request with several or with an \
                   invalid one, is answered with 400.",
        intent: "Caches and virtual hosts choose by `Host`. Where two servers on the way read \
                 different ones, one poisons the other.",
        source: "RFC 9112, section 3.2; RFC 9110, section 7.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the check of the parsed head; many HTTP libraries leave this one to their user",
    },
    Rule {
        id: "REQ-13",
        level: Should,
        sentence: "A request of HTTP/1.0 without `Host` is served.",
        intent: "Health checks and simple tools send it, and HTTP/1.0 never asked for more.",
        source: "this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the check for `Host`: it is for HTTP/1.1",
    },
    Rule {
        id: "REQ-14",
        level: Should,
        sentence: "User information in the target's authority or in `Host` is answered with 400.",
        intent: "`http://bank.example@evil.example/` is made to deceive, and no client sends it.",
        source: "RFC 9110, section 4.2.4",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the parser of the authority: `@` has no place in it",
    },
    Rule {
        id: "REQ-15",
        level: Must,
        sentence: "A target longer than the server takes is answered with 414, and there is such \
                   a length; a request line of 8,000 octets is accepted.",
        intent: "Without a bound a client fills the server's memory; with too small a one real \
                 URLs fail.",
        source: "RFC 9112, section 3; RFC 9110, section 15.5.15",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the bound on the request line: whether there is one, and which status goes with \
                  it",
    },
    Rule {
        id: "REQ-16",
        level: Should,
        sentence: "A control character, a byte that is not ASCII, or `#` in the target is \
                   answered with 400.",
        intent: "No URI has them. They end up in logs, redirects and requests to other servers.",
        source: "RFC 9112, section 3.2; RFC 3986, section 2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "which bytes the parser lets into a target",
    },
    Rule {
        id: "REQ-17",
        level: Must,
        sentence: "However a request is cut into segments, it is parsed alike, and not answered \
                   before its head is complete.",
        intent: "TCP cuts where it likes. What works on a fast network and fails on a slow one is \
                 the hardest to find.",
        source: "RFC 9112, section 2.2; this project",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the parser keeps between two reads: above all across CR LF, and in what \
                  looks for HTTP/2",
    },
    Rule {
        id: "REQ-18",
        level: Must,
        sentence: "On a port that speaks only HTTP/1 the preface of HTTP/2 never reaches the \
                   application.",
        intent: "Its first line looks like a request. Whoever takes it for one takes binary \
                 frames for the next.",
        source: "RFC 9113, section 3.4",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the check of the version, which stands before the one of the method",
    },
];
