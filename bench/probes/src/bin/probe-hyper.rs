//! The probe application on raw hyper and tokio, HTTP/1.1 and HTTP/2: `probe-hyper PORT`.

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use probes::{Failure, Head, Probe, address, terminated, upgrade};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Error>;

/// hyper closes the connection of a handler that fails.
async fn serve(
    probe: Probe,
    peer: String,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    if let Some(head) = upgrade(&mut request) {
        return Ok(head.body(Empty::new().map_err(Error::from).boxed_unsync())?);
    }
    let (head, body) = request.into_parts();
    let answer = probe.call(Head::of(&head, Some(peer)), BodyStream::new(body)).await;
    let response = answer.and_then(|answer| {
        answer.into_response(
            |bytes| Full::new(bytes).map_err(Error::from).boxed_unsync(),
            |frames| StreamBody::new(frames.map_err(Error::from)).boxed_unsync(),
        )
    });
    response.map_err(|failure| match failure {
        Failure::Body(error) => error.into(),
        Failure::Application => "the application failed".into(),
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let probe =
        Probe::new(" send-trailers upgrade raw-target raw-fields request-trailers peer cancel");
    let listener = TcpListener::bind(address()).await?;
    let graceful = GracefulShutdown::new();
    let mut terminated = std::pin::pin!(terminated());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut terminated => break,
        };
        stream.set_nodelay(true)?;
        let (probe, watcher) = (probe.clone(), graceful.watcher());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| serve(probe.clone(), peer.to_string(), request));
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            builder.http2().timer(TokioTimer::new());
            let connection =
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            // How a connection ends is its client's affair.
            let _ = watcher.watch(connection).await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}
