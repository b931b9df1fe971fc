//! `Probe`: the probe application of `conformance/probe.md`, apart from any server.
//!
//! A server's own part is small: it makes a [`Head`] and a stream of frames of what it got, and a
//! response of the [`Answer`]. What a failure means is the server's affair too.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, iter, once};
use futures_util::{Stream, StreamExt};
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::HeaderValue;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// What every server here can do. Each adds its own.
const FEATURES: &str = "echo reflect read late-read first-read unread early known stream \
    empty-chunk gated hold slow open state status cookies date bad-field hop short long fail panic \
    fail-late panic-late flood job task live";

/// How many ids are remembered.
const IDS: usize = 10_000;

/// How long anybody waits at a gate.
const GATE: Duration = Duration::from_secs(30);

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

/// The application, with a memory of its own.
#[derive(Clone, Default)]
pub struct Probe {
    /// What this server can do beside what all can, with a space before each.
    extra: &'static str,
    entries: Arc<Mutex<Entries>>,
    live: Arc<AtomicUsize>,
}

/// The head of a request.
pub struct Head {
    pub method: String,
    /// As it came.
    pub target: String,
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    pub peer: Option<String>,
    /// Names in lower case, and values as Latin-1.
    pub fields: Vec<(String, String)>,
}

/// A response.
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(&'static str, Vec<u8>)>,
    /// The length that the application announces for pieces.
    pub announced: Option<u64>,
    pub body: Content,
}

/// A response's body.
pub enum Content {
    Full(Bytes),
    Pieces(BoxStream<'static, io::Result<Frame<Bytes>>>),
}

/// Why there is no answer.
pub enum Failure<E> {
    /// The request's body can't be read.
    Body(E),
    /// The application has failed.
    Application,
}

impl Probe {
    pub fn new(extra: &'static str) -> Probe {
        Probe { extra, ..Probe::default() }
    }

    /// Answers a request.
    pub async fn call<E>(
        &self,
        head: Head,
        body: impl Stream<Item = Result<Frame<Bytes>, E>> + Unpin,
    ) -> Result<Answer, Failure<E>> {
        let (path, query) = split(&head.target);
        let (path, query) = (path.to_owned(), Query(query.unwrap_or_default().to_owned()));
        let entry = self.entry(query.text("id"));
        let remembered = !matches!(path.as_str(), "/state" | "/open");
        let live = Live::new(self, remembered.then(|| entry.clone()));
        let answer = self.answer(&path, &query, entry, head, body).await;
        live.finished();
        answer
    }

