//! The HTTP server: what a client sees, byte for byte where that matters.

use std::io::Read;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{
    Body, Error, Fault, Host, Request, Response, sleep, spawn, synchronous, unblock,
};
use gateway_http::{Deadlines, Limits, Server, upgrade};
use gateway_net::TcpStream;
use gateway_tests::{Client, Serving, eventually, on_every_host, settled};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};

on_every_host!(2:
    a_connection_is_kept_and_pipelined_answers_come_in_order,
    bodies_stream_both_ways_with_trailers,
    a_sender_waits_for_its_reader,
    expect_continue_is_answered_when_the_app_reads,
    an_app_that_does_not_read_sends_no_continue,
    an_upgrade_hands_the_connection_over,
    connect_hands_the_connection_over,
    a_panic_before_the_head_is_a_500_and_touches_nobody_else,
    a_failure_after_the_head_cuts_the_body_off_visibly,
    errors_say_whose_fault_it_is,
    a_malformed_chunk_is_the_clients_fault,
    malformed_heads_are_refused_and_the_connection_closed,
    oversized_heads_are_refused_with_431,
    a_job_delays_no_other_request,
    a_synchronous_function_is_an_app,
    draining_finishes_what_is_in_hand_and_closes_the_idle,
    the_drain_deadline_drops_what_is_left,
    a_gone_client_cancels_its_handler,
    a_half_closed_client_has_its_answer,
    hypers_client_talks_http1_and_http2,
    http2_streams_fail_alone,
    connections_are_given_back,
);

async fn echo_path(request: Request) -> Response {
    Response::new(Body::from(request.uri().path().to_owned()))
}

async fn echo_body(request: Request) -> Response {
    Response::new(request.into_body())
}

fn a_connection_is_kept_and_pipelined_answers_come_in_order(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        // The first is the slowest: its answer must still come first.
        let n: u64 = request.uri().path()[1..].parse().unwrap_or_default();
        sleep(Duration::from_millis(20_u64.saturating_sub(n))).await;
        echo_path(request).await
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    let requests: String =
        (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..20 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    client.send("GET /last HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let last = client.answer();
    assert_eq!((last.text().as_str(), last.field("connection")), ("/last", Some("close")));
    assert!(client.is_closed());
}

fn bodies_stream_both_ways_with_trailers(host: impl Host + Send + 'static) {
    /// Sends the request's data back, and its trailers as a line of data behind it.
    async fn spell_out(request: Request) -> Response {
        let mut body = request.into_body();
        Response::new(Body::coroutine(async move |mut out| {
            while let Some(frame) = body.frame().await {
                match frame?.into_data() {
                    Ok(data) => out.send(data).await?,
                    Err(frame) => out.send(format!("; {:?}", frame.trailers_ref())).await?,
                }
            }
            Ok(())
        }))
    }
    async fn with_trailers() -> http::Result<Response> {
        let body = Body::coroutine(async |mut out| {
            out.send("data").await?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "4".parse()?);
            out.send_trailers(trailers).await
        });
        http::Response::builder().header("trailer", "x-sum").body(body)
    }
    let app = async |request: Request| match *request.method() {
        http::Method::GET => with_trailers().await,
        _ => Ok(spell_out(request).await),
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n");
    // The first piece comes back before the second has been sent: both ways stream.
    let mut line = String::new();
    while line != "hello" {
        line = client.line().unwrap();
    }
    client.send("7\r\n, world\r\n");
    client.send("0\r\nx-sum: 12\r\n\r\n");
    let mut rest = String::new();
    while line != "0" {
        line = client.line().unwrap();
        rest += &line;
    }
    assert!(rest.contains(", world") && rest.contains(r#""x-sum": "12""#), "{rest}");

    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\nte: trailers\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "data");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "4".to_owned())]);
}

