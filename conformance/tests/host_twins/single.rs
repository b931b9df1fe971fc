//! Hosts that are good but for one yield, or for all from there on.
//!
//! The smallest defect that there is: a task, a job, a timer or an attempt goes wrong in one place of
//! a check. What the check asserts of just that place has to notice.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use gateway_blocking::Blocking;
use gateway_core::{Coroutine, Direction, Host, Operation, Reactor, Trampoline, Yield, trampoline};
use gateway_smol::OnSmol;

use super::twin::Twin;

/// No end.
const MANY: usize = usize::MAX;

pub(crate) fn twins() -> Vec<Twin> {
    let anywhere = TWINS
        .iter()
        .map(|(rule, says, fault, which)| single(rule, says, *fault, None, which.clone()));
    let sockets = SOCKETS.iter().map(|(rule, says, fault, socket, which)| {
        single(rule, says, *fault, Some(*socket), which.clone())
    });
    anywhere.chain(sockets).collect()
}

/// What becomes of a yield, or of an attempt on a socket.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// A task is not started: that is an error, or it is dropped.
    TaskRefused,
    TaskDropped,
    /// The same for a job.
    JobRefused,
    JobDropped,
    /// A timer is over at once.
    TimerEarly,
    /// A socket is an error.
    IoRefused,
    /// Readiness for reading is an error, or never comes, after so many attempts.
    ReadyFails,
    ReadyNever,
    /// An attempt to read is made on another descriptor: one that gives zeros, one that is at its
    /// end, one that can't be read.
    ReadZeros,
    ReadEnd,
    ReadFails,
    /// An attempt to write is made where it has no effect, on another socket, or where it fails.
    WriteNowhere,
    WriteElsewhere,
    WriteFails,
}

