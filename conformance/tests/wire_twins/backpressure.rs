//! Servers that break the rules of `wire/backpressure.rs`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::limits::{greedy, jammed};
use super::twin::{PATIENCE, Twin, pass, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::server("BPR-01", "bytes made", greedy),
        Twin::server("BPR-01", "read on", hasty),
        Twin::server("BPR-02", "bytes taken", hoarder),
        Twin::new("BPR-03", "stalled ones", || Box::new(jammed())),
    ]
}

/// Gives a client up at the first pause.
fn hasty(client: TcpStream, server: SocketAddr) {
    client.set_write_timeout(Some(PATIENCE.silence / 4 + Duration::from_millis(1))).unwrap();
    tamper(client, server, |_| {}, |_| {});
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
