//! H2: HTTP/2 with prior knowledge.

mod frames;

use frames::*;

use crate::rule::Need;

use super::control::{Control, fresh_id, until};
use super::{Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("H2-01", &[], h2_01_frames),
    check("H2-02", &["H2-01"], h2_02_malformed_requests),
    check("H2-03", &["H2-01"], h2_03_content_length),
    check("H2-04", &["H2-01"], h2_04_aborted_responses),
    WireCheck { rule: "H2-05", after: &["H2-01"], when: When::Alone, check: h2_05_floods },
    check("H2-06", &["H2-01"], h2_06_windows),
    check("H2-07", &["H2-01"], h2_07_streams_beside_each_other),
    check("H2-08", &["H2-01"], h2_08_reset_cancels),
    check("H2-09", &["H2-01"], h2_09_answers_to_frames),
];

const fn check(
    rule: &'static str,
    after: &'static [&'static str],
    check: fn(&mut Session<'_>) -> Result<(), Stop>,
) -> WireCheck {
    WireCheck { rule, after, when: When::Beside, check }
}

/// What a case is to bring about.
#[derive(Clone, Copy)]
enum Wants {
    /// An error of the connection with one of these codes, or a close.
    Connection(&'static [u32]),
    /// An error of the stream with one of these codes; or of the connection, or a close.
    Stream(&'static [u32]),
    /// An answer: it is allowed.
    Answer,
}

impl Wants {
    fn words(self) -> String {
        let names =
            |codes: &[u32]| codes.iter().copied().map(name).collect::<Vec<_>>().join(" or ");
        match self {
            Wants::Connection(codes) => format!("GOAWAY with {}, or a close", names(codes)),
            Wants::Stream(codes) => {
                format!("RST_STREAM or GOAWAY with {}, or a close", names(codes))
            }
            Wants::Answer => "an answer".to_owned(),
        }
    }

    /// Whether that is what came; nothing when it is the right thing under a wrong code.
    fn holds(self, came: &Came) -> Option<bool> {
        let known = |codes: &[u32], code: u32| codes.contains(&code).then_some(true);
        match (self, came) {
            (Wants::Answer, Came::Response { status, .. }) => Some(*status < 500),
            (Wants::Answer, _) => Some(false),
            (_, Came::Closed) => Some(true),
            (Wants::Connection(codes), Came::GoAway(code)) if *code != 0 => known(codes, *code),
            (Wants::Stream(codes), Came::GoAway(code) | Came::Reset(code)) if *code != 0 => {
                known(codes, *code)
            }
            _ => Some(false),
        }
    }
}

/// What a case sends on stream 1, given the fields of a plain request.
type Frames = fn(&[(&str, &str)]) -> Vec<u8>;

/// Sends the frames of each case on a connection of its own, and judges what comes.
fn try_all(session: &mut Session<'_>, cases: &[(&str, Wants, Frames)]) -> Result<(), Stop> {
    let mut silent = 0;
    for (name, wants, frames) in cases {
        let mut connection = Connection::open(session, &[])?;
        let bytes = frames(&connection.fields("GET", "/"));
        connection.send(&bytes);
        let came = match wants {
            Wants::Answer => connection.outcome(1),
            _ => connection.end(1),
        };
        silent += u32::from(came == Came::Nothing);
        match wants.holds(&came) {
            Some(held) => session.check(name, &wants.words(), came, held),
            None => session.should(name, &wants.words(), came, false),
        }
        if silent >= 3 {
            break;
        }
    }
    Ok(())
}

/// HEADERS of a plain request on a stream.
fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

const WHOLE: u8 = END_HEADERS | END_STREAM;
const PROTOCOL: Wants = Wants::Connection(&[PROTOCOL_ERROR]);
const SIZE: Wants = Wants::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
const COMPRESSION: Wants = Wants::Connection(&[COMPRESSION_ERROR]);

/// Cases by the section of RFC 9113, or of RFC 7541 where it says HPACK.
const FRAMES: &[(&str, Wants, Frames)] = &[
    ("a plain request", Wants::Answer, |f| headers(WHOLE, 1, f)),
    ("4.1 an unknown frame is ignored", Wants::Answer, |f| {
        [frame(0xfa, 0xff, 0, b"what"), headers(WHOLE, 1, f)].concat()
    }),
    ("4.1 the reserved bit is ignored", Wants::Answer, |f| {
        [frame(PING, 0, 1 << 31, &[0; 8]), headers(WHOLE, 1, f)].concat()
    }),
    ("4.2 HEADERS beyond the frame size", SIZE, |f| {
        let long = "x".repeat(17_000);
        headers(WHOLE, 1, &[f, &[("x-long", &long)]].concat())
    }),
    ("4.3 another stream's HEADERS inside a block", PROTOCOL, |f| {
        [headers(END_STREAM, 1, f), headers(WHOLE, 3, f)].concat()
    }),
    ("4.3 PRIORITY inside a block", PROTOCOL, |f| {
        [headers(END_STREAM, 1, f), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])].concat()
    }),
    ("5.1 DATA on an idle stream", PROTOCOL, |_| frame(DATA, END_STREAM, 1, b"x")),
    ("5.1 RST_STREAM on an idle stream", PROTOCOL, |_| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
    ("5.1 WINDOW_UPDATE on an idle stream", PROTOCOL, |_| {
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])
    }),
    ("5.1.1 an even stream", PROTOCOL, |f| headers(WHOLE, 2, f)),
    (
        "5.1.1 a stream below an earlier one",
        Wants::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        |f| [headers(WHOLE, 5, f), headers(WHOLE, 3, f)].concat(),
    ),
    ("5.5 an unknown frame inside a block", PROTOCOL, |f| {
        [headers(END_STREAM, 1, f), frame(0xfa, 0, 1, b"what")].concat()
    }),
    ("6.1 DATA on stream 0", PROTOCOL, |_| frame(DATA, 0, 0, b"x")),
    ("6.1 DATA with more padding than payload", PROTOCOL, |f| {
        [headers(END_HEADERS, 1, f), frame(DATA, PADDED | END_STREAM, 1, &[9, b'x'])].concat()
    }),
    ("6.2 HEADERS on stream 0", PROTOCOL, |f| headers(WHOLE, 0, f)),
    ("6.2 HEADERS with more padding than payload", PROTOCOL, |_| {
        frame(HEADERS, WHOLE | PADDED, 1, &[9, 0x82])
    }),
    ("6.3 PRIORITY on stream 0", PROTOCOL, |_| frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1])),
    ("6.4 RST_STREAM on stream 0", PROTOCOL, |_| frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])),
    ("6.4 RST_STREAM of three bytes", SIZE, |f| {
        [headers(END_HEADERS, 1, f), frame(RST_STREAM, 0, 1, &[0, 0, 8])].concat()
    }),
    ("6.5 an acknowledgement with a payload", SIZE, |_| frame(SETTINGS, ACK, 0, &[0; 6])),
    ("6.5 SETTINGS on a stream", PROTOCOL, |_| frame(SETTINGS, 0, 1, &[])),
    ("6.5 SETTINGS of five bytes", SIZE, |_| frame(SETTINGS, 0, 0, &[0; 5])),
    ("6.5.2 ENABLE_PUSH 2", PROTOCOL, |_| settings(&[(2, 2)])),
    (
        "6.5.2 INITIAL_WINDOW_SIZE 2^31",
        Wants::Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        |_| settings(&[(4, 1 << 31)]),
    ),
    ("6.5.2 MAX_FRAME_SIZE 16,383", PROTOCOL, |_| settings(&[(5, 16_383)])),
    ("6.5.2 MAX_FRAME_SIZE 2^24", PROTOCOL, |_| settings(&[(5, 1 << 24)])),
    ("6.5.2 an unknown setting is ignored", Wants::Answer, |f| {
        [settings(&[(0xfafa, 1)]), headers(WHOLE, 1, f)].concat()
    }),
    ("6.6 PUSH_PROMISE from a client", PROTOCOL, |f| {
        let promised = [&[0, 0, 0, 2], &block(f)[..]].concat();
        [headers(END_HEADERS, 1, f), frame(PUSH_PROMISE, END_HEADERS, 1, &promised)].concat()
    }),
    ("6.7 PING on a stream", PROTOCOL, |_| frame(PING, 0, 1, &[0; 8])),
    ("6.7 PING of seven bytes", SIZE, |_| frame(PING, 0, 0, &[0; 7])),
    ("6.8 GOAWAY on a stream", PROTOCOL, |_| frame(GOAWAY, 0, 1, &[0; 8])),
    ("6.9 WINDOW_UPDATE by 0", PROTOCOL, |_| frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
    ("6.9 WINDOW_UPDATE of three bytes", SIZE, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
    ("6.9.1 a window beyond 2^31-1", Wants::Connection(&[FLOW_CONTROL_ERROR]), |_| {
        frame(WINDOW_UPDATE, 0, 0, &(u32::MAX >> 1).to_be_bytes()).repeat(2)
    }),
    ("6.9.1 a stream's window beyond 2^31-1", Wants::Stream(&[FLOW_CONTROL_ERROR]), |f| {
        let more = frame(WINDOW_UPDATE, 0, 1, &(u32::MAX >> 1).to_be_bytes());
        [headers(END_HEADERS, 1, f), more.repeat(2)].concat()
    }),
    ("6.10 CONTINUATION joins its block", Wants::Answer, |f| {
        let block = block(f);
        let (first, rest) = block.split_at(10);
        let (second, third) = rest.split_at(10);
        [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, 0, 1, second),
            frame(CONTINUATION, END_HEADERS, 1, third),
        ]
        .concat()
    }),
    ("6.10 CONTINUATION without HEADERS", PROTOCOL, |f| {
        frame(CONTINUATION, END_HEADERS, 1, &block(f))
    }),
    (
        "6.10 CONTINUATION behind the end of a block",
        Wants::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        |f| [headers(END_HEADERS, 1, f), frame(CONTINUATION, END_HEADERS, 1, &block(f))].concat(),
    ),
    ("6.10 CONTINUATION on stream 0", PROTOCOL, |f| {
        [headers(END_STREAM, 1, f), frame(CONTINUATION, END_HEADERS, 0, &block(f))].concat()
    }),
    ("HPACK 2.3.3 an index beyond the tables", COMPRESSION, |_| {
        frame(HEADERS, WHOLE, 1, &[0xff, 0x40])
    }),
    ("HPACK 6.1 the index 0", COMPRESSION, |_| frame(HEADERS, WHOLE, 1, &[0x80])),
    ("HPACK 6.3 a table larger than agreed", COMPRESSION, |f| {
        frame(HEADERS, WHOLE, 1, &[&[0x3f, 0xff, 0xff, 0xff, 0x0f], &block(f)[..]].concat())
    }),
    ("HPACK 4.2 the table's size behind a field", COMPRESSION, |f| {
        frame(HEADERS, WHOLE, 1, &[&block(f)[..], &[0x20]].concat())
    }),
    ("HPACK 5.2 padding of more than seven bits", COMPRESSION, |_| {
        frame(HEADERS, WHOLE, 1, &[0x00, 0x82, 0x1f, 0xff, 0x01, b'x'])
    }),
    ("HPACK 5.2 padding with zeros", COMPRESSION, |_| {
        frame(HEADERS, WHOLE, 1, &[0x00, 0x81, 0x18, 0x01, b'x'])
    }),
    ("HPACK 5.1 a string beyond its block", COMPRESSION, |_| {
        frame(HEADERS, WHOLE, 1, &[0x00, 0x7f, 0xff, 0xff, 0x0f, b'x'])
    }),
];

