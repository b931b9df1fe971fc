//! SMG: request smuggling.

use super::bodies::{
    Canary, check, chunked, goes_on, in_order, is_refusal, is_slow, judge_order, post, reading,
    refused_or_exact, sized, spoiled,
};
use super::{Ended, Received, Session, Stop, WireCheck};
use crate::verdict::{CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("SMG-01", smg_01_both_lengths),
    check("SMG-02", smg_02_old_version),
    check("SMG-03", smg_03_chunked_twice),
    check("SMG-04", smg_04_look_alikes),
    check("SMG-05", smg_05_nothing_behind),
    check("SMG-06", smg_06_boundaries),
    check("SMG-07", smg_07_injected_fields),
    check("SMG-08", smg_08_says_close),
];

/// A good chunked body.
const CODED: &[u8] = b"5\r\nhello\r\n0\r\n\r\n";

fn echoing(session: &Session<'_>) -> &'static str {
    if session.has("echo") { "/echo" } else { "/" }
}

fn smg_01_both_lengths(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = echoing(session);
    session.accept("a length alone", sized(session, target, b"hello"))?;
    session.accept("chunked alone", chunked(session, target, CODED))?;
    let canary = Canary::new(session).request(session).len();
    let lengths = [
        ("of no byte", 0),
        ("within the first chunk", 5),
        ("as long as the coded body", CODED.len()),
        ("over the request behind it", CODED.len() + canary),
    ];
    for (name, length) in lengths {
        let (length, coded) = (format!("Content-Length: {length}"), "Transfer-Encoding: chunked");
        for (one, two, order) in [(&*length, coded, "before"), (coded, &length, "behind")] {
            let lines = format!("{one}\r\n{two}\r\n");
            let request = post(session, target, lines, CODED);
            let name = format!("a length {name}, {order} Transfer-Encoding");
            closes_behind(session, &name, &request, Some(b"hello"))?;
        }
    }
    Ok(())
}

fn smg_02_old_version(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = echoing(session);
    session.accept("HTTP/1.1", chunked(session, target, CODED))?;
    let old = |lines: &str| {
        let lines = format!("{lines}Transfer-Encoding: chunked\r\n");
        let mut request = post(session, target, lines, CODED);
        let minor = request.windows(8).position(|word| word == b"HTTP/1.1").unwrap_or_default();
        request[minor + 7] = b'0';
        request
    };
    let cases = [
        ("HTTP/1.0", old("")),
        ("HTTP/1.0 that keeps alive", old("Connection: keep-alive\r\n")),
        ("HTTP/1.0 with a length", old("Connection: keep-alive\r\nContent-Length: 15\r\n")),
    ];
    for (name, request) in cases {
        closes_behind(session, name, &request, None)?;
    }
    Ok(())
}

/// A request that may be served or refused, and behind which the connection has to close.
fn closes_behind(
    session: &mut Session<'_>,
    name: &str,
    request: &[u8],
    body: Option<&[u8]>,
) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let mut client = session.connect()?;
    client.send([request, &canary.request(session)].concat());
    let first = client.response("POST");
    let echoes = session.has("echo");
    let (mut held, mut got) = match &first {
        Received::Response(response) => {
            let whole = !echoes || body.is_none_or(|body| response.body == body);
            let held = is_refusal(response)
                || (response.status < 500 && (response.status != 200 || whole));
            let body = if whole || is_refusal(response) { "" } else { " with another body" };
            (held, format!("{first}{body}"))
        }
        Received::Closed | Received::Reset => (true, first.to_string()),
        Received::Nothing | Received::Malformed(_) => (false, first.to_string()),
    };
    if held {
        if let Some(problem) = goes_on(&mut client, &first, session.patience().signal) {
            (held, got) = (false, format!("{got}, and {problem}"));
        }
    }
    drop(client);
    if canary.calls(session)? > 0 {
        (held, got) = (false, format!("{got}, and the request behind it served"));
    }
    let expected = "400, or an answer to the decoded body; then a close";
    session.check(name, expected, got, held);
    Ok(())
}

fn smg_03_chunked_twice(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("chunked once", chunked(session, &target, CODED))?;
    let values = [
        "chunked, chunked",
        "chunked,chunked",
        "Chunked, CHUNKED",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nX-Other: 1\r\ntransfer-encoding: Chunked",
        "chunked, gzip, chunked",
        "chunked, , chunked",
    ];
    for value in values {
        let request = post(session, &target, format!("Transfer-Encoding: {value}\r\n"), CODED);
        spoiled(session, &value.escape_debug().to_string(), &request, CaseResult::Fail)?;
        if is_slow(session) {
            break;
        }
    }
    Ok(())
}

