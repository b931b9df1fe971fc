//! Request smuggling and garbage: one request has one answer, and what is none has a refusal.
//! Whatever bytes come, the server neither panics nor hangs, keeps nothing, and goes on serving.
//!
//! Smuggling lives on two parsers that disagree where a request ends: RFC 9112, section 11.2.
//! Behind each request that is in doubt stands a canary. It must not be answered, nor reach the app,
//! unless the request before it was taken for what it says.

use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::Duration;

use gateway_core::{Body, Error, Host, Request, Response};
use gateway_http::{Deadlines, Server};
use gateway_tests::{Answer, Client, PATIENCE, Serving, eventually, on_every_host};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

on_every_host!(2:
    framing_in_doubt_is_refused_with_what_follows,
    heads_in_doubt_are_refused_with_what_follows,
    chunks_in_doubt_are_refused_with_what_follows,
    a_refusal_does_not_depend_on_order_case_or_splits,
    what_is_let_through_is_one_request_of_the_length_it_says,
    each_request_of_a_pipeline_has_its_own_answer,
    mutated_pipelines_get_whole_answers_and_an_end,
    mutated_frames_get_an_end,
);

/// Fields that leave in doubt where the body ends, or that only some would read.
const FRAMING: &[&str] = &[
    "content-length: 3\r\ncontent-length: 4",
    "content-length: 4\r\ncontent-length: 3",
    "content-length: 3, 4",
    "content-length: 3 3",
    "content-length: +3",
    "content-length: -3",
    "content-length: 3a",
    "content-length: 0x3",
    "content-length: 3.0",
    "content-length: \"3\"",
    "content-length: 3;",
    "content-length:",
    "content-length: 99999999999999999999999",
    "content-length: \u{663}",
    "content-length: 3\0",
    "content-length : 3",
    "content-length\t: 3",
    " content-length: 3",
    "content-length:\r\n 3",
    "content-length\0: 3",
    "transfer-encoding: identity",
    "transfer-encoding: gzip",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunkedx",
    "transfer-encoding: x chunked",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: 'chunked'",
    "transfer-encoding: chunked\0",
    "transfer-encoding: \u{b}chunked",
    "transfer-encoding: chunked\u{c}",
    "transfer-encoding: chun\u{212a}ed",
    "transfer-encoding: cow",
    "transfer-encoding:",
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    "transfer-encoding\u{b}: chunked",
    " transfer-encoding: chunked",
    "\ttransfer-encoding: chunked",
    "transfer-encoding:\r\n chunked",
    "transfer-encoding: chunked\r\n , identity",
    "transfer-encoding\0: chunked",
    "transfer encoding: chunked",
    "x: y\rtransfer-encoding: chunked",
    "x: y\r transfer-encoding: chunked",
    "x: y\r\n transfer-encoding: chunked",
    "content-length: 3\r\ntransfer-encoding: identity",
    "content-length: 3\r\ntransfer-encoding: chunked, chunked",
    "content-length: 3\r\ntransfer-encoding : chunked",
    "content-length: 3\r\ntransfer-encoding:\u{b}chunked",
    "x: y\ncontent-length: 3",
    "x: y\ntransfer-encoding: chunked",
];

/// Heads, up to their empty line, that are malformed in other places.
const HEADS: &[&str] = &[
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx: a\rb",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx: a\r\r\ny: b",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx: a\r\n b",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx: a\r\n\tb",
    "GET /doubt HTTP/1.1\r\n host: t",
    "GET /doubt HTTP/1.1\r\nhost : t",
    "GET /doubt HTTP/1.1\r\nhost: t\r\n: a",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx y: a",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx\0: a",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nx: a\0b",
    "GET /doubt HTTP/1.1\r\nhost: t\r\n(x): a",
    "GET /doubt HTTP/1.1\r\nhost: t\r\nhost: u",
    "GET /doubt HTTP/1.1\r\nhost: t\r\n\u{e4}: a",
    "GET /doubt HTTP/1.1",
    "GET /doubt\r HTTP/1.1\r\nhost: t",
    "GET /doubt HTTP/1.1\rhost: t",
    "GET /doubt\tHTTP/1.1\r\nhost: t",
    "GET  /doubt HTTP/1.1\r\nhost: t",
    "GET /doubt  HTTP/1.1\r\nhost: t",
    " GET /doubt HTTP/1.1\r\nhost: t",
    "GET /doubt /canary HTTP/1.1\r\nhost: t",
    "GET /do\0ubt HTTP/1.1\r\nhost: t",
    "GET doubt HTTP/1.1\r\nhost: t",
    "GET /doubt HTTP/1.1 \r\nhost: t",
    "GET /doubt HTTP/1.1x\r\nhost: t",
    "GET /doubt http/1.1\r\nhost: t",
    "GET /doubt HTTP/01.1\r\nhost: t",
    "GET /doubt\r\nhost: t",
    "G(T /doubt HTTP/1.1\r\nhost: t",
    "POST /doubt HTTP/1.0\r\nhost: t\r\ntransfer-encoding: chunked",
];

