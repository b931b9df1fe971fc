//! Servers that break the rules of `wire/smuggling.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::request_line::bent;
use super::twin::{Twin, replace, tamper};

/// The rule, what is said, and what the server reads in place of what the client has sent.
type Misread = (&'static str, &'static str, fn(&mut Vec<u8>));

const MISREAD: &[Misread] = &[
    ("SMG-01", "a length of no byte, before Transfer-Encoding", |bytes| {
        both_lengths(bytes, b"Transfer-Encoding:");
    }),
    ("SMG-01", "as long as the coded body, behind Transfer-Encoding", |bytes| {
        both_lengths(bytes, b"Content-Length:");
    }),
    ("SMG-02", "HTTP/1.0 that keeps alive", |bytes| replace(bytes, b"HTTP/1.0", b"HTTP/1.1")),
    ("SMG-03", "chunked, chunked: 200", |bytes| replace(bytes, b"chunked, chunked", b"chunked")),
    ("SMG-04", "\\x0bchunked: 200", |bytes| replace(bytes, b"\x0bchunked", b"chunked")),
    ("SMG-04", "xchunked: 200", |bytes| replace(bytes, b" xchunked", b" chunked")),
    ("SMG-04", "chunked\\xa0: 200", |bytes| replace(bytes, b"chunked\xa0", b"chunked")),
    ("SMG-04", "Encoding : chunked: 200", |bytes| replace(bytes, b"Encoding :", b"Encoding:")),
    ("SMG-04", "\"chunked\\\": 200", |bytes| replace(bytes, b"\"chunked\"", b"chunked")),
    ("SMG-04", "Transfer_Encoding: chunked", |bytes| {
        if bytes.windows(17).any(|name| name == b"Transfer_Encoding") {
            replace(bytes, b"Content-Length", b"X-Length");
            replace(bytes, b"Transfer_Encoding", b"Transfer-Encoding");
        }
    }),
    ("SMG-01", "chunked alone: 400", |bytes| {
        if !bytes.windows(15).any(|name| name == b"Content-Length:") {
            replace(bytes, b"chunked", b"xyz");
        }
    }),
    ("SMG-02", "HTTP/1.0 with a length: 200", |bytes| {
        replace(
            bytes,
            b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 15\r\n",
        );
    }),
    ("SMG-04", "X-Transfer-Encoding: chunked, and a request in the body served", |bytes| {
        for name in ["X-Transfer-Encoding", "Transfer-Encodings", "Transfer-Encoding-", "TE"]
            .into_iter()
            .chain([
                "transfer_encoding",
                "Transfer-Encodin",
                "Transfer.Encoding",
                "TransferEncoding",
            ])
        {
            let line = format!("\r\n{name}: chunked\r\n");
            if bytes.windows(line.len()).any(|window| window == line.as_bytes()) {
                replace(bytes, line.as_bytes(), b"\r\nTransfer-Encoding: chunked\r\n");
                replace(bytes, b"Content-Length:", b"X-Length:");
            }
        }
    }),
    ("SMG-05", "chunked: 400", |bytes| {
        replace(
            bytes,
            b"Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"Encoding: xyz\r\n\r\n",
        );
    }),
    ("SMG-05", "the request behind it", |bytes| replace(bytes, b"Content-Length: +5", b"X: 5")),
    ("SMG-05", "the request behind it", |bytes| replace(bytes, b"helloXX0", b"hello\r\n0")),
    ("SMG-06", "a length of 0", |bytes| {
        replace(bytes, b"Content-Length: 0\r\n\r\nG", b"Content-Length: 0\r\n\r\n");
    }),
    ("SMG-06", "a last chunk alone", |bytes| {
        replace(bytes, b"\r\n\r\n0\r\n\r\nG", b"\r\n\r\n0\r\n\r\n");
    }),
];

pub(crate) fn twins() -> Vec<Twin> {
    let misread = MISREAD.iter().map(|(rule, says, front)| Twin::front(rule, says, *front));
    let broken = [
        Twin::server("SMG-04", "Transfer-Encoding: chunked,", |client, server| {
            lenient(client, server, &[b": chunked,", b": chunked , ,", b": chunked;q=1"]);
        }),
        Twin::app("SMG-06", "the method behind it", || bent(|json| json["method"] = "ET".into())),
        Twin::server("SMG-05", "and the request behind it served", refuses_and_goes_on),
        Twin::back("SMG-06", "GET: 200, then bytes that are no response", |bytes| {
            replace(bytes, b"content-length: 3\r\n", b"content-length: 2\r\n");
        }),
        Twin::server("SMG-07", "crlf: \"200\" with the injected field", |client, server| {
            injects(client, server, "\r\n");
        }),
        Twin::server("SMG-07", "nul: \"200\" with the injected field", |client, server| {
            injects(client, server, "\0");
        }),
        Twin::back("SMG-08", "does not say close", |bytes| {
            replace(bytes, b"connection: close\r\n", b"x-nothing: close\r\n");
        }),
    ];
    misread.chain(broken).collect()
}

/// Takes each of these for chunked, and loses its place behind it.
fn lenient(client: TcpStream, server: SocketAddr, values: &[&[u8]]) {
    let taken = AtomicBool::new(false);
    let front = |bytes: &mut Vec<u8>| {
        for value in values {
            let whole = [*value, b"\r\n"].concat();
            if bytes.windows(whole.len()).any(|window| window == whole) {
                replace(bytes, &whole, b": chunked\r\n");
                taken.store(true, Ordering::Release);
            }
        }
    };
    tamper(client, server, front, |bytes| {
        if taken.load(Ordering::Acquire) {
            replace(bytes, b"xxxxxxx", b"xxxxxxxjunk");
        }
    });
}

/// Takes one of the two for nothing, where both are there.
fn both_lengths(bytes: &mut Vec<u8>, ignored: &[u8]) {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|bytes| bytes == name);
    if has(b"Transfer-Encoding:") && has(b"Content-Length:") {
        replace(bytes, ignored, b"X-Ignored:");
    }
}

/// What the client sends first, without taking it.
fn first(client: &TcpStream) -> String {
    let mut buf = [0; 4096];
    let read = client.peek(&mut buf).unwrap_or_default();
    String::from_utf8_lossy(&buf[..read]).into_owned()
}

/// A server that refuses a bad request, closes, and has the rest of its input served all the same.
fn refuses_and_goes_on(mut client: TcpStream, server: SocketAddr) {
    let head = first(&client);
    let Some(at) = head.rfind("GET /unread") else {
        return tamper(client, server, |_| {}, |_| {});
    };
    let Ok(mut server) = TcpStream::connect(server) else { return };
    let _ = server.write_all(&head.as_bytes()[at..]);
    let _ = server.read(&mut [0; 64]);
    let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let _ = client.shutdown(Shutdown::Both);
}

/// A server that writes the application's field as it is.
fn injects(mut client: TcpStream, server: SocketAddr, between: &str) {
    if !first(&client).contains("/bad-field") {
        return tamper(client, server, |_| {}, |_| {});
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Bad: a";
    let _ = client.write_all(format!("{head}{between}X-Injected: yes\r\n\r\n").as_bytes());
    let _ = client.shutdown(Shutdown::Write);
}
