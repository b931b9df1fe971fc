//! A gateway server inside a tokio runtime that is running already, beside crates that know tokio
//! alone: `cargo run --example beside_tokio`.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use gateway_core::{Body, BoxError, Coroutine, Request, Response};
use gateway_http::Server;
use gateway_tokio::OnTokio;
use tokio::runtime::Handle;

/// A handler that waits for tokio's own timer: it is no longer portable, and need not be.
async fn hello(request: Request) -> Response {
    tokio::time::sleep(Duration::from_millis(10)).await;
    Response::new(Body::from(format!("hello, {}", request.uri().path())))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let bound = Server::new(hello).bind("127.0.0.1:0")?;
    let url = format!("{}/tokio", bound.listener());
    let (stop, stopped) = oneshot::channel();
    let serve = bound.serve(async { stopped.await.unwrap_or_default() });
    let trampoline = Arc::new(OnTokio(Handle::current()));
    let server = tokio::spawn(Coroutine::new(trampoline, serve));

    // The server is on this machine, and no proxy reaches it.
    let client = reqwest::Client::builder().no_proxy().build()?;
    println!("{}", client.get(url).send().await?.text().await?);

    drop(client);
    let _ = stop.send(());
    Ok(server.await??)
}
