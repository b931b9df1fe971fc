//! What a handler hears of its client and its server, and what becomes of it then.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use gateway_core::{
    App, Body, Error, Host, JoinError, Request, Response, disconnected, draining, sleep, spawn,
    spawn_scoped,
};
use gateway_http::{
    Deadlines, Delivery, Peer, Server, delivery, notified, peer, run_on, upgrade, with_peer,
};
use gateway_net::TcpStream;
use gateway_tests::{Client, PATIENCE, Serving, on_every_host};
use http_body_util::{BodyExt, Full};

on_every_host!(2:
    a_reset_drops_the_handler_at_once,
    a_closed_half_is_told_at_once_and_dropped_after_the_grace,
    a_departure_shows_behind_unread_bodies_and_pipelined_requests,
    a_notified_handler_is_told_and_goes_on,
    a_handler_that_runs_on_hears_nothing,
    a_reset_stream_is_told_apart_from_its_connection,
    a_stream_whose_client_takes_nothing_is_given_up_alone,
    a_body_in_the_making_is_told_as_well,
    children_end_with_their_handler_and_others_do_not,
    a_handler_learns_whether_its_response_was_sent_whole,
    a_peer_is_known_to_handlers_and_an_extension_on_demand,
    a_lifespan_begins_before_the_first_request_and_ends_after_the_last,
    a_start_that_fails_stops_what_has_started,
    a_hook_has_a_deadline,
    a_server_that_drains_is_ready_no_more_and_goes_on_for_a_while,
    an_endless_body_ends_when_its_server_drains,
    an_upgraded_connection_is_told_and_then_closed,
);

/// What handlers report, in order.
#[derive(Clone)]
struct Report(mpsc::Sender<String>);

impl Report {
    fn new() -> (Report, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel();
        (Report(sender), receiver)
    }

    fn say(&self, what: impl Into<String>) {
        // A test that has seen enough does not listen any more.
        let _ = self.0.send(what.into());
    }

    /// Says that it was dropped, in its time.
    fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

struct Guard(Report);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say("dropped");
    }
}

fn next(reports: &mpsc::Receiver<String>) -> String {
    reports.recv_timeout(PATIENCE).expect("a report")
}

/// A handler that begins, says how its client leaves, and never ends by itself. Until the client
/// leaves, `/` is answered.
fn waits(report: &Report) -> impl App + use<> {
    let report = report.clone();
    move |request: Request| {
        let report = report.clone();
        async move {
            if request.uri().path() == "/" {
                return Response::new(Body::from("ok"));
            }
            let _guard = report.guard();
            report.say("begun");
            let left = disconnected().await;
            report.say(format!("{left:?}"));
            std::future::pending().await
        }
    }
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: test\r\n\r\n";

/// Closes the connection with a reset.
fn reset(client: Client) {
    let stream = client.stream.into_inner();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it lingers not");
}

fn half_close(client: &Client) {
    client.stream.get_ref().shutdown(Shutdown::Write).expect("it is open");
}

fn a_reset_drops_the_handler_at_once(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let serving = Serving::start(host, Server::new(waits(&report)));
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "begun");
    reset(client);
    let mut last = next(&reports);
    if last == "Gone" {
        last = next(&reports);
    }
    assert_eq!(last, "dropped");
}

fn a_closed_half_is_told_at_once_and_dropped_after_the_grace(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let deadlines = Deadlines { grace: Duration::from_millis(200), ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(waits(&report)).deadlines(deadlines));
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "begun");
    half_close(&client);
    assert_eq!((next(&reports), next(&reports)), ("HalfClosed".to_owned(), "dropped".to_owned()));
}

