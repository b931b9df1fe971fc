//! An app as a plain synchronous function, for servers that are synchronous already.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::join_all;
use gateway_blocking::{BODY_BYTES, Blocking, decorate};
use gateway_core::{
    App, Body, Client, Departure, Error, Host, Peer, Request, Response, disconnected, peer,
    set_body_limit, sleep, spawn, unblock,
};
use http::{Method, StatusCode};

fn host() -> Arc<Blocking> {
    Arc::new(Blocking::new(2).expect("the host starts"))
}

fn text(app: impl App) -> (StatusCode, io::Result<String>) {
    let response = decorate(&host(), app)(http::Request::new(io::empty()));
    let (status, mut text) = (response.status(), String::new());
    let read = response.into_body().read_to_string(&mut text);
    (status, read.map(|_| text))
}

#[test]
fn timers_joins_jobs_and_tasks_work_under_a_synchronous_server() {
    let (status, text) = text(async |_: Request| -> Result<Response, Error> {
        join_all((0..10).map(|_| sleep(Duration::from_millis(5)))).await;
        let sum = unblock(|| 40).await? + spawn(async { 2 }).await?;
        Ok(Response::new(Body::from(sum.to_string())))
    });
    assert_eq!((status, text.unwrap().as_str()), (StatusCode::OK, "42"));
}

#[test]
fn a_request_body_is_read_when_the_app_asks_for_it() {
    /// Counts how often it is read.
    struct Counted(Arc<AtomicUsize>);
    impl Read for Counted {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            let all = [&b"hello"[..], b", world", b""];
            let now = all[n.min(2)];
            buf[..now.len()].copy_from_slice(now);
            Ok(now.len())
        }
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let echo = async |request: Request| Response::new(request.into_body());
    let response = decorate(&host(), echo)(http::Request::new(Counted(reads.clone())));
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    let mut body = response.into_body();
    let mut buf = [0; 64];
    assert_eq!(body.read(&mut buf).unwrap(), 5);
    assert_eq!(reads.load(Ordering::Relaxed), 1, "it reads ahead");
    let mut text = String::new();
    body.read_to_string(&mut text).unwrap();
    assert_eq!(text, ", world");
    assert_eq!(body.read(&mut buf).unwrap(), 0, "the end stays the end");
}

#[test]
fn chunks_arrive_as_they_are_made_and_dropping_the_reader_cancels_the_rest() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let app = move |_: Request| {
        let made = counted.clone();
        let body = Body::coroutine(async move |mut out| {
            for n in 0..100 {
                made.fetch_add(1, Ordering::Relaxed);
                out.send(format!("{n};")).await?;
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        });
        async { Response::new(body) }
    };
    let mut body = decorate(&host(), app)(http::Request::new(io::empty())).into_body();
    let mut buf = [0; 64];
    for n in 0..3 {
        let read = body.read(&mut buf).unwrap();
        assert_eq!(&buf[..read], format!("{n};").as_bytes());
        assert!(made.load(Ordering::Relaxed) <= n + 2, "it makes more than is read");
    }
    drop(body);
    assert_eq!(Arc::strong_count(&made), 1, "the coroutine is still there");
}

#[test]
fn errors_and_panics_are_responses_and_a_body_that_fails_is_an_error() {
    let refuse = async |_: Request| Err::<Response, _>(Error::client(StatusCode::CONFLICT, "no"));
    assert_eq!(text(refuse).0, StatusCode::CONFLICT);
    let panics = async |_: Request| -> Response { panic!("a secret") };
    let (status, said) = text(panics);
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!said.unwrap().contains("secret"));
    let cut = async |_: Request| {
        Response::new(Body::coroutine(async |mut out| {
            out.send("first").await?;
            Err(io::Error::other("gone").into())
        }))
    };
    assert!(text(cut).1.is_err(), "the body looks whole");
}

#[test]
fn a_request_body_that_fails_is_the_clients_fault() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    let app = async |request: Request| -> Result<Response, Error> {
        request.into_body().collect(100).await.map(Body::from).map(Response::new)
    };
    let response = decorate(&host(), app)(http::Request::new(Broken));
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn many_threads_call_the_same_function_at_once() {
    let app = async |request: Request| {
        sleep(Duration::from_millis(2)).await;
        Response::new(Body::from(request.uri().path().to_owned()))
    };
    let serve = decorate(&host(), app);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let serve = &serve;
            scope.spawn(move || {
                for m in 0..20 {
                    let mut request = http::Request::new(io::empty());
                    *request.uri_mut() = format!("/{n}/{m}").parse().unwrap();
                    let mut text = String::new();
                    serve(request).into_body().read_to_string(&mut text).unwrap();
                    assert_eq!(text, format!("/{n}/{m}"));
                }
            });
        }
    });
}

