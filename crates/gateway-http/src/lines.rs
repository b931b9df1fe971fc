//! `Lines`: what hyper's parser lets through and nobody behind it can see, found on its way there.
//!
//! | what | in | comes to |
//! |---|---|---|
//! | a bare LF at the end of a line | a head | 400 and a close |
//! | `#` in the target | a head | 400 and a close |
//! | `HTTP/1.2` to `HTTP/1.9` | a head | becomes `HTTP/1.1`, in its place |
//! | another major version | a head | 505 and a close: it becomes `HTTP/1.1`, for hyper to read on |
//! | more than hexadecimal digits, at most 16 of them | a chunk's size | an error of the body |
//! | what RFC 9112, section 7.1.1, does not allow | a chunk's extension | an error of the body |
//! | a bare LF at the end of a line | trailers | an error of the body |
//!
//! It decides nothing but where a head ends: how long a body is it hears from hyper, by way of the
//! service. Until then hyper gets no byte from behind the head, and none from behind the body before
//! it asks for the next head: the rest of what came is held back. So whatever is found belongs to
//! the one message that is in hand, and two parsers can't disagree where that ends.
//!
//! What is held back is at most what one read brings: as much as hyper has room for, or one record
//! of TLS. Nothing is held between two requests that come one by one.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use gateway_core::Error;
use http::StatusCode;
use hyper::rt::ReadBufCursor;

use crate::transport::Transport;

/// Of a body's length: hyper has not said it yet, it is chunked, and what follows is no HTTP.
const UNKNOWN: u64 = u64::MAX;
const CHUNKED: u64 = u64::MAX - 1;
const TUNNEL: u64 = u64::MAX - 2;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Refused {
    BareLf = 1,
    Fragment,
    Version,
}

/// The message in hand, as the service and [`Lines`] know it: each tells the other.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// How long its body is. Of one that has gone by, 0.
    body: AtomicU64,
    refused: AtomicU8,
}

impl Message {
    /// hyper has parsed a head, and knows how long the body is; chunked ones have no length.
    #[inline]
    pub(crate) fn has_body(&self, length: Option<u64>) {
        let length = length.map_or(CHUNKED, |length| length.min(TUNNEL - 1));
        self.body.store(length, Ordering::Release);
    }

    /// What follows is no HTTP.
    pub(crate) fn is_tunnel(&self) {
        self.body.store(TUNNEL, Ordering::Release);
    }

    /// Lets the head pass, or says what was found in it.
    ///
    /// # Errors
    ///
    /// The client's fault: 400, or 505 for a version that is not spoken here.
    #[inline]
    pub(crate) fn admit(&self) -> Result<(), Error> {
        match self.refused.load(Ordering::Acquire) {
            0 => Ok(()),
            refused => Err(refusal(refused)),
        }
    }

    /// The first that is found is the one that counts.
    fn refuse(&self, refused: Refused) {
        let _ =
            self.refused.compare_exchange(0, refused as u8, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cold]
fn refusal(refused: u8) -> Error {
    let (status, message) = if refused == Refused::BareLf as u8 {
        (StatusCode::BAD_REQUEST, "a line of the head ends with LF alone, where CRLF belongs")
    } else if refused == Refused::Fragment as u8 {
        (StatusCode::BAD_REQUEST, "the request's target has a fragment: `#` belongs there as %23")
    } else {
        let message = "the versions spoken here are HTTP/1.1, HTTP/1.0 and HTTP/2";
        (StatusCode::HTTP_VERSION_NOT_SUPPORTED, message)
    };
    Error::client(status, message)
}

/// Looks at what comes on one connection.
#[derive(Debug)]
pub(crate) struct Lines {
    at: At,
    line: Line,
    /// What has come and is still to be looked at, and handed out.
    held: BytesMut,
}

/// Where in a connection's bytes.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A head has ended, or a body: what follows is for hyper to say.
    Between,
    /// In a head's first line, or in an empty one before it.
    First(Word),
    Fields,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// In a chunk's first line, with what has come of its size.
    Chunk(Part, u64),
    /// So many bytes of a chunk's data, and of the line's end behind it, are still to come.
    Data(u64),
    Trailers,
    /// What comes is no HTTP, and not looked at.
    Tunnel,
}

impl Lines {
    /// For a connection on which these bytes have come already: they are handed out first.
    pub(crate) fn new(first: &[u8]) -> Lines {
        Lines { at: At::Between, line: Line::default(), held: first.into() }
    }

