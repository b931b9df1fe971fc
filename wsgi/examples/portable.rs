//! The portable application as a module for Python: `gunicorn portable`.
//!
//! Its log goes to standard error, where servers for WSGI have theirs.
//!
//! Under `/test/` are handlers that wait until they are told to go on: they connect to the address
//! in their query, and each byte that they read there is a step. While such a handler lives its
//! connection does, so whoever listens also sees when it is dropped.

#![forbid(unsafe_code)]

use std::future::pending;
use std::io::{self, Read};
use std::time::Duration;

use futures_util::future::try_join;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway_core::{App, Body, Error, Request, Response, peer, sleep, spawn, unblock};
use gateway_examples::Portable;
use gateway_net::TcpStream;
use gateway_wsgi::Application;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use pyo3::prelude::*;

#[pymodule]
fn portable(module: &Bound<'_, PyModule>) -> PyResult<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    module.add("application", Application::new(Example(Portable::alone("WSGI"))))
}

struct Example(Portable);

impl App for Example {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let gate = request.uri().query().unwrap_or_default().to_owned();
        let body = match request.uri().path() {
            "/test/request" => Body::from(described(&request)),
            "/test/wait" => {
                step(&mut TcpStream::connect(&gate).await?).await?;
                Body::from("waited\n")
            }
            "/test/join" => {
                let waits = || async { step(&mut TcpStream::connect(&gate).await?).await };
                try_join(waits(), waits()).await?;
                Body::from("joined\n")
            }
            "/test/job" => {
                let job = unblock(move || std::net::TcpStream::connect(gate)?.read_exact(&mut [0]));
                job.await??;
                Body::from("done\n")
            }
            "/test/collect" => {
                let body = request.into_body().collect(usize::MAX).await?;
                Body::from(format!("{} bytes\n", body.len()))
            }
            "/test/stream" => stream(gate),
            "/test/for-ever" => for_ever(gate),
            "/test/late" => {
                spawn(read_late(gate, request.into_body()));
                Body::from("begun\n")
            }
            "/test/read" => {
                let mut body = request.into_body();
                let first = body.frame().await;
                step(&mut TcpStream::connect(&gate).await?).await?;
                let read = first.is_some() && !body.collect(usize::MAX).await?.is_empty();
                Body::from(format!("{read}\n"))
            }
            "/test/cut" => begun(|| Err(io::Error::other("the failure that /test/cut asks for"))),
            "/test/panic-midway" => begun(|| panic!("the panic that /test/panic-midway asks for")),
            "/test/short" => return Ok(announced(7)),
            "/test/long" => return Ok(announced(5)),
            "/test/hop-by-hop" => {
                let mut response = plain("stripped\n");
                response.headers_mut().insert(CONNECTION, "close, x-hop".parse()?);
                response.headers_mut().insert("x-hop", "1".parse()?);
                response.headers_mut().insert("x-end", "é".parse()?);
                return Ok(response);
            }
            _ => return self.0.call(request).await,
        };
        Ok(plain(body))
    }
}

fn plain(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// What has arrived, as text.
fn described(request: &Request) -> String {
    let mount = request.extensions().get::<gateway_wsgi::ScriptName>();
    let head = (request.method(), request.uri(), request.version(), mount);
    let address = peer().and_then(|peer| peer.address()).map(|address| address.ip());
    format!("{head:?}\n{address:?}\n{:#?}\n", request.headers())
}

/// Waits until a byte comes. Its end is an error.
async fn step(gate: &mut TcpStream) -> Result<(), Error> {
    Ok(gate.read_exact(&mut [0]).await?)
}

/// A line for each step, up to the end of the connection.
fn stream(gate: String) -> Body {
    Body::coroutine(async move |mut out| {
        let mut gate = TcpStream::connect(&gate).await?;
        out.send("begun\n").await?;
        while gate.read(&mut [0]).await? > 0 {
            out.send("a step\n").await?;
        }
        Ok(())
    })
}

/// Tells once it has waited, and then waits for ever.
fn for_ever(gate: String) -> Body {
    Body::coroutine(async move |mut out| {
        let mut gate = TcpStream::connect(&gate).await?;
        out.send("begun\n").await?;
        sleep(Duration::from_millis(1)).await;
        gate.write_all(b".").await?;
        pending().await
    })
}

/// Reads a request's body when the request may be over, and tells how that went.
async fn read_late(gate: String, mut body: Body) -> Result<(), Error> {
    let mut gate = TcpStream::connect(&gate).await?;
    step(&mut gate).await?;
    let read = body.frame().await.is_some_and(|frame| frame.is_ok());
    Ok(gate.write_all(if read { b"1" } else { b"0" }).await?)
}

/// A body whose end is whatever `end` says.
fn begun(end: impl FnOnce() -> io::Result<()> + Send + 'static) -> Body {
    Body::coroutine(async move |mut out| {
        out.send("begun\n").await?;
        Ok(end()?)
    })
}

/// A response whose body has 6 bytes, whatever its head announces.
fn announced(length: u64) -> Response {
    let mut response = plain(begun(|| Ok(())));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}
