//! The probe application: what `conformance/probe.md` promises, for hosts of the gateway.
//!
//! ```
//! let server = gateway_http::Server::new(gateway_conformance::probe::app());
//! # drop(server);
//! ```

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{
    App, Body, Error, IntoResponse, Request, Response, disconnected, sleep, spawn, timeout, unblock,
};
use gateway_http::Peer;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use http_body_util::BodyExt;
use serde_json::json;

/// The features of this application; see `conformance/probe.md`.
pub const FEATURES: &[&str] = &[
    "echo",
    "reflect",
    "read",
    "late-read",
    "first-read",
    "unread",
    "early",
    "known",
    "stream",
    "empty-chunk",
    "gated",
    "hold",
    "slow",
    "open",
    "state",
    "status",
    "cookies",
    "date",
    "bad-field",
    "hop",
    "short",
    "long",
    "fail",
    "panic",
    "fail-late",
    "panic-late",
    "send-trailers",
    "upgrade",
    "flood",
    "job",
    "task",
    "local",
    "live",
    "inner",
    "stopped",
    "raw-target",
    "raw-fields",
    "request-trailers",
    "peer",
    "cancel",
    "disconnect",
];

/// How many ids are remembered.
const IDS: usize = 10_000;

/// How long anybody waits at a gate.
const GATE: Duration = Duration::from_secs(30);

/// The largest body that `/echo` takes, in bytes.
const ECHO_BYTES: usize = 16 * 1024 * 1024;

/// The size of a piece of `/flood`, and how many it makes at most.
const FLOOD: (usize, usize) = (64 * 1024, 4096);

/// Makes the application, with a memory of its own.
#[must_use]
pub fn app() -> impl App {
    let outer = Memory::default();
    let inner = Identity(Probe(outer.clone()));
    move |request: Request| {
        let (memory, inner) = (outer.clone(), inner.clone());
        async move {
            match request.uri().path().strip_prefix("/inner") {
                Some(path) if path.starts_with('/') => {
                    let request = strip(request)?;
                    inner.call(request).await
                }
                _ if request.uri().path() == "/stopped" => text(StatusCode::FORBIDDEN, "stopped\n"),
                _ => Probe(memory).call(request).await,
            }
        }
    }
}

/// Takes `/inner` off the target.
fn strip(mut request: Request) -> Result<Request, Error> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.strip_prefix("/inner").unwrap_or(target).parse()?;
    Ok(request)
}

/// A middleware that does nothing.
#[derive(Clone, Debug)]
pub struct Identity<A>(pub A);

impl<A: App> App for Identity<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        self.0.call(request).await
    }
}

/// The application itself.
#[derive(Clone)]
struct Probe(Memory);

impl App for Probe {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let path = request.uri().path().to_owned();
        let query = Query(request.uri().query().unwrap_or_default().to_owned());
        let memory = self.0.of(query.text("id"));
        let live = match path.as_str() {
            "/state" | "/open" => Live::body(&self.0),
            _ => Live::handler(&self.0, &memory),
        };
        let response = answer(&path, &query, &memory, &self.0, request).await;
        live.finished();
        response
    }
}

