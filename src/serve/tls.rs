//! The server's certificate and key.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::disk;
use crate::error::{Error, Result};

/// A certificate with its chain, and its key.
pub struct TlsIdentity(Arc<ServerConfig>);

impl TlsIdentity {
    /// Reads two PEM files: the certificate followed by its chain, and the key.
    ///
    /// # Errors
    /// The files cannot be read, contain no certificate or key, or do not belong together: kind `Input`.
    pub fn read(certificate: &Path, key: &Path) -> Result<TlsIdentity> {
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| unreadable(certificate, "certificate", error))?;
        if chain.is_empty() {
            return Err(unreadable(certificate, "certificate", pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", error))?;
        let unusable = |error: rustls::Error| {
            let names = format!("{} and {}", disk::shown(certificate), disk::shown(key));
            Error::input(format!("{names} cannot be used for TLS")).because(error)
        };
        let provider = Arc::new(ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            versions.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, private).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsIdentity(Arc::new(config)))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

fn unreadable(path: &Path, what: &str, error: pem::Error) -> Error {
    match error {
        pem::Error::Io(error) => Error::io("read", path, error),
        error => Error::input(format!("{} contains no {what} in PEM form", disk::shown(path))).because(error),
    }
}
