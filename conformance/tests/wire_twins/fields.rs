//! Servers that break the rules of `wire/fields.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gateway_conformance::wire::Instance;
use serde_json::{Value, json};

use super::request_line::{answer, bent, yes};
use super::twin::{Proxied, Twin, good, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins: Vec<Twin> =
        FRONTS.iter().map(|(rule, says, front)| Twin::front(rule, says, *front)).collect();
    twins.extend(YES.iter().map(|(rule, says)| Twin::server(rule, says, yes)));
    twins.extend([
        Twin::app("FLD-06", "\"X-A:  b  \"", || {
            bent(|json| each(json, |value| format!("{value} ")))
        }),
        Twin::app("FLD-06", "\"X-A: \\t b \\t c \\t \"", || {
            bent(|json| each(json, |value| value.replace('\t', " ")))
        }),
        Twin::app("FLD-07", "two lines", || bent(|json| fields(json).reverse())),
        Twin::app("FLD-07", "the same line twice", || bent(|json| fields(json).dedup())),
        Twin::app("FLD-07", "another between", || {
            bent(|json| {
                let fields = fields(json);
                let last = fields.iter().rposition(|field| field[0] == "x-a").unwrap_or_default();
                let mut at = 0;
                fields.retain(|field| {
                    at += 1;
                    field[0] != "x-a" || at > last
                });
            })
        }),
        Twin::app("FLD-07", "an empty one between", || {
            bent(|json| {
                fields(json).retain(|field| field[1] != "");
            })
        }),
        Twin::app("FLD-07", "many, between others", || bent(|json| fields(json).truncate(20))),
        Twin::app("FLD-08", "at both ends: ", || {
            bent(|json| each(json, |value| value.trim().to_owned()))
        }),
        Twin::app("FLD-08", "UTF-8: ", || {
            bent(|json| {
                each(json, |value| {
                    let bytes: Vec<u8> = value.chars().map(|char| char as u8).collect();
                    String::from_utf8_lossy(&bytes).into_owned()
                })
            })
        }),
        Twin::server("FLD-09", "a field without an end: nothing", |client, _| {
            answer(client, |head| if head.len() > 64 * 1024 { "431" } else { "200" });
        }),
        Twin::server("FLD-09", "10,000 small fields: 200", |client, _| {
            answer(client, |head| if head.len() > 1024 * 1024 { "431" } else { "200" });
        }),
        Twin::server("FLD-09", "another client, beside a field without an end: nothing", in_turns),
        Twin::front("FLD-09", "a field of 4 KB: 400", |bytes| {
            if bytes.len() > 4000 && bytes.len() < 5000 && bytes.starts_with(b"GET / ") {
                *bytes = b"(\r\n\r\n".to_vec();
            }
        }),
        Twin::front("FLD-09", "50 fields: 400", |bytes| {
            if bytes.starts_with(b"GET / ") && bytes.windows(5).any(|line| line == b"X-49:") {
                *bytes = b"(\r\n\r\n".to_vec();
            }
        }),
        Twin::app("FLD-09", "a field of 4 KB, as the application sees it: 4095", || {
            bent(|json| each(json, |value| value.chars().take(4095).collect()))
        }),
        Twin::app("FLD-09", "50 fields, as the application sees them: 49", || {
            bent(|json| fields(json).retain(|field| field[0] != "x-49"))
        }),
        Twin::server(
            "FLD-09",
            "another client, beside fields without an end: nothing",
            in_turns_of_fields,
        ),
        Twin::new("FLD-09", "a small head after them: 400", || Box::new(offended())),
        Twin::app("FLD-11", "Https: {", || bent(believe_all)),
        Twin::back("FLD-09", "a field of 1500000 bytes: 500", |bytes| {
            replace(bytes, b"HTTP/1.1 431", b"HTTP/1.1 500");
        }),
        Twin::new("FLD-09", "heads without an end: 100000000 bytes", || {
            Box::new(Grows(good(), AtomicU64::new(0)))
        }),
    ]);
    twins.extend(BELIEVED.iter().map(|(says, bend)| {
        let bend = *bend;
        Twin::new("FLD-11", says, move || Box::new(super::twin::Good::start(bent(bend))))
    }));
    twins
}

