//! Servers that break the rules of `wire/bodyless.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::persistence::{Answer, Asked, answers, exchange, from_the};
use super::twin::{Twin, replace, tamper};

pub(crate) fn twins() -> Vec<Twin> {
    let mut twins = sem_01();
    twins.extend(sem_02());
    twins.extend(sem_03());
    twins.extend(sem_04());
    twins.extend(sem_05());
    twins
}

fn sem_01() -> Vec<Twin> {
    vec![
        Twin::front("SEM-01", "behind it bytes that are no response", |bytes| {
            replace(bytes, b"HEAD ", b"GET ");
        }),
        answers("SEM-01", "Content-Length: Some(\"0\")", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b"content-length: 1000\r\n", b"content-length: 0\r\n");
            }
            (answer, asked.stays())
        }),
        answers("SEM-01", "Content-Length: None where", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b"content-length: ", b"x-length: ");
            }
            (answer, asked.stays())
        }),
        answers("SEM-01", "text/plain", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b"content-type: text/plain\r\n", b"");
            }
            (answer, asked.stays())
        }),
        answers("SEM-01", "HEAD /cookies", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b"set-cookie: b=2\r\n", b"");
            }
            (answer, asked.stays())
        }),
        answers("SEM-01", "405 to HEAD", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b" 200 OK", b" 405 Method Not Allowed");
            }
            (answer, asked.stays())
        }),
        answers(
            "SEM-01",
            "HEAD /stream?chunks=3&bytes=10: Content-Length: Some(\"7777\")",
            |asked, mut answer| {
                if asked.is("HEAD") {
                    replace(&mut answer, b"content-length: ", b"x-length: ");
                    replace(&mut answer, b"\r\ndate: ", b"\r\ncontent-length: 7777\r\ndate: ");
                }
                (answer, asked.stays())
            },
        ),
        answers("SEM-01", "HEAD /no-such-path: 200 to HEAD, 404 to GET", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b" 404 Not Found", b" 200 OK");
            }
            (answer, asked.stays())
        }),
        answers(
            "SEM-01",
            "HEAD /stream?chunks=3&bytes=10: Content-Length: None",
            |asked, mut answer| {
                let chunked = b"transfer-encoding: chunked\r\n";
                if asked.is("GET /stream") {
                    let body = asked.target().ends_with("bytes=10").then(|| "x".repeat(30));
                    let body = body.unwrap_or_default();
                    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(0);
                    answer.truncate(end + 4);
                    let length = format!("content-length: {}\r\n", body.len());
                    replace(&mut answer, chunked, length.as_bytes());
                    answer.extend(body.into_bytes());
                }
                (answer, asked.stays())
            },
        ),
        answers("SEM-01", "(\"x-head\", \"yes\")", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(&mut answer, b"\r\ndate: ", b"\r\nx-head: yes\r\ndate: ");
            }
            (answer, asked.stays())
        }),
        // The end of a body that is not there.
        answers("SEM-01", "HEAD /stream", |asked, mut answer| {
            if asked.is("HEAD /stream") {
                answer.extend(b"0\r\n\r\n");
            }
            (answer, asked.stays())
        }),
        answers("SEM-01", "HEAD of HTTP/1.0", |asked, mut answer| {
            if asked.is("HEAD") && asked.has(" HTTP/1.0\r\n") {
                answer.extend(b"ok\n");
            }
            (answer, asked.stays())
        }),
    ]
}

fn sem_02() -> Vec<Twin> {
    vec![
        Twin::back("SEM-02", "204, content-length: 0", |bytes| {
            replace(bytes, b"204 No Content\r\n", b"204 No Content\r\ncontent-length: 0\r\n");
        }),
        answers("SEM-02", "transfer-encoding: chunked", |asked, mut answer| {
            let old = b"204 No Content\r\n";
            replace(&mut answer, old, b"204 No Content\r\ntransfer-encoding: chunked\r\n");
            (answer, asked.stays())
        }),
        answers("SEM-02", "behind it bytes that are no response", |asked, mut answer| {
            if asked.has("code=204") {
                answer.extend(b"body\n");
            }
            (answer, asked.stays())
        }),
        answers("SEM-02", "204 to HTTP/1.0", |asked, mut answer| {
            if asked.has("code=204 HTTP/1.0") {
                answer.extend(b"body\n");
            }
            (answer, asked.stays())
        }),
        answers("SEM-02", "204 to HEAD", |asked, mut answer| {
            if asked.is("HEAD") {
                replace(
                    &mut answer,
                    b"204 No Content\r\n",
                    b"204 No Content\r\ncontent-length: 5\r\n",
                );
            }
            (answer, asked.stays())
        }),
        answers("SEM-02", "205: 205", |asked, answer| match asked.has("code=205") {
            true => (b"HTTP/1.1 205 Reset\r\ncontent-length: 3\r\n\r\n205".to_vec(), true),
            false => (answer, asked.stays()),
        }),
        Twin::back("SEM-02", "the interim 100", |bytes| {
            replace(bytes, b"100 Continue\r\n", b"100 Continue\r\nContent-Length: 0\r\n");
        }),
        Twin::back("SEM-02", "the 101 of an upgrade", |bytes| {
            let old = b"101 Switching Protocols\r\n";
            replace(bytes, old, b"101 Switching Protocols\r\ncontent-length: 0\r\n");
        }),
    ]
}

