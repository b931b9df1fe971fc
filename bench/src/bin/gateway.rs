//! The small request on a gateway host, with one thread: `gateway HOST [lint-app|lint] PORT`.
//!
//! With `lint-app` the suite's lint stands around the app, with `lint` around the host's trampoline
//! as well.

use std::future::Future;
use std::io;
use std::sync::Arc;

use gateway_conformance::lint::Lint;
use gateway_core::{App, Body, Coroutine, Host, Request, Response, trampoline};
use gateway_http::Server;

async fn hello(_: Request) -> Response {
    Response::new(Body::from("Hello, World!"))
}

/// A host whose trampoline stands behind the lint.
struct Linted<H>(H);

impl<H: Host> Host for Linted<H> {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let lint = Lint::new(trampoline().expect("a trampoline inside `run`"));
            Coroutine::new(Arc::new(lint), future).await
        })
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [host, port] => on(host, port, hello, false),
        [host, "lint-app", port] => on(host, port, Lint::new(hello), false),
        [host, "lint", port] => on(host, port, Lint::new(hello), true),
        _ => panic!("a host and a port, and perhaps a lint between them, not {words:?}"),
    }
}

fn on(host: &str, port: &str, app: impl App, lint: bool) -> io::Result<()> {
    let server = Server::new(app);
    match host {
        "tokio" => serve(server, port, gateway_tokio::Tokio::new(1)?, lint),
        "smol" => serve(server, port, gateway_smol::Smol::new(1)?, lint),
        "async-std" => serve(server, port, gateway_async_std::AsyncStd::new(1)?, lint),
        "blocking" => serve(server, port, gateway_blocking::Blocking::new(1)?, lint),
        _ => panic!("no such host: {host}"),
    }
}

fn serve(server: Server<impl App>, port: &str, host: impl Host, lint: bool) -> io::Result<()> {
    let bound = server.bind(&format!("127.0.0.1:{port}"))?;
    if lint { bound.run_on(&Linted(host)) } else { bound.run_on(&host) }
}
