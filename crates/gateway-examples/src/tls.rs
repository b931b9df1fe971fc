//! TLS as a client: whose certificates are trusted.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts what the public authorities have signed: Mozilla's list of them, as webpki-roots has it.
#[must_use]
pub fn trusting_authorities() -> Arc<ClientConfig> {
    trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// Trusts the certificates of a file, in PEM, and what they have signed.
///
/// # Errors
///
/// When the file can't be read, or has no certificate in it.
pub fn trusting_file(file: &Path) -> io::Result<Arc<ClientConfig>> {
    let unusable = |error: &dyn Display| {
        let what = "has no certificates to trust, in PEM";
        io::Error::other(format!("{} {what}: {error}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    match roots.is_empty() {
        true => Err(unusable(&"there is no section CERTIFICATE")),
        false => Ok(trusting(roots)),
    }
}

fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions of TLS");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}
