//! TMO: deadlines and limits.
//!
//! Nobody says how long a server's deadlines are, so these checks wait for them, all at the same
//! time and beside everything else. They do so with servers of their own, where the suite can start
//! them: others are not to suffer from it.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::control::{Apart, BUFFERED, Control, State, fresh_id, has_news, keeps};
use super::{Client, Ended, Received, Session, Stop, When, WireCheck};
use crate::verdict::{CaseResult, Kind};

pub(crate) const CHECKS: &[WireCheck] = &[
    background("TMO-01", tmo_01_unfinished_heads),
    background("TMO-02", tmo_02_dripping_heads),
    background("TMO-03", tmo_03_stalled_bodies),
    background("TMO-04", tmo_04_never_reading),
    WireCheck { rule: "TMO-05", after: &[], when: When::Alone, check: tmo_05_slow_clients },
    WireCheck { rule: "TMO-06", after: &[], when: When::Alone, check: tmo_06_connections },
    background("TMO-07", tmo_07_half_closed),
    background("TMO-08", tmo_08_late_handlers),
];

const fn background(
    rule: &'static str,
    check: fn(&mut Session<'_>) -> Result<(), Stop>,
) -> WireCheck {
    WireCheck { rule, after: &[], when: When::Background, check }
}

/// In how many steps a deadline is waited for: one per second, or a bit slower.
const STEPS: u32 = 64;

/// A client that never gets to its end.
struct Slow {
    name: &'static str,
    client: Client,
    /// What it sends over and over, a byte at a time.
    drips: &'static [u8],
}

impl Slow {
    /// A new connection that begins with these bytes.
    fn first(
        session: &mut Session<'_>,
        address: SocketAddr,
        name: &'static str,
        begins: impl AsRef<[u8]>,
        drips: &'static [u8],
    ) -> Result<Slow, Stop> {
        let mut client = session.connect_to(address)?;
        if !begins.as_ref().is_empty() {
            client.send(begins);
        }
        Ok(Slow { name, client, drips })
    }

    /// The same on a connection that has been served one request; none where it is not kept.
    fn later(
        session: &mut Session<'_>,
        address: SocketAddr,
        name: &'static str,
        begins: impl AsRef<[u8]>,
        drips: &'static [u8],
    ) -> Result<Option<Slow>, Stop> {
        let mut client = session.connect_to(address)?;
        client.send(session.request("GET", "/", ""));
        let kept = match client.response("GET") {
            Received::Response(response) => keeps(&response),
            _ => false,
        };
        if !kept || has_news(&client) {
            return Ok(None);
        }
        client.send(begins);
        Ok(Some(Slow { name, client, drips }))
    }
}

/// Goes on as slowly as that, until the server has given up all of them, or for the deadline.
fn outlast(session: &mut Session<'_>, mut slow: Vec<Slow>, miss: CaseResult) {
    let (deadline, started) = (session.patience().deadline, Instant::now());
    let step = deadline / STEPS;
    let mut dripped = 0;
    while !slow.is_empty() && started.elapsed() < deadline {
        thread::sleep(step);
        for one in &slow {
            if let Some(byte) = one.drips.get(dripped % one.drips.len().max(1)) {
                let _ = one.client.stream().write(&[*byte]);
            }
        }
        dripped += 1;
        for at in (0..slow.len()).rev() {
            if has_news(&slow[at].client) {
                let one = slow.remove(at);
                given_up(session, one, started.elapsed(), miss);
            }
        }
    }
    for one in slow {
        let got = format!("still open after {:.0} s", deadline.as_secs_f64());
        session.case(one.name, Kind::Behave, miss, GIVEN_UP, &got);
    }
}

/// A server that has ended has given up all its clients, too, and keeps no deadline.
fn lives_on(session: &mut Session<'_>, address: SocketAddr) -> Result<(), Stop> {
    let request = session.request("GET", "/", "");
    let (held, got) = match session.connect_to(address) {
        Ok(mut client) => {
            client.send(request);
            let received = client.response("GET");
            (matches!(received, Received::Response(_)), received.to_string())
        }
        Err(Stop::Error(text)) => (false, text),
        Err(stop) => return Err(stop),
    };
    session.check("a request afterwards", "an answer", got, held);
    Ok(())
}

/// What is right for a client that never gets to its end.
const GIVEN_UP: &str =
    "408, or another refusal, and then a close, or a close alone, all within a deadline";

/// Something has come: whether that is an end.
fn given_up(session: &mut Session<'_>, mut one: Slow, after: Duration, miss: CaseResult) {
    let received = one.client.response("GET");
    let (held, got) = match &received {
        Received::Closed | Received::Reset => (true, received.to_string()),
        Received::Response(response) => {
            let ended = one.client.ended();
            (response.status >= 400 && ended != Ended::Open, format!("{received}, then {ended}"))
        }
        other => (false, other.to_string()),
    };
    let result = if held { CaseResult::Pass } else { miss };
    let got = format!("after {:.1} s: {got}", after.as_secs_f64());
    session.case(one.name, Kind::Behave, result, GIVEN_UP, &got);
}

/// A head that takes its time, but comes to its end: no server may be so impatient.
fn accept_in_pieces(session: &mut Session<'_>) -> Result<(), Stop> {
    let request = session.request("GET", "/", "");
    let mut client = session.connect()?;
    for piece in request.chunks(request.len() / 3) {
        client.send(piece);
        thread::sleep(session.patience().silence);
    }
    let received = client.response("GET");
    let held = matches!(&received, Received::Response(response) if response.status < 500
        && response.status != 408 && response.complete);
    let result = CaseResult::of(held);
    let name = "a head in pieces, with pauses";
    session.case(name, Kind::Accept, result, "an answer", &received);
    if held {
        return Ok(());
    }
    Err(Stop::blocked("twin-refused", format!("{name} gave {received}")))
}

fn tmo_01_unfinished_heads(session: &mut Session<'_>) -> Result<(), Stop> {
    accept_in_pieces(session)?;
    let apart = Apart::start(session)?;
    let whole = session.request("GET", "/", "");
    let but_the_end = &whole[..whole.len() - 2];
    let mut slow = vec![
        Slow::first(session, apart.address, "a connection without a byte", "", b"")?,
        Slow::first(session, apart.address, "half a request line, then nothing", "GET /a", b"")?,
        Slow::first(
            session,
            apart.address,
            "half the preface of HTTP/2, then nothing",
            "PRI * HT",
            b"",
        )?,
        Slow::first(
            session,
            apart.address,
            "all but the last line, then nothing",
            but_the_end,
            b"",
        )?,
        Slow::first(
            session,
            apart.address,
            "half a field, then nothing",
            &but_the_end[..but_the_end.len() - 4],
            b"",
        )?,
    ];
    let name = "half a request line behind a served request";
    slow.extend(Slow::later(session, apart.address, name, "GET /a", b"")?);
    slow.extend(Slow::later(
        session,
        apart.address,
        "half a head behind a served request",
        but_the_end,
        b"",
    )?);
    let in_hand = match session.has("slow") {
        true => {
            let half = session.patience().deadline / 2;
            let mut client = session.connect_to(apart.address)?;
            client.send(session.request("GET", &format!("/slow?ms={}", half.as_millis()), ""));
            Some(client)
        }
        false => None,
    };
    outlast(session, slow, CaseResult::Fail);
    lives_on(session, apart.address)?;
    if let Some(mut client) = in_hand {
        let received = client.response_within("GET", session.patience().deadline);
        let held = matches!(received, Received::Response(_));
        let name = "a handler that is slower than any head may be";
        session.check(name, "an answer: its head is complete", received, held);
    }
    Ok(())
}

fn tmo_02_dripping_heads(session: &mut Session<'_>) -> Result<(), Stop> {
    accept_in_pieces(session)?;
    let apart = Apart::start(session)?;
    let whole = session.request("GET", "/", "");
    let fields = &whole[..whole.len() - 2];
    let mut slow = vec![
        Slow::first(
            session,
            apart.address,
            "a request line that grows by a byte a second",
            "GET /",
            b"a",
        )?,
        Slow::first(
            session,
            apart.address,
            "fields without end, a byte a second",
            fields,
            b"x-a: b\r\n",
        )?,
        Slow::first(
            session,
            apart.address,
            "a value that grows by a byte a second",
            &fields[..fields.len() - 2],
            b"1",
        )?,
        Slow::first(session, apart.address, "empty lines, a byte a second", "", b"\r\n")?,
    ];
    let name = "fields without end behind a served request";
    slow.extend(Slow::later(session, apart.address, name, fields, b"x-a: b\r\n")?);
    outlast(session, slow, CaseResult::Fail);
    lives_on(session, apart.address)
}

fn tmo_03_stalled_bodies(session: &mut Session<'_>) -> Result<(), Stop> {
    let shapes: [(&str, &str, &str); 4] = [
        ("five of ten bytes, then nothing", "Content-Length: 10\r\n", "12345"),
        ("no byte of ten", "Content-Length: 10\r\n", ""),
        ("half a chunk, then nothing", "Transfer-Encoding: chunked\r\n", "a\r\n12345"),
        ("one chunk, and no last one", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n"),
    ];
    let whole = session.request("POST", "/read", "Content-Length: 5\r\n");
    session.accept("a whole body", [&whole[..], b"12345"].concat())?;
    let apart = Apart::start(session)?;
    let mut control = Control::at(session, apart.address);
    let (mut slow, mut ids) = (Vec::new(), Vec::new());
    for (name, framing, body) in shapes {
        let id = fresh_id();
        let head = session.request("POST", &format!("/read?id={id}"), framing);
        slow.push(Slow::first(
            session,
            apart.address,
            name,
            [&head[..], body.as_bytes()].concat(),
            b"",
        )?);
        ids.push((name, id));
    }
    outlast(session, slow, CaseResult::Warn);
    // One wait for all of them: whoever is to be told is told soon.
    let (signal, waited) = (session.patience().signal, Instant::now());
    for (name, id) in ids {
        // A server that reads the whole body first has not called the application at all.
        let ended = |state: &State| state.calls == 0 || state.body == "error";
        let state = control.until(&id, signal.saturating_sub(waited.elapsed()), ended)?;
        let name = format!("the application, after {name}");
        session.should(&name, "an error from its read", &state, ended(&state));
    }
    Ok(())
}

fn tmo_04_never_reading(session: &mut Session<'_>) -> Result<(), Stop> {
    let apart = Apart::start(session)?;
    let mut control = Control::at(session, apart.address);
    let (mut clients, expected) = (Vec::new(), format!("at most {BUFFERED} bytes made"));
    for (name, version) in [("chunks", "HTTP/1.1"), ("a body that ends with a close", "HTTP/1.0")] {
        let (id, mut client) = (fresh_id(), session.connect_to(apart.address)?);
        let authority = &session.target.authority;
        client.send(format!("GET /flood?id={id} {version}\r\nHost: {authority}\r\n\r\n"));
        let calls = control.until(&id, session.patience().signal, |state| state.produced > 0)?;
        if calls.produced == 0 {
            return Err(Stop::blocked("helper-failed", format!("/flood makes nothing: {calls}")));
        }
        if calls.send == "cancelled" {
            let text = format!("/flood has just begun, and says that it has ended: {calls}");
            return Err(Stop::blocked("helper-failed", text));
        }
        let made = control.settled(&id, BUFFERED, |state| state.produced)?;
        let name = format!("{name}, to a client that never reads");
        session.check(&name, &expected, format!("{made} bytes made"), made <= BUFFERED);
        clients.push((name, id, client));
    }
    let (deadline, started) = (session.patience().deadline, Instant::now());
    for (name, id, client) in clients {
        let left = deadline.saturating_sub(started.elapsed());
        let dropped = |state: &State| matches!(state.send.as_str(), "cancelled" | "error");
        let state = control.until(&id, left, dropped)?;
        let name = format!("{name}, in the end");
        session.check(&name, "dropped within a deadline", &state, dropped(&state));
        client.reset();
    }
    Ok(())
}

/// Slow clients of one kind, and how many.
const SLOW: [(&str, usize); 3] = [("half a head", 90), ("half a body", 90), ("not reading", 20)];

fn tmo_05_slow_clients(session: &mut Session<'_>) -> Result<(), Stop> {
    let fast = session.request("GET", "/", "");
    session.accept("nobody slow", &fast)?;
    let mut kept = session.connect()?;
    kept.send(&fast);
    let keeps = matches!(kept.response("GET"), Received::Response(response) if keeps(&response));
    let path = if session.has("read") { "/read" } else { "/" };
    let begins = [
        fast[..fast.len() - 2].to_vec(),
        [&session.request("POST", path, "Content-Length: 10\r\n")[..], b"12345"].concat(),
        session.request("GET", if session.has("stream") { LARGE } else { "/" }, ""),
    ];
    let (mut slow, mut held_all) = (Vec::new(), true);
    for ((name, count), begins) in SLOW.into_iter().zip(&begins) {
        for _ in 0..count {
            let mut client = session.connect()?;
            // Else the system takes megabytes for each of those who never read.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(client.stream(), 16 * 1024);
            client.send(begins);
            slow.push((name, client));
        }
        let mut got = format!("{} are answered", FAST);
        let mut answered = 0;
        while answered < FAST {
            let received = match answered == 0 && keeps && !has_news(&kept) {
                true => {
                    kept.send(&fast);
                    kept.response("GET")
                }
                false => session.ask(&fast)?,
            };
            if !matches!(&received, Received::Response(response) if response.complete) {
                got = format!("the {}th gets {received}", answered + 1);
                break;
            }
            answered += 1;
        }
        let name = format!("fast requests beside {} slow clients, the latest {name}", slow.len());
        session.check(&name, "each is answered", got, answered == FAST);
        held_all = held_all && answered == FAST;
        if !held_all {
            break;
        }
    }
    if held_all {
        finish_slow_heads(session, &mut slow);
    }
    slow.into_iter().for_each(|(_, client)| client.reset());
    recover(session)
}

/// More than the system's buffers hold. Endless ones would keep a server busy that sends on to
/// clients that have left.
pub(super) const LARGE: &str = "/stream?chunks=300&bytes=65536";

/// How many fast requests stand beside each kind of slow client.
const FAST: usize = 17;

/// The slow heads come to their end at last: each is answered, unless it has been given up.
fn finish_slow_heads(session: &mut Session<'_>, slow: &mut [(&'static str, Client)]) {
    let heads: Vec<&mut Client> = slow
        .iter_mut()
        .filter(|(name, client)| *name == SLOW[0].0 && !has_news(client))
        .map(|(_, client)| client)
        .collect();
    let (count, mut lost) = (heads.len(), 0);
    for client in heads {
        client.send("\r\n");
        lost += usize::from(matches!(client.response("GET"), Received::Nothing));
        if lost > 1 {
            break;
        }
    }
    let got = if lost == 0 { "none waits in vain" } else { "some wait in vain" };
    session.check(&format!("{count} slow heads, finished"), "answers", got, lost == 0);
}

