//! The HTTP client on every host: connections that are used again, bounded, closed, and lost.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::{App, Body, BoxError, Host, Request, Response, sleep};
use gateway_examples::client::{Client, IDLE_CONNECTIONS};
use gateway_examples::tls;
use gateway_http::{Deadlines, Listener, Monitor, Server, Tls};
use gateway_tests::hosts::Tokio;
use gateway_tests::secure::Folder;
use gateway_tests::{PATIENCE, Serving, on_every_host};

on_every_host!(2:
    connections_are_used_again,
    idle_connections_are_bounded_and_have_a_deadline,
    a_server_that_closes_idle_connections_is_asked_on_a_fresh_one,
    a_request_goes_again_only_if_that_can_do_no_harm,
    https_checks_the_certificate,
    a_server_that_is_not_there_is_an_error,
);

/// A server on a host of its own.
fn serve(server: Server<impl App>) -> Serving {
    Serving::start(Tokio::new(1).expect("a host for the server"), server)
}

async fn echo(request: Request) -> Response {
    Response::new(request.into_body())
}

/// The whole answer to one request.
async fn ask(client: &Client, method: &str, url: &str) -> Result<String, BoxError> {
    let request = http::Request::builder().method(method).uri(url).body("hello")?;
    let answer = client.send(request).await?;
    assert_eq!(answer.status(), 200);
    let body = Body::new(answer.into_body()).collect(1000).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

/// Waits, on the host, for what happens soon.
async fn soon(what: &str, mut happened: impl FnMut() -> bool) {
    let step = Duration::from_millis(1);
    for _ in 0..PATIENCE.as_millis() {
        if happened() {
            return;
        }
        sleep(step).await;
    }
    panic!("still not: {what}");
}

fn connections_are_used_again(host: impl Host) {
    let serving = serve(Server::new(echo));
    let url = format!("http://{}/", serving.address);
    let client = Client::new(tls::trusting_authorities());
    host.run(async {
        used_again(&client, &url, &serving.monitor).await;
    });
}

/// Asks a hundred times, one after another. A request that comes while the connection of the one before
/// is on its way back has another one opened, and then there are two that wait for requests: so there
/// are few, and never one for each request.
async fn used_again(client: &Client, url: &str, monitor: &Monitor) {
    for _ in 0..100 {
        assert_eq!(ask(client, "POST", url).await.expect("an answer"), "hello");
    }
    assert!(monitor.accepted() <= IDLE_CONNECTIONS as u64, "{}", monitor.accepted());
}

/// An app whose answers wait until so many requests are in hand.
fn together(count: usize) -> impl App {
    let arrived = Arc::new(AtomicUsize::new(0));
    move |_: Request| {
        let arrived = arrived.clone();
        async move {
            arrived.fetch_add(1, Ordering::SeqCst);
            soon("all are there", || arrived.load(Ordering::SeqCst) >= count).await;
            Response::new(Body::empty())
        }
    }
}

fn idle_connections_are_bounded_and_have_a_deadline(host: impl Host) {
    let many = IDLE_CONNECTIONS + 4;
    let all_at_once = async |client: &Client, monitor: &Monitor, url: &str| {
        let asked = join_all((0..many).map(|_| ask(client, "GET", url))).await;
        assert!(asked.iter().all(Result::is_ok), "{asked:?}");
        assert!(monitor.accepted() >= many as u64, "each had a connection of its own");
    };
    host.run(async {
        let serving = serve(Server::new(together(many)));
        let (url, monitor) = (format!("http://{}/", serving.address), &serving.monitor);
        let client = Client::new(tls::trusting_authorities());
        all_at_once(&client, monitor, &url).await;
        soon("so many are kept", || monitor.open() == IDLE_CONNECTIONS).await;
        drop(client);
        soon("none is kept without a client", || monitor.open() == 0).await;

        let serving = serve(Server::new(together(many)));
        let (url, monitor) = (format!("http://{}/", serving.address), &serving.monitor);
        let client = Client::with_idle(tls::trusting_authorities(), Duration::from_millis(100));
        all_at_once(&client, monitor, &url).await;
        soon("none is kept for ever", || monitor.open() == 0).await;
        assert!(ask(&client, "GET", &url).await.is_ok(), "the client goes on");
    });
}

fn a_server_that_closes_idle_connections_is_asked_on_a_fresh_one(host: impl Host) {
    let deadlines = Deadlines { idle: Duration::from_millis(20), ..Deadlines::default() };
    let serving = serve(Server::new(echo).deadlines(deadlines));
    let url = format!("http://{}/", serving.address);
    let client = Client::new(tls::trusting_authorities());
    host.run(async {
        for _ in 0..5 {
            assert_eq!(ask(&client, "GET", &url).await.expect("an answer"), "hello");
            soon("the server has closed it", || serving.monitor.open() == 0).await;
        }
        assert_eq!(serving.monitor.accepted(), 5);
    });
}

/// A server that answers the first request on each of its connections, if it is asked to, and closes the
/// connection when it has read one that it does not answer.
struct Closing {
    address: SocketAddr,
    /// How many requests it has read, and how many of them it has not answered.
    read: AtomicUsize,
    closed: AtomicUsize,
}

impl Closing {
    fn start(answers: impl Fn(&Closing) -> bool + Send + Copy + 'static) -> Arc<Closing> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Closing { address, read: AtomicUsize::new(0), closed: AtomicUsize::new(0) };
        let server = Arc::new(server);
        let started = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                thread::spawn(move || server.serve(gateway_tests::Client::new(stream), answers));
            }
        });
        started
    }

    fn serve(&self, mut client: gateway_tests::Client, answers: impl Fn(&Closing) -> bool) {
        let mut first = true;
        while let Some(mut line) = client.line() {
            while !line.is_empty() {
                line = client.line().expect("a whole head");
            }
            client.stream.read_exact(&mut [0; 5]).expect("the body, hello");
            self.read.fetch_add(1, Ordering::SeqCst);
            if !first || !answers(self) {
                self.closed.fetch_add(1, Ordering::SeqCst);
                return;
            }
            first = false;
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    }

    fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// Asks until it has closed a connection instead of an answer, and gives how often it was asked,
    /// how many requests it has read, and how many have failed.
    async fn ask(&self, method: &str) -> (usize, usize, usize) {
        let client = Client::new(tls::trusting_authorities());
        let url = format!("http://{}/", self.address);
        let (mut asked, mut failed) = (0, 0);
        while self.closed() == 0 {
            assert!(asked < 1000, "no connection was ever used again");
            failed += usize::from(ask(&client, method, &url).await.is_err());
            asked += 1;
        }
        (asked, self.read.load(Ordering::SeqCst), failed)
    }
}