/// Chunked bodies whose end is in doubt. The app has been called by then; what it does not get is a
/// whole body.
const CHUNKS: &[&str] = &[
    "3\r\nabc0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "2\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\n\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "3_\r\nabc\r\n0\r\n\r\n",
    "3g\r\nabc\r\n0\r\n\r\n",
    "3 3\r\nabc\r\n0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    ";x\r\nabc\r\n0\r\n\r\n",
    "\0\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "3;x\nabc\r\n0\r\n\r\n",
    "3;x\n\r\nabc\r\n0\r\n\r\n",
    "3;x\ry\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\n\n",
    "3\r\nabc\r\n0\r\rX",
    "3\r\nabc\r\n0\r\nx y: z\r\n\r\n",
    "3\r\nabc\r\n0\r\n: z\r\n\r\n",
    "3\r\nabc\r\n0\r\nx: a\rb\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "3;\0(\x7f\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nx: y\n\r\n",
];

/// What hyper lets through (`docs/decisions/0014-what-hyper-lets-through.md`), and what RFC 9112
/// allows a server to take: requests, each with the body that it has. Any of them may be refused.
const LET_THROUGH: &[(&str, &str)] = &[
    ("host: t\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", "abc"),
    ("host: t\r\ncontent-length: 3, 3\r\n\r\nabc", "abc"),
    ("host: t\r\ncontent-length: 003\r\n\r\nabc", "abc"),
    ("host: t\r\ncontent-length: 3\t \r\n\r\nabc", "abc"),
    ("host: t\r\ncontent-length: 0\r\n\r\n", ""),
    (
        "host: t\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "abc",
    ),
    (
        "host: t\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "abc",
    ),
    ("host: t\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("host: t\r\ntransfer-encoding: ,chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("host: t\r\ntransfer-encoding: chunked,\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("host: t\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0;z\r\n\r\n", "abc"),
    ("host: t\r\ntransfer-encoding: chunked\r\n\r\n0000000000000003\r\nabc\r\n000\r\n\r\n", "abc"),
    (
        "host: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\n\r\n",
        "abc",
    ),
    ("host: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nhost: u\r\n\r\n", "abc"),
];

/// Stands behind what is in doubt.
const CANARY: &str = "GET /canary HTTP/1.1\r\nhost: t\r\n\r\n";

/// The paths that the app was called with.
type Calls = Arc<Mutex<Vec<String>>>;

/// A server whose app answers with a request's path and body.
fn serving(host: impl Host + Send + 'static, deadlines: Deadlines) -> (Serving, Calls) {
    let calls = Calls::default();
    let called = calls.clone();
    let app = move |request: Request| {
        let path = request.uri().path().to_owned();
        called.lock().unwrap().push(path.clone());
        async move {
            let body = request.into_body().collect(1_000_000).await?;
            Ok::<_, Error>(Response::new(Body::from([path.as_bytes(), b"\n", &body].concat())))
        }
    };
    (Serving::start(host, Server::new(app).deadlines(deadlines)), calls)
}

/// Everything that comes back for these bytes, sent in pieces, up to the connection's end.
fn sent(serving: &Serving, pieces: &[&[u8]], half_closes: bool) -> Result<Vec<u8>, TestCaseError> {
    let mut client = TcpStream::connect(serving.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    for piece in pieces {
        // The server may have closed before it has read everything.
        if client.write_all(piece).is_err() {
            break;
        }
        thread::yield_now();
    }
    if half_closes {
        let _ = client.shutdown(Shutdown::Write);
    }
    let mut came = Vec::new();
    match client.read_to_end(&mut came) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            Err(TestCaseError::fail(format!("neither an answer nor a close: {error}")))
        }
        _ => Ok(came),
    }
}

/// All answers in what came, which have to be whole.
fn answers(came: Vec<u8>) -> Result<Vec<Answer>, TestCaseError> {
    let shown = came.escape_ascii().to_string();
    let length = came.len() as u64;
    let (mut client, mut answers) = (Client::new(Cursor::new(came)), Vec::new());
    while client.stream.buffer().len() as u64 + length > client.stream.get_ref().position() {
        let answer = client.try_answer();
        answers.push(answer.ok_or_else(|| TestCaseError::fail(format!("not whole: {shown}")))?);
    }
    Ok(answers)
}

/// The bytes in pieces that end at these places.
fn split<'a>(bytes: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

/// Sends a request in doubt with the canary behind it: there is one answer, which is a refusal, and
/// the canary is not heard of.
fn refused(
    (serving, calls): &(Serving, Calls),
    request: &[u8],
    places: &[Index],
    reaches_the_app: bool,
) -> Result<(), TestCaseError> {
    let bytes = [request, CANARY.as_bytes()].concat();
    let shown = bytes.escape_ascii().to_string();
    calls.lock().unwrap().clear();
    let answers = answers(sent(serving, &split(&bytes, places), false)?)?;
    prop_assert_eq!(answers.len(), 1, "{}: {:?}", shown, answers);
    prop_assert!(matches!(answers[0].status, 400 | 501), "{}: {:?}", shown, answers);
    prop_assert_eq!(answers[0].field("connection"), Some("close"), "{}", shown);
    let called = calls.lock().unwrap();
    let expected = if reaches_the_app { called[..] == ["/doubt"] } else { called.is_empty() };
    prop_assert!(expected, "{}: the app was called with {:?}", shown, called);
    Ok(())
}

fn framing_in_doubt_is_refused_with_what_follows(host: impl Host + Send + 'static) {
    let serving = serving(host, Deadlines::default());
    for fields in FRAMING {
        for body in ["abc", "3\r\nabc\r\n0\r\n\r\n"] {
            let request = format!("POST /doubt HTTP/1.1\r\nhost: t\r\n{fields}\r\n\r\n{body}");
            refused(&serving, request.as_bytes(), &[], false).unwrap();
        }
    }
    assert_eq!(serving.0.get("/twin").text(), "/twin\n");
}

fn heads_in_doubt_are_refused_with_what_follows(host: impl Host + Send + 'static) {
    let serving = serving(host, Deadlines::default());
    for head in HEADS {
        refused(&serving, format!("{head}\r\n\r\n").as_bytes(), &[], false).unwrap();
    }
    assert_eq!(serving.0.get("/twin").text(), "/twin\n");
}

fn chunks_in_doubt_are_refused_with_what_follows(host: impl Host + Send + 'static) {
    let serving = serving(host, Deadlines::default());
    let head = "POST /doubt HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in CHUNKS {
        refused(&serving, format!("{head}{body}").as_bytes(), &[], true).unwrap();
    }
    assert_eq!(serving.0.get("/twin").text(), "/twin\n");
}

/// How many cases each property is tried on.
const CASES: u32 = 150;

fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, property).unwrap();
}

