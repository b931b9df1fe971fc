//! Checks of sockets: readiness, registration, hang-ups.

use std::collections::HashSet;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gateway_core::{Direction, Socket, poll_io, sleep_until, spawn};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Subject;
use super::fault::OrError;
use super::gauges::{connected, eventually, in_time, joined, on_a_thread};
use super::waits::{Counter, Waiter, pause, when_woken};

/// After how long a check that tries many times has tried often enough.
const SLOW: Duration = Duration::from_secs(1);

pub(super) fn yld_10_readiness_is_never_lost(subject: &Subject) {
    let host = subject.start();
    host.run(async {
        ping_pong().await;
        spawn(ping_pong()).await.unwrap_or_else(|error| panic!("{error}"));
        arrives_while_attempted().await;
        read_in_parts().await;
        hidden_wake_ups().await;
    });
}

/// A peer on a thread answers each byte, so that it arrives at any moment.
async fn ping_pong() {
    let (mut end, peer) = End::pair();
    peer.blocking();
    let echo = on_a_thread(move || {
        let mut peer = UnixStream::from(peer.into_fd());
        let mut byte = [0];
        // Up to the end of any kind: what is wrong with it shows at this end.
        while let Ok(1) = peer.read(&mut byte) {
            let _ = peer.write_all(&byte);
        }
    });
    let began = Instant::now();
    // Fewer on a machine that has no time.
    for n in (0..1000_u32).take_while(|_| began.elapsed() < SLOW) {
        end.write_all(&[n as u8]).await;
        // A large buffer is read short, which tells the host that the socket is drained.
        let mut came = [0; 64];
        let size = if n % 2 == 0 { 64 } else { 1 };
        let read = in_time("an answer that came just now", end.read(&mut came[..size])).await;
        let read = read.expect("an answer");
        assert_eq!((read, came[0]), (1, n as u8), "the answer of another round");
    }
    drop(end);
    joined(echo);
}

