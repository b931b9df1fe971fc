//! The comparison of hosts: one application does the same on all of them, in its steps (as a model
//! predicts them) and in its bytes; and layers that do nothing change nothing. These are CTX-02,
//! MID-01 and MID-02.
//!
//! A script is run as a coroutine that writes down what it sees. Branches that run beside each
//! other write each for itself, so that a trace depends on no clock.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{self, Either};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_blocking::Blocking;
use gateway_conformance::probe::{self, Identity};
use gateway_core::{
    App, Body, Coroutine, Error, Host, JoinError, Request, Response, Trampoline, Yield, sleep,
    sleep_until, spawn, timeout, trampoline, unblock,
};
use gateway_http::Server;
use gateway_net::UnixStream;
use gateway_tests::hosts::{AsyncStd, Smol, Tokio};
use gateway_tests::{PATIENCE, Serving};
use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

/// How many scripts are tried.
const CASES: u32 = 100;

fn runner(cases: u32) -> TestRunner {
    // Found scripts are shown; shrinking them again and again on eight hosts takes its time.
    let (failure_persistence, max_shrink_iters) = (None, 64);
    TestRunner::new(Config { cases, failure_persistence, max_shrink_iters, ..Config::default() })
}

/// What a coroutine does, one step after the other.
type Script = Vec<Step>;

#[derive(Clone, Debug)]
enum Step {
    /// Sleeps for so many milliseconds.
    Sleep(u8),
    /// Waits for so many deadlines that have passed.
    Past(u16),
    /// Both, beside each other.
    Join(Script, Script),
    /// The script, against one that never ends and is dropped.
    Select(Script),
    /// The script as a task, awaited.
    Spawn(Script),
    /// A task that never ends, cancelled before or after its first poll.
    Cancel { begun: bool },
    /// A job, awaited.
    Job(u8),
    /// A task or a job that panics.
    Panic { job: bool },
    /// The script, in time; then something that never ends, with a time limit.
    Timeout(Script),
    /// So many bytes through a pair of sockets, and the end behind them.
    Sockets(usize),
    /// A body in pieces, perhaps with an error at its end, read piece by piece.
    Body(Vec<u8>, bool),
}

fn scripts() -> impl Strategy<Value = Script> {
    let leaf = prop_oneof![
        (0..4_u8).prop_map(Step::Sleep),
        (1..20_u16).prop_map(Step::Past),
        any::<bool>().prop_map(|begun| Step::Cancel { begun }),
        any::<u8>().prop_map(Step::Job),
        any::<bool>().prop_map(|job| Step::Panic { job }),
        // Fewer bytes than the system's buffer holds, or more.
        prop_oneof![9 => 0..5000_usize, 1 => 230_000..250_000_usize].prop_map(Step::Sockets),
        (vec(1..9_u8, 0..4), any::<bool>()).prop_map(|(pieces, fails)| Step::Body(pieces, fails)),
    ];
    let step = leaf.prop_recursive(3, 12, 3, |inner| {
        let script = || vec(inner.clone(), 0..3);
        prop_oneof![
            (script(), script()).prop_map(|(one, other)| Step::Join(one, other)),
            script().prop_map(Step::Select),
            script().prop_map(Step::Spawn),
            script().prop_map(Step::Timeout),
        ]
    });
    vec(step, 1..5)
}

/// What a script does on any host.
fn model(script: &Script) -> String {
    let step = |step: &Step| match step {
        Step::Sleep(ms) => format!("slept {ms}"),
        Step::Past(count) => format!("{count} past"),
        Step::Join(one, other) => format!("both [{}] [{}]", model(one), model(other)),
        Step::Select(script) => format!("won [{}], 1 dropped", model(script)),
        Step::Spawn(script) => format!("task [{}]", model(script)),
        Step::Cancel { .. } => "cancelled, 1 dropped".to_owned(),
        Step::Job(number) => format!("job {number}"),
        Step::Panic { .. } => "panicked: on purpose".to_owned(),
        Step::Timeout(script) => format!("in time [{}], then too late, 1 dropped", model(script)),
        Step::Sockets(bytes) => format!("{bytes} of {bytes} bytes, then the end"),
        Step::Body(pieces, fails) => {
            format!("{pieces:?}, {}", if *fails { "error" } else { "end" })
        }
    };
    script.iter().map(step).collect::<Vec<_>>().join("; ")
}

