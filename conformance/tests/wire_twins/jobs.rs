//! Servers that break the rules of `wire/jobs.rs`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use gateway_conformance::probe;
use gateway_conformance::wire::Instance;
use gateway_core::{App, Error, Request, Response};
use http::StatusCode;

use super::twin::{PATIENCE, Proxied, Twin, good, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::new("EXE-01", "while 8 jobs block", || Box::new(blocked())),
        tired("EXE-01", "/known?bytes=100000, while 8 jobs block: turn", b"GET /known", 0),
        tired("EXE-01", "/slow?ms=10, while 8 jobs block: turn", b"GET /slow", 0),
        tired("EXE-01", "/, while 8 jobs block for sure: turn", b"GET / ", 11),
        tired(
            "EXE-01",
            "/known?bytes=100000, while 8 jobs block for sure: turn",
            b"GET /known",
            10,
        ),
        tired("EXE-01", "/slow?ms=10, while 8 jobs block for sure: turn", b"GET /slow", 10),
        Twin::app("EXE-01", "8 jobs: calls 3", || room_for(3, false)),
        Twin::app("EXE-01", "8 jobs, when they may end: 0 answers", || room_for(0, true)),
        tired("EXE-02", "/, while 200 jobs wait: turn", b"GET / ", 1),
        tired("EXE-02", "/known?bytes=100000, while 200 jobs wait: turn", b"GET /known", 0),
        tired("EXE-02", "/slow?ms=10, while 200 jobs wait: turn", b"GET /slow", 0),
        Twin::app("EXE-02", "while 200 jobs wait: calls 64", || room_for(64, false)),
        Twin::back(
            "SPN-01",
            "in the end: calls 1, handler finished, body none (0 bytes), sending",
            |bytes| {
                replace(bytes, b"\"task\":\"finished\"", b"\"task\":\"canceled\"");
            },
        ),
        Twin::app("EXE-02", "200 jobs, when they may end", || room_for(64, true)),
        Twin::back("SPN-01", "task stopped", |bytes| {
            replace(bytes, b"\"task\":\"running\"", b"\"task\":\"stopped\"");
        }),
        Twin::new("SPN-01", "still waits", || Box::new(Endless(good()))),
    ]
}

/// Answers nobody else while a job is at work, for as long as a client waits.
fn blocked() -> Proxied {
    let busy = Arc::new((Mutex::new(false), Condvar::new()));
    Proxied::start(good(), move |client, server| {
        let (blocks, over) = &*busy;
        let front = |bytes: &mut Vec<u8>| {
            if bytes.starts_with(b"GET /job") {
                *blocks.lock().unwrap() = true;
            } else {
                let held = |blocks: &mut bool| *blocks;
                let waited =
                    over.wait_timeout_while(blocks.lock().unwrap(), PATIENCE.signal * 2, held);
                *waited.unwrap().0 = false;
            }
        };
        tamper(client, server, front, |_| {});
    })
}

/// Gives no answer to a kind of request, when it has answered so many of them.
pub(crate) fn tired(
    rule: &'static str,
    says: &'static str,
    kind: &'static [u8],
    times: usize,
) -> Twin {
    Twin::new(rule, says, move || {
        let answered = Arc::new(AtomicUsize::new(0));
        Box::new(Proxied::start(good(), move |client, server| {
            let front = |bytes: &mut Vec<u8>| {
                if bytes.starts_with(kind) && answered.fetch_add(1, Ordering::Relaxed) >= times {
                    bytes.clear();
                }
            };
            tamper(client, server, front, |_| {});
        }))
    })
}

/// Has room for so many jobs, and refuses others; perhaps so that their calls still count.
fn room_for(room: usize, counted: bool) -> impl App {
    let (probe, jobs) = (Arc::new(probe::app()), Arc::new(AtomicUsize::new(0)));
    move |request: Request| {
        let (probe, jobs) = (probe.clone(), jobs.clone());
        async move {
            let is_job = request.uri().path() == "/job";
            if is_job && jobs.fetch_add(1, Ordering::Relaxed) >= room {
                let there = if counted { "/unread" } else { "/state" };
                let response = probe.call(moved(request, "/job", there)?).await?;
                let (mut head, body) = response.into_parts();
                head.status = StatusCode::SERVICE_UNAVAILABLE;
                return Ok::<_, Error>(Response::from_parts(head, body));
            }
            probe.call(request).await
        }
    }
}

/// The same request to another path.
pub(crate) fn moved(mut request: Request, from: &str, to: &str) -> Result<Request, Error> {
    *request.uri_mut() = request.uri().to_string().replacen(from, to, 1).parse()?;
    Ok(request)
}

/// Never ends.
pub(crate) struct Endless(pub(crate) Box<dyn Instance>);

impl Instance for Endless {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn terminate(&mut self) {
        self.0.terminate();
    }

    fn has_ended(&mut self) -> bool {
        false
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }
}
