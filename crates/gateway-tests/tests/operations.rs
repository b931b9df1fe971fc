//! What an operator sees: ids, lines in the log, numbers, health.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::pending;
use gateway_core::{
    Body, Coroutine, Error, Fault, Host, Request, Response, sleep, spawn, trampoline, unblock,
};
use gateway_http::Server;
use gateway_net::TcpStream;
use gateway_operations::{
    ACCESS_LOG, Admin, Counted, LONGEST_REQUEST_ID, LONGEST_VALUE, Metrics, Observed, RequestId,
};
use gateway_tests::{Client, Serving, eventually, on_every_host};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

on_every_host!(2:
    a_request_is_one_line_with_all_its_fields,
    failures_are_lines_with_the_status_that_the_client_sees,
    a_response_that_is_cut_off_says_so,
    a_client_that_leaves_is_a_line_too,
    responses_without_a_body_are_complete,
    streamed_bodies_are_counted_both_ways,
    http2_requests_are_lines_too,
    what_a_client_sends_stays_within_its_value,
    ids_are_taken_over_or_replaced,
    what_is_logged_of_a_failure_names_its_request,
    a_malformed_body_closes_as_it_does_without,
    requests_are_counted_exactly,
    nothing_stays_in_flight,
    waits_are_counted_by_kind,
    work_is_over_whichever_way,
    the_admin_application_answers,
);

/// An app with a path for each way in which a response can end.
async fn endings(request: Request) -> Result<Response, Error> {
    let announcing = |body: Body| http::Response::builder().header("content-length", 9).body(body);
    let status = |code: u16| http::Response::builder().status(code).body(Body::empty());
    match request.uri().path() {
        "/hello" => Ok(Response::new(Body::from("hello"))),
        "/nothing" => Ok(status(204)?),
        "/same" => Ok(status(304)?),
        "/echo" => Ok(Response::new(request.into_body())),
        "/collect" => Ok(Response::new(Body::from(request.into_body().collect(100).await?))),
        "/client" => Err(Error::client(StatusCode::UNPROCESSABLE_ENTITY, "not\r\nlike this")),
        "/host" => Err(Error::new(Fault::Host, StatusCode::SERVICE_UNAVAILABLE, "full")),
        "/error" => Err(io::Error::other("broken"))?,
        "/panic" => panic!("before the head"),
        "/cut" => Ok(Response::new(Body::coroutine(async |mut out| {
            out.send("first").await?;
            Err(io::Error::other("after the head"))?
        }))),
        "/cut-panic" => Ok(Response::new(Body::coroutine(async |mut out| {
            out.send("first").await?;
            panic!("after the head")
        }))),
        "/exact" => Ok(announcing(sent("012345678"))?),
        "/short" => Ok(announcing(sent("01234"))?),
        "/long" => Ok(announcing(sent("0123456789"))?),
        "/endless" => Ok(Response::new(Body::coroutine(async |mut out| {
            loop {
                out.send(vec![b'.'; 1024]).await?;
            }
        }))),
        path => Err(Error::client(StatusCode::NOT_FOUND, path.to_owned())),
    }
}

/// A body of which nobody knows the length.
fn sent(text: &'static str) -> Body {
    Body::coroutine(async move |mut out| out.send(text).await)
}

