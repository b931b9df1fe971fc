//! `Peer`: who is at the other end of a connection. Every request carries it as an extension.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who has sent a request, as the connection tells: an extension of each request.
///
/// ```
/// use gateway_core::{Body, Request, Response};
/// use gateway_http::Peer;
///
/// async fn greet(request: Request) -> Response {
///     let peer = request.extensions().get::<Peer>();
///     let scheme = if peer.is_some_and(|peer| peer.tls().is_some()) { "https" } else { "http" };
///     let address = peer.and_then(Peer::address).map(|address| address.to_string());
///     let address = address.unwrap_or_else(|| "a Unix socket".to_owned());
///     Response::new(Body::from(format!("hello, {address}, by {scheme}")))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(greet);
/// ```
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
    pub(crate) fn new(
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
