//! BPR: backpressure, both ways.

use std::io::{ErrorKind, Write};
use std::time::Instant;

use super::control::{BUFFERED, Control, fresh_id, has_news, is_ok, keeps};
use super::limits::{LARGE, recover};
use super::{Client, Received, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    WireCheck { rule: "BPR-01", after: &[], when: When::Beside, check: bpr_01_slow_readers },
    WireCheck { rule: "BPR-02", after: &[], when: When::Beside, check: bpr_02_unread_bodies },
    WireCheck { rule: "BPR-03", after: &[], when: When::Beside, check: bpr_03_nobody_else },
];

fn bpr_01_slow_readers(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut control = Control::new(session);
    let bounded = format!("at most {BUFFERED} bytes made");
    for (name, version) in [("chunks", "HTTP/1.1"), ("a body that ends with a close", "HTTP/1.0")] {
        let (id, mut client) = (fresh_id(), session.connect()?);
        let authority = &session.target.authority;
        client.send(format!("GET /flood?id={id} {version}\r\nHost: {authority}\r\n\r\n"));
        control.until(&id, session.patience().signal, |state| state.produced > 0)?;
        let made = control.settled(&id, BUFFERED, |state| state.produced)?;
        let held = (1..=BUFFERED).contains(&made);
        session.check(&format!("{name}, unread"), &bounded, format!("{made} bytes made"), held);
        if held {
            let read = client.bytes(2 * made, session.patience().signal).len();
            let state =
                control.until(&id, session.patience().signal, |state| state.produced > made)?;
            let got = format!("{read} bytes read; {state}");
            let goes_on = read == 2 * made && state.produced > made;
            session.check(&format!("{name}, read on"), "it is resumed", got, goes_on);
        }
        client.reset();
    }
    if session.has("stream") {
        whole_in_the_end(session, "/stream?chunks=600&bytes=65536")?;
    }
    if session.has("known") {
        whole_in_the_end(session, "/known?bytes=39321600")?;
        unread_answers(session, &mut control)?;
    }
    Ok(())
}

/// Nothing is lost on a client that begins to read late.
fn whole_in_the_end(session: &mut Session<'_>, target: &str) -> Result<(), Stop> {
    const BYTES: usize = 600 * 65536;
    let mut client = session.connect()?;
    client.send(session.request("GET", target, ""));
    std::thread::sleep(session.patience().silence);
    let received = client.response("GET");
    let (whole, got) = match &received {
        Received::Response(response) => {
            let whole = response.complete
                && response.body.len() == BYTES
                && response.body.iter().all(|byte| *byte == b'x');
            (whole, format!("{received}, {} bytes", response.body.len()))
        }
        other => (false, other.to_string()),
    };
    session.check(&format!("{target}, read late"), "all its bytes", got, whole);
    Ok(())
}

/// A client that sends request after request, and reads no answer.
fn unread_answers(session: &mut Session<'_>, control: &mut Control) -> Result<(), Stop> {
    const COUNT: usize = 96;
    let id = fresh_id();
    let request = session.request("GET", &format!("/known?bytes=1000000&id={id}"), "");
    let mut client = session.connect()?;
    client.send(request.repeat(COUNT));
    control.until(&id, session.patience().signal, |state| state.calls > 0)?;
    let calls = control.settled(&id, COUNT, |state| state.calls)?;
    let (bound, got) = (BUFFERED / 1_000_000 + 1, format!("{calls} calls"));
    let name = format!("{COUNT} pipelined requests for a megabyte each, no answer read");
    // Whatever has come with one read may be at work already.
    session.should(&name, &format!("at most {bound} calls"), got, calls <= bound);
    client.reset();
    Ok(())
}

fn bpr_02_unread_bodies(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut control = Control::new(session);
    let bounded = format!("at most {BUFFERED} bytes taken");
    let shapes = [
        ("chunks", "Transfer-Encoding: chunked\r\n", &CHUNK[..]),
        ("a length of 1 GiB", "Content-Length: 1073741824\r\n", &CHUNK[7..65543]),
    ];
    for (name, framing, piece) in shapes {
        let (id, mut client) = (fresh_id(), session.connect()?);
        client.send(session.request("POST", &format!("/late-read?id={id}"), framing));
        let taken = pour(&mut client, piece, 2 * BUFFERED);
        let name = format!("{name}, to a handler that does not read");
        session.check(&name, &bounded, format!("{taken} bytes taken"), taken <= BUFFERED);
        control.open(&id)?;
        client.reset();
        if taken > BUFFERED {
            return Ok(());
        }
    }
    if session.has("first-read") && session.has("open") {
        read_on(session, &mut control)?;
    }
    Ok(())
}

