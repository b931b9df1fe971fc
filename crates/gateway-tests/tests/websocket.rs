//! WebSocket: what a peer sees, frame by frame where that matters.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::client::client;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocket as Peer};
use async_tungstenite::tungstenite::{Error as PeerError, Message as Frame};
use bytes::Bytes;
use gateway_core::{App, Error, Host, Request, Response, sleep, spawn, timeout};
use gateway_http::Server;
use gateway_tests::{Client, Serving, eventually, on_every_host};
use gateway_websocket::{Close, Message, Options, WebSocket, accept, same_origin};
use http_body_util::{BodyExt, Empty};

on_every_host!(2:
    messages_come_back_as_they_went,
    thousands_of_messages_pass_both_ways_at_once,
    fragments_are_put_together_and_pings_between_them_answered,
    receiving_can_be_given_up_at_any_byte,
    the_peers_close_is_seen_and_sent_back,
    the_apps_close_is_seen_and_agreed_to,
    a_close_that_cannot_be_sent_is_the_applications_fault,
    a_peer_that_never_agrees_to_a_close_is_dropped_at_the_deadline,
    beyond_a_limit_the_close_is_1009,
    text_that_is_not_utf8_is_closed_with_1007,
    a_broken_protocol_is_closed_with_1002,
    a_failure_is_closed_with_1011_and_touches_nobody_else,
    a_socket_outlives_the_coroutine_that_gave_it_away,
    a_peer_that_does_not_read_suspends_the_sender,
    a_peer_that_reads_no_pongs_is_not_read,
    a_vanished_peer_ends_the_task,
    a_server_that_drains_closes_with_1001,
    a_silent_peer_gets_a_ping_and_is_gone_without_a_pong,
    bad_handshakes_are_refused_each_with_its_status,
    http2_is_refused_with_a_reason,
    a_subprotocol_is_agreed_on,
    an_answer_that_is_replaced_starts_nothing,
);

/// Sends every message back, until the peer closes.
async fn echo(mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.receive().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn echoes(request: Request) -> Result<Response, Error> {
    accept(request, echo)
}

/// Tells when it is dropped, and so when a coroutine has ended, however it did.
struct Tells(mpsc::Sender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nhost: t\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A peer that keeps to the protocol.
fn peer(serving: &Serving) -> Peer<TcpStream> {
    let stream = serving.connect().stream.into_inner();
    client(format!("ws://{}/", serving.address), stream).expect("a WebSocket").0
}

/// A peer that sends what it is told to.
fn raw(serving: &Serving) -> Client {
    let mut client = serving.connect();
    client.send(HANDSHAKE);
    let answer = client.answer();
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A frame as a client sends it: masked, with a mask of nothing but zeros.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        len @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The payload of a close.
fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The next frame that the server sends, its first byte and its payload.
fn next(client: &mut Client) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.stream.read_exact(&mut head).expect("a frame");
    let len = match head[1] {
        126 => {
            let mut len = [0; 2];
            client.stream.read_exact(&mut len).expect("a length");
            usize::from(u16::from_be_bytes(len))
        }
        short => {
            assert!(short < 126, "a server's frame is not masked, and these are short: {short}");
            usize::from(short)
        }
    };
    let mut payload = vec![0; len];
    client.stream.read_exact(&mut payload).expect("a whole frame");
    (head[0], payload)
}

/// The code of the close that comes next. Then the connection must end.
fn closed_with(client: &mut Client) -> u16 {
    let (first, payload) = next(client);
    assert_eq!(first, CLOSE, "{payload:?}");
    assert!(client.is_closed(), "something comes after the close");
    u16::from_be_bytes([payload[0], payload[1]])
}

/// How the server closes a peer that keeps to the protocol.
fn closed(peer: &mut Peer<TcpStream>) -> (u16, String) {
    let Frame::Close(Some(close)) = peer.read().expect("a close") else { panic!("no close") };
    assert!(matches!(peer.read(), Err(PeerError::ConnectionClosed)), "the close is not agreed to");
    (close.code.into(), close.reason.to_string())
}

fn messages_come_back_as_they_went(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(echoes));
    let mut peer = peer(&serving);
    for size in [0, 1, 125, 126, 65535, 65536, 1024 * 1024] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| n as u8).collect();
        let text = "ä".repeat(size as usize / 2);
        for message in [Frame::binary(bytes), Frame::text(text)] {
            peer.send(message.clone()).unwrap();
            assert!(peer.read().unwrap() == message, "{size} bytes came back otherwise");
        }
    }
}

