//! RSP: the framing of responses.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::control::{fresh_id, state};
use super::persistence::{check, is, next, next_is_intact, shown};
use super::{Client, Ended, Framing, Received, Response, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("RSP-01", When::Beside, rsp_01_length),
    check("RSP-02", When::Beside, rsp_02_unknown_length),
    check("RSP-03", When::Beside, rsp_03_short),
    check("RSP-04", When::Beside, rsp_04_long),
    check("RSP-05", When::Beside, rsp_05_hop_by_hop),
    check("RSP-06", When::Beside, rsp_06_flushed),
    check("RSP-07", When::Beside, rsp_07_empty_piece),
    check("RSP-08", When::Beside, rsp_08_one_response),
    check("RSP-09", When::Beside, rsp_09_cookies),
    check("RSP-10", When::Beside, rsp_10_trailers),
    check("RSP-11", When::Beside, rsp_11_date),
];

/// Both versions of a request, HTTP/1.0 last.
pub(super) fn both(session: &Session<'_>, target: &str) -> [(&'static str, Vec<u8>); 2] {
    let authority = &session.target.authority;
    ["HTTP/1.1", "HTTP/1.0"].map(|version| {
        let request = format!("GET {target} {version}\r\nHost: {authority}\r\n\r\n");
        (version, request.into_bytes())
    })
}

/// Sends a request and reads its response. Another stands behind it in the same write, where the
/// connection goes on: what comes behind a last request is nobody's.
pub(super) fn with_next(
    session: &mut Session<'_>,
    request: &[u8],
) -> Result<(Client, Received), Stop> {
    let mut client = session.connect()?;
    let last = request.windows(10).any(|window| window == b" HTTP/1.0\r");
    let behind = if last { Vec::new() } else { next(session) };
    client.send([request, &behind].concat());
    let method = if request.starts_with(b"HEAD") { "HEAD" } else { "GET" };
    let received = client.response(method);
    Ok((client, received))
}

/// A case for what is behind a response.
fn check_next(session: &mut Session<'_>, name: &str, client: &mut Client) {
    let (held, got) = next_is_intact(client);
    session.check(&format!("behind {name}"), "the next response, or a close", got, held);
}

fn rsp_01_length(session: &mut Session<'_>) -> Result<(), Stop> {
    if session.must_accept("GET", next(session))?.is_none() {
        return Ok(());
    }
    let mut client = session.connect()?;
    client.send("GET /\r\n\r\n");
    let received = client.response("GET");
    let cut = matches!(&received, Received::Response(response) if !response.complete)
        && client.ended() == Ended::Closed;
    session.check("the answer to what is no request", "whole, or none", &received, !cut);
    for target in ["/", "/no-such-path"] {
        let (mut client, received) = with_next(session, &session.request("GET", target, ""))?;
        let whole = matches!(&received, Received::Response(response) if response.complete);
        session.check(target, "a whole response", shown(&received), whole);
        check_next(session, target, &mut client);
    }
    if session.has("known") {
        for bytes in [0, 1, 9, 1000, 16_384, 65_537, 1 << 20, 8 << 20] {
            for (version, request) in both(session, &format!("/known?bytes={bytes}")) {
                if version == "HTTP/1.0" && bytes > 1 << 20 {
                    continue;
                }
                let (mut client, received) = with_next(session, &request)?;
                let name = format!("{bytes} bytes to {version}");
                let body = vec![b'x'; bytes];
                if version == "HTTP/1.0" && is(&received, 200, &body) {
                    // The connection's end says as much.
                    let got = match &received {
                        Received::Response(response) => format!("{:?}", response.framing),
                        other => other.to_string(),
                    };
                    let known = format!("Length({bytes})");
                    session.should(&name, "a Content-Length", &got, got == known);
                    continue;
                }
                exactly(session, &name, &received, &body);
                check_next(session, &name, &mut client);
            }
        }
    }
    if session.has("echo") {
        let body: Vec<u8> = (0..1 << 20).map(|n: u32| (n ^ (n >> 8) ^ (n >> 15)) as u8).collect();
        let lines = format!("Content-Length: {}\r\n", body.len());
        let request = [session.request("POST", "/echo", &lines), body.clone()].concat();
        let (mut client, received) = with_next(session, &request)?;
        exactly(session, "1 MiB of any bytes", &received, &body);
        check_next(session, "1 MiB of any bytes", &mut client);
    }
    Ok(())
}