/// What comes of a request with these fields: the status, and what has arrived.
fn collected(fields: &[(&str, &str)], limit: Option<u64>, body: &[u8]) -> (u16, usize) {
    let app = move |request: Request| async move {
        if let Some(limit) = limit {
            set_body_limit(&request, limit);
        }
        request.into_body().collect(usize::MAX).await.map(http::Response::new)
    };
    let mut request = http::Request::builder();
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(io::Cursor::new(body.to_vec())).unwrap();
    let response = decorate(&host(), app)(request);
    let (status, mut bytes) = (response.status().as_u16(), Vec::new());
    response.into_body().read_to_end(&mut bytes).unwrap();
    (status, bytes.len())
}

#[test]
fn a_request_body_is_as_long_as_its_head_says() {
    let length = |length| collected(&[("content-length", length)], None, b"hello");
    assert_eq!((length("5"), length("3"), length("0")), ((200, 5), (200, 3), (200, 0)));
    for wrong in ["6", "+5", "5, 5", "", "five", "99999999999999999999"] {
        assert_eq!(length(wrong).0, 400, "{wrong}");
    }
    let vanishes = [("content-length", "3"), ("connection", "content-length")];
    assert_eq!(collected(&vanishes, None, b"hello"), (200, 3), "no client takes it off");
    let twice = |second| [("content-length", "5"), ("content-length", second)];
    assert_eq!(collected(&twice("5"), None, b"hello"), (200, 5));
    assert_eq!(collected(&twice("6"), None, b"hello").0, 400);
    let chunked = [("content-length", "3"), ("transfer-encoding", "chunked")];
    assert_eq!(collected(&chunked, None, b"hello"), (200, 5), "the coding overrides the length");
}

#[test]
fn a_request_body_has_a_limit_that_the_app_may_set() {
    let large = vec![b'.'; BODY_BYTES as usize + 1];
    assert_eq!(collected(&[], None, &large[1..]), (200, large.len() - 1));
    assert_eq!(collected(&[], None, &large).0, 413);
    let announced = [("content-length", "2097153")];
    assert_eq!(collected(&announced, None, b"").0, 413, "before it is read");
    assert_eq!(collected(&[], Some(BODY_BYTES + 1), &large), (200, large.len()));
    assert_eq!(collected(&[], Some(4), b"hello").0, 413);
}

