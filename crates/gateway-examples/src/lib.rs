//! One portable application: the same handlers on every host.
//!
//! | route | what it shows |
//! |---|---|
//! | `/` | a page with a live chart of all hosts |
//! | `/hello` | the smallest answer |
//! | `/echo` | a body that streams both ways |
//! | `/sleep?ms=` | a timer |
//! | `/join` | ten sleeps at once take as long as one |
//! | `/job?ms=` | blocking work that delays nobody else |
//! | `/ring?hops=` | the request goes round the hosts, over portable sockets |
//! | `/sse` | server-sent events, made as they are sent |
//! | `/stream?bytes=` | a response of any size, at the reader's pace |
//! | `/guestbook` | entries in PostgreSQL, cached in Redis |
//! | `/upload` | counts and hashes a body without holding it |
//! | `/websocket` | a page with a WebSocket to `/websocket/echo` |
//! | `/panic` | a panic that touches nobody else |

#![forbid(unsafe_code)]

pub mod cache;
pub mod client;
pub mod guestbook;
pub mod local;
pub mod postgres;
mod ring;
mod routes;
pub mod tls;

use std::sync::Arc;

use gateway_core::{App, BoxError, Error, Request, Response};
use gateway_http::{Bound, Listener, Server};
use http::{HeaderValue, Method, StatusCode, header};

use client::Client;
use guestbook::Guestbook;
use postgres::Bounds;

/// The programs of the guide for databases, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide-database.md")]
pub struct GuideForDatabases;

/// A host that the application runs on: what it is called, and where it listens (`host:port`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The host's name.
    pub name: String,
    /// The address, or nothing for the host that answers.
    pub address: String,
}

/// The application. It knows on which host it runs, and which others there are.
#[derive(Clone, Debug)]
pub struct Portable {
    peers: Arc<[Peer]>,
    this: usize,
    client: Client,
    guestbook: Option<Guestbook>,
}

impl Portable {
    /// The application on one host of several: `peers[this]`.
    ///
    /// # Panics
    ///
    /// When there is no such peer.
    #[must_use]
    pub fn new(peers: Arc<[Peer]>, this: usize) -> Portable {
        assert!(this < peers.len(), "peer {this} of {}", peers.len());
        let client = Client::new(tls::trusting_authorities());
        Portable { peers, this, client, guestbook: None }
    }

    /// The application by itself.
    #[must_use]
    pub fn alone(name: &str) -> Portable {
        let peer = Peer { name: name.to_owned(), address: String::new() };
        Portable::new(Arc::new([peer]), 0)
    }

    /// The same with a guestbook.
    #[must_use]
    pub fn with(self, guestbook: Option<Guestbook>) -> Portable {
        Portable { guestbook, ..self }
    }

    /// Its server: the guestbook's table is there before the first request, and its connections close
    /// after the last.
    #[must_use]
    pub fn server(self) -> Server<Portable> {
        let guestbook = self.guestbook.clone();
        let Some(guestbook) = guestbook else { return Server::new(self) };
        let prepare = async move || {
            guestbook.prepare().await?;
            Ok(guestbook)
        };
        let close = async |guestbook: Guestbook| {
            guestbook.close();
            Ok(())
        };
        Server::new(self).lifespan(prepare, close)
    }

    fn name(&self) -> &str {
        &self.peers[self.this].name
    }

    fn next(&self) -> &Peer {
        &self.peers[(self.this + 1) % self.peers.len()]
    }
}

impl App for Portable {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        if request.method() == Method::OPTIONS {
            return Ok(allow_other_origins(routes::empty(StatusCode::NO_CONTENT)));
        }
        let uri = request.uri().clone();
        let response = match uri.path() {
            "/" => routes::page(self),
            "/hello" => Ok(routes::text("Hello, World!")),
            "/echo" => Ok(routes::echo(request)),
            "/sleep" => routes::sleep_for(routes::number(&uri, "ms", 10, 60_000)?).await,
            "/join" => routes::join().await,
            "/job" => routes::job(routes::number(&uri, "ms", 100, 60_000)?).await,
            "/ring" => ring::pass_on(self, routes::number(&uri, "hops", 4, 64)?).await,
            "/sse" => Ok(routes::events(self.name())),
            "/stream" => Ok(routes::stream(routes::number(&uri, "bytes", 1 << 20, 1 << 40)?)),
            "/guestbook" | "/guestbook/entries" => {
                guestbook::answer(self.guestbook.as_ref(), self.name(), request).await
            }
            "/upload" => routes::upload(request).await,
            "/websocket" => Ok(routes::websocket_page(self)),
            "/websocket/echo" => routes::websocket_echo(request),
            "/panic" => panic!("the panic that /panic asks for"),
            path => {
                Err(Error::client(StatusCode::NOT_FOUND, format!("there is nothing at {path}")))
            }
        };
        response.map(allow_other_origins)
    }
}

/// The page of one host asks the others, which are other origins to a browser.
fn allow_other_origins(mut response: Response) -> Response {
    let anyone = HeaderValue::from_static("*");
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, anyone.clone());
    // Otherwise a script may not see where the guestbook's list came from.
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, anyone);
    response
}

/// Binds one server per peer name on `127.0.0.1`, from `port` on (0: wherever there is room), each
/// with the application that knows all the others, and with connections of its own to the guestbook.
///
/// # Errors
///
/// When a port is taken, or the guestbook's options are wrong.
pub fn bind_ring(
    names: &[&str],
    port: u16,
    guestbook: &guestbook::Options,
) -> Result<Vec<Bound<Portable>>, BoxError> {
    let mut listeners = Vec::new();
    let mut peers = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let port = if port == 0 { 0 } else { usize::from(port) + n };
        let listener = Listener::bind(&format!("127.0.0.1:{port}"))?;
        let address = listener.local_addr().map(|address| address.to_string())?;
        peers.push(Peer { name: (*name).to_owned(), address });
        listeners.push(listener);
    }
    let peers: Arc<[Peer]> = peers.into();
    let serve = |(this, listener)| {
        let guestbook = Guestbook::new(guestbook, Bounds::default())?;
        Ok(Portable::new(peers.clone(), this).with(guestbook).server().listen(listener))
    };
    listeners.into_iter().enumerate().map(serve).collect()
}