/// Runs a script, and gives what it has seen.
fn run(script: Script) -> Pin<Box<dyn Future<Output = String> + Send>> {
    Box::pin(async move {
        let mut seen = Vec::new();
        for step in script {
            seen.push(one(step).await);
        }
        seen.join("; ")
    })
}

async fn one(step: Step) -> String {
    let dropped = Dropped::default();
    match step {
        Step::Sleep(ms) => {
            let until = Instant::now() + Duration::from_millis(ms.into());
            sleep(Duration::from_millis(ms.into())).await;
            if Instant::now() < until { "early".to_owned() } else { format!("slept {ms}") }
        }
        Step::Past(count) => {
            for _ in 0..count {
                sleep_until(Instant::now()).await;
            }
            format!("{count} past")
        }
        Step::Join(one, other) => {
            let (one, other) = future::join(run(one), run(other)).await;
            format!("both [{one}] [{other}]")
        }
        Step::Select(script) => {
            let won = {
                let never = pin!(endless(dropped.clone()));
                match future::select(run(script), never).await {
                    Either::Left((seen, _)) => seen,
                    Either::Right(_) => "the endless one".to_owned(),
                }
            };
            format!("won [{won}], {dropped} dropped", dropped = dropped.count())
        }
        Step::Spawn(script) => match spawn(run(script)).await {
            Ok(seen) => format!("task [{seen}]"),
            Err(error) => format!("task: {error}"),
        },
        Step::Cancel { begun } => {
            let (starts, started) = futures_channel::oneshot::channel();
            let never = endless(dropped.clone());
            let task = spawn(async move {
                let _ = starts.send(());
                never.await;
            });
            if begun {
                let _ = started.await;
            }
            task.cancel();
            let how = match task.await {
                Err(JoinError::Cancelled) => "cancelled".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{how}, {} dropped", dropped.count())
        }
        Step::Job(number) => match unblock(move || number).await {
            Ok(number) => format!("job {number}"),
            Err(error) => format!("job: {error}"),
        },
        Step::Panic { job } => {
            let panics = || -> () { std::panic::resume_unwind(Box::new("on purpose")) };
            let result =
                if job { unblock(panics).await } else { spawn(async move { panics() }).await };
            match result {
                Err(JoinError::Panicked(message)) => format!("panicked: {message}"),
                other => format!("{other:?}"),
            }
        }
        Step::Timeout(script) => {
            let first = timeout(PATIENCE, run(script)).await;
            let first = first.unwrap_or_else(|elapsed| elapsed.to_string());
            let limit = Duration::from_millis(2);
            let second = match timeout(limit, endless(dropped.clone())).await {
                Ok(()) => "the end",
                Err(_) => "too late",
            };
            format!("in time [{first}], then {second}, {} dropped", dropped.count())
        }
        Step::Sockets(bytes) => sockets(bytes).await.unwrap_or_else(|error| error.to_string()),
        Step::Body(pieces, fails) => body(pieces, fails).await,
    }
}

/// Counts drops.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicUsize>);

impl Dropped {
    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Waits for good. Its end is counted, whether or not it was ever polled.
fn endless(dropped: Dropped) -> impl Future<Output = ()> {
    struct Guard(Dropped);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.0.fetch_add(1, Ordering::AcqRel);
        }
    }
    let guard = Guard(dropped);
    async move {
        sleep(Duration::from_secs(3600)).await;
        drop(guard);
    }
}

async fn sockets(bytes: usize) -> io::Result<String> {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    let (mut writer, mut reader) = (UnixStream::try_from(one)?, UnixStream::try_from(other)?);
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let writes = async {
        writer.write_all(&sent).await?;
        writer.close().await
    };
    let mut read = Vec::new();
    let (written, end) = future::join(writes, reader.read_to_end(&mut read)).await;
    written?;
    end?;
    let same = sent.iter().zip(&read).filter(|(sent, read)| sent == read).count();
    Ok(format!("{same} of {} bytes, then the end", read.len()))
}