/// What arrives between an attempt and the registration that follows it counts.
async fn arrives_while_attempted() {
    for round in 0..100 {
        // Now and then the host has time to hear of it before the attempt is over.
        let linger = || {
            if round % 10 == 0 {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(1) {
                    thread::yield_now();
                }
            }
        };
        let (mut end, mut peer) = End::pair();
        // A read that finds less than it needs, and more arrives before the host hears of that.
        peer.write_now(b"1");
        let mut late = Some(b"2");
        let read = poll_fn(|cx| {
            poll_io(&mut end.0, Direction::Read, cx, |fd| {
                if let Some(byte) = late.take() {
                    while let Ok(1..) = rustix::io::read(fd, &mut [0; 8]) {}
                    peer.write_now(byte);
                    linger();
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok((rustix::io::read(fd, &mut [0; 8])?, false))
            })
        });
        let what = "what arrived after a read, before the host was told that it blocks";
        in_time(what, read).await.expect(what);
        // The same after a read that came short: the host is told that the socket is drained.
        peer.write_now(b"3");
        let mut late = Some(b"4");
        let read = poll_fn(|cx| {
            poll_io(&mut end.0, Direction::Read, cx, |fd| {
                let read = rustix::io::read(fd, &mut [0; 8])?;
                if let Some(byte) = late.take() {
                    peer.write_now(byte);
                    linger();
                }
                Ok((read, true))
            })
        });
        assert_eq!(read.await.expect("a byte"), 1, "a short read");
        let what = "what arrived during a short read";
        assert_eq!(in_time(what, end.read_exact::<1>()).await, *b"4", "{what}");
        // And room that is made after a write has found none.
        let mut full = true;
        let written = poll_fn(|cx| {
            poll_io(&mut end.0, Direction::Write, cx, |fd| {
                if std::mem::take(&mut full) {
                    fill(fd);
                    peer.drain();
                    linger();
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok((rustix::io::write(fd, b"x")?, false))
            })
        });
        let what = "room that was made during the attempt";
        in_time(what, written).await.expect(what);
    }
}

/// Readiness is not used up by reading a part.
async fn read_in_parts() {
    for size in [1, 3, 7] {
        let (mut end, mut peer) = End::pair();
        let waits = async {
            let mut came = Vec::new();
            while came.len() < 100 {
                let mut part = vec![0; size];
                let read = end.read(&mut part).await.expect("a part");
                came.extend_from_slice(&part[..read]);
                // Others have a turn, and the host with them.
                pause().await;
            }
            came
        };
        let sends = async {
            pause().await;
            peer.write_all(&(0..100).collect::<Vec<u8>>()).await;
        };
        let (came, ()) = join(waits, sends).await;
        assert_eq!(came, (0..100).collect::<Vec<u8>>(), "parts of {size} bytes");
    }
}

/// A poll that nobody's readiness has caused stays pending, and loses nothing.
async fn hidden_wake_ups() {
    let (mut end, mut peer) = End::pair();
    for n in 0..20_u8 {
        for _ in 0..5 {
            let cx = &mut Context::from_waker(Waker::noop());
            let read = end.poll_read(cx, &mut [0; 8]);
            assert!(read.is_pending(), "a poll without readiness gives {read:?}");
            pause().await;
        }
        let mut sent = false;
        let mut byte = [0; 8];
        let read = when_woken("a reader is woken after polls that nobody asked for", |cx| {
            let read = end.poll_read(cx, &mut byte);
            if !std::mem::replace(&mut sent, true) {
                peer.write_now(&[n]);
            }
            read
        });
        assert_eq!((read.await.expect("a byte"), byte[0]), (1, n), "another byte");
        // And what has arrived while nobody listened is there still.
        let (woken, waker) = Counter::waker();
        let read = end.poll_read(&mut Context::from_waker(&waker), &mut byte);
        assert!(read.is_pending(), "a second byte out of nowhere: {read:?}");
        peer.write_now(&[!n]);
        eventually("a reader that has gone is woken", || woken.count() > 0).await;
        let late = when_woken("a reader who comes late", |cx| end.poll_read(cx, &mut byte));
        assert_eq!((late.await.expect("a byte"), byte[0]), (1, !n), "another late byte");
    }
}

pub(super) fn yld_14_the_end_stays_the_end(subject: &Subject) {
    subject.start().run(async {
        let pairs = [("unix", End::pair()), ("tcp", End::tcp()), ("pipe", End::pipe())];
        for (kind, (mut end, mut peer)) in pairs {
            let waits = async {
                let mut came = Vec::new();
                let mut ends = 0;
                while ends < 5 {
                    let mut part = [0; 64];
                    let what = format!("{kind}: the peer's last words, or its end");
                    match in_time(&what, end.read(&mut part)).await {
                        Ok(0) => ends += 1,
                        Ok(read) if ends == 0 => came.extend_from_slice(&part[..read]),
                        other => panic!("{kind}: after the end a read gives {other:?}"),
                    }
                }
                (came, end)
            };
            let closes = async {
                pause().await;
                peer.write_all(b"last words").await;
                pause().await;
                drop(peer);
            };
            let ((came, mut end), ()) = join(waits, closes).await;
            assert_eq!(came, b"last words", "{kind}");
            // In another coroutine, and with somebody else's waker, it is the end still.
            let again =
                spawn(async move { [end.read(&mut [0; 8]).await, end.read(&mut [0]).await] });
            for read in again.await.expect("a task") {
                assert_eq!(read.expect("an end"), 0, "{kind}: after the end");
            }
        }
        // A peer that only stops sending still listens.
        let (mut end, mut peer) = End::tcp();
        rustix::net::shutdown(peer.fd(), rustix::net::Shutdown::Write).or_error("half a close");
        for _ in 0..3 {
            assert_eq!(end.read(&mut [0; 8]).await.expect("an end"), 0, "a half-closed peer");
        }
        end.write_all(b"answer").await;
        let came = peer.read_exact::<6>().await;
        assert_eq!(came, *b"answer", "what a half-closed peer still hears");
    });
}

pub(super) fn yld_17_both_directions_are_waited_for_at_once(subject: &Subject) {
    subject.start().run(async {
        for (kind, pair) in [("unix", End::pair as fn() -> _), ("tcp", End::tcp)] {
            for reads_first in [true, false] {
                each_direction_in_turn(kind, pair(), reads_first).await;
                both_hear_of_the_close(kind, pair(), reads_first).await;
            }
        }
    });
}

/// Begins to wait in both directions of a socket whose buffers are full.
fn wait_both_ways(end: &mut End, reads_first: bool) -> (Waiter, Waiter) {
    let (mut reader, mut writer) = (Waiter::new(), Waiter::new());
    end.fill();
    for reads in [reads_first, !reads_first] {
        let pending = match reads {
            true => reader.poll(|cx| end.poll_read(cx, &mut [0; 8])).is_pending(),
            false => writer.poll(|cx| end.poll_write(cx, b"b")).is_pending(),
        };
        assert!(pending, "an operation that has to wait did not");
    }
    (reader, writer)
}

async fn each_direction_in_turn(kind: &str, (mut end, mut peer): (End, End), reads_first: bool) {
    let (mut reader, mut writer) = wait_both_ways(&mut end, reads_first);
    peer.write_now(b"a");
    let what = "the reader is resumed beside a writer that waits";
    let read = reader.resumed(what, || {}, |cx| end.poll_read(cx, &mut [0; 8])).await;
    assert_eq!(read.expect("a byte"), 1, "{kind}");
    let again = reader.poll(|cx| end.poll_read(cx, &mut [0; 8]));
    assert!(again.is_pending(), "{kind}: a second byte out of nowhere");
    let what = "the writer is resumed beside a reader that waits";
    let written = writer.resumed(what, || peer.drain(), |cx| end.poll_write(cx, b"b")).await;
    written.expect("room");
    peer.write_now(b"c");
    let what = "the reader is resumed after the writer";
    let read = reader.resumed(what, || {}, |cx| end.poll_read(cx, &mut [0; 8])).await;
    assert_eq!(read.expect("a byte"), 1, "{kind}");
}

async fn both_hear_of_the_close(kind: &str, (mut end, peer): (End, End), reads_first: bool) {
    let (mut reader, mut writer) = wait_both_ways(&mut end, reads_first);
    // Closing with unread bytes resets the connection.
    drop(peer);
    let what = "a peer's close resumes the writer";
    let written = writer.resumed(what, || {}, |cx| end.poll_write(cx, b"b")).await;
    assert!(written.is_err(), "{kind}: a write after the peer's close gives {written:?}");
    let what = "a peer's close resumes the reader";
    let read = reader.resumed(what, || {}, |cx| end.poll_read(cx, &mut [0; 8])).await;
    assert!(!matches!(read, Ok(1..)), "{kind}: a read after the peer's close gives {read:?}");
}

pub(super) fn yld_18_every_kind_of_descriptor_is_waited_for(subject: &Subject) {
    subject.start().run(async {
        for (kind, (mut end, mut peer)) in
            [("unix", End::pair()), ("tcp", End::tcp()), ("udp", End::udp()), ("pipe", End::pipe())]
        {
            for n in 0..5_u8 {
                let send = async {
                    pause().await;
                    peer.write_all(&[n]).await;
                };
                let (came, ()) = join(end.read_exact::<1>(), send).await;
                assert_eq!(came, [n], "{kind}");
            }
        }
        // A pipe's hang-up is neither bytes nor room: for the reader, and for the writer.
        let (mut reader, writer) = End::pipe();
        let pending = reader.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0]);
        assert!(pending.is_pending(), "a pipe's end out of nowhere: {pending:?}");
        let mut writer = Some(writer);
        let read = when_woken("a pipe's reader hears of its writer's end", |cx| {
            let read = reader.poll_read(cx, &mut [0; 8]);
            writer = None;
            read
        });
        assert_eq!(read.await.expect("an end"), 0, "a pipe without a writer");
        let (reader, mut writer) = End::pipe();
        writer.fill();
        let mut reader = Some(reader);
        let written = when_woken("a pipe's writer hears of its reader's end", |cx| {
            let written = writer.poll_write(cx, b"x");
            reader = None;
            written
        });
        let error = written.await.expect_err("nobody reads the pipe");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "a pipe without a reader");
        accepts().await;
        cannot_be_waited_for().await;
    });
}

