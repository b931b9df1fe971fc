//! Filling hyper's read cursor: this crate's one place with unsafe code.

use std::io;
use std::os::fd::BorrowedFd;

use hyper::rt::ReadBufCursor;
use rustix::net::{RecvFlags, recv};

/// Receives into the unfilled part, without zeroing it first, and fills so much of it as `take` says
/// that has seen what came. Returns what became of that, apart from the system's own errors; and
/// whether less has come than there was room for, so that the next call would block. Nothing at all is
/// the end of the input, which never blocks.
#[inline]
pub(crate) fn fill(
    fd: BorrowedFd<'_>,
    cursor: &mut ReadBufCursor<'_>,
    take: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<(io::Result<()>, bool)> {
    let room = cursor.remaining();
    // SAFETY: `recv` only ever writes, so nothing initialised is undone, and what it reports as
    // received it has initialised, from the start of the unfilled part on. No more than that is
    // taken.
    unsafe {
        let came = recv(fd, cursor.as_mut(), RecvFlags::empty())?.0.0;
        let (received, taken) = (came.len(), take(came));
        cursor.advance(taken.as_ref().map_or(0, |taken| received.min(*taken)));
        Ok((taken.map(drop), 0 < received && received < room))
    }
}
