//! axum on every host: routers, extractors, layers and bodies; and apps inside routers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::IntoFuture;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message as Frame;
use async_tungstenite::tungstenite::client::client;
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{self, Event};
use axum::response::{IntoResponse, Response, Sse};
use axum::routing::{get, post};
use axum::{Extension, Form, Json, Router};
use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use gateway_core::{
    App, Body, Coroutine, Error, Fault, Host, Trampoline, Yield, disconnected, respond, sleep,
    spawn, unblock,
};
use gateway_http::{Limits, Server};
use gateway_tests::{Answer, Client, PATIENCE, Serving, eventually, on_every_host, settled};
use gateway_tokio::OnTokio;
use gateway_tower::{
    READY_DEADLINE, RequestBody, TimeoutLayer, app, keep_alive, service, service_on,
};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use tower::{Service, ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::set_header::SetRequestHeaderLayer;
use tower_http::timeout::TimeoutLayer as TokiosTimeoutLayer;
use tower_http::trace::TraceLayer;

on_every_host!(2:
    extractors_take_what_they_name,
    what_an_extractor_or_a_route_refuses_is_axums_to_say,
    routers_nest_and_fall_back,
    a_multipart_upload_arrives_part_by_part,
    layers_and_middleware_stand_around_handlers,
    bodies_stream_both_ways,
    a_stream_waits_for_its_reader,
    a_client_waits_for_a_handler_that_does_not_read,
    a_body_beyond_the_servers_limit_is_413_in_extractors_too,
    a_gone_client_cancels_the_handler,
    a_handler_hears_that_its_client_has_left,
    a_late_handler_is_answered_by_the_timeout_layer,
    events_are_kept_alive_in_a_silence,
    a_comment_never_stands_in_mid_event,
    a_service_is_called_once_it_is_ready,
    a_service_that_is_never_ready_is_503,
    errors_of_services_keep_their_fault_and_status,
    a_panic_is_a_500,
    what_needs_tokio_works_there_and_is_a_500_elsewhere_that_says_why,
    a_web_socket_opens_in_an_axum_handler,
    an_app_is_a_route_of_a_router_that_is_an_app,
);

/// What the handlers of a router share.
#[derive(Clone)]
struct Shop(&'static str);

#[derive(Deserialize, Serialize)]
struct Item {
    name: String,
    count: u32,
}

fn serve(host: impl Host + Send + 'static, router: Router) -> Serving {
    Serving::start(host, Server::new(app(router)))
}

/// The answer to a request with a body, on a connection of its own.
fn ask(serving: &Serving, line: &str, kind: &str, body: &str) -> Answer {
    let mut client = serving.connect();
    let head = format!("{line} HTTP/1.1\r\nhost: test\r\ncontent-type: {kind}\r\n");
    client.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
    client.answer()
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn extractors_take_what_they_name(host: impl Host + Send + 'static) {
    async fn all(
        State(Shop(shop)): State<Shop>,
        Extension(season): Extension<u8>,
        Path((kind, id)): Path<(String, u32)>,
        Query(query): Query<HashMap<String, String>>,
        method: axum::http::Method,
    ) -> String {
        format!("{method} {shop} {season} {kind} {id} {}", query["q"])
    }
    async fn json(Json(item): Json<Item>) -> (StatusCode, Json<Item>) {
        (StatusCode::CREATED, Json(Item { count: item.count + 1, ..item }))
    }
    async fn form(Form(Item { name, count }): Form<Item>) -> String {
        format!("{count} of {name}")
    }
    let router = Router::new()
        .route("/all/{kind}/{id}", get(all))
        .route("/json", post(json))
        .route("/form", post(form))
        .with_state(Shop("corner"))
        .layer(Extension(4_u8));
    let serving = serve(host, router);
    assert_eq!(serving.get("/all/tea/7?q=a%20b").text(), "GET corner 4 tea 7 a b");
    let answer = ask(&serving, "POST /json", JSON, r#"{"name":"tea","count":1}"#);
    let fields = (answer.status, answer.field("content-type"));
    assert_eq!(fields, (201, Some(JSON)));
    assert_eq!(answer.text(), r#"{"name":"tea","count":2}"#);
    assert_eq!(ask(&serving, "POST /form", FORM, "name=tea&count=3").text(), "3 of tea");
}

fn what_an_extractor_or_a_route_refuses_is_axums_to_say(host: impl Host + Send + 'static) {
    async fn json(Json(item): Json<Item>) -> String {
        item.name
    }
    async fn number(Path(number): Path<u32>) -> String {
        number.to_string()
    }
    let router = Router::new().route("/json", post(json)).route("/number/{number}", get(number));
    let serving = serve(host, router);
    for (kind, body, status, says) in [
        (JSON, "{", 400, "Failed to parse the request body as JSON"),
        (JSON, r#"{"name":"tea"}"#, 422, "missing field `count`"),
        (FORM, "name=tea", 415, "application/json"),
    ] {
        let answer = ask(&serving, "POST /json", kind, body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(says), "{answer:?}");
    }
    assert_eq!(serving.get("/number/seven").status, 400);
    assert_eq!(serving.get("/nowhere").status, 404);
    let other = serving.get("/json");
    assert_eq!((other.status, other.field("allow")), (405, Some("POST")));
}

fn routers_nest_and_fall_back(host: impl Host + Send + 'static) {
    async fn lost(path: axum::http::Uri) -> (StatusCode, String) {
        (StatusCode::NOT_FOUND, format!("no {path}"))
    }
    async fn inner(path: axum::extract::MatchedPath, uri: axum::extract::OriginalUri) -> String {
        format!("{} {}", path.as_str(), uri.path())
    }
    let deep = Router::new().route("/leaf/{n}", get(inner));
    let router = Router::new()
        .nest("/a", Router::new().nest("/b", deep))
        .merge(Router::new().route("/merged", get("merged")))
        .fallback(lost);
    let serving = serve(host, router);
    assert_eq!(serving.get("/a/b/leaf/1").text(), "/a/b/leaf/{n} /a/b/leaf/1");
    assert_eq!(serving.get("/merged").text(), "merged");
    let answer = serving.get("/else");
    assert_eq!((answer.status, answer.text().as_str()), (404, "no /else"));
    let mut client = serving.connect();
    client.send("HEAD /merged HTTP/1.1\r\nhost: t\r\n\r\nGET /merged HTTP/1.1\r\nhost: t\r\n\r\n");
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK"));
    let mut head = Vec::new();
    while let Some(line) = client.line().filter(|line| !line.is_empty()) {
        head.push(line);
    }
    assert!(head.contains(&"content-length: 6".to_owned()), "{head:?}");
    assert_eq!(client.answer().text(), "merged");
}

fn a_multipart_upload_arrives_part_by_part(host: impl Host + Send + 'static) {
    let (seen, sees) = mpsc::channel();
    let upload = async move |mut form: Multipart| -> Result<String, Response> {
        let mut all = String::new();
        while let Some(part) = form.next_field().await.map_err(IntoResponse::into_response)? {
            let name = part.name().unwrap_or_default().to_owned();
            let file = part.file_name().unwrap_or_default().to_owned();
            let bytes = part.bytes().await.map_err(IntoResponse::into_response)?;
            seen.send(name.clone()).unwrap();
            all += &format!("{name} {file} {};", bytes.len());
        }
        Ok(all)
    };
    let serving = serve(host, Router::new().route("/", post(upload)));
    let part = |name: &str, file: &str, data: &str| {
        format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             \r\n{data}\r\n"
        )
    };
    let first = part("a", "a.txt", "12345") + "--edge";
    let second =
        "\r\n".to_owned() + &part("b", "b.bin", &"x".repeat(100_000))[8..] + "--edge--\r\n";
    let mut client = serving.connect();
    let length = first.len() + second.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: t\r\ncontent-type: multipart/form-data; boundary=edge\r\n\
         content-length: {length}\r\n\r\n{first}"
    ));
    // The first part has been handled before the second is on its way.
    assert_eq!(sees.recv_timeout(PATIENCE).unwrap(), "a");
    client.send(second);
    assert_eq!(client.answer().text(), "a a.txt 5;b b.bin 100000;");
    let cut = "--edge\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1";
    let kind = "multipart/form-data; boundary=edge";
    assert_eq!(ask(&serving, "POST /", kind, cut).status, 400);
}

fn layers_and_middleware_stand_around_handlers(host: impl Host + Send + 'static) {
    async fn twice(request: Request, next: Next) -> Response {
        if request.uri().path() == "/forbidden" {
            return StatusCode::FORBIDDEN.into_response();
        }
        sleep(Duration::from_millis(1)).await;
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-seen", HeaderValue::from_static("yes"));
        response
    }
    async fn panics() -> &'static str {
        panic!("on purpose")
    }
    let name = HeaderName::from_static("x-set");
    let router = Router::new()
        .route(
            "/",
            get(|request: Request| async move {
                request.headers()["x-set"].to_str().unwrap().to_owned()
            }),
        )
        .route("/panics", get(panics))
        .layer(middleware::from_fn(twice))
        .layer(SetRequestHeaderLayer::overriding(name, HeaderValue::from_static("set")))
        .layer(CatchPanicLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http());
    let serving = serve(host, router);
    let answer = serving.get("/");
    assert_eq!(answer.text(), "set");
    assert_eq!(answer.field("x-seen"), Some("yes"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(serving.get("/forbidden").status, 403);
    let panicked = serving.get("/panics");
    assert_eq!((panicked.status, panicked.text().as_str()), (500, "Service panicked"));
    let mut client = serving.connect();
    client.send(
        "OPTIONS / HTTP/1.1\r\nhost: t\r\norigin: http://a\r\n\
         access-control-request-method: PUT\r\n\r\n",
    );
    assert_eq!(client.answer().field("access-control-allow-methods"), Some("*"));
}

fn bodies_stream_both_ways(host: impl Host + Send + 'static) {
    async fn echo(request: Request) -> Response {
        axum::body::Body::from_stream(request.into_body().into_data_stream()).into_response()
    }
    let serving = serve(host, Router::new().route("/", post(echo)));
    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    for (size, piece) in [("5", "hello"), ("7", ", world")] {
        client.send(format!("{size}\r\n{piece}\r\n"));
        // It comes back before the next one has been sent.
        while client.line().expect("the piece") != piece {}
    }
    client.send("0\r\n\r\n");
    while client.line().expect("the end") != "0" {}

    let mut client = serving.connect();
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n");
    assert!(client.try_answer().is_none_or(|answer| answer.status == 400));
}

fn a_stream_waits_for_its_reader(host: impl Host + Send + 'static) {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let chunks = move || {
        let made = counted.clone();
        let chunks = stream::iter(0..1000).map(move |_| {
            made.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from(vec![b'.'; 64 * 1024]))
        });
        async { axum::body::Body::from_stream(chunks) }
    };
    let serving = serve(host, Router::new().route("/", get(chunks)));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    // Nobody reads: what is made is what fits into the buffers, and then no more.
    let last = settled(&made);
    assert!(last < 500, "{last} of 1000 chunks made for a client that does not read");
    assert_eq!(client.answer().body.len(), 1000 * 64 * 1024);
}

fn a_client_waits_for_a_handler_that_does_not_read(host: impl Host + Send + 'static) {
    const LENGTH: usize = 64 * 1024 * 1024;
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let read = async move |request: Request| {
        let mut body = request.into_body();
        let mut length = 0;
        unblock(move || gate.lock().unwrap().recv().unwrap()).await.unwrap();
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        length.to_string()
    };
    let limits = Limits { body_bytes: LENGTH as u64, ..Limits::default() };
    let router = Router::new().route("/", post(read));
    let serving = Serving::start(host, Server::new(app(router)).limits(limits));
    let mut client = serving.connect();
    client.send(format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {LENGTH}\r\n\r\n"));
    let stream = client.stream.get_mut();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let (piece, mut sent) = (vec![b'.'; 64 * 1024], 0);
    let full = loop {
        match stream.write(&piece[..piece.len().min(LENGTH - sent)]) {
            Ok(0) => break None,
            Ok(written) => sent += written,
            Err(error) => break Some(error.kind()),
        }
    };
    assert!(matches!(full, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{sent}: {full:?}");
    stream.set_write_timeout(None).unwrap();
    go.send(()).unwrap();
    client.send(vec![b'.'; LENGTH - sent]);
    assert_eq!(client.answer().text(), LENGTH.to_string());
}

fn a_body_beyond_the_servers_limit_is_413_in_extractors_too(host: impl Host + Send + 'static) {
    async fn parts(mut form: Multipart) -> Result<(), axum::extract::multipart::MultipartError> {
        while let Some(part) = form.next_field().await? {
            part.bytes().await?;
        }
        Ok(())
    }
    let router = Router::new()
        .route("/text", post(|text: String| async { text }))
        // Where axum's own limit stands between, its multipart makes a 500 of the server's.
        .route("/parts", post(parts).layer(DefaultBodyLimit::disable()));
    let limits = Limits { body_bytes: 100, ..Limits::default() };
    let serving = Serving::start(host, Server::new(app(router)).limits(limits));
    assert_eq!(ask(&serving, "POST /text", "text/plain", &"x".repeat(100)).status, 200);
    assert_eq!(ask(&serving, "POST /text", "text/plain", &"x".repeat(101)).status, 413);
    let part = format!("--edge\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n{:100}", "");
    let kind = "multipart/form-data; boundary=edge";
    assert_eq!(ask(&serving, "POST /parts", kind, &part).status, 413);
}

/// Closing this client resets its connection.
fn reset_when_dropped(client: &Client) {
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(client.stream.get_ref(), linger).unwrap();
}

fn a_gone_client_cancels_the_handler(host: impl Host + Send + 'static) {
    let alive = Arc::new(());
    let (begun, begins) = mpsc::channel();
    let held = alive.clone();
    let hang = async move || {
        let _held = held;
        begun.send(()).unwrap();
        sleep(Duration::from_secs(3600)).await;
    };
    let serving = serve(host, Router::new().route("/", get(hang)));
    let before = Arc::strong_count(&alive);
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    begins.recv_timeout(PATIENCE).unwrap();
    assert!(Arc::strong_count(&alive) > before);
    reset_when_dropped(&client);
    drop(client);
    eventually("the handler is dropped", || Arc::strong_count(&alive) == before);
}

fn a_handler_hears_that_its_client_has_left(host: impl Host + Send + 'static) {
    let (told, hears) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    let wait = async move || {
        let left = disconnected();
        spawn(async move { told.send(left.await) });
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let serving = serve(host, Router::new().route("/", get(wait)));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    begins.recv_timeout(PATIENCE).unwrap();
    reset_when_dropped(&client);
    drop(client);
    assert_eq!(hears.recv_timeout(PATIENCE), Ok(gateway_core::Departure::Gone));
}

fn a_late_handler_is_answered_by_the_timeout_layer(host: impl Host + Send + 'static) {
    let alive = Arc::new(());
    let held = alive.clone();
    let slow = async move || {
        let _held = held;
        sleep(Duration::from_secs(3600)).await;
    };
    let layer = |status| TimeoutLayer::with_status_code(status, Duration::from_millis(20));
    let router = Router::new()
        .route("/503", get(slow.clone()).layer(layer(StatusCode::SERVICE_UNAVAILABLE)))
        .route("/408", get(slow).layer(layer(StatusCode::REQUEST_TIMEOUT)))
        .route("/fast", get("fast").layer(layer(StatusCode::REQUEST_TIMEOUT)));
    let serving = serve(host, router);
    let before = Arc::strong_count(&alive);
    let started = Instant::now();
    assert_eq!(serving.get("/503").status, 503);
    assert!(started.elapsed() >= Duration::from_millis(20));
    assert_eq!(serving.get("/408").status, 408);
    assert_eq!(serving.get("/fast").text(), "fast");
    eventually("the handlers are dropped", || Arc::strong_count(&alive) == before);
}

fn events_are_kept_alive_in_a_silence(host: impl Host + Send + 'static) {
    let (go, gate) = oneshot::channel::<()>();
    let gate = Arc::new(Mutex::new(Some(gate)));
    let events = async move || {
        let gate = gate.lock().unwrap().take().expect("there is one client");
        let events = stream::iter(["first"]).chain(stream::once(async {
            gate.await.unwrap();
            "second"
        }));
        let events = events.map(|data| Ok::<_, Infallible>(Event::default().data(data)));
        keep_alive(Sse::new(events).into_response(), Duration::from_millis(20))
    };
    let serving = serve(host, Router::new().route("/", get(events)));
    let mut client = serving.connect();
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    // The lines of events end with LF, those of the chunks around them with CRLF.
    let mut reads_until = |wanted: &str| {
        let mut line = String::new();
        while line != wanted {
            line.clear();
            assert_ne!(client.stream.read_line(&mut line).unwrap(), 0, "no {wanted:?}");
        }
    };
    reads_until("data: first\n");
    for _ in 0..3 {
        reads_until(":\n");
    }
    go.send(()).unwrap();
    reads_until("data: second\n");
    reads_until("0\r\n");
}

fn a_comment_never_stands_in_mid_event(host: impl Host) {
    let kept_alive = |first: &'static str| async move {
        let pause = sleep(Duration::from_millis(50));
        let frames = stream::iter([Ok::<_, Error>(first)]).chain(stream::once(async {
            pause.await;
            Ok("data: b\n\n")
        }));
        let response = http::Response::new(Body::stream(frames));
        let body = Body::new(keep_alive(response, Duration::from_millis(10)).into_body());
        String::from_utf8(body.collect(10_000).await.unwrap().to_vec()).unwrap()
    };
    host.run(async {
        let text = kept_alive("data: a\n\n").await;
        assert!(text.starts_with("data: a\n\n:\n\n"), "{text:?}");
        assert!(text.ends_with(":\n\ndata: b\n\n"), "{text:?}");
        assert_eq!(kept_alive("data: a\n").await, "data: a\ndata: b\n\n");
    });
}

/// A service that is ready once it has been polled so many times, and is called then alone.
#[derive(Clone)]
struct Late {
    polls: usize,
    ready_after: usize,
}

impl<B> Service<http::Request<B>> for Late {
    type Response = http::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.polls == self.ready_after {
            return Poll::Ready(Ok(()));
        }
        self.polls += 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        assert_eq!(self.polls, self.ready_after, "a service is called when it is ready");
        std::future::ready(Ok(http::Response::new(Full::from("ready"))))
    }
}

fn a_service_is_called_once_it_is_ready(host: impl Host + Send + 'static) {
    let late = app(Late { polls: 0, ready_after: 3 });
    let serving = Serving::start(host, Server::new(late));
    // Each request has a clone of its own to make ready.
    assert_eq!(serving.get("/").text(), "ready");
    assert_eq!(serving.get("/").text(), "ready");
}

/// A trampoline whose timers are over at once, and which keeps what they waited for.
struct Impatient(Mutex<Vec<Instant>>);

impl Trampoline for Impatient {
    fn bounce(&self, yielded: Yield<'_>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Yield::Timer(timer) = yielded {
            self.0.lock().unwrap().push(timer.deadline());
        }
        Poll::Ready(Ok(()))
    }
}

fn a_service_that_is_never_ready_is_503(host: impl Host) {
    let (never, started) = (app(Late { polls: 0, ready_after: usize::MAX }), Instant::now());
    let trampoline = Arc::new(Impatient(Mutex::default()));
    let answer = never.call(http::Request::new(Body::empty()));
    let error = host.run(Coroutine::new(trampoline.clone(), answer)).unwrap_err();
    assert_eq!((error.status().as_u16(), error.fault()), (503, Fault::Application));
    assert!(trampoline.0.lock().unwrap()[0] >= started + READY_DEADLINE);
}

fn errors_of_services_keep_their_fault_and_status(host: impl Host) {
    let answer = |path: &'static str| async move {
        let fails = service_fn(|request: http::Request<RequestBody>| async move {
            match request.uri().path() {
                "/ours" => Err(Error::client(StatusCode::GONE, "it left").into()),
                "/wrapped" => Err(io::Error::other(Error::client(StatusCode::GONE, "it")).into()),
                "/theirs" => Err(tower::BoxError::from("theirs")),
                "/long" => Limited::new(request.into_body(), 3)
                    .collect()
                    .await
                    .map(|_| http::Response::new(String::new())),
                _ => Ok(http::Response::new("fine".to_owned())),
            }
        });
        let request = http::Request::get(path).body(Body::from("a body")).unwrap();
        app(fails).call(request).await
    };
    host.run(async {
        for (path, status, fault) in [
            ("/ours", 410, Fault::Client),
            ("/wrapped", 410, Fault::Client),
            ("/theirs", 500, Fault::Application),
            ("/long", 413, Fault::Client),
        ] {
            let error = answer(path).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.fault()), (status, fault), "{path}");
        }
        let body = answer("/").await.unwrap().into_body();
        assert_eq!(body.collect(10).await.unwrap(), "fine");
    });
}

