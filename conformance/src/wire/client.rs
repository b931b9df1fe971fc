//! `Client`: sends what it is told to, byte for byte, and keeps a record of both ways.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use crate::verdict::{Event, Excerpt, What};
use crate::wire::Patience;
use crate::wire::unread::queues;

/// The largest response that is read.
const RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// The record of a case: what happened on its connections.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<(Instant, Vec<Event>)>>);

/// How many events a record keeps.
const EVENTS: usize = 200;

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace(Arc::new(Mutex::new((Instant::now(), Vec::new()))))
    }

    /// What has been recorded, and starts anew.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.0 = Instant::now();
        std::mem::take(&mut record.1)
    }

    fn add(&self, connection: usize, what: What) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = record.0.elapsed();
        if record.1.len() < EVENTS {
            record.1.push(Event { at, connection, what });
        }
    }
}

/// A connection to the server under test.
pub struct Client {
    stream: TcpStream,
    number: usize,
    trace: Trace,
    patience: Patience,
    /// Received, and not yet looked at.
    buffer: Vec<u8>,
    end: Option<Ended>,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
    /// It is open, and nothing came in the time given.
    Open,
}

/// What came in answer to a request.
#[derive(Clone, Debug)]
pub enum Received {
    /// A response, perhaps cut off: see [`Response::complete`].
    Response(Box<Response>),
    /// The end of the connection, without a byte.
    Closed,
    /// A reset, without a byte.
    Reset,
    /// Nothing at all, in the time given.
    Nothing,
    /// Bytes that are no response.
    Malformed(String),
}

/// A final response, and the interim ones before it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The interim responses (1xx) before it: their statuses.
    pub interim: Vec<u16>,
    /// `HTTP/1.1`, say.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The header fields in order, names as they came.
    pub fields: Vec<(String, Vec<u8>)>,
    /// How the body is framed.
    pub framing: Framing,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// The sizes of its chunks.
    pub chunks: Vec<usize>,
    /// The trailer fields.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it came to the end that its framing announces.
    pub complete: bool,
    /// What is wrong with its framing, or why it is incomplete.
    pub problem: Option<String>,
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has none, by its status or the request's method.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection.
    Close,
}

impl Response {
    /// The values of all fields with this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &&(String, Vec<u8>)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_slice())
    }

    /// The value of the first field with this name, as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        self.all(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Whether a list-valued field has this member, in upper or lower case.
    #[must_use]
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).any(|value| {
            let value = String::from_utf8_lossy(value);
            value.split(',').any(|one| one.trim().eq_ignore_ascii_case(member))
        })
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Received::Response(response) => {
                write!(f, "{}", response.status)?;
                match &response.problem {
                    Some(problem) => write!(f, " ({problem})"),
                    None => Ok(()),
                }
            }
            Received::Closed => f.write_str("a close without an answer"),
            Received::Reset => f.write_str("a reset without an answer"),
            Received::Nothing => f.write_str("nothing: no answer and no close"),
            Received::Malformed(problem) => write!(f, "bytes that are no response: {problem}"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Closed => "closed",
            Ended::Reset => "reset",
            Ended::Open => "still open",
        })
    }
}