/// What a server in front of a good one makes of a request.
type Front = fn(&mut Vec<u8>);

/// Servers that take one malformed thing for a good one, or change one thing.
const FRONTS: &[(&str, &str, Front)] = &[
    ("FLD-01", "a space: 200", |b| replace(b, b"A : b", b"A: b")),
    ("FLD-01", "a tab: 200", |b| replace(b, b"\t:", b":")),
    ("FLD-01", "Content-Length and a space: 200", |b| replace(b, b"Length :", b"Length:")),
    ("FLD-01", "Host and a space: 200", |b| replace(b, b"Host :", b"Host:")),
    ("FLD-01", "two spaces, in a pipeline: 200, then 200", |b| {
        if b.starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1") && !b.ends_with(b"b\r\n\r\n") {
            replace(b, b"A  :", b"A:");
        }
    }),
    // It joins them, as it may.
    ("FLD-02", "with a space: {", |b| replace(b, b"\r\n c", b" c")),
    ("FLD-02", "with a tab: {", |b| replace(b, b"\r\n\tc", b"")),
    ("FLD-02", "with spaces: {", |b| replace(b, b"b\r\n   c", b"bc")),
    ("FLD-02", "like a field: {", |b| replace(b, b"\r\n X-B", b"\r\nX-B")),
    ("FLD-02", "a line of whitespace: {", |b| replace(b, b"\r\n \t\r\n", b"\r\n")),
    ("FLD-03", "X(A: 200", |b| replace(b, b"X(A", b"X-A")),
    ("FLD-03", "X@A: 200", |b| replace(b, b"X@A: b\r\n", b"")),
    ("FLD-03", "X\\xe9A: 200", |b| replace(b, b"X\xe9A", b"X-A")),
    ("FLD-03", "X\\x00A: 200", |b| replace(b, b"X\0A", b"XA")),
    ("FLD-03", "an empty name: 200", |b| replace(b, b"\n: b\r\n", b"\n")),
    ("FLD-03", "no colon: 200", |b| replace(b, b"X-A\r\n", b"X-A:\r\n")),
    ("FLD-03", "quotes: 200", |b| replace(b, b"\"X-A\"", b"X-A")),
    ("FLD-03", "a delimiter at the end, in a pipeline: 200, then 200", |b| {
        if b.windows(4).any(|four| four == b"?id=") {
            replace(b, b"X-A)", b"X-A");
        }
    }),
    ("FLD-04", "NUL within: {", |b| replace(b, b"b\0c", b"bc")),
    ("FLD-04", "NUL at the end: {", |b| replace(b, b"b c\0", b"b")),
    ("FLD-04", "NUL alone: {", |b| replace(b, b": \0\r", b":\r")),
    ("FLD-04", "CR within: {", |b| replace(b, b"b\rc", b"bc")),
    ("FLD-04", "CR, then a field: {", |b| replace(b, b"b\rX-B", b"b\r\nX-B")),
    ("FLD-04", "LF, then no field: {", |b| replace(b, b"b\nc", b"bc")),
    ("FLD-04", "LF, then words: {", |b| replace(b, b"b\nc d", b"b c d")),
    ("FLD-04", "0x01 within: 200", |b| replace(b, b"\x01", b" ")),
    ("FLD-04", "0x7f within: 200", |b| replace(b, b"\x7f", b" ")),
    ("FLD-03", "a token: 400", |b| replace(b, b"X!#", b"(")),
    ("FLD-04", "a tab within: 400", |b| replace(b, b"b\tc", b"b\0c")),
    ("FLD-04", "NUL within, in a pipeline: 200", |b| {
        if b.windows(4).any(|four| four == b"?id=") {
            b.retain(|byte| *byte != 0);
            for (bad, good) in REPAIRED {
                replace(b, bad, good);
            }
        }
    }),
    ("FLD-06", "space on both sides: 400", |b| replace(b, b"Host: \t", b"(: ")),
    ("FLD-06", "Connection:close: still open", |b| replace(b, b"Connection:close\r", b"X:\r")),
    ("FLD-06", "Connection: \\tclose: still open", |b| replace(b, b": \tclose\r", b": x\r")),
    ("FLD-06", "Connection:close : still open", |b| replace(b, b":close \r", b":x\r")),
    ("FLD-05", "a space: {", |b| replace(b, b"HTTP/1.1\r\n X", b"HTTP/1.1\r\nX")),
    ("FLD-05", "a tab: {", |b| replace(b, b"HTTP/1.1\r\n\tX-A: b\r\n", b"HTTP/1.1\r\n")),
    ("FLD-05", "a line of whitespace: {", |b| replace(b, b"1.1\r\n \r\n", b"1.1\r\n")),
    ("FLD-05", "Host on that line alone: 200", |b| {
        let has_host = b.windows(5).any(|five| five == b"Host:");
        replace(b, b"HTTP/1.1\r\n Host", b"HTTP/1.1\r\nHost");
        if !has_host && !b.starts_with(b"PRI") {
            *b = b"(\r\n\r\n".to_vec();
        }
    }),
    ("FLD-06", "no space: 400", |b| replace(b, b"\nHost:1", b"\n(:1")),
    ("FLD-06", "Connection: close \\t: still open", |b| replace(b, b" close \t", b" x")),
    ("FLD-03", "a token, seen: {", |b| replace(b, b"X!#", b"X-")),
    ("FLD-06", "Content-Length with whitespace around it", |b| replace(b, b"\t 5 \t", b"0")),
    ("FLD-06", "\"X-A: b  c   d \"", |b| replace(b, b"b  c", b"b c")),
    ("FLD-08", "each of them: ", |b| b.iter_mut().for_each(|byte| *byte = (*byte).min(0xfe))),
    ("FLD-08", "one alone: 400", |b| replace(b, b": \xff\r", b": \0\r")),
    ("FLD-10", "Content_Length", |b| replace(b, b"Content_Length", b"Content-Length")),
    ("FLD-10", "Transfer_Encoding", |b| replace(b, b"Transfer_Enc", b"Transfer-Enc")),
    ("FLD-10", "alone: {", |b| replace(b, b"X_Probe_A", b"X-Probe-A")),
    ("FLD-10", "in part: {", |b| replace(b, b"X_Probe-A", b"X-Probe-A")),
    ("FLD-11", "X-Http-Method-Override: {", |b| {
        if b.windows(8).any(|eight| eight == b"Override") {
            replace(b, b"GET /", b"DELETE /");
        }
    }),
];

