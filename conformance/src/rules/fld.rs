//! FLD: header fields.

use crate::rule::{Level::Must, Need, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "FLD-01",
        level: Must,
        sentence: "Whitespace between a field's name and its colon is answered with 400, and the \
                   connection closed.",
        intent: "A server that trims it sees a `Content-Length` where its proxy saw an unknown \
                 field.",
        source: "RFC 9112, section 5.1",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the end of a field's name in the parser",
    },
    Rule {
        id: "FLD-02",
        level: Must,
        sentence: "A field line that is folded (one that begins with whitespace) is answered with \
                   400, and the connection closed.",
        intent: "Parsers differ in what a folded line belongs to, so one field becomes two, or \
                 two become one.",
        source: "RFC 9112, section 5.2; this project for 400 where the RFC would also have spaces \
                 in its place",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the parser does with a field line whose first byte is a space or a tab",
    },
    Rule {
        id: "FLD-03",
        level: Must,
        sentence: "A field line whose name is empty or no token is answered with 400, and the \
                   connection closed.",
        intent: "What one parser skips or repairs another takes for a field.",
        source: "RFC 9110, sections 5.1 and 5.6.2; this project for 400",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the table of characters that may stand in a name",
    },
    Rule {
        id: "FLD-04",
        level: Must,
        sentence: "NUL, CR or LF in a field's value is answered with 400, and the connection \
                   closed; other control characters but tab are refused too.",
        intent: "They cut strings short, and split lines in whatever the value is copied to: \
                 logs, responses, requests to other servers.",
        source: "RFC 9110, section 5.5; this project for 400 where the RFC would also have a \
                 space in its place",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the table of characters that may stand in a value",
    },
    Rule {
        id: "FLD-05",
        level: Must,
        sentence: "A first header line that begins with whitespace is refused.",
        intent: "Whoever joins it to the request line, or takes it for a field, sees another \
                 request than who ignores it.",
        source: "RFC 9112, section 2.2; this project for refusing where the RFC would also have \
                 the line ignored",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the parser between the request line and the first field",
    },
    Rule {
        id: "FLD-06",
        level: Must,
        sentence: "Spaces and tabs around a field's value are no part of it, and those within \
                   stay.",
        intent: "A value with a space left at its end compares unequal; one that is squeezed \
                 inside has lost data.",
        source: "RFC 9112, section 5; RFC 9110, section 5.5",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where the parser trims a value, and which characters",
    },
    Rule {
        id: "FLD-07",
        level: Must,
        sentence: "Several field lines with one name reach the application in their order, and \
                   none is lost.",
        intent: "The order decides what a list means; a lost `Cookie` or `Via` is lost data.",
        source: "RFC 9110, section 5.3",
        tested: &[Wire],
        needs: &[Need::Probe("reflect")],
        status: Active,
        since: "0.1",
        look_at: "the map that holds the fields: insert in place of append, or a limit that drops \
                  what is over it",
    },
    Rule {
        id: "FLD-08",
        level: Must,
        sentence: "Bytes 0x80 to 0xFF in a field's value are accepted and reach the application \
                   unchanged.",
        intent: "Old clients send Latin-1 and new ones UTF-8. Only the application knows which.",
        source: "RFC 9110, section 5.5; this project for the MUST",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "decoding of values, and trimming by functions that know Unicode's spaces",
    },
    Rule {
        id: "FLD-09",
        level: Must,
        sentence: "A head with more bytes or fields than the server takes is answered with 431, \
                   and the connection closed; there is such a bound, it holds before the head is \
                   complete, and others are served meanwhile.",
        intent: "Without a bound one client fills the server's memory, with nothing but header \
                 lines.",
        source: "RFC 6585, section 5; RFC 9110, section 5.4; this project for the bound",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the bound on the head: whether it is looked at while the head comes in, or only \
                  once it is there",
    },
    Rule {
        id: "FLD-10",
        level: Must,
        sentence: "A field whose name has `_` is never taken for the one that has `-` there.",
        intent: "A proxy removes `X-Forwarded-User` and lets `X_Forwarded_User` pass; \
                 environments in CGI's manner then make them one.",
        source: "RFC 9110, section 5.1; PEP 3333 for the hazard",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how names of fields become names of variables",
    },
    Rule {
        id: "FLD-11",
        level: Must,
        sentence: "Nothing that a client sends in its fields changes the peer's address, the \
                   scheme, or any other thing that the server itself tells the application.",
        intent: "Access by address, and redirects to https, rest on them. Fields of a proxy are \
                 for whoever has named the proxy.",
        source: "this project; RFC 7239, section 8",
        tested: &[Wire],
        needs: &[Need::Probe("reflect")],
        status: Active,
        since: "0.1",
        look_at: "middleware that believes a proxy's fields, and whom it believes; fields that \
                  become variables without a prefix",
    },
];