fn a_request_is_one_line_with_all_its_fields(host: impl Host + Send + 'static) {
    let from: fn(&Request) -> Option<SocketAddr> = |_| Some(([192, 0, 2, 1], 99).into());
    let (serving, _) = serve(host, |app| app.client(from));
    let id = id();
    let mut client = serving.connect();
    client.send(format!("POST /collect?a=b%20c&d HTTP/1.1\r\nhost: t\r\nx-request-id: {id}\r\n"));
    client.send("user-agent: a test (1; 2)\r\nreferer: http://there/\r\ncontent-length: 4\r\n\r\n");
    client.send("data");
    assert_eq!(client.answer().text(), "data");
    let line = line(&id);
    let expected: [(&str, Value); 11] = [
        ("method", "POST".into()),
        ("uri", "/collect?a=b%20c&d".into()),
        ("version", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("end", "complete".into()),
        ("request_bytes", 4.into()),
        ("response_bytes", 4.into()),
        ("client", "192.0.2.1:99".into()),
        ("request_id", id.as_str().into()),
        ("user_agent", "a test (1; 2)".into()),
        ("referer", "http://there/".into()),
    ];
    for (name, value) in &expected {
        assert_eq!(line[*name], *value, "{name} in {line}");
    }
    let (to_head, to_end) = (line["head_us"].as_u64().unwrap(), line["total_us"].as_u64().unwrap());
    assert!(to_head <= to_end && to_end < 600_000_000, "{line}");
    assert_eq!(line.as_object().unwrap().len(), expected.len() + 2, "{line}");
    let text = text_line(&id);
    let words =
        [" INFO ", ACCESS_LOG, "method=\"POST\"", "status=200", "user_agent=\"a test (1; 2)\""];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");

    // What a request does not have is left out.
    let bare = self::id();
    assert_eq!(get(&serving, "/hello", &bare).status, 200);
    let line = self::line(&bare);
    for name in ["user_agent", "referer"] {
        assert_eq!(line.get(name), None, "{line}");
    }
}

fn failures_are_lines_with_the_status_that_the_client_sees(host: impl Host + Send + 'static) {
    let (serving, metrics) = serve(host, |app| app);
    for (path, status) in
        [("/client", 422), ("/host", 503), ("/error", 500), ("/panic", 500), ("/unknown", 404)]
    {
        let id = id();
        let answer = get(&serving, path, &id);
        assert_eq!((answer.status, answer.field("x-request-id")), (status, Some(&*id)), "{path}");
        let line = line(&id);
        assert_eq!((&line["status"], &line["end"]), (&status.into(), &"complete".into()), "{line}");
        assert_eq!(line["response_bytes"], answer.body.len(), "{line}");
        assert!(!answer.body.is_empty() && line["head_us"].is_u64(), "{line}");
    }
    let page = scrape(&metrics);
    let errors = |fault: &str| page[&format!("gateway_errors_total{{fault=\"{fault}\"}}")];
    assert_eq!((errors("application"), errors("client"), errors("host")), (2.0, 2.0, 1.0));
    assert_eq!(page["gateway_panics_total"], 1.0);
}

fn a_response_that_is_cut_off_says_so(host: impl Host + Send + 'static) {
    let (serving, metrics) = serve(host, |app| app);
    for (path, bytes) in [("/cut", 5), ("/cut-panic", 5), ("/short", 5), ("/long", 10)] {
        let id = id();
        let mut client = serving.connect();
        client.send(request(path, &id));
        assert_eq!(client.try_answer(), None, "{path}");
        let line = line(&id);
        assert_eq!((&line["status"], &line["end"]), (&200.into(), &"failed".into()), "{line}");
        assert_eq!(line["response_bytes"], bytes, "{line}");
    }
    // Its twin keeps to the length that it announces.
    let id = id();
    assert_eq!(get(&serving, "/exact", &id).text(), "012345678");
    assert_eq!((&line(&id)["end"], &line(&id)["response_bytes"]), (&"complete".into(), &9.into()));
    let page = scrape(&metrics);
    assert_eq!(page["gateway_responses_cut_off_total{end=\"failed\"}"], 4.0);
    assert_eq!(page["gateway_responses_cut_off_total{end=\"dropped\"}"], 0.0);
    assert_eq!(page["gateway_errors_total{fault=\"application\"}"], 2.0);
    assert_eq!(page["gateway_panics_total"], 1.0);
}

fn a_client_that_leaves_is_a_line_too(host: impl Host + Send + 'static) {
    let (begun, begins) = mpsc::channel();
    let app = move |request: Request| {
        let begun = begun.clone();
        async move {
            if request.uri().path() != "/hang" {
                return endings(request).await;
            }
            begun.send(()).unwrap();
            pending::<Result<Response, Error>>().await
        }
    };
    let metrics = Metrics::new();
    logs();
    let app = Observed::new(app).access_log().metrics(&metrics);
    let serving = Serving::start(host, Server::new(app));
    // Before the head.
    let early = id();
    let mut client = serving.connect();
    client.send(request("/hang", &early));
    begins.recv().unwrap();
    reset_when_dropped(&client);
    drop(client);
    let line = line(&early);
    assert_eq!((line.get("status"), line.get("head_us")), (None, None), "{line}");
    assert_eq!((&line["end"], &line["response_bytes"]), (&"dropped".into(), &0.into()), "{line}");
    // Within the body.
    let late = id();
    let mut client = serving.connect();
    client.send(request("/endless", &late));
    while client.line().unwrap() != "400" {}
    reset_when_dropped(&client);
    drop(client);
    let line = self::line(&late);
    assert_eq!((&line["status"], &line["end"]), (&200.into(), &"dropped".into()), "{line}");
    assert!(line["response_bytes"].as_u64().unwrap() >= 1024, "{line}");

    let page = scrape(&metrics);
    assert_eq!(page["gateway_requests_total{method=\"GET\",code=\"none\"}"], 1.0);
    assert_eq!(page["gateway_requests_total{method=\"GET\",code=\"200\"}"], 1.0);
    assert_eq!(page["gateway_responses_cut_off_total{end=\"dropped\"}"], 2.0);
    assert_eq!(page["gateway_requests_in_flight"], 0.0);
}

fn responses_without_a_body_are_complete(host: impl Host + Send + 'static) {
    let (serving, _) = serve(host, |app| app);
    for (path, status) in [("/nothing", 204), ("/same", 304)] {
        let id = id();
        assert_eq!(get(&serving, path, &id).status, status);
        let line = line(&id);
        assert_eq!((&line["status"], &line["end"]), (&status.into(), &"complete".into()), "{line}");
    }
    let id = id();
    let mut client = serving.connect();
    client.send(request("/endless", &id).replace("GET", "HEAD"));
    while !client.line().unwrap().is_empty() {}
    let line = line(&id);
    assert_eq!((&line["method"], &line["end"]), (&"HEAD".into(), &"complete".into()), "{line}");
    assert_eq!(line["response_bytes"], 0, "{line}");
}

fn streamed_bodies_are_counted_both_ways(host: impl Host + Send + 'static) {
    let (serving, metrics) = serve(host, |app| app);
    let id = id();
    let mut client = serving.connect();
    client.send(format!("POST /echo HTTP/1.1\r\nhost: t\r\nx-request-id: {id}\r\n"));
    client.send("te: trailers\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    while client.line().unwrap() != "first" {}
    // While it goes on, there is no line, and it is in flight.
    assert!(lines(&id).is_empty());
    assert_eq!(scrape(&metrics)["gateway_requests_in_flight"], 1.0);
    client.send("6\r\nsecond\r\n0\r\nx-sum: 11\r\n\r\n");
    while client.line().unwrap() != "0" {}
    let line = line(&id);
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&11.into(), &11.into()));
    assert_eq!(line["end"], "complete", "{line}");
    let page = scrape(&metrics);
    assert_eq!(page["gateway_request_body_bytes_total"], 11.0);
    assert_eq!(page["gateway_response_body_bytes_total"], 11.0);
    assert_eq!(page["gateway_requests_in_flight"], 0.0);
}

