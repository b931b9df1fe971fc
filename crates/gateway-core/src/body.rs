//! `Body`: the payload of a request or a response, made and read piece by piece.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_channel::mpsc;
use futures_core::Stream;
use futures_util::SinkExt;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

use crate::error::Error;

/// A body: nothing, bytes, or frames as they come (data, then perhaps trailers).
///
/// It implements [`http_body::Body`], so everything that takes those takes it; read it frame by
/// frame with `http_body_util::BodyExt::frame`, or whole with [`Body::collect`].
///
/// Whoever reads sets the pace. A body is asked for its next frame when the last one has been taken,
/// so a slow reader suspends the writer, and nothing piles up in between.
pub struct Body {
    kind: Kind,
}

/// Requests and responses are moved a few times each: two kinds of body are smaller than three.
enum Kind {
    /// All of it; an empty body has none.
    Bytes(Bytes),
    Frames(Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>),
}

impl Body {
    /// A body without any bytes.
    #[must_use]
    pub fn empty() -> Body {
        Body { kind: Kind::Bytes(Bytes::new()) }
    }

    /// Any [`http_body::Body`], trailers included.
    pub fn new<B>(body: B) -> Body
    where
        B: HttpBody<Data = Bytes, Error: Into<Error>> + Send + 'static,
    {
        Body { kind: Kind::Frames(Box::pin(body.map_err(Into::into))) }
    }

    /// The items of a stream, one frame each. An error ends the body visibly: the reader can tell
    /// that something is missing.
    pub fn stream<S, D, E>(stream: S) -> Body
    where
        S: Stream<Item = Result<D, E>> + Send + 'static,
        D: Into<Bytes>,
        E: Into<Error>,
    {
        Body { kind: Kind::Frames(Box::pin(Streamed { stream })) }
    }

    /// A coroutine that sends. It runs only while the body is being read, and is dropped with it.
    ///
    /// The body ends when the coroutine has; an error, or a panic, ends it visibly.
    ///
    /// ```
    /// use gateway_core::Body;
    ///
    /// let body = Body::coroutine(async |mut out| {
    ///     for n in 0..3 {
    ///         out.send(format!("line {n}\n")).await?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn coroutine<C, F>(coroutine: C) -> Body
    where
        C: FnOnce(Sender) -> F,
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (sender, frames) = mpsc::channel(0);
        let coroutine = Some(coroutine(Sender { frames: sender }));
        Body { kind: Kind::Frames(Box::pin(Sent { coroutine, frames })) }
    }

    /// Takes the bytes of a body that has them all at hand, and leaves it empty. None, where it has to
    /// be read frame by frame.
    ///
    /// ```
    /// use gateway_core::Body;
    ///
    /// let mut body = Body::from("hello");
    /// assert_eq!(body.take_bytes().as_deref(), Some(&b"hello"[..]));
    /// assert_eq!(body.take_bytes().as_deref(), Some(&b""[..]));
    /// assert!(Body::coroutine(async |_| Ok(())).take_bytes().is_none());
    /// ```
    #[inline]
    pub fn take_bytes(&mut self) -> Option<Bytes> {
        match &mut self.kind {
            Kind::Bytes(bytes) => Some(std::mem::take(bytes)),
            Kind::Frames(_) => None,
        }
    }

    /// Reads the whole body, up to `limit` bytes. Trailers are left out.
    ///
    /// # Errors
    ///
    /// The body's own; and 413, the client's fault, as soon as there is more than `limit`.
    ///
    /// # Cancel safety
    ///
    /// What has been read is lost when this is dropped.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        if let Kind::Bytes(bytes) = &mut self.kind {
            if bytes.len() <= limit {
                return Ok(std::mem::take(bytes));
            }
        }
        let mut collected = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > limit - collected.len() {
                let message = format!("the body is larger than the {limit} bytes accepted here");
                return Err(Error::client(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            collected.extend_from_slice(&data);
        }
        Ok(collected.freeze())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            Kind::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Frames(frames) => frames.as_mut().poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Frames(frames) => frames.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Frames(frames) => frames.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body { kind: Kind::Bytes(bytes) }
    }
}

/// Bodies from whatever [`Bytes`] are made of without a copy.
macro_rules! from_bytes {
    ($($source:ty),*) => {$(
        impl From<$source> for Body {
            fn from(source: $source) -> Body {
                Body::from(Bytes::from(source))
            }
        }
    )*};
}

from_bytes!(&'static str, &'static [u8], String, Vec<u8>);

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body::empty()
    }
}

/// Where a body's coroutine puts what it sends.
#[derive(Debug)]
pub struct Sender {
    frames: mpsc::Sender<Frame<Bytes>>,
}

impl Sender {
    /// Sends bytes, and waits until the reader has taken them.
    ///
    /// # Errors
    ///
    /// When nobody reads the body any more.
    ///
    /// # Cancel safety
    ///
    /// When this is dropped early, the bytes may or may not have been sent.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        if data.is_empty() {
            return Ok(());
        }
        self.send_frame(Frame::data(data)).await
    }

    /// Sends trailers, which end the body.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sender::send`].
    pub async fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Error> {
        self.send_frame(Frame::trailers(trailers)).await
    }

    async fn send_frame(&mut self, frame: Frame<Bytes>) -> Result<(), Error> {
        let sent = self.frames.send(frame).await;
        sent.map_err(|_| Error::client(StatusCode::BAD_REQUEST, "nobody reads the body any more"))
    }
}

pin_project! {
    /// A coroutine and the frames that it has sent.
    struct Sent<F> {
        #[pin]
        coroutine: Option<F>,
        frames: mpsc::Receiver<Frame<Bytes>>,
    }
}

impl<F: Future<Output = Result<(), Error>>> HttpBody for Sent<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        // What has been sent goes out before the coroutine is asked for more.
        if let Poll::Ready(Some(frame)) = Pin::new(&mut *this.frames).poll_next(cx) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(coroutine) = this.coroutine.as_mut().as_pin_mut() {
            if let Poll::Ready(result) = coroutine.poll(cx) {
                this.coroutine.set(None);
                if let Err(error) = result {
                    this.frames.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(ready!(Pin::new(this.frames).poll_next(cx)).map(Ok))
    }
}

pin_project! {
    /// A stream of data as a body.
    struct Streamed<S> {
        #[pin]
        stream: S,
    }
}

impl<S, D, E> HttpBody for Streamed<S>
where
    S: Stream<Item = Result<D, E>>,
    D: Into<Bytes>,
    E: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let item = ready!(self.project().stream.poll_next(cx));
        let frame = item.map(|item| item.map(|data| Frame::data(data.into())).map_err(Into::into));
        Poll::Ready(frame)
    }
}
