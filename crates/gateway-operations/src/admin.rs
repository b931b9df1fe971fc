//! `Admin`: the application for those who run a server, on an address of its own.

use std::fmt;
use std::sync::Arc;

use gateway_core::{App, Body, Error, Request, Response};
use http::{HeaderValue, Method, StatusCode, header};

use crate::metrics::Metrics;
use crate::page::CONTENT_TYPE;

/// Whether a server takes requests, or why it does not.
type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// An app that says how a server is, and what it counts.
///
/// | path | answer |
/// |---|---|
/// | `/livez` | 200, as long as it answers at all |
/// | `/readyz` | 200, or 503 with the reason |
/// | `/metrics` | what is counted, in Prometheus' text format |
///
/// It answers `GET` and `HEAD`. Serve it on an address that the public does not reach:
///
/// ```no_run
/// use gateway_http::Server;
/// use gateway_operations::{Admin, Metrics};
///
/// # fn example(host: &impl gateway_core::Host) -> std::io::Result<()> {
/// let admin = Admin::new(&Metrics::new(), || Err("the caches are cold".to_owned()));
/// Server::new(admin).bind("127.0.0.1:9090")?.run_on(host)
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    metrics: Metrics,
    ready: Ready,
}

impl Admin {
    /// `ready` is asked at each request for `/readyz`, and must not block.
    pub fn new(
        metrics: &Metrics,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Admin {
        Admin { metrics: metrics.clone(), ready: Arc::new(ready) }
    }
}

impl App for Admin {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        let answer = match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match (self.ready)() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => text(StatusCode::OK, self.metrics.page()),
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
        };
        if answer.status() == StatusCode::NOT_FOUND
            || matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return Ok(answer);
        }
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        Ok(answer)
    }
}

fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}