/// A handler that reads one piece, and the rest much later: it gets all of it.
fn read_on(session: &mut Session<'_>, control: &mut Control) -> Result<(), Stop> {
    let (id, mut client) = (fresh_id(), session.connect()?);
    let target = format!("/first-read?id={id}");
    client.send(session.request("POST", &target, "Transfer-Encoding: chunked\r\n"));
    let poured = pour(&mut client, &CHUNK, 2 * BUFFERED);
    let state = control.state(&id)?;
    let bounded = poured <= BUFFERED && state.read <= BUFFERED;
    let got = format!("{} bytes taken; {state}", poured);
    let name = "a handler that has read one piece";
    session.check(name, &format!("at most {BUFFERED} bytes taken"), got, bounded);
    control.open(&id)?;
    if !bounded {
        client.reset();
        return Ok(());
    }
    client.send(&CHUNK[poured % CHUNK.len()..]);
    client.send("0\r\n\r\n");
    let chunks = poured / CHUNK.len() + 1;
    let received = client.response("POST");
    let state = control.state(&id)?;
    let too_large = matches!(&received, Received::Response(response) if response.status == 413);
    let whole = is_ok(&received) && state.read == chunks * 65536 && state.body == "end";
    let held = whole || too_large;
    let expected = format!("200, and {} bytes read to their end; or 413", chunks * 65536);
    session.check("the same, when it reads on", &expected, format!("{received}; {state}"), held);
    Ok(())
}

/// A chunk of 64 KiB.
static CHUNK: [u8; 65545] = {
    let mut chunk = [b'x'; 65545];
    let (size, mut at) = (*b"10000\r\n", 0);
    while at < size.len() {
        chunk[at] = size[at];
        at += 1;
    }
    chunk[65543] = b'\r';
    chunk[65544] = b'\n';
    chunk
};

/// Sends the same piece again and again, until the other side takes no more for a while, or answers
/// (what it drops behind a refusal, it does not hold), or `most` has been exceeded. Gives how many
/// bytes went through.
fn pour(client: &mut Client, piece: &[u8], most: usize) -> usize {
    let pause = client.patience().silence * 5;
    let _ = client.stream().set_write_timeout(Some(pause));
    let mut len = 0;
    while len <= most && !has_news(client) {
        match client.stream().write(&piece[len % piece.len()..]) {
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                client.note(format!("after {len} bytes: {error}"));
                break;
            }
        }
    }
    let _ = client.stream().set_write_timeout(Some(client.patience().signal));
    len
}

fn bpr_03_nobody_else(session: &mut Session<'_>) -> Result<(), Stop> {
    let (mut control, mut slow, mut ids) = (Control::new(session), Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut client = session.connect()?;
        client.send(session.request("GET", LARGE, ""));
        slow.push(client);
    }
    let started = Instant::now();
    while !slow.iter().any(has_news) {
        if started.elapsed() > session.patience().signal {
            return Err(Stop::blocked("helper-failed", format!("{LARGE} gives nothing")));
        }
        std::thread::sleep(session.patience().poll);
    }
    if session.has("first-read") && session.has("open") {
        let (id, mut client) = (fresh_id(), session.connect()?);
        let target = format!("/first-read?id={id}");
        client.send(session.request("POST", &target, "Transfer-Encoding: chunked\r\n"));
        pour(&mut client, &CHUNK, BUFFERED);
        slow.push(client);
        ids.push(id);
    }
    let beside = format!("beside {} stalled ones", slow.len());
    let mut kept = session.connect()?;
    let others = [
        ("/", true),
        ("/known?bytes=100000", session.has("known")),
        ("/slow?ms=20", session.has("slow")),
    ];
    for (target, _) in others.iter().filter(|(_, there)| *there) {
        let request = session.request("GET", target, "");
        let on_its_own = session.ask(&request)?;
        kept.send(&request);
        let again = kept.response("GET");
        let held = [&on_its_own, &again].into_iter().all(is_ok);
        let got = format!("{on_its_own}, and {again} on a kept connection");
        session.check(&format!("{target}, {beside}"), "200", got, held);
        if !held {
            break;
        }
        if matches!(&again, Received::Response(response) if !keeps(response)) {
            kept = session.connect()?;
        }
    }
    slow.into_iter().for_each(Client::reset);
    recover(session)?;
    ids.iter().try_for_each(|id| control.open(id))
}
