//! Servers that break the rules of `wire/persistence.rs`, and how most of them are made.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gateway_conformance::Verdict;
use gateway_conformance::wire::{Options, run};

use super::shutdown::clings;
use super::twin::{Proxied, Twin, good, pass, replace, tamper, target};

/// A request as it came.
pub(crate) struct Asked {
    bytes: Vec<u8>,
    /// Which it is on its connection, from 1.
    pub(crate) number: usize,
}

impl Asked {
    /// Whether it has this in it.
    pub(crate) fn has(&self, part: &str) -> bool {
        self.bytes.windows(part.len()).any(|window| window == part.as_bytes())
    }

    /// Whether it begins so.
    pub(crate) fn is(&self, start: &str) -> bool {
        self.bytes.starts_with(start.as_bytes())
    }

    /// What it asks for.
    pub(crate) fn target(&self) -> String {
        let line = String::from_utf8_lossy(&self.bytes);
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Whether the connection stays open after it.
    pub(crate) fn stays(&self) -> bool {
        !self.has("close\r\n") && !self.has(" HTTP/1.0\r\n")
    }
}

/// What a client is sent, and whether the connection stays open then.
pub(crate) type Answer = (Vec<u8>, bool);

/// A server that answers request by request, each with what `answer` makes of the good server's
/// response.
pub(crate) fn answers(
    rule: &'static str,
    says: &'static str,
    answer: fn(&Asked, Vec<u8>) -> Answer,
) -> Twin {
    Twin::new(rule, says, move || {
        let serve = move |client, server| exchange(client, server, answer);
        Box::new(Proxied::start(good(), serve))
    })
}

/// The same for requests that begin so, from the so manieth of them on.
pub(crate) fn from_the(
    nth: usize,
    begins: &'static str,
    (rule, says): (&'static str, &'static str),
    answer: fn(&Asked, Vec<u8>) -> Answer,
) -> Twin {
    Twin::new(rule, says, move || {
        let met = Arc::new(AtomicUsize::new(0));
        Box::new(Proxied::start(good(), move |client, server| {
            exchange(client, server, |asked, bytes| {
                let met = met.fetch_add(usize::from(asked.is(begins)), Ordering::Relaxed);
                if asked.is(begins) && met + 1 >= nth {
                    answer(asked, bytes)
                } else {
                    (bytes, asked.stays())
                }
            });
        }))
    })
}

/// Serves one connection so.
pub(crate) fn exchange(
    mut client: TcpStream,
    server: SocketAddr,
    mut answer: impl FnMut(&Asked, Vec<u8>) -> Answer,
) {
    let (mut buffer, mut number) = (Vec::new(), 0);
    while let Some(bytes) = request(&mut client, &mut buffer) {
        number += 1;
        let asked = Asked { bytes, number };
        let (bytes, stays) = answer(&asked, ask(server, &asked.bytes));
        if client.write_all(&bytes).is_err() || !stays {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    // What comes still is read, so that the last answer is not lost.
    let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
    while let Ok(1..) = client.read(&mut [0; 4096]) {}
}

/// The next request, head and body. What is behind it stays in the buffer.
fn request(client: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = until(client, buffer, b"\r\n\r\n", 0)?;
    let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let end = match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => {
            while buffer.len() < end + length {
                more(client, buffer)?;
            }
            end + length
        }
        None if head.contains("transfer-encoding: chunked") => {
            until(client, buffer, b"0\r\n\r\n", end)?
        }
        None => end,
    };
    Some(buffer.drain(..end).collect())
}

fn until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    end: &[u8],
    mut from: usize,
) -> Option<usize> {
    loop {
        let found = buffer[from..].windows(end.len()).position(|window| window == end);
        if let Some(at) = found {
            return Some(from + at + end.len());
        }
        from = from.max((buffer.len() + 1).saturating_sub(end.len()));
        more(stream, buffer)?;
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16 * 1024];
    let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&chunk[..read]);
    Some(())
}

