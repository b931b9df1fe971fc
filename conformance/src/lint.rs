//! `Lint`: checks the contract from both sides inside a running system.
//!
//! Around an app it looks at what the server hands in and at what the app hands out; around a
//! trampoline, at what coroutines yield and what the host answers. It changes nothing, and reports
//! what breaks a rule, with the value that it saw and whose doing it is. It costs two readings
//! of the clock per poll and per yield, a pass over the fields, and a counter per body of unknown
//! length; the README beside this crate says how much that is.
//!
//! ```
//! use gateway_conformance::lint::Lint;
//! use gateway_core::{Body, Request, Response};
//!
//! async fn hello(_: Request) -> Response {
//!     Response::new(Body::from("hello"))
//! }
//!
//! let app = Lint::new(hello); // reports to the log, as errors of the target `gateway_conformance`
//! # fn is_app(_: impl gateway_core::App) {}
//! # is_app(app);
//! ```
//!
//! Around a trampoline, for a part of an application or for all of it:
//!
//! ```
//! use gateway_conformance::lint::Lint;
//! use gateway_core::{Coroutine, Host, sleep, trampoline};
//! use std::{sync::Arc, time::Duration};
//!
//! let host = gateway_blocking::Blocking::new(1)?;
//! host.run(async {
//!     let lint = Lint::new(trampoline()?);
//!     Coroutine::new(Arc::new(lint), sleep(Duration::from_millis(1))).await;
//!     std::io::Result::Ok(())
//! })
//! # ?; Ok::<(), std::io::Error>(())
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{App, Body, Error, Job, Request, Response, Task, Trampoline, Yield};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// How long a poll, or the answer to a yield, may keep its thread.
pub const BLOCKED: Duration = Duration::from_millis(100);

/// An app, or a trampoline, that is looked at from both sides.
#[derive(Clone)]
pub struct Lint<T> {
    inner: T,
    look: Look,
}

/// Where violations go.
type Report = Arc<dyn Fn(&Violation) + Send + Sync>;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's id.
    pub rule: &'static str,
    /// Whose doing it is.
    pub by: By,
    /// What was seen.
    pub seen: String,
}

/// Whose doing a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The application's.
    Application,
    /// The host's, or the server's on it.
    Host,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Application => "the application",
            By::Host => "the host",
        };
        write!(f, "{by} breaks {}: {}", self.rule, self.seen)
    }
}

impl<T> Lint<T> {
    /// Reports to the log, as errors.
    pub fn new(inner: T) -> Lint<T> {
        Lint::reporting(inner, |violation| {
            let Violation { rule, by, seen } = violation;
            tracing::error!(rule, ?by, seen, "a rule of the contract is broken");
        })
    }

    /// Reports to a function, which must not block.
    pub fn reporting(inner: T, report: impl Fn(&Violation) + Send + Sync + 'static) -> Lint<T> {
        Lint { inner, look: Look(Arc::new(report)) }
    }
}

/// What reports.
#[derive(Clone)]
struct Look(Report);

impl Look {
    fn report(&self, rule: &'static str, by: By, seen: impl Into<String>) {
        (self.0)(&Violation { rule, by, seen: seen.into() });
    }

    /// Reports what has kept its thread for too long.
    fn blocked(&self, since: Instant, rule: &'static str, by: By, what: &str) {
        let took = since.elapsed();
        if took > BLOCKED {
            self.report(rule, by, format!("{what} kept its thread for {took:?}"));
        }
    }
}

impl<A: App> App for Lint<A> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        let look = self.look.clone();
        let Checked { asked, announced } = check_request(&look, &request);
        let method = request.method().clone();
        let request = request.map(|body| watched(body, &look, By::Host, announced));
        let answer = self.inner.call(request);
        async move {
            let mut answer = pin!(answer);
            let answer = poll_fn(|cx| {
                let began = Instant::now();
                let polled = answer.as_mut().poll(cx);
                look.blocked(began, "EXE-01", By::Application, "a poll");
                polled
            });
            let response = answer.await?;
            check_response(&look, &method, asked, &response);
            // A body of known length has been compared already.
            if response.body().size_hint().exact().is_some() {
                return Ok(response);
            }
            let bodyless = method == Method::HEAD
                || matches!(response.status().as_u16(), 100..200 | 204 | 304);
            let announced = if bodyless { None } else { length(response.headers()) };
            Ok(response.map(|body| watched(body, &look, By::Application, announced)))
        }
    }
}

