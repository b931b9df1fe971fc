//! Servers that break the rules of `wire/http2.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::twin::{Twin, replace, tamper};

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
        Twin::server("H2-05", "16 MB of CONTINUATION: nothing", crude),
        Twin::server("H2-06", "a window of 10 bytes", crude),
        Twin::server("H2-07", "a stream beside one that waits", crude),
        Twin::front("H2-08", "handler running", |bytes| {
            replace(bytes, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08", b"\0\0\x04\xfa\0\0\0\0\0bye!");
        }),
        Twin::back("H2-09", "PING", |bytes| replace(bytes, b"12345678", b"87654321")),
    ]
}

/// A server of HTTP/2 that knows no bounds, no windows, and one stream at a time. What is no HTTP/2
/// goes to the good server.
fn crude(mut client: TcpStream, server: SocketAddr) {
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
        let holds = payload.windows(5).any(|window| window == b"/hold");
        let answer = match (kind, flags) {
            (1, 5) if holds => break,
            (1, 5) => {
                let head = [b"\0\0\x01\x01\x04", &stream[..], b"\x88"].concat();
                [&head[..], b"\0\0\x64\0\x01", &stream, &[b'x'; 100]].concat()
            }
            (4, 0) => b"\0\0\0\x04\x01\0\0\0\0".to_vec(),
            (6, 0) => [b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat(),
            _ => continue,
        };
        if client.write_all(&answer).is_err() {
            return;
        }
    }
    // The stream that waits: nothing else is heard.
    let _ = client.read_to_end(&mut Vec::new());
}

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
