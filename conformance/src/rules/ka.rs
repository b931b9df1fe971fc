//! KA: how long a connection lives, and how it ends.

use crate::rule::{Bound, Level::Must, Level::Should, Need, Rule, Status::Active, Tested::Wire};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "KA-01",
        level: Must,
        sentence: "A connection of HTTP/1.1 stays open after a response that does not say \
                   `close`, and its next request is answered.",
        intent: "A connection for each request costs a client a round trip or three, and a \
                 server a descriptor. One that ends without a word costs a request, too.",
        source: "RFC 9112, section 9.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what decides, after a response, whether the next request is read",
    },
    Rule {
        id: "KA-02",
        level: Must,
        sentence: "A request with the connection option `close` is the last of its connection: \
                   its response says `close`, the connection is closed after it, and nothing \
                   that follows is processed.",
        intent: "A client that has said `close` is not there for a second answer. Whoever \
                 processes what follows acts on bytes that nobody stands for.",
        source: "RFC 9112, section 9.6, where saying `close` is a SHOULD",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how `Connection` is read: it is a list, in any case, on any number of lines",
    },
    Rule {
        id: "KA-03",
        level: Must,
        sentence: "A connection of HTTP/1.0 is closed after its response, unless the client has \
                   asked for `keep-alive` and the response says so.",
        intent: "A client of HTTP/1.0 often waits for the end of the connection to know that a \
                 response is whole.",
        source: "RFC 9112, section 9.3",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the default for HTTP/1.0, and bodies of unknown length",
    },
    Rule {
        id: "KA-04",
        level: Must,
        sentence: "Pipelined requests are answered in their order, one response each.",
        intent: "The order is all that tells a client which response belongs to which request.",
        source: "RFC 9112, section 9.3.2",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what is left in the buffer after a request, and handlers that run side by side",
    },
    Rule {
        id: "KA-05",
        level: Must,
        sentence: "A server that closes a connection before it has read all that the client \
                   sends does so in stages, so that its last response arrives whole.",
        intent: "Closing a socket with unread input resets the connection, and the reset may \
                 overtake the response: an upload that is refused then looks like a network \
                 failure.",
        source: "RFC 9112, section 9.6; this project for the MUST",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the close: first the sending side alone, then read and drop until the client \
                  closes, or for a bounded time",
    },
    Rule {
        id: "KA-06",
        level: Should,
        sentence: "A connection that has been idle for too long is closed without another byte.",
        intent: "A response that nobody asked for is taken by the client for the answer to its \
                 next request.",
        source: "RFC 9112, sections 9.2 and 9.5",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the idle deadline: 408 is for a request that has begun",
    },
    Rule {
        id: "KA-07",
        level: Must,
        sentence: "A client that closes its sending side after a complete request still gets \
                   its answer.",
        intent: "Scripts and some proxies close their half as soon as they have asked. The end \
                 of input is no disconnect: see DRP-02.",
        source: "this project; RFC 9112, section 9.6, has clients that half-close",
        tested: &[Wire],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the end of input does while a handler is at work",
    },
    Rule {
        id: "KA-08",
        level: Should,
        sentence: "Where a server bounds the requests on one connection, the last response says \
                   `close`.",
        intent: "A client that is not told sends its next request into a closing connection.",
        source: "this project; RFC 9112, section 9.6",
        tested: &[Wire],
        needs: &[Need::Declared(Bound::Requests)],
        status: Active,
        since: "0.1",
        look_at: "the bound on requests: it has to be known before the last head is sent",
    },
];
