//! Servers that break the rules of `wire/responses.rs`.

use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;

use super::persistence::{Answer, Asked, answers, ask, exchange, from_the};
use super::twin::{Proxied, Twin, good, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = lengths();
    twins.extend(unknown_lengths());
    twins.extend(wrong_lengths());
    twins.extend(hop_by_hop());
    twins.extend(pieces());
    twins.extend(numbers());
    twins.extend(fields());
    twins.extend(dates());
    twins
}

fn lengths() -> Vec<Twin> {
    vec![
        Twin::back("RSP-01", "1000 bytes to HTTP/1.1", |bytes| {
            replace(bytes, b"content-length: 1000\r\n", b"content-length: 1001\r\n");
        }),
        Twin::back("RSP-01", "1000 bytes to HTTP/1.1", |bytes| {
            replace(bytes, b"content-length: 1000\r\n", b"content-length: 999\r\n");
        }),
        Twin::back("RSP-01", "several Content-Length fields", |bytes| {
            let twice = b"content-length: 1000\r\ncontent-length: 1000\r\n";
            replace(bytes, b"content-length: 1000\r\n", twice);
        }),
        Twin::back("RSP-01", "an unknown transfer coding", |bytes| {
            let both = b"content-length: 1000\r\ntransfer-encoding: identity\r\n";
            replace(bytes, b"content-length: 1000\r\n", both);
        }),
        answers("RSP-01", "differs", |asked, mut answer| {
            if let Some(byte) = answer.get_mut(700_000) {
                *byte ^= 1;
            }
            (answer, asked.stays())
        }),
        answers("RSP-01", "65537 bytes", |asked, mut answer| {
            let cut = asked.has("bytes=65537");
            answer.truncate(if cut { 65_536 } else { answer.len() });
            (answer, asked.stays() && !cut)
        }),
        // Text where there are bytes.
        answers("RSP-01", "1 MiB of any bytes", |asked, answer| {
            (String::from_utf8_lossy(&answer).into_owned().into_bytes(), asked.stays())
        }),
        from_the(3, "GET / ", ("RSP-01", "/: 200"), halved),
        answers("RSP-01", "/no-such-path: 404", |asked, answer| match asked.has("/no-such-path") {
            true => halved(asked, answer),
            false => (answer, asked.stays()),
        }),
        Twin::back("RSP-01", "the answer to what is no request: 400", |bytes| {
            if bytes.starts_with(b"HTTP/1.1 400") {
                *bytes = b"HTTP/1.1 400 No\r\ncontent-length: 9\r\n\r\nbad".to_vec();
            }
        }),
        // Known to be empty, and without a length.
        answers("RSP-01", "0 bytes to HTTP/1.1", |asked, mut answer| {
            replace(&mut answer, b"content-length: 0\r\n", b"");
            (answer, asked.stays())
        }),
    ]
}

/// All but the last bytes of an answer, and then a close.
fn halved(_: &Asked, mut answer: Vec<u8>) -> Answer {
    answer.truncate(answer.len().saturating_sub(2));
    (answer, false)
}

/// No answer, and no close.
fn silent(_: &Asked, _: Vec<u8>) -> Answer {
    (Vec::new(), true)
}

/// As if the request had been of the other version.
fn as_other(asked: &Asked, server: SocketAddr) -> Vec<u8> {
    let old = asked.has(" HTTP/1.0\r\n");
    let target = asked.target();
    let version = if old { "1.1" } else { "1.0" };
    ask(server, format!("GET {target} HTTP/{version}\r\nHost: here\r\n\r\n").as_bytes())
}