    async fn answer<E>(
        &self,
        path: &str,
        query: &Query,
        entry: Arc<Entry>,
        head: Head,
        body: impl Stream<Item = Result<Frame<Bytes>, E>> + Unpin,
    ) -> Result<Answer, Failure<E>> {
        let late = query.text("framing") == "length";
        let late = if late { Some(100) } else { None };
        Ok(match path {
            "/" => text("ok\n"),
            "/probe" => {
                let extra = self.extra;
                text(format!("gateway-conformance probe 1\nfeatures: {FEATURES}{extra}\n"))
            }
            "/echo" => text(echo(body).await?),
            "/reflect" => reflect(head, body).await?,
            "/read" => read(&entry, body, false).await?,
            "/late-read" => {
                entry.gate().await;
                read(&entry, body, false).await?
            }
            "/first-read" => read(&entry, body, true).await?,
            "/unread" => text("unread\n"),
            "/early" => Answer { status: 413, ..text("early\n") },
            "/known" => text("x".repeat(query.number("bytes"))),
            "/stream" => {
                let piece = Bytes::from("x".repeat(query.number("bytes")));
                let pieces = iter(0..query.number("chunks")).map(move |_| data(piece.clone()));
                self.pieces(entry, None, pieces)
            }
            "/empty-chunk" => self.pieces(entry, None, iter([data("a"), data(""), data("b")])),
            "/gated" => {
                let gate = entry.clone();
                let second = async move {
                    gate.gate().await;
                    data("second\n")
                };
                self.pieces(entry, None, iter([data("first\n")]).chain(once(second)))
            }
            "/hold" => {
                entry.gate().await;
                text("held\n")
            }
            "/slow" => {
                sleep(Duration::from_millis(query.number("ms") as u64)).await;
                text("slow\n")
            }
            "/open" => {
                entry.open.send_replace(true);
                text("open\n")
            }
            "/state" => json(&entry.state()),
            "/status" => Answer { status: query.number("code") as u16, ..text("body\n") },
            "/cookies" => with(&[("set-cookie", "a=1"), ("set-cookie", "b=2")], "cookies\n"),
            "/date" => with(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], "date\n"),
            "/bad-field" => bad_field(query.text("kind")),
            "/hop" => with(HOP, "hop\n"),
            "/short" => {
                let pieces = iter([data("x".repeat(50))]).chain(after_a_turn(|| data("")));
                self.pieces(entry, Some(100), pieces)
            }
            "/long" => {
                let pieces = iter(["xxxxxxxxxx", "yyyyyyyyyy"]).map(data);
                self.pieces(entry, Some(10), pieces)
            }
            "/fail" => return Err(Failure::Application),
            "/panic" => panic!("{SECRET}"),
            "/fail-late" => {
                let failure = after_a_turn(|| Err(io::Error::other(SECRET)));
                self.pieces(entry, late, iter([data("first\n")]).chain(failure))
            }
            "/panic-late" => {
                let panics = after_a_turn(|| panic!("{SECRET}"));
                self.pieces(entry, late, iter([data("first\n")]).chain(panics))
            }
            "/send-trailers" if self.extra.contains(" send-trailers") => {
                let trailers = HeaderMap::from_iter([(
                    hyper::header::HeaderName::from_static("x-trailer"),
                    HeaderValue::from_static("yes"),
                )]);
                let frames = iter([data("data\n"), Ok(Frame::trailers(trailers))]);
                let mut answer = self.pieces(entry, None, frames);
                answer.fields.push(("trailer", b"x-trailer".to_vec()));
                answer
            }
            "/upgrade" if self.extra.contains(" upgrade") => {
                Answer { status: 426, ..text("no echo\n") }
            }
            "/flood" => {
                let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                let maker = entry.clone();
                let pieces = iter(0..4096).map(move |_| {
                    maker.change(|it| it.produced += piece.len());
                    data(piece.clone())
                });
                self.pieces(entry, None, pieces)
            }
            "/job" => {
                let runtime = tokio::runtime::Handle::current();
                let job = move || runtime.block_on(entry.gate());
                tokio::task::spawn_blocking(job).await.map_err(|_| Failure::Application)?;
                text("done\n")
            }
            "/task" => {
                entry.change(|it| it.task = "running");
                tokio::spawn(async move {
                    entry.gate().await;
                    entry.change(|it| it.task = "finished");
                });
                text("started\n")
            }
            "/live" => text((self.live.load(Ordering::Relaxed) - 1).to_string()),
            _ => Answer { status: 404, ..text("no such path\n") },
        })
    }

    /// A body of pieces, which is alive until it is dropped and remembers its end.
    fn pieces(
        &self,
        entry: Arc<Entry>,
        announced: Option<u64>,
        pieces: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
    ) -> Answer {
        let sending = Sending { _live: Live::new(self, None), entry, pieces: pieces.boxed() };
        Answer { announced, body: Content::Pieces(sending.boxed()), ..text("") }
    }

    /// What is remembered under an id. Under none is nothing, and its gate is open.
    fn entry(&self, id: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if id.is_empty() {
            let entry = Entry::default();
            entry.open.send_replace(true);
            return Arc::new(entry);
        }
        let Entries { map, order } = &mut *entries;
        if !map.contains_key(id) {
            order.push_back(id.to_owned());
            if order.len() > IDS {
                order.pop_front().map(|oldest| map.remove(&oldest));
            }
        }
        map.entry(id.to_owned()).or_default().clone()
    }
}

impl Answer {
    /// The fields and their values, without those that the server has no type for.
    ///
    /// # Errors
    ///
    /// When a value can't be one.
    pub fn headers<E>(&self) -> Result<Vec<(&'static str, HeaderValue)>, Failure<E>> {
        let value = |(name, value): &(&'static str, Vec<u8>)| {
            Ok((*name, HeaderValue::from_bytes(value).map_err(|_| Failure::Application)?))
        };
        self.fields.iter().map(value).collect()
    }