/// Neither a socket nor a pipe: an error, or ready at any time, and no wait without an end.
async fn cannot_be_waited_for() {
    let nonblocking = rustix::pipe::PipeFlags::NONBLOCK.bits();
    let nonblocking = i32::try_from(nonblocking).or_error("a flag");
    let file = File::options().read(true).custom_flags(nonblocking).open("/dev/zero");
    let file = file.or_error("zeros");
    let (mut file, mut blocks) = (End(Socket::new(file.into())), true);
    let read = poll_fn(|cx| {
        poll_io(&mut file.0, Direction::Read, cx, |fd| {
            if std::mem::take(&mut blocks) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok((rustix::io::read(fd, &mut [0; 8])?, false))
        })
    });
    let _ = in_time("what can't be waited for is an error, or ready", read).await;
}

/// Listeners: one connection and several at once, before and after somebody waits for them.
async fn accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").or_error("a free port");
    let address = listener.local_addr().or_error("its address");
    let mut listener = End::new(listener, TcpListener::set_nonblocking);
    for at_once in [1, 3, 1] {
        let connects = async {
            pause().await;
            let connect = |_| connected("an address", TcpStream::connect(address));
            (0..at_once).map(connect).collect::<Vec<_>>()
        };
        let accepts = async {
            for _ in 0..at_once {
                let fd = poll_fn(|cx| {
                    poll_io(&mut listener.0, Direction::Read, cx, |fd| {
                        Ok((rustix::net::accept(fd)?, false))
                    })
                });
                drop(fd.await.expect("one of several connections"));
            }
        };
        join(accepts, connects).await;
    }
    let path = std::env::temp_dir().join(format!(
        "gateway-{}-{:?}",
        std::process::id(),
        thread::current().id()
    ));
    let unix = UnixListener::bind(&path).or_error("a free path");
    let mut unix = End::new(unix, UnixListener::set_nonblocking);
    let connects = async {
        pause().await;
        connected("a path", UnixStream::connect(&path))
    };
    let accept = poll_fn(|cx| {
        poll_io(&mut unix.0, Direction::Read, cx, |fd| Ok((rustix::net::accept(fd)?, false)))
    });
    let (accepted, _) = join(accept, connects).await;
    let _ = std::fs::remove_file(&path);
    accepted.expect("a connection to a path");
}

