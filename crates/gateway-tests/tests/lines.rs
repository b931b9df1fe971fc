//! Lines that hyper's parser lets through: refused before the app sees the request, however they
//! come and whatever stands before them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use gateway_core::{Body, Error, Host, Request, Response};
use gateway_http::Server;
use gateway_tests::{Answer, Client, Serving, on_every_host};

on_every_host!(2:
    what_is_found_in_a_head_is_refused_before_the_app,
    what_is_found_in_a_body_is_an_error_of_the_body,
    later_minor_versions_are_served,
    bodies_of_any_size_arrive_whole,
    a_hundred_requests_at_once_have_their_answers_in_order,
);

/// The targets that the app was called with.
type Calls = Arc<Mutex<Vec<String>>>;

/// A server whose app answers with a request's path, and its body.
fn serving(host: impl Host + Send + 'static) -> (Serving, Calls) {
    let calls = Calls::default();
    let called = calls.clone();
    let app = move |request: Request| {
        called.lock().unwrap().push(request.uri().to_string());
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect(2_000_000).await?;
            Ok::<_, Error>(Response::new(Body::from([path.as_bytes(), b" ", &body].concat())))
        }
    };
    (Serving::start(host, Server::new(app)), calls)
}

const GOOD: &str = "GET /good HTTP/1.1\r\nhost: t\r\nx-a: b\r\n\r\n";

/// What may stand before a request, each on its own.
const BEFORE: [&str; 4] = [
    "",
    GOOD,
    "POST /good HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\n\n#\n",
    "POST /good HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\n#\n\r\n0\r\n\r\n",
];

/// Sends bytes at once, or one by one. The server may have closed before it has read them all.
fn send(client: &mut Client, bytes: &[u8], one_by_one: bool) {
    let mut pieces = bytes.chunks(if one_by_one { 1 } else { bytes.len() });
    let stream = client.stream.get_mut();
    let _ = pieces.try_for_each(|piece| stream.write_all(piece));
}

fn is_refused(answer: &Answer, status: u16) -> bool {
    answer.status == status && answer.field("connection") == Some("close")
}

