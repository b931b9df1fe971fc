//! The application's handlers, but for the ring.

use std::fmt::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::{Body, Error, Request, Response, sleep, unblock};
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::Portable;

type Answer = Result<Response, Error>;

/// How many sleeps `/join` waits for, and how long each of them is.
const SLEEPS: usize = 10;
const EACH: Duration = Duration::from_millis(50);

/// How many events `/sse` sends, and how far apart.
const EVENTS: usize = 10;
const BETWEEN: Duration = Duration::from_millis(300);

/// How many bytes `/stream` sends at a time.
const CHUNK: usize = 64 * 1024;

pub(crate) fn page(app: &Portable) -> Answer {
    let hosts: Vec<_> = app
        .peers
        .iter()
        .map(|peer| {
            let url = match peer.address.as_str() {
                "" => String::new(),
                address => format!("http://{address}"),
            };
            format!(r#"{{"name":"{}","url":"{url}"}}"#, peer.name)
        })
        .collect();
    let page = include_str!("page.html").replace("{{HOST}}", app.name());
    let page = page.replace("{{HOSTS}}", &format!("[{}]", hosts.join(",")));
    Ok(with_type(page, "text/html; charset=utf-8"))
}

pub(crate) fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body);
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

pub(crate) async fn sleep_for(ms: u64) -> Answer {
    sleep(Duration::from_millis(ms)).await;
    Ok(text(format!("slept {ms} ms\n")))
}

pub(crate) async fn join() -> Answer {
    let started = Instant::now();
    join_all((0..SLEEPS).map(|_| sleep(EACH))).await;
    let (each, took) = (EACH.as_millis(), started.elapsed().as_millis());
    Ok(json(format!(r#"{{"sleeps":{SLEEPS},"each_ms":{each},"took_ms":{took}}}"#)))
}

pub(crate) async fn job(ms: u64) -> Answer {
    let started = Instant::now();
    unblock(move || std::thread::sleep(Duration::from_millis(ms))).await?;
    Ok(json(format!(r#"{{"took_ms":{}}}"#, started.elapsed().as_millis())))
}

pub(crate) fn events(host: &str) -> Response {
    let host = host.to_owned();
    let body = Body::coroutine(async move |mut out| {
        for n in 0..EVENTS {
            out.send(format!("data: {{\"n\":{n},\"host\":\"{host}\"}}\n\n")).await?;
            sleep(BETWEEN).await;
        }
        Ok(())
    });
    let mut response = with_type(body, "text/event-stream");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn stream(bytes: u64) -> Response {
    let body = Body::coroutine(async move |mut out| {
        let chunk = Bytes::from(vec![b'.'; CHUNK]);
        let mut left = bytes;
        while left > 0 {
            let now = left.min(CHUNK as u64);
            out.send(chunk.slice(..now as usize)).await?;
            left -= now;
        }
        Ok(())
    });
    with_type(body, "application/octet-stream")
}

/// The largest upload, in bytes: it is hashed piece by piece, and never held.
const UPLOAD: u64 = 4 * 1024 * 1024 * 1024;

/// How long one may take.
const UPLOAD_TIME: Duration = Duration::from_secs(15 * 60);

pub(crate) async fn upload(request: Request) -> Answer {
    gateway_http::set_body_limit(&request, UPLOAD);
    gateway_http::handler_deadline(UPLOAD_TIME);
    let mut body = request.into_body();
    let (mut bytes, mut hash) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len();
            hash.update(&data);
        }
    }
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}")?;
    }
    Ok(json(format!(r#"{{"bytes":{bytes},"sha256":"{hex}"}}"#)))
}

pub(crate) fn websocket_page(app: &Portable) -> Response {
    let page = include_str!("websocket.html").replace("{{HOST}}", app.name());
    with_type(page, "text/html; charset=utf-8")
}

pub(crate) fn websocket_echo(request: Request) -> Answer {
    gateway_websocket::same_origin(&request)?;
    gateway_websocket::accept(request, async |mut socket| {
        while let Some(message) = socket.receive().await? {
            socket.send(message).await?;
        }
        Ok(())
    })
}

/// A number of the query, or what stands for it.
pub(crate) fn number(uri: &Uri, name: &str, otherwise: u64, limit: u64) -> Result<u64, Error> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(key, _)| *key == name) else {
        return Ok(otherwise);
    };
    match value.parse() {
        Ok(number) if number <= limit => Ok(number),
        _ => {
            let message = format!("{name} is a number up to {limit}, not {value:?}");
            Err(Error::client(StatusCode::BAD_REQUEST, message))
        }
    }
}

pub(crate) fn text(text: impl Into<Body>) -> Response {
    with_type(text, "text/plain; charset=utf-8")
}

pub(crate) fn json(json: String) -> Response {
    with_type(json, "application/json")
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn with_type(body: impl Into<Body>, kind: &'static str) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
