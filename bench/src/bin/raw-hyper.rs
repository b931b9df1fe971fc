//! The small request on raw hyper and tokio, with one worker thread: `raw-hyper plain PORT`. With
//! `raw-hyper deadline PORT` a head has to come within hyper's own deadline, 30 seconds: the one that
//! hyper has, and that it needs a timer for. With `raw-hyper copies PORT` a response's body is copied
//! behind its head, as the gateway does with small ones.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, World!"))))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (kind, port) =
        (words.next().expect("plain, deadline or copies"), words.next().expect("a port"));
    let mut builder = http1::Builder::new();
    match kind.as_str() {
        "plain" => {}
        "deadline" => drop(builder.timer(TokioTimer::new())),
        "copies" => drop(builder.writev(false)),
        _ => panic!("neither plain nor deadline nor copies: {kind}"),
    }
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = builder.serve_connection(TokioIo::new(stream), service_fn(hello));
        tokio::spawn(connection);
    }
}