/// A response of known length: 200, one `Content-Length`, no other framing, and this body.
fn exactly(session: &mut Session<'_>, name: &str, received: &Received, body: &[u8]) {
    let length = body.len();
    let expected = format!("200, Content-Length: {length}, and exactly that body");
    let (held, got) = match received {
        Received::Response(response) => {
            let framed = response.framing == Framing::Length(length as u64)
                && response.field("transfer-encoding").is_none();
            let differs = response.body.iter().zip(body).position(|(got, due)| got != due);
            let at = differs.map(|at| format!(", byte {at} differs")).unwrap_or_default();
            let held = framed && is(received, 200, body);
            let got = response.body.len();
            (held, format!("{received}, {:?}, {got} bytes{at}", response.framing))
        }
        other => (false, other.to_string()),
    };
    session.check(name, &expected, got, held);
}

fn rsp_02_unknown_length(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let sizes = [(3, 10), (1, 1), (0, 0), (1000, 1), (1000, 17), (5, 70_000), (128, 65_536)];
    for (chunks, bytes) in sizes {
        let body = vec![b'x'; chunks * bytes];
        let target = format!("/stream?chunks={chunks}&bytes={bytes}");
        for (version, request) in both(session, &target) {
            let (mut client, received) = with_next(session, &request)?;
            let name = format!("{chunks} pieces of {bytes} bytes to {version}");
            let whole = is(&received, 200, &body);
            session.check(&name, "200, and exactly that body", shown(&received), whole);
            let Received::Response(response) = &received else { continue };
            unknown(session, &name, response, version);
            check_next(session, &name, &mut client);
        }
    }
    Ok(())
}

/// The framing of a body whose length is not known beforehand.
fn unknown(session: &mut Session<'_>, name: &str, response: &Response, version: &str) {
    let codings = response.all("transfer-encoding").count();
    let length = response.field("content-length");
    let got = format!("{:?}, Content-Length: {length:?}", response.framing);
    let chunked = response.framing == Framing::Chunked && codings == 1 && length.is_none();
    if version == "HTTP/1.0" {
        // A server may have waited for the end, to count.
        let held = codings == 0 && (response.framing == Framing::Close || length.is_some());
        session.check(name, "no transfer coding, up to the connection's end", got, held);
    } else if response.version == "HTTP/1.0" || response.framing != Framing::Close {
        // A server of HTTP/1.0 has nothing better; one that buffers breaks another rule.
        let mixed = codings > 0 && !chunked;
        session.check(name, "one framing, not two", &got, !mixed);
        let empty = response.body.is_empty() && response.framing == Framing::Length(0);
        session.should(name, "chunked", got, chunked || empty);
    } else {
        session.check(name, "chunked", got, false);
    }
}

fn rsp_03_short(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for (version, request) in both(session, "/short") {
        let (mut client, received) = with_next(session, &request)?;
        let name = format!("50 of 100 announced bytes to {version}");
        cut_off(session, &name, &mut client, &received, &[b'x'; 50]);
    }
    let alone = session.request("GET", "/short", "");
    let mut client = session.connect()?;
    client.send(alone);
    let received = client.response("GET");
    let name = "50 of 100 announced bytes, with nothing behind";
    cut_off(session, name, &mut client, &received, &[b'x'; 50]);
    Ok(())
}

/// A body that failed: visibly cut off after no more than these bytes, and the connection closed;
/// or, where the head was not sent yet, a whole 500.
pub(super) fn cut_off(
    session: &mut Session<'_>,
    name: &str,
    client: &mut Client,
    received: &Received,
    most: &[u8],
) {
    let expected = "a body that is cut off and a close; or a 500";
    let (held, got) = match received {
        Received::Response(response) if response.status >= 500 && response.complete => {
            (true, shown(received))
        }
        Received::Response(response) => {
            let ended = client.ended();
            let prefix = most.starts_with(&response.body);
            let held = !response.complete && prefix && ended != Ended::Open;
            (held, format!("{}, and {ended}", shown(received)))
        }
        Received::Closed | Received::Reset => (true, received.to_string()),
        Received::Nothing | Received::Malformed(_) => (false, received.to_string()),
    };
    session.check(name, expected, got, held);
}