/// Waits until the server answers again, so that no later check is blamed for this one's doings.
pub(super) fn recover(session: &mut Session<'_>) -> Result<(), Stop> {
    let (deadline, started) = (session.patience().deadline, Instant::now());
    while started.elapsed() < deadline {
        session.has_time()?;
        let request = session.request("GET", "/", "Connection: close\r\n");
        match session.ask(request) {
            Ok(Received::Response(_)) => return Ok(()),
            _ => thread::sleep(session.patience().poll),
        }
    }
    Err(Stop::Error("the server does not recover from this check".to_owned()))
}

/// How often all places are taken and given back.
const ROUNDS: usize = 3;

fn tmo_06_connections(session: &mut Session<'_>) -> Result<(), Stop> {
    let limit = session.target.declared.connection_limit.unwrap_or_default();
    if limit == 0 || limit > 2_000 {
        return Err(Stop::skip("too-many", "tried only with a limit of 1 to 2,000 connections"));
    }
    let apart = Apart::start(session)?;
    for round in 1..=ROUNDS {
        let (mut held, first) = fill(session, apart.address, limit)?;
        let name = format!("one connection more than {limit}, round {round}");
        let Some((mut client, received)) = first else {
            let open = held.iter().filter(|client| !has_news(client)).count();
            let got = format!("all are served, and {open} of {} are open", held.len());
            session.check(&name, "it waits, or 503", got, open <= limit);
            return Ok(());
        };
        let waits = matches!(received, Received::Nothing);
        let refused = matches!(&received, Received::Response(response) if response.status == 503);
        session.check(&name, "it waits, or 503", &received, waits || refused);
        let places = held.len();
        let got = format!("{places} were served before it");
        // On the server under test, other checks may have some.
        let enough = places * 2 >= limit || apart.instance.is_none();
        session.check(&format!("places, round {round}"), "not far below the limit", got, enough);
        // One goes in good order, the others as clients do that crash.
        drop(held.pop());
        held.into_iter().for_each(Client::reset);
        if waits {
            let received = client.response("GET");
            let held = matches!(&received, Received::Response(_));
            session.check(
                "the one that waited, when others have gone",
                "an answer",
                received,
                held,
            );
        }
        drop(client);
        let served = eventually_served(session, apart.address)?;
        let got = if served { "it is served" } else { "it is not" };
        session.check("a new one, when others have gone", "an answer", got, served);
        if !served {
            break;
        }
    }
    Ok(())
}

