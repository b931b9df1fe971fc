//! TLS: what a client sees, and what it can't hold up.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use gateway_core::{App, Body, Host, Request, Response, unblock};
use gateway_http::{Bound, Deadlines, Listener, Server, Tls};
use gateway_tests::secure::{Ask, Folder, facts, shown, tcp};
use gateway_tests::{Serving, eventually, on_every_host};
use rustix::net::sockopt;
use tokio_rustls::rustls;

on_every_host!(2:
    a_request_comes_with_the_facts_of_its_handshake,
    alpn_chooses_http2_and_without_it_the_first_bytes_do,
    no_protocol_in_common_is_no_handshake,
    a_certificate_is_chosen_by_its_name,
    bodies_of_any_size_go_both_ways,
    lines_are_looked_at_behind_tls,
    a_reload_shows_the_new_certificate_and_keeps_what_is_open,
    a_reload_that_fails_names_the_line_and_changes_nothing,
    a_handshake_that_stalls_is_over_at_its_deadline,
    a_handshake_that_stalls_does_not_hold_up_a_drain,
    what_is_no_handshake_harms_nobody_else,
    plain_http_is_told_what_the_port_speaks,
    the_end_is_told_apart_from_a_connection_cut_off,
    a_half_closed_client_has_its_answer,
    a_reset_cancels_the_handler,
);

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// An app on a free port, and what it speaks TLS with.
fn bound<A: App>(folder: &Folder, app: A) -> (Bound<A>, Tls) {
    folder.certificate("a", &["a.test"]);
    let tls = Tls::from_pem_files([folder.files("a")]).unwrap();
    (Server::new(app).listen(listening(&tls)), tls)
}

fn listening(tls: &Tls) -> Listener {
    Listener::bind("127.0.0.1:0").unwrap().with_tls(tls.clone())
}

fn a_request_comes_with_the_facts_of_its_handshake(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    for (versions, expected) in [
        (rustls::ALL_VERSIONS, "TLSv1.3 TLS_AES_256_GCM_SHA384 a.test http/1.1"),
        (TLS12, "TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 a.test http/1.1"),
    ] {
        let mut client = Ask { versions, ..Ask::default() }.to(&serving);
        let address = client.stream.get_ref().sock.local_addr().unwrap();
        for _ in 0..2 {
            client.send(GET);
            assert_eq!(client.answer().text(), format!("{address}\n{address}\n{expected}"));
        }
    }
    let mut unnamed = Ask { name: None, alpn: &[], ..Ask::default() }.to(&serving);
    unnamed.send(GET);
    assert!(unnamed.answer().text().ends_with(" - -"));
}

/// Opens HTTP/2, asks for `/`, and gives the status and the data that come back.
fn ask_http2(client: &mut (impl Read + Write)) -> (u8, Vec<u8>) {
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // :method GET, :scheme https, :path /, :authority a.test; END_STREAM and END_HEADERS.
    let fields = [&[0x82, 0x87, 0x84, 0x01, 6][..], b"a.test"].concat();
    sent.extend([0, 0, fields.len() as u8, 1, 0x5, 0, 0, 0, 1]);
    sent.extend(fields);
    client.write_all(&sent).unwrap();
    client.flush().unwrap();
    let (mut status, mut data) = (0, Vec::new());
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).unwrap();
        match head[3] {
            0 => data.extend(payload),
            1 => status = payload[0],
            _ => continue,
        }
        if head[4] & 1 == 1 {
            return (status, data);
        }
    }
}

fn alpn_chooses_http2_and_without_it_the_first_bytes_do(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    /// `:status 200`, in the static table of HPACK.
    const OK: u8 = 0x88;
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1", "h2"], &[]] {
        let mut client = Ask { alpn, ..Ask::default() }.to(&serving);
        let (status, data) = ask_http2(client.stream.get_mut());
        let data = String::from_utf8(data).unwrap();
        let chosen = if alpn.is_empty() { "a.test -" } else { "a.test h2" };
        assert!(status == OK && data.ends_with(chosen), "{alpn:?}: {status} {data}");
    }
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = Ask { alpn, ..Ask::default() }.to(&serving);
        client.send(GET);
        assert_eq!(client.answer().status, 200, "{alpn:?}");
    }
    // Whoever has agreed on one protocol does not speak the other.
    let mut client = Ask { alpn: &["h2"], ..Ask::default() }.to(&serving);
    client.send(GET);
    assert_eq!(client.try_answer(), None);
    let mut client = Ask::default().to(&serving);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(client.try_answer().is_none_or(|answer| answer.status >= 400));
}

