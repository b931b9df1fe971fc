//! Connections that wait hold no thread, however many; handlers that block hold one each.

#[macro_use]
mod child;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use child::{Served, ask};
use gateway_blocking::Blocking;
use gateway_core::{Body, Request, Response};
use gateway_http::Server;
use gateway_tests::{Client, PATIENCE, Serving};

on_each_host!(idle_connections_starve_nobody);

const IDLE: usize = 500;
const HALVES: usize = 20;
const NEW: usize = 100;

/// How long all new requests together may take.
const TOGETHER: Duration = Duration::from_secs(10);

fn idle_connections_starve_nobody(host: &str) {
    let served = Served::start(host, &["--threads", "8"]);
    let idle = |_| {
        let mut client = served.connect();
        assert_eq!(ask(&mut client, "/hello").status, 200);
        client
    };
    let half = |_| {
        let mut client = served.connect();
        client.send("GET /hello HTTP/1.1\r\nhost: te");
        client
    };
    let mut idle: Vec<Client> = (0..IDLE).map(idle).collect();
    let mut halves: Vec<Client> = (0..HALVES).map(half).collect();

    let started = Instant::now();
    for _ in 0..NEW {
        assert_eq!(served.get("/hello").text(), "Hello, World!");
    }
    let took = started.elapsed();
    assert!(took < TOGETHER, "{NEW} requests took {took:?}");

    for client in &mut halves {
        client.send("st\r\n\r\n");
        assert_eq!(client.answer().status, 200, "half a head is still open");
    }
    for client in &mut idle {
        assert_eq!(ask(client, "/hello").status, 200, "an idle connection is still open");
    }
}

#[test]
fn seven_handlers_that_block_leave_the_eighth_thread_to_others() {
    const BLOCKED: usize = 7;
    let gate = Arc::new(Gate::default());
    let passed = gate.clone();
    let app = move |request: Request| {
        let gate = passed.clone();
        async move {
            if request.uri().path() == "/block" {
                gate.pass();
            }
            Response::new(Body::from("passed"))
        }
    };
    let host = Blocking::new(BLOCKED + 1).expect("the host starts");
    let serving = Serving::start(host, Server::new(app));
    let open = Open(&gate);
    let block = |_| {
        let mut client = serving.connect();
        client.send(child::request("/block"));
        client
    };
    let mut blocked: Vec<Client> = (0..BLOCKED).map(block).collect();
    gate.wait_for(BLOCKED);

    for _ in 0..10 {
        assert_eq!(serving.get("/hello").text(), "passed");
    }
    for client in &mut blocked {
        let stream = client.stream.get_ref();
        stream.set_nonblocking(true).expect("a mode");
        let nothing = stream.peek(&mut [0]).expect_err("no answer yet");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("a mode");
    }

    drop(open);
    for client in &mut blocked {
        assert_eq!(client.answer().text(), "passed");
    }
}

/// Where handlers block until it is opened.
#[derive(Default)]
struct Gate {
    /// How many have come, and whether it is open.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().expect("nobody panics here");
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.1).expect("nobody panics here"));
    }

    fn wait_for(&self, count: usize) {
        let state = self.state.lock().expect("nobody panics here");
        let fewer = |state: &mut (usize, bool)| state.0 < count;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, fewer);
        let (state, _) = waited.expect("nobody panics here");
        assert_eq!(state.0, count, "so many handlers run at once");
    }
}

/// Opens the gate when it is dropped, also by a test that fails.
struct Open<'a>(&'a Gate);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state.lock().expect("nobody panics here").1 = true;
        self.0.changed.notify_all();
    }
}
