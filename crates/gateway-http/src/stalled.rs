//! `Watched`: a stream of HTTP/2, which is given up when its client takes nothing.
//!
//! Each stream has a window of its own (RFC 9113, section 5.2), so one may be stuck while its
//! connection is well. hyper asks a body for its next frame only when there is room for it. So a
//! stream that waits although its body waits for nothing is stuck at its client, and has the write
//! deadline. Body and stream are polled one within the other: the body leaves a note on the way.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use gateway_core::{Sleep, sleep_until};
use pin_project_lite::pin_project;

use crate::bounds::Deadline;
use crate::connections::Slot;

thread_local! {
    /// Whether the body that has been polled last has given a frame; none, where none was polled.
    static GAVE: Cell<Option<bool>> = const { Cell::new(None) };
}

/// A body has been polled, and has given a frame or waits.
#[inline]
pub(crate) fn polled(gave: bool) {
    GAVE.set(Some(gave));
}

pin_project! {
    /// hyper's stream, and since when its client has to take something.
    pub(crate) struct Watched<F> {
        #[pin]
        stream: F,
        slot: Arc<Slot>,
        stuck: bool,
        until: Option<Sleep>,
    }
}

impl<F> Watched<F> {
    pub(crate) fn new(stream: F, slot: Arc<Slot>) -> Watched<F> {
        Watched { stream, slot, stuck: false, until: None }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        GAVE.set(None);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let shared = this.slot.shared();
        if let Some(gave) = GAVE.take() {
            *this.stuck = gave;
            if gave {
                let until = Instant::now() + shared.deadlines.write;
                match this.until {
                    Some(sleep) => sleep.reset(until),
                    None => *this.until = Some(sleep_until(until)),
                }
            }
        }
        let Some(until) = this.until.as_mut().filter(|_| *this.stuck) else {
            return Poll::Pending;
        };
        ready!(Pin::new(until).poll(cx));
        shared.passes(Deadline::Write);
        // Dropped before its end, the stream is reset.
        Poll::Ready(())
    }
}