async fn answer(
    path: &str,
    query: &Query,
    memory: &Remembered,
    all: &Memory,
    request: Request,
) -> Result<Response, Error> {
    let framing = query.text("framing");
    match path {
        "/" => ok("ok\n"),
        "/probe" => ok(format!("gateway-conformance probe 1\nfeatures: {}\n", FEATURES.join(" "))),
        "/echo" => {
            gateway_http::set_body_limit(&request, ECHO_BYTES as u64);
            Ok(Response::new(request.into_body().collect(ECHO_BYTES).await?.into()))
        }
        "/reflect" => reflect(request).await,
        "/read" => read(request, memory, false).await,
        "/late-read" => {
            memory.gate().await;
            read(request, memory, false).await
        }
        "/first-read" => read(request, memory, true).await,
        "/unread" => ok("unread\n"),
        "/early" => text(StatusCode::PAYLOAD_TOO_LARGE, "early\n"),
        "/known" => ok("x".repeat(query.number("bytes"))),
        "/stream" => Ok(pieces(vec!["x".repeat(query.number("bytes")); query.number("chunks")])),
        "/empty-chunk" => Ok(pieces(vec!["a".into(), String::new(), "b".into()])),
        "/gated" => Ok(gated(memory.clone(), all)),
        "/hold" => {
            let (left, gate) = (disconnected(), pin!(memory.gate()));
            if let Either::Right((_, gate)) = select(gate, left).await {
                memory.change(|entry| entry.disconnected = true);
                gate.await;
            }
            ok("held\n")
        }
        "/slow" => {
            sleep(Duration::from_millis(query.number("ms") as u64)).await;
            ok("slow\n")
        }
        "/open" => {
            memory.open();
            ok("open\n")
        }
        "/state" => json(memory.describe()),
        "/status" => {
            let code = StatusCode::from_u16(query.number("code") as u16)?;
            text(code, "body\n")
        }
        "/cookies" => with(&[("set-cookie", "a=1"), ("set-cookie", "b=2")], "cookies\n"),
        "/date" => with(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], "date\n"),
        "/bad-field" => bad_field(query.text("kind")),
        "/hop" => with(HOP, "hop\n"),
        "/short" => announced(100, pieces(vec!["x".repeat(50)])),
        "/long" => announced(10, long(memory.clone(), all)),
        "/fail" => Err(std::io::Error::other(SECRET).into()),
        "/panic" => panic!("{SECRET}"),
        "/fail-late" => late(framing, false),
        "/panic-late" => late(framing, true),
        "/send-trailers" => Ok(trailers()),
        "/upgrade" => upgrade(request),
        "/flood" => Ok(flood(memory.clone(), all)),
        "/job" => {
            let memory = memory.clone();
            unblock(move || memory.block()).await?;
            ok("done\n")
        }
        "/task" => {
            let task = Task::new(memory);
            spawn(async move {
                task.0.gate().await;
                task.finished();
            });
            ok("started\n")
        }
        "/local" => local(request, query.number("n")).await,
        "/live" => ok((all.lock().live - 1).to_string()),
        _ => text(StatusCode::NOT_FOUND, "no such path\n"),
    }
}

/// What the client must never see.
const SECRET: &str = "secret-of-the-application";

/// Fields that are the server's business.
const HOP: &[(&str, &str)] = &[
    ("connection", "x-hop"),
    ("x-hop", "1"),
    ("keep-alive", "timeout=9"),
    ("transfer-encoding", "gzip"),
    ("upgrade", "nothing"),
];

fn text(status: StatusCode, text: impl Into<Body>) -> Result<Response, Error> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

fn ok(body: impl Into<Body>) -> Result<Response, Error> {
    text(StatusCode::OK, body)
}

fn json(value: serde_json::Value) -> Result<Response, Error> {
    let mut response = Response::new(Body::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn with(fields: &[(&'static str, &'static str)], body: &'static str) -> Result<Response, Error> {
    let mut response = ok(body)?;
    for (name, value) in fields {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// A body of unknown length, in these pieces.
fn pieces(pieces: Vec<String>) -> Response {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    Response::new(Body::stream(futures_util::stream::iter(pieces)))
}

fn announced(length: u64, mut response: Response) -> Result<Response, Error> {
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

async fn reflect(request: Request) -> Result<Response, Error> {
    let (head, mut body) = request.into_parts();
    let (mut read, mut trailers) = (0, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => read += data.len(),
            Err(frame) => trailers.extend(frame.into_trailers().into_iter().flatten()),
        }
    }
    let version = match head.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let peer = gateway_http::peer();
    let scheme = |peer: &Peer| if peer.tls().is_some() { "https" } else { "http" };
    json(json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": version,
        "scheme": peer.as_ref().map(scheme),
        "peer": peer.as_ref().and_then(Peer::address).map(|address| address.to_string()),
        "fields": fields(&head.headers),
        "trailers": fields(&trailers),
        "body": read,
    }))
}

/// Names and values, any bytes as Latin-1.
fn fields(fields: &HeaderMap) -> Vec<(String, String)> {
    let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    fields.iter().map(|(name, value)| (name.to_string(), latin1(value.as_bytes()))).collect()
}

async fn read(request: Request, memory: &Remembered, pause: bool) -> Result<Response, Error> {
    let mut body = request.into_body();
    memory.change(|entry| entry.body = "reading");
    let mut first = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let read = frame.data_ref().map_or(0, Bytes::len);
                memory.change(|entry| entry.read += read);
            }
            Err(error) => {
                memory.change(|entry| entry.body = "error");
                return Err(error);
            }
        }
        if std::mem::take(&mut first) && pause {
            memory.gate().await;
        }
    }
    memory.change(|entry| entry.body = "end");
    ok("read\n")
}