fn a_departure_shows_behind_unread_bodies_and_pipelined_requests(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let serving = Serving::start(host, Server::new(waits(&report)));
    let body = |sent| {
        let head = "POST /wait HTTP/1.1\r\nhost: test\r\ncontent-length: 500000\r\n\r\n";
        format!("{head}{}", "x".repeat(sent))
    };
    for resets in [true, false] {
        // The end of what is sent can't arrive before the rest, for which there has to be room.
        for request in [body(if resets { 300_000 } else { 30_000 }), WAIT.repeat(3)] {
            let mut client = serving.connect();
            // The system may not take all of it: nobody reads.
            let stream = client.stream.get_mut();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write_all(request.as_bytes());
            assert_eq!(next(&reports), "begun");
            if resets {
                reset(client);
            } else {
                half_close(&client);
                drop(client);
            }
            let told = next(&reports);
            assert!(matches!(told.as_str(), "Gone" | "HalfClosed" | "dropped"), "{told}");
            if told == "Gone" {
                assert_eq!(next(&reports), "dropped");
            }
        }
    }
}

fn a_notified_handler_is_told_and_goes_on(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let app = {
        let report = report.clone();
        move |_: Request| {
            let report = report.clone();
            async move {
                let _guard = report.guard();
                report.say("begun");
                report.say(format!("{:?}", disconnected().await));
                sleep(Duration::from_millis(20)).await;
                report.say("gone on");
                Response::new(Body::from("late"))
            }
        }
    };
    let serving = Serving::start(host, Server::new(notified(app)));
    for resets in [true, false] {
        let mut client = serving.connect();
        client.send(WAIT);
        assert_eq!(next(&reports), "begun");
        if resets {
            reset(client);
            assert_eq!(next(&reports), "Gone");
        } else {
            half_close(&client);
            assert_eq!(next(&reports), "HalfClosed");
            assert_eq!(client.answer().text(), "late", "it may have its answer");
        }
        assert_eq!((next(&reports), next(&reports)), ("gone on".to_owned(), "dropped".to_owned()));
    }
}

fn a_handler_that_runs_on_hears_nothing(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let (open, opened) = futures_channel::oneshot::channel::<()>();
    let opened = Arc::new(std::sync::Mutex::new(Some(opened)));
    let app = {
        let report = report.clone();
        move |_: Request| {
            let (report, opened) = (report.clone(), opened.lock().unwrap().take().unwrap());
            async move {
                let mut left = pin!(disconnected());
                report.say("begun");
                let _ = opened.await;
                let told = poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_ready())).await;
                report.say(if told { "told" } else { "not told" });
                Response::default()
            }
        }
    };
    let serving = Serving::start(host, Server::new(run_on(app)));
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "begun");
    reset(client);
    gateway_tests::eventually("the connection is gone", || serving.monitor.open() == 0);
    open.send(()).expect("it waits");
    assert_eq!(next(&reports), "not told");
}

/// One connection of HTTP/2, with hyper's client on the same kind of host.
async fn http2(
    address: std::net::SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(&address.to_string()).await.expect("it connects");
    let mut builder = hyper::client::conn::http2::Builder::new(Spawn);
    let shaken = builder.initial_stream_window_size(WINDOW).handshake(stream).await;
    let (client, connection) = shaken.expect("it shakes hands");
    spawn(connection);
    client
}

/// How much its client takes of a stream whose body it does not read.
const WINDOW: u32 = 10_000;

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

fn a_reset_stream_is_told_apart_from_its_connection(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let serving = Serving::start(host, Server::new(notified(waits(&report))));
    let address = serving.address;
    let client = gateway_tokio::Tokio::new(1).expect("a second host starts");
    client.run(async {
        let mut connection = http2(address).await;
        let request = |path: &str| {
            http::Request::get(format!("http://test{path}")).body(Full::default()).unwrap()
        };
        let mut waiting = Box::pin(connection.send_request(request("/wait")));
        let mut other = connection.clone();
        let answered = other.send_request(request("/")).await.expect("an answer");
        assert_eq!(answered.status(), 200);
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        while reports.try_recv().as_deref() != Ok("begun") {
            sleep(Duration::from_millis(1)).await;
        }
        // Dropping it resets its stream alone.
        drop(waiting);
        while reports.try_recv().as_deref() != Ok("Gone") {
            sleep(Duration::from_millis(1)).await;
        }
        let answered = other.send_request(request("/")).await.expect("an answer");
        assert_eq!(answered.status(), 200, "the connection goes on");
    });
}

