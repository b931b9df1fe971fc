//! UPG: upgrades.

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use super::control::{fresh_id, state};
use super::persistence::{check, is, next, shown};
use super::{Client, Ended, Received, Response, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] = &[
    check("UPG-01", When::Beside, upg_01_offered),
    check("UPG-02", When::Beside, upg_02_ignored),
    check("UPG-03", When::Beside, upg_03_bytes),
    check("UPG-04", When::Beside, upg_04_request_body),
];

/// The fields of an offer that the probe application accepts.
const OFFER: &str = "Connection: Upgrade\r\nUpgrade: echo\r\n";

/// How much is echoed at most, in bytes.
const LARGE: usize = 1024 * 1024;

fn upg_01_offered(session: &mut Session<'_>) -> Result<(), Stop> {
    session.accept("GET", next(session))?;
    let mut targets = vec!["/"];
    if session.has("upgrade") {
        targets.push("/upgrade");
        let mut client = session.connect()?;
        client.send(session.request("GET", "/upgrade", OFFER));
        let received = client.response("GET");
        let (held, got) = match &received {
            Received::Response(response) => (
                response.status == 101
                    && response.lists("connection", "upgrade")
                    && response.lists("upgrade", "echo"),
                format!(
                    "{received} with Connection: {:?}, Upgrade: {:?}",
                    response.field("connection"),
                    response.field("upgrade")
                ),
            ),
            other => (false, other.to_string()),
        };
        let expected = "101 with Connection: upgrade and Upgrade: echo";
        session.check("an offer that is accepted", expected, got, held);
    }
    let offers = [
        ("nothing", ""),
        ("nothing, with the option upgrade", "Connection: upgrade\r\n"),
        ("an unknown protocol", "Connection: upgrade\r\nUpgrade: no-such-protocol\r\n"),
        ("almost echo", "Connection: upgrade\r\nUpgrade: echoes\r\n"),
        ("TLS", "Connection: upgrade\r\nUpgrade: TLS/1.0\r\n"),
    ];
    for target in targets {
        for (what, lines) in offers {
            let mut client = session.connect()?;
            client.send(session.request("GET", target, lines));
            let received = client.response("GET");
            let name = format!("GET {target} that offers {what}");
            ordinary(session, &name, &mut client, &received);
        }
    }
    if session.has("known") {
        let mut client = session.connect()?;
        client.send(session.request("GET", "/known?bytes=5", OFFER));
        let received = client.response("GET");
        let name = "an offer to who does not take it";
        let held = is(&received, 200, b"xxxxx");
        session.check(name, "200, as without the offer", shown(&received), held);
        ordinary(session, name, &mut client, &received);
    }
    if session.has("status") {
        let mut client = session.connect()?;
        client.send(session.request("GET", "/status?code=101", ""));
        let received = client.head_within(session.patience().signal);
        let switched = matches!(&received, Ok(head) if head.status == 101);
        let got = received.map_or_else(|other| other.to_string(), |head| head.status.to_string());
        let name = "an application that answers 101 where nothing was offered";
        session.should(name, "anything but 101", got, !switched);
    }
    Ok(())
}

/// An answer as if nothing had been offered, after which the connection goes on.
fn ordinary(session: &mut Session<'_>, name: &str, client: &mut Client, received: &Received) {
    let Received::Response(response) = received else {
        session.check(name, "an answer other than 101", received, false);
        return;
    };
    let held = response.status != 101 && response.complete;
    session.check(name, "an answer other than 101", received, held);
    if held && !response.lists("connection", "close") {
        client.send(next(session));
        let second = client.response("GET");
        let served = match &second {
            Received::Response(response) => response.complete && response.status != 101,
            Received::Closed | Received::Reset => true,
            Received::Nothing | Received::Malformed(_) => false,
        };
        session.check(name, "another request answered, or a close", second, served);
    }
}

