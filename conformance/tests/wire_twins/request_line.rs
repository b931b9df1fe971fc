//! Servers that break the rules of `wire/request_line.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response};
use serde_json::Value;

use super::twin::{Proxied, Twin, good, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = vec![
        Twin::front("REQ-01", "CRLF, then GET: 400", |bytes| {
            if bytes.starts_with(b"\r\n") {
                bytes.insert(0, b'x');
            }
        }),
        Twin::front("REQ-01", "CRLF between two requests: 400", |bytes| {
            replace(bytes, b"\r\n\r\n\r\nGET", b"\r\n\r\nx\r\nGET");
        }),
        Twin::front("REQ-03", "G(T: 200", |bytes| replace(bytes, b"G(T", b"GET")),
        Twin::front("REQ-03", "\"GET\": 200", |bytes| replace(bytes, b"\"GET\"", b"GET")),
        Twin::front("REQ-03", "G\\xe9T: 200", |bytes| replace(bytes, b"G\xe9T", b"GET")),
        Twin::server("REQ-03", "what stands behind them: 2", past_the_malformed),
        Twin::front("REQ-05", "behind all lines: 200", |bytes| {
            replace(bytes, b"\r\n", b"\n");
            replace(bytes, b"\n", b"\r\n");
        }),
        Twin::front("REQ-07", "HTTP/1.5: 400", |bytes| replace(bytes, b"HTTP/1.5", b"HTTP/x.5")),
        Twin::back("REQ-07", "HTTP/1.9", |bytes| replace(bytes, b"HTTP/1.1", b"HTTP/1.9")),
        Twin::front("REQ-08", "FoO: {", |bytes| replace(bytes, b"FoO", b"FOO")),
        Twin::front("REQ-08", "get: {", |bytes| replace(bytes, b"get /", b"GET /")),
        Twin::front("REQ-08", "PROPFIND: 400", |bytes| replace(bytes, b"PROPFIND", b"(")),
        Twin::back("REQ-08", "X: 501", |bytes| {
            if find(bytes, b"\"method\":\"X\"") {
                *bytes = b"HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
        }),
        Twin::front("REQ-10", "http://…/: 400", |bytes| replace(bytes, b"GET http://", b"(")),
        Twin::front("REQ-10", "HTTP://…/: 400", |bytes| replace(bytes, b"HTTP://", b" ")),
        Twin::front("REQ-10", "target.example above Host", |bytes| {
            replace(bytes, b"http://target.example/", b"/");
        }),
        Twin::front("REQ-10", "target.example:81 above Host", |bytes| {
            replace(bytes, b"target.example:81", b"target.example");
        }),
        Twin::front("REQ-12", "none: 200", |bytes| {
            if !find(bytes, b"ost:") {
                replace(bytes, b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: a\r\n");
            }
        }),
        Twin::front("REQ-12", "two: 200", |bytes| {
            replace(bytes, b"\r\nHost: other.example", b"");
        }),
        Twin::front("REQ-12", "two, one empty: 200", |bytes| replace(bytes, b"\r\nHost:\r", b"\r")),
        Twin::front("REQ-12", "invalid: a.example:b: 200", |bytes| {
            replace(bytes, b"a.example:b", b"a.example");
        }),
        Twin::server("REQ-12", "none, on a connection in use: 200", |client, server| {
            let mut first = true;
            let front = |bytes: &mut Vec<u8>| {
                if !std::mem::take(&mut first) && !find(bytes, b"Host") {
                    replace(bytes, b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: a\r\n");
                }
            };
            tamper(client, server, front, |_| {});
        }),
        Twin::front("REQ-12", "[::1]: 400", |bytes| replace(bytes, b"Host: [::1]\r", b"(\r")),
        Twin::front("REQ-13", "alone: 400", |bytes| replace(bytes, b"HTTP/1.0\r", b"HTTP/1.0 x\r")),
        Twin::front("REQ-14", "Host: user@…: 200", |bytes| replace(bytes, b": user@", b": ")),
        Twin::front("REQ-14", "http://user:pass@…/: 200", |bytes| {
            replace(bytes, b"//user:pass@", b"//");
        }),
        Twin::front("REQ-15", "a request line of 8,000 octets: 400", |bytes| {
            if bytes.len() > 7000 {
                *bytes = b"(\r\n\r\n".to_vec();
            }
        }),
        Twin::back("REQ-15", "a target of 200000 octets: 500", |bytes| {
            replace(bytes, b"HTTP/1.1 414", b"HTTP/1.1 500");
            replace(bytes, b"HTTP/1.1 431", b"HTTP/1.1 500");
        }),
        Twin::server("REQ-17", "a pipeline, byte by byte: 400", whole_or_nothing),
        Twin::server("REQ-17", "an answer before the end", at_the_first_byte),
        Twin::front("REQ-17", "GET, cut before byte", |bytes| {
            if bytes == b"\n" {
                bytes.clear();
            }
        }),
        Twin::front("REQ-17", "PROPFIND, byte by byte", |bytes| {
            if bytes == b"P" {
                *bytes = b"PRI * HTTP/2.0\r\n".to_vec();
            }
        }),
        Twin::front("REQ-17", "a pipeline, byte by byte", |bytes| {
            if bytes == b"h" {
                bytes.clear();
            }
        }),
        Twin::new("REQ-17", "GET, random segments", || Box::new(out_of_patience())),
        Twin::server("REQ-18", "GET: 400", |client, _| answer(client, |_| "400")),
        Twin::server("REQ-18", "the preface: 404", |client, _| {
            answer(client, |head| if head.starts_with(b"PRI") { "404" } else { "200" });
        }),
    ];
    twins.extend(FRONTS.iter().map(|(rule, says, front)| Twin::front(rule, says, *front)));
    twins.extend(YES.iter().map(|(rule, says)| Twin::server(rule, says, yes)));
    twins.push(Twin::server("REQ-15", "a short one after it: 400", |client, server| {
        // It has seen a long one, and trusts nobody any more.
        static SEEN: AtomicBool = AtomicBool::new(false);
        let front = |bytes: &mut Vec<u8>| {
            if SEEN.load(Ordering::Relaxed) && bytes.starts_with(b"GET / ") {
                *bytes = b"(\r\n\r\n".to_vec();
            }
            SEEN.fetch_or(bytes.len() > 60_000, Ordering::Relaxed);
        };
        tamper(client, server, front, |_| {});
    }));
    twins.push(Twin::app("REQ-09", "/reflect?a=b?c=d", || {
        bent(|json| {
            let target = json["target"].as_str().unwrap_or_default().to_owned();
            if let Some((path, query)) = target.rsplit_once('?') {
                (json["path"], json["query"]) = (path.into(), query.into());
            }
        })
    }));
    twins
}

/// What a server in front of a good one makes of a request.
type Front = fn(&mut Vec<u8>);

/// Servers that take one malformed thing for a good one, or change one thing.
const FRONTS: &[(&str, &str, Front)] = &[
    ("REQ-02", "two spaces before the target: 200", |b| replace(b, b"GET  /", b"GET /")),
    ("REQ-02", "two spaces before the version: 200", |b| replace(b, b"/  HTTP", b"/ HTTP")),
    ("REQ-02", "a tab before the version: 200", |b| replace(b, b"\tHTTP", b" HTTP")),
    ("REQ-02", "a vertical tab before the target: 200", |b| replace(b, b"\x0b", b" ")),
    ("REQ-02", "a space at the end: 200", |b| replace(b, b"1.1 \r", b"1.1\r")),
    ("REQ-02", "a fourth word: 200", |b| replace(b, b"1.1 x\r", b"1.1\r")),
    ("REQ-02", "letters behind the version: 200", |b| replace(b, b"1.1x\r", b"1.1\r")),
    ("REQ-02", "no version: 200", |b| replace(b, b"GET /\r\nHost", b"GET / HTTP/1.1\r\nHost")),
    ("REQ-02", "lower-case http: 200", |b| replace(b, b"http/1.1", b"HTTP/1.1")),
    ("REQ-02", "no target: 200", |b| replace(b, b"GET HTTP", b"GET / HTTP")),
    ("REQ-02", "a request of HTTP/0.9: 200", |b| {
        if *b == b"GET /\r\n\r\n" {
            *b = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        }
    }),
    ("REQ-02", "a space at the start: 200", |b| {
        if b.starts_with(b" GET") {
            b.remove(0);
        }
    }),
    ("REQ-02", "a tab at the end, in a pipeline: 200, then 200", |b| {
        if b.starts_with(b"GET / HTTP/1.1\r\n") {
            replace(b, b"1.1\t\r", b"1.1\r");
        }
    }),
    ("REQ-04", "at the start: 200", |b| {
        if b.starts_with(b"\rG") {
            b.remove(0);
        }
    }),
    ("REQ-04", "in the method: 200", |b| replace(b, b"G\rET", b"GET")),
    ("REQ-04", "in place of a space: 200", |b| replace(b, b"/\rHTTP", b"/ HTTP")),
    ("REQ-04", "behind the version: 200", |b| replace(b, b"1.1\r\r\n", b"1.1\r\n")),
    ("REQ-04", "as the end of the request line: 200", |b| {
        replace(b, b"1.1\rHost", b"1.1\r\nHost");
    }),
    ("REQ-04", "in a name: 200", |b| replace(b, b"X-\rA", b"X-A")),
    ("REQ-04", "in a value: 200", |b| replace(b, b"b\rc", b"bc")),
    ("REQ-04", "behind a value: 200", |b| replace(b, b": b\r\r\n", b": b\r\n")),
    ("REQ-04", "as the end of a field: 200", |b| replace(b, b"b\rX-B", b"b\r\nX-B")),
    ("REQ-04", "before the empty line: 200", |b| replace(b, b"\n\r\r\n", b"\n\r\n")),
    ("REQ-04", "before a name, in a pipeline: 200, then 200", |b| {
        if b.starts_with(b"GET / HTTP/1.1\r\n") {
            replace(b, b"\rX-A", b"X-A");
        }
    }),
    ("REQ-06", "HTTP/1.10: 200", |b| replace(b, b"HTTP/1.10", b"HTTP/1.1")),
    ("REQ-06", "HTTP/11: 200", |b| replace(b, b"HTTP/11", b"HTTP/1.1")),
    ("REQ-06", "http/1.1: 200", |b| replace(b, b"http/1.1", b"HTTP/1.1")),
    ("REQ-06", "HTTP/2.0: 200", |b| replace(b, b"/ HTTP/2.0", b"/ HTTP/1.1")),
    ("REQ-06", "HTTP/0.9: 200", |b| replace(b, b"/ HTTP/0.9", b"/ HTTP/1.0")),
    ("REQ-09", "/inner%2Freflect", |b| replace(b, b"r%2F", b"r/")),
    ("REQ-09", "//reflect", |b| replace(b, b" //r", b" /r")),
    ("REQ-09", "/./reflect", |b| replace(b, b"/./", b"/")),
    ("REQ-09", "/a/../reflect", |b| replace(b, b"/a/../", b"/")),
    ("REQ-09", "/reflect;a=b", |b| replace(b, b"t;a=b ", b"t ")),
    ("REQ-09", "/%72eflect", |b| replace(b, b"%72", b"r")),
    ("REQ-09", "/reflect/", |b| replace(b, b"/reflect/ ", b"/reflect ")),
    ("REQ-09", "/reflect?a=%41%2f%2F", |b| replace(b, b"%2f", b"%2F")),
    ("REQ-09", "/reflect?a=b;c=d", |b| replace(b, b"b;c", b"b&c")),
    ("REQ-09", "/reflect??", |b| replace(b, b"?? ", b"? ")),
    ("REQ-09", "/reflect?a=+%20+", |b| replace(b, b"=+", b"=%20")),
    ("REQ-01", "CRLF behind a body: 400", |b| replace(b, b"abc\r\nGET", b"abcx\r\nGET")),
    ("REQ-08", "Post: {", |b| replace(b, b"Post /", b"POST /")),
    ("REQ-08", "M-SEARCH: {", |b| replace(b, b"M-SEARCH /", b"GET /")),
    ("REQ-08", "PRIOR: 400", |b| replace(b, b"PRIOR /", b"(")),
    ("REQ-08", "0-9: {", |b| replace(b, b"a!#$%&'*+.^_`|~0-9 /", b"a!#$%&'*+.^_`|~ /")),
    ("REQ-09", "/reflect?a=b: {", tidied),
    ("REQ-11", "OPTIONS *: 400", |b| replace(b, b"OPTIONS * ", b"OPTIONS ** ")),
    ("REQ-12", "host, without a space: 400", |b| replace(b, b"\nhost:1", b"\n(:1")),
    ("REQ-12", "a_b.example:80: 400", |b| replace(b, b"Host: a_b.example:80\r", b"Host: [\r")),
    ("REQ-12", "[::1]:80: 400", |b| replace(b, b"Host: [::1]:80\r", b"Host: [\r")),
    ("REQ-12", "a.example:: 400", |b| replace(b, b"Host: a.example:\r", b"Host: [\r")),
    ("REQ-12", "192.0.2.7: 400", |b| replace(b, b"Host: 192.0.2.7\r", b"Host: [\r")),
    ("REQ-12", "A-1.example.: 400", |b| replace(b, b"Host: A-1.example.\r", b"Host: [\r")),
    ("REQ-11", "GET *: 200", |b| replace(b, b"GET * ", b"GET / ")),
    ("REQ-11", "HEAD *: 200", |b| replace(b, b"HEAD * ", b"HEAD / ")),
    ("REQ-11", "GET example.com:80: 200", |b| replace(b, b"GET example.com:80", b"GET /")),
    ("REQ-11", "GET a/b: 200", |b| replace(b, b" a/b ", b" / ")),
    ("REQ-11", "CONNECT with a path: ", |b| replace(b, b"CONNECT /", b"GET /")),
    ("REQ-11", "CONNECT *: 200", |b| replace(b, b"CONNECT *", b"GET /")),
    ("REQ-16", "0x01 in the path: 404", |b| replace(b, b"\x01", b"x")),
    ("REQ-16", "0x7f in the query: 200", |b| replace(b, b"?a\x7f", b"?a")),
    ("REQ-16", "0x80 in the path: 404", |b| replace(b, b"\x80", b"%80")),
    ("REQ-16", "0x23 in the path: 404", |b| replace(b, b"#", b"%23")),
];

/// Serves a request as often as it has bytes to be cut at, in any segments, and no more.
fn out_of_patience() -> Proxied {
    let met = Arc::new(Mutex::new((0, 0)));
    Proxied::start(good(), move |client: TcpStream, server| {
        let (mut first, mut last) = (true, false);
        let front = |bytes: &mut Vec<u8>| {
            let mut met = met.lock().unwrap();
            if std::mem::take(&mut first)
                && bytes.starts_with(b"G")
                && !bytes.starts_with(b"GET /s")
            {
                let (count, length) = &mut *met;
                *count += 1;
                // The first two that describe a request come whole.
                *length = (*length).max(bytes.len());
                // Two that ask what it is, two whole ones, and one byte by byte.
                last = *count > *length + 4;
            }
            if last {
                bytes.clear();
            }
        };
        tamper(client, server, front, |_| {});
    })
}

/// Makes `/reflect` of each target that is like it, and loses what is behind.
fn tidied(bytes: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut words = text.splitn(3, ' ');
    if let (Some("GET"), Some(target), Some(rest)) = (words.next(), words.next(), words.next()) {
        let like = target.to_ascii_lowercase().contains("eflect") && target != "/reflect";
        if like {
            *bytes = format!("GET /reflect?tidied {rest}").into_bytes();
        }
    }
}

/// What a server says yes to that says yes to everything.
const YES: &[(&str, &str)] = &[
    ("REQ-02", "a fourth word: 200"),
    ("REQ-03", "G(T: 200"),
    ("REQ-04", "in a value: 200"),
    ("REQ-06", "HTTP/1.10: 200"),
    ("REQ-06", "HTTP/3.0: 200"),
    ("REQ-11", "GET *: 200"),
    ("REQ-12", "two: 200"),
    ("REQ-14", "Host: user@…: 200"),
    ("REQ-15", "a target of 2000000 octets: 200"),
    ("REQ-16", "0x23 in the query: 200"),
    ("REQ-18", "the preface: 200"),
];

/// Answers whatever ends with an empty line, of any length.
pub(crate) fn yes(client: TcpStream, _: SocketAddr) {
    answer(client, |_| "200");
}

/// Answers each head, of any length, with a status; a refusal closes.
pub(crate) fn answer(mut client: TcpStream, status: fn(&[u8]) -> &'static str) {
    let (mut seen, mut buf, mut from) = (Vec::new(), [0; 64 * 1024], 0);
    while let Ok(read @ 1..) = client.read(&mut buf) {
        seen.extend_from_slice(&buf[..read]);
        while let Some(at) = seen[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = seen.drain(..from + at + 4).collect();
            from = 0;
            let status = status(&head);
            let response = format!("HTTP/1.1 {status} So\r\nContent-Length: 3\r\n\r\nok\n");
            if client.write_all(response.as_bytes()).is_err() || status == "431" {
                return;
            }
        }
        from = seen.len().saturating_sub(3);
    }
}

/// Refuses a malformed method as it should, and goes on with what stands behind it.
fn past_the_malformed(client: TcpStream, server: SocketAddr) {
    let pipelined = |bytes: &mut Vec<u8>| {
        if bytes.starts_with(b"GET / HTTP/1.1\r\n") && find(bytes, b"?id=") {
            let at = bytes.windows(6).position(|six| six == b"GET /?").unwrap_or_default();
            bytes.drain(..at);
        }
    };
    tamper(client, server, pipelined, |_| {});
}

/// Wants the whole head in the first segment.
fn whole_or_nothing(mut client: TcpStream, server: SocketAddr) {
    let mut buf = [0; 64 * 1024];
    let Ok(read @ 1..) = client.peek(&mut buf) else { return };
    if find(&buf[..read], b"\r\n\r\n") {
        return tamper(client, server, |_| {}, |_| {});
    }
    // What has been read can't be answered with a reset.
    let _ = client.read(&mut buf);
    let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let _ = client.shutdown(std::net::Shutdown::Write);
    while let Ok(1..) = client.read(&mut buf) {}
}

/// Answers as soon as anything comes.
fn at_the_first_byte(mut client: TcpStream, _: SocketAddr) {
    let mut buf = [0; 64 * 1024];
    while let Ok(1..) = client.read(&mut buf) {
        if client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").is_err() {
            return;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The probe application, with a description of requests that is not true.
pub(crate) fn bent(bend: fn(&mut Value)) -> impl App {
    Bent(probe::app(), bend)
}

struct Bent<A>(A, fn(&mut Value));

impl<A: App> App for Bent<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let described = request.uri().path() == "/reflect";
        let response = self.0.call(request).await?;
        if !described {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let mut json: Value = serde_json::from_slice(&body.collect(1 << 20).await?)?;
        self.1(&mut json);
        head.headers.remove(http::header::CONTENT_LENGTH);
        Ok(Response::from_parts(head, Body::from(json.to_string())))
    }
}
