//! The small request on a gateway host, with one thread: `gateway HOST PORT`. The host's name may
//! have `+ids`, `+log` or `+metrics` behind it, for what an operator asks for (the log goes nowhere);
//! or `+lint-app` or `+lint`, for the suite's lint around the app, or around the trampoline as well.

use std::io;
use std::sync::Arc;

use gateway_conformance::lint::Lint;
use gateway_core::{App, Body, Coroutine, Host, Request, Response, Trampoline, trampoline};
use gateway_http::{Bound, Server};
use gateway_operations::{Counted, Metrics, Observed};

async fn hello(_: Request) -> Response {
    Response::new(Body::from("Hello, World!"))
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (name, port) = (words.next().expect("a host"), words.next().expect("a port"));
    let address = format!("127.0.0.1:{port}");
    let (host, with) = name.split_once('+').unwrap_or((&name, ""));
    let metrics = Metrics::new();
    match with {
        "" => run(host, Server::new(hello).bind(&address)?, |host| host),
        "ids" => run(host, Server::new(Observed::new(hello)).bind(&address)?, |host| host),
        "log" => {
            tracing_subscriber::fmt().with_writer(io::sink).init();
            let app = Observed::new(hello).access_log();
            run(host, Server::new(app).bind(&address)?, |host| host)
        }
        "metrics" => {
            let bound = Server::new(Observed::new(hello).metrics(&metrics)).bind(&address)?;
            run(host, bound, move |host| Arc::new(Counted::new(host, &metrics)))
        }
        "lint-app" => run(host, Server::new(Lint::new(hello)).bind(&address)?, |host| host),
        "lint" => {
            let bound = Server::new(Lint::new(hello)).bind(&address)?;
            run(host, bound, |host| Arc::new(Lint::new(host)))
        }
        _ => panic!("nothing to add to a host: {with}"),
    }
}

fn run(
    host: &str,
    bound: Bound<impl App>,
    around: impl FnOnce(Arc<dyn Trampoline>) -> Arc<dyn Trampoline>,
) -> io::Result<()> {
    match host {
        "tokio" => run_on(&gateway_tokio::Tokio::new(1)?, bound, around),
        "smol" => run_on(&gateway_smol::Smol::new(1)?, bound, around),
        "async-std" => run_on(&gateway_async_std::AsyncStd::new(1)?, bound, around),
        "blocking" => run_on(&gateway_blocking::Blocking::new(1)?, bound, around),
        _ => panic!("no such host: {host}"),
    }
}

fn run_on(
    host: &impl Host,
    bound: Bound<impl App>,
    around: impl FnOnce(Arc<dyn Trampoline>) -> Arc<dyn Trampoline>,
) -> io::Result<()> {
    host.run(async {
        let around = around(trampoline()?);
        Coroutine::new(around, bound.serve(std::future::pending())).await
    })
}