fn http2_requests_are_lines_too(host: impl Host + Send + Sync + 'static) {
    let host = Arc::new(host);
    let (serving, _) = serve(Shared(host.clone()), |app| app);
    let address = serving.address;
    let ids = [id(), id(), id()];
    let sent = ids.clone();
    host.run(async move {
        let stream = TcpStream::connect_to(address).await.unwrap();
        let (client, connection) =
            hyper::client::conn::http2::handshake(Tasks, stream).await.unwrap();
        spawn(connection);
        let post = |path: &str, id: &str| {
            let request = http::Request::post(format!("http://{address}{path}"));
            let request = request.header("x-request-id", id);
            client.clone().send_request(request.body(Full::new(Bytes::from("body"))).unwrap())
        };
        let answer = post("/echo", &sent[0]).await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], sent[0]);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "body");
        let cut = async { post("/cut", &sent[1]).await?.collect().await };
        assert!(cut.await.is_err());
        let answer = post("/panic", &sent[2]).await.unwrap();
        assert_eq!(answer.status(), 500);
        answer.collect().await.unwrap();
    });
    for (id, status, end, bytes) in
        [(&ids[0], 200, "complete", 4), (&ids[1], 200, "failed", 0), (&ids[2], 500, "complete", 0)]
    {
        let line = line(id);
        assert_eq!((&line["version"], &line["status"]), (&"HTTP/2.0".into(), &status.into()));
        assert_eq!((&line["end"], &line["request_bytes"]), (&end.into(), &bytes.into()), "{line}");
    }
}

