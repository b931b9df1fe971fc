//! One connection: finds its protocol, hands its requests to the app, and goes when told.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gateway_core::{App, Body, Error, JoinError, Response, respond, spawn};
use http::{HeaderValue, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use crate::connections::{Connection, Phase, Slot};
use crate::linger::Linger;
use crate::peer::Peer;
use crate::preface::{Protocol, Rewound};
use crate::strict::{self, Asked, KnownHost};
use crate::transport::{self, Accepted, Opened};

/// The largest request head, in bytes: request line and all header fields. Beyond it the answer is
/// 431 and a close.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Serves one connection to its end.
pub(crate) async fn serve<A: App>(app: Arc<A>, accepted: Accepted, mut connection: Connection) {
    let Some(opened) = accepted.open(&mut connection).await else { return };
    let Opened { transport, peer, protocol } = opened;
    let mut stream = Rewound::new(transport, Linger::new(Arc::downgrade(&connection.slot())));
    let protocol = std::future::poll_fn(|cx| match connection.phase(cx) {
        Phase::Serve => protocol.map_or_else(|| stream.poll_protocol(cx), |p| Poll::Ready(Ok(p))),
        Phase::Drain | Phase::Close => Poll::Ready(Ok(Protocol::None)),
    });
    let protocol = protocol.await;
    let (slot, host) = (connection.slot(), KnownHost::default());
    let requests = Arc::new(Requests { app, slot, host, peer: peer.clone() });
    let service = service_fn(move |request| answer(requests.clone(), request));
    let ended = match protocol {
        Ok(Protocol::None) => Ok(()),
        Ok(Protocol::Proxy) => {
            transport::refuse_proxy(&mut stream, &peer).await;
            Ok(())
        }
        Ok(Protocol::Http1) => {
            let served = http1::Builder::new()
                .header_read_timeout(None)
                // A client that has only closed its sending side has its answer: see
                // `departures.rs`.
                .half_close(true)
                .max_header_size(HEAD_BYTES)
                .serve_connection(stream, service)
                .with_upgrades();
            until_told(connection, served, |served| served.graceful_shutdown()).await
        }
        Ok(Protocol::Http2) => {
            let served = http2::Builder::new(Tasks)
                .max_header_list_size(HEAD_BYTES as u32)
                .serve_connection(stream, service);
            until_told(connection, served, |served| served.graceful_shutdown()).await
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Drives hyper's connection until it has ended, or the server says so.
async fn until_told<F: Future<Output = hyper::Result<()>>>(
    mut connection: Connection,
    served: F,
    drain: impl Fn(Pin<&mut F>),
) -> Result<(), Error> {
    let mut served = pin!(served);
    let mut draining = false;
    let ended = std::future::poll_fn(|cx| {
        match connection.phase(cx) {
            Phase::Serve => {}
            Phase::Drain if draining => {}
            Phase::Drain => {
                draining = true;
                drain(served.as_mut());
            }
            Phase::Close => return Poll::Ready(Ok(())),
        }
        served.as_mut().poll(cx)
    });
    Ok(ended.await?)
}

/// What HTTP/2 starts its streams with.
#[derive(Clone)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// What the requests of a connection share.
struct Requests<A> {
    app: Arc<A>,
    slot: Arc<Slot>,
    host: KnownHost,
    peer: Peer,
}

/// A request in hand. Dropping it is its end.
struct InHand<A>(Arc<Requests<A>>);

impl<A> InHand<A> {
    fn new(requests: Arc<Requests<A>>) -> InHand<A> {
        requests.slot.begin();
        InHand(requests)
    }
}

impl<A> Drop for InHand<A> {
    fn drop(&mut self) {
        self.0.slot.end();
    }
}

/// Hands one request to the app.
fn answer<A: App>(
    requests: Arc<Requests<A>>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Sent<A>>, Infallible>> {
    let mut request = request.map(|body| match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(Arriving { body, ended: false, slot: requests.slot.clone() }),
    });
    let in_hand = InHand::new(requests);
    respond(async move {
        let asked = match strict::admit(&mut request, &in_hand.0.host) {
            Ok(asked) => asked,
            Err(error) => return Ok(refused(&error)),
        };
        if matches!(asked, Asked::Upgrade(_)) && !request.body().is_end_stream() {
            request = Box::pin(strict::read_body(request)).await?;
        }
        request.extensions_mut().insert(in_hand.0.peer.clone());
        let version = request.version();
        let mut response = match in_hand.0.app.call(request).await {
            Ok(response) => response,
            // Its body may be what is malformed: nobody knows where the next request begins.
            Err(error) if in_hand.0.slot.has_given_up_a_body() => return Ok(refused(&error)),
            Err(error) => return Err(error),
        };
        strict::release(asked, version, &mut response)?;
        if in_hand.0.slot.is_going() && version <= Version::HTTP_11 {
            last(&mut response);
        }
        Ok(response.map(|body| Sent { body, in_hand: Some(in_hand) }))
    })
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

/// A request's body, which its connection must know about when it is given up before its end.
struct Arriving {
    body: Incoming,
    ended: bool,
    slot: Arc<Slot>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended = frame.is_none();
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
struct Sent<A> {
    body: Body,
    #[expect(dead_code, reason = "what counts is when it is dropped")]
    in_hand: Option<InHand<A>>,
}

/// The response that stands in for an app's that failed.
impl<A> From<Body> for Sent<A> {
    fn from(body: Body) -> Sent<A> {
        Sent { body, in_hand: None }
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
        let body = &mut self.body;
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(Poll::Ready(Some(Err(error)))) => Poll::Ready(Some(Err(logged(error)))),
            Ok(frame) => frame,
            Err(payload) => {
                self.body = Body::empty();
                Poll::Ready(Some(Err(logged(JoinError::panicked(payload).into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