/// What the good server answers, on a connection of its own; without its `close`.
pub(crate) fn ask(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    replace(&mut request, b"Connection: close\r\n", b"");
    replace(&mut request, b"keep-alive", b"foo");
    replace(&mut request, b"Keep-Alive", b"foo");
    replace(&mut request, b" HTTP/1.1\r\n", b" HTTP/1.1\r\nConnection: close\r\n");
    let mut response = Vec::new();
    let Ok(mut stream) = TcpStream::connect(server) else { return response };
    let _ = stream.write_all(&request);
    let _ = stream.read_to_end(&mut response);
    replace(&mut response, b"connection: close\r\n", b"");
    response
}

/// Resets the connection.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = ka_01();
    twins.extend(ka_02());
    twins.extend(ka_03());
    twins.extend(ka_04());
    twins.extend(ka_05());
    twins.extend(ka_06());
    twins.extend(ka_07());
    twins
}

/// Says `close` in a response.
fn says_close(mut response: Vec<u8>) -> Vec<u8> {
    replace(&mut response, b"\r\ndate: ", b"\r\nconnection: close\r\ndate: ");
    response
}

fn ka_01() -> Vec<Twin> {
    vec![
        answers("KA-01", "in answer to request 2, a close", |_, answer| (answer, false)),
        answers("KA-01", "in answer to request 2, nothing", |asked, answer| match asked.number {
            1 => (answer, true),
            _ => (Vec::new(), true),
        }),
        answers("KA-01", "requests of all kinds in turn: in answer", |asked, answer| {
            (answer, !asked.is("HEAD"))
        }),
        answers("KA-01", "in answer to request 51, a close", |asked, answer| {
            (answer, asked.number < 50)
        }),
        answers("KA-01", "answer 1 says close", |_, answer| (says_close(answer), false)),
        answers("KA-01", "the connection option `not-close`", |asked, answer| {
            let closes = asked.has("close");
            (if closes { says_close(answer) } else { answer }, !closes)
        }),
    ]
}

fn ka_02() -> Vec<Twin> {
    fn without(bytes: &mut Vec<u8>, lines: &[u8]) {
        replace(bytes, lines, b"");
    }
    vec![
        Twin::front("KA-02", "Connection: Close", |bytes| {
            without(bytes, b"Connection: Close\r\n");
        }),
        Twin::front("KA-02", "connection: CLOSE", |bytes| {
            without(bytes, b"connection: CLOSE\r\n");
        }),
        Twin::front("KA-02", "Connection: foo, close", |bytes| without(bytes, b", close\r\n")),
        Twin::front("KA-02", "Connection: close, foo", |bytes| without(bytes, b"close, foo")),
        Twin::front("KA-02", "foo and Connection: close", |bytes| {
            without(bytes, b"foo\r\nConnection: close");
        }),
        Twin::front("KA-02", "Connection: keep-alive, close", |bytes| {
            replace(bytes, b"keep-alive, close", b"keep-alive");
        }),
        Twin::front("KA-02", "Connection: ,close ,", |bytes| without(bytes, b",close ,")),
        Twin::front("KA-02", "Connection: close and Connection: foo", |bytes| {
            without(bytes, b"Connection: close\r\nConnection: foo\r\n");
        }),
        Twin::front("KA-02", "Connection: foo,close", |bytes| without(bytes, b",close\r\n")),
        Twin::front("KA-02", "Connection:close", |bytes| without(bytes, b"Connection:close\r\n")),
        Twin::front("KA-02", "GET /known?bytes=20000 with close", |bytes| {
            let one = [&b"GET /known?bytes=20"[..], b"GET /no", b"GET /stream", b"HEAD /"];
            if one.iter().any(|one| bytes.starts_with(one)) {
                without(bytes, b"Connection: close\r\n");
            }
        }),
        Twin::front("KA-02", "requests behind a last one, POST /echo", |bytes| {
            if bytes.starts_with(b"POST /echo") {
                without(bytes, b"Connection: close\r\n");
            }
        }),
        Twin::back("KA-02", "no Connection field", |bytes| {
            without(bytes, b"connection: close\r\n");
        }),
        Twin::back("KA-02", "close: Connection: keep-alive", |bytes| {
            replace(bytes, b"connection: close\r\n", b"connection: keep-alive\r\n");
        }),
        Twin::front("KA-02", "requests behind a last one", |bytes| {
            replace(bytes, b"Connection: close\r\n\r\nGET", b"\r\nGET");
        }),
        Twin::server("KA-02", "what is behind a last request", |client, server| {
            let front = |bytes: &mut Vec<u8>| {
                let mark = b"Connection: close\r\n\r\nGET /known";
                let at = bytes.windows(mark.len()).position(|window| window == mark);
                if let Some(at) = at {
                    ask(server, &bytes[at + mark.len() - b"GET /known".len()..]);
                }
            };
            tamper(client, server, front, |_| {});
        }),
        answers("KA-02", "and still open", |_, answer| (says_close(answer), true)),
    ]
}