async fn body(pieces: Vec<u8>, fails: bool) -> String {
    let sent = pieces.clone();
    let mut body = Body::coroutine(async move |mut out| {
        for piece in sent {
            sleep(Duration::ZERO).await;
            out.send(vec![piece; piece.into()]).await?;
        }
        if fails { Err(io::Error::other("on purpose").into()) } else { Ok(()) }
    });
    let mut lengths = Vec::new();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => lengths.push(frame.data_ref().map_or(0, |data| data.len())),
            Some(Err(_)) => return format!("{lengths:?}, error"),
            None => return format!("{lengths:?}, end"),
        }
    }
}

/// A host as a function that runs scripts.
type Runs = Box<dyn Fn(Script) -> String>;

fn runs(host: impl Host + 'static) -> Runs {
    Box::new(move |script| host.run(run(script)))
}

/// All four, with one thread and with two.
fn hosts() -> Vec<(String, Runs)> {
    let mut hosts = Vec::new();
    for threads in [1, 2] {
        let named: [(&str, Runs); 4] = [
            ("tokio", runs(Tokio::new(threads).unwrap())),
            ("smol", runs(Smol::new(threads).unwrap())),
            ("async-std", runs(AsyncStd::new(threads).unwrap())),
            ("blocking", runs(Blocking::new(threads).unwrap())),
        ];
        hosts.extend(named.map(|(name, runs)| (format!("{name} with {threads} threads"), runs)));
    }
    hosts
}

/// Scripts on these hosts: what each sees is what the model predicts.
fn compare(hosts: &[(String, Runs)], cases: u32) -> Result<(), TestError<Script>> {
    runner(cases).run(&scripts(), |script| {
        let expected = model(&script);
        for (name, runs) in hosts {
            prop_assert_eq!(&runs(script.clone()), &expected, "on {}", name);
        }
        Ok(())
    })
}

#[test]
fn ctx_02_one_script_leaves_one_trace_on_all_hosts() {
    compare(&hosts(), CASES).unwrap_or_else(|error| panic!("{error}"));
}

/// A trampoline in front of a good one, as a function.
type BounceFn = fn(&dyn Trampoline, Yield<'_>, &mut Context<'_>) -> Poll<io::Result<()>>;

struct Bounce(Arc<dyn Trampoline>, BounceFn);

impl Trampoline for Bounce {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.1)(&*self.0, yielded, cx)
    }
}

/// A good host whose trampoline stands behind another one.
struct Behind(Blocking, BounceFn);

impl Behind {
    fn new(bounce: BounceFn) -> Behind {
        Behind(Blocking::new(2).unwrap(), bounce)
    }
}

impl Host for Behind {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let bounce = Bounce(trampoline().unwrap(), self.1);
            Coroutine::new(Arc::new(bounce), future).await
        })
    }
}

#[test]
fn a_host_that_differs_is_noticed() {
    let broken: [(&str, BounceFn); 4] = [
        ("timers that end early", |good, yielded, cx| match yielded {
            Yield::Timer(_) => Poll::Ready(Ok(())),
            other => good.bounce(other, cx),
        }),
        ("jobs that are dropped", |good, yielded, cx| match yielded {
            Yield::Job(_) => Poll::Ready(Ok(())),
            other => good.bounce(other, cx),
        }),
        ("tasks that are refused", |good, yielded, cx| match yielded {
            Yield::Task(_) => Poll::Ready(Err(io::Error::other("no tasks here"))),
            other => good.bounce(other, cx),
        }),
        ("sockets that fail", |good, yielded, cx| match yielded {
            Yield::Io(_) => Poll::Ready(Err(io::Error::other("no sockets here"))),
            other => good.bounce(other, cx),
        }),
    ];
    for (what, bounce) in broken {
        let hosts = [(what.to_owned(), runs(Behind::new(bounce)))];
        assert!(compare(&hosts, CASES).is_err(), "nobody notices {what}");
    }
    let good: BounceFn = |good, yielded, cx| good.bounce(yielded, cx);
    let hosts = [("nothing in front".to_owned(), runs(Behind::new(good)))];
    compare(&hosts, CASES / 4).unwrap_or_else(|error| panic!("{error}"));
}