fn rsp_04_long(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let id = fresh_id();
    let mut sent = false;
    for (version, request) in both(session, &format!("/long?id={id}")) {
        let (mut client, received) = with_next(session, &request)?;
        let name = format!("20 bytes where 10 are announced, to {version}");
        let refused = matches!(&received, Received::Response(response)
            if response.status >= 500 && response.complete);
        let held = refused || is(&received, 200, &[b'x'; 10]);
        session.check(&name, "the ten announced bytes; or a 500", shown(&received), held);
        check_next(session, &name, &mut client);
        sent |= !refused;
    }
    // Without another behind it: what is not asked for must not come.
    let mut client = session.connect()?;
    client.send(session.request("GET", &format!("/long?id={id}"), ""));
    let received = client.response("GET");
    let (behind, _) = client.rest(session.patience().silence);
    let got = format!("{received}, then {:?}", behind.escape_ascii().to_string());
    session.check("bytes behind the announced ones", "none", got, behind.is_empty());
    if sent && session.has("state") {
        let told = state(session, &id)?.send;
        let held = told == "error" || told == "cancelled";
        session.should("the application's side of it", "error or cancelled", told, held);
    }
    Ok(())
}

fn rsp_05_hop_by_hop(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for (version, request) in both(session, "/hop") {
        let (mut client, received) = with_next(session, &request)?;
        let name = format!("hop-by-hop fields to {version}");
        let expected = "200 or 500, whole";
        let Received::Response(response) = &received else {
            // A close refuses as well, if not so clearly.
            let closed = matches!(received, Received::Closed | Received::Reset);
            session.check(&name, "an answer, or a close", &received, closed);
            session.should(&name, expected, &received, false);
            continue;
        };
        let held = response.complete
            && (response.status >= 500 || (response.status == 200 && response.body == b"hop\n"));
        session.check(&name, expected, shown(&received), held);
        let passed = [
            ("transfer-encoding", "gzip"),
            ("connection", "x-hop"),
            ("keep-alive", "timeout=9"),
            ("upgrade", "nothing"),
        ];
        let passed = passed.iter().filter(|(field, member)| response.lists(field, member));
        let passed: Vec<&str> = passed.map(|(field, _)| *field).collect();
        let got = format!("{}, with the application's own {passed:?}", response.status);
        session.check(&name, "none of the application's own", got, passed.is_empty());
        check_next(session, &name, &mut client);
    }
    Ok(())
}

fn rsp_06_flushed(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut cases = both(session, "/gated").to_vec();
    let upload = session.request("POST", "/gated", "Content-Length: 5\r\n");
    cases.push(("HTTP/1.1, to an upload", [upload, b"hello".to_vec()].concat()));
    for (what, request) in cases {
        let id = fresh_id();
        let target = format!("/gated?id={id} ");
        let request = String::from_utf8_lossy(&request).replacen("/gated ", &target, 1);
        let mut client = session.connect()?;
        client.send(request);
        let name = format!("the first piece, {what}");
        let expected = "it arrives while the application waits for its client";
        let head = client.head_within(session.patience().signal);
        if let Err(received) = &head {
            session.check(&name, expected, received, false);
            session.get(&format!("/open?id={id}"))?;
            continue;
        }
        let (first, came) = up_to(&mut client, b"first\n");
        session.check(&name, expected, first.escape_ascii(), came);
        session.get(&format!("/open?id={id}"))?;
        let (second, came) = up_to(&mut client, b"second\n");
        let name = format!("the second piece, {what}");
        session.check(&name, "it arrives as well", second.escape_ascii(), came);
    }
    Ok(())
}

/// Reads up to these bytes, whatever the framing puts around them.
fn up_to(client: &mut Client, end: &[u8]) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) && bytes.len() < 1000 {
        let byte = client.bytes(1, client.patience().signal);
        if byte.is_empty() {
            return (bytes, false);
        }
        bytes.extend(byte);
    }
    let came = bytes.ends_with(end);
    (bytes, came)
}

