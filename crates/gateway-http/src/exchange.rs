//! One exchange: a request on its way to the app, and the response on its way back.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{
    App, Body, Client, Departure, Error, Fault, JoinError, Request, Response, Sleep, respond,
    sleep_until,
};
use http::{HeaderValue, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::bounds::Deadline;
use crate::connections::Slot;
use crate::delivery::Receipt;
use crate::lifespan::Attach;
use crate::peer::Peer;
use crate::strict::{self, Asked, KnownHost};

/// What the exchanges of a connection share.
pub(crate) struct Exchanges<A> {
    app: Arc<A>,
    attach: Attach,
    slot: Arc<Slot>,
    host: KnownHost,
    peer: Peer,
}

impl<A> Exchanges<A> {
    pub(crate) fn new(app: Arc<A>, attach: Attach, slot: Arc<Slot>, peer: Peer) -> Exchanges<A> {
        Exchanges { app, attach, slot, host: KnownHost::default(), peer }
    }
}

/// A request in hand. Dropping it is its end.
struct InHand<A> {
    exchanges: Arc<Exchanges<A>>,
    /// Whoever waits for the answer; elsewhere while it is the current client.
    client: Option<Client>,
    /// Whether that is one stream of several.
    is_stream: bool,
}

impl<A> InHand<A> {
    fn new(exchanges: Arc<Exchanges<A>>, version: Version) -> InHand<A> {
        let (connection, is_stream) = (exchanges.slot.client(), version == Version::HTTP_2);
        let client = if is_stream { connection.stream() } else { connection.clone() };
        exchanges.slot.begin();
        InHand { exchanges, client: Some(client), is_stream }
    }
}

impl<A> Drop for InHand<A> {
    fn drop(&mut self) {
        // A connection tells its client itself.
        if let Some(stream) = self.client.as_ref().filter(|_| self.is_stream) {
            stream.leaves(Departure::Gone);
        }
        self.exchanges.slot.end();
    }
}

/// Hands one request to the app.
pub(crate) fn answer<A: App>(
    exchanges: Arc<Exchanges<A>>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Sent<A>>, Infallible>> {
    let mut request = arrive(request, &exchanges.slot);
    let mut in_hand = InHand::new(exchanges, request.version());
    respond(async move {
        let slot = in_hand.exchanges.slot.clone();
        let limits = &slot.shared().limits;
        let asked = match strict::admit(&mut request, &in_hand.exchanges.host, limits) {
            Ok(asked) => asked,
            Err(error) => return Ok(refused(&error)),
        };
        if matches!(asked, Asked::Upgrade(_)) && !request.body().is_end_stream() {
            request = Box::pin(strict::read_body(request)).await?;
        }
        let version = request.version();
        request.extensions_mut().insert(in_hand.exchanges.peer.clone());
        if let Some(attach) = &in_hand.exchanges.attach {
            attach(request.extensions_mut());
        }
        let (app, client) = (&in_hand.exchanges.app, &mut in_hand.client);
        let handler = Client::attend(client, || app.call(request));
        let handled = Handled { handler, client, slot: &slot, due: None };
        let mut response = match handled.await {
            Ok(response) => response,
            // Its body may be what is malformed: nobody knows where the next request begins.
            Err(error) if slot.has_given_up_a_body() => return Ok(refused(&error)),
            Err(error) => return Err(error),
        };
        let bodyless = matches!(asked, Asked::Head)
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if strict::release(asked, version, &mut response)? {
            slot.is_handed_over();
        }
        if slot.is_going() && version <= Version::HTTP_11 {
            last(&mut response);
        }
        let receipt = response.extensions_mut().remove::<Receipt>();
        Ok(response.map(|body| {
            let ended = bodyless.then_some(true);
            Sent { body, in_hand: Some(in_hand), receipt, ended }
        }))
    })
}

/// A request as apps know it.
fn arrive(request: http::Request<Incoming>, slot: &Arc<Slot>) -> Request {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let limit = BodyLimit(Arc::new(AtomicU64::new(slot.shared().limits.body_bytes)));
    let (mut head, body) = request.into_parts();
    head.extensions.insert(limit.clone());
    let (ended, read, idle) = (false, 0, None);
    let body = Arriving { body, ended, slot: slot.clone(), limit, read, idle, waits: false };
    Request::from_parts(head, Body::new(body))
}

pin_project! {
    /// A handler at work: its client is the current one, and it has a deadline, which costs it
    /// nothing as long as it does not wait.
    struct Handled<'a, F> {
        #[pin]
        handler: F,
        client: &'a mut Option<Client>,
        slot: &'a Slot,
        due: Option<Sleep>,
    }
}

thread_local! {
    /// When the handler that is being polled wants its deadline to be.
    static PUT_OFF: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives the handler that calls it this long for its response's head, counted from now, whatever
/// [`Deadlines::handler`](crate::Deadlines::handler) says: for a download that has to be prepared, or
/// a poll that is answered when there is something to say.
///
/// It works where the handler itself runs, and not in tasks.
///
/// ```
/// use gateway_core::{Request, Response, sleep};
/// use std::time::Duration;
///
/// async fn poll(_: Request) -> Response {
///     gateway_http::handler_deadline(Duration::from_secs(300));
///     sleep(Duration::from_secs(120)).await;
///     Response::default()
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(poll);
/// ```
pub fn handler_deadline(after: Duration) {
    let until = Instant::now().checked_add(after);
    PUT_OFF.set(until);
}

impl<F: Future<Output = Result<Response, Error>>> Future for Handled<'_, F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = Client::attend(this.client, || this.handler.poll(cx));
        let put_off = PUT_OFF.take();
        if answer.is_ready() {
            return answer;
        }
        let handler = this.slot.shared().deadlines.handler;
        let due = this.due.get_or_insert_with(|| gateway_core::sleep(handler));
        if let Some(until) = put_off {
            due.reset(until);
        }
        ready!(Pin::new(due).poll(cx));
        this.slot.shared().passes(Deadline::Handler);
        let message = "the handler has not answered within its deadline";
        let late = StatusCode::SERVICE_UNAVAILABLE;
        Poll::Ready(Err(Error::new(Fault::Application, late, message)))
    }
}

