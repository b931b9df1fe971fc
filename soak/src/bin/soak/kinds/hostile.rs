//! Hostile clients of HTTP/1.1: what matters is that the server gets rid of them, and says so where
//! it can.

use std::time::{Duration, Instant};

use gateway_core::sleep;
use gateway_soak::ECHO_BYTES;

use crate::client::{Ask, Client};
use crate::settings::LATE;
use crate::tally::Outcome;
use crate::wire::{Connection, How};

/// How long a byte takes to follow the one before.
const DRIP: Duration = Duration::from_millis(40);

/// How long a hostile client stays that nobody throws out, in milliseconds.
const STAY_MILLIS: std::ops::Range<u64> = 500..3_000;

/// More than fits into the buffers of two sockets, in bytes.
const LARGE_BYTES: usize = 12 * 1024 * 1024;

/// More than any head may have, in bytes.
const OVERSIZED: usize = 100 * 1024;

/// How many connections one client of the flood holds at once.
const FLOOD: usize = 100;

/// Leaves without an answer, one way or the other.
fn leave(client: &mut Client, connection: Connection) {
    client.book(&connection, Outcome::Left);
    if client.rng.bool() {
        connection.reset();
    }
}

/// What has become of a client that the server has got rid of: without a word, or with one that
/// fits.
fn thrown_out(connection: &Connection) -> Outcome {
    match (connection.came.is_empty(), connection.came.is_refusal()) {
        (true, _) => Outcome::Closed,
        (_, true) => Outcome::Refused,
        _ => Outcome::Wrong("what came is no refusal".to_owned()),
    }
}

/// Keeps a connection that the server should end once this deadline is over, and drips bytes
/// meanwhile. Without the deadline it leaves by itself.
async fn overstay(mut client: Client, mut connection: Connection, flag: &str, drip: &[u8]) {
    let deadline = client.to.settings.deadline(flag);
    let stay = Duration::from_millis(client.rng.u64(STAY_MILLIS));
    let begun = Instant::now();
    for byte in drip.iter().cycle() {
        let sent = connection.send([*byte]).await;
        let ended = connection.ends_within(DRIP).await;
        if ended || sent.is_err() {
            return client.book(&connection, thrown_out(&connection));
        }
        match deadline {
            Some(deadline) if begun.elapsed() > deadline + LATE => {
                let what = format!("{flag} is {deadline:?}, and after {:?} it is still served", {
                    begun.elapsed()
                });
                return client.book(&connection, Outcome::Wrong(what));
            }
            None if begun.elapsed() > stay => return leave(&mut client, connection),
            _ if client.to.is_stopped() => return leave(&mut client, connection),
            _ => {}
        }
    }
}

pub(super) async fn slow_head(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("quick?", 10);
    let _ = connection.send(&ask.get()[..20]).await;
    overstay(client, connection, "--head-seconds", b"a").await;
}

pub(super) async fn slow_body(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("echo?", 10_000);
    let head = match client.rng.bool() {
        true => {
            format!("POST {} HTTP/1.1\r\nhost: soak\r\ncontent-length: 10000\r\n\r\n", ask.target)
        }
        false => format!(
            "POST {} HTTP/1.1\r\nhost: soak\r\ntransfer-encoding: chunked\r\n\r\n2710\r\n",
            ask.target
        ),
    };
    let _ = connection.send(head).await;
    overstay(client, connection, "--body-seconds", b"b").await;
}

/// Asks for a large response and reads a part of it.
async fn begin_large(client: &mut Client) -> Option<(Connection, Ask)> {
    let mut connection = client.connect().await?;
    // Now and then all of it is there at once.
    let route = if client.rng.u8(..8) == 0 { "quick?" } else { "stream?" };
    let ask = client.ask(route, LARGE_BYTES);
    let _ = connection.send(ask.get()).await;
    match connection.skip(client.rng.usize(1_000..100_000)).await {
        Ok(true) => Some((connection, ask)),
        Ok(false) => {
            client.settle_cut(&connection, "the response was cut off at once");
            None
        }
        Err(how) => {
            client.book(&connection, Outcome::Wrong(format!("no response: {how}")));
            None
        }
    }
}

