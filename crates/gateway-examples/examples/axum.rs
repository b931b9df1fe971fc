//! An axum application on every host: `cargo run --example axum -- --host smol`.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Multipart, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response, Sse, sse::Event};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use gateway_core::{Body, respond, sleep};
use gateway_tower::{TimeoutLayer, keep_alive};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;

/// What the handlers share.
#[derive(Clone, Default)]
struct Shop {
    visits: Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default = "one")]
    count: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize, Serialize)]
struct Item {
    name: String,
    count: u32,
}

async fn item(
    State(shop): State<Shop>,
    Path(name): Path<String>,
    Query(Wanted { count }): Query<Wanted>,
) -> Json<Item> {
    shop.visits.fetch_add(1, Ordering::Relaxed);
    Json(Item { name, count })
}

async fn store(Json(item): Json<Item>) -> (StatusCode, Json<Item>) {
    (StatusCode::CREATED, Json(item))
}

async fn upload(mut form: Multipart) -> Result<String, Response> {
    let mut parts = String::new();
    while let Some(mut part) = form.next_field().await.map_err(IntoResponse::into_response)? {
        let name = part.name().unwrap_or("nameless").to_owned();
        let mut bytes = 0;
        while let Some(chunk) = part.chunk().await.map_err(IntoResponse::into_response)? {
            bytes += chunk.len();
        }
        parts += &format!("{name}: {bytes} bytes\n");
    }
    Ok(parts)
}

/// Three events, with silences that are longer than the interval of the keep-alive.
async fn events() -> impl IntoResponse {
    let ticks = stream::unfold(0, async |n| {
        sleep(Duration::from_millis(250)).await;
        (n < 3).then(|| (Ok::<_, Infallible>(Event::default().data(n.to_string())), n + 1))
    });
    keep_alive(Sse::new(ticks).into_response(), Duration::from_millis(100))
}

/// A WebSocket in a handler with extractors.
async fn count(State(shop): State<Shop>, request: Request) -> impl IntoResponse {
    let accepted = gateway_websocket::accept(request.map(Body::new), async move |mut socket| {
        while socket.receive().await?.is_some() {
            socket.send(format!("{} visits", shop.visits.load(Ordering::Relaxed))).await?;
        }
        Ok(())
    });
    respond(async { accepted }).await
}

async fn slow() -> &'static str {
    sleep(Duration::from_secs(60)).await;
    "at last"
}

async fn stamp(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-shop", HeaderValue::from_static("open"));
    response
}

fn router() -> Router {
    let late = StatusCode::SERVICE_UNAVAILABLE;
    let items = Router::new().route("/", post(store)).route("/{name}", get(item));
    Router::new()
        .route("/", get("an axum application, on whichever host\n"))
        .nest("/items", items)
        .route("/upload", post(upload))
        .route("/events", get(events))
        .route("/count", get(count))
        .route("/slow", get(slow))
        .layer(TimeoutLayer::with_status_code(late, Duration::from_secs(1)))
        .layer(middleware::from_fn(stamp))
        .layer(CorsLayer::permissive())
        .layer(CatchPanicLayer::new())
        .layer(TraceLayer::new_for_http())
        .with_state(Shop::default())
}

fn main() -> ExitCode {
    gateway_launch::main(gateway_tower::app(router()))
}
