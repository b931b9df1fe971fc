//! Listening: in two steps, on a shared port, on a file with permissions.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, process, thread};

use futures_channel::oneshot;
use gateway_core::{Body, Host, Request, Response};
use gateway_http::{Activity, Listener, Server};
use gateway_tests::{Client, PATIENCE, Serving, eventually, on_every_host};

on_every_host!(2:
    a_reserved_port_refuses_clients_until_the_server_serves,
    servers_that_say_so_share_a_port,
    a_socket_file_has_the_permissions_asked_for,
    those_who_wait_are_served_though_the_server_drains,
    newcomers_are_left_to_the_others_on_a_port,
    a_request_under_way_is_served_though_the_server_drains,
);

fn a_reserved_port_refuses_clients_until_the_server_serves(host: impl Host + Send + 'static) {
    let listener = Listener::reserve("127.0.0.1:0", false).unwrap();
    let address = listener.local_addr().unwrap();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let bound = Server::new(async |_: Request| Response::new(Body::empty())).listen(listener);
    assert_eq!(bound.listener().local_addr().unwrap(), address);
    // What has to be done before the first client comes, with the address known.
    let (stop, stopped) = oneshot::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let serving = thread::spawn(move || {
        host.run(bound.serve(async move {
            begun.send(()).unwrap();
            stopped.await.unwrap_or_default();
        }))
    });
    begins.recv().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
    drop((client, stop));
    serving.join().unwrap().unwrap();
}

fn servers_that_say_so_share_a_port(host: impl Host + Send + Sync + 'static) {
    let server = || Server::new(async |_: Request| Response::new(Body::empty()));
    let first = Listener::reserve("127.0.0.1:0", true).unwrap();
    let address = first.local_addr().unwrap().to_string();
    let second = Listener::reserve(&address, true).unwrap();
    first.listen().unwrap();
    second.listen().unwrap();
    let alone = Listener::bind(&address).unwrap_err().to_string();
    assert!(alone.starts_with(&format!("cannot listen on {address}")), "{alone}");

    // One has not begun to serve, and may have got some of the clients; they wait for it.
    let host = std::sync::Arc::new(host);
    let first = Serving::on(Shared(host.clone()), server().listen(first));
    let clients: Vec<_> = (0..8).map(|_| first.connect()).collect();
    let second = Serving::on(Shared(host), server().listen(second));
    assert_eq!(first.address, second.address);
    for mut client in clients {
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
}

/// One host for two servers.
struct Shared<H>(std::sync::Arc<H>);

impl<H: Host> Host for Shared<H> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(future)
    }
}

fn a_socket_file_has_the_permissions_asked_for(host: impl Host + Send + 'static) {
    let path = env::temp_dir().join(format!(
        "gateway-mode-{}-{:?}",
        process::id(),
        thread::current().id()
    ));
    let address = |mode: &str| format!("unix:{}{mode}", path.display());
    for mode in ["?mode=", "?mode=9", "?mode=00660", "?mod=660", "?"] {
        let error = Listener::bind(&address(mode)).unwrap_err().to_string();
        assert!(error.contains("octal digits"), "{error}");
        assert!(!path.exists());
    }
    for (mode, permissions) in [("?mode=660", 0o660), ("?mode=0600", 0o600)] {
        let listener = Listener::bind(&address(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, permissions);
        assert_eq!(listener.to_string(), address(""));
        let app = async |_: Request| Response::new(Body::empty());
        let (stop, stopped) = oneshot::channel::<()>();
        let bound = Server::new(app).listen(listener);
        thread::scope(|scope| {
            let host = &host;
            let serve = bound.serve(async { stopped.await.unwrap_or_default() });
            let mut client = UnixStream::connect(&path).unwrap();
            let asking = scope.spawn(move || {
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
                client.read_exact(&mut [0; 12]).unwrap();
                drop(stop);
            });
            host.run(serve).unwrap();
            asking.join().unwrap();
        });
        assert!(!path.exists(), "the file goes with the server");
    }
}

/// More than a coroutine has answered in one poll.
const WAITING: usize = 300;

fn those_who_wait_are_served_though_the_server_drains(host: impl Host + Send + 'static) {
    let echo = async |request: Request| Response::new(Body::from(request.uri().path().to_owned()));
    let listener = Listener::reserve("127.0.0.1:0", true).unwrap();
    listener.listen().unwrap();
    let bound = Server::new(echo).listen(listener);
    let address = bound.listener().local_addr().unwrap();
    let clients = (0..WAITING).map(|n| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client::new(stream);
        client.send(format!("GET /{n} HTTP/1.1\r\nhost: t\r\n\r\n"));
        client
    });
    let clients: Vec<_> = clients.collect();
    // It is told to drain before it has accepted anybody.
    host.run(bound.serve(async {})).unwrap();
    for (n, mut client) in clients.into_iter().enumerate() {
        let answer = client.answer();
        assert_eq!((answer.text(), answer.field("connection")), (format!("/{n}"), Some("close")));
    }
}

fn newcomers_are_left_to_the_others_on_a_port(host: impl Host + Send + 'static) {
    let first = gateway_net::TcpListener::reserve("127.0.0.1:0", true).unwrap();
    first.listen().unwrap();
    let address = first.local_addr().unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    first.leave_port().unwrap();
    let unanswered = TcpStream::connect_timeout(&address, Duration::from_millis(100)).unwrap_err();
    assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
    let second = Listener::reserve(&address.to_string(), true).unwrap();
    let app = async |_: Request| Response::new(Body::from("second"));
    second.listen().unwrap();
    // Each is dealt to one of the two, and has to end up with the second.
    let connect = move || TcpStream::connect(address).unwrap();
    let late: Vec<_> = (0..8).map(|_| thread::spawn(connect)).collect();
    let (accepted, _) = first.try_accept().unwrap();
    assert_eq!(first.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    let _serving = Serving::on(host, Server::new(app).listen(second));
    for late in late {
        let mut client = Client::new(late.join().unwrap());
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.answer().text(), "second");
    }
    drop(accepted);
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(early.read(&mut [0]).unwrap(), 0, "who was there already still has a connection");
}

fn a_request_under_way_is_served_though_the_server_drains(host: impl Host + Send + 'static) {
    let app = async |_: Request| Response::new(Body::from("ok"));
    let mut serving = Serving::start(host, Server::new(app));
    let (mut begun, mut silent) = (serving.connect(), serving.connect());
    // It might still become the preface of HTTP/2.
    begun.send("P");
    eventually("the byte is read", || {
        let connections = serving.monitor.connections();
        connections.into_iter().any(|(what, count)| what == Activity::Reading && count == 1)
    });
    serving.drain();
    eventually("nobody listens", || TcpStream::connect(serving.address).is_err());
    begun.send("OST / HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n");
    let answer = begun.answer();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
    assert!(silent.is_closed(), "who says nothing is not waited for");
    serving.end().unwrap();
}