#[test]
fn fields_of_the_connection_go_neither_way() {
    let fields = [
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=9"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "nothing"),
        ("x-own", "1"),
    ];
    let app = move |request: Request| {
        let mut seen: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        seen.sort_unstable();
        let mut response = Response::new(Body::from(seen.join(" ")));
        for (name, value) in fields {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async { response }
    };
    let mut request = http::Request::new(io::empty());
    for (name, value) in fields {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = decorate(&host(), app)(request);
    let mut left: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-length", "x-own"]);
    let mut seen = String::new();
    response.into_body().read_to_string(&mut seen).unwrap();
    // What a request's field names stays: a proxy may have added it.
    assert_eq!(seen, "x-hop x-own");
}

/// The length that a response announces, and what becomes of its body.
fn released(
    method: Method,
    response: http::response::Builder,
    body: Body,
) -> (u16, String, String) {
    let response = std::sync::Mutex::new(Some(response.body(body).unwrap()));
    let app = move |_: Request| {
        let response = response.lock().unwrap().take().unwrap();
        async { response }
    };
    let mut request = http::Request::new(io::empty());
    *request.method_mut() = method;
    let response = decorate(&host(), app)(request);
    let length = response.headers().get("content-length");
    let length = length.map(|length| length.to_str().unwrap().to_owned()).unwrap_or_default();
    let (status, mut text) = (response.status().as_u16(), String::new());
    let read = response.into_body().read_to_string(&mut text);
    text += if read.is_err() { " and an error" } else { "" };
    (status, length, text)
}

#[test]
fn a_response_announces_its_length_and_keeps_to_it() {
    let made = || Body::coroutine(async |mut out| out.send("hello").await);
    let head = |status| http::Response::builder().status(status);
    let long = |length| head(200).header("content-length", length);
    let (get, short) = (|head, body| released(Method::GET, head, body), "and an error");
    let answer = |status, length: &str, text: &str| (status, length.to_owned(), text.to_owned());
    assert_eq!(get(head(200), "hello".into()), answer(200, "5", "hello"));
    assert_eq!(get(head(200), made()), answer(200, "", "hello"));
    assert_eq!(get(long(5), made()), answer(200, "5", "hello"));
    assert!(get(long(6), made()).2.ends_with(short));
    assert!(get(long(4), made()).2.ends_with(short));
    assert_eq!(get(long(6), "hello".into()).0, 500);
    assert_eq!(get(head(101), Body::empty()).0, 500);
    assert_eq!(get(head(204), "hello".into()), answer(204, "", ""));
    assert_eq!(get(head(205), "hello".into()), answer(205, "0", ""));
    assert_eq!(get(head(304).header("content-length", 9), made()), answer(304, "9", ""));
    assert_eq!(released(Method::HEAD, head(200), "hello".into()), answer(200, "5", ""));
    assert_eq!(released(Method::HEAD, long(9), made()), answer(200, "9", ""));
    assert_eq!(released(Method::HEAD, head(200), made()), answer(200, "", ""));
}

#[test]
fn a_panic_in_a_body_is_an_error_and_the_next_call_works() {
    let app = async |_: Request| {
        Response::new(Body::coroutine(async |mut out| {
            out.send("first").await?;
            panic!("a secret")
        }))
    };
    let serve = decorate(&host(), app);
    for _ in 0..2 {
        let mut body = serve(http::Request::new(io::empty())).into_body();
        assert_eq!(body.chunk().unwrap().unwrap(), "first");
        assert!(body.chunk().unwrap().is_err());
        assert!(body.chunk().is_none(), "behind an error comes nothing");
    }
}

#[test]
fn whoever_is_the_client_is_known_and_its_departure_is_told() {
    let address = "192.0.2.1:80".parse().unwrap();
    let client = Client::default();
    client.introduce(Peer::new(Some(address), None, None));
    let (told, hears) = oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let app = move |_: Request| {
        let (seen, left, told) = (peer(), disconnected(), told.lock().unwrap().take());
        spawn(async move { told.unwrap().send(left.await) });
        let body = Body::coroutine(async move |mut out| {
            assert_eq!(peer().and_then(|peer| peer.address()), Some(address));
            out.send(seen.and_then(|peer| peer.address()).unwrap().to_string()).await?;
            std::future::pending().await
        });
        async { Response::new(body) }
    };
    let mut request = http::Request::new(io::empty());
    request.extensions_mut().insert(client);
    let host = host();
    let mut body = decorate(&host, app)(request).into_body();
    assert_eq!(body.chunk().unwrap().unwrap(), "192.0.2.1:80");
    drop(body);
    assert_eq!(host.run(hears), Ok(Departure::Gone));
}

/// Cleans up in a task: its destructor needs a trampoline.
struct CleansUp(Option<oneshot::Sender<()>>);
impl Drop for CleansUp {
    fn drop(&mut self) {
        let told = self.0.take();
        spawn(async move { told.map(|told| told.send(())) });
    }
}

#[test]
fn a_body_that_is_given_up_may_spawn_its_clean_up() {
    let (told, hears) = oneshot::channel();
    let guard = std::sync::Mutex::new(Some(CleansUp(Some(told))));
    let app = move |_: Request| {
        let guard = guard.lock().unwrap().take();
        let body = Body::coroutine(async move |mut out| {
            let _guard = guard;
            loop {
                out.send("more").await?;
            }
        });
        async { Response::new(body) }
    };
    let host = host();
    let mut body = decorate(&host, app)(http::Request::new(io::empty())).into_body();
    assert!(body.chunk().unwrap().is_ok());
    drop(body);
    assert_eq!(host.run(hears), Ok(()));
}

#[test]
fn a_client_that_is_told_to_be_gone_takes_its_handler_along() {
    let (told, hears) = oneshot::channel();
    let guard = std::sync::Mutex::new(Some(CleansUp(Some(told))));
    let client = Client::default();
    let leaves = client.clone();
    let app = move |_: Request| {
        let (guard, leaves) = (guard.lock().unwrap().take(), leaves.clone());
        async move {
            let _guard = guard;
            spawn(async move { leaves.leaves(Departure::Gone) });
            std::future::pending::<Response>().await
        }
    };
    let mut request = http::Request::new(io::empty());
    request.extensions_mut().insert(client);
    let host = host();
    assert!(decorate(&host, app)(request).status().is_client_error());
    assert_eq!(host.run(hears), Ok(()));
}
