//! Frames of HTTP/2, sent and read as they are told: RFC 9113, and as little of RFC 7541 as it takes.
//!
//! Header blocks are written as literals, without a table and without Huffman's code. Of those that
//! come back only `:status` is read: it comes first, and a server that has been told that there is
//! no dynamic table can write it in only a few ways.

use std::time::Duration;

use crate::wire::client::find;
use crate::wire::{Client, Session, Stop};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest frame that this side reads.
const FRAME_BYTES: usize = 1 << 20;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame in bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// What SETTINGS say about this one.
pub(crate) fn setting(payload: &[u8], id: u16) -> Option<u32> {
    payload.chunks_exact(6).find_map(|setting| {
        let (name, value) = setting.split_at(2);
        (name == id.to_be_bytes()).then(|| code(value, 0))
    })
}

/// A header block: each field a literal that enters no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits: RFC 7541, section 5.1.
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return block.push(value as u8);
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(value as u8 | 128);
        value >>= 7;
    }
    block.push(value as u8);
}

/// What came of a stream, or of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// A response, and whether its body came to its end.
    Response { status: u16, body: Vec<u8>, ended: bool },
    /// RST_STREAM with this code; perhaps after a part of a response.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The connection's end.
    Closed,
    /// Nothing, for as long as one waits.
    Nothing,
}

impl std::fmt::Display for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Came::Response { status, body, ended } => {
                let end = if *ended { "whole" } else { "without its end" };
                write!(f, "{status} with {} bytes, {end}", body.len())
            }
            Came::Reset(code) => write!(f, "RST_STREAM with {}", name(*code)),
            Came::GoAway(code) => write!(f, "GOAWAY with {}", name(*code)),
            Came::Closed => f.write_str("a close"),
            Came::Nothing => f.write_str("nothing"),
        }
    }
}

/// The name of an error code: RFC 9113, section 7.
pub(crate) fn name(code: u32) -> String {
    let names = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    names.get(code as usize).map_or_else(|| format!("the code {code}"), |name| (*name).to_owned())
}

/// A connection of HTTP/2.
pub(crate) struct Connection {
    pub(crate) client: Client,
    authority: String,
    within: Duration,
    /// How many bytes the server takes on a new stream.
    pub(crate) window: usize,
}

impl Connection {
    /// Connects, says hello with these settings beside `HEADER_TABLE_SIZE` 0, and hears the
    /// server's.
    pub(crate) fn open(
        session: &mut Session<'_>,
        wanted: &[(u16, u32)],
    ) -> Result<Connection, Stop> {
        let (within, authority) = (session.patience().signal, session.target.authority.clone());
        let mut client = session.connect()?;
        let wanted = [&[(1, 0), (2, 0)], wanted].concat();
        client.send([PREFACE, &settings(&wanted)].concat());
        let mut connection = Connection { client, authority, within, window: 65_535 };
        match connection.read() {
            Some(Frame { kind: SETTINGS, payload, .. }) => {
                const INITIAL_WINDOW_SIZE: u16 = 4;
                if let Some(window) = setting(&payload, INITIAL_WINDOW_SIZE) {
                    connection.window = window as usize;
                }
            }
            other => {
                let text = format!("no SETTINGS came in answer to the preface, but {other:?}");
                return Err(Stop::blocked("no-settings", text));
            }
        }
        connection.send(&frame(SETTINGS, ACK, 0, &[]));
        Ok(connection)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        self.client.send(bytes)
    }