fn rsp_07_empty_piece(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for (version, request) in both(session, "/empty-chunk") {
        let (mut client, received) = with_next(session, &request)?;
        let name = format!("the pieces `a`, nothing, `b` to {version}");
        // That HTTP/1.0 knows no chunks is another rule: RSP-02.
        let coded = version == "HTTP/1.0" && is(&received, 200, b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
        let held = coded || is(&received, 200, b"ab");
        session.check(&name, "200 with `ab`", shown(&received), held);
        check_next(session, &name, &mut client);
    }
    Ok(())
}

fn rsp_08_one_response(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut requests: Vec<(String, &str, Vec<u8>)> = Vec::new();
    for target in ["/", "/no-such-path"] {
        requests.push((format!("GET {target}"), "GET", session.request("GET", target, "")));
    }
    let features = [
        ("known", "/known?bytes=70000"),
        ("stream", "/stream?chunks=3&bytes=9"),
        ("empty-chunk", "/empty-chunk"),
        ("slow", "/slow?ms=20"),
        ("fail", "/fail"),
        ("panic", "/panic"),
        ("fail-late", "/fail-late?framing=chunked"),
        ("fail-late", "/fail-late?framing=length"),
        ("panic-late", "/panic-late?framing=chunked"),
        ("short", "/short"),
        ("bad-field", "/bad-field?kind=crlf"),
        ("stopped", "/stopped"),
    ];
    for (feature, target) in features {
        if session.has(feature) {
            requests.push((format!("GET {target}"), "GET", session.request("GET", target, "")));
        }
    }
    if session.has("echo") && session.has("early") {
        let lines = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        for target in ["/echo", "/early", "/fail"] {
            let request = session.request("POST", target, lines);
            let request = [request, b"hello".to_vec()].concat();
            requests.push((format!("POST {target} with Expect"), "POST", request));
        }
    }
    let mut asked = Vec::new();
    for (name, method, request) in requests {
        let mut client = session.connect()?;
        client.send(request);
        asked.push((name, method, client));
    }
    let answers: Vec<Received> =
        asked.iter_mut().map(|(_, method, client)| client.response(method)).collect();
    // One silence for all of them: what is to come has had its time.
    thread::sleep(session.patience().silence);
    for ((name, _, client), received) in asked.iter_mut().zip(&answers) {
        let (behind, _) = client.rest(Duration::from_millis(1));
        let got = format!("{received}, then {:?}", behind.escape_ascii().to_string());
        let responded = matches!(received, Received::Response(_));
        // One that is refused before its head is out may be a close alone.
        let closed = matches!(received, Received::Closed | Received::Reset);
        let held = behind.is_empty() && (responded || closed);
        session.check(name, "one final response, and nothing behind it", got, held);
    }
    if session.has("status") {
        for code in [100, 103] {
            let received = session.ask(session.request("GET", &format!("/status?code={code}"), ""));
            let received = received?;
            let held = !matches!(received, Received::Nothing | Received::Malformed(_));
            let name = format!("an application that answers {code}");
            session.should(&name, "a final response, or a close", &received, held);
        }
    }
    Ok(())
}

fn rsp_09_cookies(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut cases = both(session, "/cookies").to_vec();
    cases.push(("HEAD", session.request("HEAD", "/cookies", "")));
    for (what, request) in cases {
        let (_, received) = with_next(session, &request)?;
        let cookies: Vec<String> = match &received {
            Received::Response(response) => {
                let lines = response.all("set-cookie");
                lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
            }
            _ => Vec::new(),
        };
        let got = format!("{received} with {cookies:?}");
        session.check(what, "a=1 and b=2, each on its line", got, cookies == ["a=1", "b=2"]);
    }
    Ok(())
}

fn rsp_10_trailers(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let cases = [
        ("no TE", "", false),
        ("TE: gzip", "TE: gzip\r\nConnection: TE\r\n", false),
        ("TE: trailers", "TE: trailers\r\nConnection: TE\r\n", true),
    ];
    for (what, lines, wanted) in cases {
        let request = session.request("GET", "/send-trailers", lines);
        let (mut client, received) = with_next(session, &request)?;
        session.check(what, "200 with `data`", shown(&received), is(&received, 200, b"data\n"));
        if let Received::Response(response) = &received {
            let got = format!("{:?}", response.trailers);
            let yes = |(name, value): &(String, Vec<u8>)| {
                name.eq_ignore_ascii_case("x-trailer") && value == b"yes"
            };
            let all = !response.trailers.is_empty() && response.trailers.iter().all(yes);
            let (expected, held) = match wanted {
                true => ("the trailer", all),
                false => ("no trailers", response.trailers.is_empty()),
            };
            session.should(what, expected, got, held);
        }
        check_next(session, what, &mut client);
    }
    let [_, (_, old)] = both(session, "/send-trailers");
    let (_, received) = with_next(session, &old)?;
    let name = "trailers to HTTP/1.0";
    session.check(name, "200 with `data` alone", shown(&received), is(&received, 200, b"data\n"));
    Ok(())
}

/// How far the server's clock may be from ours, in seconds.
const SKEW: u64 = 24 * 60 * 60;

fn rsp_11_date(session: &mut Session<'_>) -> Result<(), Stop> {
    let first = session.accept("GET", next(session))?;
    let mut targets = vec![("GET", "/no-such-path"), ("HEAD", "/")];
    if session.has("status") && session.has("early") && session.has("stream") {
        let codes = ["/status?code=204", "/status?code=301", "/status?code=304"];
        targets.extend(codes.map(|target| ("GET", target)));
        targets.extend([("GET", "/stream?chunks=1&bytes=1"), ("POST", "/early")]);
    }
    dated(session, "GET /", &first);
    for (method, target) in targets {
        let received = session.ask(session.request(method, target, ""))?;
        let name = format!("{method} {target}");
        match &received {
            Received::Response(response) => dated(session, &name, response),
            other => session.check(&name, "a response with a Date", other, false),
        }
    }
    if session.has("date") {
        for (version, request) in both(session, "/date") {
            let received = session.ask(request)?;
            let dates = dates(&received);
            let name = format!("an application's own Date, to {version}");
            let held = dates == ["Sun, 06 Nov 1994 08:49:37 GMT"];
            session.check(&name, "that one, and no other", format!("{dates:?}"), held);
        }
    }
    let received = session.ask(session.request("BAD METHOD", "/", ""))?;
    if let Received::Response(response) = &received {
        let got = format!("{} with {:?}", response.status, dates(&received));
        let held = response.status >= 500 || dates(&received).len() == 1;
        session.should("a malformed request", "one Date", got, held);
    }
    advances(session, &first)
}

/// A date that was made once, for good, is soon a wrong one.
fn advances(session: &mut Session<'_>, first: &Response) -> Result<(), Stop> {
    let before = first.field("date");
    let give_up = Instant::now() + session.patience().signal.max(Duration::from_secs(3));
    loop {
        let received = session.ask(next(session))?;
        let now = dates(&received).into_iter().next();
        if now != before || Instant::now() > give_up {
            let got = format!("{before:?}, later {now:?}");
            session.check("the date, some seconds later", "another", got, now != before);
            return Ok(());
        }
        thread::sleep(session.patience().poll * 10);
    }
}

fn dates(received: &Received) -> Vec<String> {
    let Received::Response(response) = received else { return Vec::new() };
    response.all("date").map(|date| String::from_utf8_lossy(date).into_owned()).collect()
}

/// Exactly one date, in the right form, and near our own. A 5xx is free to have none.
fn dated(session: &mut Session<'_>, name: &str, response: &Response) {
    if response.status >= 500 {
        return;
    }
    let dates = dates(&Received::Response(Box::new(response.clone())));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let plausible = |date: &String| seconds(date).is_some_and(|then| then.abs_diff(now) <= SKEW);
    let held = dates.len() == 1 && dates.iter().all(plausible);
    let got = format!("{} with {dates:?}", response.status);
    session.check(name, "one Date, an IMF-fixdate near the time", got, held);
}

/// An IMF-fixdate as seconds since 1970; none when it is anything else, or on another weekday.
fn seconds(date: &str) -> Option<u64> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let shape = "aaa, 00 aaa 0000 00:00:00 GMT".bytes();
    let fits = |(shape, byte): (u8, u8)| match shape {
        b'a' => byte.is_ascii_alphabetic(),
        b'0' => byte.is_ascii_digit(),
        literal => byte == literal,
    };
    if date.len() != 29 || !shape.zip(date.bytes()).all(fits) {
        return None;
    }
    let number = |at: std::ops::Range<usize>| date[at].parse::<u64>().ok();
    let month = MONTHS.iter().position(|month| *month == &date[8..11])? as u64 + 1;
    let (day, year) = (number(5..7)?, number(12..16)?);
    let (hour, minute, second) = (number(17..19)?, number(20..22)?, number(23..25)?);
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days before this one: March begins the year, so that the leap day ends it.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let weekday = DAYS[(days % 7) as usize] == &date[..3];
    weekday.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_date_is_an_imf_fixdate_on_its_weekday() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for wrong in [
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
