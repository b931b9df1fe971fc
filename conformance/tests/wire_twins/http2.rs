//! Servers that break the rules of `wire/http2.rs`.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::twin::{Proxied, Twin, good, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::front("H2-01", "6.9 WINDOW_UPDATE by 0", |bytes| {
            replace(bytes, b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0", b"\0\0\x02\xfa\0\0\0\0\0no");
        }),
        Twin::front("H2-01", "HPACK 6.1 the index 0", |bytes| {
            replace(bytes, b"\0\0\x01\x01\x05\0\0\0\x01\x80", b"\0\0\x01\xfa\0\0\0\0\0\0");
        }),
        Twin::front("H2-02", "an upper-case name: 200", |bytes| {
            replace(bytes, b"X-Upper", b"x-lower");
        }),
        Twin::front("H2-02", "transfer-encoding: 200", |bytes| {
            replace(bytes, b"transfer-encoding", b"transferred-thing");
        }),
        Twin::front("H2-03", "fewer bytes than announced: 200", |bytes| {
            replace(bytes, b"content-length", b"content-lenses");
        }),
        Twin::server("H2-04", "whole", crude),
        Twin::server("H2-05", "24 MB of CONTINUATION: nothing", crude),
        Twin::server("H2-06", "a window of 10 bytes", crude),
        Twin::server("H2-07", "a stream beside one that waits", crude),
        Twin::front("H2-08", "handler running", |bytes| {
            replace(bytes, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08", b"\0\0\x04\xfa\0\0\0\0\0bye!");
        }),
        Twin::front("H2-01", "3.4 a preface that is none: 2", |bytes| {
            replace(bytes, b"PRI * HTTP/2.0\r\n\r\nXX", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }),
        Twin::server("H2-01", "6.1 DATA on stream 0: 200", lavish),
        Twin::server("H2-02", "no :method: 200", lavish),
        Twin::server("H2-09", "PING with ACK: some", lavish),
        Twin::server("H2-01", "a plain request: GOAWAY", takes_its_leave),
        Twin::server("H2-02", "a plain field: GOAWAY", takes_its_leave),
        Twin::server("H2-03", "a length that is right: GOAWAY", takes_its_leave),
        Twin::server("H2-04", "the next stream of the connection: GOAWAY", takes_its_leave),
        Twin::front("H2-05", "1,000 streams reset at once", |bytes| {
            replace(bytes, b"\0\0\x04\x03\0\0\0", b"\0\0\x04\xfa\0\0\0");
        }),
        Twin::new("H2-05", "100,000 PINGs: false", || Box::new(drowned(b"\0\0\x08\x06\0\0\0"))),
        Twin::new("H2-05", "100,000 SETTINGS: false", || {
            Box::new(drowned(b"\0\x04\0\0\xff\xff\0\0"))
        }),
        Twin::front("H2-07", "the one that waited", |bytes| {
            replace(bytes, b"/open?id=", b"/opem?id=");
        }),
        Twin::front("H2-08", "the next stream: GOAWAY", |bytes| {
            replace(bytes, b"\x01\x05\0\0\0\x03", b"\x01\x05\0\0\0\0");
        }),
        Twin::back("H2-09", "SETTINGS: false", |bytes| {
            replace(bytes, b"\0\0\0\x04\x01\0\0\0\0", b"");
        }),
        Twin::back("H2-09", "PING", |bytes| replace(bytes, b"12345678", b"87654321")),
    ]
}

/// A server of HTTP/2 that knows no bounds, no windows, and one stream at a time.
fn crude(client: TcpStream, server: SocketAddr) {
    frames(client, server, |kind, flags, stream, payload| {
        let holds = payload.windows(5).any(|window| window == b"/hold");
        match (kind, flags) {
            // The stream that waits: nothing else is heard.
            (1, 5) if holds => None,
            (1, 5) => {
                let head = [b"\0\0\x01\x01\x04", &stream[..], b"\x88"].concat();
                Some([&head[..], b"\0\0\x64\0\x01", &stream, &[b'x'; 100]].concat())
            }
            _ => Some(usual(kind, flags, payload)),
        }
    });
}

/// A server of HTTP/2 that answers 200 to every frame.
fn lavish(client: TcpStream, server: SocketAddr) {
    frames(client, server, |kind, flags, stream, payload| {
        let stream = if stream[3] % 2 == 0 { [0, 0, 0, 1] } else { stream };
        let answer = [b"\0\0\x01\x01\x05", &stream[..], b"\x88"].concat();
        Some([usual(kind, flags, payload), answer].concat())
    });
}

/// A server of HTTP/2 that takes its leave as soon as it has said hello.
fn takes_its_leave(client: TcpStream, server: SocketAddr) {
    let met = Cell::new(0);
    frames(client, server, |kind, flags, _, payload| {
        let goes = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        // SETTINGS, and the acknowledgement of its own.
        let hello = met.replace(met.get() + 1) < 2 && kind == 4;
        Some(if hello { usual(kind, flags, payload) } else { goes.to_vec() })
    });
}

/// What any server says to SETTINGS and to PING.
fn usual(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    match (kind, flags, payload.len()) {
        (4, 0, length) if length % 6 == 0 => b"\0\0\0\x04\x01\0\0\0\0".to_vec(),
        (6, 0, 8) => [b"\0\0\x08\x06\x01\0\0\0\0", payload].concat(),
        _ => Vec::new(),
    }
}

/// Serves a connection of HTTP/2 frame by frame, up to one that leaves it deaf. What is no HTTP/2
/// goes to the good server.
fn frames(
    mut client: TcpStream,
    server: SocketAddr,
    answer: impl Fn(u8, u8, [u8; 4], &[u8]) -> Option<Vec<u8>>,
) {
    let mut first = [0; 24];
    let peeked = client.peek(&mut first).unwrap_or_default();
    if !first[..peeked].starts_with(b"PRI") {
        return tamper(client, server, |_| {}, |_| {});
    }
    if client.read_exact(&mut first).is_err() || client.write_all(SETTINGS).is_err() {
        return;
    }
    let mut head = [0; 9];
    while client.read_exact(&mut head).is_ok() {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if client.read_exact(&mut payload).is_err() {
            return;
        }
        let Some(answer) = answer(kind, flags, stream, &payload) else { break };
        if client.write_all(&answer).is_err() {
            return;
        }
    }
    let _ = client.read_to_end(&mut Vec::new());
}

/// With at most 200 streams at once.
const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\xc8";

/// A server that serves nobody any more, once it has met a flood of such frames.
fn drowned(frame: &'static [u8]) -> Proxied {
    let met = Arc::new(AtomicUsize::new(0));
    Proxied::start(good(), move |client: TcpStream, server| {
        let front = |bytes: &mut Vec<u8>| {
            let seen = bytes.windows(frame.len()).filter(|window| *window == frame).count();
            if met.fetch_add(seen, Ordering::Relaxed) > 100 {
                bytes.clear();
            }
        };
        tamper(client, server, front, |_| {});
    })
}
