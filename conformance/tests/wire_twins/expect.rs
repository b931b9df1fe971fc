//! Servers that break the rules of `wire/expect.rs`.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::twin::{Twin, replace, tamper};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::back("EXP-01", "and no 100", |bytes| replace(bytes, CONTINUE, b"")),
        Twin::front("EXP-01", "in another case: nothing", |bytes| {
            replace(bytes, b"Expect: 100-Continue", b"X-Expect: 100-");
        }),
        Twin::server("EXP-01", "before the application reads: 100", |client, server| {
            continues(client, server, |head| head.contains("100-continue"));
        }),
        Twin::server("EXP-02", "HTTP/1.0: 200, interim [100]", |client, server| {
            continues(client, server, |head| head.contains("HTTP/1.0"));
        }),
        Twin::server("EXP-02", "no Expect: 200, interim [100]", |client, server| {
            let plain = |head: &str| head.starts_with("POST ") && !head.contains("Expect");
            continues(client, server, plain);
        }),
        Twin::server("EXP-02", "a length of 0: 200, interim [100]", |client, server| {
            continues(client, server, |head| head.contains("Content-Length: 0"));
        }),
        Twin::server("EXP-03", "/unread: 200, interim [100]", |client, server| {
            continues(client, server, |head| head.contains("100-continue"));
        }),
        Twin::front("EXP-03", "served", |bytes| {
            if bytes.starts_with(b"POST /unread") {
                replace(bytes, b"Content-Length:", b"X-Length:");
            }
        }),
        Twin::front("EXP-04", "200-ok: 200", |bytes| replace(bytes, b"Expect: ", b"X-Expect: ")),
        Twin::back_of("POST /late-read", ("EXP-01", "the answer to a late reader: 500"), |bytes| {
            replace(bytes, b" 200 OK", b" 500 No");
        }),
        Twin::server("EXP-02", "GET without a body: 200, interim [100]", |client, server| {
            continues(client, server, |head| {
                head.contains("Expect:") && !head.contains("Content-") && !head.contains("Transfer")
            });
        }),
        Twin::server("EXP-05", "the next request: 200, interim [100]", |client, server| {
            continues(client, server, |head| {
                head.contains("Content-Length: 5") && !head.contains("Expect")
            });
        }),
        Twin::back("EXP-05", "/early, behind the final head", |bytes| {
            replace(bytes, b"early\n", &[b"early\n", CONTINUE].concat());
        }),
        Twin::server("EXP-05", "a list of two: 200, interim [100, 100]", |client, server| {
            let Ok(mut also) = client.try_clone() else { return };
            let front = move |bytes: &mut Vec<u8>| {
                let twice = b"Expect: 100-continue, 100-continue\r\n";
                if bytes.windows(twice.len()).any(|window| window == twice) {
                    let _ = also.write_all(&CONTINUE.repeat(2));
                    replace(bytes, twice, b"");
                }
            };
            tamper(client, server, front, |_| {});
        }),
        Twin::back("EXP-05", "a body in two pieces: 100, then [100]", |bytes| {
            replace(bytes, CONTINUE, &[CONTINUE, CONTINUE].concat());
        }),
        Twin::back("EXP-05", "/unread, behind the final head", |bytes| {
            replace(bytes, b"unread\n", &[b"unread\n", CONTINUE].concat());
        }),
    ]
}

/// A server that sends a 100 whenever a head looks like this, whatever the application does.
fn continues(client: TcpStream, server: SocketAddr, when: fn(&str) -> bool) {
    let Ok(mut also) = client.try_clone() else { return };
    let front = move |bytes: &mut Vec<u8>| {
        if when(&String::from_utf8_lossy(bytes)) {
            let _ = also.write_all(CONTINUE);
            replace(bytes, b"Expect:", b"X-Expect:");
        }
    };
    tamper(client, server, front, |_| {});
}