fn what_a_client_sends_stays_within_its_value(host: impl Host + Send + 'static) {
    let (serving, _) = serve(host, |app| app);
    let id = id();
    let mut client = serving.connect();
    let target = format!("/a\"{{'?%0d%0a%1b[31m{}", "x".repeat(2 * LONGEST_VALUE));
    client.send(format!("GET {target} HTTP/1.1\r\nhost: t\r\nx-request-id: {id}\r\n"));
    client.send(b"user-agent: a\" status=200 \\\" b\tc \x80\xff \xc3\xa9 {\"k\":1}\r\n");
    client.send("referer: x\" y=\"z\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    let line = line(&id);
    let shown = "a%22 status=200 %5C%22 b%09c %80%FF %C3%A9 {%22k%22:1}";
    assert_eq!((&line["user_agent"], &line["referer"]), (&shown.into(), &"x%22 y=%22z".into()));
    let uri = line["uri"].as_str().unwrap();
    assert!(uri.starts_with("/a%22{'?%0d%0a%1b[31mxxx") && uri.ends_with("x..."), "{uri}");
    assert_eq!(uri.len(), LONGEST_VALUE);
    let text = text_line(&id);
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
    assert!(text.contains(&format!("user_agent=\"{shown}\"")), "{text}");

    // What can't be in a field never comes here.
    for byte in [0x00, 0x0b, 0x1b, 0x7f] {
        let mut client = serving.connect();
        client.send([b"GET /hello HTTP/1.1\r\nhost: t\r\nuser-agent: ", &[byte][..]].concat());
        client.send("\r\n\r\n");
        assert_eq!(client.answer().status, 400, "{byte}");
    }
}

fn ids_are_taken_over_or_replaced(host: impl Host + Send + 'static) {
    logs();
    let app = async |request: Request| {
        let field = request.headers().get_all("x-request-id");
        let field: Vec<_> = field.iter().map(|id| id.to_str().unwrap()).collect();
        let extension = request.extensions().get::<RequestId>().unwrap();
        let mut response = Response::new(Body::from(format!("{} {extension}", field.join(","))));
        // The app's own gives way.
        response.headers_mut().insert("x-request-id", "of-the-app".parse().unwrap());
        response
    };
    let serving = Serving::start(host, Server::new(Observed::new(app).access_log()));
    let seen = |fields: &str| {
        let mut client = serving.connect();
        client.send(format!("GET / HTTP/1.1\r\nhost: t\r\n{fields}\r\n"));
        let answer = client.answer();
        let id = answer.field("x-request-id").unwrap().to_owned();
        assert_eq!(answer.fields.iter().filter(|(name, _)| name == "x-request-id").count(), 1);
        assert_eq!(answer.text(), format!("{id} {id}"));
        assert_eq!(line(&id)["request_id"], *id);
        id
    };
    let unique = id();
    let longest = format!("{unique}{}", "x".repeat(LONGEST_REQUEST_ID - unique.len()));
    for id in [&*id(), &format!("Root=1-{};+/._", id()), &longest] {
        assert_eq!(seen(&format!("X-Request-Id: {id}\r\n")) == id, !id.contains(';'), "{id}");
    }
    let mut fresh = HashSet::new();
    for fields in [
        String::new(),
        "x-request-id: \r\n".to_owned(),
        "x-request-id: a b\r\n".to_owned(),
        "x-request-id: a\"b\r\n".to_owned(),
        "x-request-id: a%0d%0ab\r\n".to_owned(),
        format!("x-request-id: {longest}x\r\n"),
        "x-request-id: one\r\nx-request-id: two\r\n".to_owned(),
    ] {
        let id = seen(&fields);
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(fresh.insert(id), "twice the same id");
    }
}

fn what_is_logged_of_a_failure_names_its_request(host: impl Host + Send + 'static) {
    let (serving, _) = serve(host, |app| app);
    for (path, cause) in [("/error", "broken"), ("/panic", "before the head")] {
        let id = id();
        assert_eq!(get(&serving, path, &id).status, 500);
        let named = |line: &Value| line["span"]["id"] == *id;
        let found = || lines_with(&id).into_iter().find(named);
        eventually("the failure is logged", || found().is_some());
        let error = found().unwrap();
        assert_eq!(error["level"], "ERROR");
        assert!(error["fields"]["error"].as_str().unwrap().contains(cause), "{error}");
    }
}

fn a_malformed_body_closes_as_it_does_without(host: impl Host + Send + Sync + 'static) {
    let host = Arc::new(host);
    let (observed, _) = serve(Shared(host.clone()), |app| app);
    let plain = Serving::start(Shared(host), Server::new(endings));
    for serving in [&observed, &plain] {
        let mut client = serving.connect();
        client
            .send("POST /collect HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nno\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
        assert!(client.is_closed());
        // And its twin, a failure behind a body that was read, keeps the connection.
        let mut client = serving.connect();
        for _ in 0..2 {
            client.send("POST /client HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n");
            let answer = client.answer();
            assert_eq!((answer.status, answer.field("connection")), (422, None));
        }
    }
}

fn requests_are_counted_exactly(host: impl Host + Send + 'static) {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 25;
    let (serving, metrics) = serve(host, |app| app);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = serving.connect();
                for _ in 0..ROUNDS {
                    for head in ["GET /hello", "GET /unknown", "PURGE /hello", "GET /panic"] {
                        client.send(format!("{head} HTTP/1.1\r\nhost: t\r\n\r\n"));
                        client.answer();
                    }
                    client.send("PUT /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc");
                    assert_eq!(client.answer().text(), "abc");
                }
            });
        }
    });
    let each = (CLIENTS * ROUNDS) as f64;
    eventually("the last has ended", || scrape(&metrics)["gateway_requests_in_flight"] == 0.0);
    let page = scrape(&metrics);
    let requests = |method: &str, code: &str| {
        page[&format!("gateway_requests_total{{method=\"{method}\",code=\"{code}\"}}")]
    };
    assert_eq!((requests("GET", "200"), requests("GET", "404")), (each, each));
    assert_eq!((requests("GET", "500"), requests("other", "200")), (each, each));
    assert_eq!(requests("PUT", "200"), each);
    let series = page.keys().filter(|name| name.starts_with("gateway_requests_total"));
    assert_eq!(series.count(), 5, "and no others");
    assert_eq!(page["gateway_response_head_seconds_count"], 5.0 * each);
    assert_eq!(page["gateway_response_end_seconds_count"], 5.0 * each);
    assert!(page["gateway_response_end_seconds_sum"] >= page["gateway_response_head_seconds_sum"]);
    assert_eq!(page["gateway_panics_total"], each);
    assert_eq!(page["gateway_request_body_bytes_total"], 3.0 * each);
    let bodies = "hello".len() * 2 + "abc".len();
    let excuses = "404 Not Found: /unknown\n".len() + "500 Internal Server Error\n".len();
    assert_eq!(page["gateway_response_body_bytes_total"], (bodies + excuses) as f64 * each);
}