/// Where each of these hosts goes wrong, and in what way: rule, what the failure has to say, fault,
/// and which of all that it may come upon in the check as a whole.
const TWINS: &[(&str, &str, Fault, Range<usize>)] = &[
    ("YLD-01", "and the task between", Fault::TaskDropped, 3..4),
    ("YLD-01", "Socket", Fault::ReadZeros, 0..1),
    ("YLD-01", "the task has its yields answered", Fault::TaskDropped, 1..2),
    ("YLD-01", "so has a task's task", Fault::TaskDropped, 4..5),
    ("YLD-02", "an end", Fault::ReadFails, 40..41),
    ("YLD-02", "bytes arrived that were not sent", Fault::ReadZeros, 40..41),
    ("YLD-02", "a task's result", Fault::TaskRefused, 0..1),
    ("YLD-03", "a task still runs", Fault::TaskDropped, 219..MANY),
    ("YLD-03", "a task was answered with", Fault::TaskRefused, 0..1),
    ("YLD-04", "a task's stack stays", Fault::TaskRefused, 0..1),
    ("YLD-04", "the last of tasks in a chain", Fault::TaskDropped, 100..101),
    ("YLD-05", "a task beside the greedy ones", Fault::TaskDropped, 7..8),
    ("YLD-05", "it ends", Fault::TaskRefused, 2..3),
    ("YLD-06", "a task", Fault::TaskDropped, 1..2),
    ("YLD-06", "a job", Fault::JobDropped, 0..1),
    ("YLD-06", "its job", Fault::JobDropped, 1..2),
    ("YLD-06", "a task", Fault::TaskDropped, 0..1),
    ("YLD-07", "the work was not started", Fault::TaskRefused, 0..1),
    ("YLD-08", "wake-ups of a task", Fault::TaskRefused, 20..21),
    ("YLD-08", "a task on a busy host", Fault::TaskRefused, 41..42),
    ("YLD-09", "the host goes on", Fault::TaskRefused, 1..2),
    ("YLD-09", "bytes out of nowhere", Fault::ReadZeros, 4..5),
    ("YLD-09", "a task that ends at once", Fault::TaskDropped, 0..1),
    ("YLD-09", "the work was cancelled", Fault::TaskDropped, 4..5),
    ("YLD-09", "a task that ends at once", Fault::TaskRefused, 0..1),
    ("YLD-09", "a sleep of an hour ended at once", Fault::TimerEarly, 1..MANY),
    ("YLD-11", "the job waits", Fault::JobDropped, 0..1),
    ("YLD-11", "told", Fault::TaskRefused, 0..1),
    ("YLD-11", "timers of an hour have ended", Fault::TimerEarly, 1..MANY),
    ("YLD-11", "the work was not started", Fault::TaskRefused, 1..2),
    ("YLD-11", "another byte", Fault::ReadZeros, 0..1),
    ("YLD-12", "ended, which waits for ever", Fault::ReadZeros, 0..1),
    ("YLD-12", "against", Fault::ReadZeros, 1..2),
    ("YLD-12", "the work panicked", Fault::WriteFails, 4..5),
    ("YLD-13", "the work panicked", Fault::JobRefused, 40..41),
    ("YLD-13", "the end after", Fault::ReadEnd, 0..1),
    ("YLD-13", "joined with", Fault::ReadZeros, 0..1),
    ("YLD-13", "forty at once", Fault::ReadZeros, 40..41),
    ("YLD-15", "a task whose timer has the same deadline as others", Fault::TaskRefused, 0..1),
    ("YLD-16", "bytes out of nowhere", Fault::IoRefused, 0..1),
    ("YLD-16", "a byte", Fault::ReadFails, 1..2),
    ("YLD-16", "a task", Fault::TaskRefused, 0..1),
    ("YLD-16", ": there was no room", Fault::WriteFails, 0..1),
    ("YLD-16", "room", Fault::WriteFails, 1..2),
    ("YLD-20", "its task", Fault::TaskRefused, 0..1),
    ("YLD-21", "the work was not started", Fault::TaskRefused, 2..3),
    ("YLD-21", "not the busy task", Fault::TaskRefused, 0..1),
    ("YLD-21", "the work panicked", Fault::TimerEarly, 2..3),
    ("YLD-22", "not polled", Fault::TaskDropped, 0..1),
    ("YLD-22", "the work was not started", Fault::TaskRefused, 3..4),
    ("YLD-26", "waits that end at once", Fault::ReadZeros, 0..1),
    ("YLD-26", "bytes out of nowhere", Fault::ReadZeros, 2..3),
    ("YLD-27", "a job", Fault::JobRefused, 0..1),
    ("YLD-10", "the answer of another round", Fault::ReadZeros, 0..1),
    ("YLD-10", "the work was not started", Fault::TaskRefused, 0..1),
    ("YLD-14", ": after the end a read gives", Fault::ReadEnd, 0..1),
    ("YLD-14", "unix", Fault::ReadZeros, 0..1),
    ("YLD-14", "a task", Fault::TaskDropped, 0..1),
    ("YLD-17", ": a second byte out of nowhere", Fault::IoRefused, 3..4),
    ("YLD-17", "unix", Fault::ReadEnd, 1..2),
    ("YLD-17", "a byte", Fault::ReadFails, 1..2),
    ("YLD-17", ": a read after the peer's close gives", Fault::ReadZeros, 4..5),
    ("YLD-17", "an operation that has to wait did not", Fault::WriteFails, 0..1),
    ("YLD-17", "room", Fault::WriteFails, 1..2),
    ("YLD-17", ": a write after the peer's close gives", Fault::WriteNowhere, 3..4),
    ("YLD-18", "a pipe's end out of nowhere:", Fault::ReadEnd, 40..41),
    ("YLD-18", "unix", Fault::ReadZeros, 0..1),
    ("YLD-18", "a pipe without a reader", Fault::WriteFails, 20..MANY),
    ("YLD-18", "nobody reads the pipe", Fault::WriteNowhere, 20..MANY),
    ("YLD-19", "a byte", Fault::IoRefused, 0..1),
    ("YLD-19", "another's bytes:", Fault::IoRefused, 5..MANY),
    ("YLD-19", "another's byte", Fault::ReadEnd, 0..1),
    ("YLD-19", "another's room:", Fault::WriteNowhere, 0..1),
    ("YLD-23", "somebody else's bytes", Fault::ReadZeros, 0..MANY),
    ("YLD-24", "bytes", Fault::ReadFails, 0..1),
    ("YLD-24", "the work was not started", Fault::TaskRefused, 0..1),
    ("YLD-25", "a listener's address is refused:", Fault::IoRefused, 0..1),
    ("YLD-25", "refused", Fault::IoRefused, 1..2),
    ("YLD-25", "a reset is no end", Fault::ReadZeros, 0..1),
    ("YLD-25", "bytes after a reset:", Fault::ReadZeros, 2..3),
    ("YLD-25", "to where nobody listens", Fault::WriteElsewhere, 0..MANY),
    ("EXE-03", "cancelled after its end, a job gives", Fault::JobDropped, 1..2),
    ("EXE-03", "a job after cancelled ones", Fault::JobDropped, 5..MANY),
    ("EXE-03", "cancelled at once, a job gives", Fault::JobRefused, 2..3),
    ("EXE-05", "the job", Fault::JobDropped, 50..51),
    ("EXE-05", "the job", Fault::JobRefused, 0..1),
    ("EXE-05", "the task", Fault::TaskRefused, 0..1),
    ("EXE-06", "the blocked job", Fault::JobRefused, 0..1),
    ("EXE-06", "a job beside blocked jobs", Fault::JobRefused, 1..MANY),
    ("EXE-06", "a byte comes back", Fault::ReadEnd, 0..1),
    ("EXE-06", "the byte that came back", Fault::ReadZeros, 0..1),
    ("EXE-06", "a task beside blocked jobs", Fault::TaskDropped, 0..1),
    ("EXE-07", "a job", Fault::JobRefused, 0..1),
    ("EXE-08", "gives", Fault::JobDropped, 100..101),
    ("EXE-09", "a large result", Fault::JobDropped, 200..201),
    ("EXE-09", "asked for late", Fault::JobDropped, 201..202),
    ("EXE-09", "the task", Fault::TaskRefused, 0..1),
    ("SPN-03", "the task", Fault::TaskDropped, 0..1),
    ("SPN-03", "its task", Fault::TaskDropped, 2..3),
    ("SPN-03", "the task", Fault::TaskRefused, 0..1),
    ("SPN-03", "the task", Fault::TaskRefused, 1..2),
    ("SPN-03", "its task", Fault::TaskRefused, 2..3),
    ("SPN-05", "the parent", Fault::TaskDropped, 0..1),
    ("SPN-05", "the first of them", Fault::TaskDropped, 3..4),
    ("SPN-05", "a task inside a task", Fault::TaskDropped, 4..5),
    ("SPN-05", "the parent", Fault::TaskRefused, 0..1),
    ("SPN-05", "the first of them", Fault::TaskRefused, 3..4),
    ("SPN-05", "a task inside a task", Fault::TaskRefused, 4..5),
    ("SPN-06", "a task's job", Fault::JobDropped, 0..1),
    ("SPN-06", "a task's job", Fault::JobRefused, 0..MANY),
    ("SPN-07", "has ended by itself", Fault::TaskRefused, 5..6),
    ("SPN-07", "has ended by itself", Fault::JobRefused, 0..1),
    ("SPN-07", "has ended by itself", Fault::TimerEarly, 0..MANY),
    ("SPN-07", "cancelled at once, it gives", Fault::TaskRefused, 8..9),
    ("SPN-07", "cancelled at once, it gives", Fault::TaskRefused, 9..10),
    ("SPN-08", "the thread that awaits", Fault::JobDropped, 0..1),
    ("SPN-08", "the host that awaits", Fault::JobDropped, 1..2),
    ("SPN-08", "the thread that awaits", Fault::JobRefused, 0..1),
    ("SPN-08", "the host that awaits", Fault::JobRefused, 1..2),
    ("SPN-08", "the task that awaits", Fault::TaskDropped, 4..5),
    ("SPN-08", "the task that awaits", Fault::TaskRefused, 4..5),
    ("SPN-09", "polls of three tasks", Fault::TaskDropped, 0..1),
    ("SPN-09", "a task was answered with", Fault::TaskRefused, 0..1),
    ("RUN-01", "a job", Fault::JobRefused, 0..1),
    ("RUN-01", "a task", Fault::TaskDropped, 0..1),
    ("RUN-02", "a job", Fault::JobRefused, 0..1),
    ("RUN-02", "a task", Fault::TaskRefused, 1..2),
    ("RUN-02", "a task spawned before the panic gives", Fault::TaskRefused, 4..5),
    ("RUN-03", "a job", Fault::JobRefused, 0..1),
    ("RUN-03", "a task", Fault::TaskRefused, 0..1),
    ("RUN-04", "a job", Fault::JobDropped, 50..51),
    ("RUN-04", "a job", Fault::JobDropped, 0..1),
    ("RUN-04", "a task", Fault::TaskDropped, 1..MANY),
    ("RUN-04", "another host was dropped, and a task of this one gives", Fault::TaskDropped, 1..2),
    ("DRP-03", "the script's job", Fault::JobDropped, 0..1),
    ("DRP-03", "the script's byte comes back", Fault::ReadFails, 0..1),
    ("DRP-03", "the script's task", Fault::TaskDropped, 0..1),
    ("DRP-03", "the script's byte goes out", Fault::WriteFails, 0..1),
    ("DRP-06", "cancelled, it gives", Fault::TaskRefused, 1..MANY),
    ("DRP-06", "a task that ends", Fault::TaskRefused, 4..5),
    ("DRP-07", "its host was dropped, and task", Fault::TaskRefused, 3..4),
    ("DRP-10", "a socket that has changed threads gives", Fault::IoRefused, 1..2),
    ("DRP-10", "the thread with the timer", Fault::JobRefused, 0..1),
    ("DRP-10", "a wait that has just begun is over", Fault::TimerEarly, 0..1),
    ("DRP-10", "a timer that has changed threads ended early", Fault::TimerEarly, 1..2),
    ("DRP-12", "a job", Fault::JobRefused, 0..1),
    ("DRP-12", "a task", Fault::TaskDropped, 0..1),
    ("ERR-04", ", and its handle gives", Fault::JobRefused, 0..1),
    ("ERR-04", "a job before the panic", Fault::JobRefused, 1..2),
    ("ERR-04", "a task that awaits one that panics", Fault::TaskDropped, 3..4),
    ("ERR-04", "beside panics, a task gives", Fault::TaskDropped, 0..1),
    ("ERR-08", "beside a thousand panics", Fault::TaskDropped, 0..1),
    ("ERR-08", "the sum of fifty", Fault::TaskDropped, 1010..MANY),
    ("YLD-03", "all tasks have ended", Fault::TaskDropped, 0..1),
    ("YLD-03", "later tasks have ended", Fault::TaskDropped, 100..101),
    ("YLD-12", "four tasks wait for their timers", Fault::TaskDropped, 0..1),
    ("SPN-04", "spawned by sixteen", Fault::TaskDropped, 10_500..10_501),
    ("SPN-05", "a task has ended whose parents", Fault::JobRefused, 0..1),
    ("SPN-09", "what their destructors started", Fault::JobDropped, 0..1),
    ("DRP-06", "five destructors", Fault::TaskDropped, 1..2),
    ("RUN-06", "a slow request is in hand", Fault::TaskDropped, 1..2),
    ("RUN-06", "a request that hangs is in hand", Fault::TaskDropped, 2..3),
    ("SPN-02", "a handler and its two tasks are at work", Fault::TaskDropped, 3..MANY),
    ("DRP-11", "is at work", Fault::TaskDropped, 0..MANY),
    ("BODY-11", "the app has read", Fault::TaskDropped, 0..MANY),
    ("RUN-05", "the server serves", Fault::IoRefused, 0..MANY),
];