fn no_protocol_in_common_is_no_handshake(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    let refused = Ask { alpn: &["spdy/3"], ..Ask::default() }.over(tcp(&serving));
    let error = refused.err().expect("no handshake").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

fn a_certificate_is_chosen_by_its_name(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let first = folder.certificate("first", &["a.test", "other.a.test"]);
    let wild = folder.certificate("wild", &["*.b.test", "b.test"]);
    let own = folder.certificate("own", &["own.b.test", "a.test"]);
    let tls = Tls::from_pem_files(["first", "wild", "own"].map(|file| folder.files(file))).unwrap();
    let serving = Serving::on(host, Server::new(facts).listen(listening(&tls)));
    for (name, expected) in [
        (Some("a.test"), &first),
        (Some("A.test"), &first),
        (Some("other.a.test"), &first),
        (Some("b.test"), &wild),
        (Some("x.b.test"), &wild),
        (Some("own.b.test"), &own),
        (Some("x.y.b.test"), &first),
        (Some("unknown.test"), &first),
        (None, &first),
    ] {
        let client = Ask { name, ..Ask::default() }.to(&serving);
        assert!(shown(&client) == *expected, "{name:?}");
    }
}

fn bodies_of_any_size_go_both_ways(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let echo = async |request: Request| Response::new(request.into_body());
    let serving = Serving::on(host, bound(&folder, echo).0);
    let mut client = Ask::default().to(&serving);
    // Smaller than a record, about as large as one, and more than all buffers on the way.
    for size in [0, 1, 16 * 1024 - 1, 16 * 1024 + 1, 1024 * 1024] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        client.send(format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {size}\r\n\r\n"));
        client.send(&body);
        assert!(client.answer().body == body, "{size}");
    }
}

fn lines_are_looked_at_behind_tls(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    let bare = GET.replace("a.test\r", "a.test");
    for (request, status) in [
        (GET.replace("1.1", "1.7"), 200),
        (GET.replace("1.1", "2.0"), 505),
        (GET.replace("/ ", "/# "), 400),
        (bare, 400),
    ] {
        // With and without a request before it in the same record.
        for before in ["", GET] {
            let mut client = Ask::default().to(&serving);
            client.send([before, &request].concat());
            if !before.is_empty() {
                assert_eq!(client.answer().status, 200, "{request:?}");
            }
            assert_eq!(client.answer().status, status, "{request:?}");
        }
    }
}

fn a_reload_shows_the_new_certificate_and_keeps_what_is_open(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let (bound, tls) = bound(&folder, facts);
    let serving = Serving::on(host, bound);
    let mut open = Ask::default().to(&serving);
    let old = shown(&open);
    let new = folder.certificate("a", &["a.test"]);
    assert!(shown(&Ask::default().to(&serving)) == old, "nobody has asked for a reload");
    tls.reload().unwrap();
    let mut next = Ask::default().to(&serving);
    assert!(shown(&next) == new && new != old);
    for client in [&mut open, &mut next] {
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
}

fn a_reload_that_fails_names_the_line_and_changes_nothing(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let (bound, tls) = bound(&folder, facts);
    let serving = Serving::on(host, bound);
    let (certificate, key) = folder.files("a");
    let [good, good_key] = [&certificate, &key].map(|file| fs::read_to_string(file).unwrap());
    let old = shown(&Ask::default().to(&serving));
    folder.certificate("b", &["b.test"]);
    let other_key = fs::read_to_string(folder.files("b").1).unwrap();
    let line = |file: &PathBuf, line: usize| format!("{}, line {line}: ", file.display());
    let broken = [
        (&certificate, good.replacen("MII", "!!!", 1), line(&certificate, 1)),
        (
            &certificate,
            format!("# a comment\n{}", good.replacen("MII", "AAA", 1)),
            line(&certificate, 2),
        ),
        (&certificate, good.replace("END", "FIN"), line(&certificate, 1)),
        (
            &certificate,
            String::new(),
            format!("{}: there is no certificate", certificate.display()),
        ),
        (&key, good.clone(), format!("{}: there is no unencrypted key", key.display())),
        (&key, format!("\n\n{other_key}"), line(&key, 3) + "this is not the key of"),
    ];
    for (file, content, expected) in broken {
        fs::write(file, content).unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.starts_with(&expected) && !error.contains('\n'), "{error} for {expected}");
        assert!(shown(&Ask::default().to(&serving)) == old);
        fs::write(&certificate, &good).unwrap();
        fs::write(&key, &good_key).unwrap();
    }
    fs::remove_file(&certificate).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}: ", certificate.display())), "{error}");
    assert!(shown(&Ask::default().to(&serving)) == old);
}

/// The beginning of a ClientHello.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc];

