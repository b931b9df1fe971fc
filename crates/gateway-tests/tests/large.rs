//! Large responses among small ones: their connection changes the way in which it is written, and its
//! client must not notice.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{Body, Host, Request, Response, spawn};
use gateway_http::{Delivery, Server, delivery, upgrade};
use gateway_tests::{Answer, Client, Serving, eventually, on_every_host};
use http::StatusCode;

on_every_host!(2:
    responses_of_all_sizes_come_whole_and_in_order,
    pipelined_responses_of_all_sizes_come_whole_and_in_order,
    what_waits_for_a_slow_reader_is_not_lost,
    a_connection_closes_behind_a_large_response,
    an_upgrade_follows_a_large_response,
    a_large_response_is_delivered_whole_or_cut,
    a_server_drains_behind_a_large_response,
);

/// Sizes around those at which something changes, twice over.
const SIZES: [usize; 16] = [
    13, 0, 8191, 8192, 13, 8193, 13, 65_536, 1, 1_000_000, 16_384, 16_385, 300_000, 0, 13, 200_000,
];

/// More than the system takes from a server whose client does not read; no two pieces look alike.
static PATTERN: LazyLock<Bytes> =
    LazyLock::new(|| (0..20_000_000_usize).map(|n| (n / 251 + n) as u8).collect());

/// `/N` is N bytes at once, `/frames/N` as many in frames of 5,000; either counts itself as sent.
async fn sized(request: Request) -> Response {
    let path = request.uri().path();
    let size = path.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or(0);
    let bytes = PATTERN.slice(..size);
    if !path.starts_with("/frames/") {
        return Response::new(Body::from(bytes));
    }
    Response::new(Body::coroutine(async move |mut out| {
        for piece in bytes.chunks(5000) {
            out.send(bytes.slice_ref(piece)).await?;
        }
        Ok(())
    }))
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

fn is_whole(answer: &Answer, size: usize) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.len(), size);
    assert!(answer.body == PATTERN[..size], "{size} bytes are not those that were sent");
}

fn responses_of_all_sizes_come_whole_and_in_order(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(sized));
    for kind in ["/", "/frames/"] {
        let mut client = serving.connect();
        for size in SIZES {
            client.send(ask(&format!("{kind}{size}")));
            is_whole(&client.answer(), size);
            // Its head announces a body that does not come.
            client.send(format!("HEAD /{size} HTTP/1.1\r\nhost: test\r\n\r\n"));
            assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK"));
            while client.line().is_some_and(|line| !line.is_empty()) {}
        }
    }
}

fn pipelined_responses_of_all_sizes_come_whole_and_in_order(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(sized));
    let mut client = serving.connect();
    for kind in ["/", "/frames/"] {
        let all: String = SIZES.map(|size| ask(&format!("{kind}{size}"))).concat();
        client.send(&all[..all.len() - 1]);
        for size in &SIZES[..SIZES.len() - 1] {
            is_whole(&client.answer(), *size);
        }
        // The last head is whole only when the connection has had its time between two requests.
        client.send(&all[all.len() - 1..]);
        is_whole(&client.answer(), SIZES[SIZES.len() - 1]);
    }
}

fn what_waits_for_a_slow_reader_is_not_lost(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(sized));
    // However much the system takes from a server whose client does not read: of one of these the end
    // waits with the server, and the app is done.
    let sizes = (1..100).map(|n| n * 60_000);
    let mut clients: Vec<_> = sizes
        .map(|size| {
            let mut client = serving.connect();
            client.send(ask(&format!("/{size}")));
            (client, size)
        })
        .collect();
    for (client, size) in &mut clients {
        is_whole(&client.answer(), *size);
        client.send(ask("/13"));
        is_whole(&client.answer(), 13);
    }
}

fn a_connection_closes_behind_a_large_response(host: impl Host + Send + 'static) {
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let app = move |request| {
        called.fetch_add(1, Ordering::Relaxed);
        sized(request)
    };
    let serving = Serving::start(host, Server::new(app));
    for fields in ["connection: close\r\n", ""] {
        let mut client = serving.connect();
        client.send(format!("GET /1000000 HTTP/1.1\r\nhost: test\r\n{fields}\r\n"));
        if fields.is_empty() {
            client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        }
        is_whole(&client.answer(), 1_000_000);
        assert!(client.is_closed());
        // Nobody hears this any more.
        let _ = client.stream.get_mut().write_all(ask("/13").as_bytes());
    }
    eventually("both are gone", || {
        serving.monitor.connections().iter().all(|(_, open)| *open == 0)
    });
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

fn an_upgrade_follows_a_large_response(host: impl Host + Send + 'static) {
    let app = async |mut request: Request| {
        if !request.headers().contains_key("upgrade") {
            return sized(request).await;
        }
        let upgraded = upgrade(&mut request);
        spawn(async move {
            let mut upgraded = upgraded.await.unwrap();
            let mut said = [0; 5];
            upgraded.read_exact(&mut said).await.unwrap();
            upgraded.write_all(&said.to_ascii_uppercase()).await.unwrap();
            upgraded.close().await.unwrap();
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "shout".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = serving.connect();
    client.send(ask("/100000"));
    is_whole(&client.answer(), 100_000);
    client.send("GET / HTTP/1.1\r\nhost: test\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n");
    assert_eq!(client.answer().status, 101);
    client.send("hello");
    let mut said = [0; 5];
    client.stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HELLO");
    assert!(client.is_closed());
}

fn a_large_response_is_delivered_whole_or_cut(host: impl Host + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let app = move |request: Request| {
        let tell = tell.clone();
        async move {
            let mut response = sized(request).await;
            let delivery = delivery(&mut response);
            spawn(async move { tell.send(delivery.await).unwrap() });
            response
        }
    };
    let serving = Serving::start(host, Server::new(app));
    for path in ["/1000000", "/frames/1000000"] {
        let mut client = serving.connect();
        for _ in 0..2 {
            client.send(ask(path));
            is_whole(&client.answer(), 1_000_000);
            assert_eq!(told.recv().unwrap(), Delivery::Whole);
        }
    }
    let mut client = serving.connect();
    client.send(ask("/20000000"));
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK"));
    drop(client);
    assert_eq!(told.recv().unwrap(), Delivery::Cut);
}

fn a_server_drains_behind_a_large_response(host: impl Host + Send + 'static) {
    let mut serving = Serving::start(host, Server::new(sized));
    let mut clients: [Client; 2] = [serving.connect(), serving.connect()];
    for client in &mut clients {
        client.send(ask("/1000000"));
    }
    // One is between two requests by then, and the other is not.
    is_whole(&clients[0].answer(), 1_000_000);
    serving.drain();
    is_whole(&clients[1].answer(), 1_000_000);
    assert!(clients.iter_mut().all(Client::is_closed));
    serving.end().unwrap();
}
