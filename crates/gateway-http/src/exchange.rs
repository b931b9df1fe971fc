//! One exchange: a request on its way to the app, and the response on its way back.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{
    App, Body, BodyLimit, Client, Departure, Error, Fault, JoinError, Request, Response, Sleep,
    sleep, sleep_until,
};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::bounds::Deadline;
use crate::connections::Slot;
use crate::delivery::Receipt;
use crate::lifespan::Attach;
use crate::stalled;
use crate::strict::{self, Asked, KnownHost};

/// The largest response, in bytes of its body, that leaves its connection of HTTP/1 as it is: see
/// `Ended::Outgrown`.
const COPIED: usize = 8 * 1024;

/// What the exchanges of a connection share.
pub(crate) struct Exchanges<A> {
    app: Arc<A>,
    attach: Attach,
    slot: Arc<Slot>,
    host: KnownHost,
}

impl<A> Exchanges<A> {
    pub(crate) fn new(app: Arc<A>, attach: Attach, slot: Arc<Slot>) -> Exchanges<A> {
        Exchanges { app, attach, slot, host: KnownHost::default() }
    }
}

/// A request in hand. Dropping it is its end.
struct InHand {
    slot: Arc<Slot>,
    /// Whoever waits for the answer; elsewhere while it is the current client.
    client: Option<Client>,
    /// Whether that is one stream of several.
    is_stream: bool,
}

impl InHand {
    #[inline]
    fn new(slot: &Arc<Slot>, version: Version) -> InHand {
        let (connection, is_stream) = (slot.client(), version == Version::HTTP_2);
        let client = if is_stream { connection.stream() } else { connection.clone() };
        slot.begin();
        InHand { slot: slot.clone(), client: Some(client), is_stream }
    }
}

impl Drop for InHand {
    #[inline]
    fn drop(&mut self) {
        // A connection tells its client itself.
        if let Some(stream) = self.client.as_ref().filter(|_| self.is_stream) {
            stream.leaves(Departure::Gone);
        }
        self.slot.end();
    }
}

/// Hands one request to the app.
#[inline]
pub(crate) fn answer<A: App>(
    exchanges: &Exchanges<A>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Sent>, Infallible>> + Send {
    // Little, so that it is compiled into hyper's own code: all else comes with the first poll. How
    // long the body is can't wait, for hyper reads on before that.
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        return Exchange::arriving(exchanges, A::call, head, body);
    }
    exchanges.slot.message().has_body(Some(0));
    Exchange::new(exchanges, A::call, Request::from_parts(head, Body::empty()))
}

type Handled = Result<Response, Error>;

