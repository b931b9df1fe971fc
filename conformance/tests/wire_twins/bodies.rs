//! Servers that break the rules of `wire/bodies.rs`.

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response};
use http_body_util::BodyExt;
use serde_json::json;

use super::persistence::exchange;
use super::twin::{Twin, replace};

/// The rule, what is said, and what the server reads in place of what the client has sent.
type Misread = (&'static str, &'static str, fn(&mut Vec<u8>));

const MISREAD: &[Misread] = &[
    ("BODY-01", "POST without a length: 9 of 0", takes_more),
    ("BODY-02", "4 of 5 bytes", |bytes| {
        replace(bytes, b"Content-Length: 5\r\n", b"Content-Length: 4\r\n");
    }),
    ("BODY-02", "leading zeros: 400", |bytes| replace(bytes, b"0005\r\n", b"o5\r\n")),
    ("BODY-03", "\"+5\": 200", |bytes| replace(bytes, b"Length: +5", b"Length: 5")),
    ("BODY-03", "\"5_0\": 200", |bytes| replace(bytes, b"Length: 5_0", b"Length: 5")),
    ("BODY-03", "\"0x5\": 200", |bytes| replace(bytes, b"Length: 0x5", b"Length: 5")),
    ("BODY-03", "\"5, 6\": 200", |bytes| replace(bytes, b"Length: 5, 6", b"Length: 5")),
    ("BODY-03", "two lines, 5 and 6: 200", |bytes| {
        replace(bytes, b"Content-Length: 6\r\n", b"");
    }),
    ("BODY-03", "2^64 + 5", |bytes| replace(bytes, b"18446744073709551621", b"5")),
    ("BODY-03", "2^32 + 5", |bytes| replace(bytes, b"4294967301", b"5")),
    ("BODY-04", "a list: 4 of 5", |bytes| replace(bytes, b"Length: 5, 5", b"Length: 4")),
    ("BODY-06", "2^64 - 1: 200", |bytes| replace(bytes, b"FFFFFFFFFFFFFFFF", b"5")),
    ("BODY-05", "upper hex: 400", |bytes| replace(bytes, b"\nA\r\n0", b"\nx\r\n0")),
    ("BODY-05", "a leading zero: 400", |bytes| replace(bytes, b"\n05\r\n", b"\nx5\r\n")),
    ("BODY-05", "a size of 10:", |bytes| replace(bytes, b"\n10\r\n0", b"\na\r\n0")),
    ("BODY-06", "\"+5\": 200", |bytes| replace(bytes, b"\n+5\r\n", b"\n5\r\n")),
    ("BODY-06", "\"0x5\": 200", |bytes| replace(bytes, b"\n0x5\r\n", b"\n5\r\n")),
    ("BODY-06", "\" 5\": 200", |bytes| replace(bytes, b"\n 5\r\n", b"\n5\r\n")),
    ("BODY-06", "\"\": 200", |bytes| replace(bytes, b"\r\n\r\n\r\nhello", b"\r\n\r\n5\r\nhello")),
    ("BODY-06", "2^64 + 5: 200", |bytes| replace(bytes, b"10000000000000005", b"5")),
    ("BODY-06", "2^32 + 5: 200", |bytes| replace(bytes, b"100000005", b"5")),
    ("BODY-07", "two other bytes: 200", |bytes| replace(bytes, b"helloXX0", b"hello\r\n0")),
    ("BODY-07", "two bytes too many: 200", |bytes| replace(bytes, b"3\r\nhello", b"5\r\nhello")),
    ("BODY-07", "nothing: 200", |bytes| replace(bytes, b"hello0\r\n", b"hello\r\n0\r\n")),
    ("BODY-08", "5;a=b: 400", |bytes| replace(bytes, b"5;a=b\r\n", b"5 a=b\r\n")),
    ("BODY-10", "50,000 fields", |bytes| replace(bytes, b"X-Trailer: a\r\n", b"")),
    ("BODY-12", "xyz: 200", |bytes| replace(bytes, b"Encoding: xyz\r\n", b"Encoding: chunked\r\n")),
    ("BODY-13", "chunked, gzip: 200", |bytes| replace(bytes, b"chunked, gzip", b"chunked")),
    ("BODY-16", "GET /echo, served", |bytes| {
        if bytes.starts_with(b"GET ") {
            replace(bytes, b"Content-Length:", b"X-Length:");
        }
    }),
    ("BODY-16", "HEAD /unread, served", |bytes| {
        if bytes.starts_with(b"HEAD ") {
            replace(bytes, b"Content-Length:", b"X-Length:");
        }
    }),
    ("BODY-17", "/unread, 10 bytes", unread_bodies),
    ("BODY-17", "/unread, one request, served", unread_bodies),
    ("BODY-17", "/unread, a body after the answer, served", unread_bodies),
];