fn upg_02_ignored(session: &mut Session<'_>) -> Result<(), Stop> {
    upgraded(session, b"")?;
    let authority = &session.target.authority;
    let old = |lines: &str| {
        format!("GET /upgrade HTTP/1.0\r\nHost: {authority}\r\n{lines}\r\n").into_bytes()
    };
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: echo\r\n";
    let new = |lines: &str| session.request("GET", "/upgrade", lines);
    let requests = [
        ("HTTP/1.0", old(OFFER)),
        ("HTTP/1.0 with keep-alive", old(both)),
        ("no Connection field", new("Upgrade: echo\r\n")),
        ("Connection: keep-alive", new("Connection: keep-alive\r\nUpgrade: echo\r\n")),
        ("Connection: upgraded", new("Connection: upgraded\r\nUpgrade: echo\r\n")),
        ("Connection: no-upgrade", new("Connection: no-upgrade\r\nUpgrade: echo\r\n")),
    ];
    for (what, request) in requests {
        let mut client = session.connect()?;
        client.send(request);
        let received = client.response("GET");
        ordinary(session, what, &mut client, &received);
    }
    Ok(())
}

/// An upgraded connection, with these bytes sent right behind the head, in the same write.
fn upgraded(session: &mut Session<'_>, behind: &[u8]) -> Result<(Client, Response), Stop> {
    let mut client = session.connect()?;
    client.send([&session.request("GET", "/upgrade", OFFER), behind].concat());
    match client.head_within(session.patience().signal) {
        Ok(head) if head.status == 101 => Ok((client, head)),
        Ok(head) => {
            let text = format!("the offer was answered with {}", head.status);
            Err(Stop::blocked("not-upgraded", text))
        }
        Err(other) => Err(Stop::blocked("not-upgraded", format!("the offer was met by {other}"))),
    }
}

/// Whether these bytes come back, and no others before them.
fn echoed(session: &mut Session<'_>, name: &str, client: &mut Client, due: &[u8]) {
    let got = client.bytes(due.len(), session.patience().signal);
    let differs = got.iter().zip(due).position(|(got, due)| got != due);
    let at = differs.map(|at| format!(", byte {at} differs")).unwrap_or_default();
    let shown = format!("{} bytes{at}: {}", got.len(), got[..got.len().min(60)].escape_ascii());
    let expected = format!("the same {} bytes", due.len());
    session.check(name, &expected, shown, got == due);
}