/// Requests whose answers depend on nothing but themselves.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let plain = prop::sample::select(vec![
        "/",
        "/probe",
        "/empty-chunk",
        "/cookies",
        "/date",
        "/hop",
        "/fail",
        "/fail-late?framing=chunked",
        "/fail-late?framing=length",
        "/send-trailers",
        "/early",
        "/short",
        "/slow?ms=2",
        "/local?n=7",
        "/bad-field?kind=lf",
        "/stopped",
        "/upgrade",
        "/nowhere",
        "/inner/cookies",
        "/status?code=204",
        "/status?code=304",
        "/status?code=418",
        "/status?code=500",
        "/task",
        "/reflect?a=b;c",
    ]);
    let sized = (0..200_000_usize).prop_map(|bytes| format!("/known?bytes={bytes}"));
    let streamed = (0..20_usize, 1..3000_usize)
        .prop_map(|(chunks, bytes)| format!("/stream?chunks={chunks}&bytes={bytes}"));
    let target = prop_oneof![3 => plain.prop_map(str::to_owned), 1 => sized, 1 => streamed];
    let method = prop::sample::select(vec!["GET", "HEAD", "DELETE", "OPTIONS"]);
    let version = prop::sample::select(vec!["1.0", "1.1"]);
    let without = (method, target, version).prop_map(|(method, target, version)| {
        let fields = "Host: test\r\nTE: trailers\r\nConnection: close";
        format!("{method} {target} HTTP/{version}\r\n{fields}\r\n\r\n").into_bytes()
    });
    let path = prop::sample::select(vec!["/echo", "/reflect", "/read", "/inner/echo"]);
    let with =
        (path, vec(any::<u8>(), 0..2000), any::<bool>()).prop_map(|(path, body, chunked)| {
            let framing = match chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {}", body.len()),
            };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{framing}\r\n\r\n"
            );
            let mut request = head.into_bytes();
            match chunked {
                true => {
                    for piece in body.chunks(700) {
                        request.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                        request.extend(piece);
                        request.extend(b"\r\n");
                    }
                    request.extend(b"0\r\nx-trailer: yes\r\n\r\n");
                }
                false => request.extend(body),
            }
            request
        });
    let malformed = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\nHost : test\r\n\r\n"[..],
        b"G(T / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]);
    prop_oneof![6 => without, 3 => with, 1 => malformed.prop_map(<[u8]>::to_vec)]
}

/// All that comes back, but for the value of `Date` and the client's own address.
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request).unwrap();
    let own = client.local_addr().unwrap().to_string();
    let mut answer = Vec::new();
    // A malformed request may be answered before it has been read to its end.
    let end = client.read_to_end(&mut answer).map(drop).map_err(|error| error.kind());
    let undated = |line: &[u8]| {
        // The probe application's own date is not the clock's.
        let date = line.starts_with(b"date: ") && !line.starts_with(b"date: Sun, 06 Nov 1994");
        if date { "date".to_owned() } else { line.escape_ascii().to_string() }
    };
    let lines: Vec<String> = answer.split(|byte| *byte == b'\n').map(undated).collect();
    format!("{}\n{end:?}", lines.join("\n").replace(&own, "the client"))
}

/// The same requests to these servers: all give the same bytes.
fn same_bytes(servers: &[(String, Serving)], cases: u32) -> Result<(), TestError<Vec<u8>>> {
    runner(cases).run(&requests(), |request| {
        let mut expected: Option<(&str, String)> = None;
        for (name, server) in servers {
            let seen = answer(server.address, &request);
            match &expected {
                None => expected = Some((name, seen)),
                Some((first, expected)) => {
                    prop_assert_eq!(expected, &seen, "{}, then {}", first, name);
                }
            }
        }
        Ok(())
    })
}

fn serve(name: &str, host: impl Host + Send + 'static, app: impl App) -> (String, Serving) {
    (name.to_owned(), Serving::start(host, Server::new(app)))
}

/// How many requests are tried.
const REQUESTS: u32 = 200;