/// Values that are not the token, though something trims, folds, cuts or finds it there.
const VALUES: &[&[u8]] = &[
    b"xchunked",
    b"chunkedx",
    b"x-chunked",
    b"chunked-x",
    b"chunke",
    b"chunk ed",
    b"c\thunked",
    b"x chunked",
    b"chunked x",
    b"\"chunked\"",
    b"'chunked'",
    b"\"chunked",
    b"(a)chunked",
    b"[chunked]",
    b"<chunked>",
    b"=chunked",
    b"chunked=1",
    b"chunked/1",
    b"chunked:",
    b"chunked.",
    b"chunked_",
    b"chunked\\",
    b"%63hunked",
    b"\x0bchunked",
    b"chunked\x0b",
    b"\x0cchunked",
    b"chunked\x0c",
    b"\x00chunked",
    b"chunked\x00",
    b"chunked\x00x",
    b"\x01chunked",
    b"\x1cchunked",
    b"chunked\x1f",
    b"\x7fchunked",
    b"\x85chunked",
    b"chunked\xa0",
    b"\xc2\xa0chunked",
    b"\xef\xbb\xbfchunked",
    b"chun\xe2\x84\xaaed",
    b"\xffchunked",
];

/// Lines that are no good `Transfer-Encoding`, and no good line either.
const LINES: &[&[u8]] = &[
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\x0b: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"\x0bTransfer-Encoding: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding chunked",
    b"Transfer-Encoding; chunked",
    b"\"Transfer-Encoding\": chunked",
    b"X: y\rTransfer-Encoding: chunked",
];

/// Fields of another name, which say nothing about the body.
const NAMES: &[&str] = &[
    "Transfer_Encoding",
    "transfer_encoding",
    "X-Transfer-Encoding",
    "Transfer-Encodings",
    "Transfer-Encoding-",
    "Transfer-Encodin",
    "Transfer.Encoding",
    "TransferEncoding",
    "TE",
];

/// Values that a lenient reader takes for the token, as it may: empty members of a list count for
/// nothing, and parameters of chunked only should be refused.
const LENIENT: &[&str] = &["chunked,", ",chunked", ", chunked", "chunked , ,", "chunked;q=1"];

fn smg_04_look_alikes(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = echoing(session);
    session.accept("chunked", chunked(session, target, CODED))?;
    let lines = VALUES.iter().map(|value| [b"Transfer-Encoding: ", *value].concat());
    let lines = lines.chain(LINES.iter().map(|line| line.to_vec()));
    for line in lines {
        let request = post(session, target, [&line[..], b"\r\n"].concat(), CODED);
        spoiled(session, &line.escape_ascii().to_string(), &request, CaseResult::Fail)?;
        if is_slow(session) {
            return Ok(());
        }
    }
    for value in LENIENT {
        let line = format!("Transfer-Encoding: {value}\r\n");
        let request = post(session, target, line, CODED);
        refused_or_exact(session, &format!("Transfer-Encoding: {value}"), &request, b"hello")?;
    }
    for name in NAMES {
        let canary = Canary::new(session);
        let body = [b"0\r\n\r\n", &canary.request(session)[..]].concat();
        let lines = format!("Content-Length: {}\r\n{name}: chunked\r\n", body.len());
        let request = post(session, target, lines, &body);
        refused_or_exact(session, &format!("{name}: chunked"), &request, &body)?;
        canary.unserved(session, &format!("{name}: chunked, and a request in the body served"))?;
    }
    Ok(())
}

fn smg_05_nothing_behind(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("a length", sized(session, &target, b"hello"))?;
    session.accept("chunked", chunked(session, &target, CODED))?;
    let heads = [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5a",
        "Content-Length: 0x5",
        "Content-Length: ",
        "Content-Length: 5, 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length : 5",
        "Transfer-Encoding: xyz",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: \"chunked\"",
    ];
    for head in heads {
        for (kind, body) in [("no body", &b""[..]), ("5 bytes", b"hello"), ("a chunk", CODED)] {
            let request = post(session, &target, format!("{head}\r\n"), body);
            let name = format!("{}, with {kind}", head.escape_debug());
            left_alone(session, &name, &request)?;
        }
    }
    let bodies = [
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "zz\r\n\r\n",
        "-1\r\n\r\n",
        "\r\n\r\n",
        "5\r\nhello\r\nzz\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
    ];
    for coded in bodies {
        let request = chunked(session, &target, coded.as_bytes());
        left_alone(session, &coded.escape_debug().to_string(), &request)?;
    }
    Ok(())
}

/// Sends a request whose framing is wrong, and a canary behind it. How the first is answered, and
/// whether the connection closes then, is for other rules: BODY-03, BODY-06, BODY-07.
fn left_alone(session: &mut Session<'_>, name: &str, request: &[u8]) -> Result<(), Stop> {
    let (canary, silence) = (Canary::new(session), session.patience().silence);
    let mut client = session.connect()?;
    client.send([request, &canary.request(session)].concat());
    let first = client.response_within("POST", silence);
    let answered = goes_on(&mut client, &first, silence);
    let answered = answered.filter(|problem| !problem.contains("still open"));
    drop(client);
    let served = (canary.calls(session)? > 0).then_some("the request behind it served");
    let problems = answered.iter().chain(&served);
    let got = problems.fold(first.to_string(), |got, problem| format!("{got}, and {problem}"));
    let held = answered.is_none() && served.is_none();
    session.check(name, "nothing behind it is answered or served", got, held);
    Ok(())
}