fn what_is_found_in_a_head_is_refused_before_the_app(host: impl Host + Send + 'static) {
    let (serving, calls) = serving(host);
    let bare = GOOD.match_indices('\r').map(|(at, _)| [&GOOD[..at], &GOOD[at + 1..]].concat());
    let mut heads: Vec<(String, u16)> = bare.map(|head| (head, 400)).collect();
    heads.push((GOOD.replace('\r', ""), 400));
    heads.push((format!("\n{GOOD}"), 400));
    heads.extend(["/good#", "/good?#a", "/#good"].map(|to| (GOOD.replace("/good", to), 400)));
    for version in ["HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/0.9"] {
        heads.push((GOOD.replace("HTTP/1.1", version), 505));
    }
    let coded = "POST /good HTTP/2.0\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    heads.push((coded.to_owned(), 505));
    // As HTTP/2 begins, but for two letters.
    heads.push(("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(), 505));
    for (head, status) in heads {
        for before in BEFORE {
            for one_by_one in [false, true] {
                calls.lock().unwrap().clear();
                let mut client = serving.connect();
                send(&mut client, [before, &head, GOOD].concat().as_bytes(), one_by_one);
                let shown = format!("{before:?}, {head:?}, {one_by_one}");
                if !before.is_empty() {
                    assert_eq!(client.answer().status, 200, "{shown}");
                }
                let refusal = client.answer();
                assert!(is_refused(&refusal, status), "{shown}: {refusal:?}");
                assert!(client.is_closed(), "{shown}");
                let called = calls.lock().unwrap().len();
                assert_eq!(called, usize::from(!before.is_empty()), "{shown}");
            }
        }
    }
    assert_eq!(serving.get("/twin").text(), "/twin ");
}

fn what_is_found_in_a_body_is_an_error_of_the_body(host: impl Host + Send + 'static) {
    let (serving, _) = serving(host);
    let head = "POST /chunked HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let asks = |body: &str, one_by_one| {
        let mut client = serving.connect();
        send(&mut client, [head, body, GOOD].concat().as_bytes(), one_by_one);
        let answer = client.answer();
        (answer, client)
    };
    for one_by_one in [false, true] {
        for body in [
            "3 \r\nabc\r\n0\r\n\r\n",
            "3\t\r\nabc\r\n0\r\n\r\n",
            "3;\r\nabc\r\n0\r\n\r\n",
            "3;;a\r\nabc\r\n0\r\n\r\n",
            "3;=b\r\nabc\r\n0\r\n\r\n",
            "3;a=\r\nabc\r\n0\r\n\r\n",
            "3;a\0\r\nabc\r\n0\r\n\r\n",
            "3;a=\"\x7f\"\r\nabc\r\n0\r\n\r\n",
            "3\r\nabc\r\n0;\r\n\r\n",
            "3\r\nabc\r\n00000000000000000\r\n\r\n",
            "3\r\nabc\r\n0\r\nx: y\n\r\n",
        ] {
            let (answer, mut client) = asks(body, one_by_one);
            assert!(is_refused(&answer, 400), "{body:?}, {one_by_one}: {answer:?}");
            assert!(client.is_closed(), "{body:?}, {one_by_one}");
        }
        for body in [
            "3\r\nabc\r\n0\r\n\r\n",
            "3;a\r\nabc\r\n0;b=c\r\nx: y\r\n\r\n",
            "0000000000000003 ; a = \"b;\\\"\" ;c=d\r\nabc\r\n0\r\n\r\n",
        ] {
            let (answer, mut client) = asks(body, one_by_one);
            assert_eq!(answer.text(), "/chunked abc", "{body:?}, {one_by_one}");
            assert_eq!(client.answer().text(), "/good ", "{body:?}, {one_by_one}");
        }
    }
}

fn later_minor_versions_are_served(host: impl Host + Send + 'static) {
    let (serving, _) = serving(host);
    for one_by_one in [false, true] {
        let mut client = serving.connect();
        for minor in 2..=9 {
            let request = GOOD.replace("HTTP/1.1", &format!("HTTP/1.{minor}"));
            send(&mut client, request.as_bytes(), one_by_one);
            assert_eq!(client.answer().text(), "/good ", "{minor}");
        }
    }
}

fn bodies_of_any_size_arrive_whole(host: impl Host + Send + 'static) {
    let (serving, _) = serving(host);
    let mut client = serving.connect();
    for size in [1, 4_000, 8_192, 70_000, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let mut coded = Vec::new();
        for chunk in body.chunks(size / 7 + 1) {
            let line = format!("{:x};a=b\r\n", chunk.len());
            coded.extend([line.as_bytes(), chunk, b"\r\n"].concat());
        }
        coded.extend(b"0\r\n\r\n");
        let by_length = format!("content-length: {size}");
        for (framing, sent) in [(&*by_length, &body), ("transfer-encoding: chunked", &coded)] {
            let head = format!("POST /up HTTP/1.1\r\nhost: t\r\n{framing}\r\n\r\n");
            client.send([head.as_bytes(), sent, GOOD.as_bytes()].concat());
            let expected = [b"/up ", &body[..]].concat();
            assert!(client.answer().body == expected, "{size} bytes, {framing}");
            assert_eq!(client.answer().text(), "/good ", "{size} bytes, {framing}");
        }
    }
}

fn a_hundred_requests_at_once_have_their_answers_in_order(host: impl Host + Send + 'static) {
    let (serving, calls) = serving(host);
    let requests: String = (0..100).map(|n| GOOD.replace("good", &n.to_string())).collect();
    let mut client = serving.connect();
    client.send(requests + &GOOD.replace('\r', ""));
    for number in 0..100 {
        assert_eq!(client.answer().text(), format!("/{number} "));
    }
    assert!(is_refused(&client.answer(), 400) && client.is_closed());
    assert_eq!(calls.lock().unwrap().len(), 100);
}