fn h2_01_frames(session: &mut Session<'_>) -> Result<(), Stop> {
    try_all(session, FRAMES)?;
    let mut client = session.connect()?;
    client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let got = match client.response("GET") {
        crate::wire::Received::Response(response) => response.status.to_string(),
        other => other.to_string(),
    };
    let held = !got.starts_with('2') && !got.starts_with("nothing");
    session.check("3.4 a preface that is none", "a refusal, or a close", got, held);
    Ok(())
}

const MALFORMED: Wants = Wants::Stream(&[PROTOCOL_ERROR]);

/// A request with some of its fields replaced, left out or added.
fn with(fields: &[(&str, &str)], change: &[(&str, &str)], added: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = fields.to_vec();
    for (name, value) in change {
        fields.retain(|(old, _)| old != name || !value.is_empty());
        for field in fields.iter_mut().filter(|(old, _)| old == name) {
            field.1 = value;
        }
    }
    fields.extend(added);
    headers(WHOLE, 1, &fields)
}

/// Requests that RFC 9113, sections 8.1 to 8.3, calls malformed.
const REQUESTS: &[(&str, Wants, Frames)] = &[
    ("a plain field", Wants::Answer, |f| with(f, &[], &[("x-plain", "yes")])),
    ("te: trailers is allowed", Wants::Answer, |f| with(f, &[], &[("te", "trailers")])),
    ("an upper-case name", MALFORMED, |f| with(f, &[], &[("X-Upper", "no")])),
    ("a name with a space", MALFORMED, |f| with(f, &[], &[("x bad", "no")])),
    ("a value with CR LF", MALFORMED, |f| with(f, &[], &[("x-bad", "a\r\nb: c")])),
    ("a value with NUL", MALFORMED, |f| with(f, &[], &[("x-bad", "a\0b")])),
    ("connection", MALFORMED, |f| with(f, &[], &[("connection", "keep-alive")])),
    ("keep-alive", MALFORMED, |f| with(f, &[], &[("keep-alive", "timeout=1")])),
    ("proxy-connection", MALFORMED, |f| with(f, &[], &[("proxy-connection", "keep-alive")])),
    ("transfer-encoding", MALFORMED, |f| with(f, &[], &[("transfer-encoding", "chunked")])),
    ("upgrade", MALFORMED, |f| with(f, &[], &[("upgrade", "echo")])),
    ("te: gzip", MALFORMED, |f| with(f, &[], &[("te", "trailers, gzip")])),
    ("an unknown pseudo-field", MALFORMED, |f| headers(WHOLE, 1, &[f, &[(":odd", "1")]].concat())),
    ("a response's pseudo-field", MALFORMED, |f| {
        headers(WHOLE, 1, &[f, &[(":status", "200")]].concat())
    }),
    ("a pseudo-field behind a field", MALFORMED, |f| {
        headers(WHOLE, 1, &[&f[..1], &[("x-plain", "yes")], &f[1..]].concat())
    }),
    ("no :method", MALFORMED, |f| headers(WHOLE, 1, &f[1..])),
    ("no :scheme", MALFORMED, |f| headers(WHOLE, 1, &[&f[..1], &f[2..]].concat())),
    ("no :path", MALFORMED, |f| headers(WHOLE, 1, &[&f[..2], &f[3..]].concat())),
    ("an empty :path", MALFORMED, |f| {
        headers(WHOLE, 1, &[&f[..2], &[(":path", "")], &f[3..]].concat())
    }),
    (":method twice", MALFORMED, |f| headers(WHOLE, 1, &[&f[..1], f].concat())),
    (":scheme twice", MALFORMED, |f| headers(WHOLE, 1, &[&f[1..2], f].concat())),
    (":path twice", MALFORMED, |f| headers(WHOLE, 1, &[&f[2..3], f].concat())),
    ("trailers that don't end the stream", MALFORMED, |f| {
        let trailers = [("x-trailer", "yes")];
        let trailers = headers(END_HEADERS, 1, &trailers);
        [headers(END_HEADERS, 1, f), frame(DATA, 0, 1, b"x"), trailers].concat()
    }),
];