/// The same for one socket, which has a number: here attempts on that one are counted.
const SOCKETS: &[(&str, &str, Fault, usize, Range<usize>)] = &[
    ("YLD-10", "what arrived after a read, before", Fault::ReadFails, 2, 1..2),
    ("YLD-10", "a byte", Fault::ReadFails, 2, 2..3),
    ("YLD-10", "a short read", Fault::ReadEnd, 2, 2..3),
    ("YLD-10", "what arrived during a short read", Fault::ReadZeros, 2, 3..MANY),
    ("YLD-10", "room that was made during", Fault::WriteFails, 2, 1..2),
    ("YLD-10", "a part", Fault::ReadFails, 102, 1..2),
    ("YLD-10", "parts of 1 bytes", Fault::ReadZeros, 102, 1..2),
    ("YLD-10", "a poll without readiness gives", Fault::ReadZeros, 108, 0..1),
    ("YLD-10", "a byte", Fault::ReadFails, 108, 1..2),
    ("YLD-10", "another byte", Fault::ReadEnd, 108, 1..2),
    ("YLD-10", "a second byte out of nowhere", Fault::ReadyFails, 108, 2..3),
    ("YLD-10", "a byte", Fault::ReadFails, 108, 2..3),
    ("YLD-10", "another late byte", Fault::ReadZeros, 108, 2..3),
    ("YLD-10", "what arrived after a read, before", Fault::ReadyNever, 2, 0..MANY),
    ("YLD-10", "what arrived during a short read", Fault::ReadyNever, 2, 3..MANY),
    ("YLD-10", "a reader is woken after polls", Fault::ReadyNever, 108, 0..MANY),
    ("YLD-10", "a reader that has gone is woken", Fault::ReadyNever, 108, 2..MANY),
    ("YLD-13", "against", Fault::ReadZeros, 6, 0..MANY),
    ("YLD-14", "an end", Fault::ReadFails, 0, 7..8),
    ("YLD-14", "unix: after the end", Fault::ReadZeros, 0, 7..8),
    ("YLD-14", "an end", Fault::ReadFails, 6, 0..1),
    ("YLD-14", "a half-closed peer", Fault::ReadZeros, 6, 0..1),
    ("YLD-14", "a half-closed peer still hears", Fault::ReadZeros, 7, 0..MANY),
    ("YLD-16", "bytes out of nowhere", Fault::ReadZeros, 20, 0..1),
    ("YLD-16", "another byte", Fault::ReadZeros, 20, 1..MANY),
    ("YLD-16", "the last task is resumed", Fault::ReadFails, 20, 1..MANY),
    ("YLD-17", "a byte", Fault::ReadFails, 0, 2..3),
    ("YLD-17", "unix", Fault::ReadEnd, 0, 2..3),
    ("YLD-17", "the reader is resumed after the writer", Fault::ReadyNever, 0, 2..MANY),
    ("YLD-17", "a peer's close resumes the reader", Fault::ReadyNever, 1, 0..MANY),
    ("YLD-18", "an end", Fault::ReadFails, 8, 1..MANY),
    ("YLD-18", "a pipe without a writer", Fault::ReadZeros, 8, 1..MANY),
    ("YLD-18", "one of several connections", Fault::ReadFails, 10, 0..1),
    ("YLD-18", "a connection to a path", Fault::ReadFails, 11, 0..1),
    ("YLD-24", "a write without room", Fault::WriteNowhere, 6, 0..1),
    ("YLD-26", "bytes out of nowhere", Fault::ReadZeros, 150, 0..1),
    ("YLD-26", "a socket wakes a waker that closes it", Fault::ReadyNever, 150, 0..MANY),
    ("YLD-27", "bytes out of nowhere", Fault::ReadZeros, 0, 0..1),
    ("YLD-27", "another byte", Fault::ReadZeros, 3, 1..MANY),
    ("YLD-27", "the end", Fault::ReadFails, 2, 1..MANY),
    ("YLD-27", "bytes out of nowhere", Fault::ReadZeros, 2, 1..MANY),
];

