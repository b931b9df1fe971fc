//! PROXY headers: believed of trusted proxies, refused from anybody else.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
use gateway_core::{App, Host, Request};
use gateway_http::{Bound, Deadline, Deadlines, Listener, PROXY_BYTES, Server, Tls};
use gateway_tests::secure::{Ask, Folder, facts, tcp};
use gateway_tests::{Client, PATIENCE, Serving, on_every_host};

on_every_host!(2:
    a_trusted_proxy_says_whose_connection_it_is,
    a_proxy_that_speaks_for_itself_keeps_its_own_address,
    a_header_may_come_byte_by_byte,
    a_trusted_proxy_without_a_header_is_not_heard,
    a_trusted_proxy_that_stalls_is_not_waited_for,
    anybody_else_is_refused_with_a_header_and_served_without,
    a_header_comes_before_tls,
    a_proxy_on_a_unix_socket_is_trusted_by_name,
);

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

/// The client of [`V1`] and [`v2`].
const CLIENT: &str = "192.0.2.7:4711";

/// A header of version 2, with some bytes of additions.
fn v2(beyond: usize) -> Vec<u8> {
    let length = (12 + beyond) as u16;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(length.to_be_bytes());
    header.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb]);
    header.resize(header.len() + beyond, 0xee);
    header
}

/// An app on a free port, with these proxies.
fn bound<A: App>(app: A, proxies: &str) -> Bound<A> {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let deadlines = Deadlines { proxy: Duration::from_millis(500), ..Deadlines::default() };
    let listener = listener.with_proxies(proxies.parse().unwrap());
    Server::new(app).deadlines(deadlines).listen(listener)
}

/// What the app is told: the client's address, the socket's, and whether there is TLS.
fn told<S: Read + Write>(client: &mut Client<S>) -> [String; 3] {
    client.send(GET);
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines: Vec<String> = answer.text().lines().map(str::to_owned).collect();
    lines.try_into().unwrap()
}

fn own_address(client: &Client) -> String {
    client.stream.get_ref().local_addr().unwrap().to_string()
}

fn a_trusted_proxy_says_whose_connection_it_is(host: impl Host + Send + 'static) {
    let serving = Serving::on(host, bound(facts, "10.0.0.0/8,127.0.0.0/8"));
    for header in [V1.as_bytes(), &v2(0), &v2(PROXY_BYTES - 28)] {
        let mut client = serving.connect();
        let own = own_address(&client);
        client.send(header);
        for _ in 0..2 {
            assert_eq!(told(&mut client), [CLIENT, &own, "plain"]);
        }
        // In one piece with what follows, of which not a byte is lost.
        let mut client = serving.connect();
        client.send([header, GET.repeat(2).as_bytes()].concat());
        for _ in 0..2 {
            assert!(client.answer().text().starts_with(CLIENT));
        }
    }
    let mut client = serving.connect();
    client.send("PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n");
    assert_eq!(told(&mut client)[0], "[2001:db8::7]:1");
}

fn a_proxy_that_speaks_for_itself_keeps_its_own_address(host: impl Host + Send + 'static) {
    let serving = Serving::on(host, bound(facts, "127.0.0.1"));
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ::1 ::2 3 4\r\n", local] {
        let mut client = serving.connect();
        let own = own_address(&client);
        client.send(header);
        assert_eq!(told(&mut client), [&own, &own, "plain"]);
    }
}

fn a_header_may_come_byte_by_byte(host: impl Host + Send + 'static) {
    let serving = Serving::on(host, bound(facts, "127.0.0.1"));
    for header in [V1.as_bytes(), &v2(5)] {
        let mut client = serving.connect();
        let own = own_address(&client);
        for byte in header {
            client.send([*byte]);
            thread::yield_now();
        }
        assert_eq!(told(&mut client), [CLIENT, &own, "plain"]);
    }
}