fn h2_02_malformed_requests(session: &mut Session<'_>) -> Result<(), Stop> {
    // Trailers may come after an answer that did not wait for them.
    let reads = session.has("read");
    let path = if reads { "/read?id=h2-02" } else { "/" };
    for (name, wants, frames) in
        REQUESTS.iter().filter(|case| reads || !case.0.contains("trailers"))
    {
        let mut connection = Connection::open(session, &[])?;
        let bytes = frames(&connection.fields("GET", path));
        connection.send(&bytes);
        judge_malformed(session, name, *wants, connection.outcome(1));
    }
    if reads {
        // Malformed as well; but a server that drops the field has let nothing through.
        let mut connection = Connection::open(session, &[])?;
        let fields = connection.fields("POST", path);
        let trailers = headers(WHOLE, 1, &[(":path", "/other")]);
        let body = frame(DATA, 0, 1, b"x");
        let bytes = [headers(END_HEADERS, 1, &fields), body, trailers].concat();
        connection.send(&bytes);
        let came = connection.outcome(1);
        let held = MALFORMED.holds(&came) == Some(true);
        session.should("a pseudo-field in trailers", &MALFORMED.words(), came, held);
    }
    Ok(())
}

/// A malformed request is a stream's error; an answer of 400 says the same to a client.
fn judge_malformed(session: &mut Session<'_>, name: &str, wants: Wants, came: Came) {
    match (wants, &came) {
        (Wants::Stream(_), Came::Response { status: 400..=499, .. }) => {
            session.check(name, &format!("{}, or a 4xx", wants.words()), came, true);
        }
        _ => match wants.holds(&came) {
            Some(held) => session.check(name, &wants.words(), came, held),
            None => session.should(name, &wants.words(), came, false),
        },
    }
}