    /// Everything in the types of hyper and axum.
    ///
    /// # Errors
    ///
    /// When the status or a field can't be one.
    pub fn into_response<B, E>(
        self,
        full: impl FnOnce(Bytes) -> B,
        pieces: impl FnOnce(BoxStream<'static, io::Result<Frame<Bytes>>>) -> B,
    ) -> Result<hyper::Response<B>, Failure<E>> {
        let mut response = hyper::Response::builder().status(self.status);
        for (name, value) in self.headers()? {
            response = response.header(name, value);
        }
        if let Some(announced) = self.announced {
            response = response.header("content-length", announced);
        }
        let body = match self.body {
            Content::Full(bytes) => full(bytes),
            Content::Pieces(stream) => pieces(stream),
        };
        response.body(body).map_err(|_| Failure::Application)
    }
}

impl Head {
    /// The head, out of the types of hyper and axum.
    pub fn of(head: &hyper::http::request::Parts, peer: Option<String>) -> Head {
        let version = match head.version {
            hyper::Version::HTTP_10 => "1.0",
            hyper::Version::HTTP_2 => "2",
            _ => "1.1",
        };
        Head {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            version,
            peer,
            fields: fields(&head.headers),
        }
    }
}

/// Begins an echo where the client asks for one, and gives the head that says so.
pub fn upgrade<B>(request: &mut hyper::Request<B>) -> Option<hyper::http::response::Builder> {
    // hyper allows an upgrade by an extension of the request, and ignores other offers.
    request.extensions().get::<hyper::upgrade::OnUpgrade>()?;
    let offered = request.headers().get("upgrade")?;
    if request.uri().path() != "/upgrade" || !offered.as_bytes().eq_ignore_ascii_case(b"echo") {
        return None;
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let io = hyper_util::rt::TokioIo::new(upgraded);
        let (mut reader, mut writer) = tokio::io::split(io);
        // An echo ends with its client, however that leaves.
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let head = hyper::Response::builder().status(101);
    Some(head.header("connection", "upgrade").header("upgrade", "echo"))
}

/// A port of this machine, the program's argument.
pub fn address() -> (&'static str, u16) {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    ("127.0.0.1", port.expect("the argument is a port"))
}

/// Comes when the server is to shut down.
pub async fn terminated() {
    let terminate = tokio::signal::unix::SignalKind::terminate();
    let mut signals = tokio::signal::unix::signal(terminate).expect("signals can be watched");
    signals.recv().await;
}

fn text(body: impl Into<Bytes>) -> Answer {
    let fields = vec![("content-type", b"text/plain".to_vec())];
    Answer { status: 200, fields, announced: None, body: Content::Full(body.into()) }
}

fn json(value: &serde_json::Value) -> Answer {
    let fields = vec![("content-type", b"application/json".to_vec())];
    Answer { fields, ..text(value.to_string()) }
}

fn with(fields: &[(&'static str, &str)], body: &'static str) -> Answer {
    let mut answer = text(body);
    answer.fields.extend(fields.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())));
    answer
}

fn bad_field(kind: &str) -> Answer {
    let between = match kind {
        "crlf" => "\r\n",
        "cr" => "\r",
        "lf" => "\n",
        _ => "\0",
    };
    let mut answer = text("bad\n");
    answer.fields.push(("x-bad", format!("a{between}x-injected: yes").into_bytes()));
    answer
}

fn data(piece: impl Into<Bytes>) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(piece.into()))
}

/// What comes next, when the server has had an opportunity to send what came before.
fn after_a_turn(
    next: impl FnOnce() -> io::Result<Frame<Bytes>> + Send,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    once(async {
        yield_now().await;
        next()
    })
}

async fn echo<E>(
    mut body: impl Stream<Item = Result<Frame<Bytes>, E>> + Unpin,
) -> Result<Vec<u8>, Failure<E>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.next().await {
        let frame = frame.map_err(Failure::Body)?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    Ok(bytes)
}

async fn reflect<E>(
    head: Head,
    mut body: impl Stream<Item = Result<Frame<Bytes>, E>> + Unpin,
) -> Result<Answer, Failure<E>> {
    let (mut read, mut trailers) = (0, Vec::new());
    while let Some(frame) = body.next().await {
        match frame.map_err(Failure::Body)?.into_data() {
            Ok(data) => read += data.len(),
            Err(frame) => trailers = frame.trailers_ref().map(fields).unwrap_or_default(),
        }
    }
    let (path, query) = split(&head.target);
    Ok(json(&json!({
        "method": head.method,
        "target": head.target,
        "path": path,
        "query": query,
        "version": head.version,
        "scheme": null,
        "peer": head.peer,
        "fields": head.fields,
        "trailers": trailers,
        "body": read,
    })))
}

