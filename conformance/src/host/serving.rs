//! Checks of the HTTP server on a host.
//!
//! The server runs on the host under test, on the check's thread. Its clients are plain ones, on a
//! thread of their own.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
use gateway_core::{
    App, Body, Coroutine, Error, JoinHandle, Request, Response, Task, Trampoline, Yield, spawn,
    trampoline, unblock,
};
use gateway_http::{Deadlines, Server};
use http::StatusCode;
use http_body_util::BodyExt;
use tracing::dispatcher::{Dispatch, with_default};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::Subject;
use super::fault::OrError;
use super::gauges::{
    Alive, Gate, OnDrop, connected, eventually, eventually_here, give_up, lock, turns,
};
use crate::wire::{Client, Ended, Patience, Received, Trace};

/// How long a server in a check may take to drain.
const DRAIN: Duration = Duration::from_millis(500);

/// A client's side of a check.
struct Clients {
    address: SocketAddr,
    trace: Trace,
    /// The server drains when this is dropped.
    drain: Option<oneshot::Sender<()>>,
}

impl Clients {
    fn connect(&self) -> Client {
        let usual = Patience::scaled(1.0);
        let patience = Patience { signal: give_up(), ..usual };
        connected("the server", Client::connect(self.address, 0, &self.trace, patience))
    }

    /// The response to a request on a connection of its own.
    fn get(&self, path: &str) -> crate::wire::Response {
        let mut client = self.connect();
        client.send(get(path));
        response(&mut client, path)
    }
}

