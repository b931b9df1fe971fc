//! One exchange: a request on its way to the app, and the response on its way back.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use gateway_core::{
    App, Body, BodyLimit, Client, Departure, Error, Fault, JoinError, Request, Response, Sleep,
    sleep,
};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::bodies::{Arriving, Sent};
use crate::bounds::Deadline;
use crate::connections::Slot;
use crate::delivery::Receipt;
use crate::lifespan::Attach;
use crate::strict::{self, Asked, KnownHost};

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
pub(crate) struct InHand {
    pub(crate) slot: Arc<Slot>,
    /// Whoever waits for the answer; elsewhere while it is the current client.
    pub(crate) client: Option<Client>,
    /// Whether that is one stream of several.
    pub(crate) is_stream: bool,
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
        let body = Body::new(Arriving::new(body, slot, limit));
        Exchange::new(exchanges, call, Request::from_parts(head, body))
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
