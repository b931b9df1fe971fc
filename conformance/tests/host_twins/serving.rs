//! Hosts that break the rules of `host/serving.rs`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;

use gateway_core::{Direction, Reactor, Trampoline, Yield};
use gateway_smol::OnSmol;

use super::twin::{Behind, Twin};
use super::work::{Numbered, deaf, lost, refused};

pub(crate) fn twins() -> Vec<Twin> {
    [scheduling(), wires()].into_iter().flatten().collect()
}

fn scheduling() -> Vec<Twin> {
    vec![
        Twin::new("RUN-05", "in hand at once", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| refused(n >= 16, work)))
        }),
        Twin::new("RUN-06", "hangs", || {
            Behind::new(|good| Numbered::new(good, |_, good, work| deaf(true, good, work)))
        }),
        Twin::new("SPN-02", "its scoped tasks are dropped", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| lost(n > 0, work)))
        }),
    ]
}

fn wires() -> Vec<Twin> {
    macro_rules! wire {
        ($rule:literal, $says:literal, $from:literal => $to:literal) => {
            Twin::new($rule, $says, || Behind::new(|good| Wire::new(good, Some(($from, $to)))))
        };
        ($rule:literal, $says:literal) => {
            Twin::new($rule, $says, || Behind::new(|good| Wire::new(good, None)))
        };
    }
    vec![
        wire!("DRP-04", "hears that its client has left"),
        wire!("DRP-11", "its client has left"),
        wire!("SPN-02", "a client has left"),
        wire!("BODY-11", "the connection after"),
        wire!("ERR-06", "heads in", "first" => "HTTP/1.1 500 Late\r\n"),
        wire!("ERR-09", "that has seen panics", "HTTP/1.1 500" => "HTTP/1.1 200"),
        wire!("RSP-04", "behind a body", "xxxxxxxxxx" => "xxxxxxxxxxyyyyyyyyyy"),
        wire!("RSP-05", "goes out", "200 OK\r\n" => "200 OK\r\nkeep-alive: timeout=9\r\n"),
        wire!(
            "RSP-08", "in order",
            "HTTP/1.1 404" => "HTTP/1.1 404 Twice\r\ncontent-length: 0\r\n\r\nHTTP/1.1 404"
        ),
        wire!("SMG-07", "sets a bad field", "HTTP/1.1 500" => "HTTP/1.1 200"),
        wire!("MID-02", "through middleware", "fine" => "evil"),
    ]
}

/// A host whose sockets don't carry what they are given: they replace some bytes that go out, or
/// else keep quiet about clients that leave.
struct Wire {
    good: Arc<dyn Trampoline>,
    replaces: Option<(&'static str, &'static str)>,
}

impl Wire {
    fn new(good: Arc<dyn Trampoline>, replaces: Option<(&'static str, &'static str)>) -> Wire {
        Wire { good, replaces }
    }
}

impl Trampoline for Wire {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match yielded {
            Yield::Io(io) => io.poll(self, cx),
            other => self.good.bounce(other, cx),
        }
    }
}

/// A socket that may never be ready.
struct Kept(<OnSmol as Reactor>::Socket, bool);

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Reactor for Wire {
    type Socket = Kept;

    fn register(&self, fd: OwnedFd) -> io::Result<Kept> {
        let register = |fd| OnSmol(Weak::new()).register(fd);
        let stream = TcpStream::from(fd);
        if stream.peer_addr().is_err() {
            // A listener; or what watches for clients that leave, which is no socket at all.
            let watches = stream.local_addr().is_err();
            return Ok(Kept(register(stream.into())?, watches && self.replaces.is_none()));
        }
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        stream.set_nonblocking(false)?;
        let (from, to) = (stream.try_clone()?, theirs.try_clone()?);
        let replaces = self.replaces;
        thread::spawn(move || carry_in(from, to, replaces.is_none()));
        thread::spawn(move || carry_out(theirs, stream, replaces));
        Ok(Kept(register(ours.into())?, false))
    }

    fn poll_ready(io: &Kept, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if io.1 { Poll::Pending } else { OnSmol::poll_ready(&io.0, way, cx) }
    }
}

fn carry_in(mut from: TcpStream, mut to: UnixStream, quiet: bool) {
    let _ = io::copy(&mut from, &mut to);
    if !quiet {
        let _ = to.shutdown(Shutdown::Write);
    }
}

fn carry_out(mut from: UnixStream, mut to: TcpStream, replaces: Option<(&str, &str)>) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let piece = match replaces {
            Some((old, new)) => replace(&bytes[..count], old.as_bytes(), new.as_bytes()),
            None => bytes[..count].to_vec(),
        };
        // Whether or not there is still anybody to read it.
        let _ = to.write_all(&piece);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
