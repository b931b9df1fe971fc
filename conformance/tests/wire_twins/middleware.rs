//! Servers that break the rules of `wire/middleware.rs`.

use std::sync::Arc;

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response};
use http::StatusCode;

use super::jobs::moved;
use super::twin::{Twin, replace};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::app("MID-03", "in two pieces", || collecting(Way::Out)),
        Twin::app("MID-03", "half a request's body", || collecting(Way::In)),
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