    /// The fields of a plain request.
    pub(crate) fn fields<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let authority = self.authority.as_str();
        vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)]
    }

    /// Sends a plain request; with a body still to come, unless it ends here.
    pub(crate) fn request(&mut self, stream: u32, method: &str, path: &str, ends: bool) {
        let block = block(&self.fields(method, path));
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(&frame(HEADERS, flags, stream, &block));
    }

    /// The next frame, or nothing when there is none.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let head = self.client.bytes(9, self.within);
        let [a, b, c, kind, flags, stream @ ..] = <[u8; 9]>::try_from(head).ok()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if length > FRAME_BYTES {
            return None;
        }
        let payload = self.client.bytes(length, self.within);
        (payload.len() == length).then_some(Frame { kind, flags, stream, payload })
    }

    /// The next frame of this kind, if one comes. SETTINGS are acknowledged on the way.
    pub(crate) fn await_kind(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The next frame, with SETTINGS and PINGs answered.
    fn next(&mut self) -> Option<Frame> {
        let read = self.read()?;
        match (read.kind, read.flags & ACK) {
            (SETTINGS, 0) => drop(self.send(&frame(SETTINGS, ACK, 0, &[]))),
            (PING, 0) => drop(self.send(&frame(PING, ACK, 0, &read.payload))),
            _ => {}
        }
        Some(read)
    }

    /// What comes of a stream: its response, or what came instead. Windows are kept open.
    pub(crate) fn outcome(&mut self, stream: u32) -> Came {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let Some(next) = self.next() else {
                if let Some(status) = status {
                    return Came::Response { status, body, ended: false };
                }
                let open = self.client.is_silent(Duration::ZERO);
                return if open { Came::Nothing } else { Came::Closed };
            };
            match next.kind {
                GOAWAY => match code(&next.payload, 4) {
                    // A server that takes its leave still finishes its streams.
                    0 => {}
                    code => return Came::GoAway(code),
                },
                RST_STREAM if next.stream == stream => {
                    return Came::Reset(code(&next.payload, 0));
                }
                HEADERS if next.stream == stream => {
                    status = status_of(&next.payload, next.flags).filter(|s| *s >= 200).or(status);
                }
                DATA if next.stream == stream => {
                    let read = next.payload.len() as u32;
                    if read > 0 {
                        let more = read.to_be_bytes();
                        let both = [
                            frame(WINDOW_UPDATE, 0, 0, &more),
                            frame(WINDOW_UPDATE, 0, stream, &more),
                        ];
                        self.send(&both.concat());
                    }
                    body.extend(data(&next));
                }
                _ => continue,
            }
            let ends = matches!(next.kind, HEADERS | DATA) && next.flags & END_STREAM != 0;
            if let (Some(status), true) = (status, ends && next.stream == stream) {
                return Came::Response { status, body, ended: true };
            }
        }
    }

    /// What comes of something that ends the connection, or this stream.
    pub(crate) fn end(&mut self, stream: u32) -> Came {
        loop {
            let Some(next) = self.next() else {
                let open = self.client.is_silent(Duration::ZERO);
                return if open { Came::Nothing } else { Came::Closed };
            };
            match next.kind {
                GOAWAY => return Came::GoAway(code(&next.payload, 4)),
                RST_STREAM if next.stream == stream => return Came::Reset(code(&next.payload, 0)),
                HEADERS if next.stream == stream => {
                    if let Some(status @ 200..) = status_of(&next.payload, next.flags) {
                        return Came::Response { status, body: Vec::new(), ended: false };
                    }
                }
                _ => {}
            }
        }
    }
}

/// The error code in a payload.
fn code(payload: &[u8], at: usize) -> u32 {
    let bytes = payload.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map_or(u32::MAX, u32::from_be_bytes)
}

/// The data of a DATA frame, without its padding.
fn data(frame: &Frame) -> &[u8] {
    match frame.payload.split_first() {
        Some((pad, rest)) if frame.flags & PADDED != 0 => {
            &rest[..rest.len().saturating_sub(usize::from(*pad))]
        }
        _ => &frame.payload,
    }
}

/// The status in a header block: the first field, behind changes of the table's size.
fn status_of(payload: &[u8], flags: u8) -> Option<u16> {
    const PRIORITY_FLAG: u8 = 0x20;
    let mut block = payload;
    if flags & PADDED != 0 {
        block = block.get(1..)?;
    }
    if flags & PRIORITY_FLAG != 0 {
        block = block.get(5..)?;
    }
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest;
    }
    // The static table: RFC 7541, appendix A.
    match *block.first()? {
        0x88 => Some(200),
        0x89 => Some(204),
        0x8a => Some(206),
        0x8b => Some(304),
        0x8c => Some(400),
        0x8d => Some(404),
        0x8e => Some(500),
        // A literal whose name is one of those: indexed, not indexed, or never indexed.
        0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => digits(block.get(1..)?),
        // A literal with a literal name.
        0x40 | 0x00 | 0x10 => {
            let at = find(block, b":status").map_or(1 + 1 + 5, |at| at + 7);
            digits(block.get(at..)?)
        }
        _ => None,
    }
}

/// Three digits, plain or in Huffman's code: RFC 7541, appendix B.
fn digits(string: &[u8]) -> Option<u16> {
    let (length, text) = string.split_first()?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(text.get(..usize::from(*length))?).ok()?.parse().ok();
    }
    let bits = text.iter().take(3).fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
    let mut left = 8 * text.len().min(3) as u32;
    let mut number = 0;
    for _ in 0..3 {
        let next =
            |count: u32| (left >= count).then(|| (bits >> (left - count)) & ((1 << count) - 1));
        let (digit, used) = match (next(5), next(6)) {
            (Some(short @ 0..=2), _) => (short, 5),
            (_, Some(long @ 25..=31)) => (long - 22, 6),
            _ => return None,
        };
        number = number * 10 + digit as u16;
        left -= used;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_way_it_can_be_written() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8d], 404),
            (&[0x08, 3, b'4', b'1', b'3'], 413),
            // "302", "100" and "999" in Huffman's code.
            (&[0x48, 0x82, 0b0110_0100, 0b0000_0010], 302),
            (&[0x18, 0x82, 0b0000_1000, 0b0000_0001], 100),
            (&[0x08, 0x83, 0b0111_1101, 0b1111_0111, 0b1111_1111], 999),
        ] {
            assert_eq!(status_of(block, 0), Some(status), "{block:?}");
        }
    }

    #[test]
    fn a_literal_of_any_length_says_how_long_it_is() {
        let long = "x".repeat(300);
        let block = block(&[("a", &long)]);
        assert_eq!(block[..6], [0, 1, b'a', 127, 0xad, 1]);
        assert_eq!(block.len(), 6 + 300);
    }
}