fn upg_03_bytes(session: &mut Session<'_>) -> Result<(), Stop> {
    let (mut client, _) = upgraded(session, b"at once")?;
    echoed(session, "bytes right behind the head", &mut client, b"at once");
    for piece in ["one ", "two ", "three"] {
        client.send(piece);
        echoed(session, "bytes after the switch, in pieces", &mut client, piece.as_bytes());
    }

    let id = fresh_id();
    let looks = session.request("GET", &format!("/known?bytes=3&id={id}"), "");
    let (mut client, _) = upgraded(session, &looks)?;
    echoed(session, "bytes that look like a request", &mut client, &looks);
    client.send(&looks);
    echoed(session, "such bytes after the switch", &mut client, &looks);
    if session.has("state") {
        let calls = state(session, &id)?.calls;
        let name = "bytes that look like a request";
        session.check(name, "no call", format!("{calls} calls"), calls == 0);
    }

    let all: Vec<u8> = (0..4096_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let (mut client, _) = upgraded(session, &all)?;
    echoed(session, "4 KiB of any bytes behind the head", &mut client, &all);

    let mut client = session.connect()?;
    let request = [session.request("GET", "/upgrade", OFFER), b"dripped".to_vec()].concat();
    client.send_pieces(request.chunks(7));
    let head = client.head_within(session.patience().signal);
    let switched = matches!(&head, Ok(head) if head.status == 101);
    session.check("a head in small pieces", "101", if switched { "101" } else { "not" }, switched);
    if switched {
        echoed(session, "bytes behind a head in small pieces", &mut client, b"dripped");
    }
    large(session)?;
    half_closed(session)
}

/// As much both ways at the same time as no buffer holds, while others are served.
fn large(session: &mut Session<'_>) -> Result<(), Stop> {
    let bytes: Vec<u8> = (0..LARGE as u32).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let (mut client, _) = upgraded(session, b"")?;
    let failed = |error| Stop::Error(format!("cannot share a socket: {error}"));
    let mut writer = client.stream().try_clone().map_err(failed)?;
    let sent = bytes.clone();
    let writing = thread::spawn(move || writer.write_all(&sent).is_ok());
    let other = session.ask(next(session))?;
    let served = matches!(&other, Received::Response(response) if response.complete);
    session.check("another client, beside an upgraded one", "an answer", other, served);
    echoed(session, "1 MiB both ways", &mut client, &bytes);
    let _ = client.stream().shutdown(Shutdown::Both);
    let _ = writing.join();
    Ok(())
}

/// The end of one side: what came before it is echoed still, and then the other ends, too.
fn half_closed(session: &mut Session<'_>) -> Result<(), Stop> {
    let (mut client, _) = upgraded(session, b"the last")?;
    client.send(" words");
    client.finish();
    let (got, ended) = client.rest(session.patience().signal);
    let held = got == b"the last words" && ended == Ended::Closed;
    let got = format!("{}, and {ended}", got.escape_ascii());
    session.check("FIN behind the last bytes", "the last words, and a close", got, held);

    let (client, _) = upgraded(session, b"x")?;
    client.reset();
    let other = session.ask(next(session))?;
    let served = matches!(&other, Received::Response(response) if response.complete);
    session.check("another client, after a reset", "an answer", other, served);
    Ok(())
}

fn upg_04_request_body(session: &mut Session<'_>) -> Result<(), Stop> {
    upgraded(session, b"")?;
    let post = |lines: &str| session.request("POST", "/upgrade", &format!("{OFFER}{lines}"));
    let large = vec![b'b'; 100_000];
    let length = post("Content-Length: 5\r\n");
    let chunked = post("Transfer-Encoding: chunked\r\n");
    let sized = post(&format!("Content-Length: {}\r\n", large.len()));
    let cases: [(&str, Vec<&[u8]>); 5] = [
        ("a body of 5 bytes", vec![&length, b"hello"]),
        ("a chunked body", vec![&chunked, b"5\r\nhello\r\n0\r\n\r\n"]),
        ("an empty chunked body", vec![&chunked, b"0\r\n\r\n"]),
        ("a chunked body with a trailer", vec![&chunked, b"2\r\nhe\r\n0\r\nx-t: 1\r\n\r\n"]),
        ("a body of 100,000 bytes", vec![&sized, &large]),
    ];
    for (what, parts) in cases {
        let mut client = session.connect()?;
        client.send([&parts.concat()[..], b"behind"].concat());
        behind(session, what, &mut client);
    }
    let mut client = session.connect()?;
    client.send([&length[..], b"he"].concat());
    // The rest comes later, whatever the server has said by then.
    client.is_silent(session.patience().silence);
    client.send("llobehind");
    behind(session, "a body in two pieces", &mut client);
    Ok(())
}

/// What an upgraded connection begins with: nothing of the body. Not to upgrade is right as well.
fn behind(session: &mut Session<'_>, what: &str, client: &mut Client) {
    let expected = "101, and what is behind the body alone; or no upgrade";
    let (held, got) = match client.response("GET") {
        Received::Response(head) if head.status == 101 => {
            let bytes = client.bytes(b"behind".len(), session.patience().signal);
            (bytes == b"behind", format!("101, then {:?}", bytes.escape_ascii().to_string()))
        }
        Received::Response(response) => (response.complete, response.status.to_string()),
        other => (matches!(other, Received::Closed | Received::Reset), other.to_string()),
    };
    session.check(what, expected, got, held);
}