fn sem_03() -> Vec<Twin> {
    vec![
        answers("SEM-03", "304 to GET", |asked, mut answer| {
            if asked.is("GET /status?code=304") {
                answer.extend(b"body\n");
            }
            (answer, asked.stays())
        }),
        answers("SEM-03", "304 to HEAD", |asked, mut answer| {
            if asked.is("HEAD /status?code=304") {
                answer.extend(b"0\r\n\r\n");
            }
            (answer, asked.stays())
        }),
        // A page that can be revalidated, and comes with its body all the same.
        answers("SEM-03", "GET / with If-None-Match", |asked, mut answer| {
            replace(&mut answer, b"\r\ndate: ", b"\r\netag: \"1\"\r\ndate: ");
            if asked.has("If-None-Match") {
                replace(&mut answer, b" 200 OK", b" 304 Not Modified");
            }
            (answer, asked.stays())
        }),
    ]
}

fn sem_04() -> Vec<Twin> {
    vec![
        // A proxy that is open to anybody.
        Twin::server("SEM-04", "the other end of CONNECT", |mut client, server| {
            let mut head = [0; 512];
            let read = client.peek(&mut head).unwrap_or_default();
            let text = String::from_utf8_lossy(&head[..read]).into_owned();
            let Some(rest) = text.strip_prefix("CONNECT ") else {
                return tamper(client, server, |_| {}, |_| {});
            };
            let _ = client.read(&mut head);
            let there = TcpStream::connect(rest.split(' ').next().unwrap_or_default());
            let answer: &[u8] = match there {
                Ok(_) => b"HTTP/1.1 200 Connection established\r\n\r\n",
                Err(_) => b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            };
            let _ = client.write_all(answer);
        }),
        Twin::server("SEM-04", "content-length: 2", |client, server| {
            exchange(client, server, |asked, answer| match asked.is("CONNECT") {
                true => (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), true),
                false => (answer, asked.stays()),
            });
        }),
        answers("SEM-04", "CONNECT 127.0.0.1", |asked, answer| match asked.is("CONNECT") {
            true => (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), true),
            false => (answer, asked.stays()),
        }),
        answers("SEM-04", "nothing: no answer", |asked, answer| match asked.is("CONNECT") {
            true => (Vec::new(), true),
            false => (answer, asked.stays()),
        }),
    ]
}

fn sem_05() -> Vec<Twin> {
    /// Bytes behind a response that has no body.
    fn babbles(_: &Asked, mut answer: Vec<u8>) -> Answer {
        answer.extend(b"body\n");
        (answer, true)
    }
    // Each of these comes all in one write first, and then one by one.
    let babbling: [(usize, &str, &str); 9] = [
        (1, "HEAD / ", "HEAD /, all pipelined"),
        (2, "HEAD / ", "HEAD /, one by one"),
        (4, "GET /status", "GET /status?code=204, one by one"),
        (1, "HEAD /status", "HEAD /status?code=404, all pipelined"),
        (3, "HEAD /status", "HEAD /status?code=404, one by one"),
        (2, "HEAD /known", "HEAD /known?bytes=1000, one by one"),
        (3, "HEAD /stream", "HEAD /stream?chunks=3&bytes=100, one by one"),
        (1, "HEAD /empty-chunk", "HEAD /empty-chunk, all pipelined"),
        (2, "HEAD /empty-chunk", "HEAD /empty-chunk, one by one"),
    ];
    let babbling = babbling.map(|(n, begins, says)| from_the(n, begins, ("SEM-05", says), babbles));
    let mut twins = vec![
        answers("SEM-05", "GET /status?code=204", |asked, mut answer| {
            if asked.is("GET /status?code=204") {
                answer.extend(b"body\n");
            }
            (answer, true)
        }),
        answers("SEM-05", "GET /status?code=304", |asked, mut answer| {
            if asked.is("GET /status?code=304") {
                answer.extend(b"5\r\nbody\n\r\n0\r\n\r\n");
            }
            (answer, true)
        }),
        answers("SEM-05", "HEAD /known", |asked, mut answer| {
            if asked.is("HEAD /known") {
                answer.extend(b"x".repeat(1000));
            }
            (answer, true)
        }),
        answers("SEM-05", "HEAD /stream", |asked, mut answer| {
            if asked.is("HEAD /stream") {
                answer.extend(b"0\r\n\r\n");
            }
            (answer, true)
        }),
        answers("SEM-05", "HEAD /empty-chunk", |asked, mut answer| {
            if asked.is("HEAD /empty-chunk") {
                answer.extend(b"ab");
            }
            (answer, true)
        }),
        // The next answer goes with the body that is dropped.
        answers("SEM-05", "GET /status?code=204, all pipelined", |asked, answer| {
            if asked.number == 2 { (Vec::new(), true) } else { (answer, true) }
        }),
    ];
    twins.extend(babbling);
    twins
}