fn a_panic_is_a_500(host: impl Host + Send + 'static) {
    async fn panics() -> &'static str {
        panic!("on purpose")
    }
    let serving = serve(host, Router::new().route("/", get(panics)).route("/fine", get("fine")));
    let answer = serving.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (500, "500 Internal Server Error\n"));
    assert_eq!(serving.get("/fine").text(), "fine");
}

/// The lines that this process has logged.
#[derive(Clone)]
struct Log;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn lines() -> MutexGuard<'static, Vec<u8>> {
    LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lines().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn what_needs_tokio_works_there_and_is_a_500_elsewhere_that_says_why(
    host: impl Host + Send + 'static,
) {
    // The other hosts' tests may run in this process, and have set it up already.
    let _ = tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).try_init();
    let on_tokio = host.run(async { ::tokio::runtime::Handle::try_current().is_ok() });
    async fn events() -> impl IntoResponse {
        let events = stream::iter([Ok::<_, Infallible>(Event::default().data("event"))]);
        Sse::new(events).keep_alive(sse::KeepAlive::default())
    }
    async fn spawns() -> &'static str {
        ::tokio::spawn(async { "spawned" }).await.unwrap()
    }
    async fn sleeps() -> &'static str {
        ::tokio::time::sleep(Duration::from_millis(1)).await;
        "slept"
    }
    let timeout =
        TokiosTimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(60));
    let router = Router::new()
        .route("/events", get(events))
        .route("/spawns", get(spawns))
        .route("/sleeps", get(sleeps))
        .route("/times-out", get("in time").layer(timeout));
    let serving = serve(host, router);
    for path in ["/events", "/spawns", "/sleeps", "/times-out"] {
        let before = lines().len();
        let answer = serving.get(path);
        if on_tokio {
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            continue;
        }
        let text = answer.text();
        assert_eq!((answer.status, text.as_str()), (500, "500 Internal Server Error\n"), "{path}");
        let logged = String::from_utf8_lossy(&lines()[before..]).into_owned();
        assert!(logged.contains("the application failed"), "{path}: {logged}");
        assert!(logged.contains("there is no reactor running"), "{path}: {logged}");
    }
}