pin_project! {
    /// A request on its way through the app.
    #[project = Handling]
    enum Handler<'a, F> {
        // Looked at, and handed to the app, with the first poll: requests are large, and each move of
        // one costs as much as a look at its fields.
        Arrived { request: Option<Request> },
        Called { #[pin] future: F },
        // Whatever is rare.
        Later { future: Pin<Box<dyn Future<Output = Handled> + Send + 'a>> },
        Gone,
    }
}

impl<'a, F: Future<Output = Handled> + Send> Handler<'a, F> {
    /// Calls the app, if the request may come that far. What the request asks for is told first.
    #[inline]
    fn call<A: App>(
        mut self: Pin<&mut Self>,
        exchanges: &'a Exchanges<A>,
        call: impl FnOnce(&'a A, Request) -> F + Send + 'a,
        asked: &mut Asked,
    ) -> Result<(), Error> {
        let Handling::Arrived { request: place } = self.as_mut().project() else { return Ok(()) };
        let Some(request) = place else { return Ok(()) };
        let Exchanges { app, attach, slot, host } = exchanges;
        let limits = &slot.shared().limits;
        slot.message().admit()?;
        *asked = strict::admit(request, host, limits)?;
        if let Some(attach) = attach {
            attach(request.extensions_mut());
        }
        let Some(request) = place.take() else { return Ok(()) };
        if matches!(asked, Asked::Upgrade(_)) && !request.body().is_end_stream() {
            self.set(Handler::read_first(request, move |request| call(app, request)));
        } else {
            self.set(Handler::Called { future: call(app, request) });
        }
        Ok(())
    }

    #[cold]
    fn read_first(request: Request, call: impl FnOnce(Request) -> F + Send + 'a) -> Handler<'a, F> {
        let future = async move { call(strict::read_body(request).await?).await };
        Handler::Later { future: Box::pin(future) }
    }

    /// Polls what comes of the app.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Handled> {
        match self.project() {
            Handling::Called { future } => future.poll(cx),
            Handling::Later { future } => future.as_mut().poll(cx),
            Handling::Arrived { .. } | Handling::Gone => Poll::Pending,
        }
    }
}

pin_project! {
    /// One exchange, up to the head of its response. A plain struct, since requests are large: an
    /// async block would move this one once more.
    struct Exchange<'a, A, C, F> {
        exchanges: &'a Exchanges<A>,
        call: C,
        #[pin]
        handler: Handler<'a, F>,
        in_hand: Option<InHand>,
        asked: Asked,
        version: Version,
        // No app has seen the request.
        is_refused: bool,
        // The handler's deadline, which costs it nothing as long as it does not wait.
        due: Option<Box<Sleep>>,
    }
}

impl<'a, A, C, F> Exchange<'a, A, C, F> {
    #[inline(always)]
    fn new(exchanges: &'a Exchanges<A>, call: C, request: Request) -> Exchange<'a, A, C, F> {
        Exchange {
            exchanges,
            call,
            version: request.version(),
            handler: Handler::Arrived { request: Some(request) },
            in_hand: None,
            asked: Asked::Nothing,
            is_refused: false,
            due: None,
        }
    }

    /// With a body that is still to come.
    #[cold]
    fn arriving(exchanges: &'a Exchanges<A>, call: C, mut head: Parts, body: Incoming) -> Self {
        let slot = exchanges.slot.clone();
        slot.message().has_body(body.size_hint().exact());
        let limit = BodyLimit::new(slot.shared().limits.body_bytes);
        head.extensions.insert(limit.clone());
        let (ended, failed, read, idle, waits) = (false, false, 0, None, false);
        let body = Arriving { body, ended, slot, limit, read, idle, waits, failed };
        Exchange::new(exchanges, call, Request::from_parts(head, Body::new(body)))
    }
}

impl<'a, A, C, F> Future for Exchange<'a, A, C, F>
where
    A: App,
    C: FnOnce(&'a A, Request) -> F + Copy + Send + 'a,
    F: Future<Output = Handled> + Send + 'a,
{
    type Output = Result<http::Response<Sent>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut handler, asked, version) = (this.handler, this.asked, *this.version);
        let begin = || InHand::new(&this.exchanges.slot, version);
        let in_hand = this.in_hand.get_or_insert_with(begin);
        // Written from within: what the guard returned, it would move once more.
        let mut polled = Poll::Pending;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _attended = Client::attend(&mut in_hand.client);
            polled = match handler.as_mut().call(this.exchanges, *this.call, asked) {
                Ok(()) => handler.as_mut().poll(cx),
                Err(error) => {
                    *this.is_refused = true;
                    Poll::Ready(Err(error))
                }
            };
        }));
        let slot = &*in_hand.slot;
        // What follows a request that was refused, or a body that was not read, may be a part of it.
        let mut closes = *this.is_refused;
        if let Err(payload) = caught {
            polled = Poll::Ready(Err(JoinError::panicked(payload).into()));
        }
        if !matches!(polled, Poll::Ready(Ok(_))) {
            let error = match std::mem::replace(&mut polled, Poll::Pending) {
                Poll::Ready(Err(error)) => error,
                _ => ready!(poll_due(slot, this.due, cx)),
            };
            handler.set(Handler::Gone);
            closes |= slot.has_given_up_a_body();
            polled = Poll::Ready(Ok(excuse(&error)));
        }
        let Poll::Ready(Ok(response)) = &mut polled else { return Poll::Pending };
        PUT_OFF.set(None);
        match strict::release(asked, version, response) {
            Ok(false) => {}
            Ok(true) => slot.is_handed_over(),
            Err(error) => *response = excuse(&error),
        }
        if closes || (slot.is_going() && version <= Version::HTTP_11) {
            last(response);
        }
        let bodyless = matches!(asked, Asked::Head)
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let receipt = match response.extensions().is_empty() {
            true => None,
            false => response.extensions_mut().remove::<Receipt>(),
        };
        let in_hand = this.in_hand.take();
        let Poll::Ready(Ok(response)) = polled else { return Poll::Pending };
        Poll::Ready(Ok(response.map(|body| Sent::new(body, in_hand, receipt, bodyless))))
    }
}

