//! What an app can do, as one application and one list of checks: for servers that are not ours.
//!
//! | route | answers with |
//! |---|---|
//! | `/request` | what the app knows of the request, one fact a line |
//! | `/waits` | timers at once, a job, a task, and a timer for which the time is over |
//! | `/gated?gate=` | a chunk, then a second one when the gate has been opened |
//! | `/endless?gate=` | chunks without an end; the gate hears when the coroutine is dropped |
//! | `/waiting?gate=` | nothing, ever; the gate hears when the handler is dropped |
//! | `/echo` | the request's body |
//! | `/count`, `/large` | the length of the request's body; with the server's limit, and with a higher one |
//! | `/refuse`, `/fail`, `/panic` | an error of the client's, one of the app's, a panic |
//! | `/cut?gate=`, `/short` | a body that fails behind its first chunk; one that is shorter than announced |
//!
//! A gate is a listening socket of the test's: what happens in which order is told through it, also
//! where each request is a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use futures_util::AsyncReadExt;
use futures_util::future::join_all;
use gateway_core::{
    Body, Error, Request, Response, peer, set_body_limit, sleep, spawn, timeout, unblock,
};
use http::{StatusCode, header};
use http_body_util::BodyExt;

use crate::{Answer, Client, PATIENCE, eventually};

/// How many bytes `/large` accepts.
pub const LARGE: u64 = 16 * 1024 * 1024;

/// The application.
///
/// # Errors
///
/// Those that are asked for.
pub async fn app(request: Request) -> Result<Response, Error> {
    match request.uri().path() {
        "/request" => Ok(text(describe(&request))),
        "/waits" => waits().await,
        "/gated" => Ok(gated(gate(&request)?)),
        "/endless" => Ok(endless(gate(&request)?)),
        "/waiting" => waiting(gate(&request)?).await,
        "/echo" => Ok(Response::new(request.into_body())),
        "/count" => count(request).await,
        "/large" => {
            set_body_limit(&request, LARGE);
            count(request).await
        }
        "/refuse" => Err(Error::client(StatusCode::CONFLICT, "not like this")),
        "/fail" => Err(std::io::Error::other("a secret").into()),
        "/panic" => panic!("a secret"),
        "/cut" => Ok(cut(gate(&request).ok())),
        "/short" => Ok(short()),
        path => Err(Error::client(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))),
    }
}

fn text(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    let plain = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn describe(request: &Request) -> String {
    let mut lines = format!("{} {}\n", request.method(), request.uri().path());
    lines += &format!("query {}\n", request.uri().query().unwrap_or_default());
    let address = peer().and_then(|peer| peer.address());
    lines +=
        &format!("peer {}\n", address.map(|address| address.ip().to_string()).unwrap_or_default());
    for (name, value) in request.headers() {
        lines += &format!("{name}: {}\n", value.to_str().unwrap_or_default());
    }
    lines
}

async fn waits() -> Result<Response, Error> {
    join_all((0..10).map(|_| sleep(Duration::from_millis(5)))).await;
    let late = timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
    let sum = unblock(|| 40).await? + spawn(async { 2 }).await? + i32::from(late.is_ok());
    Ok(text(sum.to_string()))
}

async fn count(request: Request) -> Result<Response, Error> {
    let (mut body, mut bytes) = (request.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(text(bytes.to_string()))
}

fn gate(request: &Request) -> Result<SocketAddr, Error> {
    let gate = request.uri().query().and_then(|query| query.strip_prefix("gate="));
    Ok(gate.unwrap_or_default().parse()?)
}

async fn opened(gate: SocketAddr) -> Result<(), Error> {
    let mut gate = gateway_net::TcpStream::connect(&gate.to_string()).await?;
    Ok(gate.read_exact(&mut [0]).await?)
}

fn gated(gate: SocketAddr) -> Response {
    text(Body::coroutine(async move |mut out| {
        out.send("first\n").await?;
        opened(gate).await?;
        out.send("second\n").await
    }))
}

fn endless(gate: SocketAddr) -> Response {
    text(Body::coroutine(async move |mut out| {
        let mut told = unblock(move || TcpStream::connect(gate)).await??;
        told.write_all(b"begun;")?;
        let _dropped = Dropped(told);
        loop {
            out.send(".".repeat(1024)).await?;
            sleep(Duration::from_millis(1)).await;
        }
    }))
}

async fn waiting(gate: SocketAddr) -> Result<Response, Error> {
    let mut told = unblock(move || TcpStream::connect(gate)).await??;
    told.write_all(b"begun;")?;
    let _dropped = Dropped(told);
    std::future::pending().await
}

/// Tells its gate that it was dropped.
struct Dropped(TcpStream);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.write_all(b"dropped");
    }
}