fn smg_06_boundaries(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = echoing(session);
    session.accept("POST with 5 bytes", sized(session, target, b"hello"))?;
    let with_trailer = b"5\r\nhello\r\n0\r\nX-Trailer: yes\r\n\r\n";
    let with_trailers = b"5\r\nhello\r\n0\r\nX-A: a\r\nX-B: b\r\nX-C: c\r\n\r\n";
    let mut cases = vec![
        ("GET", session.request("GET", "/", "")),
        ("GET with a length of 0", session.request("GET", "/", "Content-Length: 0\r\n")),
        ("OPTIONS", session.request("OPTIONS", "/", "")),
        ("HEAD", session.request("HEAD", "/", "")),
        ("a length of 0", sized(session, target, b"")),
        ("no length", session.request("POST", target, "")),
        ("5 bytes", sized(session, target, b"hello")),
        ("chunks", chunked(session, target, CODED)),
        ("a last chunk alone", chunked(session, target, b"0\r\n\r\n")),
        ("a last chunk of zeros", chunked(session, target, b"5\r\nhello\r\n0000\r\n\r\n")),
        ("a trailer", chunked(session, target, with_trailer)),
        ("three trailers", chunked(session, target, with_trailers)),
    ];
    let paths = [
        ("HEAD of a known length", "HEAD", "known", "/known?bytes=100"),
        ("HEAD of an unknown length", "HEAD", "stream", "/stream?chunks=3&bytes=5"),
        ("GET of an unknown length", "GET", "stream", "/stream?chunks=3&bytes=5"),
        ("GET of no byte", "GET", "known", "/known?bytes=0"),
        ("204", "GET", "status", "/status?code=204"),
        ("304", "GET", "status", "/status?code=304"),
    ];
    for (name, method, feature, target) in paths {
        if session.has(feature) {
            cases.push((name, session.request(method, target, "")));
        }
    }
    for (name, request) in cases {
        let method = if request.starts_with(b"HEAD ") { "HEAD" } else { "POST" };
        in_order(session, name, method, &[&request])?;
        if session.has("reflect") {
            poisoned(session, &format!("{name}, and the method behind it"), method, &request)?;
        }
    }
    Ok(())
}

/// Sends a request, and behind it another whose method shows whether its first byte is lost.
fn poisoned(
    session: &mut Session<'_>,
    name: &str,
    method: &str,
    request: &[u8],
) -> Result<(), Stop> {
    let mut client = session.connect()?;
    let poison = session.request("GET", "/reflect", "Connection: close\r\n");
    client.send([request, &poison].concat());
    let first = client.response(method);
    let second = client.response("GET");
    if let Received::Response(response) = &second {
        let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let got = format!("{first}, then {second} to the method {}", seen["method"]);
        let expected = "an answer; then one to the method GET";
        session.check(name, expected, got, seen["method"] == "GET");
    } else {
        judge_order(session, name, &mut client, &first, &second);
    }
    Ok(())
}

fn smg_07_injected_fields(session: &mut Session<'_>) -> Result<(), Stop> {
    for kind in ["crlf", "cr", "lf", "nul"] {
        let target = format!("/bad-field?kind={kind}");
        let mut client = session.connect()?;
        client.send(session.request("GET", &target, "Connection: close\r\n"));
        let (raw, end) = client.rest(session.patience().signal);
        let text = String::from_utf8_lossy(&raw).to_lowercase();
        let head = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n", "\n");
        // A lone CR or NUL begins a new line for some readers.
        let injected = head.split(['\n', '\r', '\0']).any(|line| line.starts_with("x-injected"));
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (result, seen) = match (injected, status.as_str()) {
            (true, _) => (CaseResult::Fail, "with the injected field"),
            (false, "500") => (CaseResult::Pass, "without the field"),
            (false, "") if end == Ended::Open => (CaseResult::Fail, "nothing"),
            // The value was made harmless, or nothing was sent at all.
            (false, _) => (CaseResult::Warn, "without the injected field"),
        };
        let got = format!("{status:?} {seen}");
        session.case(kind, Kind::Behave, result, "500, without the field", &got);
    }
    Ok(())
}

fn smg_08_says_close(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    session.accept("a length", sized(session, &target, b"hello"))?;
    let heads = [
        "Content-Length: 5a",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: xyz",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding : chunked",
    ];
    let heads = heads.map(|head| (head, post(session, &target, format!("{head}\r\n"), b"hello")));
    let mut cases = heads.to_vec();
    if session.has("read") {
        cases.push(("a chunk size that is none", chunked(session, &target, b"zz\r\n\r\n")));
    }
    for (name, request) in cases {
        let mut client = session.connect()?;
        client.send(request);
        let received = client.response("POST");
        let Received::Response(response) = &received else {
            session.should(name, "a refusal that says close", &received, false);
            continue;
        };
        let says = response.lists("connection", "close") || response.version == "HTTP/1.0";
        let end = client.ended();
        let says_so = if says { "says close" } else { "does not say close" };
        let got = format!("{received}, which {says_so}, and the connection {end}");
        let held = says && end != Ended::Open && response.status >= 400;
        session.should(&name.escape_debug().to_string(), "a refusal that says close", got, held);
    }
    Ok(())
}