fn h2_03_content_length(session: &mut Session<'_>) -> Result<(), Stop> {
    let path = if session.has("read") { "/read?id=h2-03" } else { "/" };
    let cases = [
        ("a length that is right", "5", &["hello"][..], true),
        ("fewer bytes than announced", "9", &["hello"], false),
        ("more bytes than announced", "3", &["hello"], false),
        ("more bytes, in two frames", "5", &["hello", "!"], false),
        ("no bytes where some are announced", "5", &[], false),
    ];
    for (name, length, pieces, right) in cases {
        let mut connection = Connection::open(session, &[])?;
        let mut fields = connection.fields("POST", path);
        fields.push(("content-length", length));
        let last = |at: usize| if at + 1 == pieces.len() { END_STREAM } else { 0 };
        let mut bytes = headers(if pieces.is_empty() { WHOLE } else { END_HEADERS }, 1, &fields);
        for (at, piece) in pieces.iter().enumerate() {
            bytes.extend(frame(DATA, last(at), 1, piece.as_bytes()));
        }
        connection.send(&bytes);
        let came = connection.outcome(1);
        let wants = if right { Wants::Answer } else { MALFORMED };
        // Without the probe application nobody may have looked at the body.
        let early = !right && path == "/" && matches!(came, Came::Response { status: ..400, .. });
        if early {
            session.should(name, &wants.words(), came, false);
        } else {
            judge_malformed(session, name, wants, came);
        }
    }
    Ok(())
}