fn a_web_socket_opens_in_an_axum_handler(host: impl Host + Send + 'static) {
    async fn greet(
        State(Shop(shop)): State<Shop>,
        Path(name): Path<String>,
        request: Request,
    ) -> impl IntoResponse {
        let request = request.map(Body::new);
        let accepted = gateway_websocket::accept(request, async move |mut socket| {
            while let Some(message) = socket.receive().await? {
                socket.send(format!("{shop} {name}")).await?;
                socket.send(message).await?;
            }
            Ok(())
        });
        respond(async { accepted }).await
    }
    let router = Router::new().route("/greet/{name}", get(greet)).with_state(Shop("corner"));
    let serving = serve(host, router);
    let stream = serving.connect().stream.into_inner();
    let url = format!("ws://{}/greet/ada", serving.address);
    let (mut socket, _) = client(url, stream).expect("a WebSocket");
    socket.send(Frame::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Frame::text("corner ada"));
    assert_eq!(socket.read().unwrap(), Frame::text("hello"));
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
    let refused = serving.get("/greet/ada");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("there is a WebSocket here"), "{refused:?}");
}

/// An app that waits before it answers, in its body, and once more when that is dropped.
async fn waits(
    request: gateway_core::Request,
    dropped: mpsc::Sender<()>,
) -> gateway_core::Response {
    struct Spawns(mpsc::Sender<()>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let told = self.0.clone();
            spawn(async move { told.send(()) });
        }
    }
    sleep(Duration::from_millis(1)).await;
    let path = request.uri().path().to_owned();
    let spawns = Spawns(dropped);
    http::Response::new(Body::coroutine(async move |mut out| {
        let _spawns = spawns;
        out.send(path).await?;
        sleep(Duration::from_millis(1)).await;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            out.send(frame?.into_data().unwrap_or_default()).await?;
        }
        out.send("; the end").await
    }))
}