pub(super) fn yld_19_a_descriptor_number_may_be_used_again(subject: &Subject) {
    subject.start().run(async {
        let mut numbers = HashSet::new();
        for round in 0..300_u32 {
            let (mut end, mut peer) = End::pair();
            numbers.insert(end.fd().as_raw_fd());
            let (mut sent, mut byte) = (false, [0; 8]);
            let read = when_woken("a socket whose number another one had is ready", |cx| {
                let read = end.poll_read(cx, &mut byte);
                if !std::mem::replace(&mut sent, true) {
                    peer.write_now(&[round as u8]);
                }
                read
            });
            assert_eq!((read.await.expect("a byte"), byte[0]), (1, round as u8), "another's byte");
            // It is closed while it waits in the one direction, the other, or both.
            let cx = &mut Context::from_waker(Waker::noop());
            if round % 3 != 0 {
                let read = end.poll_read(cx, &mut byte);
                assert!(read.is_pending(), "another's bytes: {read:?}");
            }
            if round % 3 != 1 {
                end.fill();
                let written = end.poll_write(cx, &[0; 64]);
                assert!(written.is_pending(), "another's room: {written:?}");
            }
            // The peer goes first or last, with an event that nobody has fetched.
            if round % 2 == 0 {
                drop(peer);
            }
        }
        // Beside other tests some numbers are taken by somebody else, but not all.
        assert!(numbers.len() < 300, "sockets that are dropped are not closed");
    });
}