#[test]
fn ctx_02_one_application_gives_the_same_bytes_on_all_hosts() {
    let servers = [
        serve("tokio", Tokio::new(2).unwrap(), probe::app()),
        serve("smol", Smol::new(2).unwrap(), probe::app()),
        serve("async-std", AsyncStd::new(2).unwrap(), probe::app()),
        serve("blocking", Blocking::new(2).unwrap(), probe::app()),
        serve("tokio with one thread", Tokio::new(1).unwrap(), probe::app()),
        serve("blocking with one thread", Blocking::new(1).unwrap(), probe::app()),
    ];
    same_bytes(&servers, REQUESTS).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn mid_01_layers_that_do_nothing_change_nothing() {
    let servers = [
        serve("no layer", Tokio::new(2).unwrap(), probe::app()),
        serve("one layer", Tokio::new(2).unwrap(), Identity(probe::app())),
        serve("ten layers", Tokio::new(2).unwrap(), ten(probe::app())),
        serve("ten layers on blocking", Blocking::new(2).unwrap(), ten(probe::app())),
    ];
    same_bytes(&servers, REQUESTS).unwrap_or_else(|error| panic!("{error}"));
}

fn ten(app: impl App) -> impl App {
    fn two(app: impl App) -> impl App {
        Identity(Identity(app))
    }
    two(two(two(two(two(app)))))
}

#[test]
fn bytes_that_differ_are_noticed() {
    // Short timers fail here: those of the application, not those of the server.
    let short: BounceFn = |good, yielded, cx| match yielded {
        Yield::Timer(timer) if timer.deadline() < Instant::now() + Duration::from_millis(100) => {
            Poll::Ready(Err(io::Error::other("no short timers here")))
        }
        other => good.bounce(other, cx),
    };
    let broken = [
        serve("good", Blocking::new(2).unwrap(), probe::app()),
        serve("broken", Behind::new(short), probe::app()),
    ];
    assert!(same_bytes(&broken, REQUESTS).is_err(), "nobody notices a host without short timers");
    let log = Log::default();
    let stamped = [
        serve("bare", Blocking::new(2).unwrap(), probe::app()),
        serve("stamped", Blocking::new(2).unwrap(), Layer("x", log, probe::app())),
    ];
    assert!(same_bytes(&stamped, REQUESTS).is_err(), "nobody notices a field more");
}

/// Who has seen what, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A layer that says when it sees a request and its response, and leaves its name on both.
struct Layer<A>(&'static str, Log, A);

impl<A: App> App for Layer<A> {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        let Layer(name, log, app) = self;
        log.lock().unwrap().push(format!("{name} before"));
        request.headers_mut().append("x-layer", name.parse()?);
        let mut response = app.call(request).await?;
        log.lock().unwrap().push(format!("{name} after"));
        response.headers_mut().append("x-layer", name.parse()?);
        Ok(response)
    }
}

#[test]
fn mid_02_the_outermost_layer_sees_a_request_first_and_its_response_last() {
    fn order(host: impl Host + Send + 'static, name: &str) {
        let log = Log::default();
        let layer = |name| (name, log.clone());
        let ((one, first), (two, second), (three, third)) = (layer("1"), layer("2"), layer("3"));
        let app = Layer(one, first, Layer(two, second, Layer(three, third, probe::app())));
        let server = Serving::start(host, Server::new(app));
        let answer = server.get("/reflect");
        let seen: Vec<String> = log.lock().unwrap().clone();
        let expected = ["1 before", "2 before", "3 before", "3 after", "2 after", "1 after"];
        assert_eq!(seen, expected, "on {name}");
        let fields = r#"["x-layer","1"],["x-layer","2"],["x-layer","3"]"#;
        assert!(answer.text().contains(fields), "on {name}: {}", answer.text());
        let named = |(key, _): &&(String, String)| key == "x-layer";
        let layers: Vec<&str> =
            answer.fields.iter().filter(named).map(|(_, value)| value.as_str()).collect();
        assert_eq!(layers, ["3", "2", "1"], "on {name}");
    }
    order(Tokio::new(2).unwrap(), "tokio");
    order(Smol::new(2).unwrap(), "smol");
    order(AsyncStd::new(2).unwrap(), "async-std");
    order(Blocking::new(2).unwrap(), "blocking");
}