fn thousands_of_messages_pass_both_ways_at_once(host: impl Host + Send + 'static) {
    const MESSAGES: usize = 5000;
    let serving = Serving::start(host, Server::new(echoes));
    let stream = peer(&serving).get_ref().try_clone().unwrap();
    let mut reader = Peer::from_raw_socket(stream.try_clone().unwrap(), Role::Client, None);
    let mut writer = Peer::from_raw_socket(stream, Role::Client, None);
    // Lengths that vary, so that frames end anywhere in what is read at a time.
    let message = |n: usize| Frame::text(format!("{n} {}", ".".repeat(n * 7 % 3000)));
    let sending = thread::spawn(move || {
        for n in 0..MESSAGES {
            writer.send(message(n)).unwrap();
        }
        writer.close(None).unwrap();
    });
    for n in 0..MESSAGES {
        assert!(reader.read().unwrap() == message(n), "message {n} is another");
    }
    assert!(matches!(reader.read(), Ok(Frame::Close(None))));
    sending.join().unwrap();
}

fn fragments_are_put_together_and_pings_between_them_answered(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(echoes));
    let mut client = raw(&serving);
    // A character is split as well.
    client.send(frame(0x01, b"gr\xc3"));
    client.send(frame(PING, "one"));
    assert_eq!(next(&mut client), (PONG, b"one".to_vec()), "before the message is whole");
    client.send(frame(0x00, b"\xbc\xc3\x9f"));
    client.send(frame(PONG, "nobody asked"));
    client.send(frame(0x00, ""));
    client.send(frame(0x80, "e"));
    assert_eq!(next(&mut client), (TEXT, "grüße".into()));
    client.send(frame(PING, [7; 125]));
    assert_eq!(next(&mut client), (PONG, vec![7; 125]));
}