fn h2_04_aborted_responses(session: &mut Session<'_>) -> Result<(), Stop> {
    for path in ["/fail-late?framing=chunked", "/panic-late?framing=chunked", "/short"] {
        let mut connection = Connection::open(session, &[])?;
        connection.request(1, "GET", path, true);
        let came = connection.outcome(1);
        let held = match &came {
            Came::Response { ended, .. } => !ended,
            Came::Reset(code) | Came::GoAway(code) => *code != 0,
            Came::Closed => true,
            Came::Nothing => false,
        };
        session.check(path, "RST_STREAM, GOAWAY or a close, and no END_STREAM", came, held);
        connection.request(3, "GET", "/", true);
        let next = connection.outcome(3);
        let held = matches!(next, Came::Response { status: 200, ended: true, .. });
        session.should("the next stream of the connection", "200, whole", next, held);
    }
    Ok(())
}

/// How many frames a flood has.
const FLOOD: u32 = 1000;

/// How many CONTINUATION frames of 16 KB: some servers take a header block of 16 MiB, in a
/// quarter more frames than that needs, and no more.
const BLOCK: u32 = 1500;

fn h2_05_floods(session: &mut Session<'_>) -> Result<(), Stop> {
    // Streams that are opened and reset at once: CVE-2023-44487.
    // Where no handler can be cancelled, those that wait would show how many threads there are.
    let waits = session.has("hold") && session.has("cancel");
    let path = if waits { "/hold?id=h2-05" } else { "/" };
    let mut connection = Connection::open(session, &[])?;
    let fields = block(&connection.fields("GET", path));
    for stream in (1..2 * FLOOD).step_by(2) {
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        if connection.send(&[frame(HEADERS, WHOLE, stream, &fields), reset].concat()) == 0 {
            break;
        }
    }
    connection.send(&frame(PING, 0, 0, b"still on"));
    let came = connection.end(0);
    let ended = matches!(came, Came::GoAway(1..) | Came::Closed);
    let answers = serves(session)?;
    let (mut held, mut got) = (answers, format!("{came}; the server answers: {answers}"));
    // Where a handler is only told that nobody waits for it, it may go on.
    if session.has("live") && session.has("cancel") && !ended {
        let live = settled(session)?;
        (held, got) = (held && live <= 1, format!("{got}; handlers alive: {live}"));
    }
    session.check(
        "1,000 streams reset at once",
        "the connection ended, or no handler left",
        got,
        held,
    );

    // A header block without an end: CVE-2024-27316 and its kin.
    let mut connection = Connection::open(session, &[])?;
    let first = block(&connection.fields("GET", "/"));
    connection.send(&frame(HEADERS, END_STREAM, 1, &first));
    let value = "x".repeat(16_000);
    let piece = frame(CONTINUATION, 0, 1, &block(&[("x-flood", &value)]));
    let mut taken = 0;
    for _ in 0..BLOCK {
        let sent = connection.send(&piece);
        taken += sent;
        if sent < piece.len() {
            break;
        }
    }
    let came = connection.end(1);
    let answers = serves(session)?;
    let held = came != Came::Nothing && answers;
    let got = format!("{came} after {taken} bytes; the server answers: {answers}");
    session.check("24 MB of CONTINUATION", "GOAWAY, RST_STREAM, 431 or a close", got, held);

    // Frames that each ask for an answer, from a client that reads none.
    for (name, one) in [
        ("100,000 PINGs", frame(PING, 0, 0, &[0; 8])),
        ("100,000 SETTINGS", settings(&[(4, 65_535)])),
    ] {
        let mut connection = Connection::open(session, &[])?;
        for _ in 0..100 {
            if connection.send(&one.repeat(1000)) < 1000 * one.len() {
                break;
            }
        }
        let answers = serves(session)?;
        session.check(name, "others are still served", answers, answers);
    }
    Ok(())
}

