//! Deadlines and limits: each is reached, and what the client then sees.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gateway_core::{Body, Error, Host, Request, Response, sleep};
use gateway_http::{Activity, Deadline, Deadlines, FLOOD, Limits, Server};
use gateway_tests::{Serving, eventually, on_every_host};
use http_body_util::BodyExt;

on_every_host!(2:
    a_head_that_does_not_come_is_answered_with_408,
    a_head_is_late_though_its_bytes_keep_coming,
    a_connection_without_a_byte_is_closed_quietly,
    a_body_that_stalls_is_answered_with_408,
    a_body_that_stalls_behind_the_responses_head_cuts_it_off,
    a_handler_that_is_late_is_answered_with_503_and_dropped,
    a_handler_may_put_its_deadline_off,
    a_client_that_does_not_read_is_given_up,
    an_idle_connection_is_closed_quietly_and_a_busy_one_is_not,
    beyond_the_limit_connections_wait_and_are_served,
    a_head_that_is_too_large_is_refused,
    a_body_that_is_too_large_is_refused_and_not_invited,
    an_app_raises_the_limit_of_a_body,
    nothing_comes_behind_the_error_of_a_body,
    frames_that_carry_nothing_end_their_connection,
    a_monitor_counts_connections_by_what_they_do,
);

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

async fn ok(_: Request) -> Response {
    Response::new(Body::from("ok"))
}

/// Reads the whole body, however large the server lets it be.
async fn read(request: Request) -> Result<Response, Error> {
    let body = request.into_body().collect(usize::MAX).await?;
    Ok(Response::new(Body::from(body.len().to_string())))
}

fn passed(serving: &Serving, deadline: Deadline) -> u64 {
    let all = serving.monitor.deadlines();
    all.into_iter().find(|(which, _)| *which == deadline).map_or(0, |(_, times)| times)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

fn a_head_that_does_not_come_is_answered_with_408(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { head: SHORT, ..Deadlines::default() };
    let slow = async |request: Request| {
        sleep(4 * SHORT).await;
        ok(request).await
    };
    let serving = Serving::start(host, Server::new(slow).deadlines(deadlines));
    for begun in ["G", "PRI * HTTP/2", "GET / HTTP/1.1\r\nhost: te", &GET[..GET.len() - 2]] {
        let mut client = serving.connect();
        client.send(begun);
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (408, Some("close")), "{begun:?}");
        assert!(client.is_closed());
    }
    let mut client = serving.connect();
    client.send(GET);
    assert_eq!(client.answer().status, 200, "a handler may be slower than a head");
    client.send("GET / HT");
    assert_eq!(client.answer().status, 408, "behind a request as well");
    assert!(client.is_closed());
    assert_eq!(passed(&serving, Deadline::Head), 5);
}

