//! EXP: the expectation of a 100.

use super::bodies::{Canary, check, follow_up, is_refusal, judge_order, post, reading};
use super::control::fresh_id;
use super::{Client, Received, Response, Session, Stop, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("EXP-01", exp_01_when_read),
    check("EXP-02", exp_02_none),
    check("EXP-03", exp_03_without_reading),
    check("EXP-04", exp_04_unknown),
    check("EXP-05", exp_05_at_most_one),
];

/// What a client says that waits before it sends 5 bytes.
const EXPECTS: &str = "Expect: 100-continue\r\nContent-Length: 5\r\n";

fn exp_01_when_read(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let plain = post(session, &target, "Content-Length: 5\r\n", b"hello");
    session.accept("a body without the expectation", plain)?;
    let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
    let coded = b"5\r\nhello\r\n0\r\n\r\n";
    let cases: [(&str, &str, &[u8]); 4] = [
        ("100-continue", EXPECTS, b"hello"),
        ("in another case", "Expect: 100-Continue\r\nContent-Length: 5\r\n", b"hello"),
        ("behind the length", "Content-Length: 5\r\nexpect: 100-continue\r\n", b"hello"),
        ("a chunked body", chunked, coded),
    ];
    for (name, lines, body) in cases {
        let mut client = session.connect()?;
        upload(session, name, &mut client, &target, lines, body);
    }
    // Where nobody reads, the answer may come instead, and the body be lost with the connection.
    let mut client = session.connect()?;
    let twice = if session.has("read") { 2 } else { 0 };
    for name in ["the first on a connection", "the second on a connection"].into_iter().take(twice)
    {
        upload(session, name, &mut client, &target, EXPECTS, b"hello");
    }
    if session.has("late-read") && session.has("open") {
        late_read(session)?;
    }
    Ok(())
}

/// Sends a head, waits for the 100, sends the body, and waits for the answer.
fn upload(
    session: &mut Session<'_>,
    name: &str,
    client: &mut Client,
    target: &str,
    lines: &str,
    body: &[u8],
) {
    client.send(post(session, target, lines, b""));
    let expected = "100, then an answer to the body";
    let first = match client.head_within(session.patience().signal) {
        Ok(first) if first.status == 100 => first,
        // An application that does not read is answered for at once, and that is another rule.
        Ok(first) => {
            let held = !session.has("read") && first.status < 500;
            return session.check(name, expected, format!("{} and no 100", first.status), held);
        }
        Err(Received::Closed | Received::Reset) if client_is_used(session) => return,
        Err(other) => return session.check(name, expected, format!("{other}, and no 100"), false),
    };
    client.send(body);
    let received = client.response("POST");
    let held = matches!(&received, Received::Response(response) if response.status < 400
        || !session.has("read"));
    session.check(name, expected, format!("{}, then {received}", first.status), held);
}

/// Whether the connection has served a request before, behind which a server may close.
fn client_is_used(session: &Session<'_>) -> bool {
    session.cases.last().is_some_and(|case| case.name == "the first on a connection")
}

fn late_read(session: &mut Session<'_>) -> Result<(), Stop> {
    let id = fresh_id();
    let mut client = session.connect()?;
    client.send(post(session, &format!("/late-read?id={id}"), EXPECTS, b""));
    let silent = client.is_silent(session.patience().silence);
    let name = "before the application reads";
    let got = if silent { "nothing".to_owned() } else { arrived(&mut client) };
    session.check(name, "nothing", got, silent);
    session.get(&format!("/open?id={id}"))?;
    if silent {
        let got = arrived(&mut client);
        let held = got == "100";
        session.check("when the application reads", "100", got, held);
    }
    client.send(b"hello");
    let received = client.response("POST");
    let held = matches!(&received, Received::Response(response) if response.status == 200);
    session.check("the answer to a late reader", "200", &received, held);
    Ok(())
}

