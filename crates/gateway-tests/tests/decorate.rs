//! An app as a plain synchronous function, for servers that are synchronous already.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use gateway_blocking::{Blocking, decorate};
use gateway_core::{App, Body, Error, Request, Response, sleep, spawn, unblock};
use http::StatusCode;

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
