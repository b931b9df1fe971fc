//! BODY: framing of request bodies.
//!
//! Many checks send a *canary* along: a request that has to be taken for a part of a body, or that
//! stands behind one that is spoiled, and so must never be served. With the probe application its
//! calls are counted; without, the answers are.

use std::time::Duration;

use super::client::find;
use super::control::{Control, fresh_id, state, until};
use super::{Client, Ended, Received, Response, Session, Stop, When, WireCheck};
use crate::verdict::{Case, CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("BODY-01", body_01_no_body),
    check("BODY-02", body_02_content_length),
    check("BODY-03", body_03_bad_content_length),
    check("BODY-04", body_04_repeated_content_length),
    check("BODY-05", body_05_chunked),
    check("BODY-06", body_06_bad_chunk_size),
    check("BODY-07", body_07_chunk_data),
    check("BODY-08", body_08_extensions),
    check("BODY-09", body_09_trailers),
    check("BODY-10", body_10_trailer_section),
    check("BODY-11", body_11_cut_off),
    check("BODY-12", body_12_unknown_coding),
    check("BODY-13", body_13_chunked_not_last),
    check("BODY-14", body_14_too_large),
    check("BODY-15", body_15_error_while_reading),
    check("BODY-16", body_16_any_method),
    check("BODY-17", body_17_unread),
];

pub(super) const fn check(
    rule: &'static str,
    check: fn(&mut Session<'_>) -> Result<(), Stop>,
) -> WireCheck {
    WireCheck { rule, after: &[], when: When::Beside, check }
}

/// How many cases may use up all patience before the check gives the server up.
const SLOW: usize = 3;

fn body_01_no_body(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = if session.has("echo") { "/echo" } else { "/" };
    session.accept("POST with 5 bytes", sized(session, target, b"hello"))?;
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"] {
        let request = session.request(method, target, "");
        exact(session, &format!("{method} without a length"), &[&request], b"")?;
    }
    Ok(())
}

