//! `Lingering`: a stream that is closed without losing what was sent last.
//!
//! A socket that is closed while input is unread is reset, and the reset may overtake the response
//! that explains the close: RFC 9112, section 9.6. So the sending side is closed first; then what
//! still comes is read and dropped, until the client closes as well or [`LINGER`] is over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gateway_core::{Sleep, sleep};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::connections::Slot;

/// How long a connection that has been closed on this side goes on to be read.
pub const LINGER: Duration = Duration::from_secs(2);

/// How much is read and dropped at a time.
const DROPPED_BYTES: usize = 8 * 1024;

/// How many such pieces are dropped in one poll.
const PIECES_PER_POLL: u32 = 16;

/// A connection's stream. It lingers as long as the connection is its server's: not after an upgrade.
pub(crate) struct Lingering<S> {
    stream: S,
    slot: Weak<Slot>,
    until: Option<Sleep>,
}

impl<S: Read + Write + Unpin> Lingering<S> {
    pub(crate) fn new(stream: S, slot: Weak<Slot>) -> Lingering<S> {
        Lingering { stream, slot, until: None }
    }

    /// Reads and drops. Ready when the client has closed, or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; DROPPED_BYTES];
        for _ in 0..PIECES_PER_POLL {
            let mut buf = ReadBuf::new(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(cx, buf.unfilled()) {
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

impl<S: Read + Unpin> Read for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, cursor)
    }
}

impl<S: Read + Write + Unpin> Write for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.slot.upgrade().is_some_and(|slot| slot.lingers()) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
