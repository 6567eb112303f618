//! The certificate authority in DIR/pki: made at first use, kept for ten years.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};

use super::private_file;

/// How long the authority lives. Renewing it means touching every node, so it outlives the hardware.
const LIFETIME: Duration = Duration::days(3_650);

/// The authority that signs users', nodes' and the operator's certificates.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub certificate: String,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot make the certificate authority")]
    Make(#[source] rcgen::Error),
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{folder} holds no usable ca.crt and ca.key: restore them, or remove the folder to begin anew")]
    Unusable { folder: PathBuf, source: rcgen::Error },
}

impl Authority {
    /// The authority in `data_dir`/pki, made if there is none.
    ///
    /// # Errors
    /// Files that cannot be read, written or understood.
    pub fn open(data_dir: &Path) -> Result<Authority, AuthorityError> {
        let folder = data_dir.join("pki");
        if !folder.exists() {
            create(data_dir, &folder)?;
        }
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| AuthorityError::File { path, source })
        };
        let (certificate, key) = (read("ca.crt")?, read("ca.key")?);
        let issuer = KeyPair::from_pem(&key)
            .and_then(|key| Issuer::from_ca_cert_pem(&certificate, key))
            .map_err(|source| AuthorityError::Unusable { folder, source })?;
        Ok(Authority { issuer, certificate })
    }
}

/// Makes the folder under another name and renames it: `issue` and `run` may both be first, one of them wins.
fn create(data_dir: &Path, folder: &Path) -> Result<(), AuthorityError> {
    let fresh = data_dir.join(format!("pki.new.{}", std::process::id()));
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| AuthorityError::File { path, source }
    };
    let (certificate, key) = make().map_err(AuthorityError::Make)?;
    private_file::folder(data_dir).map_err(file(data_dir))?;
    private_file::folder(&fresh).map_err(file(&fresh))?;
    private_file::write(&fresh.join("ca.key"), &key).map_err(file(&fresh))?;
    private_file::write(&fresh.join("ca.crt"), &certificate).map_err(file(&fresh))?;
    match fs::rename(&fresh, folder) {
        Err(_) if folder.exists() => fs::remove_dir_all(&fresh).map_err(file(&fresh)),
        result => result.map_err(file(folder)),
    }
}

fn make() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "PathSteer authority");
    // No intermediate authorities: what it signs signs nothing.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - super::issue::CLOCK_SKEW;
    params.not_after = now + LIFETIME;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}