pub(super) async fn stopped_reader(mut client: Client) {
    let Some((mut connection, _)) = begin_large(&mut client).await else { return };
    let flag = "--write-seconds";
    let Some(deadline) = client.to.settings.deadline(flag) else {
        sleep(Duration::from_millis(client.rng.u64(STAY_MILLIS))).await;
        return leave(&mut client, connection);
    };
    // Whether it was cut off can only be seen by reading on, so not before it must have been.
    sleep(deadline + LATE / 4).await;
    let outcome = match connection.skip(LARGE_BYTES).await {
        Ok(false) => Outcome::Closed,
        Ok(true) => Outcome::Wrong(format!("{flag} is {deadline:?}, and it was still served")),
        Err(how) => Outcome::Wrong(format!("{flag} is {deadline:?}, and then: {how}")),
    };
    client.book(&connection, outcome);
}

/// Waits for the end of what the server should not wait for either, once the flag's deadline is
/// over.
async fn outlast(mut client: Client, mut connection: Connection, flag: &str) {
    let Some(deadline) = client.to.settings.deadline(flag) else {
        sleep(Duration::from_millis(client.rng.u64(STAY_MILLIS))).await;
        client.book(&connection, Outcome::Left);
        // Whoever only closes may still have its answer, and is waited for.
        return connection.reset();
    };
    connection.forget();
    let ended = connection.ends_within(deadline + LATE).await;
    let outcome = match ended {
        true => thrown_out(&connection),
        false => Outcome::Wrong(format!("{flag} is {deadline:?}, and it is still served")),
    };
    client.book(&connection, outcome);
}

pub(super) async fn endless_handler(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("slow?ms=60000&", 10);
    let closing = ask.get().replace("host:", "connection: close\r\nhost:");
    let _ = connection.send(closing).await;
    outlast(client, connection, "--handler-seconds").await;
}

pub(super) async fn idler(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("quick?", 10);
    let _ = connection.send(ask.get()).await;
    let came = connection.answer().await;
    if client.settle(&connection, &ask, came) {
        client.begin();
        outlast(client, connection, "--idle-seconds").await;
    }
}

pub(super) async fn reset_in_body(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("echo?", 50_000);
    let head =
        format!("POST {} HTTP/1.1\r\nhost: soak\r\ncontent-length: 50000\r\n\r\n", ask.target);
    let part = &ask.answer[..client.rng.usize(..50_000)];
    let _ = connection.send([head.as_bytes(), part].concat()).await;
    pause(&mut client).await;
    client.book(&connection, Outcome::Left);
    connection.reset();
}

pub(super) async fn reset_in_response(mut client: Client) {
    let Some((connection, _)) = begin_large(&mut client).await else { return };
    client.book(&connection, Outcome::Left);
    connection.reset();
}

/// Any request, several perhaps, and nobody who waits for the answer.
pub(super) async fn vanishing(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = match client.rng.bool() {
        true => client.ask("slow?ms=2000&", 100),
        false => client.ask_any(),
    };
    let _ = connection.send(ask.get().repeat(client.rng.usize(1..4))).await;
    pause(&mut client).await;
    leave(&mut client, connection);
}

async fn pause(client: &mut Client) {
    sleep(Duration::from_millis(client.rng.u64(..30))).await;
}

/// Sends bytes and closes the sending side: the server must end the connection, and all that comes
/// before must be HTTP.
async fn send_and_end(client: &mut Client, mut connection: Connection, bytes: &[u8]) {
    let _ = connection.send(bytes).await;
    connection.close_write();
    let mut outcome = Outcome::Closed;
    loop {
        match connection.answer().await {
            Ok(answer) if answer.status < 400 => outcome = Outcome::Answered,
            Ok(_) => outcome = Outcome::Refused,
            Err(broken) => {
                match broken.how {
                    How::Ended(_) if !broken.begun => {}
                    how => outcome = Outcome::Wrong(format!("half an answer: {how}")),
                }
                return client.book(&connection, outcome);
            }
        }
    }
}

pub(super) async fn garbage(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    client.begin();
    let mut bytes = vec![0; client.rng.usize(1..2_000)];
    client.rng.fill(&mut bytes);
    if client.rng.bool() {
        // Text is taken for a head a little longer.
        bytes.iter_mut().for_each(|byte| *byte = b" \r\n:/AZaz09"[usize::from(*byte) % 11]);
    }
    send_and_end(&mut client, connection, &bytes).await;
}

