//! The TLS the operator's listener speaks: its own certificate, and a client certificate of our authority or no word.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::Authority;

/// Why the listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot make the operator's certificate: is each --server-name a DNS name or an address?")]
    Certificate(#[from] rcgen::Error),
    #[error("the authority's certificate cannot be read")]
    Authority(#[from] rustls::pki_types::pem::Error),
    #[error("clients cannot be verified with this authority")]
    Verifier(#[from] VerifierBuilderError),
    #[error("TLS refuses the operator's certificate")]
    Rustls(#[from] rustls::Error),
}

/// A configuration with a fresh certificate for `names`; HTTP/2 preferred, HTTP/1.1 accepted.
///
/// # Errors
/// A name that is neither DNS name nor address, or an authority that signs nothing usable.
pub fn server_config(authority: &Authority, names: &[String]) -> Result<ServerConfig, TlsError> {
    let (certificate, key) = authority.server(names)?;
    let ca = CertificateDer::from_pem_slice(authority.certificate.as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone(), ca], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
