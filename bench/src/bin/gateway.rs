//! The small request on a gateway host, with one thread: `gateway HOST PORT`. The host's name may
//! have `+ids`, `+log` or `+metrics` behind it, for what an operator asks for; the log goes nowhere.

use std::io;
use std::sync::Arc;

use gateway_core::{App, Body, Coroutine, Host, Request, Response, trampoline};
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
    let app = Observed::new(hello);
    let app = match with {
        "" => return run(host, Server::new(hello).bind(&address)?, None),
        "ids" => app,
        "log" => {
            tracing_subscriber::fmt().with_writer(io::sink).init();
            app.access_log()
        }
        "metrics" => {
            return run(host, Server::new(app.metrics(&metrics)).bind(&address)?, Some(&metrics));
        }
        _ => panic!("nothing to add to a host: {with}"),
    };
    run(host, Server::new(app).bind(&address)?, None)
}

fn run(host: &str, bound: Bound<impl App>, metrics: Option<&Metrics>) -> io::Result<()> {
    match host {
        "tokio" => run_on(&gateway_tokio::Tokio::new(1)?, bound, metrics),
        "smol" => run_on(&gateway_smol::Smol::new(1)?, bound, metrics),
        "async-std" => run_on(&gateway_async_std::AsyncStd::new(1)?, bound, metrics),
        "blocking" => run_on(&gateway_blocking::Blocking::new(1)?, bound, metrics),
        _ => panic!("no such host: {host}"),
    }
}

fn run_on(host: &impl Host, bound: Bound<impl App>, metrics: Option<&Metrics>) -> io::Result<()> {
    let Some(metrics) = metrics else { return bound.run_on(host) };
    host.run(async {
        let counted = Counted::new(trampoline()?, metrics);
        Coroutine::new(Arc::new(counted), bound.serve(std::future::pending())).await
    })
}