fn a_handshake_that_stalls_is_over_at_its_deadline(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    folder.certificate("a", &["a.test"]);
    let tls = Tls::from_pem_files([folder.files("a")]).unwrap();
    let deadlines = Deadlines { handshake: Duration::from_millis(200), ..Deadlines::default() };
    let server = Server::new(facts).deadlines(deadlines);
    let serving = Serving::on(host, server.listen(listening(&tls)));
    for begun in [&b""[..], HALF_A_HELLO] {
        let mut client = serving.connect();
        client.send(begun);
        assert!(client.is_closed());
    }
    // Whoever has shaken hands in time is not held to it.
    let mut client = Ask::default().to(&serving);
    assert!(serving.connect().is_closed());
    client.send(GET);
    assert_eq!(client.answer().status, 200);
}

fn a_handshake_that_stalls_does_not_hold_up_a_drain(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    folder.certificate("a", &["a.test"]);
    let hour = Duration::from_secs(3600);
    let tls = Tls::from_pem_files([folder.files("a")]).unwrap();
    let deadlines = Deadlines { drain: hour, handshake: hour, ..Deadlines::default() };
    let server = Server::new(facts).deadlines(deadlines);
    let mut serving = Serving::on(host, server.listen(listening(&tls)));
    let mut stalled = serving.connect();
    stalled.send(HALF_A_HELLO);
    let mut whole = Ask::default().to(&serving);
    whole.send(GET);
    assert_eq!(whole.answer().status, 200);
    serving.drain();
    assert!(stalled.is_closed());
    eventually("the server has ended", || serving.has_ended());
}

fn what_is_no_handshake_harms_nobody_else(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    for garbage in
        [&[0; 600][..], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], &[0x80, 0x2e, 1, 0, 2], b"hello"]
    {
        let mut client = serving.connect();
        client.send(garbage);
        client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.stream.read_to_end(&mut answer).unwrap();
        // An alert, or nothing.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    let mut client = Ask::default().to(&serving);
    client.send(GET);
    assert_eq!(client.answer().status, 200);
}

fn plain_http_is_told_what_the_port_speaks(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    let long = format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 99\r\n\r\n{:99}", "");
    for request in [GET, &long, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = serving.connect();
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
        assert_eq!(answer.text(), "this port speaks TLS: use https://\n");
        assert!(client.is_closed());
    }
}

fn the_end_is_told_apart_from_a_connection_cut_off(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let serving = Serving::on(host, bound(&folder, facts).0);
    let mut client = Ask::default().to(&serving);
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    // Without close_notify this would be an error.
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
}

fn a_half_closed_client_has_its_answer(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |request: Request| {
        let (begun, gate) = (begun.clone(), gate.clone());
        async move {
            if request.uri().path() == "/gate" {
                begun.send(()).unwrap();
                unblock(move || gate.lock().unwrap().recv().unwrap()).await.unwrap();
            }
            Response::new(Body::from("answered"))
        }
    };
    let serving = Serving::on(host, bound(&folder, app).0);
    // With the end of its side told, and with the connection cut off there.
    for told in [true, false] {
        let mut client = Ask::default().to(&serving);
        client.send("GET /gate HTTP/1.1\r\nhost: t\r\n\r\n");
        begins.recv().unwrap();
        let stream = client.stream.get_mut();
        if told {
            stream.conn.send_close_notify();
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        stream.sock.shutdown(Shutdown::Write).unwrap();
        // The server has had its turns, and so has seen it, by the time that the handler goes on.
        for _ in 0..5 {
            let mut other = Ask::default().to(&serving);
            other.send(GET);
            assert_eq!(other.answer().status, 200);
        }
        go.send(()).unwrap();
        assert_eq!(client.answer().text(), "answered", "told: {told}");
        assert!(client.is_closed());
    }
}

fn a_reset_cancels_the_handler(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let alive = Arc::new(());
    let (begun, begins) = mpsc::channel();
    let held = alive.clone();
    let app = move |_: Request| {
        let (held, begun) = (held.clone(), begun.clone());
        async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
            Response::new(Body::empty())
        }
    };
    let serving = Serving::on(host, bound(&folder, app).0);
    let before = Arc::strong_count(&alive);
    let unread = format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 99999\r\n\r\n{:9999}", "");
    for request in [GET, &GET.repeat(2), &unread] {
        let mut client = Ask::default().to(&serving);
        client.send(request);
        begins.recv().unwrap();
        assert!(Arc::strong_count(&alive) > before);
        let socket = &client.stream.get_ref().sock;
        sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("the handler is dropped", || Arc::strong_count(&alive) == before);
    }
}
