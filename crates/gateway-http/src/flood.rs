//! `Meter`: counts the frames of HTTP/2 that cost a server work and a client nothing.
//!
//! A client that opens streams and resets them, pings without end or sends empty frames breaks no
//! rule of RFC 9113, whose section 10.5 leaves it to the server to see that. So frames of these kinds
//! are counted as they arrive, by the nine bytes that each begins with (section 4.1). Nothing else
//! of them is looked at: that is hyper's.

/// How many frames that carry nothing a client may send ahead of their time: resets, pings, settings,
/// priorities, continuations and empty data. Each second gives back a tenth. Beyond it the
/// connection ends.
pub const FLOOD: u32 = 1_000;

/// A frame's head.
const HEAD: usize = 9;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// Of data: an end, which may come without any.
const END_STREAM: u8 = 1;

/// Follows the frames of one connection.
pub(crate) struct Meter {
    /// Of the next frame's head, what has come.
    head: [u8; HEAD],
    read: usize,
    /// How many bytes of a frame's payload, or of the preface, are still to come.
    payload: usize,
    counted: u32,
    /// The second up to which frames have been given back.
    second: u64,
}

impl Meter {
    /// From the connection's first byte on, which a preface of this length begins.
    pub(crate) fn new(preface: usize) -> Meter {
        Meter { head: [0; HEAD], read: 0, payload: preface, counted: 0, second: 0 }
    }

    /// Follows the next bytes, in this second of the server's. False when there are too many frames.
    pub(crate) fn follow(&mut self, mut bytes: &[u8], second: u64) -> bool {
        let gone = u32::try_from(second - self.second).unwrap_or(u32::MAX);
        self.second = second;
        self.counted = self.counted.saturating_sub(gone.saturating_mul(FLOOD / 10));
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.read).min(bytes.len());
            self.head[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
            self.read += taken;
            bytes = &bytes[taken..];
            if self.read == HEAD {
                self.read = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
                let carries_nothing = match kind {
                    PRIORITY | RST_STREAM | SETTINGS | PING | CONTINUATION => true,
                    DATA => self.payload == 0 && flags & END_STREAM == 0,
                    _ => false,
                };
                self.counted += u32::from(carries_nothing);
            }
        }
        self.counted <= FLOOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0xff);
        frame
    }

    #[test]
    fn any_split_of_the_bytes_counts_the_same_frames() {
        let one = [frame(PING, 8), frame(DATA, 300), frame(DATA, 0), frame(1, 20)].concat();
        let bytes = [b"PRI".to_vec(), one.repeat(3)].concat();
        for piece in 1..bytes.len() {
            let mut meter = Meter::new(3);
            assert!(bytes.chunks(piece).all(|bytes| meter.follow(bytes, 0)));
            assert_eq!((meter.counted, meter.payload, meter.read), (6, 0, 0), "pieces of {piece}");
        }
    }

    #[test]
    fn too_many_frames_that_carry_nothing_are_a_flood() {
        for kind in [PRIORITY, RST_STREAM, SETTINGS, PING, CONTINUATION] {
            let mut meter = Meter::new(0);
            assert!((0..FLOOD).all(|_| meter.follow(&frame(kind, 8), 0)), "{kind}");
            assert!(!meter.follow(&frame(kind, 8), 0), "{kind}");
        }
        let mut meter = Meter::new(0);
        assert!((0..5 * FLOOD).all(|_| meter.follow(&frame(DATA, 1), 0)), "data is no flood");
        let mut end = frame(DATA, 0);
        end[4] = END_STREAM;
        assert!((0..5 * FLOOD).all(|_| meter.follow(&end, 0)), "nor is the end of a body");
    }

    #[test]
    fn time_gives_frames_back() {
        let mut meter = Meter::new(0);
        for second in 0..100 {
            assert!((0..FLOOD / 10).all(|_| meter.follow(&frame(PING, 8), second)), "{second}");
        }
        assert!(meter.follow(&frame(PING, 8).repeat(FLOOD as usize - 100), 99));
        assert!(!meter.follow(&frame(PING, 8), 99));
        assert!(meter.follow(&frame(PING, 8), 100));
    }
}
