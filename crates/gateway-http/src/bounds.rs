//! `Deadlines` and `Limits`: what a server waits for and how long, what it takes and how much.
//!
//! All of them are on from the start. What the client sees when one is reached:
//!
//! | deadline | runs | the client sees |
//! |---|---|---|
//! | `proxy` | from the accept to the end of a PROXY header, from a trusted proxy | a close |
//! | `handshake` | from there to the end of a TLS handshake | a close |
//! | `head` | from the first byte of a head, or from the accept, to its end | 408 and a close; without a byte a close |
//! | `body` | while a handler waits for the next piece of a body | 408 and a close, if the head is unsent |
//! | `handler` | from a request's head to the response's | 503 |
//! | `write` | while nothing can be sent, since the client does not read | a reset |
//! | `idle` | between the requests of a connection | a close |
//! | `grace` | since the client has closed its sending side | a close |
//! | `drain` | from the end of accepting to the end of the server | a close |
//!
//! | limit | beyond it |
//! |---|---|
//! | `connections` | nothing is accepted until one has gone: the system's queue waits |
//! | `head_bytes`, `head_fields` | 431 and a close |
//! | `target_bytes` | 414 and a close |
//! | `body_bytes` | 413 and a close, as soon as the handler reads that far |
//! | `streams` | HTTP/2 refuses the stream |
//! | `head_bytes`, of pipelined requests | they are not read before the one in hand is answered |
//! | [`FLOOD`](crate::FLOOD) | the connection ends |
//!
//! # Memory
//!
//! A connection of HTTP/1.1 holds at most a head that it reads, what one read has brought beyond a
//! message's end, and what waits to be sent: `head_bytes` each, the last in a buffer that grows by
//! doubling. Besides, one piece of a response's body, and what its handler holds. In all
//! `5 × head_bytes` and some kilobytes. Idle it keeps what its largest head took, and some 30 kilobytes
//! at most beside.
//! One of HTTP/2 holds at most 1 MiB of bodies that nobody has read yet, and for each of its
//! `streams` one head and [`STREAM_BUFFER`](crate::STREAM_BUFFER) bytes to send: 14 MiB with the
//! defaults. A server's bound is that times `connections`; see `docs/deploy.md` for choosing it.

use std::time::Duration;

/// How long a server waits, for each thing that it waits for. See the table above.
///
/// Deadlines of connections are looked at a few times within each, so they may be late by a
/// quarter, and by two seconds at most; the others are exact.
///
/// ```
/// use gateway_http::Deadlines;
/// use std::time::Duration;
///
/// let strict = Deadlines { head: Duration::from_secs(5), ..Deadlines::default() };
/// assert_eq!(strict.body, Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For a PROXY header, where one has to come: 5 s.
    pub proxy: Duration,
    /// For a TLS handshake: 10 s.
    pub handshake: Duration,
    /// For a whole request head, the choice of the protocol included: 30 s. Bytes don't put it off.
    pub head: Duration,
    /// For the next piece of a request's body, while its handler waits for it: 30 s.
    pub body: Duration,
    /// For a handler to give its response's head: 60 s. Reading the body counts. A handler may put
    /// it off for itself: [`handler_deadline`](crate::handler_deadline).
    pub handler: Duration,
    /// For a client to take what is being sent, anew with each piece that it takes: 30 s.
    pub write: Duration,
    /// Between two requests of a connection: 75 s, longer than proxies keep theirs.
    pub idle: Duration,
    /// For the requests of a client that has closed its sending side: 30 s. It may wait for its
    /// answer, or be gone: nobody can tell.
    pub grace: Duration,
    /// For the requests in hand, once a server drains: 30 s. What is left then is dropped.
    pub drain: Duration,
    /// For each hook of the lifespan, at the start and at the end: 60 s.
    pub hook: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        let seconds = Duration::from_secs;
        Deadlines {
            proxy: seconds(5),
            handshake: seconds(10),
            head: seconds(30),
            body: seconds(30),
            handler: seconds(60),
            write: seconds(30),
            idle: seconds(75),
            grace: seconds(30),
            drain: seconds(30),
            hook: seconds(60),
        }
    }
}

/// How much a server takes. See the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, those that were handed over by an upgrade included: 10,000.
    pub connections: usize,
    /// The bytes of a request head, its first line and all fields: 64 KiB; at least 8 KiB.
    pub head_bytes: usize,
    /// The fields of a request head: 100.
    pub head_fields: usize,
    /// The bytes of a request's target: 16 KiB.
    pub target_bytes: usize,
    /// The bytes of a request's body: 2 MiB. An app raises it for a request of its choice with
    /// [`set_body_limit`](crate::set_body_limit).
    pub body_bytes: u64,
    /// The requests that an HTTP/2 connection may have in hand at once: 100.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            head_bytes: 64 * 1024,
            head_fields: 100,
            target_bytes: 16 * 1024,
            body_bytes: 2 * 1024 * 1024,
            streams: 100,
        }
    }
}

/// A deadline that has passed, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Deadline {
    /// [`Deadlines::proxy`].
    Proxy,
    /// [`Deadlines::handshake`].
    Handshake,
    /// [`Deadlines::head`].
    Head,
    /// [`Deadlines::body`].
    Body,
    /// [`Deadlines::handler`].
    Handler,
    /// [`Deadlines::write`].
    Write,
    /// [`Deadlines::idle`].
    Idle,
    /// [`Deadlines::grace`].
    Grace,
    /// [`Deadlines::drain`].
    Drain,
    /// [`Deadlines::hook`].
    Hook,
}

impl Deadline {
    /// All of them.
    pub const ALL: [Deadline; 10] = [
        Deadline::Proxy,
        Deadline::Handshake,
        Deadline::Head,
        Deadline::Body,
        Deadline::Handler,
        Deadline::Write,
        Deadline::Idle,
        Deadline::Grace,
        Deadline::Drain,
        Deadline::Hook,
    ];

    /// How long it is.
    #[must_use]
    pub fn of(self, deadlines: &Deadlines) -> Duration {
        match self {
            Deadline::Proxy => deadlines.proxy,
            Deadline::Handshake => deadlines.handshake,
            Deadline::Head => deadlines.head,
            Deadline::Body => deadlines.body,
            Deadline::Handler => deadlines.handler,
            Deadline::Write => deadlines.write,
            Deadline::Idle => deadlines.idle,
            Deadline::Grace => deadlines.grace,
            Deadline::Drain => deadlines.drain,
            Deadline::Hook => deadlines.hook,
        }
    }

    /// Its name, for logs and numbers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Deadline::Proxy => "proxy",
            Deadline::Handshake => "handshake",
            Deadline::Head => "head",
            Deadline::Body => "body",
            Deadline::Handler => "handler",
            Deadline::Write => "write",
            Deadline::Idle => "idle",
            Deadline::Grace => "grace",
            Deadline::Drain => "drain",
            Deadline::Hook => "hook",
        }
    }
}
