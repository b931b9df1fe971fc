//! Servers that break the rules of `wire/failures.rs`.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_conformance::probe;
use gateway_core::{App, Error, Request, Response};

use super::persistence::{Answer, Asked, answers, exchange};
use super::twin::{Proxied, Twin, good, replace};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = err_01();
    twins.extend(err_02());
    twins.extend(err_03());
    twins.extend(err_07());
    twins
}

fn err_01() -> Vec<Twin> {
    vec![
        answers("ERR-01", "GET of /fail: a close without", |asked, answer| {
            if asked.has("/fail ") { (Vec::new(), false) } else { (answer, asked.stays()) }
        }),
        answers("ERR-01", "GET of /panic: a close without", |asked, answer| {
            if asked.has("/panic ") { (Vec::new(), false) } else { (answer, asked.stays()) }
        }),
        answers("ERR-01", "failures in turn: nothing", |asked, answer| {
            if asked.has("/panic ") { (Vec::new(), true) } else { (answer, asked.stays()) }
        }),
        Twin::back("ERR-01", "GET of /fail: 200", |bytes| {
            replace(bytes, b" 500 Internal Server Error", b" 200 OK");
        }),
        answers("ERR-01", "which is still open", |asked, mut answer| {
            if asked.has("/fail ") {
                replace(&mut answer, b"content-length: ", b"x-length: ");
            }
            (answer, asked.stays())
        }),
        answers("ERR-01", "behind it bytes that are no response", |asked, mut answer| {
            if asked.has("/fail ") {
                answer.extend(b"oops");
            }
            (answer, asked.stays())
        }),
        answers("ERR-01", "HEAD of /fail: behind it", |asked, mut answer| {
            if asked.is("HEAD /fail ") {
                answer.extend(b"oops");
            }
            (answer, asked.stays())
        }),
        // It is kept open, and not served any more.
        answers("ERR-01", "a request after a failure", |asked, answer| {
            let after = asked.number > 1 && asked.is("GET / ");
            if after { (Vec::new(), true) } else { (answer, asked.stays()) }
        }),
    ]
}

/// What came before the failure, and this behind it; where the request is for such a failure.
fn late(asked: &Asked, framing: &str, answer: Vec<u8>, tail: &[u8], stays: bool) -> Answer {
    if !asked.has("-late?framing=") || !asked.has(framing) {
        return (answer, asked.stays());
    }
    let (field, piece) = match (framing.starts_with("length"), framing.ends_with("1.0")) {
        (true, _) => ("content-length: 100\r\n", "first\n"),
        (false, true) => ("", "first\n"),
        (false, false) => ("transfer-encoding: chunked\r\n", "6\r\nfirst\n\r\n"),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n{piece}");
    ([head.as_bytes(), tail].concat(), stays)
}

fn err_02() -> Vec<Twin> {
    vec![
        // Ends as if all were well.
        answers("ERR-02", "/fail-late, chunked, to HTTP/1.1: 200 with", |asked, answer| {
            late(asked, "chunked HTTP/1.1", answer, b"0\r\n\r\n", true)
        }),
        answers("ERR-02", "/panic-late, chunked, with nothing behind", |asked, answer| match asked
            .is("GET /panic-late")
        {
            true => late(asked, "chunked HTTP/1.1", answer, b"0\r\n\r\n", false),
            false => (answer, asked.stays()),
        }),
        answers("ERR-02", "length, to HTTP/1.1: 200 with 100 bytes", |asked, answer| {
            late(asked, "length", answer, &[0; 94], true)
        }),
        answers(
            "ERR-02",
            "with nothing behind: 200 (a chunk's size, then still open)",
            |asked, answer| late(asked, "chunked HTTP/1.1", answer, b"", true),
        ),
        // An error page in the middle of the body.
        answers("ERR-02", "HTTP/1.1 500", |asked, answer| {
            late(asked, "length", answer, b"HTTP/1.1 500 Internal Server Error\r\n\r\n", false)
        }),
        answers("ERR-02", "chunked, to HTTP/1.0", |asked, answer| {
            late(asked, "chunked HTTP/1.0", answer, b"Internal Server Error", false)
        }),
    ]
}

/// A server that is told how many panics there were so far.
fn after_panics(says: &'static str, answer: fn(usize, &Asked, Vec<u8>) -> Answer) -> Twin {
    Twin::new("ERR-03", says, move || {
        let panics = Arc::new(AtomicUsize::new(0));
        Box::new(Proxied::start(good(), move |client: TcpStream, server: SocketAddr| {
            exchange(client, server, |asked, response| {
                let new = usize::from(asked.is("GET /panic "));
                let before = panics.fetch_add(new, Ordering::Relaxed);
                answer(before + new, asked, response)
            });
        }))
    })
}

fn err_03() -> Vec<Twin> {
    vec![
        // Each panic costs a worker, and there are no more.
        after_panics("no answer after", |panics, asked, answer| match panics {
            0..=100 => (answer, asked.stays()),
            _ => (Vec::new(), false),
        }),
        after_panics("a panic: nothing", |panics, asked, answer| match panics {
            0..=120 => (answer, asked.stays()),
            _ => (Vec::new(), true),
        }),
        after_panics("a request: a close without an answer", |_, asked, answer| {
            if asked.is("GET / ") && asked.stays() {
                (Vec::new(), false)
            } else {
                (answer, asked.stays())
            }
        }),
        // It takes others with it.
        after_panics("a request in hand meanwhile", |panics, asked, answer| {
            let lost = asked.is("GET /hold") && panics > 0;
            if lost { (Vec::new(), false) } else { (answer, asked.stays()) }
        }),
        // A lock stays poisoned.
        after_panics("requests after the panics", |panics, asked, mut answer| {
            if asked.is("GET / ") && panics > 0 {
                replace(&mut answer, b" 200 OK", b" 500 Internal Server Error");
            }
            (answer, asked.stays())
        }),
    ]
}

/// Shows its errors to everybody.
struct Telling<A>(A);

impl<A: App> App for Telling<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        self.0.call(request).await.or_else(|error| {
            let mut response = Response::new(format!("{error:?}").into());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            Ok(response)
        })
    }
}

fn err_07() -> Vec<Twin> {
    vec![
        Twin::app("ERR-07", "the error's text, /fail to HTTP/1.1", || Telling(probe::app())),
        answers("ERR-07", "/panic-late?framing=length", |asked, mut answer| {
            if asked.has("/panic-late") {
                answer.extend(b"secret-of-the-application");
            }
            (answer, false)
        }),
        answers("ERR-07", "it stands at byte", |asked, answer| match asked.has("/fail ") {
            true => (page("secret-of-the-application"), false),
            false => (answer, asked.stays()),
        }),
        // Where it is not seen at once.
        answers("ERR-07", "it stands at byte", |asked, mut answer| {
            if asked.has("/panic ") {
                replace(
                    &mut answer,
                    b"\r\ndate: ",
                    b"\r\nx-error: secret-of-the-application\r\ndate: ",
                );
            }
            (answer, asked.stays())
        }),
        answers("ERR-07", "/fail-late?framing=chunked", |asked, mut answer| {
            if asked.has("/fail-late") {
                answer.extend(b"19\r\nsecret-of-the-application\r\n");
            }
            (answer, false)
        }),
    ]
}

/// An error's page.
fn page(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 500 Oops\r\ncontent-length: {length}\r\n\r\n{text}").into_bytes()
}
