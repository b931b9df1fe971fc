//! `Linger`: closes a stream without losing what was sent last.
//!
//! A socket that is closed while input is unread is reset, and the reset may overtake the response
//! that explains the close: RFC 9112, section 9.6. So the sending side is closed first; then what
//! still comes is read and dropped, until the client closes as well or [`LINGER`] is over.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gateway_core::{Sleep, sleep};
use hyper::rt::{Read, ReadBuf};

/// How long a connection that has been closed on this side goes on to be read.
pub const LINGER: Duration = Duration::from_secs(2);

/// How much is read and dropped at a time.
const DROPPED_BYTES: usize = 8 * 1024;

/// How many such pieces are dropped in one poll.
const PIECES_PER_POLL: u32 = 16;

/// How a connection's stream lingers.
#[derive(Default)]
pub(crate) struct Linger {
    until: Option<Sleep>,
}

impl Linger {
    /// Reads and drops, once the sending side has been closed. Ready when the client has closed as
    /// well, or the time is over.
    pub(crate) fn poll<S: Read + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut dropped = [0; DROPPED_BYTES];
        for _ in 0..PIECES_PER_POLL {
            let mut buf = ReadBuf::new(&mut dropped);
            match Pin::new(&mut *stream).poll_read(cx, buf.unfilled()) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let until = self.until.get_or_insert_with(|| sleep(LINGER));
        ready!(Pin::new(until).poll(cx));
        Poll::Ready(())
    }
}