/// A field's name in upper and lower case, as the bits say.
fn cased(field: &str, bits: u32) -> String {
    let Some((name, value)) = field.split_once(':') else { return field.to_owned() };
    let letters = name.chars().enumerate().map(|(n, letter)| match bits >> (n % 32) & 1 {
        1 => letter.to_ascii_uppercase(),
        _ => letter,
    });
    letters.collect::<String>() + ":" + value
}

fn a_refusal_does_not_depend_on_order_case_or_splits(host: impl Host + Send + 'static) {
    let serving = serving(host, Deadlines::default());
    let others = select(&["x: y", "connection: keep-alive", "accept: */*", "te: trailers"][..]);
    let request = (select(FRAMING), any::<u32>(), vec(others, 1..4), any::<Index>());
    let request = request.prop_map(|(fields, bits, others, place)| {
        let mut head: Vec<_> = others.iter().map(|&other| other.to_owned()).collect();
        head.insert(place.index(head.len()) + 1, cased(fields, bits));
        // First, for what is folded would be a part of the line before it.
        format!("POST /doubt HTTP/1.1\r\nHost: t\r\n{}\r\n\r\nabc", head.join("\r\n"))
    });
    check(CASES, &(request, vec(any::<Index>(), 0..5)), |(request, places)| {
        refused(&serving, request.as_bytes(), &places, false)
    });
}

