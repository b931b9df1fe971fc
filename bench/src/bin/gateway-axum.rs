//! The small request of `axum.rs`, the same router, on a gateway host: `gateway-axum HOST PORT`.

use std::io;

use axum::Router;
use axum::routing::get;
use gateway_http::Server;

async fn hello() -> &'static str {
    "Hello, World!"
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (host, port) = (words.next().expect("a host"), words.next().expect("a port"));
    let router = Router::new().route("/", get(hello));
    let bound = Server::new(gateway_tower::app(router)).bind(&format!("127.0.0.1:{port}"))?;
    match host.as_str() {
        "tokio" => bound.run_on(&gateway_tokio::Tokio::new(1)?),
        "smol" => bound.run_on(&gateway_smol::Smol::new(1)?),
        _ => panic!("no such host: {host}"),
    }
}