fn a_sender_waits_for_its_reader(host: impl Host + Send + 'static) {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let app = move |_: Request| {
        let made = counted.clone();
        let body = Body::coroutine(async move |mut out| {
            for _ in 0..1000 {
                made.fetch_add(1, Ordering::Relaxed);
                out.send(vec![b'.'; 64 * 1024]).await?;
            }
            Ok(())
        });
        async { Response::new(body) }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    // Nobody reads: what is made is what fits into the buffers, and then no more.
    let last = settled(&made);
    assert!(last < 500, "{last} of 1000 chunks made for a client that does not read");
    assert_eq!(client.answer().body.len(), 1000 * 64 * 1024);
}

fn expect_continue_is_answered_when_the_app_reads(host: impl Host + Send + 'static) {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |request: Request| {
        let gate = gate.clone();
        async move {
            unblock(move || gate.lock().unwrap().recv().unwrap()).await?;
            request.into_body().collect(100).await.map(Body::from).map(Response::new)
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    let stream = client.stream.get_ref();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(stream.try_clone().unwrap().read(&mut [0]).is_err(), "a 100 before anybody reads");
    stream.set_read_timeout(Some(gateway_tests::PATIENCE)).unwrap();
    go.send(()).unwrap();
    assert_eq!(client.answer().status, 100);
    client.send("data");
    assert_eq!(client.answer().text(), "data");
}

fn an_app_that_does_not_read_sends_no_continue(host: impl Host + Send + 'static) {
    let app = async |_: Request| Error::client(StatusCode::FORBIDDEN, "not for you").response();
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    assert_eq!(client.answer().status, 403);
}

/// Takes the connection over, and echoes in upper case.
async fn shout(mut request: Request) -> http::Result<Response> {
    let upgraded = upgrade(&mut request);
    spawn(async {
        let mut upgraded = upgraded.await.unwrap();
        let mut buf = [0; 64];
        loop {
            match upgraded.read(&mut buf).await.unwrap() {
                0 => break,
                n => upgraded.write_all(&buf[..n].to_ascii_uppercase()).await.unwrap(),
            }
        }
        upgraded.close().await.unwrap();
    });
    let head = http::Response::builder();
    match *request.method() {
        http::Method::CONNECT => head.body(Body::empty()),
        _ => head
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "shout")
            .body(Body::empty()),
    }
}

fn an_upgrade_hands_the_connection_over(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(shout));
    let mut client = serving.connect();
    // What comes right behind the head belongs to the new protocol.
    client.send(
        "GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\nearly\n#\r\n",
    );
    assert_eq!(client.answer().status, 101);
    let mut early = [0; 9];
    client.stream.read_exact(&mut early).unwrap();
    assert_eq!(&early, b"EARLY\n#\r\n");
    client.send("late\r\n");
    assert_eq!(client.line().unwrap(), "LATE");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
}

fn connect_hands_the_connection_over(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(shout));
    let mut client = serving.connect();
    client.send("CONNECT there:80 HTTP/1.1\r\nhost: there:80\r\n\r\nearly\n\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    while !client.line().unwrap().is_empty() {}
    let mut early = [0; 7];
    client.stream.read_exact(&mut early).unwrap();
    assert_eq!(&early, b"EARLY\n\n");
    client.send("through\r\n");
    assert_eq!(client.line().unwrap(), "THROUGH");
}

