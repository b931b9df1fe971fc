//! The load: clients that keep their connections and clients that don't, and what became of each
//! request.
//!
//! A request carries a number, and its answer has to be that number. It is lost unless the answer
//! comes whole. One exception: when a connection that has been used before ends without a byte of
//! the answer, the server was just closing it, and the client sends the request once more on a
//! connection of its own. RFC 9110, section 9.2.2, allows that for idempotent methods, as PUT is.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many clients keep their connection, and how many open one for each request.
const KEEP: usize = 6;
const ONCE: usize = 6;

/// How long a client rests between two requests: a load that leaves the machine some time.
const REST: Duration = Duration::from_millis(2);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many losses are described.
const DESCRIBED: usize = 5;

/// What became of all requests.
#[derive(Default)]
pub(crate) struct Tally {
    stop: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// Of those answered: at the second attempt.
    pub(crate) retried: AtomicU64,
    losses: Mutex<Vec<String>>,
}

impl Tally {
    /// The requests that were lost: how many, and how the first of them.
    pub(crate) fn lost(&self) -> (u64, String) {
        let described = self.losses.lock().map(|losses| losses.join("; ")).unwrap_or_default();
        (self.sent.load(Relaxed) - self.answered.load(Relaxed), described)
    }

    fn loses(&self, number: u64, why: &str) {
        if let Ok(mut losses) = self.losses.lock() {
            if losses.len() < DESCRIBED {
                losses.push(format!("request {number}: {why}"));
            }
        }
    }
}

/// Clients that send one request after the other until they are told to stop.
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: Vec<JoinHandle<()>>,
    /// How many requests of each have been answered.
    answered: Vec<Arc<AtomicU64>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Load {
        let tally = Arc::new(Tally::default());
        let client = |n| {
            let (tally, answered) = (tally.clone(), Arc::new(AtomicU64::new(0)));
            let count = answered.clone();
            (thread::spawn(move || client(address, n < KEEP, &tally, &count)), answered)
        };
        let (clients, answered) = (0..KEEP + ONCE).map(client).unzip();
        Load { tally, clients, answered }
    }

    /// How many requests of each client have been answered so far.
    pub(crate) fn answered(&self) -> Vec<u64> {
        self.answered.iter().map(|count| count.load(Relaxed)).collect()
    }

    /// Lets the clients finish.
    pub(crate) fn stop(self) -> Result<Arc<Tally>, String> {
        self.tally.stop.store(true, Relaxed);
        for client in self.clients {
            client.join().map_err(|_| "a client has panicked")?;
        }
        Ok(self.tally)
    }
}

fn client(address: SocketAddr, keeps: bool, tally: &Tally, answered: &AtomicU64) {
    let mut kept: Option<Connection> = None;
    while !tally.stop.load(Relaxed) {
        let number = tally.sent.fetch_add(1, Relaxed);
        let mut asked = ask(kept.take(), address, number, keeps);
        if let Err(Failed::Unused) = asked {
            asked = ask(None, address, number, keeps);
            tally.retried.fetch_add(u64::from(asked.is_ok()), Relaxed);
        }
        match asked {
            Ok(connection) => {
                tally.answered.fetch_add(1, Relaxed);
                answered.fetch_add(1, Relaxed);
                kept = connection;
            }
            Err(Failed::Lost(why)) => tally.loses(number, &why),
            Err(Failed::Unused) => tally.loses(number, "a connection of its own was not used"),
        }
        thread::sleep(REST);
    }
}

/// Why there is no answer.
enum Failed {
    /// A connection that was used before has ended, without a byte of it.
    Unused,
    Lost(String),
}

/// One connection, used before or not.
struct Connection {
    stream: BufReader<TcpStream>,
    local: SocketAddr,
    used: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok(Connection { stream: BufReader::new(stream), local, used: false })
    }
}