fn nothing_stays_in_flight(host: impl Host + Send + 'static) {
    let (serving, metrics) = serve(host, |app| app);
    for path in ["/panic", "/cut", "/cut-panic", "/short", "/hello", "/endless"] {
        for _ in 0..5 {
            let mut client = serving.connect();
            client.send(request(path, &id()));
            // Where the body fails at once, its head may be lost as well.
            client.line();
            reset_when_dropped(&client);
        }
    }
    let in_flight = || scrape(&metrics)["gateway_requests_in_flight"];
    let counted = || scrape(&metrics)["gateway_response_end_seconds_count"];
    eventually("nothing is in flight", || in_flight() == 0.0 && counted() == 30.0);
}

fn waits_are_counted_by_kind(host: impl Host + Send + 'static) {
    let metrics = Metrics::new();
    host.run(async {
        let counted = Counted::new(trampoline().unwrap(), &metrics);
        let waits = async {
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::ZERO).await;
            assert_eq!(unblock(|| 1).await.unwrap(), 1);
            let inner = spawn(async { unblock(|| 2).await.unwrap() });
            assert_eq!(inner.await.unwrap(), 2);
            assert!(spawn(async { panic!("a task") }).await.is_err());
            assert!(unblock(|| panic!("a job")).await.is_err());
        };
        Coroutine::new(Arc::new(counted), waits).await;
    });
    let yields = |kind: &str, answer: &str| {
        let labels = format!("kind=\"{kind}\",answer=\"{answer}\"");
        scrape(&metrics)[&format!("gateway_yields_total{{{labels}}}")]
    };
    assert_eq!(yields("timer", "ready"), 4.0);
    assert!(yields("timer", "pending") >= 3.0);
    assert_eq!((yields("io", "ready"), yields("io", "pending")), (0.0, 0.0));
    for (kind, started) in [("job", 3.0), ("task", 2.0)] {
        let answers = ["ready", "pending", "failed"].map(|answer| yields(kind, answer));
        assert_eq!(answers, [started, 0.0, 0.0], "{kind}");
        assert_eq!(work(&metrics, "started", kind), started, "{kind}");
        let finished = || work(&metrics, "finished", kind) == started;
        eventually("all of it is over", finished);
    }
}

