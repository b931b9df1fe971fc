//! CTX: context.

use serde_json::Value;

use super::control::keeps;
use super::{Client, Received, Session, Stop, When, WireCheck};

pub(crate) const CHECKS: &[WireCheck] =
    &[WireCheck { rule: "CTX-01", after: &[], when: When::Beside, check: ctx_01_local }];

/// How many requests are at work beside each other.
const BESIDE: usize = 25;

/// How many there are on each connection.
const ROUNDS: usize = 40;

/// One in so many leaves before its answer.
const LEAVES: usize = 9;

fn ctx_01_local(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut clients: Vec<Option<Client>> = (0..BESIDE).map(|_| None).collect();
    let (mut right, mut left, mut wrong) = (0, 0, None);
    'rounds: for round in 0..ROUNDS {
        for (at, client) in clients.iter_mut().enumerate() {
            let n = number(round, at);
            let mut connected = match client.take() {
                Some(kept) => kept,
                None => session.connect()?,
            };
            connected.send(session.request("GET", &format!("/local?n={n}"), ""));
            if n % LEAVES == 0 {
                connected.reset();
                left += 1;
            } else {
                *client = Some(connected);
            }
        }
        for (at, slot) in clients.iter_mut().enumerate() {
            let Some(mut client) = slot.take() else { continue };
            let n = number(round, at);
            match client.response("GET") {
                Received::Response(response)
                    if response.complete && response.text().trim() == n.to_string() =>
                {
                    right += 1;
                    *slot = keeps(&response).then_some(client);
                }
                Received::Response(response) => {
                    wrong = Some(format!("{n} gets {} {:?}", response.status, response.text()));
                    break 'rounds;
                }
                other => {
                    wrong = Some(format!("{n} gets {other}"));
                    break 'rounds;
                }
            }
        }
    }
    let expected = format!("{} times its own number", ROUNDS * BESIDE - left);
    let got = wrong.clone().unwrap_or_else(|| format!("{right} times its own number"));
    let name = format!("{} requests, {BESIDE} beside each other", ROUNDS * BESIDE);
    session.check(&name, &expected, got, wrong.is_none());
    if wrong.is_none() {
        pipelined(session)?;
    }
    if session.has("reflect") {
        behind_another(session)?;
        beside_others(session)?;
    }
    Ok(())
}

/// A bare request behind one that has everything, on one connection.
fn behind_another(session: &mut Session<'_>) -> Result<(), Stop> {
    let lines = "X-Secret: a\r\nCookie: a=b\r\nAuthorization: a\r\nTransfer-Encoding: chunked\r\n";
    let head = session.request("POST", "/reflect?secret=a", lines);
    let mut client = session.connect()?;
    client.send([&head[..], b"5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n"].concat());
    let first = client.response("POST");
    if !matches!(&first, Received::Response(response) if keeps(response)) {
        return Ok(());
    }
    client.send(session.request("GET", "/reflect", ""));
    let second = client.response("GET");
    let Received::Response(response) = &second else {
        // That the connection goes on is another rule: KA-01.
        return Ok(());
    };
    let seen: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let fields = seen["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let foreign = |field: &&Value| {
        let name = field[0].as_str().unwrap_or_default();
        ["x-secret", "cookie", "authorization", "transfer-encoding", "x-trailer"].contains(&name)
    };
    let left = fields.iter().find(foreign);
    let query = seen["query"].as_str().unwrap_or_default();
    let trailers = seen["trailers"].as_array().map_or(0, Vec::len);
    let held = left.is_none() && query.is_empty() && trailers == 0 && seen["body"] == 0;
    let expected = "a request without a query, a body, or fields of the one before";
    session.check("a bare request behind another", expected, &seen, held);
    Ok(())
}

/// Requests at the same time: each is shown with its own query and fields.
fn beside_others(session: &mut Session<'_>) -> Result<(), Stop> {
    for round in 0..4 {
        let mut clients = Vec::new();
        for at in 0..BESIDE {
            let n = number(round, at);
            let mut client = session.connect()?;
            let target = format!("/reflect?n={n}");
            client.send(session.request("GET", &target, &format!("X-N: {n}\r\n")));
            clients.push((n, client));
        }
        for (n, mut client) in clients {
            let received = client.response("GET");
            let got = match &received {
                Received::Response(response) => response.text(),
                other => other.to_string(),
            };
            let (query, field) = (format!("\"n={n}\""), format!("\"{n}\""));
            if !got.contains(&query) || !got.contains(&field) {
                let got = format!("the one with n={n} gets {got}");
                session.check("requests beside others", "each its own", got, false);
                return Ok(());
            }
        }
    }
    session.check("requests beside others", "each its own", "each its own", true);
    Ok(())
}

/// A number that differs from all others, and by its neighbours' in many digits.
fn number(round: usize, at: usize) -> usize {
    (round * BESIDE + at + 1) * 7919
}

/// The same, one behind another on one connection.
fn pipelined(session: &mut Session<'_>) -> Result<(), Stop> {
    let mut client = session.connect()?;
    let numbers: Vec<usize> = (0..10).map(|at| number(ROUNDS, at)).collect();
    let requests: Vec<Vec<u8>> =
        numbers.iter().map(|n| session.request("GET", &format!("/local?n={n}"), "")).collect();
    client.send(requests.concat());
    for n in numbers {
        let received = client.response("GET");
        let Received::Response(response) = &received else {
            let got = format!("{n} gets {received}");
            session.check("pipelined ones", "each its own number", got, false);
            return Ok(());
        };
        let text = response.text();
        if text.trim() != n.to_string() {
            let got = format!("{n} gets {text:?}");
            session.check("pipelined ones", "each its own number", got, false);
            return Ok(());
        }
        if !keeps(response) {
            break;
        }
    }
    session.check("pipelined ones", "each its own number", "each its own number", true);
    Ok(())
}