fn a_panic_before_the_head_is_a_500_and_touches_nobody_else(host: impl Host + Send + 'static) {
    let app = async |request: Request| match request.uri().path() {
        "/panic" => panic!("a secret"),
        _ => echo_path(request).await,
    };
    let serving = Serving::start(host, Server::new(app));
    let mut bystander = serving.connect();
    for _ in 0..50 {
        let mut client = serving.connect();
        client.send("GET /panic HTTP/1.1\r\nhost: test\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        // The same connection lives on, and so do others.
        for client in [&mut client, &mut bystander] {
            client.send("GET /fine HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(client.answer().text(), "/fine");
        }
    }
}

fn a_failure_after_the_head_cuts_the_body_off_visibly(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        let how = request.uri().path().to_owned();
        let body = Body::coroutine(async move |mut out| {
            out.send("first").await?;
            match &*how {
                "/panic" => panic!("in the body"),
                "/fine" => Ok(()),
                _ => Err(Error::new(Fault::Application, StatusCode::BAD_GATEWAY, "gone")),
            }
        });
        Response::new(body)
    };
    let serving = Serving::start(host, Server::new(app));
    for path in ["/panic", "/error"] {
        let mut client = serving.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!(client.try_answer(), None, "{path}: the body looks whole");
    }
    assert_eq!(serving.get("/fine").text(), "first", "the twin that does not fail");
}

fn errors_say_whose_fault_it_is(host: impl Host + Send + 'static) {
    let app = async |request: Request| -> Result<Response, Error> {
        match request.uri().path() {
            "/client" => Err(Error::client(StatusCode::CONFLICT, "you said it twice")),
            "/host" => Err(Error::new(Fault::Host, StatusCode::SERVICE_UNAVAILABLE, "full")),
            path => Err(path.parse::<u32>().unwrap_err().into()),
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let client = serving.get("/client");
    assert_eq!((client.status, client.text().contains("you said it twice")), (409, true));
    let host = serving.get("/host");
    assert_eq!((host.status, host.text().contains("full")), (503, false));
    let app = serving.get("/app");
    assert_eq!((app.status, app.text().contains("digit")), (500, false));
}

fn a_malformed_chunk_is_the_clients_fault(host: impl Host + Send + 'static) {
    let app = async |request: Request| -> Result<Response, Error> {
        Ok(Response::new(Body::from(request.into_body().collect(100).await?)))
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(client.is_closed());
    // And its twin: what is well-formed passes, and too much of it is said to be so.
    let mut client = serving.connect();
    client.send(
        "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "ok");
    client.send(format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 101\r\n\r\n{:101}", ""));
    assert_eq!(client.answer().status, 413);
}

fn malformed_heads_are_refused_and_the_connection_closed(host: impl Host + Send + 'static) {
    let called = Arc::new(AtomicUsize::new(0));
    let counted = called.clone();
    let app = move |request: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        echo_path(request)
    };
    let serving = Serving::start(host, Server::new(app));
    let malformed = [
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        "GET / HTTP/1.10\r\nhost: t\r\n\r\n",
        "G@T / HTTP/1.1\r\nhost: t\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: nonsense\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
    ];
    for head in malformed {
        let mut client = serving.connect();
        client.send(head);
        assert_eq!(client.answer().status, 400, "{head:?}");
        assert!(client.is_closed(), "{head:?}");
    }
    assert_eq!(called.load(Ordering::Relaxed), 0, "a malformed request reached the app");
    assert_eq!(serving.get("/twin").text(), "/twin");
}

fn oversized_heads_are_refused_with_431(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(echo_path));
    let head =
        |value: usize| format!("GET /x HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "y".repeat(value));
    let mut client = serving.connect();
    client.send(head(Limits::default().head_bytes / 2));
    assert_eq!(client.answer().text(), "/x");
    let mut client = serving.connect();
    client.send(head(Limits::default().head_bytes));
    assert_eq!(client.answer().status, 431);
    assert!(client.is_closed());
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let mut client = serving.connect();
    client.send(format!("GET / HTTP/1.1\r\nhost: t\r\n{many}\r\n"));
    assert_eq!(client.answer().status, 431);
    assert!(client.is_closed());
}

fn a_job_delays_no_other_request(host: impl Host + Send + 'static) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = gate.clone();
    let app = move |request: Request| {
        let gate = held.clone();
        let wait = move || {
            let open = gate.0.lock().unwrap();
            drop(gate.1.wait_while(open, |open| !*open).unwrap());
        };
        async move {
            if request.uri().path() == "/job" {
                unblock(wait).await.unwrap();
            }
            echo_path(request).await
        }
    };
    let serving = Serving::start(host, Server::new(app));
    // More blocked jobs than the host has threads for coroutines.
    let mut blocked: Vec<_> = (0..8)
        .map(|_| {
            let mut client = serving.connect();
            client.send("GET /job HTTP/1.1\r\nhost: test\r\n\r\n");
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(serving.get("/other").text(), "/other");
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for client in &mut blocked {
        assert_eq!(client.answer().text(), "/job");
    }
}

fn a_synchronous_function_is_an_app(host: impl Host + Send + 'static) {
    let app = synchronous(|request: http::Request<Bytes>| {
        let path = request.uri().path().to_owned();
        assert_ne!(path, "/panic");
        http::Response::new(format!("{path} {}", request.body().len()))
    });
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST /a HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.answer().text(), "/a 3");
    assert_eq!(serving.get("/panic").status, 500);
}

fn draining_finishes_what_is_in_hand_and_closes_the_idle(host: impl Host + Send + 'static) {
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |request: Request| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            if request.uri().path() == "/slow" {
                begun.send(()).unwrap();
                unblock(move || gate.lock().unwrap().recv().unwrap()).await.unwrap();
            }
            echo_path(request).await
        }
    };
    let mut serving = Serving::start(host, Server::new(app));
    let mut fresh = serving.connect();
    let mut idle = serving.connect();
    idle.send("GET /idle HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(idle.answer().text(), "/idle");
    let mut busy = serving.connect();
    busy.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    begins.recv().unwrap();
    serving.drain();
    assert!(idle.is_closed() && fresh.is_closed());
    eventually("nobody listens", || std::net::TcpStream::connect(serving.address).is_err());
    assert!(!serving.has_ended(), "it did not wait for the request in hand");
    go.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("/slow", Some("close")));
    eventually("the server has ended", || serving.has_ended());
}

/// A handler that never answers, and holds something.
async fn hang(held: Arc<()>, begun: mpsc::Sender<()>) -> Response {
    begun.send(()).unwrap();
    sleep(Duration::from_secs(3600)).await;
    drop(held);
    Response::new(Body::empty())
}

fn the_drain_deadline_drops_what_is_left(host: impl Host + Send + 'static) {
    let alive = Arc::new(());
    let (begun, begins) = mpsc::channel();
    let held = alive.clone();
    let app = move |_: Request| hang(held.clone(), begun.clone());
    let server = Server::new(app)
        .deadlines(Deadlines { drain: Duration::from_millis(50), ..Deadlines::default() });
    let mut serving = Serving::start(host, server);
    let mut clients = [serving.connect(), serving.connect()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        begins.recv().unwrap();
    }
    serving.drain();
    for client in &mut clients {
        assert!(client.is_closed());
    }
    eventually("the server has ended", || serving.has_ended());
    eventually("destructors ran", || Arc::strong_count(&alive) == 1);
}

/// Makes dropping a client reset its connection, rather than close it in good order.
fn reset_when_dropped(client: &Client) {
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(client.stream.get_ref(), linger).unwrap();
}

fn a_gone_client_cancels_its_handler(host: impl Host + Send + 'static) {
    let alive = Arc::new(());
    let (begun, begins) = mpsc::channel();
    let held = alive.clone();
    let app = move |_: Request| hang(held.clone(), begun.clone());
    let serving = Serving::start(host, Server::new(app));
    let before = Arc::strong_count(&alive);
    let requests = [
        "GET / HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
        // Behind another request, and behind a body that nobody reads.
        "GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(2),
        format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 999999\r\n\r\n{:9999}", ""),
    ];
    for request in requests {
        let mut client = serving.connect();
        client.send(&request);
        begins.recv().unwrap();
        assert!(Arc::strong_count(&alive) > before);
        reset_when_dropped(&client);
        drop(client);
        eventually("the handler is dropped", || Arc::strong_count(&alive) == before);
    }
}

fn a_half_closed_client_has_its_answer(host: impl Host + Send + 'static) {
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |request: Request| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            if request.method() == http::Method::POST {
                begun.send(()).unwrap();
                unblock(move || gate.lock().unwrap().recv().unwrap()).await.unwrap();
            }
            echo_body(request).await
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\ndata");
    begins.recv().unwrap();
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    // The server has had its turns, and so has seen it, by the time that the handler goes on.
    for _ in 0..20 {
        assert_eq!(serving.get("/other").status, 200);
    }
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "data");
    assert!(client.is_closed());
}

/// One request with hyper's own client, over the portable stream.
async fn with_hypers_client(address: std::net::SocketAddr, http2: bool, n: usize) -> String {
    let stream = TcpStream::connect_to(address).await.unwrap();
    let body = Full::new(Bytes::from(format!("body {n}")));
    let request = http::Request::post(format!("http://{address}/")).header("host", "test");
    let request = request.body(body).unwrap();
    let response = if http2 {
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Tasks, stream).await.unwrap();
        spawn(connection);
        client.send_request(request).await
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        spawn(connection);
        client.send_request(request).await
    };
    let body = response.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[derive(Clone)]
struct Tasks;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

fn hypers_client_talks_http1_and_http2(host: impl Host + Send + Sync + 'static) {
    let host = Arc::new(host);
    let serving = Serving::start(Shared(host.clone()), Server::new(echo_body));
    let address = serving.address;
    // The client is a coroutine of the same host as the server.
    host.run(async move {
        for n in 0..20 {
            for http2 in [false, true] {
                assert_eq!(with_hypers_client(address, http2, n).await, format!("body {n}"));
            }
        }
    });
}

/// A host in two hands.
struct Shared<H>(Arc<H>);

impl<H: Host> Host for Shared<H> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(future)
    }
}

fn http2_streams_fail_alone(host: impl Host + Send + Sync + 'static) {
    let app = async |request: Request| match request.uri().path() {
        "/panic" => panic!("before the head"),
        "/cut" => Response::new(Body::coroutine(async |mut out| {
            out.send("first").await?;
            panic!("after the head")
        })),
        _ => echo_path(request).await,
    };
    let host = Arc::new(host);
    let serving = Serving::start(Shared(host.clone()), Server::new(app));
    let address = serving.address;
    host.run(async move {
        let stream = TcpStream::connect_to(address).await.unwrap();
        let (client, connection) =
            hyper::client::conn::http2::handshake(Tasks, stream).await.unwrap();
        spawn(connection);
        let get = |path: &str| {
            let uri = format!("http://{address}{path}");
            let request = http::Request::get(uri).body(Full::new(Bytes::new())).unwrap();
            let mut client = client.clone();
            async move { client.send_request(request).await }
        };
        for _ in 0..5 {
            assert_eq!(get("/panic").await.unwrap().status(), 500);
            // The reset may overtake the head.
            if let Ok(cut) = get("/cut").await {
                assert!(cut.into_body().collect().await.is_err(), "the body looks whole");
            }
            let fine = get("/fine").await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(fine.to_bytes(), "/fine");
        }
    });
}

fn connections_are_given_back(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(echo_path));
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    assert_eq!(serving.get("/warm").text(), "/warm");
    let before = descriptors();
    for n in 0..300 {
        let mut client = serving.connect();
        match n % 3 {
            0 => client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n"),
            1 => client.send("nonsense\r\n\r\n"),
            _ => client.send("GET / HTTP/1.1\r\nunfini"),
        }
    }
    // Tests that share the process have descriptors of their own: far fewer than these.
    eventually("descriptors closed", || descriptors() < before + 100);
}
