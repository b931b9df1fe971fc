//! The probe application on axum, HTTP/1.1 and HTTP/2: `probe-axum PORT`.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyStream, StreamBody};
use probes::{Failure, Head, Probe, address, terminated, upgrade};
use tokio::net::TcpListener;

async fn serve(
    State(probe): State<Probe>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    if let Some(head) = upgrade(&mut request) {
        return head.body(Body::empty()).expect("this head is valid");
    }
    let (head, body) = request.into_parts();
    let answer = probe.call(Head::of(&head, Some(peer.to_string())), BodyStream::new(body)).await;
    let response = answer.and_then(|answer| {
        answer.into_response(Body::from, |frames| Body::new(StreamBody::new(frames)))
    });
    response.unwrap_or_else(|failure| match failure {
        // As axum's own extractors answer to a body that can't be read.
        Failure::Body(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Failure::Application => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let probe =
        Probe::new(" send-trailers upgrade raw-target raw-fields request-trailers peer cancel");
    let app = Router::new().fallback(serve).with_state(probe);
    let listener = TcpListener::bind(address()).await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(terminated())
        .await
}
