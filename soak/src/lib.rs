//! What both sides of the soak know: which bytes belong to a request, and their checksum.
//!
//! A request carries a number of its own, its `id`. The bytes that answer it follow from that
//! number alone, so an answer that was meant for somebody else, or came twice, can't pass for the
//! right one.

#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use fastrand::Rng;

/// The header field, in requests and in responses, with the number of the request, in decimal.
pub const ID: &str = "x-id";

/// The header field of an echo's response: the checksum of what the server has received.
pub const CHECKSUM: &str = "x-checksum";

/// The largest body, in bytes, that the server echoes. A larger one is answered with 413.
pub const ECHO_BYTES: usize = 256 * 1024;

/// The size of a piece of content, in bytes. A multiple of eight, so that content is the same
/// however many pieces it is made in.
const PIECE_BYTES: usize = 8 * 1024;

/// The bytes that belong to a request's number, in pieces.
#[derive(Debug)]
pub struct Content {
    rng: Rng,
    left: usize,
}

impl Content {
    /// So many bytes for this number.
    #[must_use]
    pub fn new(id: u64, bytes: usize) -> Content {
        Content { rng: Rng::with_seed(id), left: bytes }
    }

    /// All that is left of them.
    ///
    /// ```
    /// use gateway_soak::Content;
    ///
    /// let pieces: Vec<_> = Content::new(7, 20_000).collect();
    /// assert_eq!(Content::new(7, 20_000).whole(), pieces.concat());
    /// ```
    #[must_use]
    pub fn whole(mut self) -> Bytes {
        let mut whole = vec![0; self.left];
        self.rng.fill(&mut whole);
        whole.into()
    }
}

impl Iterator for Content {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = vec![0; self.left.min(PIECE_BYTES)];
        self.left -= piece.len();
        self.rng.fill(&mut piece);
        Some(Bytes::from(piece)).filter(|piece| !piece.is_empty())
    }
}

/// The checksum of bytes: the same in both processes, which are built together.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