/// How often the fields occur that the rules speak of. Most messages have few of them, so that one
/// pass says that there is no more to look at.
#[derive(Default)]
struct Fields {
    host: usize,
    length: usize,
    coding: usize,
    upgrade: usize,
    date: usize,
    /// `connection` and `keep-alive`.
    connection: usize,
}

impl Fields {
    fn of(fields: &HeaderMap) -> Fields {
        let mut found = Fields::default();
        for name in fields.iter().map(|(name, _)| name) {
            match name {
                name if *name == HOST => found.host += 1,
                name if *name == CONTENT_LENGTH => found.length += 1,
                name if *name == TRANSFER_ENCODING => found.coding += 1,
                name if *name == UPGRADE => found.upgrade += 1,
                name if *name == DATE => found.date += 1,
                name if *name == CONNECTION || *name == KEEP_ALIVE => found.connection += 1,
                _ => {}
            }
        }
        found
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What a request says that matters later.
struct Checked {
    /// Whether it asks for an upgrade.
    asked: bool,
    /// The length of its body.
    announced: Option<u64>,
}

/// What the server owes the app.
fn check_request(look: &Look, request: &Request) -> Checked {
    let host = |rule, seen: String| look.report(rule, By::Host, seen);
    let (fields, found) = (request.headers(), Fields::of(request.headers()));
    if request.version() == Version::HTTP_11 && found.host != 1 {
        host("REQ-12", format!("a request of HTTP/1.1 with {} Host fields", found.host));
    }
    let target = request.uri();
    let form_fits = match *request.method() {
        Method::CONNECT => target.path_and_query().is_none(),
        Method::OPTIONS => !target.path().is_empty(),
        _ => target.path().starts_with('/'),
    };
    if !form_fits {
        host("REQ-11", format!("the target {target:?} with the method {}", request.method()));
    }
    let values = |name: HeaderName| fields.get_all(name).iter().collect::<Vec<_>>();
    if found.length > 1 {
        host("BODY-04", format!("several lengths: {:?}", values(CONTENT_LENGTH)));
    }
    if found.coding > 0 && found.length > 0 {
        let (lengths, codings) = (values(CONTENT_LENGTH), values(TRANSFER_ENCODING));
        host("SMG-01", format!("a length, {lengths:?}, and a transfer coding, {codings:?}"));
    }
    if found.coding > 1 {
        host("SMG-03", format!("several transfer codings: {:?}", values(TRANSFER_ENCODING)));
    }
    let asked = found.upgrade > 0 && asks_for_upgrade(request);
    if found.upgrade > 0 && !asked {
        host("UPG-02", format!("an upgrade to {:?} that nobody asked for", fields.get(UPGRADE)));
    }
    Checked { asked, announced: if found.length > 0 { length(fields) } else { None } }
}

/// Whether a request with `Upgrade` means it.
fn asks_for_upgrade(request: &Request) -> bool {
    let options = request.headers().get_all(CONNECTION).into_iter();
    let mut options = options.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    request.version() == Version::HTTP_11
        && options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// What the app owes the server.
fn check_response(look: &Look, method: &Method, asked: bool, response: &Response) {
    let app = |rule, seen: String| look.report(rule, By::Application, seen);
    let (status, fields) = (response.status(), response.headers());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if !asked {
            app("UPG-01", "it switches protocols, and nobody asked for that".to_owned());
        }
        return;
    }
    if status.is_informational() {
        app("RSP-08", format!("the interim status {status} as its final one"));
    }
    let known = response.body().size_hint().exact();
    if matches!(status.as_u16(), 204 | 304) && known != Some(0) {
        app("SEM-05", format!("a body of {known:?} bytes with the status {status}"));
    }
    let found = Fields::of(fields);
    if found.connection + found.coding + found.upgrade > 0 {
        for name in [CONNECTION, KEEP_ALIVE, TRANSFER_ENCODING, UPGRADE] {
            match fields.get(&name) {
                Some(value) if name == CONNECTION && value == "close" => {}
                Some(value) => app("RSP-05", format!("it sets {name}: {value:?}")),
                None => {}
            }
        }
    }
    if found.length > 0 {
        match (found.length, length(fields), known) {
            (1, Some(length), Some(known)) if length != known && *method != Method::HEAD => {
                app("RSP-01", format!("it announces {length} bytes, and has {known}"));
            }
            (1, Some(_), _) => {}
            _ => {
                let lengths: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
                app("RSP-01", format!("no length: {lengths:?}"));
            }
        }
    }
    if found.date > 1 {
        app("RSP-11", format!("{} Date fields", found.date));
    }
}

/// The length that is announced, if it is one.
fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A future whose polls are looked at.
struct Polled<F> {
    future: Option<Pin<Box<F>>>,
    look: Look,
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = self.future.as_mut() else {
            self.look.report("YLD-03", By::Host, "a coroutine was polled after its end");
            return Poll::Pending;
        };
        let began = Instant::now();
        let answer = future.as_mut().poll(cx);
        self.look.blocked(began, "EXE-01", By::Application, "a poll");
        if answer.is_ready() {
            self.future = None;
        }
        answer
    }
}

/// A body that is looked at.
fn watched(body: Body, look: &Look, by: By, announced: Option<u64>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let look = look.clone();
    Body::new(Watched { body, look, by, announced, passed: 0, state: Passing::Data })
}

struct Watched {
    body: Body,
    look: Look,
    /// Whoever makes it.
    by: By,
    announced: Option<u64>,
    passed: u64,
    state: Passing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Data,
    Trailers,
    Ended,
    Failed,
}

impl Watched {
    fn data(&mut self, size: u64) {
        let before = self.passed;
        self.passed += size;
        if self.state != Passing::Data {
            let seen = format!("{size} bytes of body in the state {:?}", self.state);
            self.look.report(self.rule("YLD-14", "YLD-06"), self.by, seen);
        }
        match self.announced {
            Some(announced) if self.passed > announced && before <= announced => {
                let seen =
                    format!("{} bytes of body where {announced} were announced", self.passed);
                self.look.report(self.rule("BODY-02", "RSP-04"), self.by, seen);
            }
            _ => {}
        }
    }