fn unknown_lengths() -> Vec<Twin> {
    vec![
        Twin::server("RSP-02", "to HTTP/1.0", |client, server| {
            exchange(client, server, |asked, answer| match asked.has(" HTTP/1.0\r\n") {
                true => (as_other(asked, server), false),
                false => (answer, asked.stays()),
            });
        }),
        Twin::server("RSP-02", "to HTTP/1.1: Close", |client, server| {
            exchange(client, server, |asked, answer| match asked.is("GET /stream") {
                true if asked.has(" HTTP/1.1\r\n") => (as_other(asked, server), false),
                _ => (answer, asked.stays()),
            });
        }),
        answers("RSP-02", "a chunk's size, then closed", |asked, mut answer| {
            let stays = !answer.ends_with(b"\r\n0\r\n\r\n");
            answer.truncate(answer.len() - if stays { 0 } else { 5 });
            (answer, stays && asked.stays())
        }),
        Twin::back("RSP-02", "Content-Length: Some", |bytes| {
            let both = b"transfer-encoding: chunked\r\ncontent-length: 30\r\n";
            replace(bytes, b"transfer-encoding: chunked\r\n", both);
        }),
        answers("RSP-02", "1000 pieces of 1 bytes", |asked, mut answer| {
            let many = asked.has("chunks=1000&bytes=1 ");
            let piece = b"1\r\nx\r\n";
            let at = answer.windows(piece.len()).position(|window| window == piece);
            if let (true, Some(at)) = (many, at) {
                answer.drain(at..at + piece.len());
            }
            (answer, asked.stays())
        }),
        // Sizes in decimal.
        Twin::back("RSP-02", "3 pieces of 10 bytes", |bytes| {
            replace(bytes, b"\r\nA\r\n", b"\r\n10\r\n")
        }),
        answers("RSP-02", "0 pieces of 0 bytes", |asked, mut answer| {
            if asked.has("chunks=0&bytes=0 HTTP/1.1") {
                let end = answer.len() - 5;
                answer.truncate(end);
            }
            (answer, asked.stays())
        }),
    ]
}

/// So many bytes, where others are announced.
fn short(announced: usize, sent: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n\r\n");
    [head.as_bytes(), &b"x".repeat(sent)].concat()
}

fn wrong_lengths() -> Vec<Twin> {
    vec![
        // Filled up.
        answers("RSP-03", "with 100 bytes", |asked, answer| match asked.is("GET /short") {
            true => (short(100, 100), asked.stays()),
            false => (answer, asked.stays()),
        }),
        // Used again: the next response is the other half.
        answers("RSP-03", "200 with 100 bytes of body", |asked, answer| {
            match asked.is("GET /short") {
                true => (short(100, 50), asked.stays()),
                false => (answer.repeat(2), asked.stays()),
            }
        }),
        answers("RSP-03", "with nothing behind: 200 (50 of 100", |asked, answer| {
            match asked.is("GET /short") {
                true => (short(100, 50), asked.stays()),
                false => (answer, asked.stays()),
            }
        }),
        // Its length is corrected, so that nobody can tell.
        answers("RSP-03", "with 50 bytes", |asked, answer| match asked.is("GET /short") {
            true => (short(50, 50), asked.stays()),
            false => (answer, asked.stays()),
        }),
        answers("RSP-04", "bytes behind the announced ones", |asked, mut answer| {
            if asked.is("GET /long") {
                answer.extend(b"yyyyyyyyyy");
            }
            (answer, asked.stays())
        }),
        answers("RSP-04", "with 20 bytes", |asked, mut answer| {
            if asked.is("GET /long") {
                replace(&mut answer, b"content-length: 10\r\n", b"content-length: 20\r\n");
                answer.extend(b"yyyyyyyyyy");
            }
            (answer, asked.stays())
        }),
        Twin::back("RSP-04", "the application's side of it: ok", |bytes| {
            replace(bytes, b"\"send\":\"error\"", b"\"send\":\"ok\"   ");
            replace(bytes, b"\"send\":\"cancelled\"", b"\"send\":\"ok\"       ");
        }),
    ]
}

