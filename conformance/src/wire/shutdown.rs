//! SHD: start-up and shutdown. Each check starts servers of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Trace;
use super::control::{Apart, Control, fresh_id, has_news, is_ok, keeps};
use super::{Client, Ended, Instance, Received, Session, Stop, When, WireCheck};
use crate::rule::Need;

pub(crate) const CHECKS: &[WireCheck] = &[
    WireCheck { rule: "SHD-01", after: &[], when: When::Alone, check: shd_01_drains },
    WireCheck { rule: "SHD-02", after: &[], when: When::Alone, check: shd_02_says_close },
    WireCheck { rule: "SHD-03", after: &[], when: When::Background, check: shd_03_deadline },
    WireCheck { rule: "SHD-04", after: &[], when: When::Alone, check: shd_04_loses_none },
    WireCheck { rule: "SHD-05", after: &[], when: When::Alone, check: shd_05_start_up },
];

/// A server to be shut down.
struct Doomed {
    address: SocketAddr,
    instance: Box<dyn Instance>,
    control: Control,
}

impl Doomed {
    fn start(session: &Session<'_>) -> Result<Doomed, Stop> {
        session.need(Need::Control)?;
        let Apart { address, instance } = Apart::start(session)?;
        let instance = instance.ok_or_else(|| Stop::Error("nothing was started".to_owned()))?;
        let mut control = Control::at(session, address);
        control.get("/")?;
        Ok(Doomed { address, instance, control })
    }

    /// A request in hand, which takes a while.
    fn in_hand(&mut self, session: &mut Session<'_>, ms: u128) -> Result<Client, Stop> {
        let (id, mut client) = (fresh_id(), session.connect_to(self.address)?);
        client.send(session.request("GET", &format!("/slow?ms={ms}&id={id}"), ""));
        self.begun(session, &id, 1)?;
        Ok(client)
    }

    fn begun(&mut self, session: &Session<'_>, id: &str, calls: usize) -> Result<(), Stop> {
        let signal = session.patience().signal;
        let state = self.control.until(id, signal, |state| state.calls >= calls)?;
        if state.calls >= calls {
            return Ok(());
        }
        Err(Stop::blocked("helper-failed", format!("a request does not begin: {state}")))
    }

    /// A request in hand whose body is half sent; none where the server waits for all of it.
    fn upload(&mut self, session: &mut Session<'_>) -> Result<Option<Client>, Stop> {
        let (id, mut client) = (fresh_id(), session.connect_to(self.address)?);
        let target = format!("/read?id={id}");
        client.send(session.request("POST", &target, "Content-Length: 10\r\n"));
        client.send("12345");
        let wait = session.patience().silence * 10;
        let state = self.control.until(&id, wait, |state| state.read > 0)?;
        Ok((state.read > 0).then_some(client))
    }

    /// Whether the process ends in this time.
    fn ends(&mut self, session: &Session<'_>, within: Duration) -> bool {
        let started = Instant::now();
        while !self.instance.has_ended() {
            if started.elapsed() > within {
                return false;
            }
            thread::sleep(session.patience().poll);
        }
        true
    }
}

/// How long a request is in hand that a shutdown has to wait for.
fn a_while(session: &Session<'_>) -> u128 {
    (session.patience().silence * 6).as_millis()
}

fn shd_01_drains(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut doomed = Doomed::start(session)?;
    let mut idle = Vec::new();
    let mut kept = session.connect_to(doomed.address)?;
    kept.send(session.request("GET", "/", ""));
    if matches!(kept.response("GET"), Received::Response(response) if keeps(&response)) {
        idle.push(("a connection between two requests", kept));
    }
    idle.push(("a connection before its first request", session.connect_to(doomed.address)?));
    let mut work = Vec::new();
    if session.has("state") && session.has("slow") {
        work.push(("a handler at work", "GET", doomed.in_hand(session, a_while(session))?));
    }
    if session.has("state") && session.has("read") {
        let upload = doomed.upload(session)?;
        work.extend(upload.map(|client| ("half a request's body", "POST", client)));
    }
    if session.has("stream") {
        let mut client = session.connect_to(doomed.address)?;
        client.send(session.request("GET", "/stream?chunks=300&bytes=65536", ""));
        soon(session.patience().signal, || has_news(&client));
        work.push(("a response that is being sent", "GET", client));
    }
    doomed.instance.terminate();
    // Once an idle one has been closed, the shutdown has begun for sure.
    soon(session.patience().silence, || idle.iter().any(|(_, client)| has_news(client)));
    takes_no_more(session, &doomed, "a new connection while it drains");
    for (name, method, mut client) in work {
        if method == "POST" {
            client.send("67890");
        }
        let received = client.response(method);
        session.check(
            &format!("{name}, then a shutdown"),
            "a whole 200",
            &received,
            is_ok(&received),
        );
    }
    for (name, mut client) in idle {
        let ended = client.ended();
        session.check(name, "closed", ended, ended != Ended::Open);
    }
    let ended = doomed.ends(session, session.patience().deadline);
    if !ended {
        session.has_time()?;
    }
    let got = if ended { "it has ended" } else { "it still runs" };
    session.check("the server, when all is done", "it has ended", got, ended);
    takes_no_more(session, &doomed, "a new connection afterwards");
    Ok(())
}

