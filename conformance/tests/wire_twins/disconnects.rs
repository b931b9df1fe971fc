//! Servers that break the rules of `wire/disconnects.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use gateway_conformance::wire::Instance;

use super::limits::until_fin;
use super::twin::{Proxied, Twin, good, pass, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    vec![
        Twin::server("DRP-01", "body reading", deaf),
        Twin::server("DRP-01", "body end", pads),
        Twin::server("DRP-02", "at work, then a reset", deaf),
        Twin::server("DRP-02", "before an unread body", busy),
        Twin::server("DRP-02", "then a FIN", until_fin),
        Twin::server("DRP-05", "alive", deaf),
        Twin::new("DRP-05", "descriptors", || Box::new(leaky())),
    ]
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