fn receiving_can_be_given_up_at_any_byte(host: impl Host + Send + 'static) {
    let given_up = Arc::new(AtomicUsize::new(0));
    let counted = given_up.clone();
    let app = move |request: Request| {
        let given_up = counted.clone();
        let answer = accept(request, async move |mut socket: WebSocket| {
            loop {
                match timeout(Duration::from_millis(1), socket.receive()).await {
                    Err(_) => drop(given_up.fetch_add(1, Ordering::Relaxed)),
                    Ok(Ok(Some(message))) => socket.send(message).await?,
                    Ok(other) => return other.map(drop),
                }
            }
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = raw(&serving);
    for byte in frame(TEXT, "a whole message") {
        client.send([byte]);
        let before = given_up.load(Ordering::Relaxed);
        eventually("it is given up twice", || given_up.load(Ordering::Relaxed) > before + 1);
    }
    assert_eq!(next(&mut client), (TEXT, b"a whole message".to_vec()));
}

fn the_peers_close_is_seen_and_sent_back(host: impl Host + Send + 'static) {
    let (seen, sees) = mpsc::channel();
    let app = move |request: Request| {
        let seen = seen.clone();
        let answer = accept(request, async move |mut socket: WebSocket| {
            assert_eq!(socket.receive().await?, None);
            let failed = socket.send("too late").await.map_err(|error| error.to_string());
            assert_eq!(socket.receive().await?, None, "and still");
            seen.send((socket.peer_close().cloned(), failed)).unwrap();
            Ok(())
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    for (payload, code, reason, answer) in [
        (close(1000, ""), 1000, "", close(1000, "")),
        (close(1001, "leaving"), 1001, "leaving", close(1001, "leaving")),
        (close(4321, "ä"), 4321, "ä", close(4321, "ä")),
        (vec![], 1005, "", vec![]),
        // Codes that must not be sent.
        (close(1005, ""), 1002, "Protocol violation", close(1002, "Protocol violation")),
        (close(999, ""), 1002, "Protocol violation", close(1002, "Protocol violation")),
    ] {
        let mut client = raw(&serving);
        client.send(frame(CLOSE, payload));
        assert_eq!(next(&mut client), (CLOSE, answer));
        assert!(client.is_closed());
        let (close, failed) = sees.recv().unwrap();
        assert_eq!(close, Some(Close { code, reason: reason.to_owned() }));
        assert!(failed.unwrap_err().contains("closed"));
    }
}

fn the_apps_close_is_seen_and_agreed_to(host: impl Host + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let app = move |request: Request| {
        let path = request.uri().path().to_owned();
        let done = done.clone();
        let answer = accept(request, async move |mut socket: WebSocket| {
            // What was sent before is not lost.
            socket.send("first").await?;
            if path == "/" {
                return Ok(());
            }
            socket.close(path[1..].parse()?, "as you like").await?;
            done.send(())?;
            Ok(())
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    for (path, code, reason) in
        [("", 1000, ""), ("1001", 1001, "as you like"), ("4000", 4000, "as you like")]
    {
        let stream = serving.connect().stream.into_inner();
        let mut peer = client(format!("ws://{}/{path}", serving.address), stream).unwrap().0;
        // Still under way when the app closes: it is dropped, and does not reset the connection.
        peer.send(Frame::binary(vec![0; 500_000])).unwrap();
        assert_eq!(peer.read().unwrap(), Frame::text("first"));
        assert_eq!(closed(&mut peer), (code, reason.to_owned()));
        if !path.is_empty() {
            drop(peer);
            is_done.recv_timeout(gateway_tests::PATIENCE).expect("the close has an end");
        }
    }
}

fn a_close_that_cannot_be_sent_is_the_applications_fault(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        accept(request, async |mut socket: WebSocket| {
            let Some(Message::Text(code)) = socket.receive().await? else { return Ok(()) };
            let reason = if code.is_empty() { "x".repeat(124) } else { "x".repeat(123) };
            socket.close(code.parse().unwrap_or(1000), &reason).await
        })
    };
    let serving = Serving::start(host, Server::new(app));
    for (asked, code) in [("1000", 1000), ("0", 1011), ("1005", 1011), ("5000", 1011), ("", 1011)] {
        let mut peer = peer(&serving);
        peer.send(Frame::text(asked)).unwrap();
        assert_eq!(closed(&mut peer).0, code, "{asked:?}");
    }
}

fn a_peer_that_never_agrees_to_a_close_is_dropped_at_the_deadline(
    host: impl Host + Send + 'static,
) {
    let app = async |request: Request| {
        accept(request, async |socket| {
            drop(socket);
            Ok(())
        })
    };
    let serving = Serving::start(host, Server::new(app));
    let mut client = raw(&serving);
    let started = Instant::now();
    assert_eq!(closed_with(&mut client), 1000);
    assert!(started.elapsed() >= gateway_websocket::CLOSE_DEADLINE / 2, "nobody has waited");
}

fn beyond_a_limit_the_close_is_1009(host: impl Host + Send + 'static) {
    const SMALL: Options = Options::new().message_bytes(1000).frame_bytes(600);
    let serving = Serving::start(host, Server::new(async |r: Request| SMALL.accept(r, echo)));
    let mut client = raw(&serving);
    client.send(frame(BINARY, [1; 600]));
    assert_eq!(next(&mut client).1.len(), 600);
    client.send(frame(0x02, [1; 600]));
    client.send(frame(0x80, [1; 400]));
    assert_eq!(next(&mut client).1.len(), 1000);
    // One byte more, in a frame and in a message; and a frame of which only the head arrives.
    let beyond = [
        frame(BINARY, [1; 601]),
        [frame(0x02, [1; 600]), frame(0x80, [1; 401])].concat(),
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(),
    ];
    for bytes in beyond {
        let mut client = raw(&serving);
        client.send(bytes);
        assert_eq!(next(&mut client).1[..2], 1009_u16.to_be_bytes());
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "the server has closed its side");
        // What it goes on to send is dropped: a reset might overtake the code.
        for _ in 0..10 {
            client.send([0; 300_000]);
        }
    }
}

fn text_that_is_not_utf8_is_closed_with_1007(host: impl Host + Send + 'static) {
    let serving = Serving::start(host, Server::new(echoes));
    let broken = [
        frame(TEXT, b"a\xff"),
        // A surrogate, a character that is cut off, and one that is broken off by a fragment.
        frame(TEXT, b"\xed\xa0\x80"),
        frame(TEXT, b"\xc3"),
        [frame(0x01, b"\xc3"), frame(0x80, b"a")].concat(),
        frame(CLOSE, [&close(1000, "")[..], b"\xff"].concat()),
    ];
    for bytes in broken {
        let mut client = raw(&serving);
        client.send(&bytes);
        assert_eq!(closed_with(&mut client), 1007, "{bytes:?}");
    }
    let mut client = raw(&serving);
    client.send(frame(BINARY, b"a\xff"));
    assert_eq!(next(&mut client), (BINARY, b"a\xff".to_vec()), "bytes may be anything");
}

fn a_broken_protocol_is_closed_with_1002(host: impl Host + Send + 'static) {
    let (failed, fails) = mpsc::channel();
    let app = move |request: Request| {
        let failed = failed.clone();
        let answer = accept(request, async move |socket| {
            let ended = echo(socket).await;
            failed.send(ended.as_ref().err().map(Error::status)).unwrap();
            ended
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    let broken = [
        ("without a mask", b"\x81\x02hi".to_vec()),
        ("a reserved bit", frame(0xc1, "hi")),
        ("a reserved kind", frame(0x83, "hi")),
        ("a reserved control", frame(0x8b, "hi")),
        ("a ping in fragments", frame(0x09, "hi")),
        ("a long ping", frame(PING, [0; 126])),
        ("nothing to continue", frame(0x80, "hi")),
        ("a message within another", [frame(0x01, "a"), frame(TEXT, "b")].concat()),
        ("half a code", frame(CLOSE, [3])),
    ];
    for (what, bytes) in broken {
        let mut client = raw(&serving);
        client.send(&bytes);
        assert_eq!(closed_with(&mut client), 1002, "{what}");
        assert_eq!(fails.recv().unwrap(), Some(http::StatusCode::BAD_REQUEST), "{what}");
    }
}

fn a_failure_is_closed_with_1011_and_touches_nobody_else(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        accept(request, async |mut socket: WebSocket| {
            match socket.receive().await? {
                Some(Message::Text(text)) if text.as_str() == "panic" => panic!("a secret"),
                Some(Message::Text(text)) => drop(text.parse::<u32>()?),
                _ => {}
            }
            echo(socket).await
        })
    };
    let serving = Serving::start(host, Server::new(app));
    let mut bystander = peer(&serving);
    bystander.send(Frame::text("1")).unwrap();
    for how in ["panic", "an error"] {
        let mut failing = peer(&serving);
        failing.send(Frame::text(how)).unwrap();
        assert_eq!(closed(&mut failing), (1011, String::new()), "{how}");
        bystander.send(Frame::text(how)).unwrap();
        assert_eq!(bystander.read().unwrap(), Frame::text(how));
    }
}

fn a_socket_outlives_the_coroutine_that_gave_it_away(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        accept(request, async |socket| {
            drop(spawn(echo(socket)));
            Ok(())
        })
    };
    let serving = Serving::start(host, Server::new(app));
    let mut peer = peer(&serving);
    for _ in 0..3 {
        peer.send(Frame::text("hello")).unwrap();
        assert_eq!(peer.read().unwrap(), Frame::text("hello"));
    }
    peer.close(Some(CloseFrame { code: 3000.into(), reason: "bye".into() })).unwrap();
    assert_eq!(closed(&mut peer), (3000, "bye".to_owned()));
}

/// Looks until a number does not change any more.
fn settles(what: &str, mut number: impl FnMut() -> usize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    eventually(what, || {
        let now = number();
        if now != last || now == 0 {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    last
}

fn a_peer_that_does_not_read_suspends_the_sender(host: impl Host + Send + 'static) {
    const MESSAGES: usize = 1000;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let app = move |request: Request| {
        let sent = counted.clone();
        let answer = accept(request, async move |mut socket: WebSocket| {
            let message = Bytes::from(vec![b'.'; 64 * 1024]);
            for _ in 0..MESSAGES {
                socket.send(message.clone()).await?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    let mut peer = peer(&serving);
    // Nobody reads: what is sent is what fits into the system's buffers, and then no more.
    let first = settles("the sender waits", || sent.load(Ordering::Relaxed));
    assert!(first < MESSAGES / 2, "{first} messages sent to a peer that does not read");
    for n in 0..MESSAGES {
        assert_eq!(peer.read().unwrap().len(), 64 * 1024, "message {n}");
    }
    assert_eq!(closed(&mut peer).0, 1000);
    assert_eq!(sent.load(Ordering::Relaxed), MESSAGES);
}

fn a_peer_that_reads_no_pongs_is_not_read(host: impl Host + Send + 'static) {
    /// Far more than the system's buffers hold.
    const MOST: usize = 64 * 1024 * 1024;
    let serving = Serving::start(host, Server::new(echoes));
    let mut client = raw(&serving);
    let pings = frame(PING, [7; 125]).repeat(500);
    let mut sent = 0;
    let stream = client.stream.get_mut();
    stream.set_nonblocking(true).unwrap();
    settles("the server stops reading", || {
        while sent < MOST {
            match stream.write(&pings[sent % 131..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        sent
    });
    assert!(sent < MOST, "{sent} bytes of pings taken from a peer that reads no pongs");
    stream.set_nonblocking(false).unwrap();
    for n in 0..sent / 131 {
        assert_eq!(next(&mut client), (PONG, vec![7; 125]), "pong {n}");
    }
}

fn a_vanished_peer_ends_the_task(host: impl Host + Send + 'static) {
    let (ended, ends) = mpsc::channel();
    let app = move |request: Request| {
        let tells = Tells(ended.clone());
        let floods = request.uri().path() == "/flood";
        let answer = accept(request, async move |mut socket: WebSocket| {
            let _tells = tells;
            let ended = match floods {
                true => loop {
                    if let Err(error) = socket.send(vec![0; 100_000]).await {
                        break Err(error);
                    }
                },
                false => echo(socket).await,
            };
            assert_eq!(ended.as_ref().unwrap_err().fault(), gateway_core::Fault::Client);
            ended
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    for (path, resets) in [("/", false), ("/", true), ("/flood", true)] {
        let mut client = serving.connect();
        client.send(HANDSHAKE.replacen("/", path, 1));
        assert_eq!(client.answer().status, 101);
        if path == "/flood" {
            client.stream.read_exact(&mut [0; 1000]).unwrap();
        }
        if resets {
            let linger = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(client.stream.get_ref(), linger).unwrap();
        }
        assert!(ends.try_recv().is_err(), "it has ended before its peer has");
        drop(client);
        ends.recv_timeout(gateway_tests::PATIENCE).expect("the task ends");
    }
}

fn a_server_that_drains_closes_with_1001(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        accept(request, async |mut socket: WebSocket| {
            while let Some(message) = socket.receive().await? {
                socket.send(message).await?;
            }
            // The peer is still there, and may hear a last word.
            if socket.peer_close().is_none() { socket.send("goodbye").await } else { Ok(()) }
        })
    };
    let mut serving = Serving::start(host, Server::new(app));
    let mut peer = peer(&serving);
    peer.send(Frame::text("hello")).unwrap();
    assert_eq!(peer.read().unwrap(), Frame::text("hello"));
    serving.drain();
    assert_eq!(peer.read().unwrap(), Frame::text("goodbye"));
    assert_eq!(closed(&mut peer).0, 1001);
    assert!(serving.end().is_ok());
}

fn a_silent_peer_gets_a_ping_and_is_gone_without_a_pong(host: impl Host + Send + 'static) {
    const IMPATIENT: Options = Options::new().ping_after(Duration::from_secs(2));
    let (failed, fails) = mpsc::channel();
    let app = move |request: Request| {
        let failed = failed.clone();
        let answer = IMPATIENT.accept(request, async move |socket| {
            let ended = echo(socket).await;
            failed.send(ended.as_ref().map_err(Error::status).copied()).unwrap();
            ended
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(app));
    let (mut silent, mut answers) = (raw(&serving), raw(&serving));
    assert_eq!(next(&mut silent), (PING, vec![]));
    for _ in 0..2 {
        assert_eq!(next(&mut answers), (PING, vec![]));
        answers.send(frame(PONG, ""));
    }
    assert!(silent.is_closed());
    assert_eq!(fails.recv().unwrap(), Err(http::StatusCode::REQUEST_TIMEOUT));
    answers.send(frame(TEXT, "still here"));
    assert_eq!(next(&mut answers), (TEXT, b"still here".to_vec()));
    answers.send(frame(CLOSE, close(1000, "")));
    assert_eq!(closed_with(&mut answers), 1000);
    assert_eq!(fails.recv().unwrap(), Ok(()));
}

fn bad_handshakes_are_refused_each_with_its_status(host: impl Host + Send + 'static) {
    let app = async |request: Request| {
        same_origin(&request)?;
        accept(request, echo)
    };
    let serving = Serving::start(host, Server::new(app));
    let changes = [
        ("GET /", "GET /", 101, ""),
        ("keep-alive, Upgrade", "keep-alive\r\nconnection: upgrade", 101, ""),
        ("WebSocket", "h2c, websocket", 101, ""),
        ("host: t", "host: t\r\norigin: https://t", 101, ""),
        ("host: t", "host: t\r\norigin: https://elsewhere", 403, "elsewhere"),
        ("GET /", "POST /", 400, "GET"),
        ("HTTP/1.1", "HTTP/1.0", 400, "HTTP/1.1"),
        ("keep-alive, Upgrade", "keep-alive", 400, "Connection: Upgrade"),
        ("upgrade: WebSocket\r\n", "", 400, "Upgrade: websocket"),
        ("WebSocket", "h2c", 400, "Upgrade: websocket"),
        ("version: 13", "version: 8", 426, "13"),
        ("sec-websocket-version: 13\r\n", "", 400, "Sec-WebSocket-Version: 13"),
        ("version: 13", "version: 13\r\nsec-websocket-version: 13", 400, "several"),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "Sec-WebSocket-Key"),
        ("dGhl", "dGhldGhl", 400, "16 random bytes"),
        ("25jZQ==\r\n", "25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400, "one"),
    ];
    for (from, to, status, says) in changes {
        let request = HANDSHAKE.replacen(from, to, 1);
        let mut client = serving.connect();
        client.send(&request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.text().contains(says), "{}", answer.text());
        let version = (status == 426).then_some("13");
        assert_eq!(answer.field("sec-websocket-version"), version, "{request}");
    }
}

/// What hyper's client starts its tasks with.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

fn http2_is_refused_with_a_reason(host: impl Host + Send + Sync + 'static) {
    host.run(async {
        let server = Server::new(echoes).bind("127.0.0.1:0").unwrap();
        let address = server.listener().local_addr().unwrap();
        let serving = spawn(server.serve(std::future::pending()));
        let stream = gateway_net::TcpStream::connect_to(address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Tasks, stream).await.unwrap();
        spawn(connection);
        let request = http::Request::get(format!("http://{address}/"));
        let request = request.header("sec-websocket-version", "13").body(Empty::<Bytes>::new());
        let answer = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 400);
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(text.windows(6).any(|word| word == b"HTTP/2"), "{text:?}");
        serving.cancel();
    });
}

fn a_subprotocol_is_agreed_on(host: impl Host + Send + 'static) {
    const SPOKEN: Options = Options::new().protocols(&["chat.v2", "chat.v1"]);
    let app = async |request: Request| {
        SPOKEN.accept(request, async |mut socket: WebSocket| {
            socket.send(format!("{:?}", socket.protocol())).await
        })
    };
    let serving = Serving::start(host, Server::new(app));
    for (offered, chosen) in [
        (Some("chat.v1, chat.v2"), Some("chat.v2")),
        (Some("x, chat.v1"), Some("chat.v1")),
        (Some("x"), None),
        (None, None),
    ] {
        let field = offered.map(|names| format!("\r\nsec-websocket-protocol: {names}"));
        let mut client = serving.connect();
        client.send(HANDSHAKE.replacen("\r\n", &(field.unwrap_or_default() + "\r\n"), 1));
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("sec-websocket-protocol")), (101, chosen));
        assert_eq!(next(&mut client), (TEXT, format!("{chosen:?}").into_bytes()));
    }
}

/// A middleware that lets nobody in, when the inner app has agreed already.
struct Replaced<A>(A);

impl<A: App> App for Replaced<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        self.0.call(request).await?;
        Err(Error::client(http::StatusCode::FORBIDDEN, "not for you"))
    }
}

fn an_answer_that_is_replaced_starts_nothing(host: impl Host + Send + 'static) {
    let (ended, ends) = mpsc::channel();
    let started = Arc::new(AtomicUsize::new(0));
    let counted = started.clone();
    let app = move |request: Request| {
        let (tells, started) = (Tells(ended.clone()), counted.clone());
        let answer = accept(request, async move |socket| {
            let _tells = tells;
            started.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::ZERO).await;
            echo(socket).await
        });
        async { answer }
    };
    let serving = Serving::start(host, Server::new(Replaced(app)));
    let mut client = serving.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.answer().status, 403);
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    ends.recv_timeout(gateway_tests::PATIENCE).expect("the coroutine is dropped");
    assert_eq!(started.load(Ordering::Relaxed), 0);
}
