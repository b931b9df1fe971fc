//! Servers that break the rules of `wire/backpressure.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::jobs::tired;
use super::limits::{greedy, jammed};
use super::persistence::answers;
use super::twin::{PATIENCE, Twin, pass, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::server("BPR-01", "bytes made", greedy),
        Twin::server("BPR-01", "read on", hasty),
        answers("BPR-01", "read late", |asked, mut answer| {
            let cut = asked.has("bytes=39321600") || asked.has("chunks=600");
            answer.truncate(if cut { 39_000_000 } else { answer.len() });
            (answer, asked.stays() && !cut)
        }),
        Twin::server("BPR-02", "bytes taken", hoarder),
        Twin::back(
            "BPR-02",
            "when it reads on: 200; calls 1, handler finished, body cut",
            |bytes| {
                replace(bytes, b"\"body\":\"end\"", b"\"body\":\"cut\"");
            },
        ),
        Twin::server(
            "BPR-02",
            "a length of 1 GiB, to a handler that does not read",
            |client, server| {
                hoards(client, server, |head| head.contains("1073741824"));
            },
        ),
        Twin::server("BPR-02", "a handler that has read one piece", |client, server| {
            hoards(client, server, |head| head.contains("/first-read"));
        }),
        tired("BPR-03", "/known?bytes=100000, beside 3 stalled ones: nothing", b"GET /known", 0),
        tired("BPR-03", "/slow?ms=20, beside 3 stalled ones: nothing", b"GET /slow", 0),
        Twin::new("BPR-03", "stalled ones", || Box::new(jammed())),
    ]
}

/// Gives a client up at the first pause.
fn hasty(client: TcpStream, server: SocketAddr) {
    client.set_write_timeout(Some(PATIENCE.silence / 4 + Duration::from_millis(1))).unwrap();
    tamper(client, server, |_| {}, |_| {});
}

/// Does so for requests whose head looks like this.
fn hoards(client: TcpStream, server: SocketAddr, when: fn(&str) -> bool) {
    let mut head = [0; 512];
    let peeked = client.peek(&mut head).unwrap_or_default();
    if when(&String::from_utf8_lossy(&head[..peeked])) {
        hoarder(client, server);
    } else {
        tamper(client, server, |_| {}, |_| {});
    }
}

/// Takes whatever the client sends, whether or not the application asks for it.
fn hoarder(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (queue, queued) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let from = &client;
        scope.spawn(move || {
            let mut from = from;
            let mut buf = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buf) {
                if queue.send(buf[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let to = &server;
        scope.spawn(move || {
            let mut to = to;
            while let Ok(bytes) = queued.recv() {
                if to.write_all(&bytes).is_err() {
                    return;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
        pass(&server, &client, |_| {});
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
}