/// What a server makes of CR and LF that stand for nothing: a good one refuses them.
const REPAIRED: [(&[u8], &[u8]); 6] = [
    (b"b\rc", b"bc"),
    (b"b\rX-B", b"b\r\nX-B"),
    (b": \rb", b": b"),
    (b"c\r\r\n", b"c\r\n"),
    (b"b\nc d", b"bcd"),
    (b"b\nc", b"bc"),
];

/// What a server says yes to that says yes to everything.
const YES: &[(&str, &str)] = &[
    ("FLD-01", "a space: 200"),
    ("FLD-02", "with a space: 200"),
    ("FLD-03", "an empty name: 200"),
    ("FLD-04", "NUL within: 200"),
    ("FLD-05", "a space: 200"),
    ("FLD-09", "a field of 1500000 bytes: 200"),
];

/// What a server makes of a description.
type Bend = fn(&mut Value);

/// Servers that believe a field, by what they make of a description.
const BELIEVED: &[(&str, Bend)] = &[
    ("X-Forwarded-For: {", |json| believe(json, "peer", "x-forwarded-for")),
    ("X_Forwarded_For: {", |json| believe(json, "peer", "x_forwarded_for")),
    ("X-Real-Ip: {", |json| believe(json, "peer", "x-real-ip")),
    ("X-Forwarded-Proto: {", |json| believe(json, "scheme", "x-forwarded-proto")),
    ("X-Original-Url: {", |json| believe(json, "path", "x-original-url")),
    ("Script-Name: {", |json| believe(json, "path", "script-name")),
    ("Query_String: {", |json| believe(json, "query", "query_string")),
    ("Forwarded: {", |json| believe(json, "peer", "forwarded")),
];