fn hop_by_hop() -> Vec<Twin> {
    fn hop(field: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n{field}\r\n\r\nhop\n").into_bytes()
    }
    vec![
        answers("RSP-05", "own [\"keep-alive\"]", |asked, answer| match asked.is("GET /hop") {
            true => (hop("keep-alive: timeout=9"), asked.stays()),
            false => (answer, asked.stays()),
        }),
        answers("RSP-05", "own [\"connection\"]", |asked, answer| match asked.is("GET /hop") {
            true => (hop("connection: x-hop"), asked.stays()),
            false => (answer, asked.stays()),
        }),
        answers("RSP-05", "an unknown transfer coding", |asked, answer| {
            match asked.is("GET /hop") {
                true => (hop("transfer-encoding: gzip"), asked.stays()),
                false => (answer, asked.stays()),
            }
        }),
        from_the(1, "GET /hop", ("RSP-05", "hop-by-hop fields to HTTP/1.1"), silent),
        answers("RSP-05", "a close without an answer", |asked, answer| {
            match asked.is("GET /hop") {
                true => (Vec::new(), false),
                false => (answer, asked.stays()),
            }
        }),
    ]
}

fn pieces() -> Vec<Twin> {
    fn whole(_: &Asked, answer: Vec<u8>) -> (Vec<u8>, bool) {
        (answer, false)
    }
    vec![
        // Collects the body first.
        Twin::server("RSP-06", "the first piece, HTTP/1.1: nothing", |client, server| {
            exchange(client, server, whole);
        }),
        // Collects it for HTTP/1.0, to know its length.
        Twin::server("RSP-06", "the first piece, HTTP/1.0: nothing", |client, server| {
            let mut head = [0; 512];
            let read = client.peek(&mut head).unwrap_or_default();
            let old = String::from_utf8_lossy(&head[..read]).contains(" HTTP/1.0\r\n");
            if old {
                exchange(client, server, whole);
            } else {
                tamper(client, server, |_| {}, |_| {});
            }
        }),
        // Sends a piece when it is given the next.
        Twin::server("RSP-06", "the first piece, HTTP/1.1: ", |client, server| {
            let (mut gated, mut kept) = (false, Vec::new());
            tamper(
                client,
                server,
                |_| {},
                move |bytes| {
                    gated |= bytes.windows(6).any(|window| window == b"first\n");
                    if gated {
                        std::mem::swap(bytes, &mut kept);
                    }
                },
            );
        }),
        // The second piece is lost.
        Twin::back("RSP-06", "the second piece", |bytes| replace(bytes, b"second\n", b"second ")),
        answers("RSP-07", "to HTTP/1.1: 200 with 1 bytes of body: a", |asked, mut answer| {
            replace(&mut answer, b"1\r\na\r\n", b"1\r\na\r\n0\r\n\r\n");
            (answer, asked.stays())
        }),
        answers("RSP-07", "to HTTP/1.1: 200 with 1 bytes of body: a", |asked, mut answer| {
            replace(&mut answer, b"1\r\nb\r\n", b"");
            (answer, asked.stays())
        }),
        answers("RSP-07", "to HTTP/1.0: 200 with 1 bytes of body: a", |asked, mut answer| {
            if asked.is("GET /empty-chunk HTTP/1.0") {
                answer.truncate(answer.len() - 1);
            }
            (answer, asked.stays())
        }),
    ]
}

fn numbers() -> Vec<Twin> {
    const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    vec![
        // The error's response behind the one that failed.
        answers("RSP-08", "GET /no-such-path", |asked, mut answer| {
            if asked.is("GET /no-such-path") {
                answer.extend(FAILED);
            }
            (answer, asked.stays())
        }),
        answers("RSP-08", "GET /fail: 500, then", |asked, mut answer| {
            if asked.is("GET /fail ") {
                answer.extend(FAILED);
            }
            (answer, asked.stays())
        }),
        answers("RSP-08", "GET /fail-late?framing=length", |asked, mut answer| {
            if asked.is("GET /fail-late?framing=length") {
                answer.extend(b"x".repeat(94));
                answer.extend(FAILED);
            }
            (answer, asked.stays())
        }),
        // An interim response that comes too late.
        answers("RSP-08", "POST /early with Expect", |asked, mut answer| {
            if asked.has("Expect") {
                answer.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            (answer, asked.stays())
        }),
        answers("RSP-08", "then \"\\\\r\\\\n\"", |asked, mut answer| {
            answer.extend(b"\r\n");
            (answer, asked.stays())
        }),
        from_the(1, "GET /status", ("RSP-08", "an application that answers 103: nothing"), silent),
        // The interim response alone.
        answers("RSP-08", "POST /echo with Expect: nothing", |asked, answer| {
            match asked.is("POST /echo") && asked.has("Expect") {
                true => (b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), true),
                false => (answer, asked.stays()),
            }
        }),
    ]
}

