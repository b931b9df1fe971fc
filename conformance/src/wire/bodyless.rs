//! SEM: responses without a body.

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use super::control::fresh_id;
use super::persistence::{check, is, next, next_is_intact, shown};
use super::{Client, Ended, Received, Response, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("SEM-01", When::Beside, sem_01_head),
    check("SEM-02", When::Beside, sem_02_no_content),
    check("SEM-03", When::Beside, sem_03_not_modified),
    check("SEM-04", When::Beside, sem_04_connect),
    check("SEM-05", When::Beside, sem_05_dropped),
];

/// Fields that HEAD and GET need not share: they belong to the connection, or to the moment.
const APART: [&str; 6] =
    ["connection", "content-length", "date", "keep-alive", "transfer-encoding", "trailer"];

fn sem_01_head(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut targets = vec!["/", "/no-such-path"];
    let probed = session.has("known") && session.has("stream") && session.has("cookies");
    if probed {
        let more = ["/known?bytes=0", "/known?bytes=1000", "/known?bytes=300000"];
        targets.extend(more);
        targets.extend(["/stream?chunks=3&bytes=10", "/stream?chunks=0&bytes=0", "/cookies"]);
    }
    for target in targets {
        let name = format!("HEAD {target}");
        let get = session.ask(session.request("GET", target, "Connection: close\r\n"))?;
        let Received::Response(get) = &get else {
            session.check(&name, "an answer to GET", get, false);
            continue;
        };
        let Some(head) = bodyless(session, &name, "HEAD", target, "")? else { continue };
        let got = format!("{} to HEAD, {} to GET", head.status, get.status);
        let same = head.status == get.status;
        verdict(session, probed, &name, "the status of GET", got, same);
        let length = get.body.len().to_string();
        let says = head.field("content-length");
        let got = format!("Content-Length: {says:?} where GET's body has {length} bytes");
        let held = says.as_ref().is_none_or(|says| *says == length);
        session.check(&name, "the length of GET's body, or none", &got, held);
        let known = get.field("content-length").is_some();
        session.should(&name, "a length where GET has one", got, says.is_some() || !known);
        let (fields, due) = (shared(&head), shared(get));
        let held = if probed { fields == due } else { names(&fields) == names(&due) };
        let got = format!("{fields:?} to HEAD, {due:?} to GET");
        verdict(session, probed, &name, "the header fields of GET", got, held);
    }
    let authority = &session.target.authority;
    let old = format!("HEAD / HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    let mut client = session.connect()?;
    client.send(old);
    let received = client.response("HEAD");
    let (behind, ended) = client.rest(session.patience().signal);
    let got = format!("{received}, {} bytes behind it, and {ended}", behind.len());
    session.check("HEAD of HTTP/1.0", "no byte behind the head", got, behind.is_empty());
    Ok(())
}

/// A miss where the probe application decides what is right, else a warning.
fn verdict(
    session: &mut Session<'_>,
    probed: bool,
    name: &str,
    expected: &str,
    got: String,
    held: bool,
) {
    if probed {
        session.check(name, expected, got, held);
    } else {
        session.should(name, expected, got, held);
    }
}

/// The fields that HEAD and GET share, sorted.
fn shared(response: &Response) -> Vec<(String, String)> {
    let field = |(name, value): &(String, Vec<u8>)| {
        (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into_owned())
    };
    let apart = |(name, _): &(String, String)| !APART.contains(&name.as_str());
    let mut fields: Vec<_> = response.fields.iter().map(field).filter(apart).collect();
    fields.sort();
    fields
}

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

/// A request whose response has no body, with another right behind it, in one write: the head is
/// followed by the next response. Gives the head, where there is one.
fn bodyless(
    session: &mut Session<'_>,
    name: &str,
    method: &str,
    target: &str,
    lines: &str,
) -> Result<Option<Response>, Stop> {
    let mut client = session.connect()?;
    client.send([session.request(method, target, lines), next(session)].concat());
    let head = match client.response("HEAD") {
        Received::Response(head) => *head,
        other => {
            session.check(name, "an answer", other, false);
            return Ok(None);
        }
    };
    let (held, got) = next_is_intact(&mut client);
    let expected = "no body, and the next response right behind the head";
    session.check(name, expected, format!("{}, {got}", head.status), held);
    Ok(Some(head))
}

/// The status, and no field that speaks of a body.
fn unframed(session: &mut Session<'_>, name: &str, head: &Response, status: u16) {
    let of = |name| head.field(name).map(|value| format!(", {name}: {value}")).unwrap_or_default();
    let fields = of("content-length") + &of("transfer-encoding");
    let got = format!("{}{fields}", head.status);
    let held = head.status == status && fields.is_empty();
    let expected = format!("{status}, without Content-Length and Transfer-Encoding");
    session.check(name, &expected, got, held);
}

fn sem_02_no_content(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let name = format!("204 to {method}");
        let lines = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let head = bodyless(session, &name, method, "/status?code=204", lines)?;
        if let Some(head) = head {
            unframed(session, &name, &head, 204);
        }
    }
    old_is_bodyless(session, 204)?;
    if session.has("read") {
        let id = fresh_id();
        let lines = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        interim(session, "the interim 100", &format!("/read?id={id}"), lines, 100)?;
    }
    if session.has("upgrade") {
        let lines = "Connection: upgrade\r\nUpgrade: echo\r\n";
        interim(session, "the 101 of an upgrade", "/upgrade", lines, 101)?;
    }
    let received = session.ask(session.request("GET", "/status?code=205", ""))?;
    let held = match &received {
        Received::Response(response) => response.status != 205 || response.body.is_empty(),
        _ => false,
    };
    session.should("205", "no content", shown(&received), held);
    Ok(())
}