fn an_app_is_a_route_of_a_router_that_is_an_app(host: impl Host + Send + 'static) {
    let (told, hears) = mpsc::channel();
    let inner = service(move |request| waits(request, told.clone()));
    let fails = service(async |_: gateway_core::Request| {
        Error::client(StatusCode::GONE, "it left").response()
    });
    let panics = service(|_: gateway_core::Request| async {
        if true {
            panic!("on purpose");
        }
        http::Response::new(Body::empty())
    });
    let stamp = HeaderValue::from_static("inner");
    let stamped = ServiceBuilder::new()
        .map_response(move |mut response: http::Response<_>| {
            response.headers_mut().insert("x-stamp", stamp.clone());
            response
        })
        .service(inner);
    let router = Router::new()
        .nest_service("/app", stamped)
        .route_service("/fails", fails)
        .route_service("/panics", panics);
    let serving = serve(host, router);
    let answer = ask(&serving, "POST /app/path", "text/plain", "; a body");
    assert_eq!(answer.text(), "/path; a body; the end");
    assert_eq!(answer.field("x-stamp"), Some("inner"));
    hears.recv_timeout(PATIENCE).unwrap();
    let failed = serving.get("/fails");
    assert_eq!((failed.status, failed.text().as_str()), (410, "410 Gone: it left\n"));
    assert_eq!(serving.get("/panics").status, 500);
}