/// Sends one request, and gives the connection back where it can be used again.
fn ask(
    kept: Option<Connection>,
    address: SocketAddr,
    number: u64,
    keeps: bool,
) -> Result<Option<Connection>, Failed> {
    let lost = |what: &str, error: &dyn std::fmt::Display| Failed::Lost(format!("{what}: {error}"));
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(address).map_err(|error| lost("cannot connect", &error))?,
    };
    let body = number.to_string();
    let request = format!(
        "PUT /echo?number={number}&from={} HTTP/1.1\r\nhost: rolling\r\nconnection: {}\r\n\
         content-length: {}\r\n\r\n{body}",
        connection.local,
        if keeps { "keep-alive" } else { "close" },
        body.len(),
    );
    // Whether it could be sent shows in what comes.
    let sent = connection.stream.get_mut().write_all(request.as_bytes());
    match first(&mut connection.stream) {
        Ok(begun) if !begun.is_empty() => {}
        _ if connection.used => return Err(Failed::Unused),
        Ok(_) => return Err(lost("closed without an answer", &format!("{sent:?}"))),
        Err(error) => return Err(lost("no answer", &error)),
    }
    let answer =
        Answer::read(&mut connection.stream).map_err(|error| lost("no whole answer", &error))?;
    if answer.status != 200 || answer.body != body.as_bytes() {
        return Err(lost("not its own answer", &answer.shown()));
    }
    if !connection.stream.buffer().is_empty() {
        return Err(lost("more than one answer", &connection.stream.buffer().escape_ascii()));
    }
    if keeps && !answer.closes {
        return Ok(Some(Connection { used: true, ..connection }));
    }
    let mut rest = Vec::new();
    match connection.stream.read_to_end(&mut rest) {
        Ok(_) if !rest.is_empty() => Err(lost("more than one answer", &rest.escape_ascii())),
        // It has its answer, whole; how the connection ends does not matter.
        _ => Ok(None),
    }
}

/// Waits for the first bytes of an answer.
fn first(stream: &mut BufReader<TcpStream>) -> std::io::Result<&[u8]> {
    // Reading is interrupted when a process is stopped and goes on.
    while stream.fill_buf().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
    stream.fill_buf()
}

struct Answer {
    status: u16,
    closes: bool,
    body: Vec<u8>,
}

impl Answer {
    fn read(stream: &mut impl BufRead) -> Result<Answer, String> {
        let status = line(stream)?.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or("this is no status line")?;
        let (mut length, mut closes, mut body) = (None, false, Vec::new());
        loop {
            let field = line(stream)?.to_ascii_lowercase();
            match field.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse().ok(),
                Some(("connection", value)) => closes = value == "close",
                Some(_) => {}
                None => break,
            }
        }
        // Without a length it is chunked.
        while let Some(size) = match length {
            Some(size) => Some(size),
            None => usize::from_str_radix(&line(stream)?, 16).ok().filter(|size| *size > 0),
        } {
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..]).map_err(|error| error.to_string())?;
            if length.is_some() {
                return Ok(Answer { status, closes, body });
            }
            line(stream)?;
        }
        line(stream)?;
        Ok(Answer { status, closes, body })
    }

    fn shown(&self) -> String {
        format!("{} {}", self.status, self.body.escape_ascii())
    }
}

fn line(stream: &mut impl BufRead) -> Result<String, String> {
    let mut line = String::new();
    stream.read_line(&mut line).map_err(|error| error.to_string())?;
    let whole = line.strip_suffix("\r\n").map(str::to_owned);
    whole.ok_or_else(|| format!("it ends with {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What a client says of a server that answers so.
    fn asked(answer: &str) -> Result<bool, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, answer) = (listener.local_addr().unwrap(), answer.to_owned());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let asked = ask(None, address, 7, false);
        server.join().unwrap();
        match asked {
            Ok(kept) => Ok(kept.is_some()),
            Err(Failed::Unused) => Err("unused".to_owned()),
            Err(Failed::Lost(why)) => Err(why),
        }
    }

    #[test]
    fn an_answer_is_whole_and_its_own_or_the_request_is_lost() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7"), Ok(false));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n";
        assert_eq!(asked(chunked), Ok(false));
        for (answer, why) in [
            ("", "closed without an answer"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n8", "not its own answer: 200 8"),
            ("HTTP/1.1 503 No\r\ncontent-length: 1\r\n\r\n7", "not its own answer: 503 7"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n7", "no whole answer"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7HTTP/1.1", "more than one answer"),
        ] {
            let said = asked(answer).unwrap_err();
            assert!(said.starts_with(why), "{answer:?}: {said}");
        }
    }
}