fn work_is_over_whichever_way(host: impl Host + Send + 'static) {
    let metrics = Metrics::new();
    host.run(async {
        let counted = Counted::new(trampoline().unwrap(), &metrics);
        let waits = async {
            let hangs = spawn(pending::<()>());
            assert_eq!((work(&metrics, "started", "task"), hangs.is_finished()), (1.0, false));
            assert_eq!(work(&metrics, "finished", "task"), 0.0);
            hangs.cancel();
            assert!(hangs.await.is_err());
        };
        Coroutine::new(Arc::new(counted), waits).await;
    });
    eventually("the cancelled task is over", || work(&metrics, "finished", "task") == 1.0);
}

fn the_admin_application_answers(host: impl Host + Send + Sync + 'static) {
    let host = Arc::new(host);
    let (serving, metrics) = serve(Shared(host.clone()), |app| app);
    let ready = Arc::new(AtomicBool::new(false));
    let asked = ready.clone();
    let admin = Admin::new(&metrics, move || match asked.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("the caches are cold".to_owned()),
    });
    let admin = Serving::start(Shared(host), Server::new(admin));
    let status = |path| (admin.get(path).status, admin.get(path).text());
    assert_eq!(status("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(status("/readyz"), (503, "the caches are cold\n".to_owned()));
    ready.store(true, Ordering::Relaxed);
    assert_eq!(status("/readyz"), (200, "ready\n".to_owned()));
    ready.store(false, Ordering::Relaxed);
    assert_eq!(status("/readyz").0, 503);
    assert_eq!(status("/livez").0, 200, "it lives, ready or not");
    for path in ["/", "/livez/", "/metrics/x", "/hello"] {
        assert_eq!(status(path).0, 404, "{path}");
    }
    assert_eq!(serving.get("/metrics").status, 404, "not for the public");

    metrics.collect(|page| page.gauge("of_another", "Another's.", [([("a", "b")], 1.5)]));
    assert_eq!(serving.get("/hello").status, 200);
    let answer = admin.get("/metrics");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = parse(&answer.text());
    assert_eq!(page["of_another{a=\"b\"}"], 1.5);
    assert!(page["gateway_requests_total{method=\"GET\",code=\"200\"}"] >= 1.0);
    assert!(page["process_resident_memory_bytes"] > 1e6);
    assert!(page["process_open_fds"] > 3.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - page["process_start_time_seconds"];
    assert!((-2.0..3600.0).contains(&age), "{age}");

    let mut client = admin.connect();
    for (method, status) in [(Method::POST, 405), (Method::OPTIONS, 405)] {
        client.send(format!("{method} /metrics HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n"));
        let answer = client.answer();
        let allow = answer.field(header::ALLOW.as_str());
        assert_eq!((answer.status, allow), (status, Some("GET, HEAD")), "{method}");
    }
}

/// The endings, observed in every way.
fn serve(
    host: impl Host + Send + 'static,
    with: impl FnOnce(Observed<fn(Request) -> Answer>) -> Observed<fn(Request) -> Answer>,
) -> (Serving, Metrics) {
    logs();
    let metrics = Metrics::new();
    let app: fn(Request) -> Answer = |request| Box::pin(endings(request));
    let app = with(Observed::new(app).access_log().metrics(&metrics));
    (Serving::start(host, Server::new(app)), metrics)
}

/// What the endings return, as a type that has a name.
type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// A new id, of a test that runs beside others in one process.
fn id() -> String {
    static IDS: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}", IDS.fetch_add(1, Ordering::Relaxed))
}

fn request(path: &str, id: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n")
}

fn get(serving: &Serving, path: &str, id: &str) -> gateway_tests::Answer {
    let mut client = serving.connect();
    client.send(request(path, id));
    client.answer()
}

/// Its connection is reset instead of closed.
fn reset_when_dropped(client: &Client) {
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(client.stream.get_ref(), linger).unwrap();
}

/// A host in two hands.
struct Shared<H>(Arc<H>);

impl<H: Host> Host for Shared<H> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(future)
    }
}