/// What axum's own server on tokio answers to requests of one connection each, one after the other.
fn on_axums_own_server(
    router: impl FnOnce(Arc<dyn Trampoline>) -> Router,
    ask: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let runtime = ::tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let trampoline = Arc::new(OnTokio(::tokio::runtime::Handle::current()));
        let listener = ::tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = ::tokio::task::spawn_blocking(move || ask(address));
        let served = axum::serve(listener, router(trampoline)).into_future();
        match select(pin!(served), asked).await {
            Either::Left((served, _)) => served.unwrap(),
            Either::Right((asked, _)) => asked.unwrap(),
        }
    });
}

/// A plain client of a server that is not one of ours.
fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream: BufReader::new(stream) }
}

#[test]
fn an_app_is_a_route_of_axums_own_server_with_timers_inside() {
    let (told, hears) = mpsc::channel();
    let router = |trampoline| {
        let app = service_on(trampoline, move |request| waits(request, told.clone()));
        Router::new().route("/", get("axum's own")).nest_service("/app", app)
    };
    on_axums_own_server(router, move |address| {
        let mut client = connect(address);
        for _ in 0..3 {
            client.send("POST /app/path HTTP/1.1\r\nhost: t\r\ncontent-length: 8\r\n\r\n; a body");
            assert_eq!(client.answer().text(), "/path; a body; the end");
            hears.recv_timeout(PATIENCE).expect("what ends with the body can still spawn");
        }
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.answer().text(), "axum's own");
    });
}