async fn read<E>(
    entry: &Entry,
    mut body: impl Stream<Item = Result<Frame<Bytes>, E>> + Unpin,
    mut pause: bool,
) -> Result<Answer, Failure<E>> {
    entry.change(|it| it.body = "reading");
    while let Some(frame) = body.next().await {
        let frame = frame.map_err(|error| {
            entry.change(|it| it.body = "error");
            Failure::Body(error)
        })?;
        entry.change(|it| it.read += frame.data_ref().map_or(0, Bytes::len));
        if std::mem::take(&mut pause) {
            entry.gate().await;
        }
    }
    entry.change(|it| it.body = "end");
    Ok(text("read\n"))
}

/// The path of a target, and the query where there is a question mark.
fn split(target: &str) -> (&str, Option<&str>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    // The absolute form has an authority, which ends where the path begins.
    let path = path
        .strip_prefix("http://")
        .map_or(path, |rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    (path, query)
}

/// Names and values, any bytes as Latin-1.
fn fields(fields: &HeaderMap) -> Vec<(String, String)> {
    let latin1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    fields.iter().map(|(name, value)| (name.to_string(), latin1(value.as_bytes()))).collect()
}

/// A query string, without percent-encoding.
struct Query(String);

impl Query {
    fn text(&self, name: &str) -> &str {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str) -> usize {
        self.text(name).parse().unwrap_or_default()
    }
}

#[derive(Default)]
struct Entries {
    map: HashMap<String, Arc<Entry>>,
    /// The ids, the oldest first.
    order: VecDeque<String>,
}

/// What is remembered under one id, and its gate.
struct Entry {
    open: watch::Sender<bool>,
    state: Mutex<State>,
}

struct State {
    calls: usize,
    state: &'static str,
    body: &'static str,
    read: usize,
    produced: usize,
    send: &'static str,
    task: &'static str,
}

impl Default for Entry {
    fn default() -> Entry {
        let none = "none";
        let counts = (0, 0, 0);
        let (calls, read, produced) = counts;
        let state =
            State { calls, state: none, body: none, read, produced, send: none, task: none };
        Entry { open: watch::Sender::new(false), state: Mutex::new(state) }
    }
}

impl Entry {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits at the gate.
    async fn gate(&self) {
        // Too late is as good as open, and the sender lives as long as `self`.
        let _ = timeout(GATE, self.open.subscribe().wait_for(|open| *open)).await;
    }

    fn state(&self) -> serde_json::Value {
        self.change(|it| {
            json!({
                "calls": it.calls,
                "state": it.state,
                "body": it.body,
                "read": it.read,
                "produced": it.produced,
                "send": it.send,
                "task": it.task,
                "disconnected": false,
            })
        })
    }
}

/// A handler, or a response's body, that is alive.
struct Live {
    count: Arc<AtomicUsize>,
    /// A handler remembers its end.
    handler: Option<Arc<Entry>>,
    end: &'static str,
}

impl Live {
    fn new(probe: &Probe, handler: Option<Arc<Entry>>) -> Live {
        probe.live.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = &handler {
            entry.change(|it| {
                it.calls += 1;
                it.state = "running";
            });
        }
        Live { count: probe.live.clone(), handler, end: "cancelled" }
    }

    fn finished(mut self) {
        self.end = "finished";
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(entry) = &self.handler {
            entry.change(|it| it.state = self.end);
        }
    }
}

/// A response's body at work, which remembers its end.
struct Sending {
    pieces: BoxStream<'static, io::Result<Frame<Bytes>>>,
    entry: Arc<Entry>,
    _live: Live,
}

impl Stream for Sending {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.pieces.poll_next_unpin(cx);
        if let Poll::Ready(None) = polled {
            self.entry.change(|it| it.send = "ok");
        }
        polled
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.entry.change(|it| {
            if it.send == "none" {
                it.send = "cancelled";
            }
        });
    }
}
