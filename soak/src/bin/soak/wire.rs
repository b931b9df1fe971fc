//! `Connection`: HTTP/1.1 as a client writes and reads it, byte for byte, with what it needs to
//! show afterwards.
//!
//! A library would refuse to send what is malformed, would hide when a connection was closed, and
//! would not show the bytes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::timeout;
use gateway_net::TcpStream;
use rustix::net::sockopt::set_socket_linger;

use crate::settings::PATIENCE;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// The longest line of a head that is read, in bytes.
const LINE_BYTES: usize = 64 * 1024;

/// How much of each direction is kept to be shown, in bytes: its beginning.
const SHOWN_BYTES: usize = 600;

/// Bytes of one direction: how many, and how they began.
#[derive(Default)]
pub(crate) struct Seen {
    first: Vec<u8>,
    count: usize,
}

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        self.count += bytes.len();
        let room = SHOWN_BYTES - self.first.len();
        self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whether there were none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether they begin as an answer with a status of 4xx or 5xx does.
    pub(crate) fn is_refusal(&self) -> bool {
        self.first.starts_with(b"HTTP/1.1 4") || self.first.starts_with(b"HTTP/1.1 5")
    }

    /// As text.
    pub(crate) fn show(&self) -> String {
        let more = if self.count > self.first.len() { "… " } else { "" };
        format!("{}{more} ({} bytes)", self.first.escape_ascii(), self.count)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first field of this name, which is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it says that its connection ends with it.
    pub(crate) fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Whether a byte of it came.
    pub(crate) begun: bool,
    pub(crate) how: How,
}

/// How it ended instead.
#[derive(Debug)]
pub(crate) enum How {
    /// The server has closed the connection, or reset it.
    Ended(String),
    /// Nothing more came within [`PATIENCE`].
    Silent,
    /// What came is not HTTP/1.1.
    Malformed(String),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Ended(how) => f.write_str(how),
            How::Silent => write!(f, "nothing more came within {PATIENCE:?}"),
            How::Malformed(what) => write!(f, "this is not HTTP/1.1: {what}"),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { begun, how } = self;
        write!(f, "{}, {how}", if *begun { "a part of an answer" } else { "not a byte" })
    }
}

/// One connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    pub(crate) sent: Seen,
    pub(crate) came: Seen,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = timeout(PATIENCE, TcpStream::connect_to(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, unread: Vec::new(), sent: Seen::default(), came: Seen::default() })
    }

    /// Sends bytes. That the server does not take them is no failure yet: it may have answered.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        self.sent.add(bytes);
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Reads one answer whole, within [`PATIENCE`]. An interim one is an answer as well. What came
    /// before is not shown any more.
    pub(crate) async fn answer(&mut self) -> Result<Answer, Broken> {
        self.came = Seen::default();
        self.came.add(&self.unread);
        let answer = match timeout(PATIENCE, self.read_answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(How::Silent),
        };
        answer.map_err(|how| Broken { begun: !self.came.is_empty(), how })
    }

    async fn read_answer(&mut self) -> Result<Answer, How> {
        let line = self.line().await?;
        let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| How::Malformed(format!("status line {line:?}")))?;
        let fields = self.fields().await?;
        let mut answer = Answer { status, fields, body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        if answer.field("transfer-encoding").is_some() {
            loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(&line, 16);
                let size = size.map_err(|_| How::Malformed(format!("chunk size {line:?}")))?;
                if size == 0 {
                    self.fields().await?;
                    return Ok(answer);
                }
                self.take(size, &mut answer.body).await?;
                if !self.line().await?.is_empty() {
                    return Err(How::Malformed("a chunk longer than its size".into()));
                }
            }
        }
        let length = answer.field("content-length").and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| How::Malformed("an answer without a length".into()))?;
        self.take(length, &mut answer.body).await?;
        Ok(answer)
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>, How> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let field = line.split_once(':');
            let (name, value) = field.ok_or_else(|| How::Malformed(format!("field {line:?}")))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> Result<String, How> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.unread[looked..].windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..looked + end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned());
            }
            looked = self.unread.len().saturating_sub(1);
            if looked > LINE_BYTES {
                return Err(How::Malformed("a line without an end".into()));
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, mut count: usize, into: &mut Vec<u8>) -> Result<(), How> {
        loop {
            let now = count.min(self.unread.len());
            into.extend(self.unread.drain(..now));
            count -= now;
            if count == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    /// Reads on; an end of the input is an error.
    async fn more(&mut self) -> Result<(), How> {
        match self.read().await {
            Ok(0) => Err(How::Ended("the connection was closed".into())),
            Ok(_) => Ok(()),
            Err(error) => Err(How::Ended(error.to_string())),
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let before = self.unread.len();
        self.unread.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.unread[before..]).await;
        self.unread.truncate(before + read.as_ref().map_or(0, |read| *read));
        self.came.add(&self.unread[before..]);
        read
    }

    /// Forgets what was seen so far, so that the next request is shown alone.
    pub(crate) fn forget(&mut self) {
        (self.sent, self.came) = Default::default();
    }

    /// Whether there is something to be read that nobody has asked for.
    pub(crate) fn has_surplus(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Reads and drops so many bytes, or until the end. Whether there were so many.
    pub(crate) async fn skip(&mut self, mut count: usize) -> Result<bool, How> {
        loop {
            let now = count.min(self.unread.len());
            self.unread.drain(..now);
            count -= now;
            if count == 0 {
                return Ok(true);
            }
            match timeout(PATIENCE, self.read()).await {
                Ok(Ok(0) | Err(_)) => return Ok(false),
                Ok(Ok(_)) => {}
                Err(_) => return Err(How::Silent),
            }
        }
    }

    /// Waits until the server ends the connection, for so long at most. Whether it has.
    pub(crate) async fn ends_within(&mut self, duration: Duration) -> bool {
        let to_the_end = async {
            while !matches!(self.read().await, Ok(0) | Err(_)) {
                self.unread.clear();
            }
        };
        timeout(duration, to_the_end).await.is_ok()
    }

    /// Closes the sending side.
    pub(crate) fn close_write(&mut self) {
        // It fails only where the connection is gone, which the next read says better.
        let _ = self.stream.close_write();
    }

    /// Resets the connection: the server is told that nobody is there, and loses what it has sent.
    pub(crate) fn reset(self) {
        if let Ok(fd) = self.stream.fd() {
            let _ = set_socket_linger(fd, Some(Duration::ZERO));
        }
    }

    /// Without the bytes, for a protocol that is somebody else's.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}