fn fields() -> Vec<Twin> {
    const BOTH: &[u8] = b"set-cookie: a=1\r\nset-cookie: b=2\r\n";
    vec![
        Twin::back("RSP-09", "a=1, b=2", |bytes| replace(bytes, BOTH, b"set-cookie: a=1, b=2\r\n")),
        Twin::back("RSP-09", "[\"b=2\"]", |bytes| replace(bytes, BOTH, b"set-cookie: b=2\r\n")),
        Twin::back("RSP-09", "[\"b=2\", \"a=1\"]", |bytes| {
            replace(bytes, BOTH, b"set-cookie: b=2\r\nset-cookie: a=1\r\n");
        }),
        Twin::front("RSP-10", "no TE", |bytes| {
            let asks = b"/send-trailers HTTP/1.1\r\nTE: trailers\r\nConnection: TE\r\n";
            replace(bytes, b"/send-trailers HTTP/1.1\r\n", asks);
        }),
        Twin::front("RSP-10", "TE: gzip", |bytes| replace(bytes, b"TE: gzip", b"TE: trailers")),
        Twin::front("RSP-10", "TE: trailers", |bytes| {
            replace(bytes, b"TE: trailers\r\nConnection: TE\r\n", b"");
        }),
        Twin::back("RSP-10", "trailers to HTTP/1.0", |bytes| {
            replace(bytes, b"data\n", b"data\nx-trailer: yes\r\n");
        }),
    ]
}

fn dates() -> Vec<Twin> {
    vec![
        Twin::back("RSP-11", "with []", |bytes| replace(bytes, b"\r\ndate: ", b"\r\nx-date: ")),
        Twin::back("RSP-11", "UTC", |bytes| replace(bytes, b" GMT\r\n", b" UTC\r\n")),
        Twin::back("RSP-11", "GMT\", \"", |bytes| {
            let twice = b"\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ndate: ";
            replace(bytes, b"\r\ndate: ", twice);
        }),
        Twin::back("RSP-11", "an application's own Date", |bytes| {
            let now = b"Mon, 07 Nov 1994 08:49:37 GMT";
            replace(bytes, b"Sun, 06 Nov 1994 08:49:37 GMT", now);
        }),
        answers("RSP-11", "GET /no-such-path: 404 with []", |asked, mut answer| {
            if asked.is("GET /no-such-path") {
                replace(&mut answer, b"\r\ndate: ", b"\r\nx-date: ");
            }
            (answer, asked.stays())
        }),
        answers("RSP-11", "GET /status?code=304", |asked, mut answer| {
            if asked.has("code=304") {
                replace(&mut answer, b"\r\ndate: ", b"\r\nx-date: ");
            }
            (answer, asked.stays())
        }),
        // A clock that has never been set.
        Twin::back("RSP-11", "GET /: 200 with [\"Thu, 01 Jan 1970", |bytes| {
            let mark = b"\r\ndate: ";
            let at = bytes.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = at.map(|at| at + mark.len()) {
                bytes[at..at + 29].copy_from_slice(b"Thu, 01 Jan 1970 00:00:07 GMT");
            }
        }),
        // Made once, and kept.
        Twin::new("RSP-11", "the date, some seconds later", || {
            let kept = std::sync::Arc::new(OnceLock::<Vec<u8>>::new());
            Box::new(Proxied::start(good(), move |client: TcpStream, server: SocketAddr| {
                let back = |bytes: &mut Vec<u8>| {
                    let mark = b"\r\ndate: ";
                    let at = bytes.windows(mark.len()).position(|window| window == mark);
                    if let Some(at) = at.map(|at| at + mark.len()) {
                        let now = bytes[at..at + 29].to_vec();
                        bytes[at..at + 29].copy_from_slice(kept.get_or_init(|| now));
                    }
                };
                tamper(client, server, |_| {}, back);
            }))
        }),
    ]
}
