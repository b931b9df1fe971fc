//! The lint under test: it is silent about what is right, and names what is not.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream;
use gateway_blocking::Blocking;
use gateway_conformance::lint::{BLOCKED, By, Lint, Violation};
use gateway_conformance::{probe, rule};
use gateway_core::{
    App, Body, Coroutine, Error, Host, IntoResponse, Request, Response, Trampoline, Yield, sleep,
    spawn, trampoline, unblock,
};
use http::Version;
use http_body_util::BodyExt;

/// What a lint reported.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Violation>>>);

impl Reports {
    fn lint<T>(&self, inner: T) -> Lint<T> {
        let reports = self.0.clone();
        Lint::reporting(inner, move |violation| reports.lock().unwrap().push(violation.clone()))
    }

    /// Asserts that this and nothing else was reported.
    fn are(&self, rule: &str, by: By, says: &str) {
        let reports = self.0.lock().unwrap();
        let [violation] = &reports[..] else { panic!("for {rule}, {says}: {reports:?}") };
        assert_eq!((violation.rule, violation.by), (rule, by), "{violation}");
        assert!(violation.seen.contains(says), "{violation}");
        assert!(rule::find(violation.rule).is_some(), "no rule {rule}");
    }

    fn are_none(&self) {
        let reports = self.0.lock().unwrap();
        assert!(reports.is_empty(), "{reports:?}");
    }
}

fn request() -> http::request::Builder {
    http::Request::builder().uri("/").header("host", "test")
}

/// Calls the app once, and takes in what it answers. Gives what the lint reported.
fn call(app: impl App, request: Request) -> Reports {
    let reports = Reports::default();
    let lint = reports.lint(app);
    Blocking::new(1).unwrap().run(async {
        if let Ok(response) = lint.call(request).await {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
    });
    reports
}

async fn read_all(request: Request) -> Result<Response, Error> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Response::new(Body::from("read")))
}

#[test]
fn what_is_right_is_passed_on_in_silence() {
    let echo = |target: &str, method: &str| {
        let request = request().uri(target).method(method).header("content-length", "5");
        call(probe::app(), request.body(Body::from("hello")).unwrap())
    };
    for path in ["/", "/echo", "/reflect", "/read", "/stream?chunks=3&bytes=5", "/cookies"] {
        for method in ["GET", "POST", "HEAD"] {
            echo(path, method).are_none();
        }
    }
    let old = request().version(Version::HTTP_10).body(Body::empty()).unwrap();
    call(probe::app(), old).are_none();
}

#[test]
fn what_a_server_hands_in_is_checked() {
    let broken = |rule, says, request: http::request::Builder| {
        let request = request.body(Body::empty()).unwrap();
        call(read_all, request).are(rule, By::Host, says);
    };
    broken("REQ-12", "0 Host fields", http::Request::builder().uri("/"));
    broken("REQ-12", "2 Host fields", request().header("host", "other"));
    broken("REQ-11", "*", request().uri("*"));
    let length = |builder: http::request::Builder| builder.header("content-length", "0");
    broken("BODY-04", "several lengths", length(length(request())));
    broken("SMG-01", "chunked", length(request()).header("transfer-encoding", "chunked"));
    let chunked = |builder: http::request::Builder| builder.header("transfer-encoding", "chunked");
    broken("SMG-03", "several", chunked(chunked(request())));
    broken("UPG-02", "echo", request().header("upgrade", "echo"));
}

#[test]
fn a_requests_body_is_counted() {
    let post = |bytes: &'static str| {
        let body = Body::stream(stream::iter([Ok::<_, io::Error>(bytes)]));
        request().method("POST").header("content-length", "5").body(body).unwrap()
    };
    call(read_all, post("hello")).are_none();
    call(read_all, post("hell")).are("BODY-11", By::Host, "4 of 5 bytes");
    call(read_all, post("hello!")).are("BODY-02", By::Host, "6 bytes");
}