#[test]
fn a_body_that_is_given_up_is_dropped_under_its_trampoline() {
    let (told, hears) = mpsc::channel();
    let router = |trampoline| {
        let app = service_on(trampoline, move |request| waits(request, told.clone()));
        Router::new().route_service("/", app)
    };
    on_axums_own_server(router, move |address| {
        let mut client = connect(address);
        client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 8\r\n\r\nhalf");
        // The response is on its way, and waits for the rest of the request.
        while client.line().expect("the body begins") != "/" {}
        reset_when_dropped(&client);
        drop(client);
        hears.recv_timeout(PATIENCE).expect("what is dropped with the body can still spawn");
    });
}

#[test]
fn an_app_without_a_trampoline_is_a_500_on_axums_own_server() {
    let (told, _hears) = mpsc::channel();
    let app = service(move |request| waits(request, told.clone()));
    on_axums_own_server(
        |_| Router::new().route_service("/", app),
        |address| {
            let mut client = connect(address);
            client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
            assert_eq!(client.answer().status, 500);
        },
    );
}

#[test]
fn a_gone_client_of_axums_own_server_cancels_the_app() {
    let alive = Arc::new(());
    let (begun, begins) = mpsc::channel();
    let held = alive.clone();
    let hang = move |_: gateway_core::Request| {
        let (held, begun) = (held.clone(), begun.clone());
        async move {
            begun.send(()).unwrap();
            sleep(Duration::from_secs(3600)).await;
            drop(held);
            gateway_core::Response::default()
        }
    };
    let router = |trampoline| Router::new().route_service("/", service_on(trampoline, hang));
    on_axums_own_server(router, move |address| {
        let mut client = connect(address);
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
        begins.recv_timeout(PATIENCE).unwrap();
        let held = Arc::strong_count(&alive);
        drop(client);
        eventually("the app is dropped", || Arc::strong_count(&alive) < held);
    });
}