pub(crate) fn twins() -> Vec<Twin> {
    let misread = MISREAD.iter().map(|(rule, says, front)| Twin::front(rule, says, *front));
    let broken = [
        Twin::server("BODY-16", "HEAD /, in chunks: ", |client, server| {
            let mut lost = false;
            exchange(client, server, |asked, answer| {
                let junk = std::mem::replace(&mut lost, asked.is("HEAD ") && asked.has("chunked"));
                (if junk { b"LOST\r\n\r\n".to_vec() } else { answer }, asked.stays())
            });
        }),
        Twin::app("BODY-02", "65536 bytes: 65535 of 65536 bytes", || Instead(cuts_echo)),
        Twin::app("BODY-02", "255 bytes: 254 of 255 bytes", || Instead(trims_echo)),
        Twin::app("BODY-04", "two lines, as the application sees it", || Instead(shows_two)),
        Twin::tampered(
            "BODY-04",
            "a list of three, as the application sees it",
            collapses,
            |bytes| {
                replace(bytes, b"[\"content-length\",\"5\"]", b"[\"content-length\",\"6\"]");
            },
        ),
        Twin::tampered(
            "BODY-04",
            "a list of three: 200, then 200, and then more",
            collapses,
            |bytes| {
                replace(bytes, b"xxxxxxx", b"xxxxxxxjunk");
            },
        ),
        Twin::app("BODY-09", "Host, as a header field", || Instead(merges_trailers)),
        Twin::app("BODY-11", "a part of a length: 200", || Instead(takes_cut_off)),
        Twin::app("BODY-11", "within a chunk: 200", || Instead(takes_cut_off)),
        Twin::app("BODY-14", "a byte more than the limit: 200", || Instead(takes_all)),
        Twin::app("BODY-15", "500", || Instead(blames_itself)),
    ];
    misread.chain(broken).collect()
}

/// A server that makes one length of many.
fn collapses(bytes: &mut Vec<u8>) {
    replace(bytes, b"Content-Length: 5, 5\r\n", b"Content-Length: 5\r\n");
    replace(bytes, b"Content-Length: 5,5,5\r\n", b"Content-Length: 5\r\n");
    for second in [&b"Content-Length: 5\r\n"[..], b"X-Other: 1\r\ncontent-length: 5\r\n"] {
        let both = [b"Content-Length: 5\r\n", second].concat();
        replace(bytes, &both, b"Content-Length: 5\r\n");
    }
}

/// A server that takes a part of what comes next for the body that there is not.
fn takes_more(bytes: &mut Vec<u8>) {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or_default();
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    if head.starts_with("post") && !head.contains("content-length") && !head.contains("transfer") {
        bytes.splice(end..end, b"\r\nContent-Length: 9".iter().copied());
    }
}

/// A server that forgets about a body that nobody reads.
fn unread_bodies(bytes: &mut Vec<u8>) {
    if bytes.starts_with(b"POST /unread") {
        replace(bytes, b"Content-Length:", b"X-Length:");
    }
}

/// The probe application behind a function that may answer in its place.
struct Instead(fn(&str, Vec<u8>, Trailers, Result<(), Error>) -> Answer);

/// What that function makes of a request's path, its body, its trailers, and how the body ended.
enum Answer {
    Body(Vec<u8>),
    Fails(Error),
    /// As the probe application does.
    Probe,
}

impl App for Instead {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let path = request.uri().path().to_owned();
        if !["/echo", "/reflect", "/read"].contains(&path.as_str()) {
            return probe::app().call(request).await;
        }
        let (head, mut body) = request.into_parts();
        let (mut read, mut trailers) = (Vec::new(), Vec::new());
        let mut ended = Ok(());
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => read.extend_from_slice(&data),
                Ok(Err(frame)) => {
                    for (name, value) in frame.trailers_ref().into_iter().flatten() {
                        let value = value.to_str().unwrap_or_default();
                        trailers.push((name.to_string(), value.to_owned()));
                    }
                }
                Err(error) => ended = Err(error),
            }
        }
        match (self.0)(&path, read.clone(), trailers, ended) {
            Answer::Body(body) => Ok(Response::new(Body::from(body))),
            Answer::Fails(error) => Err(error),
            Answer::Probe => probe::app().call(Request::from_parts(head, read.into())).await,
        }
    }
}

type Trailers = Vec<(String, String)>;

fn cuts_echo(path: &str, mut body: Vec<u8>, _: Trailers, _: Result<(), Error>) -> Answer {
    body.truncate(65_535);
    if path == "/echo" { Answer::Body(body) } else { Answer::Probe }
}

fn trims_echo(path: &str, mut body: Vec<u8>, _: Trailers, _: Result<(), Error>) -> Answer {
    body.truncate(body.len().max(1) - 1);
    if path == "/echo" { Answer::Body(body) } else { Answer::Probe }
}

fn shows_two(path: &str, _: Vec<u8>, _: Trailers, _: Result<(), Error>) -> Answer {
    let seen = json!({ "fields": [["content-length", "5"], ["content-length", "5"]] });
    if path == "/reflect" { Answer::Body(seen.to_string().into()) } else { Answer::Probe }
}

fn merges_trailers(path: &str, _: Vec<u8>, trailers: Trailers, _: Result<(), Error>) -> Answer {
    let seen = json!({ "fields": trailers });
    if path == "/reflect" { Answer::Body(seen.to_string().into()) } else { Answer::Probe }
}

fn takes_cut_off(_: &str, body: Vec<u8>, _: Trailers, _: Result<(), Error>) -> Answer {
    Answer::Body(body)
}

fn takes_all(path: &str, body: Vec<u8>, _: Trailers, ended: Result<(), Error>) -> Answer {
    match ended {
        Err(error) => Answer::Fails(error),
        Ok(()) if path == "/echo" => Answer::Body(body),
        Ok(()) => Answer::Probe,
    }
}

fn blames_itself(_: &str, _: Vec<u8>, _: Trailers, ended: Result<(), Error>) -> Answer {
    match ended {
        Err(error) => Answer::Fails(std::io::Error::other(error.to_string()).into()),
        Ok(()) => Answer::Probe,
    }
}
