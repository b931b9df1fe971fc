//! `Guarded`: a connection's stream under its server's eyes.
//!
//! | what | why |
//! |---|---|
//! | the first byte of a head is noted | its deadline begins: see `connections.rs` |
//! | a write that waits has a deadline | a client that does not read holds nothing for ever |
//! | lines of HTTP/1 are looked at | see `lines.rs` |
//! | frames of HTTP/2 are counted | see `flood.rs` |
//! | what is written last is not lost in the close | see `linger.rs` |
//! | after an upgrade it fails once the server closes | the app's connection ends as well |

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use gateway_core::{Sleep, sleep_until};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::bounds::Deadline;
use crate::connections::Slot;
use crate::flood::Meter;
use crate::lines::Lines;
use crate::linger::Linger;
use crate::transport::Transport;

/// How much of HTTP/2 is read at a time.
const PIECE: usize = 8 * 1024;

/// How many bytes a client has to take within the write deadline, or else all that there are.
pub const WRITE_PROGRESS: usize = 8 * 1024;

/// A connection's stream, and what guards it.
pub(crate) struct Guarded<S> {
    stream: S,
    slot: Arc<Slot>,
    linger: Linger,
    /// Looks at HTTP/1.
    lines: Option<Lines>,
    /// Counts the frames of HTTP/2.
    meter: Option<Box<Meter>>,
    /// The deadline of a write that waits.
    stalled: Option<Sleep>,
    /// Whether the deadline is set, and how many bytes have been taken since.
    waits: bool,
    taken: usize,
}

impl<S: Read + Write + Unpin> Guarded<S> {
    pub(crate) fn new(stream: S, slot: Arc<Slot>) -> Guarded<S> {
        Guarded {
            stream,
            slot,
            linger: Linger::default(),
            lines: None,
            meter: None,
            stalled: None,
            waits: false,
            taken: 0,
        }
    }

    /// HTTP/1 has been chosen, with these first bytes, which are given out again.
    pub(crate) fn speaks_http1(&mut self, first: &[u8]) {
        self.lines = Some(Lines::new(first));
    }

    /// HTTP/2 has been chosen, with a preface of so many bytes, which are given out again.
    pub(crate) fn speaks_http2(&mut self, preface: usize) {
        self.slot.speaks_http2();
        let mut meter = Meter::new(preface);
        meter.follow(&[0; PIECE][..preface], self.slot.second());
        self.meter = Some(Box::new(meter));
    }

    /// Says one last thing in plain bytes, and closes; or only closes, where something else is half
    /// said.
    pub(crate) async fn says_last(mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = if self.slot.is_flushed() { bytes } else { b"" };
        while !rest.is_empty() {
            let write = std::future::poll_fn(|cx| Pin::new(&mut self).poll_write(cx, rest));
            rest = &rest[write.await?..];
        }
        std::future::poll_fn(|cx| Pin::new(&mut self).poll_flush(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await
    }

    /// What comes of a write: one that waits is given up when it waits for too long.
    #[inline]
    fn watch(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(taken)) => {
                self.taken = self.taken.saturating_add(taken);
                self.waits = self.waits && self.taken < WRITE_PROGRESS;
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.stall(cx).map(Err),
        }
    }

    #[cold]
    fn stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let write = self.slot.shared().deadlines.write;
        if !std::mem::replace(&mut self.waits, true) {
            self.taken = 0;
            let until = Instant::now() + write;
            match &mut self.stalled {
                Some(stalled) => stalled.reset(until),
                None => self.stalled = Some(sleep_until(until)),
            }
        }
        let Some(stalled) = &mut self.stalled else { return Poll::Pending };
        ready!(Pin::new(stalled).poll(cx));
        self.slot.shared().passes(Deadline::Write);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// After an upgrade nobody but its stream can end a connection.
    #[inline]
    fn ends(&mut self, cx: &mut Context<'_>) -> bool {
        self.slot.is_upgraded() && self.slot.closes(cx)
    }

    #[cold]
    fn poll_read_counted(
        &mut self,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let room = cursor.remaining().min(PIECE);
        let mut buf = ReadBuf::new(&mut piece[..room]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf.unfilled()))?;
        let second = self.slot.second();
        if self.meter.as_mut().is_some_and(|meter| !meter.follow(buf.filled(), second)) {
            tracing::info!("a client floods its connection with frames, closing it");
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        cursor.put_slice(buf.filled());
        Poll::Ready(Ok(()))
    }
}

impl Read for Guarded<Transport> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.meter.is_some() {
            return this.poll_read_counted(cx, cursor);
        }
        let read = match &mut this.lines {
            Some(lines) => lines.poll_read(&mut this.stream, this.slot.message(), cx, cursor),
            None => Pin::new(&mut this.stream).poll_read(cx, cursor),
        };
        match &read {
            Poll::Ready(Ok(())) => this.slot.reads(),
            Poll::Pending if this.ends(cx) => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            _ => {}
        }
        read
    }
}

impl<S: Read + Write + Unpin> Write for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.slot.writes();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.slot.writes();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                this.waits = false;
                this.slot.sent();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.stall(cx).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.slot.writes();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.slot.lingers() {
            return Poll::Ready(Ok(()));
        }
        this.linger.poll(&mut this.stream, cx).map(Ok)
    }
}