/// The usual deadlines, but for the drain's.
fn draining_in(drain: Duration) -> Deadlines {
    Deadlines { drain, ..Deadlines::default() }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

fn response(client: &mut Client, what: &str) -> crate::wire::Response {
    match client.response("GET") {
        Received::Response(response) => *response,
        other => panic!("{what} is answered with {other}"),
    }
}

/// Serves on the host while `talk` talks to the server, then drains it.
fn serve<T: Send>(
    subject: &Subject,
    app: impl App,
    talk: impl FnOnce(&mut Clients) -> T + Send,
) -> T {
    let host = subject.start();
    serve_with(Server::new(app).deadlines(draining_in(DRAIN)), |serving| host.run(serving), talk)
}

type Serving = Pin<Box<dyn Future<Output = io::Result<()>>>>;

fn serve_with<T: Send>(
    server: Server<impl App>,
    run: impl FnOnce(Serving) -> io::Result<()>,
    talk: impl FnOnce(&mut Clients) -> T + Send,
) -> T {
    let bound = server.bind("127.0.0.1:0").or_error("a free port");
    let address = bound.listener().local_addr().or_error("its address");
    let (drain, drained) = oneshot::channel::<()>();
    let mut clients = Clients { address, trace: Trace::new(), drain: Some(drain) };
    thread::scope(|scope| {
        let talking = thread::Builder::new().spawn_scoped(scope, move || talk(&mut clients));
        let talking = talking.or_error("a thread");
        let shutdown = async { drained.await.unwrap_or_default() };
        run(Box::pin(bound.serve(shutdown))).expect("the server serves");
        talking.join().unwrap_or_else(|payload| resume_unwind(payload))
    })
}

/// The plainest of responses.
fn text(text: impl Into<Body>) -> Response {
    Response::new(text.into())
}

pub(super) fn run_05_twenty_requests_wait_beside_each_other(subject: &Subject) {
    const WAITING: usize = 20;
    const BLOCKED: usize = 7;
    let (gate, begun) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (gate.clone(), begun.clone());
    let app = move |request: Request| {
        let (wait, count) = (wait.clone(), count.clone());
        async move {
            if request.uri().path() == "/ping" {
                return text("pong");
            }
            count.fetch_add(1, Ordering::SeqCst);
            if request.uri().path() == "/job" {
                let let_through = unblock(move || wait.block()).await.unwrap_or(false);
                return text(if let_through { "done" } else { "given up" });
            }
            wait.opened().await;
            text("done")
        }
    };
    serve(subject, app, |clients| {
        let mut waiting = Vec::new();
        for n in 0..WAITING + BLOCKED {
            let mut client = clients.connect();
            client.send(get(if n < BLOCKED { "/job" } else { "/wait" }));
            waiting.push(client);
        }
        eventually_here("27 requests are in hand at once", || {
            begun.load(Ordering::SeqCst) == WAITING + BLOCKED
        });
        let pong = clients.get("/ping").text();
        assert_eq!(pong, "pong", "the answer beside waiting requests");
        gate.open();
        for client in &mut waiting {
            let answer = response(client, "a request that waited").text();
            assert_eq!(answer, "done", "the answer to a request that waited");
        }
    });
}

pub(super) fn run_06_a_server_drains(subject: &Subject) {
    let host = subject.start();
    let (gate, alive) = (Gate::default(), Alive::default());
    let app = {
        let (gate, alive) = (gate.clone(), alive.clone());
        move |request: Request| {
            let (gate, guard) = (gate.clone(), alive.guard());
            async move {
                let _guard = guard;
                match request.uri().path() {
                    "/" => {}
                    "/hang" => pending().await,
                    _ => gate.opened().await,
                }
                text("done")
            }
        }
    };
    let server = Server::new(app.clone()).deadlines(draining_in(2 * give_up()));
    serve_with(
        server,
        |serving| host.run(serving),
        |clients| {
            // When this fails, the server need not wait for its drain deadline.
            let _open = OnDrop(|| gate.open());
            let (mut idle, mut busy) = (clients.connect(), clients.connect());
            idle.send(get("/"));
            response(&mut idle, "a request before the drain");
            busy.send(get("/slow"));
            eventually_here("a slow request is in hand", || alive.now() == 1);
            clients.drain = None;
            let ended = idle.ended();
            assert_eq!(
                ended,
                Ended::Closed,
                "the server drains, and an idle connection is {ended}"
            );
            gate.open();
            let answer = response(&mut busy, "a request in hand when the server drains").text();
            assert_eq!(answer, "done", "the answer to a request in hand when the server drains");
        },
    );
    let server = Server::new(app).deadlines(draining_in(Duration::from_millis(50)));
    serve_with(
        server,
        |serving| host.run(serving),
        |clients| {
            let mut hanging = clients.connect();
            hanging.send(get("/hang"));
            eventually_here("a request that hangs is in hand", || alive.now() == 1);
            clients.drain = None;
            let cut = hanging.response("GET");
            let closed = matches!(cut, Received::Closed | Received::Reset);
            assert!(closed, "at the drain deadline a request that hangs gets {cut}");
        },
    );
    host.run(eventually("a handler that the drain deadline ended is dropped", || alive.now() == 0));
}

pub(super) fn drp_04_what_is_sent_to_nobody_gives_an_error(subject: &Subject) {
    let host = subject.start();
    let (failed, errors) = (Gate::default(), Errors::default());
    let tell = failed.clone();
    let app = move |_: Request| {
        let tell = tell.clone();
        // The maker of the body lives in a task, so that it is told and not just dropped.
        std::future::ready(text(Body::coroutine(|mut out| async move {
            let making = spawn(async move {
                while out.send(vec![b'x'; 1 << 16]).await.is_ok() {}
                tell.open();
            });
            Ok(making.await?)
        })))
    };
    let dispatch = Dispatch::new(errors.clone());
    let run = |serving| {
        host.run(async {
            let inner = trampoline().expect("a trampoline inside `run`");
            let recording = Recording { inner, dispatch: dispatch.clone() };
            Coroutine::new(Arc::new(recording), recorded(serving, dispatch)).await
        })
    };
    serve_with(Server::new(app).deadlines(draining_in(DRAIN)), run, |clients| {
        for _ in 0..3 {
            let mut client = clients.connect();
            client.send(get("/"));
            client
                .head_within(give_up() / 2)
                .unwrap_or_else(|other| panic!("no head, but {other}"));
            client.bytes(1 << 17, give_up() / 2);
            client.reset();
        }
        eventually_here("the maker of a body hears that its client has left", || failed.is_open());
    });
    let errors = lock(&errors.0);
    assert!(errors.is_empty(), "clients left, and the server logged as errors: {errors:?}");
}

/// The events logged as errors.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        lock(&self.0).push(format!("{event:?}"));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A trampoline around the host's: what its tasks log goes to a subscriber of ours.
struct Recording {
    inner: Arc<dyn Trampoline>,
    dispatch: Dispatch,
}

impl Trampoline for Recording {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Task(task) => {
                let task = Task::new(recorded(Box::pin(task), self.dispatch.clone()));
                self.inner.bounce(Yield::Task(task), cx)
            }
            other => self.inner.bounce(other, cx),
        }
    }
}

fn recorded<F: Future + Unpin>(
    mut future: F,
    dispatch: Dispatch,
) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| with_default(&dispatch, || Pin::new(&mut future).poll(cx)))
}

/// A task that is cancelled when this is dropped.
struct Scoped(JoinHandle<()>);