fn what_is_let_through_is_one_request_of_the_length_it_says(host: impl Host + Send + 'static) {
    let (serving, calls) = serving(host, Deadlines::default());
    check(CASES, &(select(LET_THROUGH), vec(any::<Index>(), 0..5)), |((request, body), places)| {
        let bytes = format!("POST /doubt HTTP/1.1\r\n{request}{CANARY}").into_bytes();
        let shown = bytes.escape_ascii().to_string();
        calls.lock().unwrap().clear();
        let answers = answers(sent(&serving, &split(&bytes, &places), true)?)?;
        let called = calls.lock().unwrap().clone();
        let texts: Vec<_> = answers.iter().map(Answer::text).collect();
        let own = format!("/doubt\n{body}");
        let is_refusal = answers.len() == 1 && matches!(answers[0].status, 400 | 501);
        let is_one = texts == [own.as_str()] && called == ["/doubt"];
        let are_two = texts == [own.as_str(), "/canary\n"] && called == ["/doubt", "/canary"];
        prop_assert!(is_refusal || is_one || are_two, "{}: {:?}, {:?}", shown, texts, called);
        Ok(())
    });
}

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

/// A well-formed request, without its number.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    body: Vec<u8>,
    /// The sizes of its chunks, where it is chunked.
    chunks: Option<Vec<usize>>,
}

impl Asked {
    fn bytes(&self, number: usize) -> Vec<u8> {
        let Asked { method, body, chunks } = self;
        let mut bytes = format!("{method} /{number} HTTP/1.1\r\nHost: t\r\n").into_bytes();
        let Some(sizes) = chunks else {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
            return bytes;
        };
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut rest = &body[..];
        for size in sizes.iter().chain([&usize::MAX]) {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            if !chunk.is_empty() {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

/// Requests in order. Some have a body that looks like the next request.
fn pipeline() -> impl Strategy<Value = Vec<Asked>> {
    let looks = [CANARY, "0\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"];
    let body = prop_oneof![
        Just(Vec::new()),
        select(looks.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..2_000),
    ];
    let chunks = prop::option::of(vec(1_usize..300, 0..5));
    let asked = (select(vec!["POST", "PUT", "GET", "DELETE", "X"]), body, chunks);
    vec(asked.prop_map(|(method, body, chunks)| Asked { method, body, chunks }), 1..8)
}

fn each_request_of_a_pipeline_has_its_own_answer(host: impl Host + Send + 'static) {
    let (serving, calls) = serving(host, Deadlines::default());
    check(CASES, &(pipeline(), vec(any::<Index>(), 0..10)), |(asked, places)| {
        calls.lock().unwrap().clear();
        let requests = asked.iter().enumerate().map(|(number, asked)| asked.bytes(number));
        let bytes = requests.collect::<Vec<_>>().concat();
        let answers = answers(sent(&serving, &split(&bytes, &places), true)?)?;
        prop_assert_eq!(answers.len(), asked.len());
        for (number, (answer, asked)) in answers.iter().zip(&asked).enumerate() {
            let own = [format!("/{number}\n").as_bytes(), &asked.body].concat();
            prop_assert!(answer.status == 200 && answer.body == own, "{:?} to {:?}", answer, asked);
        }
        prop_assert_eq!(calls.lock().unwrap().len(), asked.len());
        Ok(())
    });
}

/// One change of bytes, at a place.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    Cut,
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    let change = prop_oneof![
        4 => any::<u8>().prop_map(Change::Replace),
        2 => vec(any::<u8>(), 1..20).prop_map(Change::Insert),
        2 => select(vec!["\r", "\n", "\r\n", " ", "\0", ":", ";", "\r\n\r\n"])
            .prop_map(|text| Change::Insert(text.as_bytes().to_vec())),
        2 => (1_usize..40).prop_map(Change::Remove),
        2 => (1_usize..80).prop_map(Change::Repeat),
        1 => Just(Change::Cut),
    ];
    vec((any::<Index>(), change), 1..6)
}

fn changed(mut bytes: Vec<u8>, changes: Vec<(Index, Change)>) -> Vec<u8> {
    for (place, change) in changes {
        let place = place.index(bytes.len() + 1);
        let end = |length: usize| (place + length).min(bytes.len());
        match change {
            Change::Replace(byte) => {
                if let Some(at) = bytes.get_mut(place) {
                    *at = byte;
                }
            }
            Change::Insert(more) => drop(bytes.splice(place..place, more)),
            Change::Remove(length) => drop(bytes.drain(place..end(length))),
            Change::Repeat(length) => {
                let again = bytes[place..end(length)].to_vec();
                drop(bytes.splice(place..place, again));
            }
            Change::Cut => bytes.truncate(place),
        }
    }
    bytes
}

/// All deadlines short: nothing is waited for, whatever is missing.
fn short_deadlines() -> Deadlines {
    let short = SHORT;
    let deadlines = Deadlines { head: short, body: short, write: short, ..Deadlines::default() };
    Deadlines { handler: 2 * short, idle: short, grace: short, ..deadlines }
}

/// How many panics there were in this process.
fn panics() -> usize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static COUNTS: Once = Once::new();
    COUNTS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(panic);
        }));
    });
    PANICS.load(Ordering::Relaxed)
}