impl Client {
    pub(crate) fn connect(
        address: SocketAddr,
        number: usize,
        trace: &Trace,
        patience: Patience,
    ) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, patience.signal)?;
        Client::over(stream, number, trace, patience)
    }

    /// As [`Client::connect`], from this address of the machine.
    pub(crate) fn connect_from(
        source: Ipv4Addr,
        address: SocketAddrV4,
        number: usize,
        trace: &Trace,
        patience: Patience,
    ) -> io::Result<Client> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        rustix::net::connect(&socket, &address)?;
        Client::over(TcpStream::from(socket), number, trace, patience)
    }

    fn over(
        stream: TcpStream,
        number: usize,
        trace: &Trace,
        patience: Patience,
    ) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience.signal))?;
        trace.add(number, What::Note("connected".to_owned()));
        let (trace, buffer) = (trace.clone(), Vec::new());
        Ok(Client { stream, number, trace, patience, buffer, end: None })
    }

    /// The socket, for what this client has no method for.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How long to wait.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Adds a remark to the record.
    pub fn note(&self, text: impl Into<String>) {
        self.trace.add(self.number, What::Note(text.into()));
    }

    /// Sends bytes as they are. Gives how many the server's side took: fewer when it closed, or
    /// stopped reading for as long as [`Patience::signal`].
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        let bytes = bytes.as_ref();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => break,
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.note(format!("cannot send more: {error}"));
                    break;
                }
            }
        }
        self.trace.add(self.number, What::Sent(Excerpt::of(&bytes[..sent])));
        sent
    }

    /// Sends bytes, and waits until the server's program has read them, so that it sees them by
    /// themselves: the system counts what is still unread. One that does not read is waited for as
    /// long as [`Patience::silence`], and one whose socket is not of this machine not at all.
    pub fn send_apart(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        let sent = self.send(bytes);
        let until = Instant::now() + self.patience.silence;
        while self.is_unread() && Instant::now() < until {
            thread::sleep(self.patience.poll);
        }
        sent
    }

    /// Whether bytes are still on their way, or in the queue of the server's socket.
    fn is_unread(&self) -> bool {
        let ends = [self.stream.local_addr(), self.stream.peer_addr()];
        let [Ok(ours), Ok(theirs)] = ends else { return false };
        queues(ours, theirs).is_ok_and(|(_, sending)| sending > 0)
            || queues(theirs, ours).is_ok_and(|(received, _)| received > 0)
    }

    /// Sends bytes in pieces, each a segment of its own.
    pub fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> usize {
        pieces.into_iter().map(|piece| self.send(piece)).sum()
    }

    /// Closes the sending side alone: a FIN.
    pub fn finish(&mut self) {
        self.note("closed the sending side (FIN)");
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset (RST).
    pub fn reset(self) {
        self.note("reset (RST)");
        let at_once = Some(Duration::ZERO);
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, at_once);
    }

    /// Reads the response to a request with this method, with the usual patience.
    pub fn response(&mut self, method: &str) -> Received {
        self.response_within(method, self.patience.signal)
    }

    /// Reads the response to a request with this method. The time counts between its bytes.
    pub fn response_within(&mut self, method: &str, within: Duration) -> Received {
        let mut interim = Vec::new();
        loop {
            let mut response = match self.head_within(within) {
                Ok(response) => response,
                Err(received) => return received,
            };
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            self.read_body(&mut response, method, within);
            return Received::Response(Box::new(response));
        }
    }

    /// Reads a head alone, interim ones too. The body stays in the buffer.
    ///
    /// # Errors
    ///
    /// What came instead.
    pub fn head_within(&mut self, within: Duration) -> Result<Response, Received> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if find(&self.buffer, b"\n\n").is_some() {
                return Err(Received::Malformed("a head with bare LFs".to_owned()));
            }
            match self.fill(within) {
                None => {}
                Some(_) if !self.buffer.is_empty() => {
                    let excerpt = Excerpt::of(&self.buffer).text;
                    return Err(Received::Malformed(format!("a head without an end: {excerpt}")));
                }
                Some(Ended::Closed) => return Err(Received::Closed),
                Some(Ended::Reset) => return Err(Received::Reset),
                Some(Ended::Open) => return Err(Received::Nothing),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        parse_head(&head[..end]).map_err(Received::Malformed)
    }

    fn read_body(&mut self, response: &mut Response, method: &str, within: Duration) {
        let read = match response.framing(method) {
            Ok(framing) => {
                response.framing = framing;
                match framing {
                    Framing::None => Ok(()),
                    Framing::Length(length) => self.read_length(response, length, within),
                    Framing::Chunked => self.read_chunked(response, within),
                    Framing::Close => self.read_to_close(response, within),
                }
            }
            Err(problem) => Err(problem),
        };
        response.complete = read.is_ok();
        response.problem = read.err();
    }

    fn read_length(
        &mut self,
        response: &mut Response,
        length: u64,
        within: Duration,
    ) -> Result<(), String> {
        while (self.buffer.len() as u64) < length {
            if let Some(end) = self.fill(within) {
                response.body = std::mem::take(&mut self.buffer);
                let got = response.body.len();
                return Err(format!("{got} of {length} bytes of body, then {end}"));
            }
        }
        response.body = self.buffer.drain(..length as usize).collect();
        Ok(())
    }

    fn read_to_close(&mut self, response: &mut Response, within: Duration) -> Result<(), String> {
        let end = loop {
            if let Some(end) = self.fill(within) {
                break end;
            }
        };
        response.body = std::mem::take(&mut self.buffer);
        match end {
            Ended::Closed => Ok(()),
            other => Err(format!("a body that ends with the connection, which is {other}")),
        }
    }

    fn read_chunked(&mut self, response: &mut Response, within: Duration) -> Result<(), String> {
        loop {
            let line = self.line(within).map_err(|end| format!("a chunk's size, then {end}"))?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.trim().bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
                .ok_or_else(|| format!("no chunk size: {:?}", line.escape_ascii().to_string()))?;
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                if let Some(end) = self.fill(within) {
                    let got = self.buffer.len().min(size);
                    response.body.extend(self.buffer.drain(..got));
                    return Err(format!("{got} of {size} bytes of a chunk, then {end}"));
                }
            }
            response.body.extend(self.buffer.drain(..size));
            response.chunks.push(size);
            let end: Vec<u8> = self.buffer.drain(..2).collect();
            if end != b"\r\n" {
                return Err(format!("a chunk that ends with {:?}", end.escape_ascii().to_string()));
            }
        }
        loop {
            let line = self.line(within).map_err(|end| format!("the trailers, then {end}"))?;
            if line.is_empty() {
                return Ok(());
            }
            response.trailers.push(parse_field(&line)?);
        }
    }

    fn line(&mut self, within: Duration) -> Result<Vec<u8>, Ended> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                line.truncate(at);
                return Ok(line);
            }
            if let Some(end) = self.fill(within) {
                return Err(end);
            }
        }
    }

    /// Reads exactly so many bytes, or what there was before the end.
    pub fn bytes(&mut self, count: usize, within: Duration) -> Vec<u8> {
        while self.buffer.len() < count && self.fill(within).is_none() {}
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// Reads until the connection ends, or nothing comes for so long.
    pub fn rest(&mut self, within: Duration) -> (Vec<u8>, Ended) {
        let end = loop {
            if let Some(end) = self.fill(within) {
                break end;
            }
        };
        (std::mem::take(&mut self.buffer), end)
    }

    /// Whether anything comes within the time given, and stays in the buffer.
    pub fn is_silent(&mut self, within: Duration) -> bool {
        self.buffer.is_empty() && self.fill(within) == Some(Ended::Open)
    }

    /// How the connection stands, with the usual patience for its end. Bytes that come are dropped.
    pub fn ended(&mut self) -> Ended {
        self.rest(self.patience.signal).1
    }

    /// Reads more into the buffer; or says why there is no more.
    fn fill(&mut self, within: Duration) -> Option<Ended> {
        if let Some(end) = self.end {
            return Some(end);
        }
        if self.buffer.len() > RESPONSE_BYTES {
            self.note("more than this client reads");
            return Some(Ended::Open);
        }
        let _ = self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1))));
        let mut chunk = [0; 16 * 1024];
        loop {
            let end = match self.stream.read(&mut chunk) {
                Ok(0) => Ended::Closed,
                Ok(read) => {
                    self.trace.add(self.number, What::Received(Excerpt::of(&chunk[..read])));
                    self.buffer.extend_from_slice(&chunk[..read]);
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    self.note(format!("nothing for {within:?}"));
                    return Some(Ended::Open);
                }
                Err(_) => Ended::Reset,
            };
            self.note(format!("the server's side is {end}"));
            self.end = Some(end);
            return Some(end);
        }
    }
}