    fn ended(&mut self) {
        if let (Some(announced), Passing::Data | Passing::Trailers) = (self.announced, self.state) {
            if self.passed < announced {
                let seen = format!("{} of {announced} bytes of body, then its end", self.passed);
                self.look.report(self.rule("BODY-11", "RSP-03"), self.by, seen);
            }
        }
        self.state = Passing::Ended;
    }

    /// The rule for requests, or the one for responses.
    fn rule(&self, request: &'static str, response: &'static str) -> &'static str {
        if self.by == By::Host { request } else { response }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let began = Instant::now();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.look.blocked(began, "EXE-01", this.by, "a body's poll");
        match &frame {
            Poll::Pending => {}
            Poll::Ready(None) => this.ended(),
            Poll::Ready(Some(Err(_))) => this.state = Passing::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => this.data(data.len() as u64),
                None => this.state = Passing::Trailers,
            },
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

thread_local! {
    /// Whether this thread is inside the answer to a yield.
    static ANSWERING: Cell<bool> = const { Cell::new(false) };
}

impl<T: Trampoline> Trampoline for Lint<T> {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let look = &self.look;
        let deadline = match &yielded {
            Yield::Timer(timer) => Some(timer.deadline()),
            _ => None,
        };
        let at_once = matches!(&yielded, Yield::Job(_) | Yield::Task(_));
        let yielded = match yielded {
            Yield::Job(job) => Yield::Job(watched_job(job, look.clone())),
            Yield::Task(task) => Yield::Task(watched_task(task, look.clone())),
            other => other,
        };
        let began = Instant::now();
        let outer = ANSWERING.replace(true);
        let answer = self.inner.bounce(yielded, cx);
        ANSWERING.set(outer);
        look.blocked(began, "YLD-01", By::Host, "the answer to a yield");
        match (&answer, deadline) {
            (Poll::Ready(Ok(())), Some(deadline)) => check_timer(look, deadline),
            (Poll::Pending, _) if at_once => {
                let seen = "a job or a task was answered with Pending";
                look.report("YLD-01", By::Host, seen);
            }
            _ => {}
        }
        answer
    }
}

fn check_timer(look: &Look, deadline: Instant) {
    let early = deadline.saturating_duration_since(Instant::now());
    if !early.is_zero() {
        look.report("YLD-07", By::Host, format!("a timer ended {early:?} early"));
    }
}

fn watched_job(job: Job, look: Look) -> Job {
    Job::new(move || {
        if ANSWERING.get() {
            look.report("EXE-01", By::Host, "a job ran inside the answer to its yield");
        }
        job.run();
    })
}

fn watched_task(task: Task, look: Look) -> Task {
    let inside = look.clone();
    let mut polled = Polled { future: Some(Box::pin(task)), look };
    Task::new(poll_fn(move |cx| {
        // One that runs there can recurse without end.
        if ANSWERING.get() {
            inside.report("YLD-04", By::Host, "a task ran inside the answer to its yield");
        }
        Pin::new(&mut polled).poll(cx)
    }))
}
