//! Servers that break the rules of `wire/limits.rs`, and some that keep them: the good server's own
//! deadlines are longer than any twin is waited for.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gateway_conformance::Verdict;
use gateway_conformance::wire::Instance;
use gateway_tests::eventually;

use super::twin::{PATIENCE, Proxied, Twin, good, pass, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = vec![
        Twin::new("TMO-01", "still open", good),
        Twin::new("TMO-02", "still open", good),
        Twin::new("TMO-03", "still open", good),
        Twin::new("TMO-04", "in the end", good),
        Twin::server("TMO-01", "a head in pieces, with pauses: a close", hurried),
        Twin::server("TMO-02", "a head in pieces, with pauses: a close", hurried),
        Twin::server("TMO-03", "the application, after half a chunk, then nothing", abandons),
        Twin::front("TMO-05", "90 slow heads, finished: some wait in vain", |bytes| {
            if bytes == b"\r\n" {
                bytes.clear();
            }
        }),
        Twin::new("TMO-05", "the latest half a body", || crowded(140)),
        Twin::new("TMO-06", "places, round 1: 8 were", || limited(Full::Refuses)).limited_to(40),
        Twin::new("TMO-07", "closed its sending side", good),
        Twin::new("TMO-08", "a handler without end", good),
        mortal("TMO-01"),
        mortal("TMO-02"),
        guarded("TMO-01", "behind a served request", |guard| guard.first_only = true),
        guarded("TMO-01", "slower than any head", |guard| guard.never_ends = true),
        guarded("TMO-02", "a byte a second", |guard| guard.restarts = true),
        guarded("TMO-02", "behind a served request", |guard| guard.first_only = true),
        Twin::server("TMO-04", "bytes made", greedy),
        Twin::new("TMO-05", "the latest half a head", || crowded(32)),
        Twin::new("TMO-05", "the latest not reading", || Box::new(jammed())),
        Twin::new("TMO-06", "all are served", good).limited_to(PLACES),
    ];
    let wrong = [("it is not", Full::Leaks), ("without an answer", Full::Closes)];
    twins.extend(
        wrong.map(|(says, full)| {
            Twin::new("TMO-06", says, move || limited(full)).limited_to(PLACES)
        }),
    );
    twins
}

#[test]
fn a_server_with_short_deadlines_passes() {
    let guarded = [guarded("TMO-01", "", |_| {}), guarded("TMO-02", "", |_| {})];
    let dropped = Twin::server("TMO-04", "", impatient);
    let left = Twin::server("TMO-07", "", until_fin);
    passes(guarded.into_iter().chain([dropped, left]));
}

#[test]
fn a_server_with_so_many_places_passes() {
    passes(
        [Full::Waits, Full::Refuses]
            .into_iter()
            .map(|full| Twin::new("TMO-06", "", move || limited(full)).limited_to(PLACES)),
    );
}

/// Each of these servers passes its rule.
pub(crate) fn passes(servers: impl IntoIterator<Item = Twin>) {
    for server in servers {
        let outcome = server.outcome();
        assert_eq!(outcome.verdict, Verdict::Pass, "{outcome:#?}");
    }
}

/// How long a guard waits for a head, or for a client to read.
const LIMIT: Duration = Duration::from_secs(1);

/// A deadline for request heads, with its faults.
#[derive(Clone, Copy, Default)]
struct Guard {
    /// Only the first head of a connection has one.
    first_only: bool,
    /// It goes on when the head is complete.
    never_ends: bool,
    /// It starts anew with each byte.
    restarts: bool,
}

fn guarded(rule: &'static str, says: &'static str, fault: fn(&mut Guard)) -> Twin {
    let mut guard = Guard::default();
    fault(&mut guard);
    let serve = move |client, server| guard.serve(client, server);
    Twin::new(rule, says, move || Box::new(Proxied::start(good(), serve)))
}

/// It ends with the first client that it gives up.
fn mortal(rule: &'static str) -> Twin {
    Twin::new(rule, "a request afterwards", || {
        let ended = Arc::new(AtomicBool::new(false));
        let serve = move |client: TcpStream, server: SocketAddr| {
            if !ended.load(Ordering::Acquire) {
                let began = Instant::now();
                Guard::default().serve(client, server);
                ended.fetch_or(began.elapsed() > LIMIT, Ordering::Release);
            }
        };
        Box::new(Proxied::start(good(), serve))
    })
}

impl Guard {
    fn serve(self, client: TcpStream, server: SocketAddr) {
        let waiting = Mutex::new(Some(Instant::now()));
        let (over, watched) = (AtomicBool::new(false), client.try_clone().unwrap());
        let set = |to: Option<Instant>| *waiting.lock().unwrap() = to;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let late = |since: Instant| since.elapsed() > LIMIT;
                    if waiting.lock().unwrap().is_some_and(late) {
                        let _ = watched.shutdown(Shutdown::Both);
                        return;
                    }
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let mut head = Vec::new();
            let front = |bytes: &mut Vec<u8>| {
                if self.restarts {
                    set(Some(Instant::now()));
                }
                head.extend_from_slice(bytes);
                let begin = head.iter().position(|byte| !b"\r\n".contains(byte));
                let text = &head[begin.unwrap_or(head.len())..];
                if text.windows(4).any(|four| four == b"\r\n\r\n") {
                    head.clear();
                    if !self.never_ends {
                        set(None);
                    }
                }
            };
            let back = |_: &mut Vec<u8>| {
                if !self.first_only {
                    set(Some(Instant::now()));
                }
            };
            tamper(client, server, front, back);
            over.store(true, Ordering::Release);
        });
    }
}

