//! Servers with one defect that shows in many rules: each has its say only on the cases that are
//! about that defect.
//!
//! A check tries one thing in many shapes. A twin for each shape would be one line of a table for
//! each; a server that gets the whole class wrong fails all of them. What it fails beside them says
//! nothing of the check: a server that refuses everything fails nearly all cases, and would excuse
//! those that can't fail for their own reason. So a class counts for its own cases alone.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_conformance::verdict::{Case, Kind};

use super::persistence::exchange;
use super::twin::{Twin, replace, tamper};

/// A class: the server, its cases, and the rules that need it; none for all.
type Class = (fn(TcpStream, SocketAddr), fn(&Case) -> bool, &'static [&'static str]);

const CLASSES: &[Class] = &[
    (grants, |case| case.kind == Kind::Refuse, &[]),
    (denies, |case| case.kind == Kind::Accept, &[]),
    (forgets_its_place, is_next, &["BODY-17", "EXP-03"]),
    (loses_its_place, is_next, &[]),
    (serves_bodies, |case| case.expected == "never", &[]),
];

/// What is expected where a request stands behind another.
const NEXT: [&str; 4] =
    ["the request behind it", "the next re", "another request answered", "right behind"];

fn is_next(case: &Case) -> bool {
    NEXT.iter().any(|words| case.expected.contains(words))
}

/// The classes that show in a rule, by the cases that its check has tried on a good server.
pub(crate) fn twins(rule: &'static str, tried: &[Case]) -> Vec<Twin> {
    let shows = |class: &&Class| {
        (class.2.is_empty() || class.2.contains(&rule)) && tried.iter().any(class.1)
    };
    let twin = |class: &Class| Twin::server(rule, "", class.0).failing(class.1);
    CLASSES.iter().filter(shows).map(twin).collect()
}

/// Answers 200 to whatever it refuses or fails.
fn grants(client: TcpStream, server: SocketAddr) {
    tamper(client, server, |_| {}, |bytes| statuses(bytes, b"200", |status| status[0] >= b'4'));
}

/// Refuses whatever it would have answered, but tells what the suite asks for itself.
fn denies(client: TcpStream, server: SocketAddr) {
    let helps = AtomicBool::new(false);
    let front = |bytes: &mut Vec<u8>| {
        helps.store(
            HELPERS.iter().any(|path| bytes.starts_with(path.as_bytes())),
            Ordering::Release,
        );
    };
    tamper(client, server, front, |bytes| {
        if !helps.load(Ordering::Acquire) {
            statuses(bytes, b"400", |status| status[0] < b'4');
        }
    });
}

const HELPERS: [&str; 5] = ["GET /probe", "GET /state", "GET /open", "GET /live", "PRI"];

/// Puts this status in the place of those that `wrong` picks.
fn statuses(bytes: &mut [u8], status: &[u8], wrong: impl Fn(&[u8]) -> bool) {
    let heads = bytes.windows(9).enumerate();
    let heads = heads.filter(|(_, line)| line.starts_with(b"HTTP/1.") && line[8] == b' ');
    let heads = heads.map(|(at, line)| at + line.len());
    for at in heads.collect::<Vec<_>>() {
        if let Some(found) = bytes.get_mut(at..at + 3) {
            if found.iter().all(u8::is_ascii_digit) && wrong(found) {
                found.copy_from_slice(status);
            }
        }
    }
}

/// Answers the second request of a connection, and all that follow, with what is no response.
fn loses_its_place(client: TcpStream, server: SocketAddr) {
    let (mut answered, helps) = (0, AtomicBool::new(false));
    let front = |bytes: &mut Vec<u8>| {
        helps.store(
            HELPERS.iter().any(|path| bytes.starts_with(path.as_bytes())),
            Ordering::Release,
        );
    };
    tamper(client, server, front, |bytes| {
        let heads = bytes.windows(9).enumerate().filter(|(_, line)| *line == b"HTTP/1.1 ");
        for at in heads.map(|(at, _)| at).collect::<Vec<_>>() {
            answered += 1;
            if answered > 1 && !helps.load(Ordering::Acquire) {
                bytes[at..at + 4].copy_from_slice(b"LOST");
            }
        }
    });
}

/// The same, also where a good server would have closed.
fn forgets_its_place(client: TcpStream, server: SocketAddr) {
    exchange(client, server, |asked, answer| {
        let lost = asked.number > 1 && !HELPERS.iter().any(|path| asked.is(path));
        (if lost { b"LOST/1.1 200 OK\r\n\r\n".to_vec() } else { answer }, lost || asked.stays())
    });
}

/// Takes each body for requests.
fn serves_bodies(client: TcpStream, server: SocketAddr) {
    let front = |bytes: &mut Vec<u8>| {
        replace(bytes, b"Content-Length:", b"X-Length:");
    };
    tamper(client, server, front, |_| {});
}
