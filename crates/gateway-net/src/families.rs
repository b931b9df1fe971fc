//! The trait families: whatever reads and writes for hyper does so for futures-io and tokio's io
//! traits as well.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, Write};

use crate::stream::{Family, Stream};

/// Any type of hyper's family, an upgraded connection for example, in the other two families.
#[derive(Debug)]
pub struct Portable<T>(pub T);

/// Reads into a plain buffer by way of hyper's trait.
fn read<R: Read>(
    reader: Pin<&mut R>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(reader.poll_read(cx, buf.unfilled()))?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// The writing half of a family: the two differ in the name of the last method alone.
macro_rules! write_methods {
    ($inner:expr, $close:ident) => {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Write::poll_write($inner(self), cx, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Write::poll_write_vectored($inner(self), cx, bufs)
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Write::poll_flush($inner(self), cx)
        }

        fn $close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Write::poll_shutdown($inner(self), cx)
        }
    };
}

/// Both families for a type; `$inner` finds hyper's implementation, and `$vectored` asks it whether
/// several buffers at once are worth it.
macro_rules! families {
    ($type:ty, $param:ident: [$($read:tt)*], [$($write:tt)*], $inner:expr, $vectored:expr) => {
        impl<$param: $($read)*> futures_io::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                read($inner(self), cx, buf)
            }
        }

        impl<$param: $($read)*> tokio::io::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let received = ready!(read($inner(self), cx, buf.initialize_unfilled()))?;
                buf.advance(received);
                Poll::Ready(Ok(()))
            }
        }

        impl<$param: $($write)*> futures_io::AsyncWrite for $type {
            write_methods!($inner, poll_close);
        }

        impl<$param: $($write)*> tokio::io::AsyncWrite for $type {
            write_methods!($inner, poll_shutdown);

            fn is_write_vectored(&self) -> bool {
                $vectored(self)
            }
        }
    };
}

fn wrapped<T: Unpin>(portable: Pin<&mut Portable<T>>) -> Pin<&mut T> {
    Pin::new(&mut portable.get_mut().0)
}

families!(Stream<F>, F: [Family], [Family], std::convert::identity, Write::is_write_vectored);
families!(Portable<T>, T: [Read + Unpin], [Write + Unpin], wrapped, |portable: &Self| {
    portable.0.is_write_vectored()
});