/// Those that were served and kept, and the first that was not.
type Filled = (Vec<Client>, Option<(Client, Received)>);

/// Connections that are served and kept, until one is not served, with what it got instead.
fn fill(session: &mut Session<'_>, address: SocketAddr, limit: usize) -> Result<Filled, Stop> {
    let request = session.request("GET", "/", "");
    // Half a head behind it, so that none is idle: idle ones may be closed to make room.
    let half = b"GET / HTTP/1.1\r\n";
    let mut held = Vec::new();
    while held.len() <= limit {
        let mut client = session.connect_to(address)?;
        client.send(&request);
        let received = client.response_within("GET", session.patience().silence * 10);
        match received {
            Received::Response(ref response) if response.complete && response.status != 503 => {
                client.send(half);
                held.push(client);
            }
            other => return Ok((held, Some((client, other)))),
        }
    }
    Ok((held, None))
}

/// Whether a new connection is served, sooner or later.
fn eventually_served(session: &mut Session<'_>, address: SocketAddr) -> Result<bool, Stop> {
    let started = Instant::now();
    loop {
        let request = session.request("GET", "/", "Connection: close\r\n");
        let mut client = session.connect_to(address)?;
        client.send(request);
        match client.response("GET") {
            Received::Response(response) if response.complete && response.status != 503 => {
                return Ok(true);
            }
            _ if started.elapsed() > session.patience().signal => return Ok(false),
            _ => thread::sleep(session.patience().poll),
        }
    }
}