fn cut(gate: Option<SocketAddr>) -> Response {
    text(Body::coroutine(async move |mut out| {
        out.send("first\n").await?;
        if let Some(gate) = gate {
            opened(gate).await?;
        }
        Err(std::io::Error::other("a secret").into())
    }))
}

fn short() -> Response {
    let body = Body::coroutine(async |mut out| out.send("first").await);
    let mut response = text(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, 10.into());
    response
}

/// Where the application is served, and by what.
pub struct Place {
    /// Where the server listens.
    pub address: SocketAddr,
    /// What is before each path: where the application is mounted.
    pub mount: &'static str,
    /// Whether the server takes the status over. One that can't passes on a field of this name.
    pub has_status: bool,
}

impl Place {
    /// A client that waits no longer than the test has patience.
    ///
    /// # Panics
    ///
    /// When the server does not accept it.
    #[must_use]
    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client::new(stream)
    }

    /// Sends the head of a request that is the only one of its connection.
    fn send(&self, client: &mut Client, method: &str, path: &str, fields: &str) {
        let mount = self.mount;
        let line = format!("{method} {mount}{path} HTTP/1.1\r\nhost: test\r\n");
        client.send(format!("{line}connection: close\r\n{fields}\r\n"));
    }

    /// The answer to a request of its own connection; none, when it is cut off.
    fn try_ask(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> Option<Answer> {
        let mut client = self.connect();
        self.send(&mut client, method, path, fields);
        client.send(body);
        self.receive(&mut client, method)
    }

    fn receive(&self, client: &mut Client, method: &str) -> Option<Answer> {
        let mut answer = client.whole_answer(method == "HEAD")?;
        if !self.has_status {
            assert_eq!(answer.status, 200);
            let status = answer.field("status").and_then(|status| status.get(..3));
            answer.status = status.expect("a status").parse().expect("a number");
        }
        Some(answer)
    }

    fn ask(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
        self.try_ask(method, path, fields, body).expect("a whole answer")
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &format!("content-length: {}\r\n", body.len()), body)
    }
}

/// A socket at which the application announces itself.
fn new_gate() -> (TcpListener, String) {
    let gate = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let query = format!("?gate={}", gate.local_addr().expect("an address"));
    (gate, query)
}

fn megabyte() -> Vec<u8> {
    (0..1024 * 1024).map(|n: u32| (n % 251) as u8).collect()
}

/// A request arrives with all that the server says of it.
pub fn a_request_arrives(place: &Place) {
    let fields = "user-agent: gateway-tests\r\nkeep-alive: 9\r\n";
    let answer = place.ask("GET", "/request?a=b%20c", fields, b"");
    let text = answer.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(answer.status, 200);
    assert_eq!(lines[..3], ["GET /request", "query a=b%20c", "peer 127.0.0.1"], "{text}");
    assert!(lines.contains(&"user-agent: gateway-tests"), "{text}");
    let forbidden = ["keep-alive", "connection", "transfer-encoding"];
    assert!(
        !lines.iter().any(|line| forbidden.iter().any(|name| line.starts_with(name))),
        "{text}"
    );
    assert_eq!(place.get("/nothing").status, 404);
}

/// A CGI program takes no client's field for a setting.
pub fn a_client_sets_no_proxy(place: &Place) {
    let answer = place.ask("GET", "/request", "proxy: http://evil\r\n", b"");
    assert!(!answer.text().contains("evil"), "{}", answer.text());
}

/// Timers, joins, timeouts, jobs and tasks.
pub fn waits_are_waited_for(place: &Place) {
    assert_eq!(place.get("/waits").text(), "42");
}

/// The second chunk is made when the first one has arrived.
pub fn chunks_arrive_as_they_are_made(place: &Place) {
    let (gate, query) = new_gate();
    let mut client = place.connect();
    place.send(&mut client, "GET", &format!("/gated{query}"), "");
    client.until("first\n");
    let mut gate = come_to(&gate);
    gate.write_all(b"!").expect("it waits");
    client.until("second\n");
}

/// A client that leaves drops the coroutine of its response's body.
pub fn a_gone_client_cancels_the_coroutine(place: &Place) {
    assert_eq!(left(place), "begun;dropped");
}

/// A client that leaves drops a handler that waits, and has sent nothing yet.
pub fn a_gone_client_cancels_a_handler_that_waits(place: &Place) {
    let (gate, query) = new_gate();
    let mut client = place.connect();
    place.send(&mut client, "GET", &format!("/waiting{query}"), "");
    let mut told = come_to(&gate);
    told.read_exact(&mut [0; 6]).expect("it has begun");
    drop(client);
    assert_eq!(said(told), "dropped");
}

