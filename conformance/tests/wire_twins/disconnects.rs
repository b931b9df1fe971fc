//! Servers that break the rules of `wire/disconnects.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use gateway_conformance::probe;
use gateway_conformance::wire::Instance;
use gateway_http::run_on;

use super::limits::until_fin;
use super::twin::{Proxied, Twin, good, pass, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::server("DRP-01", "body reading", deaf),
        Twin::server("DRP-01", "body end", pads),
        Twin::app("DRP-01", "a handler at work, then a", || run_on(probe::app())),
        Twin::server("DRP-02", "at work, then a reset", deaf),
        Twin::server("DRP-02", "before an unread body", busy),
        Twin::server("DRP-02", "then a FIN", until_fin),
        Twin::server("DRP-05", "alive", deaf),
        Twin::back("DRP-01", "chunks without the last one, then a FIN", |bytes| {
            replace(bytes, b"\"body\":\"error\"", b"\"body\":\"end\"  ");
            replace(bytes, b"\"state\":\"cancelled\"", b"\"state\":\"finished\" ");
            replace(bytes, b"\"body\":\"reading\"", b"\"body\":\"end\"    ");
        }),
        Twin::back("DRP-02", "a body being sent, then a reset", |bytes| {
            replace(bytes, b"\"send\":\"cancelled\"", b"\"send\":\"none\"     ");
            replace(bytes, b"\"send\":\"error\"", b"\"send\":\"none\" ");
        }),
        Twin::back_of("GET /hold", ("DRP-02", "then a FIN, in the end"), |bytes| {
            replace(bytes, b" 200 OK", b" 500 No");
        }),
        Twin::server(
            "DRP-02",
            "a handler before a body to come, then a reset",
            |client, server| {
                let mut head = [0; 512];
                let peeked = client.peek(&mut head).unwrap_or_default();
                let text = String::from_utf8_lossy(&head[..peeked]).into_owned();
                if text.starts_with("POST /hold") && text.contains("Content-Length") {
                    deaf(client, server);
                } else {
                    tamper(client, server, |_| {}, |_| {});
                }
            },
        ),
        Twin::new("DRP-05", "descriptors", || Box::new(leaky())),
        Twin::new("DRP-05", "behind clients", || Box::new(exhausted())),
    ]
    .into_iter()
    .chain(PHASES.map(|phase| Twin::new("DRP-05", "alive", move || Box::new(forgetful(phase)))))
    .collect()
}

/// What has come of the requests whose clients leave, each in another phase: of the first nothing.
const PHASES: [&str; 7] = [
    "",
    "GET / HTTP/1.1\r\nHost: x\r\n",
    "POST /read",
    "GET /hold",
    "GET /gated",
    "GET /stream",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
];

/// Takes all for alive who ever were in one phase, and keeps their descriptors.
struct Forgetful(Proxied, Arc<AtomicUsize>);

fn forgetful(phase: &'static str) -> Forgetful {
    let came = Arc::new(AtomicUsize::new(0));
    let alive = came.clone();
    let server = Proxied::start(good(), move |client: TcpStream, server| {
        let (mut first, asks) = (true, AtomicBool::new(false));
        alive.fetch_add(usize::from(phase.is_empty()), Ordering::Relaxed);
        let front = |bytes: &mut Vec<u8>| {
            asks.store(bytes.starts_with(b"GET /live"), Ordering::Release);
            let meant = first && !phase.is_empty() && bytes.starts_with(phase.as_bytes());
            alive.fetch_add(usize::from(meant), Ordering::Relaxed);
            first = false;
        };
        let back = |bytes: &mut Vec<u8>| {
            if !asks.load(Ordering::Acquire) {
                return;
            }
            let text = String::from_utf8_lossy(bytes);
            let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
            if let Ok(live) = body.trim().parse::<usize>() {
                let live = (live + alive.load(Ordering::Relaxed)).to_string();
                let length = live.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                *bytes = (head + &live).into_bytes();
            }
        };
        tamper(client, server, front, back);
    });
    Forgetful(server, came)
}

impl Instance for Forgetful {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn terminate(&mut self) {
        self.0.terminate();
    }

    fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        Some(self.1.load(Ordering::Relaxed))
    }
}

/// Never hears of a client that leaves.
fn deaf(client: TcpStream, server: SocketAddr) {
    forward(client, server, |_| b"");
}

/// Does so only where it has not much to read.
fn busy(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let mut read = 0;
    let watched = server.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pass(&server, &client, |_| {}));
        let mut buf = [0; 4096];
        while let Ok(more @ 1..) = (&client).read(&mut buf) {
            read += more;
            let _ = (&server).write_all(&buf[..more]);
        }
        if read < 16 * 1024 {
            let _ =
                rustix::net::sockopt::set_socket_linger(&server, Some(std::time::Duration::ZERO));
            let _ = watched.shutdown(std::net::Shutdown::Read);
        }
    });
}

/// Makes a whole body of half a one.
fn pads(client: TcpStream, server: SocketAddr) {
    forward(client, server, |head| {
        let length = head.windows(14).any(|word| word == b"Content-Length");
        if length { b"00000" } else { b"" }
    });
}

/// Passes bytes on, and in place of the client's end what `end` makes of its first bytes.
fn forward(client: TcpStream, server: SocketAddr, end: fn(&[u8]) -> &'static [u8]) {
    let Ok(server) = TcpStream::connect(server) else { return };
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut buf, mut first) = ([0; 4096], Vec::new());
            while let Ok(read @ 1..) = (&client).read(&mut buf) {
                first.extend_from_slice(&buf[..read]);
                if (&server).write_all(&buf[..read]).is_err() {
                    return;
                }
            }
            let _ = (&server).write_all(end(&first));
        });
        pass(&server, &client, |_| {});
        let _ = client.shutdown(std::net::Shutdown::Both);
    });
}

/// Serves nobody any more when twenty have left without a word.
fn exhausted() -> Proxied {
    let left = Arc::new(AtomicUsize::new(0));
    Proxied::start(good(), move |client: TcpStream, server| match client.peek(&mut [0]) {
        Ok(1) if left.load(Ordering::Relaxed) < 20 => tamper(client, server, |_| {}, |_| {}),
        _ => drop(left.fetch_add(1, Ordering::Relaxed)),
    })
}

/// Keeps a descriptor of each client.
struct Leaky {
    server: Proxied,
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

fn leaky() -> Leaky {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = kept.clone();
    let server = Proxied::start(good(), move |client: TcpStream, server| {
        keeps.lock().unwrap().push(client.try_clone().unwrap());
        tamper(client, server, |_| {}, |_| {});
    });
    Leaky { server, kept }
}

impl Instance for Leaky {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn terminate(&mut self) {
        self.server.terminate();
    }

    fn has_ended(&mut self) -> bool {
        self.server.has_ended()
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        Some(self.kept.lock().unwrap().len())
    }
}