#[test]
fn what_an_app_hands_out_is_checked() {
    type Answer = fn(http::response::Builder) -> http::Result<Response>;
    fn stream(bytes: &'static str) -> Body {
        Body::stream(stream::iter([Ok::<_, io::Error>(bytes)]))
    }
    let broken: [(&str, &str, Answer); 11] = [
        ("UPG-01", "switches", |head| head.status(101).body(Body::empty())),
        ("RSP-08", "103", |head| head.status(103).body(Body::empty())),
        ("RSP-05", "gzip", |head| head.header("transfer-encoding", "gzip").body(Body::empty())),
        ("RSP-05", "x-hop", |head| head.header("connection", "x-hop").body(Body::empty())),
        ("RSP-01", "4 bytes", |head| head.header("content-length", "4").body(Body::from("hello"))),
        ("RSP-01", "no length", |head| head.header("content-length", "x").body(Body::empty())),
        ("RSP-11", "2 Date", |head| {
            head.header("date", "a").header("date", "b").body(Body::empty())
        }),
        ("SEM-05", "204", |head| head.status(204).body(Body::from("hello"))),
        ("SEM-05", "304", |head| head.status(304).body(Body::from("hello"))),
        ("RSP-03", "5 of 9", |head| head.header("content-length", "9").body(stream("hello"))),
        ("RSP-04", "5 bytes", |head| head.header("content-length", "3").body(stream("hello"))),
    ];
    for (rule, says, answer) in broken {
        let app =
            move |_: Request| async move { answer(http::Response::builder()).into_response() };
        let request = request().body(Body::empty()).unwrap();
        call(app, request).are(rule, By::Application, says);
    }
}

#[test]
fn an_app_that_blocks_its_thread_is_named() {
    let blocks = async |_: Request| {
        let began = Instant::now();
        while began.elapsed() < BLOCKED * 2 {
            thread::yield_now();
        }
        Response::new(Body::empty())
    };
    let request = request().body(Body::empty()).unwrap();
    call(blocks, request).are("EXE-01", By::Application, "kept its thread");
}

/// A broken trampoline in front of a good one.
struct Bounce(Arc<dyn Trampoline>, BounceFn);

type BounceFn = fn(&dyn Trampoline, Yield<'_>, &mut Context<'_>) -> Poll<io::Result<()>>;

impl Trampoline for Bounce {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.1)(&*self.0, yielded, cx)
    }
}

/// Waits in each way there is under a lint around a broken trampoline.
fn wait(bounce: BounceFn) -> Reports {
    let reports = Reports::default();
    Blocking::new(1).unwrap().run(async {
        let broken = Bounce(trampoline().unwrap(), bounce);
        let lint = Arc::new(reports.lint(broken));
        let waits = async {
            let task = spawn(async {});
            let _ = unblock(|| ()).await;
            let _ = task.await;
            sleep(Duration::from_millis(1)).await;
        };
        Coroutine::new(lint, waits).await;
    });
    reports
}

#[test]
fn what_a_host_answers_is_checked() {
    wait(|good, yielded, cx| good.bounce(yielded, cx)).are_none();
    let early: BounceFn = |good, yielded, cx| match yielded {
        Yield::Timer(_) => Poll::Ready(Ok(())),
        other => good.bounce(other, cx),
    };
    wait(early).are("YLD-07", By::Host, "early");
    let inside: BounceFn = |good, yielded, cx| match yielded {
        Yield::Job(job) => {
            job.run();
            Poll::Ready(Ok(()))
        }
        other => good.bounce(other, cx),
    };
    wait(inside).are("EXE-01", By::Host, "inside");
    let recursive: BounceFn = |good, yielded, cx| match yielded {
        Yield::Task(task) => {
            let mut task = Box::pin(task);
            task.as_mut().poll(cx).map(Ok)
        }
        other => good.bounce(other, cx),
    };
    wait(recursive).are("YLD-04", By::Host, "inside");
    let pending: BounceFn = |good, yielded, cx| match yielded {
        Yield::Job(_) => Poll::Pending,
        other => good.bounce(other, cx),
    };
    wait(pending).are("YLD-01", By::Host, "Pending");
}

#[test]
fn a_task_that_is_polled_after_its_end_is_reported() {
    let again: BounceFn = |good, yielded, cx| match yielded {
        Yield::Task(task) => {
            let mut task = Box::pin(task);
            let twice = async move {
                let mut polls = 0;
                std::future::poll_fn(|cx| {
                    polls += usize::from(task.as_mut().poll(cx).is_ready());
                    if polls == 0 { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                let cx = &mut Context::from_waker(std::task::Waker::noop());
                assert!(task.as_mut().poll(cx).is_pending());
            };
            good.bounce(Yield::Task(gateway_core::Task::new(twice)), cx)
        }
        other => good.bounce(other, cx),
    };
    wait(again).are("YLD-03", By::Host, "after its end");
}
