//! MID: middleware.

use super::control::{BUFFERED, Control, State, fresh_id, is_ok, keeps};
use super::{Received, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    WireCheck { rule: "MID-03", after: &[], when: When::Beside, check: mid_03_holds_nothing_back },
    WireCheck { rule: "MID-04", after: &[], when: When::Beside, check: mid_04_stops },
];

fn mid_03_holds_nothing_back(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut control = Control::new(session);
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let (id, mut client) = (fresh_id(), session.connect()?);
        let authority = &session.target.authority;
        client.send(format!("GET /inner/gated?id={id} {version}\r\nHost: {authority}\r\n\r\n"));
        let name = format!("a body in two pieces, in {version}");
        let first = match client.head_within(session.patience().signal) {
            Ok(head) => {
                let chunked = head.all("transfer-encoding").next().is_some();
                let bytes = if chunked { "6\r\nfirst\n\r\n".len() } else { "first\n".len() };
                client.bytes(bytes, session.patience().signal).escape_ascii().to_string()
            }
            Err(received) => received.to_string(),
        };
        let held = first.contains("first");
        session.check(&name, "`first` before `second` exists", &first, held);
        control.open(&id)?;
        let (rest, _) = client.rest(session.patience().silence);
        let rest = rest.escape_ascii().to_string();
        session.check(
            &format!("{name}, then"),
            "`second`",
            &rest,
            rest.contains("second") || !held,
        );
    }
    if session.has("first-read") && session.has("state") {
        request_bodies(session, &mut control)?;
    }
    if session.has("flood") && session.has("state") {
        let (id, mut client) = (fresh_id(), session.connect()?);
        client.send(session.request("GET", &format!("/inner/flood?id={id}"), ""));
        control.until(&id, session.patience().signal, |state| state.produced > 0)?;
        let made = control.settled(&id, BUFFERED, |state| state.produced)?;
        let (expected, got) = (format!("at most {BUFFERED} bytes"), format!("{made} bytes"));
        let held = (1..=BUFFERED).contains(&made);
        session.check("a body without end, unread", &expected, got, held);
        client.reset();
    }
    Ok(())
}

/// The application sees the first piece of a body whose second is not sent yet.
fn request_bodies(session: &mut Session<'_>, control: &mut Control) -> Result<(), Stop> {
    // Where the server itself waits for the whole body, a middleware can do nothing about it.
    for path in ["/first-read", "/inner/first-read"] {
        let (id, mut client) = (fresh_id(), session.connect()?);
        client.send(session.request("POST", &format!("{path}?id={id}"), "Content-Length: 10\r\n"));
        client.send("12345");
        let some = |state: &State| state.read > 0;
        let state = control.until(&id, session.patience().silence * 10, some)?;
        control.open(&id)?;
        client.send("67890");
        let received = client.response("POST");
        if path == "/first-read" {
            if !some(&state) {
                return Ok(());
            }
            continue;
        }
        let name = "half a request's body";
        session.check(name, "the application has it", &state, some(&state));
        session.check("the other half", "200", &received, is_ok(&received));
    }
    Ok(())
}

fn mid_04_stops(session: &mut Session<'_>) -> Result<(), Stop> {
    let (mut control, id) = (Control::new(session), fresh_id());
    let target = format!("/stopped?id={id}");
    let next = session.request("GET", "/", "");
    let shapes = [
        ("GET", "", ""),
        ("POST", "Content-Length: 5\r\n", "12345"),
        ("POST", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n\r\n"),
    ];
    for (method, lines, body) in shapes {
        let mut client = session.connect()?;
        let head = session.request(method, &target, lines);
        client.send([&head[..], body.as_bytes()].concat());
        let received = client.response(method);
        let held = matches!(&received, Received::Response(response) if response.status == 403
            && response.complete && response.text() == "stopped\n");
        let name = format!("{method} {lines:?}");
        session.check(&name, "the middleware's own 403, complete", &received, held);
        if !held {
            break;
        }
        if matches!(&received, Received::Response(response) if keeps(response)) {
            client.send(&next);
            let received = client.response("GET");
            let closed = !body.is_empty() && matches!(received, Received::Closed | Received::Reset);
            let expected = "200, or a close where a body was unread";
            session.check(
                &format!("{name}, the next request"),
                expected,
                &received,
                is_ok(&received) || closed,
            );
        }
    }
    let state = control.state(&id)?;
    session.check("the application behind it", "0 calls", &state, state.calls == 0);
    Ok(())
}