pub(super) fn yld_23_many_waits_at_once(subject: &Subject) {
    const TIMERS: usize = 10_000;
    let host = subject.start();
    host.run(async {
        let polls = AtomicUsize::new(0);
        let now = Instant::now();
        let timer = |n| {
            let micros = 100_000 + n as u64 * 5;
            let mut sleep = Box::pin(sleep_until(now + Duration::from_micros(micros)));
            let polls = &polls;
            poll_fn(move |cx| {
                polls.fetch_add(1, Relaxed);
                sleep.as_mut().poll(cx)
            })
        };
        let timers: FuturesUnordered<_> = (0..TIMERS).map(timer).collect();
        timers.count().await;
        // Once to begin and once to end; some more where a budget was spent in between.
        let polls = polls.load(Relaxed);
        assert!(polls < 20 * TIMERS, "{polls} polls of {TIMERS} timers");
    });
    host.run(async {
        // As many as half of what the process may open, and no more than a thousand.
        let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let pairs = usize::try_from(open / 4).unwrap_or(usize::MAX).min(1000);
        let (mut ends, mut peers): (Vec<_>, Vec<_>) = (0..pairs).map(|_| End::pair()).unzip();
        let reads = ends.iter_mut().enumerate().map(|(n, end)| async move {
            let came = usize::from_be_bytes(end.read_exact().await);
            assert_eq!(came, n, "somebody else's bytes");
        });
        let writes = async {
            pause().await;
            for (n, peer) in peers.iter_mut().enumerate().rev() {
                peer.write_all(&n.to_be_bytes()).await;
            }
        };
        join(join_all(reads), writes).await;
        // Idle ones, that wait for nothing to come, are in nobody's way.
        let cx = &mut Context::from_waker(Waker::noop());
        for end in &mut ends {
            assert!(end.poll_read(cx, &mut [0; 8]).is_pending(), "bytes out of nowhere");
        }
        let (mut end, mut peer) = End::pair();
        let write = async {
            pause().await;
            peer.write_all(b"!").await;
        };
        join(end.read_exact::<1>(), write).await;
    });
}

pub(super) fn yld_24_a_writer_waits_for_room(subject: &Subject) {
    subject.start().run(async {
        for (kind, pair) in
            [("unix", End::pair as fn() -> _), ("tcp", End::tcp), ("pipe", End::pipe)]
        {
            let (mut reader, mut writer) = pair();
            let sent: Vec<u8> = (0..1_500_000_u32).map(|n| (n * 31 + n / 251) as u8).collect();
            let expected = sent.clone();
            let writes = spawn(async move {
                writer.write_all(&sent).await;
            });
            let mut came = Vec::new();
            let mut part = vec![0; 50_000];
            loop {
                let what = format!("{kind}: after {} bytes, more of them", came.len());
                match in_time(&what, reader.read(&mut part)).await.expect("bytes") {
                    0 => break,
                    read => came.extend_from_slice(&part[..read]),
                }
            }
            writes.await.unwrap_or_else(|error| panic!("{error}"));
            let right = came.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let whole = (came.len(), expected.len());
            assert_eq!((right, whole.0), (whole.1, whole.1), "{kind}: right up to there, and size");
        }
        // As long as nobody reads, a full writer makes no progress, and waits.
        let (mut end, mut peer) = End::pair();
        end.fill();
        let (woken, waker) = Counter::waker();
        let written = end.poll_write(&mut Context::from_waker(&waker), b"x");
        assert!(written.is_pending(), "a write without room gives {written:?}");
        peer.drain();
        eventually("a writer is woken when there is room", || woken.count() > 0).await;
    });
}

pub(super) fn yld_25_a_refused_connection_is_an_error_to_its_own(subject: &Subject) {
    subject.start().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").or_error("a free port");
        let open = listener.local_addr().or_error("its address");
        let closed = TcpListener::bind("127.0.0.1:0").or_error("a free port");
        let refusing = closed.local_addr().or_error("its address");
        drop(closed);
        let connect = |n: usize| async move {
            let to = if n % 2 == 0 { open } else { refusing };
            (n, gateway_net::TcpStream::connect_to(to).await)
        };
        for (n, connected) in join_all((0..40).map(connect)).await {
            match connected {
                Ok(_) => assert_eq!(n % 2, 0, "a connection to where nobody listens"),
                Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                    Err(error).or_error("a socket")
                }
                Err(error) => {
                    assert_eq!(n % 2, 1, "a listener's address is refused: {error}");
                    let kind = error.kind();
                    assert_eq!(kind, io::ErrorKind::ConnectionRefused, "{error}");
                }
            }
        }
        // Without help by the system, which refuses at once where it can: a connect under way.
        let (mut end, mut peer) = End::tcp();
        peer.linger_not();
        let waits = async { (end.read(&mut [0; 8]).await, end.read(&mut [0; 8]).await) };
        let resets = async {
            pause().await;
            drop(peer);
        };
        let ((first, second), ()) = join(waits, resets).await;
        let error = first.expect_err("a reset is no end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        assert!(!matches!(second, Ok(1..)), "bytes after a reset: {second:?}");
    });
}

