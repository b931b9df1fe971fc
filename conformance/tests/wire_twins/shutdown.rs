//! Servers that break the rules of `wire/shutdown.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gateway_conformance::probe;
use gateway_conformance::wire::Instance;
use gateway_http::{Deadlines, Server};
use gateway_tests::Serving;
use gateway_tokio::Tokio;

use super::jobs::Endless;
use super::limits::passes;
use super::twin::{Good, Proxied, Twin, good, pass, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::new("SHD-01", "a handler at work", abrupt),
        Twin::new("SHD-01", "half a request's body", abrupt),
        Twin::new("SHD-01", "a response that is being sent", abrupt),
        Twin::server("SHD-01", "between two requests", clings),
        Twin::server("SHD-01", "before its first request", clings),
        Twin::new("SHD-01", "a new connection while it drains", || Box::new(Stubborn(good()))),
        Twin::new("SHD-01", "it still runs", || Box::new(Endless(good()))),
        Twin::back("SHD-02", "Connection: None", unclosed),
        Twin::server("SHD-02", "its connection afterwards: still open", clings),
        Twin::new("SHD-03", "it still runs", || Box::new(Stubborn(good()))),
        Twin::server("SHD-03", "a handler without end", excuses),
        Twin::server("SHD-03", "still open", clings),
        Twin::new("SHD-04", "requests in hand", abrupt),
        Twin::back("SHD-04", "does not say close", unclosed),
        Twin::new("SHD-04", "half an answer", || Box::new(halving())),
        Twin::new("SHD-05", "start 1, at once", || Box::new(unready(503))),
        Twin::new("SHD-05", "a close without an answer", || Box::new(unready(0))),
    ]
}

#[test]
fn a_server_that_drains_passes() {
    passes([Twin::new("SHD-03", "", good)]);
}

/// Drops at once what it has in hand.
fn abrupt() -> Box<dyn Instance> {
    let server = Server::new(probe::app())
        .deadlines(Deadlines { drain: Duration::ZERO, ..Deadlines::default() });
    Box::new(Good(Serving::start(Tokio::new(2).expect("the host starts"), server)))
}

/// Keeps its clients' connections when the server has closed its own.
pub(crate) fn clings(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, |_| {}));
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = (&server).read(&mut buf) {
            if (&client).write_all(&buf[..read]).is_err() {
                break;
            }
        }
    });
}

/// Pretends that what was cut off was all there is.
fn excuses(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let mut answered = false;
    thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, |_| {}));
        let mut buf = [0; 4096];
        while let Ok(read @ 1..) = (&server).read(&mut buf) {
            answered = true;
            if (&client).write_all(&buf[..read]).is_err() {
                break;
            }
        }
        if !answered {
            let _ = (&client).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nslow\n");
        }
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn unclosed(bytes: &mut Vec<u8>) {
    replace(bytes, b"connection: close\r\n", b"");
}

/// Loses half an answer, once it has given many.
fn halving() -> Proxied {
    let answers = Arc::new(AtomicUsize::new(0));
    Proxied::start(good(), move |client, server| {
        let cut = |bytes: &mut Vec<u8>| {
            if bytes.ends_with(b"ok\n") && answers.fetch_add(1, Ordering::Relaxed) > 3 {
                bytes.truncate(bytes.len() - 2);
            }
        };
        tamper(client, server, |_| {}, cut);
    })
}

/// Takes no notice of being told to end.
struct Stubborn(Box<dyn Instance>);

impl Instance for Stubborn {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn terminate(&mut self) {}

    fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    fn memory(&self) -> Option<u64> {
        None
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }
}

/// Listens before it can answer: its first clients get this status, or a close.
fn unready(status: u16) -> Proxied {
    let met = Arc::new(AtomicUsize::new(0));
    Proxied::start(good(), move |mut client, server| {
        // The first two connections ask what the server is, and so does the third.
        if met.fetch_add(1, Ordering::AcqRel) % 3 != 2 {
            return tamper(client, server, |_| {}, |_| {});
        }
        if status > 0 {
            let _ = write!(client, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        }
        // It has read the request, so that its close is none that resets.
        let _ = client.read(&mut [0; 4096]);
    })
}