fn believe(json: &mut Value, member: &str, name: &str) {
    let forged = fields(json).iter().find(|field| field[0] == name).map(|field| field[1].clone());
    if let Some(forged) = forged {
        json[member] = forged;
    }
}

/// Believes the last field, whatever it is called.
fn believe_all(json: &mut Value) {
    let fields = fields(json);
    if let [.., _, last] = &fields[..] {
        json["peer"] = last[1].clone();
    }
}

fn fields(json: &mut Value) -> &mut Vec<Value> {
    json["fields"].as_array_mut().expect("the probe describes fields")
}

/// Changes each value.
fn each(json: &mut Value, change: fn(&str) -> String) {
    for field in fields(json) {
        field[1] = json!(change(field[1].as_str().unwrap_or_default()));
    }
}

/// A server that reads a large head with nobody beside it, until its client is gone.
fn in_turns(client: TcpStream, _: SocketAddr) {
    static TURN: Mutex<()> = Mutex::new(());
    one_at_a_time(client, &TURN, |_| true);
}

/// The same, where it is made of small fields.
fn in_turns_of_fields(client: TcpStream, _: SocketAddr) {
    static TURN: Mutex<()> = Mutex::new(());
    one_at_a_time(client, &TURN, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() > 9);
}

fn one_at_a_time(mut client: TcpStream, turns: &Mutex<()>, slow: fn(&[u8]) -> bool) {
    let (mut buf, mut read) = ([0; 64 * 1024], 0);
    let mut turn = None;
    while let Ok(more @ 1..) = client.read(&mut buf) {
        read += more;
        if read > 1_000_000 && !slow(&buf[..more]) {
            let _ = client.write_all(b"HTTP/1.1 431 No\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        if read > 1_000_000 && turn.is_none() {
            turn = turns.lock().ok();
        }
        if buf[..more].ends_with(b"\r\n\r\n") {
            drop(turn.take().or_else(|| turns.lock().ok()));
            let status = if read > 64 * 1024 { "431 No" } else { "200 OK" };
            let _ = write!(client, "HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nok\n");
            if read > 64 * 1024 {
                return;
            }
            read = 0;
        }
    }
}

/// A server that has met fields without an end, serves one more, and then nobody.
fn offended() -> Proxied {
    let met = Arc::new(AtomicU64::new(0));
    Proxied::start(good(), move |client: TcpStream, server| {
        let (mut unending, mut fields) = (false, 0);
        let front = |bytes: &mut Vec<u8>| {
            fields += bytes.iter().filter(|byte| **byte == b'\n').count();
            unending |= bytes.starts_with(b"GET / HTTP/1.1\r\nHost: a\r\n");
            if unending && fields > 1000 {
                met.fetch_max(1, Ordering::Relaxed);
            }
            let behind = !unending && met.load(Ordering::Relaxed) > 0;
            if behind && met.fetch_add(1, Ordering::Relaxed) > 1 {
                *bytes = b"(\r\n\r\n".to_vec();
            }
        };
        tamper(client, server, front, |_| {});
    })
}

/// A good server that holds more memory each time it is asked.
struct Grows(Box<dyn Instance>, AtomicU64);

impl Instance for Grows {
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
        Some(self.1.fetch_add(100_000_000, Ordering::Relaxed))
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }
}