fn ka_03() -> Vec<Twin> {
    /// As if it were of HTTP/1.1, where this line is in it.
    fn newer(bytes: &mut Vec<u8>, line: &[u8]) {
        if bytes.windows(line.len()).any(|window| window == line) {
            replace(bytes, b" HTTP/1.0\r\n", b" HTTP/1.1\r\n");
        }
    }
    vec![
        Twin::front("KA-03", "still open", |bytes| replace(bytes, b" HTTP/1.0\r", b" HTTP/1.1\r")),
        Twin::back("KA-03", "not keep-alive, and still open", |bytes| {
            replace(bytes, b"connection: keep-alive\r\n", b"");
        }),
        answers("KA-03", "with keep-alive, then a close", |asked, mut answer| {
            replace(&mut answer, b"\r\ndate: ", b"\r\nconnection: keep-alive\r\ndate: ");
            (answer, asked.stays())
        }),
        Twin::front("KA-03", "keep-alive, close", |bytes| {
            replace(bytes, b"keep-alive, close", b"keep-alive");
        }),
        Twin::front("KA-03", "HTTP/1.0 of / with \"Connection: foo\"", |bytes| {
            newer(bytes, b"Connection: foo\r\n");
        }),
        Twin::front("KA-03", "HTTP/1.0 of /stream", |bytes| {
            newer(bytes, b"Connection: keep-alive, close\r\n");
            replace(bytes, b"keep-alive, close", b"keep-alive");
        }),
        Twin::front("KA-03", "HTTP/1.0 of / with `Keep-Alive`", |bytes| {
            newer(bytes, b"Connection: Keep-Alive\r\n");
        }),
        Twin::front("KA-03", "HTTP/1.0 of / with `foo, keep-alive`", |bytes| {
            newer(bytes, b"Connection: foo, keep-alive\r\n");
        }),
        Twin::front("KA-03", "a request behind one of HTTP/1.0", |bytes| {
            replace(bytes, b" HTTP/1.0\r\n", b" HTTP/1.0\r\nConnection: keep-alive\r\n");
        }),
    ]
}

fn ka_04() -> Vec<Twin> {
    vec![
        // Slow ones are overtaken by the next.
        Twin::server("KA-04", "in place", |client, server| {
            let mut late = Vec::new();
            exchange(client, server, move |asked, answer| {
                if asked.has("GET /slow") {
                    late = answer;
                    return (Vec::new(), true);
                }
                (answer.into_iter().chain(late.drain(..)).collect(), true)
            });
        }),
        // What else came in the same segment is forgotten.
        Twin::front("KA-04", "in place 2: nothing", |bytes| {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            bytes.truncate(end.map_or(bytes.len(), |end| end + 4));
        }),
        answers("KA-04", "bytes behind them", |asked, answer| match asked.number {
            20 => (answer.repeat(2), true),
            _ => (answer, true),
        }),
        // The body of the one before.
        Twin::server("KA-04", "in place", |client, server| {
            let mut before = Vec::new();
            exchange(client, server, move |asked, answer| {
                let stale = asked.is("POST") && !before.is_empty();
                let answer = if stale { before.clone() } else { answer };
                before.clone_from(&answer);
                (answer, true)
            });
        }),
    ]
}