/// Of all that this fault may come upon, or of attempts on this socket alone, those with these
/// numbers have it.
fn single(
    rule: &'static str,
    says: &'static str,
    fault: Fault,
    socket: Option<usize>,
    which: Range<usize>,
) -> Twin {
    let [count, sockets] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let odd = Odd { fault, socket, sockets, which, count };
    Twin::new(rule, says, move || Single { host: Blocking::new(2).unwrap(), odd: odd.clone() })
}

struct Single {
    host: Blocking,
    odd: Odd,
}

impl Host for Single {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.host.run(async {
            let behind = Behind(trampoline().unwrap(), self.odd.clone());
            Coroutine::new(Arc::new(behind), future).await
        })
    }
}

#[derive(Clone)]
struct Odd {
    fault: Fault,
    /// The number of the only socket that goes wrong, if it is only one, and how many there are.
    socket: Option<usize>,
    sockets: Arc<AtomicUsize>,
    which: Range<usize>,
    count: Arc<AtomicUsize>,
}

impl Odd {
    /// Whether it has come to one with such a number.
    fn is_next(&self) -> bool {
        self.which.contains(&self.count.fetch_add(1, Ordering::SeqCst))
    }
}

struct Behind(Arc<dyn Trampoline>, Odd);

impl Trampoline for Behind {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        use Fault::*;
        let Behind(good, odd) = self;
        let of_its_kind = match yielded {
            Yield::Task(_) => matches!(odd.fault, TaskRefused | TaskDropped),
            Yield::Job(_) => matches!(odd.fault, JobRefused | JobDropped),
            Yield::Timer(_) => odd.fault == TimerEarly,
            Yield::Io(_) => odd.fault == IoRefused,
        };
        if !of_its_kind || !odd.is_next() {
            return match yielded {
                Yield::Io(io) if odd.fault != IoRefused => io.poll(self, cx),
                other => good.bounce(other, cx),
            };
        }
        match odd.fault {
            TaskRefused | JobRefused | IoRefused => Poll::Ready(Err(io::Error::other("refused"))),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Reactor for Behind {
    type Socket = Watched;

    fn register(&self, fd: OwnedFd) -> io::Result<Watched> {
        let number = self.1.sockets.fetch_add(1, Ordering::SeqCst);
        let good = OnSmol(Weak::new()).register(fd)?;
        Ok(Watched(good, self.1.clone(), number, AtomicUsize::new(0)))
    }

    fn poll_ready(io: &Watched, way: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if way == Direction::Read && io.is_odd() {
            let attempts = io.3.load(Ordering::SeqCst);
            match io.1.fault {
                _ if !io.1.which.contains(&attempts) => {}
                Fault::ReadyFails => return Poll::Ready(Err(io::Error::other("refused"))),
                Fault::ReadyNever => return Poll::Pending,
                _ => {}
            }
        }
        OnSmol::poll_ready(&io.0, way, cx)
    }

    fn attempt(io: &Watched, operation: &mut Operation<'_>) -> io::Result<()> {
        use Fault::*;
        io.3.fetch_add(usize::from(operation.direction() == Direction::Read), Ordering::SeqCst);
        let of_its_kind = match io.1.fault {
            ReadZeros | ReadEnd | ReadFails => Direction::Read,
            WriteNowhere | WriteElsewhere | WriteFails => Direction::Write,
            _ => return operation.attempt(io),
        };
        if operation.direction() != of_its_kind || !io.is_odd() {
            return operation.attempt(io);
        }
        if !io.1.is_next() {
            return operation.attempt(io);
        }
        let open = |path| File::options().read(true).write(true).open(path);
        match io.1.fault {
            ReadZeros => {
                let (zeros, mut other) = UnixStream::pair()?;
                other.write_all(&[0; 64])?;
                operation.attempt(zeros)
            }
            ReadEnd => {
                let (end, other) = UnixStream::pair()?;
                drop(other);
                operation.attempt(end)
            }
            ReadFails => operation.attempt(File::options().write(true).open("/dev/null")?),
            WriteFails => operation.attempt(open("/dev/full")?),
            WriteElsewhere => operation.attempt(UnixStream::pair()?.0),
            _ => operation.attempt(open("/dev/null")?),
        }
    }
}

/// One of its sockets: its number, and how often it was to be read.
struct Watched(<OnSmol as Reactor>::Socket, Odd, usize, AtomicUsize);

impl Watched {
    /// Whether it is one of those that go wrong.
    fn is_odd(&self) -> bool {
        self.1.socket.is_none_or(|socket| socket == self.2)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