fn a_stream_whose_client_takes_nothing_is_given_up_alone(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let app = move |request: Request| {
        let (report, path) = (report.clone(), request.uri().path().to_owned());
        async move {
            Response::new(match path.as_str() {
                "/flood" => Body::coroutine(async move |mut out| {
                    let _guard = report.guard();
                    loop {
                        out.send(vec![b'x'; 16 * 1024]).await?;
                    }
                }),
                // Slow to make, and fast to take: no client's fault.
                "/slow" => Body::coroutine(async |mut out| {
                    out.send("one").await?;
                    sleep(Duration::from_millis(500)).await;
                    out.send("two").await
                }),
                _ => Body::from("ok"),
            })
        }
    };
    let deadlines = Deadlines { write: Duration::from_millis(100), ..Deadlines::default() };
    let serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let address = serving.address;
    gateway_tokio::Tokio::new(1).expect("a second host starts").run(async {
        let mut connection = http2(address).await;
        let get = |path: &str| {
            http::Request::get(format!("http://test{path}")).body(Full::default()).unwrap()
        };
        let flood = connection.send_request(get("/flood")).await.expect("a head");
        let slow = connection.send_request(get("/slow")).await.expect("a head");
        let slow = slow.into_body().collect().await.expect("a whole body");
        assert_eq!(slow.to_bytes(), "onetwo");
        while reports.try_recv().as_deref() != Ok("dropped") {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(flood.into_body().collect().await.is_err(), "it was cut off");
        let other = connection.send_request(get("/")).await.expect("the connection goes on");
        assert_eq!(other.status(), 200);
    });
    let passed = serving.monitor.deadlines();
    assert!(passed.contains(&(gateway_http::Deadline::Write, 1)), "{passed:?}");
}

fn a_body_in_the_making_is_told_as_well(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let app = {
        let report = report.clone();
        move |_: Request| {
            let report = report.clone();
            let body = Body::coroutine(async move |mut out| {
                out.send("begun").await?;
                report.say("begun");
                report.say(format!("{:?}", disconnected().await));
                Ok(())
            });
            async { Response::new(body) }
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "begun");
    half_close(&client);
    assert_eq!(next(&reports), "HalfClosed");
    assert_eq!(client.answer().text(), "begun");
}

fn children_end_with_their_handler_and_others_do_not(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let (finish, finished) = mpsc::channel::<()>();
    let finished = Arc::new(std::sync::Mutex::new(finished));
    let app = {
        let report = report.clone();
        move |_: Request| {
            let (report, finished) = (report.clone(), finished.clone());
            async move {
                let child = report.clone();
                let child = spawn_scoped(async move {
                    let _guard = child.guard();
                    child.say("begun");
                    std::future::pending::<()>().await;
                });
                spawn(async move {
                    while finished.lock().unwrap().try_recv().is_err() {
                        sleep(Duration::from_millis(1)).await;
                    }
                    report.say("outlived");
                });
                let ended: Result<(), JoinError> = child.await;
                drop(ended);
                Response::default()
            }
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "begun");
    reset(client);
    assert_eq!(next(&reports), "dropped");
    finish.send(()).expect("it waits");
    assert_eq!(next(&reports), "outlived");
}

fn a_handler_learns_whether_its_response_was_sent_whole(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let app = {
        let report = report.clone();
        move |request: Request| {
            let (report, path) = (report.clone(), request.uri().path().to_owned());
            async move {
                let body = match path.as_str() {
                    "/empty" => Body::empty(),
                    "/known" => Body::from("x".repeat(100_000)),
                    "/stream" => Body::coroutine(async |mut out| {
                        out.send("one").await?;
                        out.send("two").await
                    }),
                    "/fails" => Body::coroutine(async |mut out| {
                        out.send("one").await?;
                        Err(std::io::Error::other("it fails on purpose").into())
                    }),
                    _ => Body::coroutine(async |mut out| {
                        loop {
                            out.send("x".repeat(64 * 1024)).await?;
                        }
                    }),
                };
                let mut response = Response::new(body);
                let sent = delivery(&mut response);
                spawn(async move {
                    report.say(match sent.await {
                        Delivery::Whole => "whole",
                        Delivery::Cut => "cut",
                    });
                });
                response
            }
        }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    for (method, path) in
        [("GET", "/empty"), ("GET", "/known"), ("GET", "/stream"), ("GET", "/known")]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
        assert_eq!(next(&reports), "whole", "{method} {path}");
    }
    client.send("HEAD /known HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(next(&reports), "whole", "HEAD");
    for path in ["/fails", "/endless"] {
        let mut client = serving.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        if path == "/endless" {
            assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK"));
            reset(client);
        }
        assert_eq!(next(&reports), "cut", "{path}");
    }
}

fn a_peer_is_known_to_handlers_and_an_extension_on_demand(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        let known = peer().and_then(|peer| peer.address()).expect("an address");
        let extension = request.extensions().get::<Peer>().and_then(Peer::address);
        assert_eq!(extension.is_some(), request.uri().path() == "/extended");
        assert!(extension.is_none_or(|address| address == known));
        let body = Body::coroutine(async move |mut out| {
            assert_eq!(peer().and_then(|peer| peer.address()), Some(known), "in a body as well");
            out.send(known.to_string()).await
        });
        Response::new(body)
    };
    let extended = Arc::new(with_peer(app));
    let both = move |request: Request| {
        let extended = extended.clone();
        async move {
            match request.uri().path() {
                "/extended" => extended.call(request).await,
                _ => App::call(&app, request).await,
            }
        }
    };
    let serving = Serving::start(host, Server::new(both));
    for path in ["/", "/extended"] {
        let mut client = serving.connect();
        let address = client.stream.get_ref().local_addr().unwrap().to_string();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!(client.answer().text(), address, "{path}");
    }
}

fn a_lifespan_begins_before_the_first_request_and_ends_after_the_last(
    host: impl Host + Send + 'static,
) {
    #[derive(Clone)]
    struct Pool(&'static str);
    #[derive(Clone)]
    struct Cache;
    let (report, reports) = Report::new();
    let app = {
        let report = report.clone();
        move |request: Request| {
            let report = report.clone();
            async move {
                let pool: &Pool = request.extensions().get().expect("it was started");
                assert!(request.extensions().get::<Cache>().is_some());
                report.say(format!("request with {}", pool.0));
                sleep(Duration::from_millis(20)).await;
                report.say("answered");
                Response::default()
            }
        }
    };
    let [start, stop, start_cache, stop_cache] = [(); 4].map(|()| report.clone());
    let (open, opened) = futures_channel::oneshot::channel::<()>();
    let server = Server::new(app)
        .lifespan(
            async move || {
                start.say("begun");
                let _ = opened.await;
                start.say("pool starts");
                Ok(Pool("a pool"))
            },
            move |pool: Pool| async move {
                stop.say(format!("{} stops", pool.0));
                Ok(())
            },
        )
        .lifespan(
            async move || {
                start_cache.say("cache starts");
                Ok(Cache)
            },
            move |_| async move {
                stop_cache.say("cache stops");
                Err(std::io::Error::other("this holds up nobody").into())
            },
        );
    let mut serving = Serving::start(host, server);
    assert_eq!(next(&reports), "begun");
    assert!(std::net::TcpStream::connect(serving.address).is_err(), "nobody listens yet");
    assert!(!serving.monitor.is_ready());
    open.send(()).expect("it waits");
    assert_eq!(next(&reports), "pool starts");
    assert_eq!(next(&reports), "cache starts");
    gateway_tests::eventually("it is ready", || serving.monitor.is_ready());
    let mut client = serving.connect();
    client.send(WAIT);
    assert_eq!(next(&reports), "request with a pool");
    serving.drain();
    assert_eq!(client.answer().status, 200);
    assert_eq!([(); 3].map(|()| next(&reports)), ["answered", "cache stops", "a pool stops"]);
    assert!(serving.end().is_ok());
}

fn a_start_that_fails_stops_what_has_started(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let stop = report.clone();
    let server = Server::new(async |_: Request| Response::new(Body::empty()))
        .lifespan(
            async || Ok(1),
            move |_| async move {
                stop.say("the first stops");
                Ok(())
            },
        )
        .lifespan(
            async || -> Result<(), Error> { Err(std::io::Error::other("no database").into()) },
            async |()| unreachable!("it has not started"),
        );
    let mut serving = Serving::start(host, server);
    let error = serving.end().expect_err("it can't start");
    assert!(error.to_string().contains("no database"), "{error}");
    assert_eq!(next(&reports), "the first stops");
    assert!(!serving.monitor.is_ready());
    assert!(std::net::TcpStream::connect(serving.address).is_err(), "nobody listens");
}

fn a_hook_has_a_deadline(host: impl Host + Send + 'static) {
    let deadlines = Deadlines { hook: Duration::from_millis(50), ..Deadlines::default() };
    let server = Server::new(async |_: Request| Response::new(Body::empty()))
        .deadlines(deadlines)
        .lifespan(std::future::pending::<Result<(), Error>>, async |()| Ok(()));
    let error = Serving::start(host, server).end().expect_err("it can't start");
    assert!(error.to_string().contains("not finished within 50ms"), "{error}");
}

fn a_server_that_drains_is_ready_no_more_and_goes_on_for_a_while(host: impl Host + Send + 'static) {
    let app = async |_: Request| Response::new(Body::from("ok"));
    let server = Server::new(app).drain_delay(Duration::from_millis(300));
    let mut serving = Serving::start(host, server);
    assert_eq!(serving.get("/").status, 200);
    assert!(serving.monitor.is_ready());
    serving.drain();
    gateway_tests::eventually("it is ready no more", || !serving.monitor.is_ready());
    // Whoever comes before the delay is over is served; afterwards nobody listens.
    assert_eq!(serving.get("/").status, 200);
    assert!(serving.end().is_ok());
    assert!(std::net::TcpStream::connect(serving.address).is_err());
}

fn an_endless_body_ends_when_its_server_drains(host: impl Host + Send + 'static) {
    let app = async |_: Request| {
        Response::new(Body::coroutine(async |mut out| {
            out.send("data: begun\r\n").await?;
            draining().await;
            out.send("data: ended\r\n").await
        }))
    };
    let mut serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send(WAIT);
    while client.line().expect("a head") != "data: begun" {}
    serving.drain();
    let mut ended = false;
    while let Some(line) = client.line() {
        ended |= line == "data: ended";
    }
    assert!(ended);
    assert!(serving.end().is_ok());
}

fn an_upgraded_connection_is_told_and_then_closed(host: impl Host + Send + 'static) {
    let (report, reports) = Report::new();
    let app = {
        let report = report.clone();
        move |mut request: Request| {
            let (upgraded, drains, report) = (upgrade(&mut request), draining(), report.clone());
            spawn(async move {
                let Ok(mut upgraded) = upgraded.await else { return };
                report.say("upgraded");
                drains.await;
                report.say("drains");
                let read = futures_util::AsyncReadExt::read(&mut upgraded, &mut [0]).await;
                report.say(if read.is_err() { "cut off" } else { "ended" });
            });
            let head = http::Response::builder().status(101);
            let head = head.header("connection", "upgrade").header("upgrade", "echo");
            async { head.body(Body::empty()).unwrap() }
        }
    };
    let deadlines = Deadlines { drain: Duration::from_millis(50), ..Deadlines::default() };
    let mut serving = Serving::start(host, Server::new(app).deadlines(deadlines));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert_eq!(client.answer().status, 101);
    assert_eq!(next(&reports), "upgraded");
    assert_eq!(serving.monitor.open(), 1);
    serving.drain();
    assert_eq!((next(&reports), next(&reports)), ("drains".to_owned(), "cut off".to_owned()));
    assert!(serving.end().is_ok());
}
