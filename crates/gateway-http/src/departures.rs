//! Clients that leave while their request is in hand.
//!
//! hyper sees a client leave only where it reads, so not behind an unread body or a pipelined
//! request. And where it does look, it takes a client that has only closed its sending side for one
//! that is gone. So its own look is switched off, and the system is asked instead: one epoll
//! instance watches all connections for hang-ups alone, and is itself one more socket of the host.
//! Unread bytes raise nothing, and a connection costs one system call in its life.
//!
//! | the client has | the system says | what happens |
//! |---|---|---|
//! | reset the connection | `ERR`, `HUP` | its requests are dropped at once |
//! | closed its sending side | `RDHUP` alone | it may have its answer: its requests go on for a grace time |

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use gateway_core::{Direction, Socket, poll_io};
use rustix::event::{Timespec, epoll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How many departures are taken from the system at a time.
const BATCH: usize = 64;

/// One client that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// The number that its connection was watched under.
    pub(crate) number: u64,
    /// Whether nothing can reach it any more.
    pub(crate) gone: bool,
}

/// Waits for clients to leave.
pub(crate) struct Departures {
    epoll: Socket,
}

/// Says which connections to wait for.
pub(crate) struct Watch {
    epoll: OwnedFd,
}

/// Both ends.
pub(crate) fn departures() -> io::Result<(Watch, Departures)> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    fcntl_setfl(&watch, fcntl_getfl(&watch)? | OFlags::NONBLOCK)?;
    let epoll = Socket::new(watch.try_clone()?);
    Ok((Watch { epoll: watch }, Departures { epoll }))
}

impl Watch {
    /// Watches a connection until its descriptor is closed.
    pub(crate) fn add(&self, connection: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, connection, epoll::EventData::new_u64(number), flags)?)
    }
}

impl Departures {
    /// Waits for the next ones.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<Left>> {
        std::future::poll_fn(|cx| poll_io(&mut self.epoll, Direction::Read, cx, take)).await
    }
}

/// Takes what the system has, without waiting.
fn take(epoll: BorrowedFd<'_>) -> io::Result<(Vec<Left>, bool)> {
    let mut events = [MaybeUninit::uninit(); BATCH];
    let (events, _) = epoll::wait(epoll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if events.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let left = |event: &epoll::Event| {
        let epoll::Event { flags, data } = *event;
        let gone = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        Left { number: data.u64(), gone }
    };
    Ok((events.iter().map(left).collect(), false))
}
