//! `csr`: a person's private key and the request for a certificate. The key never leaves this machine.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::failure::Failure;

/// What a certificate's organisation says a person may do; the operator sets it whatever the request says.
const USER_ORGANISATION: &str = "pathsteer:user";

/// Writes `NAME.key` (mode 0600) and `NAME.csr` into `folder`.
///
/// # Errors
/// A name that cannot be a file's, files that exist already, a folder that cannot be written to.
pub fn csr(name: &str, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    // As the operator takes it: what it refused there would have been made here in vain.
    let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.is_empty() || name.len() > 63 || name.starts_with(['.', '-']) || !name.chars().all(is_fit) {
        let form = "1 to 63 lower-case letters, digits, `-`, `.` and `_`";
        return Err(Failure::Usage(format!("`{name}` cannot be a user's name: {form}")));
    }
    let (key_path, csr_path) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.csr")));
    let key = KeyPair::generate()?;
    let mut request = CertificateParams::default();
    request.distinguished_name.push(DnType::CommonName, name);
    request.distinguished_name.push(DnType::OrganizationName, USER_ORGANISATION);
    let request = request.serialize_request(&key)?.pem()?;
    create(&key_path, 0o600, &key.serialize_pem())?;
    if let Err(failure) = create(&csr_path, 0o644, &request) {
        // A key without its request is of no use, and would stand in the way of the next try.
        drop(fs::remove_file(&key_path));
        return Err(failure);
    }
    writeln!(out, "{}\n{}", key_path.display(), csr_path.display())?;
    writeln!(out, "Next, where the operator runs:")?;
    writeln!(out, "  pathsteer-operator issue user {name} --csr {name}.csr --out {name}.crt --data-dir DIR")?;
    Ok(())
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{} exists: remove it, or choose another --dir", path.display()))
        }
        _ => Failure::File { path: PathBuf::from(path), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_alone_and_the_request_carries_the_name() {
        let folder = tempfile::tempdir().unwrap();
        csr("ada", folder.path(), &mut Vec::new()).unwrap();
        let key = folder.path().join("ada.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let key = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
        let request = fs::read_to_string(folder.path().join("ada.csr")).unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
        assert_eq!(request.params.distinguished_name.get(&DnType::CommonName), Some(&"ada".into()));
        use rcgen::PublicKeyData;
        assert_eq!(request.public_key.der_bytes(), key.der_bytes());
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ada.key"), "precious").unwrap();
        assert_eq!(csr("ada", folder.path(), &mut Vec::new()).unwrap_err().exit_code(), 2);
        assert_eq!(fs::read_to_string(folder.path().join("ada.key")).unwrap(), "precious");
        fs::write(folder.path().join("bob.csr"), "old").unwrap();
        assert!(csr("bob", folder.path(), &mut Vec::new()).is_err());
        assert!(!folder.path().join("bob.key").exists(), "half of a pair is left behind");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "../ada", "a/b", ".ada", "-f", "a b", &"x".repeat(65)] {
            assert_eq!(csr(name, folder.path(), &mut Vec::new()).unwrap_err().exit_code(), 2, "{name}");
        }
    }
}