/// The status of the head that comes next.
fn arrived(client: &mut Client) -> String {
    match client.head_within(client.patience().signal) {
        Ok(head) => head.status.to_string(),
        Err(other) => other.to_string(),
    }
}

fn exp_02_none(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let plain = post(session, &target, "Content-Length: 5\r\n", b"hello");
    session.accept("a body without the expectation", plain)?;
    let post = |lines: &str| post(session, &target, lines, b"");
    let old = |lines: &str| {
        let request = String::from_utf8_lossy(&post(lines)).replacen("HTTP/1.1", "HTTP/1.0", 1);
        request.into_bytes()
    };
    let kept = format!("Connection: keep-alive\r\n{EXPECTS}");
    let get = session.request("GET", &target, "Expect: 100-continue\r\n");
    let cases: [(&str, Vec<u8>, &[u8]); 7] = [
        ("HTTP/1.0", old(EXPECTS), b"hello"),
        ("HTTP/1.0 that keeps alive", old(&kept), b"hello"),
        ("no Expect", post("Content-Length: 5\r\n"), b"hello"),
        ("no Expect, chunked", post("Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n"),
        ("a length of 0", post("Expect: 100-continue\r\nContent-Length: 0\r\n"), b""),
        ("no length", post("Expect: 100-continue\r\n"), b""),
        ("GET without a body", get, b""),
    ];
    for (name, head, body) in cases {
        let mut client = session.connect()?;
        client.send(head);
        if !body.is_empty() {
            // Long enough for a 100 that should not come.
            client.is_silent(session.patience().silence);
            client.send(body);
        }
        let received = client.response("POST");
        // RFC 9110 lets a server leave this 100 out, and asks for no more.
        if body.is_empty() && !interim(&received).is_empty() {
            let got = format!("{received}, interim {:?}", interim(&received));
            session.should(name, "an answer, and no 100 before it", got, false);
        } else {
            no_interim(session, name, &received);
        }
    }
    Ok(())
}

/// A final answer, and none before it.
fn no_interim(session: &mut Session<'_>, name: &str, received: &Received) {
    let interim = interim(received);
    let held = interim.is_empty() && matches!(received, Received::Response(_));
    let got = format!("{received}, interim {interim:?}");
    session.check(name, "an answer, and no 100 before it", got, held);
}

fn interim(received: &Received) -> &[u16] {
    match received {
        Received::Response(response) => &response.interim,
        _ => &[],
    }
}

/// Paths whose application answers without reading, where that is known.
fn unread(session: &Session<'_>) -> Vec<&'static str> {
    let known = ["/unread", "/early"].into_iter().filter(|path| session.has(&path[1..]));
    known.collect()
}

fn exp_03_without_reading(session: &mut Session<'_>) -> Result<(), Stop> {
    let paths = unread(session);
    session.accept("a body without the expectation", {
        post(session, "/", "Content-Length: 5\r\n", b"hello")
    })?;
    for path in &paths {
        let mut client = session.connect()?;
        client.send(post(session, path, EXPECTS, b""));
        no_interim(session, path, &client.response("POST"));
    }
    for path in if paths.is_empty() { vec!["/"] } else { paths } {
        late_upload(session, path)?;
    }
    Ok(())
}

/// The client has its final answer, and sends the body all the same, and a request behind it.
fn late_upload(session: &mut Session<'_>, path: &str) -> Result<(), Stop> {
    let canary = Canary::new(session);
    let body = canary.request(session);
    let lines = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    let mut client = session.connect()?;
    client.send(post(session, path, lines, b""));
    let first = client.response_within("POST", session.patience().silence);
    client.send([&body[..], &follow_up(session)].concat());
    let first = if matches!(first, Received::Nothing) { client.response("POST") } else { first };
    let second = client.response("GET");
    let name = format!("{path}, a body that is sent nevertheless");
    judge_order(session, &name, &mut client, &first, &second);
    canary.unserved(session, &format!("{name}, served"))
}

fn exp_04_unknown(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("no expectation", session.request("GET", "/", ""))?;
    for value in ["200-ok", "x=y", "101-continue", "100-continued", "100-continue, x"] {
        let received = session.ask(session.request("GET", "/", &format!("Expect: {value}\r\n")))?;
        let held = matches!(&received, Received::Response(response) if response.status == 417);
        session.should(value, "417", &received, held);
    }
    Ok(())
}

fn exp_05_at_most_one(session: &mut Session<'_>) -> Result<(), Stop> {
    let target = reading(session);
    let plain = post(session, &target, "Content-Length: 5\r\n", b"hello");
    session.accept("a body without the expectation", plain)?;
    let twice = "Expect: 100-continue\r\n";
    let cases = [
        ("a body that is there already", EXPECTS.to_owned()),
        ("two lines", format!("{twice}{EXPECTS}")),
        ("a list of two", "Expect: 100-continue, 100-continue\r\nContent-Length: 5\r\n".to_owned()),
    ];
    for (name, lines) in cases {
        let received = session.ask(post(session, &target, lines, b"hello"))?;
        let held = matches!(received, Received::Response(_)) && interim(&received).len() <= 1;
        let got = format!("{received}, interim {:?}", interim(&received));
        session.check(name, "an answer, and one 100 at most", got, held);
    }
    in_two_pieces(session, &target)?;
    if session.has("first-read") && session.has("open") {
        in_two_pieces(session, &format!("/first-read?id={}", fresh_id()))?;
    }
    for path in unread(session) {
        behind_the_final_head(session, path)?;
    }
    Ok(())
}

/// A body whose second piece is waited for, and then a request without the expectation.
fn in_two_pieces(session: &mut Session<'_>, target: &str) -> Result<(), Stop> {
    let mut client = session.connect()?;
    client.send(post(session, target, EXPECTS, b""));
    let first = match client.head_within(session.patience().signal) {
        Ok(head) if head.status == 100 => head.status,
        // That it has to come is another rule: EXP-01.
        _ => return Ok(()),
    };
    client.send(b"he");
    if let Some((_, id)) = target.split_once("?id=") {
        session.get(&format!("/open?id={id}"))?;
    }
    client.is_silent(session.patience().silence);
    client.send(b"llo");
    let name = format!("{target}, a body in two pieces");
    let name = name.split_once("?id=").map_or(&*name, |(path, _)| path).to_owned();
    let received = client.response("POST");
    let more = interim(&received);
    let got = format!("{first}, then {more:?}, then {received}");
    let held = more.is_empty() && matches!(received, Received::Response(_));
    session.check(&name, "one 100, then an answer", got, held);
    if !matches!(&received, Received::Response(response) if !closes(response)) {
        return Ok(());
    }
    client.send(post(session, target, "Content-Length: 5\r\n", b""));
    client.is_silent(session.patience().silence);
    client.send(b"hello");
    let received = client.response("POST");
    if !matches!(received, Received::Closed | Received::Reset) {
        no_interim(session, &format!("{name}, the next request"), &received);
    }
    Ok(())
}

fn closes(response: &Response) -> bool {
    response.lists("connection", "close") || is_refusal(response)
}

/// An answer has been given: what comes behind it is no 100.
fn behind_the_final_head(session: &mut Session<'_>, path: &str) -> Result<(), Stop> {
    let mut client = session.connect()?;
    client.send(post(session, path, EXPECTS, b""));
    let head = client.head_within(session.patience().signal);
    let Some(status) = head.ok().map(|head| head.status).filter(|status| *status >= 200) else {
        // An early 100, or no answer, is another rule: EXP-03.
        return Ok(());
    };
    client.send(b"hello");
    let (after, _) = client.rest(session.patience().silence);
    let again = after.windows(12).any(|bytes| bytes == b"HTTP/1.1 100");
    let got = format!("{status}, then {:?}", after.escape_ascii().to_string());
    session.check(&format!("{path}, behind the final head"), "no 100", got, !again);
    Ok(())
}
