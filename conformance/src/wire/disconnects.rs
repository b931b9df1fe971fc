//! DRP: disconnects and cancellation.

use std::time::Instant;

use super::control::{Apart, Control, State, fresh_id, is_ok};
use super::{Client, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    WireCheck { rule: "DRP-01", after: &[], when: When::Beside, check: drp_01_pending_reads },
    WireCheck { rule: "DRP-02", after: &[], when: When::Beside, check: drp_02_handlers },
    WireCheck { rule: "DRP-05", after: &[], when: When::Alone, check: drp_05_resources },
];

/// Bodies that are cut off: their framing, and what comes of them.
const CUT: [(&str, &str, &str); 5] = [
    ("five of ten bytes", "Content-Length: 10\r\n", "12345"),
    ("no byte of ten", "Content-Length: 10\r\n", ""),
    ("half a chunk", "Transfer-Encoding: chunked\r\n", "a\r\n12345"),
    ("chunks without the last one", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n"),
    ("half a last chunk", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n"),
];

fn drp_01_pending_reads(session: &mut Session<'_>) -> Result<(), Stop> {
    let whole = session.request("POST", "/read", "Content-Length: 5\r\n");
    session.accept("a whole body", [&whole[..], b"12345"].concat())?;
    let mut control = Control::new(session);
    for (body_name, framing, body) in CUT {
        for reset in [false, true] {
            let (id, mut client) = (fresh_id(), session.connect()?);
            let head = session.request("POST", &format!("/read?id={id}"), framing);
            client.send([&head[..], body.as_bytes()].concat());
            let wait = session.patience().silence * 5;
            let reading = control.until(&id, wait, |state| state.body == "reading")?;
            let how = if reset { "reset" } else { "FIN" };
            if reset {
                client.reset();
            } else {
                client.finish();
            }
            let name = format!("{body_name}, then a {how}");
            if reading.calls == 0 {
                // It waits for the whole body, and must not call the application with a part of it.
                std::thread::sleep(session.patience().silence);
                let state = control.state(&id)?;
                session.check(&name, "no call with part of a body", &state, state.calls == 0);
                continue;
            }
            let failed =
                |state: &State| state.body == "error" || (reset && state.state == "cancelled");
            let over = |state: &State| failed(state) || state.body == "end";
            let state = control.until(&id, session.patience().signal, over)?;
            let expected = "an error from the read, or (after a reset) no handler any more";
            session.check(&name, expected, &state, failed(&state));
            if !over(&state) {
                return Ok(());
            }
        }
    }
    if session.has("disconnect") {
        told(session, &mut control)?;
    }
    Ok(())
}

/// Where handlers are told of a client that has left.
fn told(session: &mut Session<'_>, control: &mut Control) -> Result<(), Stop> {
    for reset in [true, false] {
        let (id, client) = in_hand(session, control, "GET", "/hold", "", b"")?;
        leave(client, reset);
        let gone = |state: &State| state.disconnected || state.state == "cancelled";
        let state = control.until(&id, session.patience().signal, gone)?;
        control.open(&id)?;
        let name = format!("a handler at work, then a {}", if reset { "reset" } else { "FIN" });
        session.check(&name, "the handler is told", &state, gone(&state));
    }
    Ok(())
}

fn leave(mut client: Client, reset: bool) {
    if reset {
        client.reset();
    } else {
        client.finish();
    }
}

/// A request whose handler has begun.
fn in_hand(
    session: &mut Session<'_>,
    control: &mut Control,
    method: &str,
    path: &str,
    lines: &str,
    behind: &[u8],
) -> Result<(String, Client), Stop> {
    let (id, mut client) = (fresh_id(), session.connect()?);
    let target = format!("{path}?id={id}");
    client.send([&session.request(method, &target, lines)[..], behind].concat());
    let state = control.until(&id, session.patience().signal, |state| state.state == "running")?;
    if state.state == "running" {
        return Ok((id, client));
    }
    Err(Stop::blocked("helper-failed", format!("{method} {target} does not begin: {state}")))
}

fn drp_02_handlers(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut control = Control::new(session);
    if session.has("cancel") || session.has("disconnect") {
        let pipelined = session.request("GET", "/", "").repeat(2);
        let chunks = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
        let shapes: [(&str, &str, &str, &[u8]); 4] = [
            ("a handler at work", "GET", "", b""),
            ("a handler with requests behind it", "GET", "", &pipelined),
            ("a handler before an unread body", "POST", "Transfer-Encoding: chunked\r\n", &chunks),
            ("a handler before a body to come", "POST", "Content-Length: 10\r\n", b""),
        ];
        let mut misses = 0;
        for (name, method, lines, behind) in shapes {
            let (id, client) = in_hand(session, &mut control, method, "/hold", lines, behind)?;
            client.reset();
            let gone = |state: &State| {
                state.state == "cancelled" || (!session.has("cancel") && state.disconnected)
            };
            let state = control.until(&id, session.patience().signal, gone)?;
            let held = gone(&state);
            control.open(&id)?;
            let expected = "it is cancelled, or told where nothing can be";
            session.check(&format!("{name}, then a reset"), expected, &state, held);
            misses += usize::from(!held);
            if misses > 1 {
                return Ok(());
            }
        }
        // Where nothing can be cancelled, an application may be free to send into the void.
        if session.has("flood") && session.has("cancel") {
            let (id, mut client) = (fresh_id(), session.connect()?);
            client.send(session.request("GET", &format!("/flood?id={id}"), ""));
            let produced = |state: &State| state.produced > 0;
            control.until(&id, session.patience().signal, produced)?;
            client.reset();
            let gone = |state: &State| matches!(state.send.as_str(), "cancelled" | "error");
            let state = control.until(&id, session.patience().signal, gone)?;
            session.check("a body being sent, then a reset", "it is dropped", &state, gone(&state));
        }
    }
    // Nobody can tell a client that has only closed its sending side from one that is gone.
    let (id, mut client) = in_hand(session, &mut control, "GET", "/hold", "", b"")?;
    client.finish();
    std::thread::sleep(session.patience().silence);
    let state = control.state(&id)?;
    let goes_on = state.state == "running" || state.state == "finished";
    session.check("a handler at work, then a FIN", "it goes on for now", &state, goes_on);
    control.open(&id)?;
    if goes_on {
        let received = client.response("GET");
        session.check(
            "a handler at work, then a FIN, in the end",
            "its answer",
            &received,
            is_ok(&received),
        );
    }
    Ok(())
}

/// How many clients leave in each phase of a request, and how many at a time: where each holds a
/// thread, one after another.
const LEAVE: [(usize, usize); 2] = [(16, 1), (40, 40)];

fn drp_05_resources(session: &mut Session<'_>) -> Result<(), Stop> {
    let async_world = session.has("cancel") || session.has("disconnect");
    let (all, at_once) = LEAVE[usize::from(async_world)];
    let phases: [(&str, &str, bool); 7] = [
        ("no byte", "", true),
        ("half a head", "GET / HTTP/1.1\r\nHost: x\r\n", true),
        (
            "half a body",
            "POST /read?id=ID HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
            true,
        ),
        ("a handler at work", "GET /hold?id=ID HTTP/1.1\r\nHost: x\r\n\r\n", async_world),
        (
            "a body that waits",
            "GET /gated?id=ID HTTP/1.1\r\nHost: x\r\n\r\n",
            async_world && session.has("gated"),
        ),
        (
            "a body being sent",
            "GET /stream?chunks=300&bytes=65536&id=ID HTTP/1.1\r\nHost: x\r\n\r\n",
            session.has("stream"),
        ),
        ("an answer unread", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
    ];
    let (apart, mut misses) = (Apart::start(session)?, 0);
    let mut control = Control::at(session, apart.address);
    let count = |apart: &Apart| apart.instance.as_ref().and_then(|one| one.descriptors());
    // Once beforehand, so that what is made at first need is there.
    for target in ["/", "/state?id=none"] {
        control.get(target)?;
    }
    for (name, bytes, there) in phases {
        if !there {
            continue;
        }
        for reset in [true, false] {
            let before = (control.live()?, count(&apart));
            let id = fresh_id();
            let bytes = bytes.replace("ID", &id);
            for _ in 0..all / at_once {
                depart(session, &mut control, &apart, &id, &bytes, (at_once, reset))?;
            }
            if bytes.contains("id=") {
                control.open(&id)?;
            }
            let (live, descriptors) = fallen(session, &mut control, &apart, before)?;
            let how = if reset { "resets" } else { "closes" };
            let name = format!("{all} {how}: {name}");
            let few = |now: usize, before: usize| now <= before + SLACK;
            let expected = format!("at most {} alive", before.0 + SLACK);
            session.check(&name, &expected, format!("{live} alive"), few(live, before.0));
            let mut missed = !few(live, before.0);
            if let (Some(before), Some(now)) = (before.1, descriptors) {
                let expected = format!("at most {} descriptors", before + SLACK);
                let got = format!("{now} descriptors");
                session.check(&name, &expected, got, few(now, before));
                missed = missed || !few(now, before);
            }
            misses += usize::from(missed);
            if misses > 1 {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Others come and go at the same time.
const SLACK: usize = 8;

/// Clients that come, wait until their request is in that phase, and leave.
fn depart(
    session: &mut Session<'_>,
    control: &mut Control,
    apart: &Apart,
    id: &str,
    bytes: &str,
    (clients, reset): (usize, bool),
) -> Result<(), Stop> {
    let before = control.state(id)?.calls;
    let mut left = Vec::new();
    for _ in 0..clients {
        let mut client = session.connect_to(apart.address)?;
        client.send(bytes);
        left.push(client);
    }
    if bytes.contains("id=") {
        // A server that reads the whole body first calls nobody.
        let uncalled = bytes.starts_with("POST");
        let patience = session.patience();
        let wait = if uncalled { patience.silence * 2 } else { patience.signal };
        let state = control.until(id, wait, |state| state.calls >= before + clients)?;
        if state.calls < before + clients && !uncalled {
            let text = format!("{clients} requests do not begin: {state}");
            return Err(Stop::blocked("helper-failed", text));
        }
    }
    for client in left {
        if reset {
            client.reset();
        } else {
            drop(client);
        }
    }
    if !bytes.contains("id=") {
        // When it is answered, those before it have been accepted.
        let mut next = session.connect_to(apart.address)?;
        next.send(session.request("GET", "/", ""));
        let received = next.response("GET");
        session.check("behind clients that have left", "an answer", &received, is_ok(&received));
    }
    Ok(())
}

/// Looks until the counts are down again. Gives the last ones.
fn fallen(
    session: &Session<'_>,
    control: &mut Control,
    apart: &Apart,
    before: (usize, Option<usize>),
) -> Result<(usize, Option<usize>), Stop> {
    let started = Instant::now();
    loop {
        let live = control.live()?;
        let descriptors = apart.instance.as_ref().and_then(|one| one.descriptors());
        let down = live <= before.0 && descriptors.unwrap_or(0) <= before.1.unwrap_or(0);
        if down || started.elapsed() > session.patience().signal {
            return Ok((live, descriptors));
        }
        std::thread::sleep(session.patience().poll);
    }
}