fn body_02_content_length(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = if session.has("echo") { "/echo" } else { "/" };
    if !is_taken(session, "5 bytes", sized(session, target, b"hello"))? {
        return Ok(());
    }
    for size in [0, 1, 2, 255, 4_096, 65_535, 65_536, 1 << 20] {
        let body = noise(size);
        exact(session, &format!("{size} bytes"), &[&sized(session, target, &body)], &body)?;
    }
    let canary = Canary::new(session);
    let inner = canary.request(session);
    let bodies: [(&str, &[u8]); 5] = [
        ("CRLFs", b"\r\n\r\n\r\n\r\n"),
        ("a body that looks chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ("a body that looks like a request", &inner),
        ("NULs", &[0; 100]),
        ("a body without an end of line", b"GET / HTTP/1.1"),
    ];
    for (name, body) in bodies {
        exact(session, name, &[&sized(session, target, body)], body)?;
    }
    canary.unserved(session, "a body that looks like a request, served")?;
    let head = |length: &str| post(session, target, format!("Content-Length: {length}\r\n"), b"");
    let (zeros, five) = (head("0005"), head("5"));
    exact(session, "leading zeros", &[&zeros, b"hello"], b"hello")?;
    exact(session, "head and body apart", &[&five, b"hello"], b"hello")?;
    exact(session, "a body byte by byte", &[&five, b"h", b"e", b"l", b"l", b"o"], b"hello")
}

fn body_03_bad_content_length(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("Content-Length: 5", sized(session, &target, b"hello"))?;
    let bad = [
        "+5", "-5", "-1", "-0", "5 5", "5,6", "5, 6", "6, 5", "0x5", "5a", "a5", "", "5.0", "5;",
        "5e0", "0b101", "5_0", "\"5\"", "five", "5\u{b2}", "\u{665}", "5,", ",5", "5,a", "5\t5",
    ];
    let mut requests = Vec::new();
    for value in bad {
        // A list with empty members stands for the one that is left, to a lenient reader.
        let lenient = matches!(value, "5," | ",5");
        let miss = if lenient { CaseResult::Warn } else { CaseResult::Fail };
        let line = format!("Content-Length: {value}\r\n");
        requests.push((format!("{value:?}"), post(session, &target, line, b"hello"), miss));
    }
    for (one, two) in [("5", "6"), ("6", "5"), ("5", "0"), ("0", "5"), ("5", "+5"), ("5", "a")] {
        let lines = format!("Content-Length: {one}\r\nContent-Length: {two}\r\n");
        let name = format!("two lines, {one} and {two}");
        requests.push((name, post(session, &target, lines, b"hello"), CaseResult::Fail));
    }
    refuse_all(session, &requests, &[400])?;
    let hundred = "9".repeat(100);
    let huge = [
        ("2^32 + 5", "4294967301"),
        ("2^63", "9223372036854775808"),
        ("2^64", "18446744073709551616"),
        ("2^64 + 5", "18446744073709551621"),
        ("100 digits", hundred.as_str()),
    ];
    for (name, value) in huge {
        let line = format!("Content-Length: {value}\r\n");
        never_ends(session, name, &post(session, &target, line, b"hello"))?;
    }
    Ok(())
}

fn body_04_repeated_content_length(session: &mut Session<'_>) -> Result<(), Stop> {
    let (echo, reflect) = (session.has("echo"), session.has("reflect"));
    let target = if echo { "/echo" } else { "/" };
    session.accept("Content-Length: 5", sized(session, target, b"hello"))?;
    let twice = [
        ("two lines", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("two lines apart", "Content-Length: 5\r\nX-Other: 1\r\ncontent-length: 5\r\n"),
        ("a list", "Content-Length: 5, 5\r\n"),
        ("a list of three", "Content-Length: 5,5,5\r\n"),
    ];
    for (name, lines) in twice {
        let request = post(session, target, lines, b"hello");
        refused_or_exact(session, name, &request, b"hello")?;
        if !reflect {
            continue;
        }
        let received = session.ask(post(session, "/reflect", lines, b"hello"))?;
        let shown = match &received {
            Received::Response(response) if response.status == 200 => {
                let seen: serde_json::Value =
                    serde_json::from_slice(&response.body).unwrap_or_default();
                Some(values(&seen, "content-length"))
            }
            _ => None,
        };
        let held = shown.as_ref().is_none_or(|shown| shown.iter().all(|value| value == "5"));
        let held = held && shown.as_ref().is_none_or(|shown| shown.len() <= 1);
        let got = match shown {
            Some(shown) => format!("the application sees Content-Length {shown:?}"),
            None => received.to_string(),
        };
        let expected = "one Content-Length of 5 for the application, or a refusal";
        session.check(&format!("{name}, as the application sees it"), expected, got, held);
    }
    Ok(())
}

fn body_05_chunked(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = if session.has("echo") { "/echo" } else { "/" };
    let one = chunked(session, target, b"5\r\nhello\r\n0\r\n\r\n");
    if !is_taken(session, "one chunk", one)? {
        return Ok(());
    }
    let (mib, ffff) = (noise(1 << 20), noise(0xffff));
    let sixteen = b"0123456789abcdef";
    let cases: [(&str, Vec<u8>, &[u8]); 13] = [
        ("no chunk but the last", b"0\r\n\r\n".into(), b""),
        ("a last chunk of three zeros", b"5\r\nhello\r\n000\r\n\r\n".into(), b"hello"),
        ("two chunks", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".into(), b"hello"),
        ("upper hex", b"A\r\n0123456789\r\n0\r\n\r\n".into(), b"0123456789"),
        ("lower hex", b"a\r\n0123456789\r\n0\r\n\r\n".into(), b"0123456789"),
        ("a size of 10", b"10\r\n0123456789abcdef\r\n0\r\n\r\n".into(), sixteen),
        ("a leading zero", b"05\r\nhello\r\n0\r\n\r\n".into(), b"hello"),
        ("16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n".into(), b"hello"),
        ("CRLFs as data", b"4\r\n\r\n\r\n\r\n0\r\n\r\n".into(), b"\r\n\r\n"),
        ("a last chunk as data", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n".into(), b"0\r\n\r\n"),
        ("a size of FFFF", chunks(&ffff, 0xffff), &ffff),
        ("1,000 chunks of one byte", chunks(&ffff[..1000], 1), &ffff[..1000]),
        ("1 MiB in chunks of 10,000", chunks(&mib, 10_000), &mib),
    ];
    for (name, coded, body) in cases {
        exact(session, name, &[&chunked(session, target, &coded)], body)?;
    }
    let coded = b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    for value in ["Chunked", "CHUNKED", "chunKED"] {
        let line = format!("Transfer-Encoding: {value}\r\n");
        let request = post(session, target, line, coded);
        exact(session, &format!("{value:?}"), &[&request], b"hello!")?;
    }
    let head = chunked(session, target, b"");
    let mut pieces = vec![head.as_slice()];
    pieces.extend(coded.chunks(1));
    exact(session, "byte by byte", &pieces, b"hello!")?;
    let pieces = [&head, &b"5\r"[..], b"\nhello\r", b"\n1\r\n!", b"\r\n0", b"\r\n\r", b"\n"];
    exact(session, "torn within each CRLF", &pieces, b"hello!")?;
    let begin = [&head, &b"5\r\nhello\r\n1"[..]].concat();
    let rest = [b"00\r\n", &ffff[..0x100], b"\r\n0\r\n\r\n"].concat();
    let body = [b"hello", &ffff[..0x100]].concat();
    exact(session, "torn within a size, and the rest with its data", &[&begin, &rest], &body)
}

fn body_06_bad_chunk_size(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("a good size", chunked(session, &target, b"5\r\nhello\r\n0\r\n\r\n"))?;
    let sizes = [
        "+5", "-5", "0x5", "0X5", "0_5", " 5", "\t5", "5 5", "", "5h", "h5", "g", "5.", "5,",
        "\"5\"", "\x0b5", "5\x0b", "5\0", "5\r", "\r5", "\u{665}", "0x", "-1", "+",
    ];
    for size in sizes {
        let coded = format!("{size}\r\nhello\r\n0\r\n\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, &format!("{size:?}"), &request, CaseResult::Fail)?;
        if is_slow(session) {
            return Ok(());
        }
    }
    // The last chunk's size can be wrong as well.
    for size in ["-0", "+0", "0x0", " 0", "0 0", ""] {
        let coded = format!("5\r\nhello\r\n{size}\r\n\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, &format!("{size:?} at the end"), &request, CaseResult::Fail)?;
    }
    // Padding behind the size is refused by the grammar alone, and some senders are known to pad.
    for size in ["5 ", "5\t"] {
        let coded = format!("{size}\r\nhello\r\n0\r\n\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, &format!("{size:?}"), &request, CaseResult::Warn)?;
    }
    let huge = [
        ("2^32 + 5", "100000005"),
        ("2^63 + 5", "8000000000000005"),
        ("2^64 - 1", "FFFFFFFFFFFFFFFF"),
        ("2^64 + 5", "10000000000000005"),
        ("2^64 + 5, in 24 digits", "000000010000000000000005"),
        ("2^128 + 5", "100000000000000000000000000000005"),
    ];
    for (name, size) in huge {
        let coded = format!("{size}\r\nhello\r\n0\r\n\r\n");
        never_ends(session, name, &chunked(session, &target, coded.as_bytes()))?;
    }
    Ok(())
}

fn body_07_chunk_data(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("a good chunk", chunked(session, &target, b"5\r\nhello\r\n0\r\n\r\n"))?;
    let bad = [
        ("a byte too many", "4\r\nhello\r\n0\r\n\r\n"),
        ("two bytes too many", "3\r\nhello\r\n0\r\n\r\n"),
        ("a byte too few", "6\r\nhello\r\n0\r\n\r\n"),
        ("two other bytes", "5\r\nhelloXX0\r\n\r\n"),
        ("LF CR", "5\r\nhello\n\r0\r\n\r\n"),
        ("CR and another byte", "5\r\nhello\rX0\r\n\r\n"),
        ("CR CR", "5\r\nhello\r\r0\r\n\r\n"),
        ("another byte and LF", "5\r\nhelloX\n0\r\n\r\n"),
        ("CR alone", "5\r\nhello\r0\r\n\r\n"),
        ("nothing", "5\r\nhello0\r\n\r\n"),
        ("two spaces", "5\r\nhello  0\r\n\r\n"),
        ("in the second chunk", "2\r\nhe\r\n3\r\nlloXX0\r\n\r\n"),
    ];
    for (name, coded) in bad {
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, name, &request, CaseResult::Fail)?;
        if is_slow(session) {
            return Ok(());
        }
    }
    // Elsewhere a lone LF may end a line, so that many take it here too.
    for (name, coded) in [
        ("LF alone behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("LF alone behind the size", "5\nhello\r\n0\r\n\r\n"),
    ] {
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, name, &request, CaseResult::Warn)?;
    }
    Ok(())
}

fn body_08_extensions(session: &mut Session<'_>) -> Result<(), Stop> {
    let echo = if session.has("echo") { "/echo" } else { "/" };
    session.accept("no extension", chunked(session, echo, b"5\r\nhello\r\n0\r\n\r\n"))?;
    let good = [";a=b", ";a", ";a;b;c=d", ";a=\"b c\"", ";a=\"b;c\"", ";a=\"\\\"\""];
    for extension in good {
        let coded = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        let request = chunked(session, echo, coded.as_bytes());
        exact(session, &format!("5{extension}"), &[&request], b"hello")?;
    }
    let target = reading(session);
    let bad = [";", ";;a", ";a=", ";a\x01", ";a\0", ";a=\x7f", ";a\rb", ";a\nb", " a", ";=b"];
    for extension in bad {
        let coded = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, &format!("{:?}", format!("5{extension}")), &request, CaseResult::Warn)?;
        if is_slow(session) {
            return Ok(());
        }
    }
    let coded = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20));
    let request = chunked(session, &target, coded.as_bytes());
    spoiled(session, "an extension of 1 MiB", &request, CaseResult::Warn)?;
    let many = format!("1;{}\r\nx\r\n", "a".repeat(1_000)).repeat(2_000);
    let request = chunked(session, &target, format!("{many}0\r\n\r\n").as_bytes());
    spoiled(session, "2,000 extensions of 1,000 bytes", &request, CaseResult::Warn)
}

fn body_09_trailers(session: &mut Session<'_>) -> Result<(), Stop> {
    let reflect = session.has("reflect");
    let target = if reflect { "/reflect" } else { "/" };
    session.accept("no trailer", chunked(session, target, b"5\r\nhello\r\n0\r\n\r\n"))?;
    let forged = [
        ("X-Forged", "forged"),
        ("Host", "forged"),
        ("Authorization", "forged"),
        ("Cookie", "forged"),
        ("Content-Type", "forged"),
        ("X-Forwarded-For", "forged"),
        ("Content-Length", "10"),
        ("Transfer-Encoding", "identity"),
    ];
    for (name, value) in forged {
        let coded = format!("5\r\nhello\r\n0\r\n{name}: {value}\r\n\r\n");
        for (kind, announced) in
            [("", String::new()), (", announced", format!("Trailer: {name}\r\n"))]
        {
            let lines = format!("Transfer-Encoding: chunked\r\n{announced}");
            let request = post(session, target, lines, coded.as_bytes());
            let case = format!("{name}{kind}");
            let received = refused_or_exact(session, &case, &request, b"hello")?;
            let Received::Response(response) = received else { continue };
            let seen: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
            let (true, Some(seen)) = (reflect && response.status == 200, seen) else { continue };
            let headers = values(&seen, &name.to_lowercase());
            let got = format!("{name}: {headers:?} among the header fields");
            let held = !headers.iter().any(|header| header.contains(value));
            session.check(&format!("{case}, as a header field"), "not there", got, held);
        }
    }
    Ok(())
}

fn body_10_trailer_section(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let small = b"5\r\nhello\r\n0\r\nX-Trailer: yes\r\n\r\n";
    session.accept("a small trailer", chunked(session, &target, small))?;
    let huge = [
        ("a field of 1 MiB", format!("X-Trailer: {}\r\n", "a".repeat(1 << 20))),
        ("50,000 fields", "X-Trailer: a\r\n".repeat(50_000)),
    ];
    for (name, trailers) in huge {
        let coded = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, name, &request, CaseResult::Warn)?;
    }
    for trailer in ["X-Trailer", ": yes", "X Trailer: yes", "X-Trailer : yes", "X-Trailer: \0"] {
        let coded = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
        let request = chunked(session, &target, coded.as_bytes());
        spoiled(session, &trailer.escape_debug().to_string(), &request, CaseResult::Warn)?;
    }
    Ok(())
}

fn body_11_cut_off(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("a whole body", sized(session, &target, b"hello"))?;
    let canary = Canary::new(session);
    let inner = canary.request(session);
    let (length, coded) = ("Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n");
    let cases: [(&str, &str, &[u8]); 9] = [
        ("no byte of a length", length, b""),
        ("a part of a length", length, b"hello"),
        ("a request as a part of a length", length, &inner),
        ("before the first chunk", coded, b""),
        ("within a size", coded, b"5"),
        ("within a chunk", coded, b"5\r\nhel"),
        ("behind a chunk", coded, b"5\r\nhello\r\n"),
        ("behind the last size", coded, b"5\r\nhello\r\n0\r\n"),
        ("within the trailers", coded, b"5\r\nhello\r\n0\r\nX-Trailer: yes\r\n"),
    ];
    for (name, lines, part) in cases {
        cut_off(session, name, lines, part)?;
        if is_slow(session) {
            break;
        }
    }
    canary.unserved(session, "a request as a part of a length, served")
}

/// A body that ends too early is not one that has ended.
fn cut_off(session: &mut Session<'_>, name: &str, lines: &str, part: &[u8]) -> Result<(), Stop> {
    let watched = session.has("read") && session.has("state");
    let id = fresh_id();
    let target = if watched { format!("/read?id={id}") } else { reading(session) };
    let mut client = session.connect()?;
    client.send(post(session, &target, lines, part));
    client.finish();
    let received = client.response("POST");
    let end = client.ended();
    drop(client);
    // An answer of success is right where nobody has read the body, and nowhere else.
    let said = matches!(&received, Received::Response(response) if response.status < 300);
    let held = !(said && session.has("read")) && end != Ended::Open;
    let expected = "an error for the application, then a close; an error for the client, or none";
    if !watched {
        session.check(name, expected, format!("{received}, and {end}"), held);
        return Ok(());
    }
    let state = until(session, &id, |state| state.state != "running")?;
    let (body, handler) = (&state.body, &state.state);
    let got = format!("{received}, and {end}; the body is at {body}, the handler is {handler}");
    session.check(name, expected, got, held && body != "end" && handler != "running");
    Ok(())
}

fn body_12_unknown_coding(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let coded = b"5\r\nhello\r\n0\r\n\r\n";
    session.accept("chunked", chunked(session, &target, coded))?;
    let unknown = ["xyz", "gzip", "deflate", "br", "xyz, gzip", "chunkedchunked"];
    // What stands before `chunked` leaves the length known, and RFC 9112 says SHOULD.
    let before = ["gzip, chunked", "xyz, chunked", "identity"];
    let unknown = unknown.iter().map(|value| (value, CaseResult::Fail));
    for (value, miss) in unknown.chain(before.iter().map(|value| (value, CaseResult::Warn))) {
        let line = format!("Transfer-Encoding: {value}\r\n");
        spoiled(session, value, &post(session, &target, line, coded), miss)?;
        if is_slow(session) {
            break;
        }
    }
    Ok(())
}

fn body_13_chunked_not_last(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let coded = b"5\r\nhello\r\n0\r\n\r\n";
    session.accept("chunked", chunked(session, &target, coded))?;
    let bad = [
        ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n"),
        ("chunked,gzip", "Transfer-Encoding: chunked,gzip\r\n"),
        ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n"),
        ("chunked, xyz", "Transfer-Encoding: chunked, xyz\r\n"),
        ("chunked , gzip", "Transfer-Encoding: chunked , gzip\r\n"),
        ("two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"),
        ("two lines, identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ];
    for (name, lines) in bad {
        spoiled(session, name, &post(session, &target, lines, coded), CaseResult::Fail)?;
        if is_slow(session) {
            break;
        }
    }
    Ok(())
}

fn body_14_too_large(session: &mut Session<'_>) -> Result<(), Stop> {
    let limit = session.target.declared.body_limit.unwrap_or_default();
    let target = if session.has("echo") { "/echo" } else { "/" };
    let large = vec![b'x'; limit + 1];
    session.accept("as much as the limit", sized(session, target, &large[..limit]))?;
    let line = format!("Content-Length: {}\r\n", limit + 1);
    let size = format!("{:x}\r\n", limit + 1);
    let cases: [(&str, Vec<u8>); 2] = [
        ("a byte more than the limit", post(session, target, line, &large)),
        (
            "a chunk of a byte more",
            [&chunked(session, target, size.as_bytes())[..], &large].concat(),
        ),
    ];
    for (name, request) in cases {
        let mut client = session.connect()?;
        client.send(request);
        let received = client.response("POST");
        let held = matches!(&received, Received::Response(response) if response.status == 413);
        session.check(name, "413", &received, held);
    }
    let mut client = session.connect()?;
    client.send(chunked(session, target, b""));
    let piece = chunks(&large[..large.len().min(1 << 20)], 1 << 16);
    let piece = &piece[..piece.len() - b"0\r\n\r\n".len()];
    let bound = limit + OVER;
    let mut sent = 0;
    while sent < bound && client.send(piece) == piece.len() {
        sent += piece.len();
    }
    let got = format!("took {sent} bytes of a body without an end");
    let expected = format!("stops reading within {OVER} bytes behind the limit");
    session.check("a body without an end", &expected, got, sent < bound);
    Ok(())
}

/// How far behind its limit a server may go on reading, to let its answer be read.
const OVER: usize = 64 << 20;

fn body_15_error_while_reading(session: &mut Session<'_>) -> Result<(), Stop> {
    let good = b"5\r\nhello\r\n0\r\n\r\n";
    session.accept("a good body", chunked(session, "/read", good))?;
    let bad: [(&str, &[u8]); 4] = [
        ("a size that is none", b"zz\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", b"\r\nhello\r\n0\r\n\r\n"),
        ("data without its CRLF", b"5\r\nworldXX0\r\n\r\n"),
    ];
    for (name, coded) in bad {
        let id = fresh_id();
        let mut client = session.connect()?;
        client.send(chunked(session, &format!("/read?id={id}"), b"5\r\nhello\r\n"));
        // A server that keeps the body until it is whole calls nobody yet, and need not.
        let patience = session.patience().silence;
        Control::new(session).until(&id, patience, |state| state.read > 0)?;
        client.send(coded);
        let name = format!("{name}, while the application reads");
        session.refusal(&name, &mut client, &[400], CaseResult::Fail);
    }
    for path in ["/read", "/echo", "/reflect"] {
        if session.has(&path[1..]) {
            let request = chunked(session, path, b"5\r\nhello\r\nzz\r\n");
            session.refuse(&format!("{path}, in one write"), request, &[400])?;
        }
    }
    Ok(())
}

fn body_16_any_method(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("POST with a body", sized(session, "/", b"hello"))?;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        // Where the answer to HEAD has a body, nothing can be told: that is SEM-01.
        if method == "HEAD" && !answers_head(session)? {
            continue;
        }
        for path in ["/", "/echo", "/unread"] {
            if path.len() > 1 && !session.has(&path[1..]) {
                continue;
            }
            hides(session, method, path, &format!("{method} {path}"), 1)?;
        }
    }
    Ok(())
}

/// Whether HEAD is answered without a body.
fn answers_head(session: &mut Session<'_>) -> Result<bool, Stop> {
    let mut client = session.connect()?;
    client.send([session.request("HEAD", "/", ""), follow_up(session)].concat());
    client.response("HEAD");
    Ok(!matches!(client.response("GET"), Received::Malformed(_)))
}

fn body_17_unread(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("POST with a body", sized(session, "/", b"hello"))?;
    for path in ["/", "/unread", "/early"] {
        if path.len() > 1 && !session.has(&path[1..]) {
            continue;
        }
        let request = sized(session, path, b"GET /404 H");
        in_order(session, &format!("{path}, 10 bytes"), "POST", &[&request])?;
        for (name, size) in [("one request", 1), ("64 KiB", 64 << 10), ("4 MiB", 4 << 20)] {
            hides(session, "POST", path, &format!("{path}, {name}"), size)?;
        }
        late_body(session, path)?;
    }
    Ok(())
}

/// A body that comes when the answer has been sent is still a body.
fn late_body(session: &mut Session<'_>, path: &str) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let body = canary.request(session);
    let whole = sized(session, path, &body);
    let head = whole.len() - body.len();
    let mut client = session.connect()?;
    client.send(&whole[..head]);
    let mut first = client.response_within("POST", session.patience().silence);
    client.send([&body[..], &follow_up(session)].concat());
    if matches!(first, Received::Nothing) {
        first = client.response("POST");
    }
    let second = client.response("GET");
    judge_order(session, &format!("{path}, a body after the answer"), &mut client, &first, &second);
    canary.unserved(session, &format!("{path}, a body after the answer, served"))
}

/// A body made of requests, of about this size, by length and in chunks: none is ever served.
fn hides(
    session: &mut Session<'_>,
    method: &str,
    path: &str,
    name: &str,
    size: usize,
) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let one = canary.request(session);
    let body = one.repeat(size.div_ceil(one.len()));
    let length = format!("Content-Length: {}\r\n", body.len());
    let by_length = [session.request(method, path, &length), body.clone()].concat();
    let head = session.request(method, path, "Transfer-Encoding: chunked\r\n");
    let by_chunks = [head, chunks(&body, 1 << 16)].concat();
    for (kind, request) in [("by length", by_length), ("in chunks", by_chunks)] {
        in_order(session, &format!("{name}, {kind}"), method, &[&request])?;
    }
    canary.unserved(session, &format!("{name}, served"))
}

// What the checks of bodies, of smuggling and of expectations share.

/// A POST with these header lines, and with this behind them.
pub(super) fn post(
    session: &Session<'_>,
    target: &str,
    lines: impl AsRef<[u8]>,
    body: &[u8],
) -> Vec<u8> {
    let mut head = session.request("POST", target, "");
    head.truncate(head.len() - b"\r\n".len());
    [&head, lines.as_ref(), b"\r\n", body].concat()
}

/// A POST whose `Content-Length` is right.
pub(super) fn sized(session: &Session<'_>, target: &str, body: &[u8]) -> Vec<u8> {
    post(session, target, format!("Content-Length: {}\r\n", body.len()), body)
}

/// A POST with a chunked body, which is coded already.
pub(super) fn chunked(session: &Session<'_>, target: &str, coded: &[u8]) -> Vec<u8> {
    post(session, target, "Transfer-Encoding: chunked\r\n", coded)
}

/// Codes a body in chunks of this size.
pub(super) fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::with_capacity(body.len() + 16);
    for chunk in body.chunks(size) {
        coded.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// So many bytes that look like chance, each value among them, the same on every run.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A path whose application reads the body, where there is one.
pub(super) fn reading(session: &Session<'_>) -> String {
    if session.has("read") { "/read".to_owned() } else { "/".to_owned() }
}

/// A request that must not be served.
pub(super) struct Canary {
    id: String,
    counted: bool,
}

impl Canary {
    pub(super) fn new(session: &Session<'_>) -> Canary {
        let counted = session.has("unread") && session.has("state");
        Canary { id: fresh_id(), counted }
    }

    pub(super) fn request(&self, session: &Session<'_>) -> Vec<u8> {
        let path = if self.counted { "/unread" } else { "/" };
        session.request("GET", &format!("{path}?id={}", self.id), "")
    }

    /// How often it was served, where that can be known.
    pub(super) fn calls(&self, session: &Session<'_>) -> Result<usize, Stop> {
        if !self.counted {
            return Ok(0);
        }
        Ok(state(session, &self.id)?.calls)
    }

    /// Adds a case: it was not served.
    pub(super) fn unserved(&self, session: &mut Session<'_>, name: &str) -> Result<(), Stop> {
        if self.counted {
            let calls = self.calls(session)?;
            session.check(name, "never", format!("{calls} times"), calls == 0);
        }
        Ok(())
    }
}

/// The values that `/reflect` shows for a name.
pub(super) fn values(seen: &serde_json::Value, name: &str) -> Vec<String> {
    let fields = seen["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = fields.iter().filter(|field| field[0] == name);
    named.filter_map(|field| field[1].as_str()).map(str::to_owned).collect()
}

/// The request behind another, which tells whether that one's end was found.
pub(super) fn follow_up(session: &Session<'_>) -> Vec<u8> {
    let target = if session.has("known") { "/known?bytes=7" } else { "/" };
    session.request("GET", target, "Connection: close\r\n")
}

/// Whether this answers [`follow_up`].
fn follows(session: &Session<'_>, response: &Response) -> bool {
    match session.has("known") {
        true => response.status == 200 && response.body == b"xxxxxxx",
        false => !is_refusal(response) && response.status < 500,
    }
}

/// Whether the server says that it takes a request for malformed, or for more than it takes.
pub(super) fn is_refusal(response: &Response) -> bool {
    super::session::REFUSALS.contains(&response.status)
}

/// Sends a request, and another right behind it: each is answered by itself, or the connection
/// closed before the second.
pub(super) fn in_order(
    session: &mut Session<'_>,
    name: &str,
    method: &str,
    pieces: &[&[u8]],
) -> Result<Received, Stop> {
    ordered(session, name, method, pieces, false, |_, _| None)
}

/// Whether a good body is taken, as it has to be. An application that nobody knows may have no POST:
/// then nothing can be said.
fn is_taken(session: &mut Session<'_>, name: &str, request: Vec<u8>) -> Result<bool, Stop> {
    match session.has("echo") {
        true => Ok(session.must_accept(name, request)?.is_some()),
        false => session.accept(name, request).map(|_| true),
    }
}

/// As [`in_order`]; and the first answer has this body, where the application echoes.
pub(super) fn exact(
    session: &mut Session<'_>,
    name: &str,
    pieces: &[&[u8]],
    body: &[u8],
) -> Result<(), Stop> {
    ordered(session, name, "POST", pieces, false, |session, response| {
        // A server may have a limit below what is sent here.
        let limited = response.status == 413 && body.len() > 65_535;
        // An application that nobody knows may have no such method, or want a length.
        let unknown = !session.has("echo") && matches!(response.status, 411 | 501);
        if is_refusal(response) && !limited && !unknown {
            return Some(format!("{}", response.status));
        }
        differs(session, response, body)
    })?;
    Ok(())
}

/// As [`exact`], where a refusal and a close are right as well.
pub(super) fn refused_or_exact(
    session: &mut Session<'_>,
    name: &str,
    request: &[u8],
    body: &[u8],
) -> Result<Received, Stop> {
    let judge = |session: &Session<'_>, response: &Response| differs(session, response, body);
    ordered(session, name, "POST", &[request], true, judge)
}

/// In what an echo differs from the body that was sent.
fn differs(session: &Session<'_>, response: &Response, body: &[u8]) -> Option<String> {
    if !session.has("echo") || response.status != 200 || response.body == body {
        return None;
    }
    if response.field("content-type").is_some_and(|kind| kind.contains("json")) {
        return None;
    }
    let at = response.body.iter().zip(body).position(|(one, other)| one != other);
    let at = at.map_or(String::new(), |at| format!(", another byte at {at}"));
    Some(format!("{} of {} bytes{at}", response.body.len(), body.len()))
}

fn ordered(
    session: &mut Session<'_>,
    name: &str,
    method: &str,
    pieces: &[&[u8]],
    refusable: bool,
    wrong: impl Fn(&Session<'_>, &Response) -> Option<String>,
) -> Result<Received, Stop> {
    let mut client = session.connect()?;
    let (last, before) = pieces.split_last().expect("a request");
    for piece in before {
        client.send_apart(piece);
    }
    client.send([*last, &follow_up(session)].concat());
    let method = if find(pieces[0], b"HEAD ") == Some(0) { "HEAD" } else { method };
    let first = client.response(method);
    if let Received::Response(response) = &first {
        if let Some(problem) = wrong(session, response) {
            session.check(name, "the body as it was sent, and an answer", problem, false);
            return Ok(first);
        }
    }
    let second = client.response("GET");
    let unread = !session.has("echo");
    match &second {
        // An application that does not read has been answered for before the refusal.
        Received::Response(response)
            if refusable && unread && is_refusal(response) && client.ended() != Ended::Open =>
        {
            session.check(name, "an answer or a refusal", &second, true);
        }
        // A body that nobody reads and that blocks the connection is another rule: BODY-17.
        Received::Nothing if unread && matches!(first, Received::Response(_)) => {
            let got = format!("{first}, then {second}");
            session.should(name, "an answer; then one to the request behind it", got, false);
        }
        _ => judge_order(session, name, &mut client, &first, &second),
    }
    Ok(first)
}

pub(super) fn judge_order(
    session: &mut Session<'_>,
    name: &str,
    client: &mut Client,
    first: &Received,
    second: &Received,
) {
    let expected = "an answer; then one to the request behind it, or a close";
    let (held, got) = match (first, second) {
        (Received::Nothing | Received::Malformed(_), _) => (false, first.to_string()),
        (_, Received::Closed | Received::Reset) => (true, format!("{first}, then {second}")),
        (Received::Response(one), Received::Response(two)) => {
            let more = client.response_within("GET", session.patience().silence);
            let more = matches!(more, Received::Response(_) | Received::Malformed(_));
            let held = one.status < 500 || one.status == 501;
            let held = held && follows(session, two) && !more;
            let more = if more { ", and then more" } else { "" };
            let seen = if follows(session, two) { "" } else { ", which is no answer to it" };
            (held, format!("{first}, then {second}{seen}{more}"))
        }
        _ => (false, format!("{first}, then {second}")),
    };
    session.check(name, expected, got, held);
}

/// Refuses each with one of these statuses, and gives up on a server that lets too many wait.
pub(super) fn refuse_all(
    session: &mut Session<'_>,
    requests: &[(String, Vec<u8>, CaseResult)],
    statuses: &[u16],
) -> Result<(), Stop> {
    for (name, request, miss) in requests {
        match miss {
            CaseResult::Warn => session.should_refuse(name, request, statuses)?,
            _ => session.refuse(name, request, statuses)?,
        }
        if is_slow(session) {
            break;
        }
    }
    Ok(())
}

/// Whether so many cases have used up all patience that the rest had better not be tried.
pub(super) fn is_slow(session: &Session<'_>) -> bool {
    let waited = |case: &&Case| {
        case.result != CaseResult::Pass
            && (case.got.contains("still open") || case.got.contains("nothing"))
    };
    session.cases.iter().filter(waited).count() >= SLOW
}

/// Sends a request that is spoiled in its body, and a canary behind it: it has to be refused, the
/// connection closed, and the canary left alone. An application that nobody knows may have answered
/// without a look at the body.
pub(super) fn spoiled(
    session: &mut Session<'_>,
    name: &str,
    request: &[u8],
    miss: CaseResult,
) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let mut client = session.connect()?;
    client.send([request, &canary.request(session)].concat());
    let first = client.response("POST");
    let reads = session.has("read");
    let (mut result, mut got) = match &first {
        Received::Response(response) if matches!(response.status, 400 | 413 | 431 | 501) => {
            (CaseResult::Pass, first.to_string())
        }
        Received::Response(response) if is_refusal(response) => {
            (CaseResult::Warn, first.to_string())
        }
        Received::Response(response) if response.status < 500 && !reads => {
            (CaseResult::Pass, first.to_string())
        }
        // That it is not the application's fault is another rule: BODY-15.
        Received::Response(response) if response.status >= 500 => {
            (CaseResult::Warn, first.to_string())
        }
        Received::Closed | Received::Reset => (CaseResult::Warn, first.to_string()),
        _ => (miss, first.to_string()),
    };
    if result == CaseResult::Pass || miss == CaseResult::Warn {
        if let Some(problem) = goes_on(&mut client, &first, session.patience().signal) {
            (result, got) = (worse(result, miss), format!("{got}, and {problem}"));
        }
    }
    // Some servers linger until their client has left, and serve nobody else meanwhile.
    drop(client);
    let calls = canary.calls(session)?;
    if calls > 0 {
        (result, got) = (worse(result, miss), format!("{got}, and the request behind it served"));
    }
    session.case(name, Kind::Refuse, result, "400, then a close", &got);
    Ok(())
}

/// What shows that the server has gone on behind a first answer: after a refusal any other answer
/// does, after another answer all but a refusal, and a connection that stays open does always.
pub(super) fn goes_on(
    client: &mut Client,
    first: &Received,
    within: Duration,
) -> Option<&'static str> {
    let refused = matches!(first, Received::Response(response) if is_refusal(response));
    match client.response_within("GET", within) {
        Received::Closed | Received::Reset => None,
        Received::Response(response) if response.status >= 400 && !refused => {
            (client.rest(within).1 == Ended::Open).then_some("the connection still open")
        }
        Received::Nothing => Some("the connection still open"),
        _ => Some("the request behind it answered"),
    }
}

pub(super) fn worse(one: CaseResult, other: CaseResult) -> CaseResult {
    match (one, other) {
        (CaseResult::Fail, _) | (_, CaseResult::Fail) => CaseResult::Fail,
        (CaseResult::Warn, _) | (_, CaseResult::Warn) => CaseResult::Warn,
        _ => CaseResult::Pass,
    }
}

/// Sends a request whose body is announced as larger than anybody sends, and a canary: refused, or
/// waited for, but never taken for whole.
fn never_ends(session: &mut Session<'_>, name: &str, request: &[u8]) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let mut client = session.connect()?;
    client.send([request, &canary.request(session)].concat());
    let silence = session.patience().silence;
    let first = client.response_within("POST", silence);
    let (mut result, mut got) = (CaseResult::Pass, first.to_string());
    if let Received::Response(response) = &first {
        if !is_refusal(response) && session.has("read") {
            // It has not been taken for whole; whose fault it is is another rule: BODY-15.
            let blamed = response.status >= 500;
            result = if blamed { CaseResult::Warn } else { CaseResult::Fail };
        }
        let problem = goes_on(&mut client, &first, silence);
        // Nobody who has not read the body can tell that there is no end.
        if let Some(problem) = problem.filter(|problem| !problem.contains("still open")) {
            (result, got) = (CaseResult::Fail, format!("{got}, and {problem}"));
        }
    }
    drop(client);
    if canary.calls(session)? > 0 {
        (result, got) = (CaseResult::Fail, format!("{got}, and the request behind it served"));
    }
    session.case(name, Kind::Refuse, result, "a refusal, or waiting for more", &got);
    Ok(())
}