/// Whether a new connection is served.
fn serves(session: &mut Session<'_>) -> Result<bool, Stop> {
    let mut connection = match Connection::open(session, &[]) {
        Err(Stop::Blocked(_)) => return Ok(false),
        opened => opened?,
    };
    connection.request(1, "GET", "/", true);
    Ok(matches!(connection.outcome(1), Came::Response { status: ..500, .. }))
}

/// How many handlers are alive, once there are none, or one has waited for that.
fn settled(session: &Session<'_>) -> Result<usize, Stop> {
    let (patience, mut control) = (session.patience(), Control::new(session));
    let began = std::time::Instant::now();
    loop {
        let live = control.live()?;
        if live == 0 || began.elapsed() > patience.signal {
            return Ok(live);
        }
        std::thread::sleep(patience.poll);
    }
}

fn h2_06_windows(session: &mut Session<'_>) -> Result<(), Stop> {
    // The client opens its window a little at a time: no more may come.
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (size, more) = (10, 90_u32);
    let mut connection = Connection::open(session, &[(INITIAL_WINDOW_SIZE, size)])?;
    connection.request(1, "GET", "/known?bytes=100", true);
    let mut came = 0;
    while came < size as usize {
        let Some(data) = connection.await_kind(DATA) else { break };
        came += data.payload.len();
    }
    let silent = connection.client.is_silent(session.patience().silence);
    let held = came == size as usize && silent;
    let got = format!("{came} bytes, and then {}", if silent { "nothing" } else { "more" });
    session.check("a window of 10 bytes", "10 bytes, then nothing", got, held);
    connection.send(&frame(WINDOW_UPDATE, 0, 1, &more.to_be_bytes()));
    let mut ended = false;
    while !ended {
        let Some(data) = connection.await_kind(DATA) else { break };
        came += data.payload.len();
        ended = data.flags & END_STREAM != 0;
    }
    let held = came == 100 && ended;
    session.check(
        "90 bytes more",
        "the other 90 bytes, and the end",
        format!("{came} in all"),
        held,
    );

    // A body beyond the server's window: it has to open it as the app reads.
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut connection = Connection::open(session, &[])?;
    connection.request(1, "POST", "/echo", false);
    let (mut sent, mut window, mut whole) = (0, connection.window, 65_535_usize);
    while sent < body.len() {
        let now = window.min(whole).min(16_384).min(body.len() - sent);
        if now == 0 {
            let Some(update) = connection.await_kind(WINDOW_UPDATE) else { break };
            let more = u32::from_be_bytes(update.payload[..4].try_into().unwrap_or_default());
            let side = if update.stream == 0 { &mut whole } else { &mut window };
            *side += more as usize;
            continue;
        }
        let last = if sent + now == body.len() { END_STREAM } else { 0 };
        connection.send(&frame(DATA, last, 1, &body[sent..sent + now]));
        (sent, window, whole) = (sent + now, window - now, whole - now);
    }
    let came = connection.outcome(1);
    let held = matches!(&came, Came::Response { status: 200, body: echoed, ended: true }
        if *echoed == body);
    session.check("300,000 bytes and back", "200, and the same bytes", came, held);
    Ok(())
}