fn bad_field(kind: &str) -> Result<Response, Error> {
    let between: &[u8] = match kind {
        "crlf" => b"\r\n",
        "cr" => b"\r",
        "lf" => b"\n",
        _ => b"\0",
    };
    let value = [b"a", between, b"x-injected: yes"].concat();
    let mut response = ok("bad\n")?;
    response.headers_mut().insert("x-bad", HeaderValue::from_bytes(&value)?);
    Ok(response)
}

fn gated(memory: Remembered, all: &Memory) -> Response {
    let live = Live::body(all);
    Response::new(Body::coroutine(async move |mut out| {
        let _live = live;
        let sending = Sending::new(&memory);
        out.send("first\n").await?;
        memory.gate().await;
        out.send("second\n").await?;
        sending.done();
        Ok(())
    }))
}

fn long(memory: Remembered, all: &Memory) -> Response {
    let live = Live::body(all);
    Response::new(Body::coroutine(async move |mut out| {
        let _live = live;
        let sending = Sending::new(&memory);
        for piece in ["xxxxxxxxxx", "yyyyyyyyyy"] {
            if let Err(error) = out.send(piece).await {
                memory.change(|entry| entry.send = "error");
                return Err(error);
            }
        }
        sending.done();
        Ok(())
    }))
}

fn flood(memory: Remembered, all: &Memory) -> Response {
    let live = Live::body(all);
    Response::new(Body::coroutine(async move |mut out| {
        let _live = live;
        let sending = Sending::new(&memory);
        let (size, count) = FLOOD;
        let piece = Bytes::from(vec![b'x'; size]);
        for _ in 0..count {
            memory.change(|entry| entry.produced += size);
            out.send(piece.clone()).await?;
        }
        sending.done();
        Ok(())
    }))
}

fn late(framing: &str, panics: bool) -> Result<Response, Error> {
    let body = Body::coroutine(async move |mut out| {
        out.send("first\n").await?;
        assert!(!panics, "{SECRET}");
        Err(std::io::Error::other(SECRET).into())
    });
    let response = Response::new(body);
    if framing == "length" { announced(100, response) } else { Ok(response) }
}

fn trailers() -> Response {
    let mut response = Response::new(Body::coroutine(async |mut out| {
        out.send("data\n").await?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("yes"));
        out.send_trailers(trailers).await
    }));
    response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-trailer"));
    response
}

fn upgrade(mut request: Request) -> Result<Response, Error> {
    let offered = request.headers().get_all(header::UPGRADE);
    if !offered.iter().any(|offered| offered.as_bytes().eq_ignore_ascii_case(b"echo")) {
        return text(StatusCode::UPGRADE_REQUIRED, "no echo\n");
    }
    let upgraded = gateway_http::upgrade(&mut request);
    spawn(async move {
        let Ok(mut upgraded) = upgraded.await else { return };
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = AsyncReadExt::read(&mut upgraded, &mut buf).await {
            if AsyncWriteExt::write_all(&mut upgraded, &buf[..read]).await.is_err()
                || AsyncWriteExt::flush(&mut upgraded).await.is_err()
            {
                return;
            }
        }
    });
    let head = http::Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let head = head.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo");
    head.body(Body::empty()).into_response()
}

async fn local(mut request: Request, n: usize) -> Result<Response, Error> {
    #[derive(Clone)]
    struct Local(usize);
    request.extensions_mut().insert(Local(n));
    for _ in 0..5 {
        sleep(Duration::from_millis(1)).await;
    }
    let local = request.extensions().get::<Local>().map_or(0, |local| local.0);
    ok(local.to_string())
}

/// A query string, without percent-encoding.
struct Query(String);

impl Query {
    fn text(&self, name: &str) -> &str {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
    }

    fn number(&self, name: &str) -> usize {
        self.text(name).parse().unwrap_or_default()
    }
}

/// What the application remembers.
#[derive(Clone, Default)]
struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<All>,
    opened: Condvar,
}

#[derive(Default)]
struct All {
    entries: HashMap<String, Entry>,
    /// The ids, the oldest first.
    order: VecDeque<String>,
    live: usize,
}