/// How many connections are tried at once, and how often: each waits for a deadline or two.
const AT_ONCE: usize = 60;
const ROUNDS: u32 = 6;

/// Sends garbage on many connections at once. Each ends, and nothing is left of them.
fn survives(
    host: impl Host + Send + 'static,
    garbage: impl Strategy<Value = Vec<u8>>,
    judge: impl Fn(Vec<u8>) -> Result<(), TestCaseError> + Sync,
) {
    let before = panics();
    let (serving, _) = serving(host, short_deadlines());
    let garbage = (garbage, vec(any::<Index>(), 0..6), any::<bool>());
    check(ROUNDS, &vec(garbage, AT_ONCE), |all| {
        thread::scope(|scope| {
            let one = |(bytes, places, half_closes): &(Vec<u8>, Vec<Index>, bool)| {
                judge(sent(&serving, &split(bytes, places), *half_closes)?)
            };
            let all: Vec<_> = all.iter().map(|garbage| scope.spawn(move || one(garbage))).collect();
            all.into_iter().try_for_each(|one| one.join().expect("a client does not panic"))
        })
    });
    eventually("nothing is left", || serving.monitor.open() == 0);
    assert_eq!(serving.get("/twin").text(), "/twin\n");
    assert_eq!(panics(), before, "something has panicked");
}

fn mutated_pipelines_get_whole_answers_and_an_end(host: impl Host + Send + 'static) {
    let pipelines = (pipeline(), changes()).prop_map(|(asked, changes)| {
        let requests = asked.iter().enumerate().map(|(number, asked)| asked.bytes(number));
        changed(requests.collect::<Vec<_>>().concat(), changes)
    });
    survives(host, pipelines, |came| answers(came).map(drop));
}

/// What an HTTP/2 connection begins with: the preface, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A request in HPACK: `:method: GET`, `:scheme: http`, `:path: /`, `:authority: t`.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b't'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Frames behind the preface: mostly of known kinds, on few streams, some of them requests.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let payload = prop_oneof![
        2 => vec(any::<u8>(), 0..30),
        1 => select(vec![0_usize, 4, 5, 6, 8, 12]).prop_flat_map(|length| vec(any::<u8>(), length)),
        1 => Just(REQUEST.to_vec()),
    ];
    let any_frame = (0_u8..12, any::<u8>(), 0_u32..8, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let ends = select(vec![END_HEADERS, END_HEADERS | END_STREAM]);
    let request = (ends, 0_u32..4).prop_map(|(flags, n)| frame(1, flags, 2 * n + 1, REQUEST));
    let data = (any::<bool>(), 0_u32..4, vec(any::<u8>(), 0..50))
        .prop_map(|(ends, n, data)| frame(0, u8::from(ends), 2 * n + 1, &data));
    let frames = vec(prop_oneof![2 => any_frame, 2 => request, 1 => data], 0..12);
    let changes = prop_oneof![Just(Vec::new()), changes()];
    (frames, changes).prop_map(|(frames, changes)| {
        [PREFACE.to_vec(), changed(frames.concat(), changes)].concat()
    })
}

fn mutated_frames_get_an_end(host: impl Host + Send + 'static) {
    survives(host, frames(), |_| Ok(()));
}