    /// Reads for hyper.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        transport: &mut Transport,
        message: &Message,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            return Poll::Ready(self.hand_out(message, cursor));
        }
        transport.poll_read_some(cx, cursor, |bytes| self.take(bytes, message))
    }

    /// Looks at what has come, says how much of it is for hyper now, and holds the rest back.
    #[inline]
    fn take(&mut self, bytes: &mut [u8], message: &Message) -> io::Result<usize> {
        let is_next = matches!(self.at, At::Between) && message.body.load(Ordering::Acquire) == 0;
        if is_next && is_plain_head(bytes) {
            message.body.store(UNKNOWN, Ordering::Release);
            return Ok(bytes.len());
        }
        self.take_closely(bytes, message)
    }

    /// The same, for all but plain heads. Not inlined: those are to pay nothing for it.
    #[inline(never)]
    fn take_closely(&mut self, bytes: &mut [u8], message: &Message) -> io::Result<usize> {
        let taken = self.look(bytes, message)?;
        if taken < bytes.len() {
            self.held.extend_from_slice(&bytes[taken..]);
        }
        Ok(taken)
    }

    #[cold]
    fn hand_out(&mut self, message: &Message, mut cursor: ReadBufCursor<'_>) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let room = held.len().min(cursor.remaining());
        let taken = self.look(&mut held[..room], message)?;
        cursor.put_slice(&held[..taken]);
        held.advance(taken);
        // Else its memory goes.
        if !held.is_empty() {
            self.held = held;
        }
        Ok(())
    }

    /// Looks at bytes, up to where a head or a body ends among them, and says how many that are.
    fn look(&mut self, bytes: &mut [u8], message: &Message) -> io::Result<usize> {
        let (mut taken, length) = (0, bytes.len());
        while taken < length {
            let rest = &mut bytes[taken..];
            taken += match self.at {
                At::Between => {
                    self.at = match message.body.load(Ordering::Acquire) {
                        0 => At::First(Word::Method),
                        CHUNKED => At::Chunk(Part::Size(0), 0),
                        TUNNEL => At::Tunnel,
                        UNKNOWN => return Err(malformed("hyper sees no end of the head here")),
                        length => At::Body(length),
                    };
                    // So that it is known to have gone by, once it has.
                    if matches!(self.at, At::Body(_) | At::Chunk(..)) {
                        message.body.store(0, Ordering::Release);
                    }
                    0
                }
                At::First(_) | At::Fields => self.head(rest, message),
                At::Body(left) => {
                    let (skipped, left) = skip(rest, left);
                    self.at = if left == 0 { At::Between } else { At::Body(left) };
                    skipped
                }
                At::Chunk(part, size) => {
                    self.at = match part.next(rest[0], size)? {
                        (Part::End, 0) => At::Trailers,
                        (Part::End, size) => At::Data(size.saturating_add(2)),
                        (part, size) => At::Chunk(part, size),
                    };
                    1
                }
                At::Data(left) => {
                    let (skipped, left) = skip(rest, left);
                    self.at = if left == 0 { At::Chunk(Part::Size(0), 0) } else { At::Data(left) };
                    skipped
                }
                At::Trailers => {
                    let (came, end) = self.line.take(rest);
                    match end {
                        Some(End { is_bare: true, .. }) => {
                            return Err(malformed("a line of the trailers ends with LF alone"));
                        }
                        Some(End { is_empty: true, .. }) => self.at = At::Between,
                        _ => {}
                    }
                    came
                }
                At::Tunnel => rest.len(),
            };
            if taken > 0 && matches!(self.at, At::Between) {
                break;
            }
        }
        Ok(taken)
    }

    /// Looks at what comes of one of the head's lines, and says how many bytes that are.
    fn head(&mut self, bytes: &mut [u8], message: &Message) -> usize {
        let (came, end) = self.line.take(bytes);
        if let At::First(word) = &mut self.at {
            bytes[..came].iter_mut().for_each(|byte| word.look(byte, message));
        }
        let Some(End { is_bare, is_empty }) = end else { return came };
        if is_bare {
            message.refuse(Refused::BareLf);
        }
        self.at = match self.at {
            At::First(_) if is_empty => At::First(Word::Method),
            At::Fields if is_empty => {
                message.body.store(UNKNOWN, Ordering::Release);
                At::Between
            }
            _ => At::Fields,
        };
        came
    }
}