impl Drop for Scoped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(super) fn spn_02_a_scoped_task_ends_with_its_request(subject: &Subject) {
    let alive = Alive::default();
    let guards = alive.clone();
    let app = move |request: Request| {
        let (handler, helpers) = (guards.guard(), [guards.guard(), guards.guard()]);
        async move {
            let _handler = handler;
            let _helpers = helpers.map(|guard| {
                Scoped(spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                }))
            });
            if request.uri().path() == "/hang" {
                pending::<()>().await;
            }
            text("done")
        }
    };
    serve(subject, app, |clients| {
        let answer = clients.get("/").text();
        assert_eq!(answer, "done", "the answer of a handler with tasks");
        eventually_here("a request has been answered, and its scoped tasks are dropped", || {
            alive.now() == 0
        });
        let mut client = clients.connect();
        client.send(get("/hang"));
        eventually_here("a handler and its two tasks are at work", || alive.now() == 3);
        client.reset();
        eventually_here("a client has left, and the scoped tasks are dropped", || alive.now() == 0);
    });
}

pub(super) fn drp_11_a_gone_client_costs_nothing_more(subject: &Subject) {
    let alive = Alive::default();
    let guards = alive.clone();
    let app = move |request: Request| {
        let guard = guards.guard();
        async move {
            if request.uri().path() == "/hang" {
                pending::<()>().await;
            }
            text(Body::coroutine(async move |mut out| {
                let _guard = guard;
                loop {
                    out.send("tick\n").await?;
                    turns(1).await;
                }
            }))
        }
    };
    serve(subject, app, |clients| {
        let requests = [
            ("a handler", get("/hang")),
            ("a handler with a request behind it", get("/hang").repeat(2)),
            (
                "a handler with an unread body",
                format!(
                    "POST /hang HTTP/1.1\r\nhost: t\r\ncontent-length: 99999\r\n\r\n{:999}",
                    ""
                ),
            ),
            ("an endless body", get("/endless")),
        ];
        for (what, request) in requests {
            let mut client = clients.connect();
            client.send(&request);
            eventually_here(&format!("{what} is at work"), || alive.now() == 1);
            if request.contains("/endless") {
                let came = client.bytes(200, give_up() / 2).len();
                assert_eq!(came, 200, "bytes of an endless body, and of its head");
            }
            client.reset();
            eventually_here(&format!("its client has left, and {what} is dropped"), || {
                alive.now() == 0
            });
        }
    });
}

/// Reads up to these words, opens the gate, and reads the rest.
fn around(client: &mut Client, words: &str, gate: &Gate) -> (String, Ended) {
    let mut seen = String::new();
    while !seen.contains(words) {
        match client.bytes(1, give_up() / 2)[..] {
            [byte] => seen.push(byte.into()),
            _ => break,
        }
    }
    gate.open();
    let (rest, ended) = client.rest(give_up() / 2);
    (seen + &String::from_utf8_lossy(&rest), ended)
}