fn a_trusted_proxy_without_a_header_is_not_heard(host: impl Host + Send + 'static) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let app = move |request: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        facts(request)
    };
    let serving = Serving::on(host, bound(app, "127.0.0.1"));
    let long = [b"PROXY UNKNOWN ", &[b'x'; 108][..], b"\r\n", GET.as_bytes()].concat();
    let begun = [
        GET.as_bytes(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\nGET / HTTP/1.1\r\nhost: t\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nGET / HTTP/1.1\r\nhost: t\r\n\r\n",
        b"PROXY TCP4 1.2.3.4",
        b"",
        &long,
        &v2(PROXY_BYTES - 27),
        &[&v2(0)[..12], &b"\x21\x51\x00\x00"[..], GET.as_bytes()].concat(),
    ];
    for bytes in begun {
        let mut client = serving.connect();
        client.send(bytes);
        // Fails when the server has closed it already.
        let _ = client.stream.get_ref().shutdown(std::net::Shutdown::Write);
        assert!(client.is_closed(), "{}", bytes.escape_ascii());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let mut client = serving.connect();
    client.send(V1);
    told(&mut client);
}

fn a_trusted_proxy_that_stalls_is_not_waited_for(host: impl Host + Send + 'static) {
    let serving = Serving::on(host, bound(facts, "127.0.0.1"));
    let mut stalled = serving.connect();
    stalled.send(&V1[..20]);
    let mut heard = serving.connect();
    heard.send(V1);
    assert!(stalled.is_closed());
    assert!(serving.monitor.deadlines().contains(&(Deadline::Proxy, 1)));
    // The deadline is the header's alone.
    told(&mut heard);
}

fn anybody_else_is_refused_with_a_header_and_served_without(host: impl Host + Send + 'static) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let app = move |request: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        facts(request)
    };
    let serving = Serving::on(host, bound(app, "192.0.2.0/24,::1,unix"));
    for header in [V1.as_bytes(), b"PROXY UNKNOWN\r\n", &v2(0)] {
        let mut client = serving.connect();
        client.send([header, GET.as_bytes()].concat());
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
        assert!(answer.text().contains("trusted proxies"), "{answer:?}");
        assert!(client.is_closed());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let mut client = serving.connect();
    let own = own_address(&client);
    assert_eq!(told(&mut client), [&own, &own, "plain"]);
}

fn a_header_comes_before_tls(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    folder.certificate("a", &["a.test"]);
    let tls = Tls::from_pem_files([folder.files("a")]).unwrap();
    let listener = Listener::bind("127.0.0.1:0").unwrap().with_tls(tls);
    let listener = listener.with_proxies("127.0.0.1".parse().unwrap());
    let serving = Serving::on(host, Server::new(facts).listen(listener));
    for header in [V1.as_bytes(), &v2(100)] {
        let mut stream = tcp(&serving);
        let own = stream.local_addr().unwrap().to_string();
        stream.write_all(header).unwrap();
        let mut client = Ask::default().over(stream).unwrap();
        let [address, socket, tls] = told(&mut client);
        assert_eq!([address, socket], [CLIENT, &own]);
        assert!(tls.starts_with("TLSv1.3 "), "{tls}");
    }
    assert!(Ask::default().over(tcp(&serving)).is_err(), "no header");
}

fn a_proxy_on_a_unix_socket_is_trusted_by_name(host: impl Host + Send + 'static) {
    let folder = Folder::new();
    let [trusting, other] = ["trusting", "other"].map(|name| folder.path(name));
    let bind = |path: &PathBuf, proxies: &str| {
        let listener = Listener::bind(&format!("unix:{}", path.display())).unwrap();
        Server::new(facts).listen(listener.with_proxies(proxies.parse().unwrap()))
    };
    let bound = [bind(&trusting, "unix"), bind(&other, "0.0.0.0/0,::/0")];
    let (stop, stopped) = oneshot::channel::<()>();
    let connect = |path| {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::new(stream)
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            let [trusting, other] = bound;
            host.run(async {
                let other = gateway_core::spawn(other.serve(std::future::pending()));
                trusting.serve(async { stopped.await.unwrap_or_default() }).await.unwrap();
                other.cancel();
            });
        });
        let mut client = connect(&trusting);
        client.send(V1);
        assert_eq!(told(&mut client), [CLIENT, "none", "plain"]);
        let mut client = connect(&other);
        assert_eq!(told(&mut client), ["none", "none", "plain"]);
        let mut client = connect(&other);
        client.send(V1);
        assert_eq!(client.answer().status, 400);
        drop(stop);
    });
}