fn tmo_07_half_closed(session: &mut Session<'_>) -> Result<(), Stop> {
    let (cancel, told) = (session.has("cancel"), session.has("disconnect"));
    if !cancel && !told {
        let text = "handlers here can be neither cancelled nor told";
        return Err(Stop::skip("lacks-feature", text));
    }
    let deadline = session.patience().deadline;
    let apart = Apart::start(session)?;
    let (mut control, id) = (Control::at(session, apart.address), fresh_id());
    let path = if cancel {
        format!("/slow?ms={}&id={id}", 4 * deadline.as_millis())
    } else {
        format!("/hold?id={id}")
    };
    let mut client = session.connect_to(apart.address)?;
    client.send(session.request("GET", &path, ""));
    let begun = control.until(&id, session.patience().signal, |state| state.state == "running")?;
    if begun.state != "running" {
        return Err(Stop::blocked("helper-failed", format!("{path} does not begin: {begun}")));
    }
    client.finish();
    let over = |state: &State| state.state == "cancelled" || state.disconnected;
    let state = control.until(&id, deadline, over)?;
    let name = "a handler without end, whose client has closed its sending side";
    session.check(name, "cancelled, or told so", &state, over(&state));
    Ok(())
}

fn tmo_08_late_handlers(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("a quick handler", session.request("GET", "/slow?ms=1", ""))?;
    let (apart, deadline) = (Apart::start(session)?, session.patience().deadline);
    let mut client = session.connect_to(apart.address)?;
    client.send(session.request("GET", &format!("/slow?ms={}", 2 * deadline.as_millis()), ""));
    let received = client.response_within("GET", deadline);
    let answered = matches!(&received, Received::Response(response)
        if matches!(response.status, 503 | 504) && response.complete);
    session.should("a handler without end", "503 or 504", received, answered);
    Ok(())
}