/// Looks until something holds, or this time is over.
fn soon(within: Duration, held: impl Fn() -> bool) {
    let started = Instant::now();
    while !held() && started.elapsed() < within {
        thread::yield_now();
    }
}

/// New connections are refused, closed, left alone or told 503, as soon as the server has noticed:
/// some look only once a second.
fn takes_no_more(session: &mut Session<'_>, doomed: &Doomed, name: &str) {
    let (started, silence) = (Instant::now(), session.patience().silence);
    loop {
        let request = session.request("GET", "/", "");
        let (served, got) = match session.connect_to(doomed.address) {
            Err(_) => (false, "it is refused".to_owned()),
            Ok(mut client) => {
                client.send(request);
                let received = client.response_within("GET", silence * 5);
                (
                    matches!(&received, Received::Response(answer) if answer.status != 503),
                    received.to_string(),
                )
            }
        };
        if !served || started.elapsed() > silence * 5 {
            return session.check(name, "it is not served", got, !served);
        }
        thread::sleep(session.patience().poll);
    }
}

fn shd_02_says_close(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut doomed = Doomed::start(session)?;
    let mut client = doomed.in_hand(session, a_while(session))?;
    doomed.instance.terminate();
    let received = client.response("GET");
    let Received::Response(response) = &received else {
        session.should("a request in hand", "an answer", &received, false);
        return Ok(());
    };
    let says = !keeps(response);
    let connection = response.field("connection");
    let got = format!("{received}, with Connection: {connection:?}");
    session.should("the response of a request in hand", "Connection: close", got, says);
    let ended = client.ended();
    session.should("its connection afterwards", "closed", ended, ended != Ended::Open);
    Ok(())
}

fn shd_03_deadline(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut doomed = Doomed::start(session)?;
    let deadline = session.patience().deadline;
    let mut work =
        vec![("a handler without end", doomed.in_hand(session, 4 * deadline.as_millis())?)];
    if session.has("read") {
        let upload = doomed.upload(session)?;
        work.extend(upload.map(|client| ("half a request's body, and no more", client)));
    }
    if session.has("flood") {
        let (id, mut client) = (fresh_id(), session.connect_to(doomed.address)?);
        client.send(session.request("GET", &format!("/flood?id={id}"), ""));
        doomed.begun(session, &id, 1)?;
        work.push(("a response that nobody reads", client));
    }
    let mut half = session.connect_to(doomed.address)?;
    half.send("GET / HTTP/1.1\r\n");
    work.push(("half a request's head", half));
    doomed.instance.terminate();
    let ended = doomed.ends(session, deadline);
    let got = if ended { "it has ended" } else { "it still runs" };
    session.check("the server, some time after", "it has ended", got, ended);
    for (name, mut client) in work {
        // What it had in hand may lie in the system's buffers, and must not look like the whole.
        let (bytes, end) = client.rest(session.patience().silence);
        let whole = bytes.ends_with(b"\r\n0\r\n\r\n")
            || bytes.starts_with(b"HTTP/1.1 200") && bytes.ends_with(b"slow\n");
        let got = format!("{} bytes, {end}", bytes.len());
        let cut = end != Ended::Open && !whole;
        session.check(name, "cut off, visibly", got, cut);
    }
    Ok(())
}

/// How many clients race against a shutdown.
const RACERS: usize = 10;