/// Makes a response the last of its connection. hyper may have been told too late for this one.
#[cold]
fn last(response: &mut Response) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The answer to a request that no app sees. The connection is closed behind it: what follows may
/// be a part of it.
#[cold]
fn refused<A>(error: &Error) -> http::Response<Sent<A>> {
    error.log();
    let mut response = error.response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.map(Sent::from)
}

/// How many bytes a request's body may have.
#[derive(Clone)]
struct BodyLimit(Arc<AtomicU64>);

/// Lets this request's body have so many bytes, whatever
/// [`Limits::body_bytes`](crate::Limits::body_bytes) says. Call it before the body is read.
///
/// ```
/// use gateway_core::{Request, Response};
///
/// async fn upload(request: Request) -> Response {
///     gateway_http::set_body_limit(&request, 1024 * 1024 * 1024);
///     // Read it frame by frame.
///     # drop(request);
///     Response::default()
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(upload);
/// ```
pub fn set_body_limit(request: &Request, bytes: u64) {
    if let Some(limit) = request.extensions().get::<BodyLimit>() {
        limit.0.store(bytes, Ordering::Relaxed);
    }
}

/// A request's body. Its connection must know when it is given up before its end.
struct Arriving {
    body: Incoming,
    ended: bool,
    slot: Arc<Slot>,
    limit: BodyLimit,
    read: u64,
    /// The deadline of a read that waits, once there has been one.
    idle: Option<Sleep>,
    waits: bool,
}

impl Arriving {
    /// Whether there is more than the limit allows, by what has been read or by what was announced.
    fn is_too_large(&self) -> bool {
        let announced = self.body.size_hint().lower();
        self.read.saturating_add(announced) > self.limit.0.load(Ordering::Relaxed)
    }

    #[cold]
    fn too_large(&self) -> Error {
        let limit = self.limit.0.load(Ordering::Relaxed);
        let message = format!("the body is larger than the {limit} bytes accepted here");
        Error::client(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    #[cold]
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let shared = self.slot.shared();
        let until = || Instant::now() + shared.deadlines.body;
        let waits = std::mem::replace(&mut self.waits, true);
        let idle = self.idle.get_or_insert_with(|| sleep_until(until()));
        if !waits {
            idle.reset(until());
        }
        ready!(Pin::new(idle).poll(cx));
        shared.passes(Deadline::Body);
        let message = "the next piece of the body has not come in time";
        Poll::Ready(Error::client(StatusCode::REQUEST_TIMEOUT, message))
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // Before hyper is asked, which would invite the client to send it.
        if self.is_too_large() {
            return Poll::Ready(Some(Err(self.too_large())));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.poll_idle(cx).map(|error| Some(Err(error)));
        };
        self.waits = false;
        self.ended = frame.is_none();
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.read += data.map_or(0, Bytes::len) as u64;
        if self.is_too_large() {
            return Poll::Ready(Some(Err(self.too_large())));
        }
        let unreadable = |error| Error::client(StatusCode::BAD_REQUEST, error);
        Poll::Ready(frame.map(|frame| frame.map_err(unreadable)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.slot.gives_up_a_body();
        }
    }
}

/// A response's body, which keeps its request in hand until it has been sent or given up.
pub(crate) struct Sent<A> {
    body: Body,
    in_hand: Option<InHand<A>>,
    receipt: Option<Receipt>,
    /// Whether it has come to its end, or need not come, and then whether in good order.
    ended: Option<bool>,
}

/// The response that stands in for an app's that failed.
impl<A> From<Body> for Sent<A> {
    fn from(body: Body) -> Sent<A> {
        Sent { body, in_hand: None, receipt: None, ended: None }
    }
}

/// The head has been sent: cutting the body off is all that is left to do, and to say so here.
#[cold]
fn logged(error: Error) -> Error {
    error.log();
    error
}

impl<A: 'static> HttpBody for Sent<A> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let body = &mut this.body;
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut this.in_hand {
            Some(in_hand) => Client::attend(&mut in_hand.client, || Pin::new(body).poll_frame(cx)),
            None => Pin::new(body).poll_frame(cx),
        }));
        let error = match polled {
            Ok(Poll::Ready(Some(Err(error)))) => error,
            Ok(Poll::Ready(None)) => {
                this.ended.get_or_insert(true);
                return Poll::Ready(None);
            }
            Ok(frame) => return frame,
            Err(payload) => JoinError::panicked(payload).into(),
        };
        (this.body, this.ended) = (Body::empty(), Some(false));
        Poll::Ready(Some(Err(logged(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<A> Drop for Sent<A> {
    fn drop(&mut self) {
        let (Some(receipt), Some(in_hand)) = (self.receipt.take(), &self.in_hand) else { return };
        if self.ended.unwrap_or_else(|| self.body.is_end_stream()) {
            in_hand.exchanges.slot.owes(receipt);
        }
    }
}
