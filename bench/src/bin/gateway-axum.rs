//! The small request of `axum.rs`, the same router, on a gateway host: `gateway-axum PORT`.

use std::io;

use axum::Router;
use axum::routing::get;
use gateway_http::Server;

async fn hello() -> &'static str {
    "Hello, World!"
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).expect("a port");
    let router = Router::new().route("/", get(hello));
    let bound = Server::new(gateway_tower::app(router)).bind(&format!("127.0.0.1:{port}"))?;
    bound.run_on(&gateway_tokio::Tokio::new(1)?)
}