pub(super) fn err_06_no_second_head_follows_the_first(subject: &Subject) {
    /// Puts its own response in the place of one that failed.
    struct Excuses<A>(A);
    impl<A: App> App for Excuses<A> {
        async fn call(&self, request: Request) -> Result<Response, Error> {
            Ok(self.0.call(request).await.unwrap_or_else(|_| {
                let mut excuse = text("sorry");
                *excuse.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                excuse
            }))
        }
    }
    let gate = Gate::default();
    let wait = gate.clone();
    let app = move |request: Request| {
        let wait = wait.clone();
        async move {
            if request.uri().path() == "/early" {
                return Err(Error::client(StatusCode::IM_A_TEAPOT, "never seen"));
            }
            Ok::<_, Error>(text(Body::coroutine(async move |mut out| {
                out.send("first").await?;
                wait.opened().await;
                Err(Error::client(StatusCode::IM_A_TEAPOT, "too late"))
            })))
        }
    };
    serve(subject, Excuses(app), |clients| {
        for (path, status, first) in [("/late", "200", "first"), ("/early", "503", "")] {
            let mut client = clients.connect();
            client.send(get(path).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
            let (seen, ended) = around(&mut client, first, &gate);
            assert!(seen.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {seen:?}");
            assert_eq!(seen.matches("HTTP/1.").count(), 1, "heads in {seen:?}");
            let betrays = seen.contains("418") || seen.contains("late");
            assert!(!betrays, "the response that was replaced shows: {seen:?}");
            assert_ne!(ended, Ended::Open, "{path}: the connection after {seen:?}");
        }
    });
}

pub(super) fn err_09_a_panic_is_a_500_and_the_connection_goes_on(subject: &Subject) {
    let gate = Gate::default();
    let wait = gate.clone();
    let app = move |request: Request| {
        let wait = wait.clone();
        async move {
            match request.uri().path() {
                "/at-once" => resume_unwind(Box::new("a secret")),
                "/later" => {
                    turns(1).await;
                    resume_unwind(Box::new("a secret"))
                }
                "/in-the-body" => text(Body::coroutine(async move |mut out| {
                    out.send("first").await?;
                    wait.opened().await;
                    resume_unwind(Box::new("a secret"))
                })),
                _ => text("fine"),
            }
        }
    };
    serve(subject, app, |clients| {
        let mut client = clients.connect();
        for path in ["/at-once", "/fine", "/later", "/fine"] {
            client.send(get(path));
            let answer = response(&mut client, path);
            let right = if path == "/fine" { 200 } else { 500 };
            assert_eq!(answer.status, right, "{path} on a connection that has seen panics");
            assert!(answer.complete, "{path}: {:?}", answer.problem);
            assert!(!answer.text().contains("secret"), "the client reads {:?}", answer.text());
        }
        client.send(get("/in-the-body"));
        let (seen, ended) = around(&mut client, "first", &gate);
        assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains("secret"), "a panic: {seen:?}");
        assert_ne!(ended, Ended::Open, "a body that panics: the connection after {seen:?}");
        assert!(!seen.ends_with("0\r\n\r\n"), "a body that panics looks whole: {seen:?}");
        assert_eq!(clients.get("/fine").status, 200, "another connection afterwards");
    });
}

pub(super) fn rsp_04_bytes_beyond_the_announced_length_are_not_sent(subject: &Subject) {
    let app = |request: Request| {
        let mut response = text(Body::coroutine(async |mut out| {
            for piece in ["xxxxxxxxxx", "yyyyyyyyyy", "zzzzzzzzzz"] {
                out.send(piece).await?;
            }
            Ok(())
        }));
        if request.uri().path() == "/fine" {
            response = text("fine");
        } else {
            let ten = http::HeaderValue::from_static("10");
            response.headers_mut().insert(http::header::CONTENT_LENGTH, ten);
        }
        std::future::ready(response)
    };
    serve(subject, app, |clients| {
        let mut client = clients.connect();
        client.send([get("/long"), get("/fine")].concat());
        let answer = response(&mut client, "a body that is longer than announced");
        assert_eq!(answer.text(), "xxxxxxxxxx", "a body of 30 bytes, announced as 10");
        // The connection may go on or end, but what comes next is a response or nothing.
        match client.response("GET") {
            Received::Response(answer) => assert_eq!(answer.text(), "fine", "the next answer"),
            Received::Closed | Received::Reset => {}
            other => panic!("behind a body that is longer than announced comes {other}"),
        }
    });
}

pub(super) fn rsp_05_an_apps_hop_by_hop_fields_stay_at_home(subject: &Subject) {
    const FIELDS: [(&str, &str); 5] = [
        ("connection", "x-hop"),
        ("keep-alive", "timeout=9"),
        ("transfer-encoding", "gzip"),
        ("upgrade", "nothing"),
        ("proxy-connection", "keep-alive"),
    ];
    let app = |request: Request| {
        let mut response = text("fine");
        for (n, (name, value)) in FIELDS.into_iter().enumerate() {
            if request.uri().path() == format!("/{n}") {
                let value = http::HeaderValue::from_static(value);
                response.headers_mut().insert(name, value);
            }
        }
        std::future::ready(response)
    };
    serve(subject, app, |clients| {
        assert_eq!(clients.get("/fine").text(), "fine", "a response without such a field");
        for (n, (name, value)) in FIELDS.into_iter().enumerate() {
            let answer = clients.get(&format!("/{n}"));
            let refused = answer.status == 500;
            let dropped = !answer.lists(name, value) && answer.text() == "fine";
            assert!(
                refused || dropped,
                "an app's `{name}: {value}` goes out: {} {:?} {:?}",
                answer.status,
                answer.field(name),
                answer.text()
            );
        }
    });
}

pub(super) fn rsp_08_each_request_has_one_final_response(subject: &Subject) {
    let app = |request: Request| {
        let mut response = text("body");
        let code = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
        std::future::ready(response)
    };
    serve(subject, app, |clients| {
        let mut client = clients.connect();
        let last = get("/204").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        client.send([get("/200"), get("/404"), get("/200"), last].concat());
        for status in [200, 404, 200, 204] {
            let answer = response(&mut client, "one of four requests");
            assert_eq!(answer.status, status, "the statuses of four answers, in order");
        }
        let (more, _) = client.rest(give_up() / 2);
        assert!(more.is_empty(), "a fifth answer to four requests: {}", more.escape_ascii());
        for code in [100, 102, 103, 150] {
            let mut client = clients.connect();
            client.send(get(&format!("/{code}")));
            let answer = response(&mut client, &format!("a request whose app answers {code}"));
            let status = answer.status;
            assert_eq!(status, 500, "an app answers {code}, which is final for nobody");
        }
    });
}

pub(super) fn smg_07_no_line_end_of_an_app_reaches_the_wire(subject: &Subject) {
    const BAD: [&str; 4] =
        ["a\r\nx-injected: yes", "a\rx-injected: yes", "a\nx-injected: yes", "a\0b"];
    let app = |request: Request| {
        let bad = request.uri().path()[1..].parse().ok().and_then(|n: usize| BAD.get(n));
        let builder = match (bad, request.uri().query()) {
            (Some(bad), Some("name")) => http::Response::builder().header(*bad, "value"),
            (Some(bad), _) => http::Response::builder().header("x-bad", *bad),
            (None, Some("status")) => http::Response::builder().status(99),
            (None, _) => http::Response::builder(),
        };
        std::future::ready(builder.body(Body::from("fine")))
    };
    serve(subject, app, |clients| {
        assert_eq!(clients.get("/fine").status, 200, "a response with good fields");
        let attempts = (0..BAD.len()).flat_map(|n| [format!("/{n}"), format!("/{n}?name")]);
        for path in attempts.chain(["/fine?status".to_owned()]) {
            let answer = clients.get(&path);
            assert_eq!(answer.status, 500, "{path}: an app sets a bad field or status");
            let injected = answer.field("x-injected").or_else(|| answer.field("x-bad"));
            assert_eq!(injected, None, "{path}: what an app put into a field goes out");
        }
    });
}

pub(super) fn mid_02_middleware_nests(subject: &Subject) {
    /// Notes what passes, and when.
    struct Notes<A>(&'static str, A, Arc<Mutex<Vec<String>>>);
    impl<A> Notes<A> {
        fn note(&self, what: &str) {
            let Notes(name, _, notes) = self;
            lock(notes).push(format!("{what} {name}"));
        }
    }
    impl<A: App> App for Notes<A> {
        async fn call(&self, request: Request) -> Result<Response, Error> {
            self.note("into");
            turns(1).await;
            let response = self.1.call(request).await;
            turns(1).await;
            self.note("out of");
            response
        }
    }
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let app = async |_: Request| text("fine");
    let inner = Notes("the inner one", app, notes.clone());
    serve(subject, Notes("the outer one", inner, notes.clone()), |clients| {
        assert_eq!(clients.get("/").text(), "fine", "the answer through middleware");
    });
    let notes = lock(&notes);
    let nested = [
        "into the outer one",
        "into the inner one",
        "out of the inner one",
        "out of the outer one",
    ];
    assert_eq!(*notes, nested, "the way of a request and its response");
}

pub(super) fn body_11_a_body_cut_off_is_an_error_and_no_end(subject: &Subject) {
    let ends = Arc::<Mutex<Vec<String>>>::default();
    let seen = ends.clone();
    let app = move |request: Request| {
        let seen = seen.clone();
        async move {
            let mut body = request.into_body();
            let end = loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break "an error",
                    // After its end, a body goes on to be at its end.
                    None if body.frame().await.is_none() => break "the end",
                    None => break "more after the end",
                }
            };
            lock(&seen).push(end.to_owned());
            text("read")
        }
    };
    let length = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let bodies = [
        (length, "0123456789", "the end"),
        (chunked, "3\r\nabc\r\n0\r\n\r\n", "the end"),
        (length, "", "an error"),
        (length, "01234", "an error"),
        (chunked, "3\r\nab", "an error"),
        (chunked, "3\r\nabc\r\n", "an error"),
        (chunked, "3\r\nabc\r\n0\r\n", "an error"),
    ];
    serve(subject, app, |clients| {
        for (head, body, end) in bodies {
            let mut client = clients.connect();
            client.send([head, body].concat());
            client.finish();
            eventually_here(&format!("the app has read {body:?}"), || !lock(&ends).is_empty());
            let seen = lock(&ends).pop();
            assert_eq!(seen.as_deref(), Some(end), "what the app sees behind {body:?} and a FIN");
            let (_, ended) = client.rest(give_up() / 2);
            assert_ne!(ended, Ended::Open, "the connection after {body:?} and a FIN");
        }
    });
}
