//! Servers that break the rules of `wire/upgrades.rs`.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::jobs::tired;
use super::persistence::{Answer, Asked, answers, ask, exchange, from_the};
use super::twin::{Proxied, Twin, good, replace, tamper};

/// The line that ends an upgrade's request, as the checks send it.
const OFFER: &[u8] = b"Upgrade: echo\r\n\r\n";

/// Where the bytes behind an upgrade's head begin.
fn behind(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(OFFER.len()).position(|window| window == OFFER);
    at.map(|at| at + OFFER.len())
}

/// As if an offer had been taken.
fn switched(_: &Asked, _: Vec<u8>) -> Answer {
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), true)
}

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = vec![
        Twin::front("UPG-01", "an unknown protocol: 101", |bytes| {
            replace(bytes, b"Upgrade: no-such-protocol", b"Upgrade: echo");
        }),
        Twin::front("UPG-01", "almost echo: 101", |bytes| replace(bytes, b": echoes", b": echo")),
        Twin::front("UPG-01", "offers nothing: 101", |bytes| {
            let offers = b" /upgrade HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n";
            replace(bytes, b" /upgrade HTTP/1.1\r\n", offers);
        }),
        Twin::back("UPG-01", "Upgrade: None", |bytes| replace(bytes, b"upgrade: echo\r\n", b"")),
        Twin::back("UPG-01", "Connection: None", |bytes| {
            replace(bytes, b"connection: upgrade\r\n", b"");
        }),
        answers("UPG-01", "GET / that offers TLS: 101", |asked, answer| {
            match asked.has("Upgrade: TLS") {
                true => (b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), true),
                false => (answer, asked.stays()),
            }
        }),
        answers("UPG-01", "GET / that offers almost echo: 101", |asked, answer| {
            let plain = asked.is("GET / ") || asked.is("GET /known") || asked.is("GET /status");
            match plain && (asked.has("pgrade") || asked.has("101")) {
                true => switched(asked, answer),
                false => (answer, asked.stays()),
            }
        }),
        from_the(3, "GET / ", ("UPG-01", "GET / that offers nothing: 101"), switched),
        answers("UPG-01", "an offer to who does not take it: 426", |asked, mut answer| {
            if asked.has("Upgrade: ") {
                replace(&mut answer, b" 200 OK", b" 426 Upgrade Required");
            }
            (answer, asked.stays())
        }),
        Twin::front("UPG-02", "HTTP/1.0: 101", |bytes| replace(bytes, b" HTTP/1.0", b" HTTP/1.1")),
        // Each connection of HTTP/1.0 stays open, and is not served any more.
        Twin::server("UPG-02", "HTTP/1.0 with keep-alive: nothing", |client, server| {
            let mut head = [0; 32];
            let peeked = client.peek(&mut head).unwrap_or_default();
            if !head[..peeked].windows(8).any(|word| word == b"HTTP/1.0") {
                return tamper(client, server, |_| {}, |_| {});
            }
            exchange(client, server, |asked, answer| match asked.number {
                1 => (answer, true),
                _ => (Vec::new(), true),
            });
        }),
        Twin::front("UPG-02", "no Connection field: 101", |bytes| {
            replace(
                bytes,
                b"\r\nUpgrade: echo\r\n",
                b"\r\nConnection: upgrade\r\nUpgrade: echo\r\n",
            );
        }),
        Twin::front("UPG-02", "Connection: upgraded: 101", |bytes| {
            replace(bytes, b"Connection: upgraded", b"Connection: upgrade");
        }),
    ];
    twins.extend(upg_03());
    twins.extend(upg_04());
    twins
}

fn upg_03() -> Vec<Twin> {
    vec![
        // What was read ahead is lost.
        Twin::front("UPG-03", "bytes right behind the head", |bytes| {
            let end = behind(bytes).unwrap_or(bytes.len());
            bytes.truncate(end);
        }),
        // What was read ahead comes twice.
        Twin::front("UPG-03", "bytes after the switch, in pieces", |bytes| {
            if let Some(at) = behind(bytes) {
                bytes.extend(bytes[at..].to_vec());
            }
        }),
        // It is parsed, too.
        Twin::server("UPG-03", "bytes that look like a request", |client, server| {
            let front = |bytes: &mut Vec<u8>| {
                if let Some(at) = behind(bytes).filter(|at| bytes[*at..].starts_with(b"GET ")) {
                    ask(server, &bytes[at..]);
                }
            };
            tamper(client, server, front, |_| {});
        }),
        // Afterwards, too.
        Twin::front("UPG-03", "such bytes after the switch", |bytes| {
            if bytes.starts_with(b"GET /known") {
                bytes[0] = b'P';
            }
        }),
        // It switches three times, and no more: the fourth comes in small pieces.
        Twin::new("UPG-03", "a head in small pieces: not", || {
            let met = Arc::new(AtomicUsize::new(0));
            Box::new(Proxied::start(good(), move |client: TcpStream, server| {
                let mut first = [0; 7];
                let peeked = client.peek(&mut first).unwrap_or_default();
                let offers = first[..peeked] == *b"GET /up";
                let fourth = offers && met.fetch_add(1, Ordering::Relaxed) == 3;
                let front = |bytes: &mut Vec<u8>| {
                    if fourth {
                        bytes.clear()
                    }
                };
                tamper(client, server, front, |_| {});
            }))
        }),
        tired("UPG-03", "another client, after a reset: nothing", b"GET / ", 1),
        // Text where there are bytes.
        Twin::front("UPG-03", "4 KiB of any bytes", |bytes| {
            if let Some(at) = behind(bytes) {
                bytes[at..].iter_mut().for_each(|byte| *byte &= 0x7f);
            }
        }),
        Twin::back("UPG-03", "1 MiB both ways", |bytes| {
            if bytes.len() > 1000 && !bytes.starts_with(b"HTTP") {
                bytes.swap(0, 1);
            }
        }),
        // What comes right before the end is lost with it.
        Twin::front("UPG-03", "FIN behind the last bytes", |bytes| replace(bytes, b" words", b"")),
        // A new response for each piece.
        Twin::back("UPG-03", "bytes after the switch, in pieces", |bytes| {
            if bytes == b"two " {
                bytes.splice(0..0, *b"HTTP/1.1 ");
            }
        }),
    ]
}

fn upg_04() -> Vec<Twin> {
    vec![
        Twin::front("UPG-04", "a body of 5 bytes: 101, then \"hello", |bytes| {
            replace(bytes, b"Content-Length: 5\r\n", b"");
        }),
        Twin::front("UPG-04", "a chunked body: 101, then \"5", |bytes| {
            replace(bytes, b"Transfer-Encoding: chunked\r\n", b"");
        }),
        Twin::front("UPG-04", "a body of 100,000 bytes: 101, then \"bbbb", |bytes| {
            replace(bytes, b"Content-Length: 100000\r\n", b"");
        }),
        // Waits for a body that has come, and for ever.
        Twin::front("UPG-04", "a body of 5 bytes: nothing", |bytes| {
            if bytes.windows(19).any(|window| window == b"Content-Length: 5\r\n") {
                replace(bytes, b"Content-Length: 5\r\n", b"Content-Length: 5000\r\n");
                replace(bytes, b" /upgrade ", b" /echo ");
            }
        }),
    ]
}