/// The response in the place of an app's that failed.
#[cold]
fn excuse(error: &Error) -> Response {
    error.log();
    error.response()
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

#[cold]
fn poll_due(slot: &Slot, due: &mut Option<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<Error> {
    let due = due.get_or_insert_with(|| Box::new(sleep(slot.shared().deadlines.handler)));
    if let Some(until) = PUT_OFF.take() {
        due.reset(until);
    }
    ready!(Pin::new(due).poll(cx));
    slot.shared().passes(Deadline::Handler);
    let message = "the handler has not answered within its deadline";
    Poll::Ready(Error::new(Fault::Application, StatusCode::SERVICE_UNAVAILABLE, message))
}

/// Makes a response the last of its connection. hyper may have been told too late for this one.
#[cold]
fn last(response: &mut Response) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
    /// Whether there was an error: nothing comes behind it.
    failed: bool,
}

impl Arriving {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
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

    /// Whether there is more than the limit allows, by what has been read or by what was announced.
    fn is_too_large(&self) -> bool {
        let announced = self.body.size_hint().lower();
        self.read.saturating_add(announced) > self.limit.bytes()
    }

    #[cold]
    fn too_large(&self) -> Error {
        let limit = self.limit.bytes();
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
        if self.failed {
            return Poll::Ready(None);
        }
        let frame = ready!(self.poll_next(cx));
        self.failed = matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
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
pub(crate) struct Sent {
    body: Body,
    in_hand: Option<InHand>,
    receipt: Option<Receipt>,
    /// How many bytes have been taken, and what is left of a frame that was too large to be copied
    /// at once.
    taken: usize,
    rest: Option<Box<Bytes>>,
    /// Whether it has come to its end, or need not come, and then whether in good order.
    ended: Option<bool>,
}

impl Sent {
    fn new(body: Body, in_hand: Option<InHand>, receipt: Option<Receipt>, bodyless: bool) -> Sent {
        let ended = bodyless.then_some(true);
        Sent { body, in_hand, receipt, taken: 0, rest: None, ended }
    }

    /// Hands out bytes of a large body: as long as its connection copies them, in pieces.
    #[cold]
    fn large(&mut self, mut bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let copies = |in_hand: &InHand| !in_hand.is_stream && in_hand.slot.outgrows();
        if self.in_hand.as_ref().is_some_and(copies) && bytes.len() > COPIED {
            self.rest = Some(Box::new(bytes.split_off(COPIED)));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// Polls a body that is made as it is sent: as a handler, it has a client and may panic.
    fn poll_made(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let client = self.in_hand.as_mut().map(|in_hand| &mut in_hand.client);
            let _attended = client.map(Client::attend);
            Pin::new(&mut self.body).poll_frame(cx)
        }));
        stalled::polled(matches!(polled, Ok(Poll::Ready(Some(Ok(_))))));
        let error = match polled {
            Ok(Poll::Ready(Some(Err(error)))) => error,
            Ok(Poll::Ready(None)) => {
                self.ended.get_or_insert(true);
                return Poll::Ready(None);
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                let bytes = match frame.into_data() {
                    Ok(bytes) => bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                };
                self.taken = self.taken.saturating_add(bytes.len());
                if self.taken > COPIED {
                    return self.large(bytes);
                }
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Ok(Poll::Pending) => return Poll::Pending,
            Err(payload) => JoinError::panicked(payload).into(),
        };
        (self.body, self.ended) = (Body::empty(), Some(false));
        Poll::Ready(Some(Err(logged(error))))
    }
}

/// The head has been sent: cutting the body off is all that is left to do, and to say so here.
#[cold]
fn logged(error: Error) -> Error {
    error.log();
    error
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Error;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(rest) = self.rest.take() {
            return self.large(*rest);
        }
        let Some(bytes) = self.body.take_bytes() else { return self.poll_made(cx) };
        stalled::polled(!bytes.is_empty());
        if bytes.len() > COPIED {
            return self.large(bytes);
        }
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    /// Of a body from which nothing has been taken: nobody asks later.
    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    #[inline]
    fn drop(&mut self) {
        let (Some(receipt), Some(in_hand)) = (self.receipt.take(), &self.in_hand) else { return };
        if self.ended.unwrap_or_else(|| self.is_end_stream()) {
            in_hand.slot.owes(receipt);
        }
    }
}
