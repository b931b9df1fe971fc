//! ERR: failures of the application.

use super::control::{fresh_id, until};
use super::persistence::{check, is, next, next_is_intact, shown};
use super::responses::{both, cut_off, with_next};
use super::{Client, Ended, Framing, Received, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("ERR-01", When::Beside, err_01_before_the_head),
    check("ERR-02", When::Beside, err_02_after_the_head),
    check("ERR-03", When::Beside, err_03_panics),
    check("ERR-07", When::Beside, err_07_no_text),
];

/// What the probe application fails with.
const SECRET: &str = "secret-of-the-application";

/// How often the application panics, and how many of those are sent in one write.
const PANICS: (usize, usize) = (1000, 50);

/// The paths that fail before the head.
fn failing(session: &Session<'_>) -> Vec<&'static str> {
    let paths = [("fail", "/fail"), ("panic", "/panic"), ("inner", "/inner/fail")];
    paths.into_iter().filter(|(feature, _)| session.has(feature)).map(|(_, path)| path).collect()
}

/// The paths that fail after it.
fn failing_late(session: &Session<'_>) -> Vec<&'static str> {
    let paths = [("fail-late", "/fail-late"), ("panic-late", "/panic-late")];
    paths.into_iter().filter(|(feature, _)| session.has(feature)).map(|(_, path)| path).collect()
}

fn err_01_before_the_head(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for path in failing(session) {
        let [(_, new), (_, old)] = both(session, path);
        let behind = session.request("GET", "/no-such-path", "");
        let post = session.request("POST", path, &format!("Content-Length: {}\r\n", behind.len()));
        let chunked = session.request("POST", path, "Transfer-Encoding: chunked\r\n");
        let requests = [
            ("GET", new),
            ("GET of HTTP/1.0", old),
            ("HEAD", session.request("HEAD", path, "")),
            // A body that gives itself away when it is taken for the next request.
            ("POST", [post, behind.clone()].concat()),
            ("chunked POST", [chunked, b"5\r\nhello\r\n0\r\n\r\n".to_vec()].concat()),
        ];
        for (what, request) in requests {
            let (mut client, received) = with_next(session, &request)?;
            let name = format!("{what} of {path}");
            let old = what.ends_with("1.0");
            let held = matches!(&received, Received::Response(response)
                if response.status == 500 && response.complete
                    && (old || response.framing != Framing::Close));
            session.check(&name, "500, framed and whole", shown(&received), held);
            let next = client.response("GET");
            let closed = matches!(next, Received::Closed | Received::Reset);
            let held = closed || is(&next, 200, b"ok\n");
            let (expected, got) = ("the next response, or a close", shown(&next));
            session.check(&name, expected, format!("behind it {got}"), held);
        }
        in_turn(session, path)?;
    }
    Ok(())
}

/// A failure, and then another request on the same connection: what was kept open serves on.
fn in_turn(session: &mut Session<'_>, path: &str) -> Result<(), Stop> {
    let mut client = session.connect()?;
    for _ in 0..3 {
        client.send(session.request("GET", path, ""));
        let received = client.response("GET");
        let Received::Response(response) = &received else {
            let closed = matches!(received, Received::Closed | Received::Reset);
            session.check("failures in turn", "500, or a close", received, closed);
            return Ok(());
        };
        if response.lists("connection", "close") {
            return Ok(());
        }
        client.send(next(session));
        let (held, got) = next_is_intact(&mut client);
        session.check("a request after a failure", "an answer, or a close", got, held);
    }
    Ok(())
}

fn err_02_after_the_head(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for path in failing_late(session) {
        for framing in ["chunked", "length"] {
            for (version, request) in both(session, &format!("{path}?framing={framing}")) {
                let name = format!("{path}, {framing}, to {version}");
                let (mut client, received) = with_next(session, &request)?;
                if version == "HTTP/1.0" && framing == "chunked" {
                    // Here the end of the connection is the end of the body: only a reset tells
                    // a client, and it might lose the client what it has.
                    let held = match &received {
                        Received::Response(response) => {
                            response.status >= 500 || b"first\n".starts_with(&response.body)
                        }
                        other => matches!(other, Received::Closed | Received::Reset),
                    };
                    let ended = client.ended();
                    let got = format!("{}, and {ended}", shown(&received));
                    let held = held && ended != Ended::Open;
                    session.check(&name, "no more than was made, and a close", got, held);
                    continue;
                }
                cut_off(session, &name, &mut client, &received, b"first\n");
            }
            let alone = session.request("GET", &format!("{path}?framing={framing}"), "");
            let mut client = session.connect()?;
            client.send(alone);
            let received = client.response("GET");
            let name = format!("{path}, {framing}, with nothing behind");
            cut_off(session, &name, &mut client, &received, b"first\n");
        }
    }
    Ok(())
}

fn err_03_panics(session: &mut Session<'_>) -> Result<(), Stop> {
    // A server that panics have killed stays dead when it is looked at again: that is a miss, and
    // no obstacle.
    let alive = session.ask(next(session));
    let held = alive.as_ref().is_ok_and(|received| is(received, 200, b"ok\n"));
    let got = match alive {
        Ok(received) => shown(&received),
        Err(stop) => format!("{stop:?}"),
    };
    session.check("a request", "200", got, held);
    if !held {
        return Ok(());
    }
    let mut held = Vec::new();
    if session.has("hold") && session.has("open") && session.has("state") {
        // Two at most: a small pool of threads has others to serve.
        for _ in 0..2 {
            held.push(hold(session)?);
        }
    }
    let (all, at_once) = PANICS;
    let (mut done, mut closed) = (0, 0);
    while done < all {
        let Some(answered) = panics(session, at_once.min(all - done))? else { break };
        // A panic that is the end of its connection is another rule, ERR-01, unless some were not.
        closed += usize::from(answered == 0);
        if answered == 0 && closed <= done {
            let got = format!("no answer after {done} panics");
            session.check("a thousand panics", "500 each, or a close each", got, false);
            break;
        }
        done += answered.max(1);
    }
    let got = format!("{done} panics");
    session.check("a thousand panics", "500 each, or a close each", got, done == all);
    let late = session.has("panic-late") && done == all;
    for _ in 0..if late { at_once } else { 0 } {
        let target = "/panic-late?framing=chunked";
        let received = session.ask(session.request("GET", target, "Connection: close\r\n"))?;
        if matches!(received, Received::Nothing) {
            break;
        }
    }
    for (id, mut client) in held {
        session.get(&format!("/open?id={id}"))?;
        let received = client.response("GET");
        let served = is(&received, 200, b"held\n");
        session.check("a request in hand meanwhile", "held", shown(&received), served);
    }
    for n in 1..=20 {
        let received = session.ask(session.request("GET", "/", "Connection: close\r\n"))?;
        let served = is(&received, 200, b"ok\n");
        if !served || n == 20 {
            session.check("requests after the panics", "20 answers", shown(&received), served);
            break;
        }
    }
    if session.has("hold") && session.has("open") && session.has("state") {
        let (id, mut client) = hold(session)?;
        session.get(&format!("/open?id={id}"))?;
        let received = client.response("GET");
        let served = is(&received, 200, b"held\n");
        session.check("a request that waits, after the panics", "held", shown(&received), served);
    }
    Ok(())
}

/// A request that waits at its gate.
fn hold(session: &mut Session<'_>) -> Result<(String, Client), Stop> {
    let id = fresh_id();
    let mut client = session.connect()?;
    client.send(session.request("GET", &format!("/hold?id={id}"), ""));
    if until(session, &id, |state| state.calls > 0)?.calls > 0 {
        return Ok((id, client));
    }
    let got = client.response("GET");
    session.check("a request that waits", "its handler is called", got, false);
    Err(Stop::blocked("helper-failed", "/hold was not called"))
}

/// Panics in one write, and how many of them were answered with 500 before the connection closed; none
/// where anything else came.
fn panics(session: &mut Session<'_>, count: usize) -> Result<Option<usize>, Stop> {
    let mut client = session.connect()?;
    client.send(session.request("GET", "/panic", "").repeat(count));
    let mut answered = 0;
    while answered < count {
        match client.response("GET") {
            Received::Response(response) if response.status == 500 && response.complete => {
                answered += 1;
            }
            Received::Closed | Received::Reset => break,
            other => {
                session.check("a panic", "500, or a close", shown(&other), false);
                return Ok(None);
            }
        }
    }
    Ok(Some(answered))
}

fn err_07_no_text(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let late = failing_late(session)
        .into_iter()
        .flat_map(|path| ["chunked", "length"].map(|framing| format!("{path}?framing={framing}")));
    let targets: Vec<String> =
        failing(session).into_iter().map(str::to_owned).chain(late).collect();
    for target in targets {
        let [_, (_, old)] = both(session, &target);
        let new = session.request("GET", &target, "Connection: close\r\n");
        for (version, request) in [("HTTP/1.1", new), ("HTTP/1.0", old)] {
            let mut client = session.connect()?;
            client.send(request);
            let (bytes, _) = client.rest(session.patience().signal);
            let text = String::from_utf8_lossy(&bytes);
            let shown = match text.find(SECRET) {
                Some(at) => format!("it stands at byte {at}"),
                None => "it is not there".to_owned(),
            };
            let name = format!("the error's text, {target} to {version}");
            session.should(&name, "not in the response", shown, !text.contains(SECRET));
        }
    }
    Ok(())
}