fn h2_07_streams_beside_each_other(session: &mut Session<'_>) -> Result<(), Stop> {
    let id = fresh_id();
    let mut connection = Connection::open(session, &[])?;
    connection.request(1, "GET", &format!("/hold?id={id}"), true);
    for stream in (3..43).step_by(2) {
        connection.request(stream, "GET", "/known?bytes=10", true);
        let came = connection.outcome(stream);
        let held = matches!(&came, Came::Response { status: 200, body, ended: true }
            if body.len() == 10);
        session.check("a stream beside one that waits", "200 with 10 bytes, whole", came, held);
        if !held {
            return Ok(());
        }
    }
    connection.request(43, "GET", &format!("/open?id={id}"), true);
    let mut seen = Vec::new();
    let mut ended = 0;
    while ended < 2 {
        let Some(frame) = connection.read() else { break };
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            seen.push(frame.stream);
            ended += 1;
        }
    }
    seen.sort_unstable();
    session.check("the one that waited", "streams 1 and 43", format!("{seen:?}"), seen == [1, 43]);
    Ok(())
}

fn h2_08_reset_cancels(session: &mut Session<'_>) -> Result<(), Stop> {
    if !session.has("disconnect") {
        session.need(Need::Probe("cancel"))?;
    }
    let id = fresh_id();
    let mut connection = Connection::open(session, &[])?;
    connection.request(1, "GET", &format!("/hold?id={id}"), true);
    let running = until(session, &id, |state| state.state == "running")?.state;
    connection.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()));
    let after = until(session, &id, |state| state.state == "cancelled" || state.disconnected)?;
    let held = after.state == "cancelled" || after.disconnected;
    let got = format!("{running}, then {after}");
    session.check("RST_STREAM while a handler waits", "cancelled, or told so", got, held);
    connection.request(3, "GET", "/", true);
    let came = connection.outcome(3);
    let held = matches!(came, Came::Response { status: 200, ended: true, .. });
    session.check("the next stream", "200, whole", came, held);
    session.get(&format!("/open?id={id}"))?;
    Ok(())
}

fn h2_09_answers_to_frames(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut connection = Connection::open(session, &[])?;
    let acknowledged = connection.await_kind(SETTINGS).is_some_and(|frame| frame.flags & ACK != 0);
    session.check("SETTINGS", "an acknowledgement", acknowledged, acknowledged);
    connection.send(&frame(PING, 0, 0, b"12345678"));
    let answer = connection.await_kind(PING);
    let held = answer.as_ref().is_some_and(|ping| ping.payload == b"12345678" && ping.flags == ACK);
    session.check("PING", "an acknowledgement with the same payload", format!("{answer:?}"), held);
    connection.send(&frame(PING, ACK, 0, b"87654321"));
    let silent = connection.client.is_silent(session.patience().silence);
    session.check("PING with ACK", "no answer", if silent { "none" } else { "some" }, silent);
    // More streams than the server allows, if it says how many.
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut client = session.connect()?;
    client.send([PREFACE, &settings(&[])].concat());
    let head = client.bytes(9, session.patience().signal);
    let length = usize::from(*head.get(2).unwrap_or(&0));
    let payload = client.bytes(length, session.patience().signal);
    drop(client);
    match setting(&payload, MAX_CONCURRENT_STREAMS) {
        Some(limit @ 1..=1000) if session.has("hold") => beyond_limit(session, limit),
        _ => Ok(()),
    }
}

fn beyond_limit(session: &mut Session<'_>, limit: u32) -> Result<(), Stop> {
    let id = fresh_id();
    let mut connection = Connection::open(session, &[])?;
    let path = format!("/hold?id={id}");
    let last = 2 * limit + 1;
    for stream in (1..=last).step_by(2) {
        connection.request(stream, "GET", &path, true);
    }
    let came = connection.end(last);
    let wants = Wants::Stream(&[REFUSED_STREAM, PROTOCOL_ERROR]);
    let held = wants.holds(&came).unwrap_or(false);
    let name = format!("stream {} of {limit}", limit + 1);
    session.check(&name, &wants.words(), came, held);
    session.get(&format!("/open?id={id}"))?;
    Ok(())
}