/// Of so many bytes that are left, how many have come, and how many are left then.
fn skip(bytes: &[u8], left: u64) -> (usize, u64) {
    let skipped = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (skipped, left - skipped as u64)
}

fn malformed(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A line on its way: how long it is so far, and whether its last byte is a CR.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    length: usize,
    cr: bool,
}

/// How a line ends.
#[derive(Clone, Copy, Debug)]
struct End {
    is_bare: bool,
    is_empty: bool,
}

impl Line {
    /// How many bytes of these belong to the line, and how it ends, if it ends there.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let lf = bytes.iter().position(|byte| *byte == b'\n');
        let text = &bytes[..lf.unwrap_or(bytes.len())];
        self.length = self.length.saturating_add(text.len());
        self.cr = text.last().map_or(self.cr, |last| *last == b'\r');
        let Some(lf) = lf else { return (text.len(), None) };
        let Line { length, cr } = std::mem::take(self);
        (lf + 1, Some(End { is_bare: !cr, is_empty: length == usize::from(cr) }))
    }
}

/// Where in a request line. Whatever does not belong there hyper refuses.
#[derive(Clone, Copy, Debug)]
enum Word {
    Method,
    Target,
    /// Of `HTTP/`, so many letters have come.
    Name(usize),
    Major,
    /// Behind the first digit, which was another one than 1, or not.
    Dot(bool),
    Minor(bool),
    Rest,
}

impl Word {
    fn look(&mut self, byte: &mut u8, message: &Message) {
        const NAME: &[u8; 5] = b"HTTP/";
        *self = match (*self, *byte) {
            (Word::Method, b' ') => Word::Target,
            (Word::Target, b' ') => Word::Name(0),
            (Word::Target, b'#') => {
                message.refuse(Refused::Fragment);
                Word::Target
            }
            (Word::Method | Word::Target, _) => *self,
            (Word::Name(4), b'/') => Word::Major,
            (Word::Name(so_far), letter) if letter == NAME[so_far] => Word::Name(so_far + 1),
            (Word::Major, b'0'..=b'9') => {
                let is_other = *byte != b'1';
                // At once, for hyper refuses any other as soon as it sees it.
                *byte = b'1';
                Word::Dot(is_other)
            }
            (Word::Dot(is_other), b'.') => Word::Minor(is_other),
            (Word::Minor(is_other), b'0'..=b'9') => {
                if is_other {
                    message.refuse(Refused::Version);
                }
                // Of 1.0 hyper would refuse what only 1.1 has, and so would say something else.
                if is_other || *byte > b'1' {
                    *byte = b'1';
                }
                Word::Rest
            }
            _ => Word::Rest,
        };
    }
}

/// Where in a chunk's first line: RFC 9112, sections 7.1 and 7.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// So many digits have come.
    Size(u8),
    /// Blanks, behind which only another extension may follow.
    Blank,
    Semicolon,
    Name,
    /// Blanks behind a name.
    Named,
    Equals,
    Value,
    Quoted,
    Escaped,
    /// Behind the second quote.
    Unquoted,
    Cr,
    End,
}

/// How many digits a chunk's size has at most: what 64 bits hold.
const DIGITS: u8 = 16;

