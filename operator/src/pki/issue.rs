//! Certificates for people, nodes and the operator itself.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::Authority;

/// Certificates begin this long before now: nodes boot with clocks that are behind.
pub(super) const CLOCK_SKEW: Duration = Duration::hours(24);
/// Short, because nothing is revoked: a stolen certificate ends by itself.
const LIFETIME: Duration = Duration::days(90);

/// Who a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Party {
    /// An agent: its own session and nothing else.
    Node,
    /// A person or program: everything but the session.
    User,
}

impl Party {
    /// The organisation in the certificate's subject, by which the operator recognises the party.
    pub fn organisation(self) -> &'static str {
        match self {
            Party::Node => "pathsteer:node",
            Party::User => "pathsteer:user",
        }
    }

    /// The party with this organisation.
    pub fn from_organisation(organisation: &str) -> Option<Party> {
        [Party::Node, Party::User].into_iter().find(|party| party.organisation() == organisation)
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("this is not a certificate signing request we can read (PEM, signed by its own key)")]
    Request(#[source] rcgen::Error),
    #[error("`{0}` cannot be a certificate's name: 1 to 63 lower-case letters, digits, `-`, `.` and `_`")]
    Name(String),
    #[error("cannot sign")]
    Sign(#[source] rcgen::Error),
}

impl Authority {
    /// Signs the key of `request` (PEM) for `party` named `name`, for 90 days. Nothing else is taken from the
    /// request: subject, alternative names, usages and authority are overwritten.
    ///
    /// # Errors
    /// An unreadable or unsigned request, a name that is not one.
    pub fn issue(&self, party: Party, name: &str, request: &str) -> Result<String, IssueError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
        if !(1..=63).contains(&name.len()) || !name.chars().all(allowed) {
            return Err(IssueError::Name(name.to_owned()));
        }
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(IssueError::Request)?;
        request.params = leaf(request.public_key.der_bytes(), ExtendedKeyUsagePurpose::ClientAuth);
        request.params.distinguished_name.push(DnType::CommonName, name);
        request.params.distinguished_name.push(DnType::OrganizationName, party.organisation());
        Ok(request.signed_by(&self.issuer).map_err(IssueError::Sign)?.pem())
    }

    /// A certificate and key for the operator's own listener, valid for `names` (DNS names and addresses).
    ///
    /// # Errors
    /// A name that is neither.
    pub(super) fn server(&self, names: &[String]) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = leaf(key.der_bytes(), ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.distinguished_name.push(DnType::CommonName, "pathsteer-operator");
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }
}

fn leaf(public_key: &[u8], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + LIFETIME;
    params.use_authority_key_identifier_extension = true;
    // Unique even when the same key is signed twice (RFC 5280 asks for it): key and instant, 16 bytes of their hash.
    let digest = Sha256::new().chain_update(public_key).chain_update(now.unix_timestamp_nanos().to_be_bytes());
    params.serial_number = Some(SerialNumber::from_slice(&digest.finalize()[..16]));
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer, X509Certificate};

    /// A request that asks for more than it may have.
    fn greedy_request() -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["operator.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.distinguished_name.push(DnType::OrganizationName, Party::User.organisation());
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn nothing_but_the_key_is_taken_from_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let pem = authority.issue(Party::Node, "rv-07", &greedy_request()).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=rv-07, O=pathsteer:node");
        assert!(!certificate.is_ca());
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        let usage = certificate.extended_key_usage().unwrap().unwrap();
        assert!(usage.value.client_auth && !usage.value.server_auth);
        let days = (certificate.validity().not_after.timestamp() - OffsetDateTime::now_utc().unix_timestamp()) / 86_400;
        assert!((89..=90).contains(&days), "{days}");
    }

    #[test]
    fn a_request_whose_signature_is_not_its_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        assert!(matches!(authority.issue(Party::User, "kim", "no PEM"), Err(IssueError::Request(_))));
        assert!(matches!(authority.issue(Party::User, "Kim,O=x", &greedy_request()), Err(IssueError::Name(_))));
    }

    #[test]
    fn the_authority_is_the_same_after_a_restart_and_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path()).unwrap().certificate;
        assert_eq!(Authority::open(folder.path()).unwrap().certificate, first);
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("pki"), mode("pki/ca.key")), (0o700, 0o600));
    }
}