fn shd_04_loses_none(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut doomed = Doomed::start(session)?;
    let (problems, (mut in_hand, pairs)) = race(session, &mut doomed)?;
    let got = problems.first().cloned().unwrap_or_else(|| "as expected".to_owned());
    let name = format!("{RACERS} clients that go on sending");
    session.check(&name, "whole answers, or a close without a byte", got, problems.is_empty());
    let count = in_hand.len();
    let lost: Vec<Received> = in_hand
        .iter_mut()
        .map(|client| client.response("GET"))
        .filter(|received| !is_ok(received))
        .collect();
    let got = lost.first().map_or_else(|| "an answer to each".to_owned(), Received::to_string);
    session.check(&format!("{count} requests in hand"), "an answer to each", got, lost.is_empty());
    for mut client in pairs {
        let first = client.response("GET");
        let Received::Response(response) = &first else {
            session.check("a request with another behind it", "an answer", &first, false);
            break;
        };
        if response.complete && !keeps(response) {
            continue;
        }
        let second = client.response("GET");
        let got = format!("{first}, which does not say close, and then {second}");
        let held = is_ok(&second);
        session.check(
            "a request behind another",
            "an answer, or close in the one before",
            got,
            held,
        );
        if !held {
            break;
        }
    }
    Ok(())
}

/// Slow requests in hand, each on a connection of its own, and others with one more behind each.
type Slow = (Vec<Client>, Vec<Client>);

fn slow_ones(session: &mut Session<'_>, doomed: &mut Doomed) -> Result<Slow, Stop> {
    let (mut in_hand, mut pairs) = (Vec::new(), Vec::new());
    if !session.has("slow") || !session.has("state") {
        return Ok((in_hand, pairs));
    }
    let at_once = if session.has("cancel") || session.has("disconnect") { 10 } else { 1 };
    let id = fresh_id();
    let slow = session.request("GET", &format!("/slow?ms={}&id={id}", a_while(session)), "");
    for _ in 0..at_once {
        let (mut one, mut two) =
            (session.connect_to(doomed.address)?, session.connect_to(doomed.address)?);
        one.send(&slow);
        two.send([&slow[..], &session.request("GET", "/", "")].concat());
        in_hand.push(one);
        pairs.push(two);
    }
    doomed.begun(session, &id, 2 * at_once)?;
    Ok((in_hand, pairs))
}

/// Clients that send request after request while the server shuts down, and slow requests that have
/// begun right before it does. Gives what went wrong with the first, and the others.
fn race(session: &mut Session<'_>, doomed: &mut Doomed) -> Result<(Vec<String>, Slow), Stop> {
    // With whole patience: who waits in the listener's queue hears of it when the server is gone.
    let (address, patience) = (doomed.address, session.target.patience);
    let (request, answers) = (session.request("GET", "/", ""), AtomicUsize::new(0));
    thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|_| scope.spawn(|| race_one(address, patience, &request, &answers)))
            .collect();
        // All of them are at it.
        soon(patience.signal / 2, || answers.load(Ordering::Relaxed) > 10 * RACERS);
        let slow = slow_ones(session, doomed);
        doomed.instance.terminate();
        let problems = racers.into_iter().filter_map(|racer| racer.join().ok().flatten());
        let problems = problems.collect();
        Ok((problems, slow?))
    })
}

/// One of them: until the server takes no more connections.
fn race_one(
    address: SocketAddr,
    patience: super::Patience,
    request: &[u8],
    answers: &AtomicUsize,
) -> Option<String> {
    let started = Instant::now();
    while started.elapsed() < patience.signal {
        let Ok(mut client) = Client::connect(address, 0, &Trace::new(), patience) else { break };
        let mut served = 0;
        loop {
            client.send(request);
            let received = client.response("GET");
            answers.fetch_add(1, Ordering::Relaxed);
            match received {
                Received::Response(response) if !response.complete => {
                    return Some(format!("half an answer: {:?}", response.problem));
                }
                Received::Response(response) if keeps(&response) => served += 1,
                // As good as a close: the one behind the listener's queue when it is closed.
                Received::Response(_) | Received::Closed | Received::Reset => break,
                other => return Some(format!("{other}, after {served} answers")),
            }
            if started.elapsed() > patience.signal {
                break;
            }
        }
    }
    None
}

/// How many servers are started.
const STARTS: usize = 3;

fn shd_05_start_up(session: &mut Session<'_>) -> Result<(), Stop> {
    session.need(Need::Control)?;
    let request = session.request("GET", "/", "");
    for start in 1..=STARTS {
        let apart = Apart::start(session)?;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = session.connect_to(apart.address)?;
            client.send(&request);
            clients.push(client);
        }
        for mut client in clients {
            let received = client.response("GET");
            let held = matches!(&received, Received::Response(response)
                if response.complete && response.status < 500);
            session.check(&format!("start {start}, at once"), "an answer", &received, held);
            if !held {
                return Ok(());
            }
        }
    }
    Ok(())
}
