//! Well-behaved clients of HTTP/1.1: each request has one right answer.

use std::time::Duration;

use gateway_core::sleep;

use crate::client::{Ask, Client};
use crate::settings::PAUSE_MILLIS;
use crate::wire::Connection;

/// The largest body that is sent, in bytes: well below what the server accepts.
const BODY_BYTES: usize = 60_000;

/// The largest chunk that is sent, in bytes.
const CHUNK_BYTES: usize = 9_000;

/// Sends bytes, then reads the answer and books it. Whether the connection goes on. That the server
/// does not take all bytes is not looked at: what matters is what it answers.
async fn exchange(
    client: &Client,
    connection: &mut Connection,
    ask: &Ask,
    bytes: impl AsRef<[u8]>,
) -> bool {
    let _ = connection.send(bytes).await;
    let came = connection.answer().await;
    client.settle(connection, ask, came)
}

/// GETs one after another.
pub(super) async fn keep_alive(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    for _ in 0..client.rng.usize(1..12) {
        if client.is_over() {
            break;
        }
        let ask = client.ask_any();
        connection.forget();
        if !exchange(&client, &mut connection, &ask, ask.get()).await {
            return;
        }
        if connection.has_surplus() {
            break;
        }
    }
    client.finish(connection).await;
}

/// Several GETs in one piece.
pub(super) async fn pipelined(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let asks: Vec<Ask> = (0..client.rng.usize(2..8)).map(|_| client.ask_any()).collect();
    let _ = connection.send(asks.iter().map(Ask::get).collect::<String>()).await;
    for ask in &asks {
        let came = connection.answer().await;
        client.settle(&connection, ask, came);
    }
    client.finish(connection).await;
}

/// A request for an echo, as head and body; and how it is framed.
fn post(client: &mut Client, fields: &str) -> (Ask, String, Vec<u8>) {
    let largest = if client.rng.u8(..8) == 0 { BODY_BYTES } else { 2_000 };
    let bytes = client.rng.usize(1..largest);
    let ask = client.ask("echo?", bytes);
    let mut body = Vec::new();
    let framing = if client.rng.bool() {
        body.extend_from_slice(&ask.answer);
        format!("content-length: {}", body.len())
    } else {
        let mut rest = &ask.answer[..];
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at(client.rng.usize(1..=rest.len().min(CHUNK_BYTES)));
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
            rest = more;
        }
        body.extend_from_slice(b"0\r\n\r\n");
        "transfer-encoding: chunked".to_owned()
    };
    let head = format!("POST {} HTTP/1.1\r\nhost: soak\r\n{fields}{framing}\r\n\r\n", ask.target);
    (ask, head, body)
}

/// POSTs one after another.
pub(super) async fn post_echo(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    for _ in 0..client.rng.usize(1..6) {
        if client.is_over() {
            break;
        }
        let (ask, head, body) = post(&mut client, "");
        connection.forget();
        if !exchange(&client, &mut connection, &ask, [head.as_bytes(), &body].concat()).await {
            return;
        }
    }
    client.finish(connection).await;
}

/// Asks before it sends its body.
pub(super) async fn expect(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let (ask, head, body) = post(&mut client, "expect: 100-continue\r\n");
    let _ = connection.send(head).await;
    match connection.answer().await {
        Ok(interim) if interim.status == 100 => {
            exchange(&client, &mut connection, &ask, body).await;
        }
        came => {
            client.settle(&connection, &ask, came);
            return;
        }
    }
    client.finish(connection).await;
}

/// Pauses within head and body.
pub(super) async fn slow(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let (ask, head, body) = post(&mut client, "");
    let whole = [head.as_bytes(), &body].concat();
    let mut rest = &whole[..];
    for _ in 0..client.rng.usize(1..3) {
        let (piece, more) = rest.split_at(client.rng.usize(..rest.len()));
        let _ = connection.send(piece).await;
        rest = more;
        sleep(Duration::from_millis(client.rng.u64(..PAUSE_MILLIS))).await;
    }
    if exchange(&client, &mut connection, &ask, rest).await {
        client.finish(connection).await;
    }
}

/// Waits for a handler that takes its time, or for a long stream.
pub(super) async fn patient(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = if client.rng.bool() {
        let route = format!("slow?ms={}&", client.rng.u64(200..1_200));
        client.ask(&route, 1_000)
    } else {
        let bytes = client.rng.usize(200_000..800_000);
        client.ask("stream?", bytes)
    };
    if exchange(&client, &mut connection, &ask, ask.get()).await {
        client.finish(connection).await;
    }
}

/// Closes its sending side behind a complete request.
pub(super) async fn half_close(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let (ask, bytes) = if client.rng.bool() {
        let ask = client.ask_any();
        let bytes = ask.get().into_bytes();
        (ask, bytes)
    } else {
        let (ask, head, body) = post(&mut client, "");
        (ask, [head.as_bytes(), &body].concat())
    };
    let _ = connection.send(bytes).await;
    connection.close_write();
    let came = connection.answer().await;
    client.settle(&connection, &ask, came);
}

/// One GET; the connection stays until the phase is over, and holds a descriptor of the server.
pub(super) async fn queued(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    let ask = client.ask("quick?", 100);
    let goes_on = exchange(&client, &mut connection, &ask, ask.get()).await;
    while goes_on && !client.is_over() {
        sleep(Duration::from_millis(20)).await;
    }
}
