//! Mutual TLS between the operator and its private etcd: a certificate authority of their own, made afresh at every
//! start. Its key is never written, so nobody can make another client for this etcd.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::pki::private_file;

/// Paths of the files an etcd client or server needs.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot make a certificate for etcd")]
    Make(#[from] rcgen::Error),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// The client's credentials below `folder`, where [`renew`] writes them.
pub fn client(folder: &Path) -> Credentials {
    named(folder, "client")
}

/// The server's credentials below `folder`.
pub fn server(folder: &Path) -> Credentials {
    named(folder, "server")
}

fn named(folder: &Path, name: &str) -> Credentials {
    Credentials {
        ca: folder.join("ca.crt"),
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    }
}

/// Makes authority, server and client certificates and writes them to `folder`, 0600.
///
/// # Errors
/// A file cannot be written.
pub fn renew(folder: &Path) -> Result<(), CredentialsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "pathsteer private etcd");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    write(&client(folder).ca, &authority.pem())?;
    for (credentials, name) in [(server(folder), "server"), (client(folder), "client")] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        // etcd's server is also a client: of itself, for its gateway, and of the peers it does not have.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &authority)?;
        write(&credentials.certificate, &certificate.pem())?;
        write(&credentials.key, &key.serialize_pem())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CredentialsError> {
    private_file::write(path, text).map_err(|source| CredentialsError::Write { path: path.to_owned(), source })
}
