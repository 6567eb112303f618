//! The node's side of mutual TLS: its key, its certificate, and whom it trusts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{config::Config, state::StateDir};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("certificate and key do not fit: {0}")]
    Mismatch(#[from] rustls::Error),
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
}

/// TLS as this node.
///
/// # Errors
/// A file cannot be read, or the certificate is not this key's.
pub fn client(config: &Config, state: &StateDir) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&config.ca)? {
        roots.add(authority)?;
    }
    let path = state.node_key();
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|source| TlsError::Read { path, source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&config.certificate)?, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Read { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

/// A certificate request for `node`, with its private key made here (0600) unless it is there already.
///
/// # Errors
/// The key cannot be read or written.
pub fn request(node: &str, state: &StateDir) -> Result<String, TlsError> {
    let path = state.node_key();
    let key = match std::fs::read_to_string(&path) {
        Ok(pem) => KeyPair::from_pem(&pem)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            state.save_node_key(&key.serialize_pem()).map_err(|source| TlsError::Write { path, source })?;
            key
        }
        Err(source) => return Err(TlsError::Write { path, source }),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, node);
    Ok(params.serialize_request(&key)?.pem()?)
}
