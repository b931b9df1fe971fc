//! Certificates in files, and a plain client that speaks TLS.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use crate::{Client, Serving};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

/// A connection through TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A folder for one test's certificates. Dropping it removes it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When it can't be made.
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    #[must_use]
    pub fn new() -> Folder {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("gateway-tls-{}-{number}", process::id()));
        fs::create_dir(&folder).expect("a new folder");
        Folder(folder)
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a certificate for these names, with its key, in files called so. Gives it back.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn certificate(&self, file: &str, names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = self.files(file);
        fs::write(certificate, made.cert.pem()).expect("a file");
        fs::write(key, made.signing_key.serialize_pem()).expect("a file");
        made.cert.der().clone()
    }

    /// The files of a certificate and its key.
    #[must_use]
    pub fn files(&self, file: &str) -> (PathBuf, PathBuf) {
        (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a client asks for in its handshake.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The server's name (SNI), if it is to be told.
    pub name: Option<&'static str>,
    /// The protocols that it offers.
    pub alpn: &'static [&'static str],
    /// The versions of TLS that it speaks.
    pub versions: &'static [&'static SupportedProtocolVersion],
}

impl Default for Ask {
    fn default() -> Ask {
        Ask { name: Some("a.test"), alpn: &["http/1.1"], versions: rustls::ALL_VERSIONS }
    }
}

impl Ask {
    /// Shakes hands over a connection.
    ///
    /// # Errors
    ///
    /// The server's refusal.
    ///
    /// # Panics
    ///
    /// When it asks for what is no name.
    pub fn over(self, mut tcp: TcpStream) -> std::io::Result<Client<Secure>> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = self.name.is_some();
        let name = ServerName::try_from(self.name.unwrap_or("nobody.test")).expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Client::new(StreamOwned::new(session, tcp)))
    }

    /// Connects, and shakes hands.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    #[must_use]
    pub fn to(self, serving: &Serving) -> Client<Secure> {
        self.over(tcp(serving)).expect("a handshake")
    }
}

/// A plain connection.
#[must_use]
pub fn tcp(serving: &Serving) -> TcpStream {
    serving.connect().stream.into_inner()
}

/// The certificate that the server has shown.
///
/// # Panics
///
/// When it has shown none.
#[must_use]
pub fn shown(client: &Client<Secure>) -> CertificateDer<'static> {
    client.stream.get_ref().conn.peer_certificates().expect("certificates")[0].clone().into_owned()
}

/// Takes any certificate, and checks that the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An app that answers with the facts of the request's connection: the client's address, the
/// socket's, and what the handshake has agreed on, each in a line.
///
/// # Panics
///
/// When the request comes without them.
pub async fn facts(_: gateway_core::Request) -> gateway_core::Response {
    let peer = gateway_http::peer().expect("a peer");
    let tls = peer.tls().map(|tls| {
        let (name, alpn) = (tls.server_name.as_deref().unwrap_or("-"), tls.alpn.unwrap_or("-"));
        format!("{} {} {name} {alpn}", tls.version, tls.cipher_suite)
    });
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or("none".to_owned(), |address| address.to_string())
    };
    let (client, socket) = (address(peer.address()), address(peer.socket_address()));
    let text = format!("{client}\n{socket}\n{}", tls.as_deref().unwrap_or("plain"));
    gateway_core::Response::new(gateway_core::Body::from(text))
}
