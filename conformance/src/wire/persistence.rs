//! KA: persistent connections, and what the checks of other families need on them.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use super::control::{fresh_id, state, until};
use super::{Client, Ended, Framing, Received, Response, Session, Stop, When, WireCheck};
use crate::rule::{Bound, Need};
use crate::verdict::{CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("KA-01", When::Beside, ka_01_persists),
    check("KA-02", When::Beside, ka_02_close),
    check("KA-03", When::Beside, ka_03_http_1_0),
    check("KA-04", When::Beside, ka_04_pipelined),
    check("KA-05", When::Alone, ka_05_lingers),
    check("KA-06", When::Background, ka_06_idle),
    check("KA-07", When::Beside, ka_07_half_closed),
    check("KA-08", When::Beside, ka_08_last_request),
];

/// A check that depends on no other.
pub(super) const fn check(
    rule: &'static str,
    when: When,
    check: fn(&mut Session<'_>) -> Result<(), Stop>,
) -> WireCheck {
    WireCheck { rule, after: &[], when, check }
}

/// How many requests a connection is given.
const REQUESTS: usize = 100;

/// The size of an upload that is not read, in bytes.
const UPLOAD: usize = 1024 * 1024;

/// Whether this is a whole response with this status and body.
pub(super) fn is(received: &Received, status: u16, body: &[u8]) -> bool {
    matches!(received, Received::Response(response)
        if response.complete && response.status == status && response.body == body)
}

/// What came, with the beginning of its body.
pub(super) fn shown(received: &Received) -> String {
    match received {
        Received::Response(response) if !response.body.is_empty() => {
            let (body, len) = (&response.body, response.body.len());
            let start = body[..len.min(60)].escape_ascii();
            format!("{received} with {len} bytes of body: {start}")
        }
        _ => received.to_string(),
    }
}

/// What follows a response on its connection: whether it is the answer to a GET of `/`, whole; or
/// the end of the connection, which is never mistaken for one.
pub(super) fn next_is_intact(client: &mut Client) -> (bool, String) {
    let next = client.response("GET");
    let held = match &next {
        Received::Response(response) => response.complete && response.status < 500,
        Received::Closed | Received::Reset => true,
        Received::Nothing | Received::Malformed(_) => false,
    };
    (held, format!("behind it {next}"))
}

/// A GET of `/`, to stand behind another request.
pub(super) fn next(session: &Session<'_>) -> Vec<u8> {
    session.request("GET", "/", "")
}

/// Whether a response says that it is the last.
pub(super) fn says_close(response: &Response) -> bool {
    response.lists("connection", "close")
}

/// Goes on only where the server speaks HTTP/1.1: one that answers in HTTP/1.0 closes by right.
fn needs_1_1(response: &Response) -> Result<(), Stop> {
    match response.version.as_str() {
        "HTTP/1.0" => Err(Stop::skip("http-1.0", "the server answers in HTTP/1.0, and closes")),
        _ => Ok(()),
    }
}

fn ka_01_persists(session: &mut Session<'_>) -> Result<(), Stop> {
    let get = session.request("GET", "/", "");
    needs_1_1(&session.accept("GET", &get)?)?;
    let expected = "an answer each, and an open connection unless one says close";
    let (got, held, early) = in_turn(session, &vec![("GET", get); REQUESTS])?;
    session.check("a hundred requests in turn", expected, &got, held);
    session.should("a hundred requests in turn", "more than one on a connection", got, !early);

    let lost = ("GET", session.request("GET", "/no-such-path", ""));
    let asks = ("GET", session.request("GET", "/", "Connection: keep-alive\r\n"));
    let mut mix = vec![lost, asks];
    if session.has("echo") && session.has("known") && session.has("stream") {
        let post = |lines: &str, body: &str| {
            let head = session.request("POST", "/echo", lines);
            ("POST", [&head, body.as_bytes()].concat())
        };
        mix.push(post("Content-Length: 5\r\n", "hello"));
        mix.push(post("Content-Length: 0\r\n", ""));
        mix.push(post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"));
        // A HEAD whose GET has no body: others are SEM-01's.
        mix.push(("HEAD", session.request("HEAD", "/known?bytes=0", "")));
        for target in ["/known?bytes=0", "/known?bytes=70000", "/stream?chunks=3&bytes=9"] {
            mix.push(("GET", session.request("GET", target, "")));
        }
    }
    let requests: Vec<_> = mix.iter().cycle().take(3 * mix.len()).cloned().collect();
    let (got, held, _) = in_turn(session, &requests)?;
    session.check("requests of all kinds in turn", expected, got, held);

    let odd = ["closed", "not-close", "x-close, foo"];
    for option in odd {
        let first = session.request("GET", "/", &format!("Connection: {option}\r\n"));
        let (got, held, early) = in_turn(session, &[("GET", first), ("GET", next(session))])?;
        let name = format!("the connection option `{option}`, which nobody knows");
        session.should(&name, "two answers on one connection", got, held && !early);
    }
    Ok(())
}

/// Sends each request when the one before has been answered. Gives what came, whether the
/// connection lasted as long as the responses have said, and whether it was the first that closed.
fn in_turn(
    session: &mut Session<'_>,
    requests: &[(&str, Vec<u8>)],
) -> Result<(String, bool, bool), Stop> {
    let mut client = session.connect()?;
    for (n, (method, request)) in requests.iter().enumerate() {
        client.send(request);
        match client.response(method) {
            Received::Response(response) if response.complete => {
                if says_close(&response) || response.framing == Framing::Close {
                    let ended = client.ended();
                    let got = format!("answer {} says close, and is {ended}", n + 1);
                    return Ok((got, ended != Ended::Open, n == 0));
                }
            }
            other => return Ok((format!("in answer to request {}, {other}", n + 1), false, false)),
        }
    }
    Ok((format!("{} answers", requests.len()), true, false))
}

fn ka_02_close(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let options = [
        "Connection: close\r\n",
        "Connection: Close\r\n",
        "connection: CLOSE\r\n",
        "Connection: foo, close\r\n",
        "Connection: close, foo\r\n",
        "Connection: foo,close\r\n",
        "Connection:close\r\n",
        "Connection: ,close ,\r\n",
        "Connection: keep-alive, close\r\n",
        "Connection: foo\r\nConnection: close\r\n",
        "Connection: close\r\nConnection: foo\r\n",
    ];
    let mut open = 0;
    for lines in options {
        let request = session.request("GET", "/", lines);
        let name = lines.trim_end().replace("\r\n", " and ");
        open += usize::from(!closes_after(session, &name, request)?);
        if open == 2 {
            return Ok(());
        }
    }
    let mut targets = vec![("GET", "/no-such-path")];
    if session.has("stream") && session.has("known") {
        targets.extend([("GET", "/stream?chunks=2&bytes=3"), ("GET", "/known?bytes=20000")]);
        targets.push(("HEAD", "/known?bytes=0"));
    }
    for (method, target) in targets {
        let request = session.request(method, target, "Connection: close\r\n");
        closes_after(session, &format!("{method} {target} with close"), request)?;
    }
    unprocessed(session)
}

/// Whether a request is answered, its response says `close`, and the connection is closed.
fn closes_after(session: &mut Session<'_>, name: &str, request: Vec<u8>) -> Result<bool, Stop> {
    let mut client = session.connect()?;
    client.send(&request);
    let method = if request.starts_with(b"HEAD") { "HEAD" } else { "GET" };
    let received = client.response(method);
    let Received::Response(response) = &received else {
        session.check(name, "an answer, then a close", received, false);
        return Ok(true);
    };
    let (behind, ended) = client.rest(session.patience().signal);
    let got = format!("{received}, {} bytes behind it, and {ended}", behind.len());
    let held = response.complete && behind.is_empty() && ended != Ended::Open;
    session.check(name, "an answer, then a close", got, held);
    let says = response.field("connection");
    let got = says.map_or("no Connection field".to_owned(), |says| format!("Connection: {says}"));
    // A response of HTTP/1.0 says so by its version. Of others RFC 9112, section 9.6, says SHOULD; one
    // that says the opposite shows that nobody has read the request's option.
    let result = match says_close(response) || response.version == "HTTP/1.0" {
        true => CaseResult::Pass,
        false if response.lists("connection", "keep-alive") => CaseResult::Fail,
        false => CaseResult::Warn,
    };
    session.case(name, Kind::Behave, result, "a response that says close", &got);
    Ok(ended != Ended::Open)
}

/// Requests behind one that is to be the last: they are neither answered nor processed.
fn unprocessed(session: &mut Session<'_>) -> Result<(), Stop> {
    let lines = "Connection: close\r\n";
    let probed = session.has("known") && session.has("state");
    let id = fresh_id();
    let canary = if probed { format!("/known?bytes=3&id={id}") } else { "/".to_owned() };
    let canary = session.request("GET", &canary, "");
    let mut firsts = vec![("GET /", session.request("GET", "/", lines))];
    if session.has("slow") {
        firsts.push(("GET /slow", session.request("GET", "/slow?ms=50", lines)));
    }
    if session.has("echo") {
        let lines = format!("{lines}Content-Length: 5\r\n");
        let head = session.request("POST", "/echo", &lines);
        firsts.push(("POST /echo", [head, b"hello".to_vec()].concat()));
    }
    for (what, first) in firsts {
        let mut client = session.connect()?;
        client.send([&first[..], &canary, &canary].concat());
        let received = client.response("GET");
        let (behind, ended) = client.rest(session.patience().signal);
        let name = format!("requests behind a last one, {what}");
        let got = format!("{received}, {} bytes behind it, and {ended}", behind.len());
        let answered = matches!(&received, Received::Response(response) if response.complete);
        let held = answered && behind.is_empty() && ended != Ended::Open;
        session.check(&name, "one answer, then a close", got, held);
    }
    if probed {
        let calls = state(session, &id)?.calls;
        let got = format!("{calls} calls");
        session.check("what is behind a last request", "no call of it", got, calls == 0);
    }
    Ok(())
}

/// A request of HTTP/1.0.
fn old(session: &Session<'_>, target: &str, lines: &str) -> Vec<u8> {
    let authority = &session.target.authority;
    format!("GET {target} HTTP/1.0\r\nHost: {authority}\r\n{lines}\r\n").into_bytes()
}

fn ka_03_http_1_0(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET of HTTP/1.0", old(session, "/", ""))?;
    let mut targets = vec!["/", "/no-such-path"];
    if session.has("stream") && session.has("known") {
        targets.extend(["/known?bytes=20000", "/stream?chunks=3&bytes=9"]);
    }
    for target in targets {
        for lines in ["", "Connection: foo\r\n", "Connection: keep-alive, close\r\n"] {
            let mut client = session.connect()?;
            client.send(old(session, target, lines));
            let received = client.response("GET");
            let whole = matches!(&received, Received::Response(response) if response.complete);
            let ended = client.ended();
            let name = format!("HTTP/1.0 of {target} with {:?}", lines.trim_end());
            let got = format!("{received}, and {ended}");
            session.check(&name, "an answer, then a close", got, whole && ended != Ended::Open);
            if ended == Ended::Open {
                break;
            }
        }
        for option in ["keep-alive", "Keep-Alive", "foo, keep-alive"] {
            if !agreed(session, target, option)? {
                break;
            }
        }
    }
    let id = fresh_id();
    let canary = session.request("GET", &format!("/?id={id}"), "");
    let mut client = session.connect()?;
    client.send([old(session, "/", ""), canary].concat());
    let received = client.response("GET");
    let (behind, ended) = client.rest(session.patience().signal);
    let got = format!("{received}, {} bytes behind it, and {ended}", behind.len());
    let held = behind.is_empty() && ended != Ended::Open;
    session.check("a request behind one of HTTP/1.0", "one answer, then a close", got, held);
    if session.has("state") {
        let calls = state(session, &id)?.calls;
        let name = "what is behind a request of HTTP/1.0";
        session.check(name, "no call of it", format!("{calls} calls"), calls == 0);
    }
    Ok(())
}

/// HTTP/1.0 with `keep-alive`: both sides agree on it, or the connection is closed. Says whether
/// something came.
fn agreed(session: &mut Session<'_>, target: &str, option: &str) -> Result<bool, Stop> {
    let mut client = session.connect()?;
    client.send(old(session, target, &format!("Connection: {option}\r\n")));
    let name = format!("HTTP/1.0 of {target} with `{option}`");
    let expected = "keep-alive and another answer, or a close";
    let received = client.response("GET");
    let Received::Response(response) = &received else {
        session.check(&name, expected, received, false);
        return Ok(false);
    };
    if !response.lists("connection", "keep-alive") {
        let ended = client.ended();
        let got = format!("{received}, not keep-alive, and {ended}");
        session.check(&name, expected, got, response.complete && ended != Ended::Open);
        return Ok(ended != Ended::Open);
    }
    if response.framing == Framing::Close {
        let got = "keep-alive, with a body that ends with the connection";
        session.should(&name, expected, got, false);
        return Ok(true);
    }
    client.send(old(session, "/", ""));
    let second = client.response("GET");
    let held = matches!(&second, Received::Response(response) if response.complete);
    session.check(&name, expected, format!("{received} with keep-alive, then {second}"), held);
    Ok(held)
}

fn ka_04_pipelined(session: &mut Session<'_>) -> Result<(), Stop> {
    let get = session.request("GET", "/", "");
    let root = session.accept("GET", &get)?;
    needs_1_1(&root)?;
    // Without the probe application nobody knows the body, or whether it stays the same.
    let body = session.has("known").then_some(root.body);
    let plain = vec![Asked { method: "GET", request: get, answer: (root.status, body) }; 20];
    in_order(session, "twenty of GET /", &plain)?;
    if session.has("slow") && session.has("echo") && session.has("known") {
        let asked: Vec<Asked> = (0..20).map(|n| numbered(session, n)).collect();
        in_order(session, "twenty of different kinds and delays", &asked)?;
        let rest: Vec<Asked> = (0..20).rev().map(|n| numbered(session, n)).collect();
        in_order(session, "the same, in another order", &rest)?;
    }
    Ok(())
}

/// A request, and the answer that belongs to it.
#[derive(Clone)]
struct Asked {
    method: &'static str,
    request: Vec<u8>,
    /// Its status, and its body where that is known.
    answer: (u16, Option<Vec<u8>>),
}

impl Asked {
    fn is_answered_by(&self, received: &Received) -> bool {
        let (status, body) = &self.answer;
        matches!(received, Received::Response(response)
            if response.complete && response.status == *status
                && body.as_ref().is_none_or(|body| *body == response.body))
    }
}

/// A request whose answer nothing else has, or a slow one in between.
fn numbered(session: &Session<'_>, n: usize) -> Asked {
    let body = format!("answer {n}");
    let length = format!("Content-Length: {}\r\n", body.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let slow = format!("/slow?ms={}", n * 37 % 60);
    let (method, target, lines, sent, answer) = match n % 5 {
        0 => ("GET", slow.as_str(), "", "", (200, "slow\n")),
        1 => ("POST", "/echo", length.as_str(), body.as_str(), (200, body.as_str())),
        2 => ("POST", "/echo", chunked, chunk.as_str(), (200, body.as_str())),
        3 => ("HEAD", "/known?bytes=0", "", "", (200, "")),
        _ => ("GET", "/", "", "", (200, "ok\n")),
    };
    let request = [&session.request(method, target, lines), sent.as_bytes()].concat();
    Asked { method, request, answer: (answer.0, Some(answer.1.into())) }
}

/// Sends all requests in one write. Their answers come in order, one each, up to one that is said
/// to be the last.
fn in_order(session: &mut Session<'_>, name: &str, asked: &[Asked]) -> Result<(), Stop> {
    let mut client = session.connect()?;
    let requests: Vec<&[u8]> = asked.iter().map(|asked| &asked.request[..]).collect();
    client.send(requests.concat());
    let expected = "each answer in its place, and no other";
    for (n, asked) in asked.iter().enumerate() {
        let received = client.response(asked.method);
        if !asked.is_answered_by(&received) {
            let due = asked.answer.1.as_deref().unwrap_or_default().escape_ascii();
            let got = format!("in place {}: {}, not {due}", n + 1, shown(&received));
            session.check(name, expected, got, false);
            return Ok(());
        }
        if matches!(&received, Received::Response(response) if says_close(response)) {
            let got = format!("answer {} says close", n + 1);
            session.check(name, expected, got, true);
            return Ok(());
        }
    }
    let (behind, _) = client.rest(session.patience().silence);
    let got = format!("{} answers, and {} bytes behind them", asked.len(), behind.len());
    session.check(name, expected, got, behind.is_empty());
    Ok(())
}

fn ka_05_lingers(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let length = format!("Content-Length: {UPLOAD}\r\n");
    let closing = format!("{length}Connection: close\r\n");
    let mut uploads = vec![("POST /", session.request("POST", "/", &closing), 5)];
    if session.has("early") {
        uploads.push(("POST /early", session.request("POST", "/early", &length), 20));
    }
    if session.has("unread") {
        uploads.push(("POST /unread", session.request("POST", "/unread", &closing), 5));
    }
    if session.has("known") {
        let target = format!("/known?bytes={UPLOAD}");
        uploads.push(("POST /known", session.request("POST", &target, &closing), 5));
    }
    for (what, head, times) in uploads {
        let (mut resets, mut lost) = (0, None);
        for _ in 0..times {
            let (received, reset) = upload(session, &head, what == "POST /known")?;
            resets += usize::from(reset);
            if !matches!(&received, Received::Response(response) if response.complete) {
                lost = Some(received);
                break;
            }
        }
        let name = format!("{what} with 1 MiB that is not read, {times} times");
        let got = lost.as_ref().map_or("a whole answer each time".to_owned(), shown);
        session.check(&name, "a whole answer each time", got, lost.is_none());
        let got = format!("{resets} resets");
        session.should(&name, "no reset while the client still sends", got, resets == 0);
    }
    let target = if session.has("known") { format!("/known?bytes={UPLOAD}") } else { "/".into() };
    let mut client = session.connect()?;
    client.send(session.request("GET", &target, "Connection: close\r\n"));
    thread::sleep(session.patience().silence);
    let received = client.response("GET");
    let whole = matches!(&received, Received::Response(response) if response.complete);
    session.check("a last answer to a slow reader", "a whole answer", shown(&received), whole);
    let ended = client.ended();
    session.should("the end of a last answer", "closed", ended, ended == Ended::Closed);
    Ok(())
}

/// Uploads, and reads the answer: at once, or only when all that the server takes is sent. Says
/// whether the connection was reset.
fn upload(
    session: &mut Session<'_>,
    head: &[u8],
    reads_late: bool,
) -> Result<(Received, bool), Stop> {
    let patience = session.patience();
    let mut client = session.connect()?;
    client.send(head);
    let failed = |error| Stop::Error(format!("cannot share a socket: {error}"));
    let mut writer = client.stream().try_clone().map_err(failed)?;
    let writing = thread::spawn(move || writer.write_all(&vec![b'u'; UPLOAD]));
    if reads_late {
        let give_up = Instant::now() + patience.silence;
        while !writing.is_finished() && Instant::now() < give_up {
            thread::sleep(patience.poll);
        }
        // Room for the server to close, and for its reset to overtake the rest of the answer.
        thread::sleep(patience.silence / 4);
    }
    let received = client.response("POST");
    let give_up = Instant::now() + patience.silence;
    while !writing.is_finished() && Instant::now() < give_up {
        thread::sleep(patience.poll);
    }
    if !writing.is_finished() {
        client.note("not all was read");
        let _ = client.stream().shutdown(Shutdown::Both);
        let _ = writing.join();
        return Ok((received, false));
    }
    let written = writing.join().is_ok_and(|written| written.is_ok());
    if !written {
        client.note("the rest of the upload met a reset");
    }
    let reset = !written || client.rest(patience.silence / 4).1 == Ended::Reset;
    Ok((received, reset))
}

fn ka_06_idle(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut client = session.connect()?;
    client.send(next(session));
    let first = client.response("GET");
    match &first {
        Received::Response(response) if response.complete && !says_close(response) => {}
        other => {
            let text = format!("no connection stays open here: {other}");
            return Err(Stop::skip("not-persistent", text));
        }
    }
    let deadline = session.patience().deadline;
    let (bytes, ended) = client.rest(deadline);
    if bytes.is_empty() && ended == Ended::Open {
        let text = format!("still open after {:.0} s", deadline.as_secs_f64());
        return Err(Stop::skip("no-idle-deadline", text));
    }
    let got = format!("{} bytes, and {ended}: {}", bytes.len(), bytes.escape_ascii());
    let held = bytes.is_empty() && ended == Ended::Closed;
    session.check("an idle connection after one request", "closed, without a byte", got, held);
    Ok(())
}

fn ka_07_half_closed(session: &mut Session<'_>) -> Result<(), Stop> {
    let root = session.accept("GET", next(session))?;
    let get = |target: &str| session.request("GET", target, "");
    let answer = (root.status, None);
    let plain = Asked { method: "GET", request: get("/"), answer };
    let mut cases = vec![("GET /", vec![plain.clone()])];
    if needs_1_1(&root).is_ok() {
        cases.push(("three pipelined", vec![plain; 3]));
    }
    if session.has("slow") && session.has("known") && session.has("stream") && session.has("echo") {
        let asked = |method, request: Vec<u8>, body: Vec<u8>| {
            vec![Asked { method, request, answer: (200, Some(body)) }]
        };
        let upload = session.request("POST", "/echo", "Content-Length: 5\r\n");
        cases.push(("a slow answer", asked("GET", get("/slow?ms=300"), b"slow\n".to_vec())));
        let large = get("/known?bytes=2000000");
        cases.push(("a large answer", asked("GET", large, vec![b'x'; 2_000_000])));
        let stream = get("/stream?chunks=50&bytes=500");
        cases.push(("a chunked answer", asked("GET", stream, vec![b'x'; 25_000])));
        let echo = [upload, b"hello".to_vec()].concat();
        cases.push(("a request with a body", asked("POST", echo, b"hello".to_vec())));
    }
    for (what, asked) in cases {
        let mut client = session.connect()?;
        let requests: Vec<&[u8]> = asked.iter().map(|asked| &asked.request[..]).collect();
        client.send(requests.concat());
        client.finish();
        let mut got = Vec::new();
        let mut held = true;
        for asked in &asked {
            let received = client.response(asked.method);
            got.push(shown(&received));
            held &= asked.is_answered_by(&received);
            // One that says so is the last.
            if !held || matches!(&received, Received::Response(last) if says_close(last)) {
                break;
            }
        }
        session.check(&format!("FIN behind {what}"), "every answer", got.join(", then "), held);
        if what == "GET /" {
            let ended = client.ended();
            session.should("the end, after a FIN", "closed", ended, ended != Ended::Open);
        }
    }
    if !session.has("hold") || !session.has("state") || !session.has("open") {
        return Ok(());
    }
    let id = fresh_id();
    let mut client = session.connect()?;
    client.send(session.request("GET", &format!("/hold?id={id}"), ""));
    if until(session, &id, |state| state.calls > 0)?.calls == 0 {
        return Err(Stop::blocked("helper-failed", "/hold was not called"));
    }
    client.finish();
    let silent = client.is_silent(session.patience().silence);
    session.get(&format!("/open?id={id}"))?;
    let received = client.response("GET");
    let held = silent && is(&received, 200, b"held\n");
    let got = shown(&received);
    session.check("FIN while the handler is at work", "held, once the gate is open", got, held);
    Ok(())
}

fn ka_08_last_request(session: &mut Session<'_>) -> Result<(), Stop> {
    session.need(Need::Declared(Bound::Requests))?;
    let bound = session.target.declared.requests_per_connection.unwrap_or_default();
    let mut client = session.connect()?;
    for n in 1..=bound {
        client.send(next(session));
        let received = client.response("GET");
        let Received::Response(response) = &received else {
            let got = format!("in answer to request {n}, {received}");
            session.should("requests up to the bound", "an answer each", got, false);
            return Ok(());
        };
        if says_close(response) {
            let got = format!("response {n} of {bound} says close, and is {}", client.ended());
            session.should("the last response", "close in the last alone", got, n == bound);
            return Ok(());
        }
    }
    let got = format!("response {bound} of {bound} does not say close");
    session.should("the last response", "close in the last alone", got, false);
    Ok(())
}