fn a_request_goes_again_only_if_that_can_do_no_harm(host: impl Host) {
    host.run(async {
        // The last request finds its connection closed, and goes again on a fresh one.
        let (asked, read, failed) = Closing::start(|_| true).ask("GET").await;
        assert!(asked > 1 && read == asked + 1 && failed == 0, "{asked} {read} {failed}");
        // A POST may have been carried out.
        let (asked, read, failed) = Closing::start(|_| true).ask("POST").await;
        assert!(asked > 1 && read == asked && failed == 1, "{asked} {read} {failed}");
        // On a fresh connection the request itself is to blame.
        assert_eq!(Closing::start(|_| false).ask("GET").await, (1, 1, 1));
        // Once more, and not for ever.
        let once = |server: &Closing| server.closed() == 0;
        let (asked, read, failed) = Closing::start(once).ask("GET").await;
        assert!(asked > 1 && read == asked + 1 && failed == 1, "{asked} {read} {failed}");
    });
}

fn https_checks_the_certificate(host: impl Host) {
    let folder = Folder::new();
    folder.certificate("server", &["127.0.0.1"]);
    let (certificate, key) = folder.files("server");
    let tls = Tls::from_pem_files([(&certificate, &key)]).expect("a certificate");
    let listener = Listener::bind("127.0.0.1:0").expect("a free port").with_tls(tls);
    let server = Tokio::new(1).expect("a host for the server");
    let serving = Serving::on(server, Server::new(echo).listen(listener));
    let url = format!("https://{}/", serving.address);
    let client = Client::new(tls::trusting_file(&certificate).expect("a certificate"));
    host.run(async {
        used_again(&client, &url, &serving.monitor).await;
        let distrustful = Client::new(tls::trusting_authorities());
        let error = ask(&distrustful, "GET", &url).await.expect_err("nobody has signed it");
        let beneath = std::iter::successors(error.source(), |error| error.source());
        let said: Vec<_> = beneath.map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.contains("UnknownIssuer")), "{said:?}");
    });
}

fn a_server_that_is_not_there_is_an_error(host: impl Host) {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("http://{}/", nobody.expect("an address"));
    let client = Client::new(tls::trusting_authorities());
    host.run(async {
        assert!(ask(&client, "GET", &url).await.is_err());
        assert!(ask(&client, "GET", "/no/host").await.is_err());
    });
}
