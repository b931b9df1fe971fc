//! The small request on a gateway host, with one thread: `gateway HOST PORT`.

use std::io;

use gateway_core::{Body, Request, Response};
use gateway_http::Server;

async fn hello(_: Request) -> Response {
    Response::new(Body::from("Hello, World!"))
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (host, port) = (words.next().expect("a host"), words.next().expect("a port"));
    let bound = Server::new(hello).bind(&format!("127.0.0.1:{port}"))?;
    match &*host {
        "tokio" => bound.run_on(&gateway_tokio::Tokio::new(1)?),
        "smol" => bound.run_on(&gateway_smol::Smol::new(1)?),
        "async-std" => bound.run_on(&gateway_async_std::AsyncStd::new(1)?),
        "blocking" => bound.run_on(&gateway_blocking::Blocking::new(1)?),
        _ => panic!("no such host: {host}"),
    }
}
