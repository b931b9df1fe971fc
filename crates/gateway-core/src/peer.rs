//! `Peer`: who is at the other end of a connection.
//!
//! A handler asks with [`peer`], which costs the requests that don't ask nothing. For code that looks
//! into a request's extensions, [`with_peer`] puts it there, at the price of an allocation or two for
//! each request.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::app::{App, Request, Response};
use crate::client::Client;
use crate::error::Error;

/// Who has sent the request in hand. Nothing outside a handler, and in a task.
///
/// ```
/// use gateway_core::{Body, Peer, Request, Response, peer};
///
/// async fn greet(_: Request) -> Response {
///     let peer = peer();
///     let secure = peer.as_ref().is_some_and(|peer| peer.tls().is_some());
///     let address = peer.as_ref().and_then(Peer::address).map(|address| address.to_string());
///     let address = address.unwrap_or_else(|| "a Unix socket".to_owned());
///     let scheme = if secure { "https" } else { "http" };
///     Response::new(Body::from(format!("hello, {address}, by {scheme}")))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(greet);
/// ```
#[must_use]
pub fn peer() -> Option<Peer> {
    Client::facts()
}

/// The app whose requests have a [`Peer`] among their extensions.
///
/// ```
/// use gateway_core::{Body, Peer, Request, Response, with_peer};
///
/// async fn greet(request: Request) -> Response {
///     let address = request.extensions().get::<Peer>().and_then(Peer::address);
///     Response::new(Body::from(format!("hello, {address:?}")))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(
/// with_peer(greet)
/// # );
/// ```
pub fn with_peer<A: App>(app: A) -> WithPeer<A> {
    WithPeer(app)
}

/// What [`with_peer`] makes.
#[derive(Clone, Debug)]
pub struct WithPeer<A>(A);

impl<A: App> App for WithPeer<A> {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        if let Some(peer) = peer() {
            request.extensions_mut().insert(peer);
        }
        self.0.call(request).await
    }
}

/// Who has sent a request, as the connection tells: see [`peer`].
#[derive(Clone, Debug)]
pub struct Peer(Arc<Facts>);

/// What the requests of a connection share.
#[derive(Debug)]
struct Facts {
    socket_address: Option<SocketAddr>,
    client_address: Option<SocketAddr>,
    tls: Option<TlsFacts>,
}

impl Peer {
    /// For servers, which introduce it to their [`Client`].
    #[must_use]
    pub fn new(
        socket_address: Option<SocketAddr>,
        client_address: Option<SocketAddr>,
        tls: Option<TlsFacts>,
    ) -> Peer {
        Peer(Arc::new(Facts { socket_address, client_address, tls }))
    }

    /// The client's address: the one in the PROXY header where a trusted proxy has sent one, else
    /// the socket's. Nothing for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.client_address.or(self.0.socket_address)
    }

    /// The address of the other end of the socket: the client's, or a proxy's. Nothing for a Unix
    /// socket.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.0.socket_address
    }

    /// What the handshake has agreed on; nothing on a plain connection.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.0.tls.as_ref()
    }
}

/// What a TLS handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The version of the protocol: `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its registered name: `TLS_AES_256_GCM_SHA384`, for example.
    pub cipher_suite: String,
    /// The name that the client has asked for (SNI), in lower case.
    pub server_name: Option<String>,
    /// The protocol that ALPN has chosen: `h2` or `http/1.1`.
    pub alpn: Option<&'static str>,
}

impl TlsFacts {
    /// For servers: all that they know.
    #[must_use]
    pub fn new(
        version: &'static str,
        cipher_suite: String,
        server_name: Option<String>,
        alpn: Option<&'static str>,
    ) -> TlsFacts {
        TlsFacts { version, cipher_suite, server_name, alpn }
    }
}
