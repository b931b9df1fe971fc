//! CTX: context.

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
            session.check("pipelined ones", &n.to_string(), &received, false);
            return Ok(());
        };
        let text = response.text();
        if text.trim() != n.to_string() {
            session.check("pipelined ones", &n.to_string(), &text, false);
            return Ok(());
        }
        if !keeps(response) {
            break;
        }
    }
    session.check("pipelined ones", "each its own number", "each its own number", true);
    Ok(())
}
