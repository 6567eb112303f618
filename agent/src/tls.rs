//! The node's side of mutual TLS: its key, its certificate, and whom it trusts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::{config::Config, state::StateDir};

/// A certificate lives 90 days; the last of them are for getting the next one.
const WARN_DAYS: i64 = 14;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
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

/// Whether the node's certificate ends soon, and what to do; none while it is good for longer. It is as it is on disk now.
pub fn ends_soon(config: &Config, now: SystemTime) -> Option<String> {
    let path = &config.certificate;
    let end = match certificates(path).map(|all| all.first().and_then(|certificate| end_of(certificate))) {
        Ok(Some(end)) => end,
        Ok(None) => return Some(format!("{} holds no certificate that can be read", path.display())),
        Err(error) => return Some(error.to_string()),
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let days = (end - now).div_euclid(86_400);
    let remedy = "issue a new one (`pathsteer-operator issue node`) and restart the agent";
    match days {
        ..0 => Some(format!("{} has expired: {remedy}", path.display())),
        0..WARN_DAYS => Some(format!("{} expires in {days} days: {remedy}", path.display())),
        _ => None,
    }
}

/// Seconds since 1970.
fn end_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Read { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

/// From when until when the certificate in `path` holds, since 1970.
///
/// # Errors
/// It cannot be read.
pub fn validity(path: &Path) -> Result<(Duration, Duration), TlsError> {
    let first = certificates(path)?.into_iter().next();
    let parsed = first.as_deref().and_then(|der| Some(X509Certificate::from_der(der).ok()?.1.validity().clone()));
    let validity = parsed.ok_or_else(|| TlsError::NoCertificate(path.to_owned()))?;
    let since_1970 = |time: ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    Ok((since_1970(validity.not_before), since_1970(validity.not_after)))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_that_ends_within_two_weeks_is_told_of_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.crt");
        let key = KeyPair::generate().unwrap();
        // rcgen's default ends in the year 4096
        std::fs::write(&path, CertificateParams::default().self_signed(&key).unwrap().pem()).unwrap();
        let yaml = format!("{{node: a, operator: https://a, ca: /none, certificate: {}}}", path.display());
        let config: Config = serde_saphyr::from_str(&yaml).unwrap();
        let end = end_of(&certificates(&path).unwrap()[0]).unwrap() as u64;
        let days_before = |days: u64| ends_soon(&config, UNIX_EPOCH + Duration::from_secs(end - days * 86_400));
        assert_eq!(days_before(15), None);
        assert!(days_before(3).unwrap().contains("expires in 3 days"), "{:?}", days_before(3));
        let after = ends_soon(&config, UNIX_EPOCH + Duration::from_secs(end + 1));
        assert!(after.as_ref().is_some_and(|why| why.contains("has expired")), "{after:?}");
    }
}