fn a_head_is_late_though_its_bytes_keep_coming(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { head: SHORT, ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(ok).deadlines(deadlines));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\n");
    let mut stream = client.stream.get_ref().try_clone().unwrap();
    // Ends when the server has closed: its input is reset then.
    thread::spawn(move || {
        while stream.write_all(b"x-a: b\r\n").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(client.answer().status, 408);
}

fn a_connection_without_a_byte_is_closed_quietly(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { head: SHORT, ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(ok).deadlines(deadlines));
    assert!(serving.connect().is_closed());
    assert_eq!(passed(&serving, Deadline::Head), 1);
}

fn a_body_that_stalls_is_answered_with_408(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { body: SHORT, ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(read).deadlines(deadlines));
    for body in [
        "content-length: 10\r\n\r\n",
        "content-length: 10\r\n\r\n12345",
        "transfer-encoding: chunked\r\n\r\na\r\n12345",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ] {
        let mut client = serving.connect();
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\n{body}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (408, Some("close")), "{body:?}");
        assert!(client.is_closed());
    }
    assert_eq!(passed(&serving, Deadline::Body), 4);
}

fn a_body_that_stalls_behind_the_responses_head_cuts_it_off(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { body: SHORT, ..Deadlines::default() };
    let echo = async |request: Request| Response::new(request.into_body());
    let serving = Serving::start(host, Server::new(echo).deadlines(deadlines));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n");
    assert_eq!(client.try_answer(), None);
}

/// Counts those that were dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn a_handler_that_is_late_is_answered_with_503_and_dropped(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { handler: SHORT, ..Deadlines::default() };
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let app = move |request: Request| {
        let guard = Dropped(count.clone());
        async move {
            let _guard = guard;
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            ok(request).await
        }
    };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let mut client = serving.connect();
    client.send("GET /never HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.answer().status, 503);
    eventually("the handler is dropped", || dropped.load(Ordering::Acquire) == 1);
    client.send(GET);
    assert_eq!(client.answer().status, 200, "its connection goes on");
    assert_eq!(passed(&serving, Deadline::Handler), 1);
}

fn a_handler_may_put_its_deadline_off(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { handler: SHORT, ..Deadlines::default() };
    let app = async |request: Request| {
        let path = request.uri().path().to_owned();
        if path != "/usual" {
            gateway_http::handler_deadline(if path == "/later" { 60 * SHORT } else { SHORT / 2 });
        }
        sleep(4 * SHORT).await;
        ok(request).await
    };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let status = |path| serving.get(path).status;
    assert_eq!([status("/later"), status("/sooner"), status("/usual")], [200, 503, 503]);
}

fn a_client_that_does_not_read_is_given_up(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { write: SHORT, ..Deadlines::default() };
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let app = move |_: Request| {
        let guard = Dropped(count.clone());
        let body = Body::coroutine(async move |mut out| {
            let _guard = guard;
            loop {
                out.send(vec![b'x'; 64 * 1024]).await?;
            }
        });
        async { Response::new(body) }
    };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let mut client = serving.connect();
    client.send(GET);
    eventually("the body is dropped", || dropped.load(Ordering::Acquire) == 1);
    assert_eq!(passed(&serving, Deadline::Write), 1);
    eventually("the connection is gone", || serving.monitor.open() == 0);
}

fn an_idle_connection_is_closed_quietly_and_a_busy_one_is_not(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { idle: SHORT, ..Deadlines::default() };
    let app = async |request: Request| {
        sleep(5 * SHORT).await;
        ok(request).await
    };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let mut client = serving.connect();
    client.send(GET);
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
    assert_eq!(passed(&serving, Deadline::Idle), 1);
}

fn beyond_the_limit_connections_wait_and_are_served(host: impl Host + Send + 'static) {
    let limits = Limits { connections: 2, ..Limits::default() };
    let serving = Serving::start(host, Server::new(ok).limits(limits));
    let mut clients = [serving.connect(), serving.connect()];
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
    let mut third = serving.connect();
    third.send(GET);
    third.stream.get_ref().set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(third.stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!((serving.monitor.open(), serving.monitor.accepted()), (2, 2));
    drop(clients);
    third.stream.get_ref().set_read_timeout(Some(gateway_tests::PATIENCE)).unwrap();
    assert_eq!(third.answer().status, 200);
}

fn a_head_that_is_too_large_is_refused(host: impl Host + Send + 'static) {
    let limits =
        Limits { head_fields: 5, target_bytes: 100, head_bytes: 8192, ..Limits::default() };
    let serving = Serving::start(host, Server::new(ok).limits(limits));
    let status = |target: usize, fields: usize, bytes: usize| {
        let (target, fields) = ("a".repeat(target - 1), "x-a: b\r\n".repeat(fields - 1));
        let value = "v".repeat(bytes);
        let mut client = serving.connect();
        client.send(format!("GET /{target} HTTP/1.1\r\nhost: {value}\r\n{fields}\r\n"));
        let answer = client.answer();
        if answer.status != 200 {
            assert_eq!(answer.field("connection"), Some("close"));
            assert!(client.is_closed());
        }
        answer.status
    };
    assert_eq!([status(100, 5, 10), status(101, 5, 10), status(100, 6, 10)], [200, 414, 431]);
    assert_eq!([status(100, 1, 7_000), status(100, 1, 9_000)], [200, 431]);
}

fn a_body_that_is_too_large_is_refused_and_not_invited(host: impl Host + Send + 'static) {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let serving = Serving::start(host, Server::new(read).limits(limits));
    for (framing, status) in [
        ("content-length: 10\r\n\r\n1234567890", 200),
        ("transfer-encoding: chunked\r\n\r\na\r\n1234567890\r\n0\r\n\r\n", 200),
        ("content-length: 11\r\n\r\n", 413),
        ("content-length: 11\r\nexpect: 100-continue\r\n\r\n", 413),
        ("transfer-encoding: chunked\r\n\r\na\r\n1234567890\r\n1\r\n1\r\n", 413),
        ("transfer-encoding: chunked\r\n\r\nffff\r\n12345678901", 413),
    ] {
        let mut client = serving.connect();
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\n{framing}"));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{framing:?}");
        if status != 200 {
            assert_eq!(answer.field("connection"), Some("close"), "{framing:?}");
            assert!(client.is_closed(), "{framing:?}");
        }
    }
}

fn an_app_raises_the_limit_of_a_body(host: impl Host + Send + 'static) {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let app = async |request: Request| {
        if request.uri().path() == "/upload" {
            gateway_http::set_body_limit(&request, 20);
        }
        read(request).await
    };
    let serving = Serving::start(host, Server::new(app).limits(limits));
    for (path, length, status) in [("/", 11, 413), ("/upload", 20, 200), ("/upload", 21, 413)] {
        let mut client = serving.connect();
        let body = "x".repeat(length);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.answer().status, status, "{length} bytes to {path}");
    }
}