impl Part {
    /// What the next byte makes of it, and of the size.
    fn next(self, byte: u8, size: u64) -> io::Result<(Part, u64)> {
        if let (Part::Size(digits @ 0..DIGITS), Some(digit)) = (self, (byte as char).to_digit(16)) {
            return Ok((Part::Size(digits + 1), size << 4 | u64::from(digit)));
        }
        let part = match (self, byte) {
            (Part::Cr, b'\n') => Part::End,
            (Part::Size(1..) | Part::Name | Part::Value | Part::Unquoted, b'\r') => Part::Cr,
            (Part::Size(0), _) | (Part::Cr, _) => {
                return Err(malformed("a chunk begins with its size, in hexadecimal digits"));
            }
            (Part::Quoted, b'"') => Part::Unquoted,
            (Part::Quoted, b'\\') => Part::Escaped,
            (Part::Quoted | Part::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Part::Quoted,
            (Part::Semicolon | Part::Equals | Part::Named, b' ' | b'\t') => self,
            (Part::Name, b' ' | b'\t') => Part::Named,
            (Part::Semicolon | Part::Name, _) if is_token(byte) => Part::Name,
            (Part::Name | Part::Named, b'=') => Part::Equals,
            (Part::Equals, b'"') => Part::Quoted,
            (Part::Equals | Part::Value, _) if is_token(byte) => Part::Value,
            (Part::Semicolon | Part::Equals | Part::Quoted | Part::Escaped, _) => {
                return Err(malformed("a chunk's extension has no name, or no value"));
            }
            (_, b';') => Part::Semicolon,
            (Part::Size(_) | Part::Blank | Part::Value | Part::Unquoted, b' ' | b'\t') => {
                Part::Blank
            }
            _ => return Err(malformed("a chunk's size or extension has something else behind it")),
        };
        Ok((part, size))
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How many bytes of a head are looked at in one go.
const BLOCK: usize = 32;

/// The same, with one more byte on either side.
type Block = [u8; BLOCK + 2];

/// Whether this is one whole head, and one of those that nothing is found in. Most are, so this is
/// written for the compiler to look at many bytes with each instruction.
#[inline]
fn is_plain_head(bytes: &[u8]) -> bool {
    if bytes.last_chunk() != Some(b"\r\n\r\n") || bytes[0] < b' ' {
        return false;
    }
    // The last of them has its LF, and there is an empty one behind it.
    let lines = &bytes[..bytes.len() - 3];
    let Some(last) = lines.last_chunk() else { return false };
    if !has_plain_version(lines) {
        return false;
    }
    let mut rest = lines;
    while let Some(block) = rest.first_chunk() {
        if is_odd(block) {
            return false;
        }
        rest = &rest[BLOCK..];
    }
    // The last block overlaps with the one before.
    !is_odd(last)
}

/// Whether the first line ends with a version that hyper takes.
#[inline]
fn has_plain_version(mut lines: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // No whole line is shorter than eight bytes, so the first CR is looked for behind them.
    while let Some(span) = lines.first_chunk::<16>() {
        let word = span.last_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        // Marks each byte that is a CR; and perhaps others, behind the first of them.
        let other = word ^ (ONES * u64::from(b'\r'));
        let marks = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if marks != 0 {
            let at = marks.trailing_zeros() as usize / 8;
            let version =
                span[at..].first_chunk().map_or(0, |version| u64::from_le_bytes(*version));
            // The last digit is even or odd.
            return version | 1 << 56 == u64::from_le_bytes(*b"HTTP/1.1");
        }
        lines = &lines[8..];
    }
    false
}

/// Whether there is something in here, but for the first and the last byte, that has to be looked at
/// closely: an LF without a CR before it, or with one behind it, and `#`, which may be in the target.
#[inline(always)]
fn is_odd(block: &Block) -> bool {
    let (before, here, behind) = (&block[..BLOCK], &block[1..BLOCK + 1], &block[2..]);
    let mut odd = 0;
    for n in 0..BLOCK {
        let ends = (before[n] == b'\r') & (behind[n] != b'\r');
        odd |= u8::from(((here[n] == b'\n') & !ends) | (here[n] == b'#'));
    }
    odd != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::ReadBuf;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use proptest::test_runner::{Config, TestRunner};

    /// What becomes of a message.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        /// Its head, as hyper gets it.
        Head(Vec<u8>),
        /// It is refused with this status, whatever follows.
        Refused(u16),
        /// Its body has ended.
        Body,
        /// Its body gives an error.
        Error,
    }

    /// How long the body is that a head announces: all that hyper is for, here.
    fn length(head: &[u8]) -> Option<u64> {
        let head = String::from_utf8_lossy(head).to_lowercase();
        if head.contains("transfer-encoding: chunked") {
            return None;
        }
        let length = head.split_once("content-length: ").map_or("", |(_, length)| length);
        let digits = length.bytes().take_while(u8::is_ascii_digit).count().min(6);
        Some(length[..digits].parse().unwrap_or(0))
    }

    /// Where a head ends, if it does, for a parser that takes a bare LF for a line's end.
    fn head_end(bytes: &[u8]) -> Option<usize> {
        let mut start = 0;
        loop {
            match &bytes[start..] {
                [b'\n', ..] => start += 1,
                [b'\r', b'\n', ..] => start += 2,
                _ => break,
            }
        }
        let ended = |end: &usize| {
            let head = &bytes[start..*end];
            head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n")
        };
        (start..=bytes.len()).find(ended)
    }

    /// Where a chunked body ends, or that it is malformed.
    fn body_end(bytes: &[u8]) -> Result<Option<usize>, ()> {
        let mut at = 0;
        loop {
            let line = &bytes[at..];
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let text = std::str::from_utf8(&line[..digits]).unwrap();
            let Some(behind) = extensions(&line[digits..])? else {
                return if digits > 16 { Err(()) } else { Ok(None) };
            };
            let size = match digits {
                1..=16 => u64::from_str_radix(text, 16).unwrap(),
                _ => return Err(()),
            };
            at += digits + behind;
            if size == 0 {
                break;
            }
            let Some(next) =
                usize::try_from(size).ok().and_then(|size| at.checked_add(size)?.checked_add(2))
            else {
                return Ok(None);
            };
            if next > bytes.len() {
                return Ok(None);
            }
            at = next;
        }
        // The trailers.
        loop {
            let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
                return Ok(None);
            };
            match &bytes[at..at + end] {
                [b'\r'] => return Ok(Some(at + 2)),
                [.., b'\r'] => at += end + 1,
                _ => return Err(()),
            }
        }
    }

    /// How long the rest of a chunk's first line is; or that it is malformed, as far as it has come.
    fn extensions(rest: &[u8]) -> Result<Option<usize>, ()> {
        let blanks =
            |at: usize| at + rest[at..].iter().take_while(|byte| b" \t".contains(byte)).count();
        let token = |at: usize| at + rest[at..].iter().take_while(|byte| is_token(**byte)).count();
        let mut at = 0;
        loop {
            match &rest[at..] {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => return Ok(Some(at + 2)),
                _ => {}
            }
            at = blanks(at);
            match rest.get(at) {
                None => return Ok(None),
                Some(b';') => at = blanks(at + 1),
                Some(_) => return Err(()),
            }
            let name = token(at);
            match (name == at, rest.get(name)) {
                (_, None) => return Ok(None),
                (true, Some(_)) => return Err(()),
                _ => at = name,
            }
            let equals = blanks(at);
            if rest.get(equals).is_none() {
                return Ok(None);
            }
            if rest[equals] != b'=' {
                continue;
            }
            at = blanks(equals + 1);
            if rest.get(at) == Some(&b'"') {
                at += 1;
                loop {
                    match &rest[at..] {
                        [] | [b'\\'] => return Ok(None),
                        [b'"', ..] => break,
                        [b'\\', byte, ..] if *byte == b'\t' || !byte.is_ascii_control() => at += 2,
                        [b'\\', ..] => return Err(()),
                        [byte, ..] if *byte == b'\t' || !byte.is_ascii_control() => at += 1,
                        _ => return Err(()),
                    }
                }
                at += 1;
                continue;
            }
            let value = token(at);
            match (value == at, rest.get(value)) {
                (_, None) => return Ok(None),
                (true, Some(_)) => return Err(()),
                _ => at = value,
            }
        }
    }

    /// What is wrong with a head, found in another way; and the head with the version that hyper gets.
    fn judged(head: &[u8]) -> (Option<u16>, Vec<u8>) {
        let (mut patched, mut found) = (head.to_vec(), Vec::new());
        let lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == b'\n').collect();
        let first = lines.iter().position(|line| ![&b"\n"[..], b"\r\n"].contains(line)).unwrap();
        // What comes first counts: empty lines, then the target, the version, and the lines' ends.
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| !line.ends_with(b"\r\n")) {
            found.push((if at < first { 0 } else { 3 }, 400));
        }
        let words: Vec<&[u8]> = lines[first].splitn(3, |byte| *byte == b' ').collect();
        if words.get(1).is_some_and(|target| target.contains(&b'#')) {
            found.push((1, 400));
        }
        let version = words.get(2).copied().unwrap_or_default();
        let at = lines[..=first].concat().len() - version.len();
        if let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', rest @ ..] = version {
            patched[at + 5] = b'1';
            if let [b'.', minor @ b'0'..=b'9', ..] = rest {
                if *major != b'1' {
                    found.push((2, 505));
                }
                if *major != b'1' || *minor > b'1' {
                    patched[at + 7] = b'1';
                }
            }
        }
        (found.into_iter().min().map(|(_, status)| status), patched)
    }

    /// What becomes of these bytes, by a look at all of them.
    fn expected(mut bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(end) = head_end(bytes) {
            let (refused, patched) = judged(&bytes[..end]);
            if let Some(status) = refused {
                seen.push(Seen::Refused(status));
                break;
            }
            bytes = &bytes[end..];
            let body = length(&patched);
            seen.push(Seen::Head(patched));
            let end = match body {
                Some(0) => continue,
                Some(length) => Some(length as usize).filter(|length| *length <= bytes.len()),
                None => match body_end(bytes) {
                    Err(()) => {
                        seen.push(Seen::Error);
                        break;
                    }
                    Ok(end) => end,
                },
            };
            let Some(end) = end else { break };
            bytes = &bytes[end..];
            seen.push(Seen::Body);
        }
        seen
    }

    /// What becomes of these bytes when they come in such pieces.
    fn comes(bytes: &[u8], pieces: &[usize]) -> Vec<Seen> {
        let (mut lines, message) = (Lines::new(b""), Message::default());
        let (mut seen, mut buffer) = (Vec::new(), Vec::new());
        // `None` in a head, else the body's length.
        let mut body = None;
        let mut rest = bytes;
        let mut pieces = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
        loop {
            if lines.held.is_empty() && rest.is_empty() {
                return seen;
            }
            let read = if lines.held.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(pieces.next().unwrap().max(1)));
                rest = later;
                let mut piece = piece.to_vec();
                lines.take(&mut piece, &message).map(|taken| buffer.extend(&piece[..taken]))
            } else {
                let mut space = [0; 4096];
                let mut buf = ReadBuf::new(&mut space);
                lines.hand_out(&message, buf.unfilled()).map(|()| buffer.extend(buf.filled()))
            };
            if read.is_err() {
                seen.push(Seen::Error);
                return seen;
            }
            let end = match body {
                None => {
                    let Some(end) = head_end(&buffer) else { continue };
                    if let Err(error) = message.admit() {
                        seen.push(Seen::Refused(error.status().as_u16()));
                        return seen;
                    }
                    seen.push(Seen::Head(buffer[..end].to_vec()));
                    let length = length(&buffer[..end]);
                    message.has_body(length);
                    body = (length != Some(0)).then_some(length);
                    end
                }
                Some(length) => {
                    let end = match length {
                        Some(length) => {
                            Some(length as usize).filter(|length| *length <= buffer.len())
                        }
                        None => body_end(&buffer).expect("malformed, and handed out"),
                    };
                    let Some(end) = end else { continue };
                    seen.push(Seen::Body);
                    body = None;
                    end
                }
            };
            assert_eq!(end, buffer.len(), "more is handed out than the message has");
            buffer.clear();
        }
    }

    /// However they come, as a whole or in two pieces or byte by byte, the same becomes of them.
    fn check(bytes: &[u8]) -> Vec<Seen> {
        let seen = expected(bytes);
        let shown = bytes.escape_ascii();
        for first in 1..=bytes.len() {
            assert_eq!(comes(bytes, &[first]), seen, "{shown} in two pieces: {first}");
        }
        assert_eq!(comes(bytes, &vec![1; bytes.len()]), seen, "{shown} byte by byte");
        seen
    }

    const PLAIN: &str =
        "GET /a?b HTTP/1.1\r\nhost: localhost:8080\r\naccept: */*\r\nuser-agent: x\r\n\r\n";

    #[test]
    fn a_plain_head_passes_with_one_look() {
        assert!(is_plain_head(PLAIN.as_bytes()));
        assert!(is_plain_head(PLAIN.replace("1.1", "1.0").as_bytes()));
        assert_eq!(check(PLAIN.as_bytes()), [Seen::Head(PLAIN.into())]);
        assert_eq!(check(PLAIN.repeat(3).as_bytes()), vec![Seen::Head(PLAIN.into()); 3]);
        let mut lines = Lines::new(b"");
        lines.take(&mut PLAIN.to_owned().into_bytes(), &Message::default()).unwrap();
        assert_eq!(lines.held.capacity(), 0, "and nothing is held");
    }

    #[test]
    fn a_bare_lf_is_found_wherever_it_is() {
        for (at, _) in PLAIN.match_indices('\r') {
            let bare = [&PLAIN[..at], &PLAIN[at + 1..]].concat();
            assert_eq!(check(bare.as_bytes()), [Seen::Refused(400)], "{bare:?}");
            let second = [PLAIN, &bare].concat();
            let [Seen::Head(_), Seen::Refused(400)] = check(second.as_bytes())[..] else {
                panic!("{second:?}");
            };
        }
        assert_eq!(check(PLAIN.replace('\r', "").as_bytes()), [Seen::Refused(400)]);
        assert_eq!(check(format!("\n{PLAIN}").as_bytes()), [Seen::Refused(400)]);
        assert_eq!(
            check(format!("\r\n{PLAIN}").as_bytes()),
            [Seen::Head(format!("\r\n{PLAIN}").into())]
        );
    }

    #[test]
    fn versions_become_ones_that_hyper_reads() {
        let with = |version: &str| PLAIN.replace("HTTP/1.1", version);
        for minor in 2..=9 {
            let seen = check(with(&format!("HTTP/1.{minor}")).as_bytes());
            assert_eq!(seen, [Seen::Head(PLAIN.into())]);
        }
        for version in ["HTTP/2.0", "HTTP/3.9", "HTTP/0.9", "HTTP/0.0", "HTTP/2.1"] {
            assert_eq!(check(with(version).as_bytes()), [Seen::Refused(505)], "{version}");
        }
        // These are hyper's to refuse.
        for version in ["HTTP/1.10", "HTTP/1,1", "http/1.1", "HTTP/11", "HTTP/1.x", "xHTTP/1.2"] {
            let head = with(version);
            assert_eq!(judged(head.as_bytes()).0, None, "{version}");
            assert!(matches!(check(head.as_bytes())[..], [Seen::Head(_)]), "{version}");
        }
    }

    #[test]
    fn a_fragment_is_found_in_the_target_alone() {
        for target in ["/a#b", "/a?b#", "http://a/#"] {
            let head = PLAIN.replace("/a?b", target);
            assert_eq!(check(head.as_bytes()), [Seen::Refused(400)], "{target}");
        }
        let elsewhere = PLAIN.replace("*/*", "#/#");
        assert_eq!(check(elsewhere.as_bytes()), [Seen::Head(elsewhere.clone().into())]);
    }

    fn chunked(body: &str) -> Vec<Seen> {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut seen = check([head, body, PLAIN].concat().as_bytes());
        assert_eq!(seen.remove(0), Seen::Head(head.into()));
        seen
    }

    #[test]
    fn chunks_are_looked_at_by_their_first_lines() {
        let whole = [Seen::Body, Seen::Head(PLAIN.into())];
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n\n\n\n\n\n\n\n\n\n\n\r\n00\r\nx: y\r\nz: \r\n\r\n",
            "0000000000000005\r\nhello\r\n000\r\n\r\n",
            "1;a\r\nx\r\n0;a=b\r\n\r\n",
            "1 ; a = b ;c;d=\"e;\\\"\t\u{e4}\"\r\nx\r\n0;a=\"\" ;b\r\n\r\n",
        ] {
            assert_eq!(chunked(body), whole, "{body:?}");
        }
        for line in [
            "",
            ";a",
            "5 ",
            "5\t",
            "5 a",
            "+5",
            "0x5",
            "5;",
            "5; ",
            "5;;a",
            "5;a=",
            "5;a ",
            "5;=b",
            "5;a\0",
            "5;a=\x7f",
            "5;a\rb",
            "5;a=\"\0\"",
            "5;a=\"\\\x01\"",
            "5;a=\"b\"c",
            "5;a=b c",
            "5;a b",
            "5;\u{e4}",
            "00000000000000005",
        ] {
            assert_eq!(
                chunked(&format!("{line}\r\nhello\r\n0\r\n\r\n")),
                [Seen::Error],
                "{line:?}"
            );
        }
        for body in ["5\nhello\r\n0\r\n\r\n", "0\r\nx: y\n\r\n", "0\r\n\n", "0\n\r\n"] {
            assert_eq!(chunked(body), [Seen::Error], "{body:?}");
        }
        assert_eq!(chunked("ffffffffffffffff\r\nhello"), [], "an end that nobody reaches");
    }

    #[test]
    fn bodies_are_skipped_by_their_length() {
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
        let bytes = [post, "\n#\r\n", PLAIN, post, "HTTP", &PLAIN.replace('\r', "")].concat();
        let (head, plain) = (|| Seen::Head(post.into()), Seen::Head(PLAIN.into()));
        let seen = [head(), Seen::Body, plain, head(), Seen::Body, Seen::Refused(400)];
        assert_eq!(check(bytes.as_bytes()), seen);
    }

    #[test]
    fn nothing_is_looked_at_in_a_tunnel() {
        let (mut lines, message) = (Lines::new(b""), Message::default());
        let mut bytes = [PLAIN, "\n#\n\n", PLAIN].concat().into_bytes();
        assert_eq!(lines.take(&mut bytes, &message).unwrap(), PLAIN.len());
        message.has_body(Some(0));
        message.is_tunnel();
        let mut space = [0; 4096];
        let mut buf = ReadBuf::new(&mut space);
        lines.hand_out(&message, buf.unfilled()).unwrap();
        assert_eq!(buf.filled(), &bytes[PLAIN.len()..]);
        assert_eq!(lines.take(&mut b"\n\n".to_vec(), &message).unwrap(), 2);
    }

    #[test]
    fn a_head_without_an_end_for_hyper_is_an_error() {
        let (mut lines, message) = (Lines::new(b""), Message::default());
        lines.take(&mut PLAIN.to_owned().into_bytes(), &message).unwrap();
        assert!(lines.take(&mut b"x".to_vec(), &message).is_err());
    }

    /// Messages, some of them with bytes changed, and the pieces that they come in.
    fn messages() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let message = select(vec![
            PLAIN.to_owned(),
            PLAIN.replace("1.1", "1.7"),
            PLAIN.replace("1.1", "2.0"),
            "\r\n".to_owned() + PLAIN,
            "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\nabc\r\n\r\n".to_owned(),
            "POST /c HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\nabc\r\n4;a=\"b\"; c\r\n\r\n\r\n\r\n0\r\nx: y\r\n\r\n"
                .to_owned(),
        ]);
        let byte = prop_oneof![
            6 => select(b"\r\n #;=\"\\ \t09aHTP/.".to_vec()),
            1 => any::<u8>(),
        ];
        let change = (any::<Index>(), 0..3_usize, vec(byte, 0..3));
        let changes = prop_oneof![1 => Just(Vec::new()), 2 => vec(change, 1..4)];
        let pieces = prop_oneof![Just(Vec::new()), vec(1..40_usize, 0..20), Just(vec![1; 2_000])];
        (vec(message, 1..5), changes, pieces).prop_map(|(messages, changes, pieces)| {
            let mut bytes = messages.concat().into_bytes();
            for (index, removed, more) in changes {
                let at = index.index(bytes.len() + 1);
                drop(bytes.splice(at..(at + removed).min(bytes.len()), more));
            }
            (bytes, pieces)
        })
    }

    #[test]
    fn changed_messages_fare_the_same_in_all_pieces() {
        let config = Config { cases: 5_000, failure_persistence: None, ..Config::default() };
        let tried = TestRunner::new(config).run(&messages(), |(bytes, pieces)| {
            prop_assert_eq!(comes(&bytes, &pieces), expected(&bytes), "{}", bytes.escape_ascii());
            Ok(())
        });
        tried.unwrap();
    }
}
