//! Clients of HTTP/2, well-behaved and hostile.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::{spawn, timeout};
use gateway_soak::ID;
use h2::client::{ResponseFuture, SendRequest, handshake};
use h2::{Reason, SendStream};
use http::Request;

use crate::client::{Ask, Client};
use crate::settings::PATIENCE;
use crate::tally::Outcome;

/// The fixed bytes that open a connection (RFC 9113, section 3.4), and an empty SETTINGS frame.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Opens a connection of the library's, which a task of its own drives until it ends.
async fn open(client: &Client) -> Option<SendRequest<Bytes>> {
    let stream = client.connect().await?.into_stream();
    match timeout(PATIENCE, handshake(stream)).await {
        Ok(Ok((send, connection))) => {
            drop(spawn(connection));
            Some(send)
        }
        failed => {
            client.begin();
            client
                .settle_without(format!("no HTTP/2: {:?}", failed.map(|opened| opened.map(drop))));
            None
        }
    }
}

/// Sends the head of a request.
async fn send(
    send: &SendRequest<Bytes>,
    ask: &Ask,
    method: &str,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let uri = format!("http://soak{}", ask.target);
    let request = Request::builder().method(method).uri(uri).body(()).expect("a valid request");
    send.clone().ready().await?.send_request(request, method == "GET")
}

/// Why a stream has no whole answer.
struct Broken {
    begun: bool,
    what: String,
}

/// One stream, to its end.
async fn exchange(to: &SendRequest<Bytes>, ask: &Ask, method: &str) -> Result<(), Broken> {
    let unbegun = |error: h2::Error| Broken { begun: false, what: error.to_string() };
    let begun = |what: String| Broken { begun: true, what };
    let (response, mut body) = send(to, ask, method).await.map_err(unbegun)?;
    if method == "POST" {
        body.send_data(ask.answer.clone(), true).map_err(unbegun)?;
    }
    let response = response.await.map_err(unbegun)?;
    if response.status() != 200 {
        return Err(begun(format!("the status is {}", response.status())));
    }
    let id = response.headers().get(ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let (mut data, mut came) = (response.into_body(), Vec::new());
    while let Some(piece) = data.data().await {
        let piece = piece.map_err(|error| begun(format!("after {} bytes: {error}", came.len())))?;
        came.extend_from_slice(&piece);
        let released = data.flow_control().release_capacity(piece.len());
        released.map_err(|error| begun(error.to_string()))?;
    }
    ask.check(id.as_deref(), &came).map_err(begun)
}

/// One stream, within the time that there is, and booked.
async fn settle(client: &Client, to: &SendRequest<Bytes>, ask: &Ask, method: &str) {
    let ended = timeout(PATIENCE, exchange(to, ask, method)).await;
    match ended.unwrap_or_else(|_| Err(Broken { begun: true, what: "silence".into() })) {
        Ok(()) => client.book_silently(Outcome::Answered),
        Err(Broken { begun: false, what }) => client.settle_without(what),
        Err(Broken { what, .. }) => {
            client.wrong(what, format!("{method} {} on HTTP/2", ask.target), "as above".into());
        }
    }
}

/// Several streams at once.
pub(super) async fn streams(mut client: Client) {
    let Some(to) = open(&client).await else { return };
    for _ in 0..client.rng.usize(1..5) {
        if client.is_over() {
            break;
        }
        let count = client.rng.usize(1..8);
        let asks: Vec<(Ask, &str)> = (0..count)
            .map(|_| match client.rng.bool() {
                true => (client.ask_any(), "GET"),
                false => {
                    let bytes = client.rng.usize(1..30_000);
                    (client.ask("echo?", bytes), "POST")
                }
            })
            .collect();
        join_all(asks.iter().map(|(ask, method)| settle(&client, &to, ask, method))).await;
    }
}

/// Opens streams and resets them at once, then asks for something. The server may have had enough.
pub(super) async fn resets(mut client: Client) {
    let Some(to) = open(&client).await else { return };
    for _ in 0..client.rng.usize(10..200) {
        let ask = match client.rng.bool() {
            true => client.ask("slow?ms=500&", 10),
            false => client.ask("stream?", 100_000),
        };
        client.book_silently(Outcome::Left);
        match timeout(PATIENCE, send(&to, &ask, "GET")).await {
            Ok(Ok((response, mut stream))) => {
                stream.send_reset(Reason::CANCEL);
                drop(response);
            }
            // The connection is gone.
            _ => break,
        }
    }
    let ask = client.ask("quick?", 10);
    let outcome = match timeout(PATIENCE, exchange(&to, &ask, "GET")).await {
        Ok(Ok(())) => Outcome::Answered,
        Ok(Err(Broken { begun: false, .. })) => Outcome::Closed,
        Ok(Err(Broken { what, .. })) => Outcome::Wrong(what),
        Err(_) => Outcome::Wrong("silence after many resets".into()),
    };
    client.book_silently(outcome);
}

/// Frames that mean nothing: the server must end the connection.
pub(super) async fn garbage(mut client: Client) {
    let Some(mut connection) = client.connect().await else { return };
    client.begin();
    let mut bytes = OPENING.to_vec();
    for _ in 0..client.rng.usize(1..20) {
        let mut payload = vec![0; client.rng.usize(..100)];
        client.rng.fill(&mut payload);
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        bytes.extend_from_slice(&length[1..]);
        bytes.extend_from_slice(&[client.rng.u8(..12), client.rng.u8(..)]);
        bytes.extend_from_slice(&client.rng.u32(..8).to_be_bytes());
        bytes.extend_from_slice(&payload);
    }
    let _ = connection.send(bytes).await;
    connection.close_write();
    let outcome = match connection.ends_within(PATIENCE).await {
        true => Outcome::Closed,
        false => Outcome::Wrong(format!("still open after {PATIENCE:?}")),
    };
    client.book(&connection, outcome);
    gateway_core::sleep(Duration::from_millis(client.rng.u64(..50))).await;
}