fn nothing_comes_behind_the_error_of_a_body(host: impl Host + Send + 'static) {
    // Counts errors, and reads on whatever comes.
    let app = async |request: Request| {
        let (mut body, mut errors) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            errors += usize::from(frame.is_err());
        }
        Response::new(Body::from(errors.to_string()))
    };
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let deadlines = Deadlines { body: SHORT, ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(app).limits(limits).deadlines(deadlines));
    for body in ["11\r\n\r\n12345678901", "5\r\n\r\n12"] {
        let mut client = serving.connect();
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {body}"));
        assert_eq!(client.answer().text(), "1", "{body:?}");
    }
}

fn frames_that_carry_nothing_end_their_connection(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(ok));
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut client = serving.connect();
    client.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat());
    let mut writing = client.stream.get_ref().try_clone().unwrap();
    let (ended, reading) = mpsc::channel();
    thread::spawn(move || ended.send(std::io::copy(&mut client.stream, &mut std::io::sink())));
    let sent = (0..4 * FLOOD).take_while(|_| writing.write_all(&ping).is_ok()).count();
    // It reads to an end, or to a reset, while nobody has closed on this side.
    let read = reading.recv_timeout(gateway_tests::PATIENCE);
    assert!(read.is_ok(), "still open after {sent} pings");
}

fn a_monitor_counts_connections_by_what_they_do(host: impl Host + Send + 'static) {
    let app = async |request: Request| match request.uri().path() {
        "/never" => std::future::pending().await,
        _ => ok(request).await,
    };
    let deadlines = Deadlines { grace: SHORT, ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let [opening, mut reading, mut busy, mut idle] = [(); 4].map(|()| serving.connect());
    reading.send("GET /");
    busy.send("GET /never HTTP/1.1\r\nhost: test\r\n\r\n");
    idle.send(GET);
    assert_eq!(idle.answer().status, 200);
    let one_each = [
        (Activity::Opening, 1),
        (Activity::Reading, 1),
        (Activity::Busy, 1),
        (Activity::Idle, 1),
        (Activity::Upgraded, 0),
    ];
    eventually("each does its own", || serving.monitor.connections() == one_each);
    assert!(serving.monitor.is_ready());
    drop((opening, reading, busy, idle));
    eventually("all are gone", || serving.monitor.open() == 0);
}
