//! Servers that break the rules of `wire/context.rs`.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response, sleep};

use serde_json::Value;

use super::request_line::bent;
use super::twin::{Twin, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::app("CTX-01", "gets 200", threads),
        // What a connection has been told once is kept for its next request.
        Twin::app("CTX-01", "a bare request behind another", || {
            bent(|json| {
                static SECRET: Mutex<Option<Value>> = Mutex::new(None);
                let fields = json["fields"].as_array_mut().expect("fields");
                let secret = fields.iter().find(|field| field[0] == "x-secret").cloned();
                let mut kept = SECRET.lock().unwrap();
                match secret {
                    Some(secret) => *kept = Some(secret),
                    None => fields.extend(kept.take()),
                }
            })
        }),
        // One request's fields show up in another's.
        Twin::app("CTX-01", "requests beside others", || {
            bent(|json| {
                static LAST: Mutex<Option<Value>> = Mutex::new(None);
                if json["query"].as_str().is_some_and(|query| query.starts_with("n=")) {
                    let fields = json["fields"].take();
                    json["fields"] = LAST.lock().unwrap().replace(fields.clone()).unwrap_or(fields);
                }
            })
        }),
        // The first of a pipeline stands for all.
        Twin::server("CTX-01", "pipelined ones", |client, server| {
            let front = |bytes: &mut Vec<u8>| {
                if bytes.windows(11).filter(|word| word == b"GET /local?").count() > 1 {
                    let first = bytes.windows(2).position(|end| end == b"\r\n").unwrap_or(0);
                    let line = bytes[..first].to_vec();
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    let lines = text.split("\r\n").map(|old| match old.starts_with("GET ") {
                        true => line.clone(),
                        false => old.as_bytes().to_vec(),
                    });
                    *bytes = lines.collect::<Vec<_>>().join(&b"\r\n"[..]);
                }
            };
            tamper(client, server, front, |_| {});
        }),
    ]
}

thread_local! {
    static LOCAL: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps a request's state with the thread that it is on.
fn threads() -> impl App {
    let probe = Arc::new(probe::app());
    move |request: Request| {
        let probe = probe.clone();
        async move {
            if request.uri().path() != "/local" {
                return probe.call(request).await;
            }
            let n = request.uri().query().unwrap_or_default().replace("n=", "");
            LOCAL.set(n);
            sleep(Duration::from_millis(1)).await;
            Ok::<_, Error>(Response::new(Body::from(LOCAL.with_borrow(String::clone))))
        }
    }
}