/// Where a response of 1xx comes, it speaks of no body.
fn interim(
    session: &mut Session<'_>,
    name: &str,
    target: &str,
    lines: &str,
    status: u16,
) -> Result<(), Stop> {
    let method = if status == 100 { "POST" } else { "GET" };
    let mut client = session.connect()?;
    client.send(session.request(method, target, lines));
    if let Ok(head) = client.head_within(session.patience().signal) {
        if head.status == status {
            unframed(session, name, &head, status);
        }
    }
    client.send("hello");
    Ok(())
}

/// To HTTP/1.0, nothing follows the head.
fn old_is_bodyless(session: &mut Session<'_>, status: u16) -> Result<(), Stop> {
    let authority = &session.target.authority;
    let request = format!("GET /status?code={status} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    let mut client = session.connect()?;
    client.send(request);
    let received = client.response("HEAD");
    let (behind, ended) = client.rest(session.patience().signal);
    let got = format!("{received}, {} bytes behind it, and {ended}", behind.len());
    let held = behind.is_empty() && ended != Ended::Open;
    let name = format!("{status} to HTTP/1.0");
    session.check(&name, "no byte behind the head, and a close", got, held);
    Ok(())
}

fn sem_03_not_modified(session: &mut Session<'_>) -> Result<(), Stop> {
    let root = session.accept("GET", next(session))?;
    let mut tried = false;
    if session.has("status") {
        tried = true;
        for method in ["GET", "HEAD"] {
            let name = format!("304 to {method}");
            bodyless(session, &name, method, "/status?code=304", "")?;
        }
        old_is_bodyless(session, 304)?;
    }
    for (validator, condition) in
        [("etag", "If-None-Match"), ("last-modified", "If-Modified-Since")]
    {
        let Some(value) = root.field(validator) else { continue };
        let lines = format!("{condition}: {value}\r\n");
        let name = format!("GET / with {condition}");
        for method in ["GET", "HEAD"] {
            // Whoever answers otherwise is free to, but then there is a body to be read.
            let received = session.ask(session.request(method, "/", &lines))?;
            if matches!(&received, Received::Response(response) if response.status == 304) {
                tried = true;
                bodyless(session, &name, method, "/", &lines)?;
            }
        }
    }
    if tried {
        return Ok(());
    }
    Err(Stop::blocked("needs-probe", "nothing here answers 304: needs the probe application"))
}

fn sem_04_connect(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let failed = |error| Stop::Error(format!("cannot listen: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let here = listener.local_addr().map_err(failed)?.to_string();
    for target in [here.as_str(), "gateway.invalid:80"] {
        let mut client = session.connect()?;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        client.send(request);
        let received = client.head_within(session.patience().signal);
        let name = format!("CONNECT {target}");
        connect_refused(session, &name, received);
    }
    let give_up = Instant::now() + session.patience().silence;
    let mut tunnel = false;
    while !tunnel && Instant::now() < give_up {
        tunnel = listener.accept().is_ok();
        thread::sleep(session.patience().poll);
    }
    let got = if tunnel { "a connection" } else { "none" };
    session.check("the other end of CONNECT", "no connection to it", got, !tunnel);
    Ok(())
}

fn connect_refused(session: &mut Session<'_>, name: &str, received: Result<Response, Received>) {
    let expected = "4xx or 5xx, or a close";
    let head = match received {
        Ok(head) => head,
        Err(other) => {
            let held = matches!(other, Received::Closed | Received::Reset);
            session.check(name, expected, &other, held);
            session.should(name, "an answer", &other, false);
            return;
        }
    };
    let refused = head.status >= 400;
    session.should(name, expected, head.status, refused);
    if head.status / 100 == 2 {
        unframed(session, name, &head, head.status);
    }
}

fn sem_05_dropped(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut requests = vec![
        ("GET", "/status?code=204", 204),
        ("HEAD", "/", 200),
        ("GET", "/status?code=304", 304),
        ("HEAD", "/status?code=404", 404),
        ("HEAD", "/status?code=204", 204),
        ("GET", "/status?code=204", 204),
    ];
    if session.has("known") && session.has("stream") {
        requests.push(("HEAD", "/known?bytes=1000", 200));
        requests.push(("HEAD", "/stream?chunks=3&bytes=100", 200));
        requests.push(("HEAD", "/stream?chunks=0&bytes=0", 200));
    }
    if session.has("empty-chunk") {
        requests.push(("HEAD", "/empty-chunk", 200));
    }
    for together in [true, false] {
        let mut client = session.connect()?;
        if together {
            let all = requests.iter().flat_map(|(method, target, _)| {
                [session.request(method, target, ""), next(session)].concat()
            });
            client.send(all.collect::<Vec<u8>>());
        }
        for (method, target, status) in &requests {
            if !together {
                client.send([session.request(method, target, ""), next(session)].concat());
            }
            let how = if together { "all pipelined" } else { "one by one" };
            let name = format!("{method} {target}, {how}");
            match dropped(session, &name, &mut client, *status) {
                Next::Intact => {}
                Next::Close if together => break,
                Next::Close => client = session.connect()?,
                Next::Lost => return Ok(()),
            }
        }
    }
    Ok(())
}

/// What is behind a response without a body.
enum Next {
    Intact,
    Close,
    Lost,
}

/// A response without a body, and `GET /` behind it.
fn dropped(session: &mut Session<'_>, name: &str, client: &mut Client, status: u16) -> Next {
    let expected = format!("{status} without a body, then the answer to the next request");
    let received = client.response("HEAD");
    let right = matches!(&received, Received::Response(head) if head.status == status);
    if !right {
        session.check(name, &expected, shown(&received), false);
        return Next::Lost;
    }
    let closes = matches!(&received, Received::Response(head) if head.lists("connection", "close"));
    let next = client.response("GET");
    let closed = matches!(next, Received::Closed | Received::Reset);
    let held = if closes { closed } else { is(&next, 200, b"ok\n") };
    session.check(name, &expected, format!("{received}, then {}", shown(&next)), held);
    match (held, closes) {
        (true, false) => Next::Intact,
        (true, true) => Next::Close,
        (false, _) => Next::Lost,
    }
}