impl Response {
    /// How its body is framed: RFC 9112, section 6.3.
    fn framing(&self, method: &str) -> Result<Framing, String> {
        let bodyless = matches!(self.status, 100..200 | 204 | 304);
        if method == "HEAD" || bodyless || (method == "CONNECT" && self.status / 100 == 2) {
            return Ok(Framing::None);
        }
        if self.all("transfer-encoding").next().is_some() {
            return match self.field("transfer-encoding") {
                Some(coding) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
                coding => Err(format!("an unknown transfer coding: {coding:?}")),
            };
        }
        match self.all("content-length").collect::<Vec<_>>()[..] {
            [] => Ok(Framing::Close),
            [length] => std::str::from_utf8(length)
                .ok()
                .and_then(|length| length.parse().ok())
                .map(Framing::Length)
                .ok_or_else(|| format!("a bad Content-Length: {length:?}")),
            _ => Err("several Content-Length fields".to_owned()),
        }
    }
}

/// Where `needle` begins.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse_head(head: &[u8]) -> Result<Response, String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| match line {
        [line @ .., b'\r'] => line,
        line => line,
    });
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.splitn(3, ' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = match status.parse() {
        Ok(status @ 100..=999) if version.starts_with("HTTP/1.") && status_is_digits(&first) => {
            status
        }
        _ => return Err(format!("no status line: {:?}", Excerpt::of(first.as_bytes()).text)),
    };
    Ok(Response {
        interim: Vec::new(),
        version: version.to_owned(),
        status,
        fields: lines.map(parse_field).collect::<Result<_, _>>()?,
        framing: Framing::None,
        body: Vec::new(),
        chunks: Vec::new(),
        trailers: Vec::new(),
        complete: true,
        problem: None,
    })
}

/// Exactly three digits, with nothing but a space behind.
fn status_is_digits(line: &str) -> bool {
    line.split(' ').nth(1).is_some_and(|status| status.len() == 3)
}

fn parse_field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let bad = || format!("no header field: {:?}", Excerpt::of(line).text);
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(bad)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    if name.is_empty() || name.contains([' ', '\t']) {
        return Err(bad());
    }
    Ok((name.to_owned(), value.trim_ascii().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn client(listener: &TcpListener) -> (Client, TcpStream) {
        let address = listener.local_addr().unwrap();
        let client = Client::connect(address, 1, &Trace::new(), Patience::scaled(1.0)).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_sent_apart_is_read_apart() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let (mut client, mut server) = client(&listener);
            let reads = thread::spawn(move || {
                let mut buf = [0; 64];
                let reads = std::iter::repeat_with(|| server.read(&mut buf).unwrap());
                reads.take_while(|read| *read > 0).collect::<Vec<_>>()
            });
            for piece in [&b"a"[..], b"bcd", b"e", b"fg", b"h"] {
                client.send_apart(piece);
            }
            client.finish();
            assert_eq!(reads.join().unwrap(), [1, 3, 1, 2, 1]);
        }
    }

    #[test]
    fn who_does_not_read_is_waited_for_and_then_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut client, server) = client(&listener);
        let began = Instant::now();
        assert_eq!(client.send_apart(b"unread"), 6);
        assert!(began.elapsed() >= client.patience.silence);
        assert!(client.is_unread());
        drop(server);
        assert!(!client.is_unread());
    }
}