/// A client that leaves ends the process, and with it the coroutine.
pub fn a_gone_client_ends_the_process(place: &Place) {
    assert!(left(place).starts_with("begun;"));
}

/// What a coroutine says until its end, while its client leaves.
fn left(place: &Place) -> String {
    let (gate, query) = new_gate();
    let mut client = place.connect();
    place.send(&mut client, "GET", &format!("/endless{query}"), "");
    client.until("....");
    let told = come_to(&gate);
    drop(client);
    said(told)
}

/// The application's connection to its gate.
///
/// # Panics
///
/// When it does not come.
#[must_use]
pub fn come_to(gate: &TcpListener) -> TcpStream {
    gate.set_nonblocking(true).expect("a setting");
    let mut came = None;
    eventually("the application comes to the gate", || {
        came = gate.accept().ok();
        came.is_some()
    });
    let (stream, _) = came.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// What is said at a gate until the end.
fn said(mut told: TcpStream) -> String {
    let mut said = String::new();
    told.read_to_string(&mut said).expect("it ends");
    said
}

/// A megabyte there and back, and a body of no bytes.
pub fn a_megabyte_comes_back(place: &Place) {
    let body = megabyte();
    let answer = place.post("/echo", &body);
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes, or others", answer.body.len());
    assert_eq!(place.post("/count", b"").text(), "0");
    assert_eq!(place.get("/count").text(), "0");
}

/// A request's body in chunks.
pub fn a_chunked_upload_arrives(place: &Place) {
    let body = megabyte();
    let mut chunks = Vec::new();
    for chunk in body.chunks(100_000) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let answer = place.ask("POST", "/count", "transfer-encoding: chunked\r\n", &chunks);
    assert_eq!(answer.text(), body.len().to_string());
}

/// 413 beyond the limit, unless the app raises it.
pub fn a_body_has_a_limit_that_the_app_may_raise(place: &Place) {
    let body = vec![b'.'; gateway_blocking::BODY_BYTES as usize + 1];
    assert_eq!(place.post("/count", &body[1..]).text(), (body.len() - 1).to_string());
    assert_eq!(place.post("/large", &body).text(), body.len().to_string());
    assert_eq!(place.post("/count", &body).status, 413);
}

/// The head of an answer alone.
pub fn head_has_no_body(place: &Place) {
    let answer = place.ask("HEAD", "/waits", "", b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
}

/// Errors say whose fault it is, and no secret; a panic is a 500, and touches nobody else.
pub fn errors_and_panics_are_answers(place: &Place) {
    let conflict = place.get("/refuse");
    assert_eq!((conflict.status, conflict.text().contains("not like this")), (409, true));
    for path in ["/fail", "/panic"] {
        let answer = place.get(path);
        assert_eq!((answer.status, answer.text().contains("secret")), (500, false), "{path}");
    }
    assert_eq!(place.get("/waits").text(), "42");
}

/// A body that fails, when its beginning has arrived, does not look whole.
pub fn a_body_that_fails_is_cut_off_visibly(place: &Place) {
    let (gate, query) = new_gate();
    let mut client = place.connect();
    place.send(&mut client, "GET", &format!("/cut{query}"), "");
    let head = client.until("first\n").to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut gate = come_to(&gate);
    gate.write_all(b"!").expect("it waits");
    let mut rest = Vec::new();
    // A connection that is reset says so as well.
    let _ = client.stream.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole: {}", String::from_utf8_lossy(&rest));
}

/// A body that is shorter than its head has announced does not look whole.
pub fn a_body_that_is_too_short_is_cut_off_visibly(place: &Place) {
    let answer = place.try_ask("GET", "/short", "", b"");
    assert!(answer.is_none(), "it looks whole: {answer:?}");
}

impl Client {
    /// Reads a whole answer, whose body may also end with the connection.
    fn whole_answer(&mut self, is_head: bool) -> Option<Answer> {
        let mut answer = self.try_head()?;
        match is_head {
            true => self.stream.read_to_end(&mut answer.body).ok().map(drop)?,
            false
                if answer
                    .field("content-length")
                    .or(answer.field("transfer-encoding"))
                    .is_none() =>
            {
                self.stream.read_to_end(&mut answer.body).ok().map(drop)?;
            }
            false => self.try_body(&mut answer)?,
        }
        Some(answer)
    }

    /// Reads on until these words have come, and gives all that has.
    fn until(&mut self, words: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(words.as_bytes()) {
            let mut byte = [0];
            let came = self.stream.read_exact(&mut byte);
            assert!(came.is_ok(), "instead of {words:?}: {}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}
