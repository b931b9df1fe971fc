//! Which protocol: HTTP/2 opens with a fixed preface (RFC 9113, section 3.4), a PROXY header in one
//! of two ways, all else is HTTP/1.
//!
//! The bytes read to find out are put back: [`Rewound`] gives them out first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::proxy;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// What a client opens with when it speaks HTTP/2.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the protocols open that can be told by it.
const OPENINGS: [(Protocol, &[u8]); 3] =
    [(Protocol::Http2, PREFACE), (Protocol::Proxy, proxy::V1), (Protocol::Proxy, proxy::V2)];

/// The protocol that a client has chosen by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// A PROXY header, where none is expected.
    Proxy,
    /// It left without a byte, or without enough of them to tell when the server drains.
    None,
    /// It has sent a few bytes, and has no more time for the rest.
    Late,
}

/// A connection's stream, whose first bytes have been looked at.
pub(crate) struct Rewound<S> {
    pub(crate) stream: S,
    first: [u8; PREFACE.len()],
    given: u8,
    read: u8,
}

impl<S: Read + Unpin> Rewound<S> {
    pub(crate) fn new(stream: S) -> Rewound<S> {
        Rewound { stream, first: [0; PREFACE.len()], given: 0, read: 0 }
    }

    /// Whether a byte has come.
    pub(crate) fn has_read(&self) -> bool {
        self.read > 0
    }

    /// Puts the first bytes back where they came from.
    pub(crate) fn put_back(&mut self, put: impl FnOnce(&mut S, &[u8])) {
        put(&mut self.stream, &self.first[usize::from(self.given)..usize::from(self.read)]);
        self.given = self.read;
    }

    /// Reads the preface of the protocol that ALPN has chosen, if it has chosen; else finds it out.
    /// Whoever has agreed on HTTP/2 and opens in another way is not heard.
    pub(crate) fn poll_agreed(
        &mut self,
        agreed: Option<Protocol>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Protocol>> {
        match agreed {
            None => self.poll_protocol(cx),
            Some(Protocol::Http2) => self.poll_protocol(cx).map_ok(|found| match found {
                Protocol::Http2 => Protocol::Http2,
                _ => Protocol::None,
            }),
            Some(other) => Poll::Ready(Ok(other)),
        }
    }

    /// Reads until the first bytes tell which protocol it is, and no further than the preface.
    ///
    /// Cancel safety: what has been read is kept.
    pub(crate) fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        loop {
            let read = usize::from(self.read);
            let first = &self.first[..read];
            let mut may_be = false;
            for (protocol, opening) in OPENINGS {
                if first.starts_with(opening) {
                    return Poll::Ready(Ok(protocol));
                }
                may_be |= opening.starts_with(first);
            }
            if !may_be {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            let mut buf = ReadBuf::new(&mut self.first[read..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf.unfilled()))?;
            match buf.filled().len() {
                0 if read == 0 => return Poll::Ready(Ok(Protocol::None)),
                0 => return Poll::Ready(Ok(Protocol::Http1)),
                more => self.read += more as u8,
            }
        }
    }
}

impl<S: Read + Unpin> Read for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given == self.read {
            return Pin::new(&mut self.stream).poll_read(cx, cursor);
        }
        let kept = &self.first[usize::from(self.given)..usize::from(self.read)];
        let taken = kept.len().min(cursor.remaining());
        cursor.put_slice(&kept[..taken]);
        self.given += taken as u8;
        Poll::Ready(Ok(()))
    }
}

impl<S: Read + Write + Unpin> Write for Rewound<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Gives out its bytes in pieces of a given size, then the end.
    struct Pieces(&'static [u8], usize);

    impl Read for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut cursor: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let (now, later) = self.0.split_at(self.1.min(self.0.len()).min(cursor.remaining()));
            cursor.put_slice(now);
            self.0 = later;
            Poll::Ready(Ok(()))
        }
    }

    /// The protocol, and everything that can be read afterwards.
    fn detect(bytes: &'static [u8], piece: usize) -> (Protocol, Vec<u8>) {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut stream = Rewound::new(Pieces(bytes, piece));
        let Poll::Ready(Ok(protocol)) = stream.poll_protocol(cx) else { panic!("{bytes:?}") };
        let mut all = Vec::new();
        loop {
            let mut buf = [0; 7];
            let mut buf = ReadBuf::new(&mut buf);
            assert!(Pin::new(&mut stream).poll_read(cx, buf.unfilled()).is_ready());
            if buf.filled().is_empty() {
                return (protocol, all);
            }
            all.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_protocol_and_loses_none() {
        let cases: [(&[u8], Protocol); 10] = [
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0", Protocol::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", Protocol::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", Protocol::Proxy),
            (b"PROXYING /", Protocol::Http1),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Protocol::Proxy),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", Protocol::Http1),
            (b"PR", Protocol::Http1),
            (b"", Protocol::None),
        ];
        for (bytes, protocol) in cases {
            for piece in 1..=bytes.len().max(1) {
                assert_eq!(detect(bytes, piece), (protocol, bytes.to_vec()), "pieces of {piece}");
            }
        }
    }
}
