//! Servers that break the rules of `wire/context.rs`.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use gateway_conformance::probe;
use gateway_core::{App, Body, Error, Request, Response, sleep};

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![Twin::app("CTX-01", "gets 200", threads)]
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
