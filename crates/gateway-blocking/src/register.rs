//! Adding a descriptor to the poller: this crate's one place with unsafe code.

use std::io;
use std::os::fd::AsRawFd;

use polling::{Event, Poller};

use crate::reactor::Source;

/// Adds a source, with interest in nothing yet.
pub(crate) fn add(poller: &Poller, source: &Source, key: usize) -> io::Result<()> {
    // SAFETY: the descriptor must be deleted from the poller before it is closed. `Source` owns it,
    // and its `Drop` deletes it first.
    #[allow(unsafe_code, reason = "`Poller::add` has no safe form")]
    unsafe {
        poller.add(source.as_raw_fd(), Event::none(key))
    }
}
