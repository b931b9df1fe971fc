//! The small request of `axum.rs`, the same router, by way of smol-axum, on one thread: `smol-axum
//! PORT`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use smol::{Async, Executor};

async fn hello() -> &'static str {
    "Hello, World!"
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let executor = Arc::new(Executor::new());
    let listener = Async::<TcpListener>::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let router = Router::new().route("/", get(hello));
    smol::block_on(executor.run(smol_axum::serve(executor.clone(), listener, router)))
}
