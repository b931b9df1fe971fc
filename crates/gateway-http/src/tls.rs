//! `Tls`: certificates, the handshake, and what it has agreed on. TLS itself is rustls's.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use gateway_core::TlsFacts;
use gateway_net::{Any, Stream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// The protocols offered by ALPN, the preferred one first.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// How a server speaks TLS: versions 1.2 and 1.3, with certificates from files. Clones share them.
///
/// ```no_run
/// use gateway_http::{Listener, Server, Tls};
/// # use gateway_core::{Body, Request, Response};
/// # async fn hello(_: Request) -> Response { Response::new(Body::empty()) }
///
/// # fn example(host: &impl gateway_core::Host) -> std::io::Result<()> {
/// let tls = Tls::from_pem_files([("example.org.pem", "example.org.key")])?;
/// let listener = Listener::bind("0.0.0.0:443")?.with_tls(tls.clone());
/// // Later, from wherever the renewed certificate is noticed: `tls.reload()`.
/// Server::new(hello).listen(listener).run_on(host)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Vec<(PathBuf, PathBuf)>,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads certificates, each a PEM file with its chain (the server's own first) and another with
    /// its private key. A client is shown the one that has the name it asks for (SNI) among its
    /// alternative names, wildcards included; else the first.
    ///
    /// # Errors
    ///
    /// One sentence that names the file, and the line where there is one. And when there are none.
    pub fn from_pem_files<C, K>(files: impl IntoIterator<Item = (C, K)>) -> io::Result<Tls>
    where
        C: Into<PathBuf>,
        K: Into<PathBuf>,
    {
        let into_paths = |(certificate, key): (C, K)| (certificate.into(), key.into());
        let files: Vec<_> = files.into_iter().map(into_paths).collect();
        let config = RwLock::new(configure(&files)?);
        Ok(Tls { shared: Arc::new(Shared { files, config }) })
    }

    /// Reads the files again. From then on handshakes see the new certificates, and sessions that
    /// began under the old ones are not resumed; open connections go on. It blocks while it reads.
    ///
    /// # Errors
    ///
    /// As [`Tls::from_pem_files`]. Then everything stays as it was.
    pub fn reload(&self) -> io::Result<()> {
        let config = configure(&self.shared.files)?;
        *self.shared.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Shakes hands. A failure gives the stream back, the alert sent.
    pub(crate) async fn accept(
        &self,
        stream: Stream<Any>,
    ) -> Result<Box<TlsStream<Stream<Any>>>, (io::Error, Stream<Any>)> {
        let config = self.shared.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsAcceptor::from(config).accept(stream).into_fallible().await.map(Box::new)
    }
}

/// What a handshake has agreed on.
pub(crate) fn facts(stream: &TlsStream<Stream<Any>>) -> TlsFacts {
    let (_, session) = stream.get_ref();
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let chosen = session.alpn_protocol();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    // rustls marks the suites of 1.3, which the registry doesn't.
    let cipher_suite = suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1);
    let alpn = PROTOCOLS.into_iter().find(|name| chosen == Some(name.as_bytes()));
    TlsFacts::new(version, cipher_suite, session.server_name().map(str::to_owned), alpn)
}

/// A certificate for each name.
#[derive(Debug)]
struct Certificates {
    named: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.named(&name.to_ascii_lowercase()));
        Some(named.unwrap_or(&self.default).clone())
    }
}

impl Certificates {
    /// A wildcard stands for one whole label: RFC 9525, section 6.3.
    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
        self.named.get(name).or_else(wildcard)
    }
}

/// Reads all files.
fn configure(files: &[(PathBuf, PathBuf)]) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let mut named = HashMap::new();
    let mut default = None;
    for (certificate, key) in files {
        let (names, certified) = load(certificate, key, &provider)?;
        for name in names {
            named.entry(name).or_insert_with(|| certified.clone());
        }
        default.get_or_insert(certified);
    }
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "TLS takes at least one certificate");
    let certificates = Certificates { named, default: default.ok_or_else(none)? };
    let versions =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = PROTOCOLS.map(Into::into).into();
    Ok(Arc::new(config))
}

/// Reads one certificate and its key. Gives the names that it is for.
fn load(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> io::Result<(Vec<String>, Arc<CertifiedKey>)> {
    let mut chain = Vec::new();
    let mut names = None;
    for Section { line, kind, der } in sections(certificate)? {
        if kind != SectionKind::Certificate {
            continue;
        }
        let der = CertificateDer::from(der);
        let parsed = EndEntityCert::try_from(&der)
            .map_err(|error| wrong(certificate, line, &format!("not a certificate: {error}")))?;
        // The first is the server's own.
        names
            .get_or_insert_with(|| parsed.valid_dns_names().map(str::to_ascii_lowercase).collect());
        chain.push(der);
    }
    let names = names.ok_or_else(|| wrong(certificate, 0, "there is no certificate in it"))?;

    let found = sections(key)?.into_iter().find_map(|Section { line, kind, der }| {
        PrivateKeyDer::from_pem(kind, der).map(|key| (line, key))
    });
    let (line, der) = found.ok_or_else(|| wrong(key, 0, "there is no unencrypted key in it"))?;
    let loaded = provider
        .key_provider
        .load_private_key(der)
        .map_err(|error| wrong(key, line, &format!("not a key that can be used: {error}")))?;
    let certified = CertifiedKey::new(chain, loaded);
    certified.keys_match().map_err(|_| {
        wrong(key, line, &format!("this is not the key of {}", certificate.display()))
    })?;
    Ok((names, Arc::new(certified)))
}

/// A section of a PEM file.
struct Section {
    /// Where it begins, from 1.
    line: usize,
    kind: SectionKind,
    der: Vec<u8>,
}

fn sections(path: &Path) -> io::Result<Vec<Section>> {
    let file = std::fs::read(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
    })?;
    let mut rest = &file[..];
    let mut sections = Vec::new();
    loop {
        let before = file.len() - rest.len();
        let begin = rest.windows(10).position(|bytes| bytes == b"-----BEGIN").unwrap_or(rest.len());
        let line = 1 + file[..before + begin].iter().filter(|byte| **byte == b'\n').count();
        match pem::from_buf(&mut rest) {
            Ok(Some((kind, der))) => sections.push(Section { line, kind, der }),
            Ok(None) => return Ok(sections),
            Err(pem::Error::MissingSectionEnd { .. }) => {
                return Err(wrong(path, line, "what begins here has no end"));
            }
            Err(pem::Error::IllegalSectionStart { .. }) => {
                return Err(wrong(path, line, "this is not how a section begins"));
            }
            Err(error) => return Err(wrong(path, line, &error.to_string())),
        }
    }
}

/// What is wrong with a file, and in which line. Line 0 is none.
fn wrong(path: &Path, line: usize, what: &str) -> io::Error {
    let path = path.display();
    let message = match line {
        0 => format!("{path}: {what}"),
        line => format!("{path}, line {line}: {what}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, message)
}
