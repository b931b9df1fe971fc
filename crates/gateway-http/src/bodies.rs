//! The bodies of an exchange: the request's as it arrives, and the response's as it is sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use gateway_core::{Body, BodyLimit, Client, Error, JoinError, Sleep, sleep_until};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::bounds::Deadline;
use crate::connections::Slot;
use crate::delivery::Receipt;
use crate::exchange::InHand;
use crate::stalled;

/// The largest response, in bytes of its body, that leaves its connection of HTTP/1 as it is: see
/// `Ended::Outgrown`.
const COPIED: usize = 8 * 1024;

/// A request's body. Its connection must know when it is given up before its end.
pub(crate) struct Arriving {
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
    pub(crate) fn new(body: Incoming, slot: Arc<Slot>, limit: BodyLimit) -> Arriving {
        let (ended, read, idle, waits, failed) = (false, 0, None, false, false);
        Arriving { body, ended, slot, limit, read, idle, waits, failed }
    }

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
    #[inline]
    pub(crate) fn new(
        body: Body,
        in_hand: Option<InHand>,
        receipt: Option<Receipt>,
        bodyless: bool,
    ) -> Sent {
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
