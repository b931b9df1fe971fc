//! `KeepAlive`: a body of server-sent events that is never silent for long.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{Sleep, sleep};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

/// What is sent in a silence: a comment, which clients pass over, and an empty line.
const COMMENT: &[u8] = b":\n\n";

/// Lets a response of server-sent events say something at least once in `interval`, so that no
/// proxy takes its connection for dead: what axum's `Sse::keep_alive` does, on every host.
///
/// A comment is sent between events alone: not while the last frame has left an event unfinished.
/// axum's `Sse` sends whole events.
///
/// # Panics
///
/// The body does, when it has to wait outside any trampoline.
///
/// # Cancel safety
///
/// Nothing is lost between two frames.
///
/// ```
/// use axum::response::{IntoResponse, Sse, sse::Event};
/// use futures_util::stream;
/// use std::{convert::Infallible, time::Duration};
///
/// async fn events() -> impl IntoResponse {
///     let ticks = stream::unfold(0, async |n| {
///         gateway_core::sleep(Duration::from_secs(60)).await;
///         Some((Ok::<_, Infallible>(Event::default().data(n.to_string())), n + 1))
///     });
///     gateway_tower::keep_alive(Sse::new(ticks).into_response(), Duration::from_secs(15))
/// }
/// # let router: axum::Router = axum::Router::new().route("/", axum::routing::get(events));
/// # drop(router);
/// ```
pub fn keep_alive<B>(
    response: http::Response<B>,
    interval: Duration,
) -> http::Response<KeepAlive<B>> {
    response.map(|body| KeepAlive { body, interval, silence: None, is_whole: true })
}

pin_project! {
    /// The body that [`keep_alive`] makes.
    #[derive(Debug)]
    pub struct KeepAlive<B> {
        #[pin]
        body: B,
        interval: Duration,
        // The end of the silence, once there has been one.
        silence: Option<Sleep>,
        // Whether the last event is there to its end.
        is_whole: bool,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for KeepAlive<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let until = || {
            let now = Instant::now();
            now.checked_add(*this.interval)
        };
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                let ends = |data: &Bytes| {
                    [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"].iter().any(|end| data.ends_with(end))
                };
                *this.is_whole = frame.data_ref().is_none_or(ends);
            }
            if let (Some(silence), Some(until)) = (this.silence, until()) {
                silence.reset(until);
            }
            return Poll::Ready(frame);
        }
        if !*this.is_whole {
            return Poll::Pending;
        }
        let silence = this.silence.get_or_insert_with(|| sleep(*this.interval));
        ready!(Pin::new(&mut *silence).poll(cx));
        if let Some(until) = until() {
            silence.reset(until);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Nobody knows how many comments there will be.
        let mut hint = SizeHint::new();
        hint.set_lower(self.body.size_hint().lower());
        hint
    }
}