fn ka_05() -> Vec<Twin> {
    /// The first line of what the client sends, and the head with it.
    fn head(mut client: &TcpStream) -> Vec<u8> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        head
    }
    /// Answers without a look at the body, and closes at once.
    fn at_once(mut client: TcpStream, server: SocketAddr) {
        let mut head = head(&client);
        replace(&mut head, b"Content-Length: 1048576\r\n", b"");
        replace(&mut head, b"POST ", b"GET ");
        let _ = client.write_all(&ask(server, &head));
    }
    /// Closes on such requests, without an answer.
    fn silent_to(client: TcpStream, server: SocketAddr, start: &[u8]) {
        let mut peeked = [0; 16];
        if client.peek(&mut peeked).is_ok() && peeked.starts_with(start) {
            head(&client);
        } else {
            tamper(client, server, |_| {}, |_| {});
        }
    }
    vec![
        Twin::server("KA-05", "POST /early", at_once),
        Twin::server("KA-05", "POST / with 1 MiB that is not read, 5 times", |client, server| {
            silent_to(client, server, b"POST / ");
        }),
        Twin::server(
            "KA-05",
            "POST /early with 1 MiB that is not read, 20 times",
            |client, server| {
                silent_to(client, server, b"POST /early ");
            },
        ),
        Twin::server("KA-05", "POST /known", at_once),
        Twin::server("KA-05", "POST /unread", |client, server| {
            silent_to(client, server, b"POST /unread ");
        }),
        Twin::server("KA-05", "a last answer to a slow reader", |mut client, server| {
            let head = head(&client);
            let _ = client.write_all(&ask(server, &head));
            reset(&client);
        }),
    ]
}

fn ka_06() -> Vec<Twin> {
    fn idle(client: TcpStream, server: SocketAddr, end: impl Fn(&TcpStream)) {
        let _ = client.set_read_timeout(Some(Duration::from_millis(300)));
        let Ok(mut writer) = client.try_clone() else { return };
        let Ok(mut reader) = client.try_clone() else { return };
        let mut buffer = Vec::new();
        while let Some(bytes) = request(&mut reader, &mut buffer) {
            let _ = writer.write_all(&ask(server, &bytes));
        }
        end(&client);
    }
    vec![
        Twin::server("KA-06", "408", |client, server| {
            idle(client, server, |mut client| {
                let _ = client.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
            });
        }),
        Twin::server("KA-06", "and reset", |client, server| idle(client, server, reset)),
    ]
}

/// The end of the client's side is taken for its disconnect.
pub(crate) fn ends_with_the_client(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(&client, &server, |_| {});
            let _ = client.shutdown(Shutdown::Both);
        });
        pass(&server, &client, |_| {});
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn ka_07() -> Vec<Twin> {
    vec![
        Twin::server("KA-07", "FIN while the handler is at work", ends_with_the_client),
        Twin::server("KA-07", "FIN behind a slow answer", ends_with_the_client),
        Twin::server("KA-07", "the end, after a FIN", |client, server| {
            static KEPT: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());
            KEPT.lock().unwrap().extend(client.try_clone());
            clings(client, server);
        }),
        // Only the first has its answer.
        Twin::front("KA-07", "FIN behind three pipelined", |bytes| {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            bytes.truncate(end.map_or(bytes.len(), |end| end + 4));
        }),
        // The rest of a large answer is lost.
        Twin::server("KA-07", "FIN behind a large answer", |client, server| {
            exchange(client, server, |asked, mut answer| {
                answer.truncate(1_000_000);
                (answer, asked.stays())
            });
        }),
    ]
}

/// Its bound has to be declared, so these are no twins.
#[test]
fn a_bound_on_requests_is_announced_in_the_last_response_alone() {
    let verdict = |serve: fn(TcpStream, SocketAddr)| {
        let mut target = target(Box::new(Proxied::start(good(), serve)));
        target.declared.requests_per_connection = Some(5);
        let options = Options { only: vec!["KA-08".to_owned()], jobs: 1, confirm: false };
        run(&target, &options, &|_| {}).first().map(|outcome| outcome.verdict)
    };
    let last = verdict(|client, server| {
        exchange(client, server, |asked, answer| match asked.number {
            5 => (says_close(answer), false),
            _ => (answer, true),
        });
    });
    assert_eq!(last, Some(Verdict::Pass));
    let early = verdict(|client, server| {
        exchange(client, server, |asked, answer| match asked.number {
            4 => (says_close(answer), false),
            _ => (answer, true),
        });
    });
    assert_eq!(early, Some(Verdict::Warn));
    let unsaid = verdict(|client, server| {
        exchange(client, server, |asked, answer| (answer, asked.number < 5));
    });
    assert_eq!(unsaid, Some(Verdict::Warn));
}