#[derive(Clone)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// All that was logged in this process, as JSON and as text.
static LOGGED: [Mutex<Vec<u8>>; 2] = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];

struct Logged(usize);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED[self.0].lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs into [`LOGGED`] from now on.
fn logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let json = tracing_subscriber::fmt::layer().json().with_writer(|| Logged(0));
        let text = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Logged(1));
        let (json, text) =
            (json.with_filter(LevelFilter::INFO), text.with_filter(LevelFilter::INFO));
        tracing_subscriber::registry().with(json).with(text).init();
    });
}

/// The lines that were logged with these words in them.
fn lines_with(words: &str) -> Vec<Value> {
    let logged = String::from_utf8(LOGGED[0].lock().unwrap().clone()).expect("lines are text");
    let lines = logged.split_inclusive('\n').filter(|line| line.contains(words));
    lines.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The access log's lines on a request.
fn lines(id: &str) -> Vec<Value> {
    let is_on = |line: &Value| line["target"] == ACCESS_LOG && line["fields"]["request_id"] == *id;
    let mut lines: Vec<_> = lines_with(id).into_iter().filter(is_on).collect();
    lines.iter_mut().map(|line| line["fields"].take()).collect()
}

/// The one line on a request.
fn line(id: &str) -> Value {
    eventually("the line is written", || !lines(id).is_empty());
    let mut lines = lines(id);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The same line as text.
fn text_line(id: &str) -> String {
    let logged = String::from_utf8(LOGGED[1].lock().unwrap().clone()).expect("lines are text");
    let is_on = |line: &&str| line.contains(&format!("request_id=\"{id}\""));
    logged.lines().find(is_on).expect("the line as text").to_owned()
}

fn work(metrics: &Metrics, state: &str, kind: &str) -> f64 {
    scrape(metrics)[&format!("gateway_work_{state}_total{{kind=\"{kind}\"}}")]
}

fn scrape(metrics: &Metrics) -> BTreeMap<String, f64> {
    parse(&metrics.page())
}

/// Reads a page of Prometheus' text format, 0.0.4, and holds it to its rules: each family has a
/// help and a type before its samples, and stands in one place; no sample is there twice; names and
/// labels are well-formed; a histogram's buckets grow, and the last is its count.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    assert!(page.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), HashSet::new());
    let (mut family, mut kind, mut bucket) = ("", "", (0.0, f64::NEG_INFINITY));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !text.is_empty() && families.insert(name), "{line}");
            (family, kind, bucket) = (name, "", (0.0, f64::NEG_INFINITY));
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, of) = typed.split_once(' ').expect("a name and a type");
            assert!(name == family && ["counter", "gauge", "histogram"].contains(&of), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            kind = of;
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let value: f64 = value.parse().expect("a number");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect("the labels' end");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, quoted) = label.split_once('=').expect("a label and its value");
                let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                assert!(is_name(key) && text.is_some_and(|text| !text.contains(['"', '\\'])));
            }
            let part = name.strip_prefix(family).expect("a sample of this family");
            match (kind, part) {
                ("counter", "") => assert!(value >= 0.0, "{line}"),
                ("gauge", "") | ("histogram", "_sum") => {}
                ("histogram", "_bucket") => {
                    let bound = labels.strip_prefix("le=\"").and_then(|le| le.strip_suffix('"'));
                    let bound: f64 = bound.expect("a bound").parse().expect("a number");
                    assert!(value >= bucket.0 && bound > bucket.1, "{line}");
                    bucket = (value, bound);
                }
                ("histogram", "_count") => assert_eq!(bucket, (value, f64::INFINITY), "{line}"),
                _ => panic!("{line}"),
            }
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}
