//! Servers that are wrong on purpose: what the clients must find out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use gateway_core::Host;
use gateway_soak::Content;
use gateway_tokio::Tokio;

use crate::client::{Client, Phase, Target};
use crate::kinds::KINDS;
use crate::settings::Settings;

/// Serves one connection: reads a head, answers, and closes, or stays for as long as the client.
fn serve_once(answer: fn(u64, usize) -> Vec<u8>, stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut piece = [0; 1024];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece).unwrap() {
                0 => break,
                read => head.extend_from_slice(&piece[..read]),
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let number = |name: &str| {
            let digits = head.split(name).nth(1).unwrap_or_default();
            digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap_or(0)
        };
        let _ = stream.write_all(&answer(number("id="), number("bytes=") as usize));
        if !stays {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        while stream.read(&mut piece).is_ok_and(|read| read > 0) {}
    });
    address
}

fn right(id: u64, bytes: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\ncontent-length: {bytes}\r\n\r\n");
    [head.as_bytes(), &Content::new(id, bytes).whole()].concat()
}

/// One session of a kind against such a server: the outcomes, and what is said to be wrong.
fn session(kind: &str, phase: Phase, answer: fn(u64, usize) -> Vec<u8>) -> ([u64; 5], String) {
    session_with("", kind, phase, answer)
}

/// The same, where the server has been told to keep the deadline of this flag, and does not.
fn session_with(
    flag: &str,
    kind: &str,
    phase: Phase,
    answer: fn(u64, usize) -> Vec<u8>,
) -> ([u64; 5], String) {
    let settings = Settings::known_by(flag);
    let stop = Arc::new(AtomicBool::new(false));
    let target = Arc::new(Target::new(serve_once(answer, !flag.is_empty()), settings, stop));
    target.enter(phase);
    let kind = KINDS.iter().position(|known| known.name == kind).unwrap();
    let until = Instant::now() + Duration::from_millis(300);
    let client = Client { to: target.clone(), kind, rng: Rng::with_seed(1), until };
    Tokio::new(1).unwrap().run((KINDS[kind].session)(client));
    let [_, requests, outcomes @ ..] = target.tally.of(kind).all();
    assert_eq!(outcomes.iter().sum::<u64>(), requests);
    let failures = target.tally.take_failures();
    (outcomes, failures.iter().map(ToString::to_string).collect())
}

/// In which phase a single request goes wrong, and what is said about it.
fn wrong(kind: &str, answer: fn(u64, usize) -> Vec<u8>) -> String {
    let (outcomes, said) = session(kind, Phase::Mixed, answer);
    assert_eq!(outcomes[4], 1, "{kind}: {outcomes:?}, {said}");
    said
}

#[test]
fn a_right_answer_is_answered() {
    assert_eq!(session("queued", Phase::Mixed, right).0, [1, 0, 0, 0, 0]);
    assert_eq!(session("half-close", Phase::Mixed, right).0, [1, 0, 0, 0, 0]);
}

#[test]
fn an_answer_to_somebody_else_is_wrong() {
    let other = |id: u64, bytes| right(id ^ 1, bytes);
    assert!(wrong("queued", other).contains("has an answer to"));
}

#[test]
fn a_byte_that_is_not_right_is_wrong() {
    let flipped = |id, bytes| {
        let mut answer = right(id, bytes);
        *answer.last_mut().unwrap() ^= 1;
        answer
    };
    assert!(wrong("queued", flipped).contains("99 are the same"));
}

#[test]
fn an_answer_that_is_cut_off_is_wrong_in_every_phase() {
    let cut = |id, bytes| {
        let mut answer = right(id, bytes);
        answer.pop();
        answer
    };
    assert!(wrong("queued", cut).contains("a part of an answer"));
    let (outcomes, said) = session("queued", Phase::Drain, cut);
    assert_eq!(outcomes, [0, 0, 0, 0, 1], "{said}");
}

#[test]
fn a_close_without_an_answer_is_for_a_server_that_drains() {
    let nothing = |_, _| Vec::new();
    assert!(wrong("queued", nothing).contains("not a byte"));
    assert_eq!(session("queued", Phase::Drain, nothing).0, [0, 0, 1, 0, 0]);
}

#[test]
fn a_refusal_is_for_a_server_that_drains() {
    let refusal = |_, _| b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert!(wrong("queued", refusal).contains("the status is 503"));
    assert_eq!(session("queued", Phase::Drain, refusal).0, [0, 1, 0, 0, 0]);
}

#[test]
fn a_second_answer_is_wrong() {
    let twice = |id, bytes| right(id, bytes).repeat(2);
    // The next request has the first one's answer; or nobody has asked for it.
    let (outcomes, said) = session("keep-alive", Phase::Mixed, twice);
    assert!(outcomes[4] > 0, "{outcomes:?}, {said}");
}

#[test]
fn what_must_be_refused_is_wrong_when_it_is_answered() {
    for kind in ["oversized head", "oversized target", "oversized body", "panicking"] {
        assert!(wrong(kind, right).contains("the status is 200, and should be"), "{kind}");
    }
}

#[test]
fn a_panic_that_nobody_can_see_is_wrong() {
    assert!(wrong("panicking late", right).contains("is cut off"));
}

#[test]
fn a_server_that_keeps_no_deadline_is_wrong() {
    thread::scope(|scope| {
        let nothing: fn(u64, usize) -> Vec<u8> = |_, _| Vec::new();
        for (kind, flag, answer) in [
            ("slow head", "--head-seconds", nothing),
            ("slow body", "--body-seconds", nothing),
            ("endless handler", "--handler-seconds", nothing),
            ("idler", "--idle-seconds", right),
        ] {
            scope.spawn(move || {
                let (outcomes, said) = session_with(flag, kind, Phase::Mixed, answer);
                assert_eq!(outcomes[4], 1, "{kind}: {outcomes:?}, {said}");
                assert!(said.contains("it is still served"), "{said}");
            });
        }
    });
}

#[test]
fn what_is_not_http_is_wrong() {
    assert!(wrong("garbage", |_, _| b"oops\r\n\r\n".to_vec()).contains("this is not HTTP/1.1"));
}