/// One end of a socket or a pipe, over the yield alone: any descriptor will do.
pub(super) struct End(Socket);

impl End {
    fn new<S>(socket: S, set_nonblocking: fn(&S, bool) -> io::Result<()>) -> End
    where
        OwnedFd: From<S>,
    {
        set_nonblocking(&socket, true).or_error("non-blocking mode");
        End(Socket::new(socket.into()))
    }

    /// Both ends of a Unix stream.
    pub(super) fn pair() -> (End, End) {
        let (one, other) = UnixStream::pair().or_error("a pair of sockets");
        let new = |stream| End::new(stream, UnixStream::set_nonblocking);
        (new(one), new(other))
    }

    /// Both ends of a TCP connection.
    fn tcp() -> (End, End) {
        let listener = TcpListener::bind("127.0.0.1:0").or_error("a free port");
        let address = listener.local_addr().or_error("its address");
        let one = TcpStream::connect(address).or_error("a connection");
        let other = listener.accept().or_error("its other end").0;
        let new = |stream: TcpStream| {
            stream.set_nodelay(true).or_error("no delay");
            End::new(stream, TcpStream::set_nonblocking)
        };
        (new(one), new(other))
    }

    /// Two datagram sockets, each connected to the other.
    fn udp() -> (End, End) {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").or_error("a free port"));
        one.connect(other.local_addr().or_error("its address")).or_error("a connection");
        other.connect(one.local_addr().or_error("its address")).or_error("a connection");
        let new = |socket| End::new(socket, UdpSocket::set_nonblocking);
        (new(one), new(other))
    }

    /// The reading and the writing end of a pipe.
    fn pipe() -> (End, End) {
        let (reader, writer) = rustix::pipe::pipe().or_error("a pipe");
        let nonblocking = |fd: &OwnedFd, on| Ok(rustix::io::ioctl_fionbio(fd, on)?);
        (End::new(reader, nonblocking), End::new(writer, nonblocking))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd().or_error("a descriptor")
    }

    /// Back to blocking mode, for the use on a plain thread.
    fn blocking(&self) {
        rustix::io::ioctl_fionbio(self.fd(), false).or_error("blocking mode");
    }

    /// A descriptor of its own, when no host has seen this one.
    fn into_fd(self) -> OwnedFd {
        self.fd().try_clone_to_owned().or_error("a descriptor")
    }

    /// Closing it will reset the connection.
    fn linger_not(&mut self) {
        let now = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(self.fd(), now).or_error("no linger");
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        poll_io(&mut self.0, Direction::Read, cx, |fd| {
            let read = rustix::io::read(fd, &mut *into)?;
            Ok((read, 0 < read && read < into.len()))
        })
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_io(&mut self.0, Direction::Write, cx, |fd| {
            let written = rustix::io::write(fd, from)?;
            Ok((written, written < from.len()))
        })
    }

    pub(super) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, into)).await
    }

    pub(super) async fn read_exact<const N: usize>(&mut self) -> [u8; N] {
        let (mut came, mut count) = ([0; N], 0);
        while count < N {
            let read = self.read(&mut came[count..]).await.expect("a read");
            assert!(read > 0, "the end after {count} of {N} bytes");
            count += read;
        }
        came
    }

    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, bytes)).await.expect("a write");
            bytes = &bytes[written..];
        }
    }

    /// Writes without the host.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        let written = rustix::io::write(self.fd(), bytes);
        assert_eq!(written, Ok(bytes.len()), "the peer of a socket that the host has open writes");
    }

    /// Writes without the host, until there is no room left.
    pub(super) fn fill(&mut self) {
        fill(self.fd());
    }

    /// Reads without the host, until there is nothing left.
    pub(super) fn drain(&mut self) {
        while matches!(rustix::io::read(self.fd(), &mut [0; 1 << 16][..]), Ok(1..)) {}
    }
}

fn fill(fd: BorrowedFd<'_>) {
    for size in [1 << 16, 1] {
        while rustix::io::write(fd, &vec![0; size]).is_ok() {}
    }
}