/// Gives a client up at its first pause.
fn hurried(client: TcpStream, server: SocketAddr) {
    client.set_read_timeout(Some(PATIENCE.silence / 2)).unwrap();
    tamper(client, server, |_| {}, |_| {});
}

/// Gives up a client that sends no more, and never tells the application.
fn abandons(client: TcpStream, server: SocketAddr) {
    static KEPT: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
    let Ok(server) = TcpStream::connect(server) else { return };
    client.set_read_timeout(Some(LIMIT)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = vec![0; 4096];
            while let Ok(read @ 1..) = (&client).read(&mut buf) {
                let _ = (&server).write_all(&buf[..read]);
            }
            let _ = (&client).write_all(b"HTTP/1.1 408 x\r\ncontent-length: 0\r\n\r\n");
            let _ = client.shutdown(Shutdown::Both);
            KEPT.lock().unwrap().push(server.try_clone().unwrap());
            let _ = server.shutdown(Shutdown::Read);
        });
        let mut buf = vec![0; 4096];
        while let Ok(read @ 1..) = (&server).read(&mut buf) {
            let _ = (&client).write_all(&buf[..read]);
        }
    });
}

/// Takes whatever the server sends, whether or not the client reads.
pub(crate) fn greedy(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (queue, queued) = mpsc::channel::<Vec<u8>>();
    let taken = Arc::new(AtomicUsize::new(0));
    let enough = 64 * 1024 * 1024;
    thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, |_| {}));
        let reads = taken.clone();
        let from = &server;
        scope.spawn(move || {
            let mut from = from;
            let mut buf = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buf) {
                let all = reads.fetch_add(read, Ordering::Relaxed) + read;
                if queue.send(buf[..read].to_vec()).is_err() || all > enough {
                    return;
                }
            }
        });
        while let Ok(bytes) = queued.recv() {
            if (&client).write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
}

/// Drops a client that does not read.
fn impatient(client: TcpStream, server: SocketAddr) {
    client.set_write_timeout(Some(LIMIT)).unwrap();
    tamper(client, server, |_| {}, |_| {});
}

/// Gives a request up, as soon as its client has closed its sending side.
pub(crate) fn until_fin(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(&server, &client, |_| {}));
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = (&client).read(&mut buf) {
            if (&server).write_all(&buf[..read]).is_err() {
                break;
            }
        }
        let _ = rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO));
        // A reset is sent when the last descriptor is closed: at the end of the scope.
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Read);
    });
}

/// A server with so many threads, each of which a connection holds.
fn crowded(threads: usize) -> Box<dyn Instance> {
    let places = Arc::new((Mutex::new(threads), Condvar::new()));
    let serve = move |client: TcpStream, server| {
        let (free, given_back) = &*places;
        let waited = given_back.wait_while(free.lock().unwrap(), |free| *free == 0);
        *waited.unwrap() -= 1;
        tamper(client, server, |_| {}, |_| {});
        *free.lock().unwrap() += 1;
        given_back.notify_one();
    };
    Box::new(Proxied::start(good(), serve))
}

/// A server that writes under a lock.
pub(crate) fn jammed() -> Proxied {
    let lock = Arc::new(Mutex::new(()));
    Proxied::start(good(), move |client: TcpStream, server| {
        let Ok(server) = TcpStream::connect(server) else { return };
        thread::scope(|scope| {
            scope.spawn(|| pass(&client, &server, |_| {}));
            let mut buf = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = (&server).read(&mut buf) {
                let _locked = lock.lock();
                if (&client).write_all(&buf[..read]).is_err() {
                    break;
                }
            }
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        });
    })
}

/// How many connections a limited server takes.
const PLACES: usize = 8;

/// What a limited server does when all places are taken.
#[derive(Clone, Copy, PartialEq)]
enum Full {
    Waits,
    Refuses,
    Closes,
    /// Refuses, and never gives a place back.
    Leaks,
}

fn limited(full: Full) -> Box<dyn Instance> {
    let taken = Arc::new(AtomicUsize::new(0));
    let serve = move |mut client: TcpStream, server| {
        let more = |taken| (taken < PLACES).then_some(taken + 1);
        let take = || taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if full == Full::Waits {
            eventually("a place", take);
        } else if !take() {
            if full != Full::Closes {
                let _ = client.write_all(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n");
            }
            return;
        }
        tamper(client, server, |_| {}, |_| {});
        // The first few clients are those who ask what the server is.
        if full != Full::Leaks || taken.load(Ordering::Acquire) < PLACES / 2 {
            taken.fetch_sub(1, Ordering::AcqRel);
        }
    };
    Box::new(Proxied::start(good(), serve))
}