struct Entry {
    calls: usize,
    state: &'static str,
    body: &'static str,
    read: usize,
    produced: usize,
    send: &'static str,
    task: &'static str,
    disconnected: bool,
    open: bool,
    waiting: Vec<Waker>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered under this id; nothing is under none.
    fn of(&self, id: &str) -> Remembered {
        Remembered { memory: self.clone(), id: id.to_owned() }
    }
}

/// The memory of one id.
#[derive(Clone)]
struct Remembered {
    memory: Memory,
    id: String,
}

impl Remembered {
    fn change<T: Default>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        if self.id.is_empty() {
            return T::default();
        }
        let mut all = self.memory.lock();
        let All { entries, order, .. } = &mut *all;
        let entry = entries.entry(self.id.clone()).or_insert_with(|| {
            order.push_back(self.id.clone());
            Entry {
                calls: 0,
                state: "none",
                body: "none",
                read: 0,
                produced: 0,
                send: "none",
                task: "none",
                disconnected: false,
                open: false,
                waiting: Vec::new(),
            }
        });
        let changed = change(entry);
        if order.len() > IDS {
            order.pop_front().map(|oldest| entries.remove(&oldest));
        }
        changed
    }

    /// Waits at the gate.
    fn gate(&self) -> impl Future<Output = ()> + use<> {
        let this = self.clone();
        let opened = poll_fn(move |cx| {
            let open = this.change(|entry| {
                if !entry.open {
                    entry.waiting.push(cx.waker().clone());
                }
                Some(entry.open)
            });
            if open == Some(false) { Poll::Pending } else { Poll::Ready(()) }
        });
        async { timeout(GATE, opened).await.unwrap_or_default() }
    }

    /// Waits at the gate, and blocks its thread.
    fn block(&self) {
        let all = self.memory.lock();
        let closed = |all: &mut All| all.entries.get(&self.id).is_some_and(|entry| !entry.open);
        drop(self.memory.0.opened.wait_timeout_while(all, GATE, closed));
    }

    fn open(&self) {
        let waiting = self.change(|entry| {
            entry.open = true;
            std::mem::take(&mut entry.waiting)
        });
        self.memory.0.opened.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    fn describe(&self) -> serde_json::Value {
        self.change(|entry| {
            Some(json!({
                "calls": entry.calls,
                "state": entry.state,
                "body": entry.body,
                "read": entry.read,
                "produced": entry.produced,
                "send": entry.send,
                "task": entry.task,
                "disconnected": entry.disconnected,
            }))
        })
        .unwrap_or_default()
    }
}

/// A handler, or a response's body, that is alive.
struct Live {
    memory: Memory,
    /// A handler remembers its end.
    handler: Option<Remembered>,
    finished: bool,
}

impl Live {
    fn handler(memory: &Memory, remembered: &Remembered) -> Live {
        memory.lock().live += 1;
        remembered.change(|entry| {
            entry.calls += 1;
            entry.state = "running";
        });
        Live { memory: memory.clone(), handler: Some(remembered.clone()), finished: false }
    }

    fn body(memory: &Memory) -> Live {
        memory.lock().live += 1;
        Live { memory: memory.clone(), handler: None, finished: false }
    }

    fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.memory.lock().live -= 1;
        let state = if self.finished { "finished" } else { "cancelled" };
        if let Some(handler) = &self.handler {
            handler.change(|entry| entry.state = state);
        }
    }
}

/// A response's body at work, which remembers its end.
struct Sending(Remembered);

impl Sending {
    fn new(memory: &Remembered) -> Sending {
        memory.change(|entry| entry.send = "none");
        Sending(memory.clone())
    }

    fn done(self) {
        self.0.change(|entry| entry.send = "ok");
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.change(|entry| {
            if entry.send == "none" {
                entry.send = "cancelled";
            }
        });
    }
}

/// A task, which remembers its end.
struct Task(Remembered);

impl Task {
    fn new(memory: &Remembered) -> Task {
        memory.change(|entry| entry.task = "running");
        Task(memory.clone())
    }

    fn finished(self) {
        self.0.change(|entry| entry.task = "finished");
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.change(|entry| {
            if entry.task == "running" {
                entry.task = "cancelled";
            }
        });
    }
}
