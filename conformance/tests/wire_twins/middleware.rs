//! Servers that break the rules of `wire/middleware.rs`.

use std::sync::Arc;

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response};
use http::StatusCode;

use super::jobs::moved;
use super::limits::greedy;
use super::persistence::{answers, exchange};
use super::twin::{Twin, replace};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::app("MID-03", "in two pieces", || collecting(Way::Out)),
        Twin::app("MID-03", "half a request's body", || collecting(Way::In)),
        Twin::back("MID-03", "in HTTP/1.1, then", |bytes| replace(bytes, b"second\n", b"zweiter")),
        Twin::server("MID-03", "a body without end, unread", greedy),
        Twin::back_of("POST /inner/first-read", ("MID-03", "the other half: 500"), |bytes| {
            replace(bytes, b" 200 OK", b" 500 No");
        }),
        Twin::server("MID-04", "the next request: nothing", |client, server| {
            exchange(client, server, |asked, answer| match asked.number {
                1 => (answer, true),
                _ => (Vec::new(), true),
            });
        }),
        answers("MID-04", "POST \"Content-Length", |asked, mut answer| {
            if asked.is("POST ") && asked.has("Content-Length") {
                replace(&mut answer, b" 403 ", b" 500 ");
            }
            (answer, true)
        }),
        answers("MID-04", "POST \"Transfer-Encoding", |asked, mut answer| {
            if asked.is("POST ") && asked.has("Transfer-Encoding") {
                replace(&mut answer, b" 403 ", b" 500 ");
            }
            (answer, true)
        }),
        Twin::app("MID-04", "calls 3", nosy),
        Twin::back("MID-04", "8 of 9 bytes", |bytes| {
            if bytes.starts_with(b"HTTP/1.1 403") {
                replace(bytes, b"content-length: 8", b"content-length: 9");
            }
        }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    In,
    Out,
}

/// How much of a body is collected.
const COLLECTED: usize = 1024 * 1024;

/// A middleware around `/inner/` that collects bodies.
fn collecting(way: Way) -> impl App {
    let probe = Arc::new(probe::app());
    move |request: Request| {
        let probe = probe.clone();
        async move {
            if !request.uri().path().starts_with("/inner/") {
                return probe.call(request).await;
            }
            let (head, mut body) = request.into_parts();
            if way == Way::In {
                body = Body::from(body.collect(COLLECTED).await?);
            }
            let response = probe.call(Request::from_parts(head, body)).await?;
            let (head, mut body) = response.into_parts();
            if way == Way::Out {
                body = Body::from(body.collect(COLLECTED).await?);
            }
            Ok::<_, Error>(Response::from_parts(head, body))
        }
    }
}

/// A middleware that calls the application, and answers by itself all the same.
fn nosy() -> impl App {
    let probe = Arc::new(probe::app());
    move |request: Request| {
        let probe = probe.clone();
        async move {
            if request.uri().path() != "/stopped" {
                return probe.call(request).await;
            }
            probe.call(moved(request, "/stopped", "/unread")?).await?;
            let mut response = Response::new(Body::from("stopped\n"));
            *response.status_mut() = StatusCode::FORBIDDEN;
            Ok::<_, Error>(response)
        }
    }
}