/// A valid request, in which a few bytes were changed, left out or repeated.
pub(super) async fn mutated(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    let ask = client.ask("echo?", 200);
    let mut bytes = match client.rng.bool() {
        true => {
            format!("POST {} HTTP/1.1\r\nhost: soak\r\ncontent-length: 200\r\n\r\n", ask.target)
        }
        false => format!(
            "POST {} HTTP/1.1\r\nhost: soak\r\ntransfer-encoding: chunked\r\n\r\nc8\r\n",
            ask.target
        ),
    }
    .into_bytes();
    bytes.extend_from_slice(&ask.answer);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    for _ in 0..client.rng.usize(1..5) {
        let at = client.rng.usize(..bytes.len());
        match client.rng.u8(..3) {
            0 => bytes[at] = client.rng.u8(..),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, bytes[at]),
        }
    }
    send_and_end(&mut client, connection, &bytes).await;
}

/// Sends what must be refused with one of these statuses.
async fn refused(client: &Client, mut connection: Connection, bytes: &[u8], statuses: &[u16]) {
    let _ = connection.send(bytes).await;
    match connection.answer().await {
        Ok(answer) if statuses.contains(&answer.status) => {
            client.book(&connection, Outcome::Refused);
        }
        Ok(answer) => {
            let what = format!("the status is {}, and should be {statuses:?}", answer.status);
            client.book(&connection, Outcome::Wrong(what));
        }
        Err(broken) => client.settle_cut(&connection, &format!("no refusal: {broken}")),
    }
}

pub(super) async fn oversized_head(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    let ask = client.ask("quick?", 10);
    let target = ask.target;
    let mut head = format!("GET {target} HTTP/1.1\r\nhost: soak\r\n");
    if client.rng.bool() {
        head += &format!("x-large: {}\r\n", "a".repeat(OVERSIZED));
    } else {
        (0..OVERSIZED / 20).for_each(|n| head += &format!("x-{n:08}: 1234567\r\n"));
    }
    refused(&client, connection, (head + "\r\n").as_bytes(), &[431]).await;
}

pub(super) async fn oversized_target(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    let ask = client.ask("quick?", 10);
    let long = "a".repeat(OVERSIZED);
    let head = format!("GET {}&{long} HTTP/1.1\r\nhost: soak\r\n\r\n", ask.target);
    refused(&client, connection, head.as_bytes(), &[414, 431]).await;
}

pub(super) async fn oversized_body(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    let ask = client.ask("echo?", ECHO_BYTES + 100_000);
    let length = ask.answer.len();
    let target = &ask.target;
    let head = format!("POST {target} HTTP/1.1\r\nhost: soak\r\ncontent-length: {length}\r\n\r\n");
    refused(&client, connection, &[head.as_bytes(), &ask.answer].concat(), &[413]).await;
}

pub(super) async fn panicking(mut client: Client) {
    let Some(connection) = client.connect().await else { return };
    let ask = client.ask("panic?", 10);
    refused(&client, connection, ask.get().as_bytes(), &[500]).await;
    pause(&mut client).await;
}

/// What comes before the cut must be right, and the cut must be seen.
pub(super) async fn panicking_late(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("panic-late?", 50_000);
    let _ = connection.send(ask.get()).await;
    match connection.answer().await {
        Err(broken) if matches!(broken.how, How::Ended(_)) => {
            client.book(&connection, Outcome::Closed);
        }
        came => {
            let what = format!("a body that panics is cut off, and here came: {came:?}");
            client.book(&connection, Outcome::Wrong(what));
        }
    }
    pause(&mut client).await;
}

/// The handler blocks a thread that others need. It is answered all the same.
pub(super) async fn stalling(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("stall?", 10);
    let _ = connection.send(ask.get()).await;
    let came = connection.answer().await;
    client.settle(&connection, &ask, came);
    sleep(Duration::from_millis(client.rng.u64(50..300))).await;
}

/// Many connections, a few of which ask for something.
pub(super) async fn flood(mut client: Client) {
    let mut held = Vec::new();
    for _ in 0..FLOOD {
        // One that is not made is booked already.
        let Some(mut connection) = client.connect().await else { break };
        if client.rng.u8(..8) == 0 {
            let ask = client.ask("quick?", 10);
            let _ = connection.send(ask.get()).await;
            held.push((connection, Some(ask)));
        } else {
            held.push((connection, None));
        }
    }
    sleep(Duration::from_millis(client.rng.u64(100..500))).await;
    // Those that may be beyond the limit have their answer when the others are gone.
    held.sort_by_key(|(_, ask)| ask.is_some());
    for (mut connection, ask) in held {
        match ask {
            Some(ask) => {
                let came = connection.answer().await;
                client.settle(&connection, &ask, came);
            }
            None if client.rng.bool() => connection.reset(),
            None => drop(connection),
        }
    }
}
