//! X25519 keys: made on the node, kept in a file, never logged.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::file;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("private key {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("private key {0} does not hold 32 bytes in base64; remove it to have a new one made")]
    NotAKey(PathBuf),
}

/// Makes a private key at `path` (mode 0600, in a folder that exists) unless one is there, and returns its public key in base64.
///
/// Safe against a second caller at the same time: both return the key of the one that won.
///
/// # Errors
/// The file can be neither read nor made, or holds something else. A key that is there is never replaced.
pub fn ensure_private_key(path: &Path) -> Result<String, KeyError> {
    let at_path = |source| KeyError::Io { path: path.to_owned(), source };
    if !path.try_exists().map_err(at_path)? {
        let secret = StaticSecret::random();
        file::create(path, format!("{}\n", STANDARD.encode(secret.as_bytes())).as_bytes()).map_err(at_path)?;
    }
    Ok(to_base64(*PublicKey::from(&read_private(path)?).as_bytes()))
}

/// Makes a private key at `path` (mode 0600, in a folder that exists), in the place of what is there, and returns its public
/// key in base64.
///
/// # Errors
/// The file cannot be made.
pub fn make_private_key(path: &Path) -> Result<String, KeyError> {
    let secret = StaticSecret::random();
    file::replace(path, format!("{}\n", STANDARD.encode(secret.as_bytes())).as_bytes())
        .map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok(to_base64(*PublicKey::from(&secret).as_bytes()))
}

/// The public key of the private one at `path`, in base64; `None` if there is no such file.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn public_key(path: &Path) -> Result<Option<String>, KeyError> {
    if !path.try_exists().map_err(|source| KeyError::Io { path: path.to_owned(), source })? {
        return Ok(None);
    }
    Ok(Some(to_base64(*PublicKey::from(&read_private(path)?).as_bytes())))
}

pub(crate) fn read_private(path: &Path) -> Result<StaticSecret, KeyError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    let bytes = parse(text.trim()).ok_or_else(|| KeyError::NotAKey(path.to_owned()))?;
    Ok(StaticSecret::from(bytes))
}

pub(crate) fn parse_public(base64: &str) -> Option<PublicKey> {
    parse(base64).map(PublicKey::from)
}

pub(crate) fn to_base64(key: [u8; 32]) -> String {
    STANDARD.encode(key)
}

fn parse(base64: &str) -> Option<[u8; 32]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot1.key");
        let first = ensure_private_key(&path).unwrap();
        assert_eq!(first, ensure_private_key(&path).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(first, ensure_private_key(&folder.path().join("slot2.key")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left in the folder");
    }

    #[test]
    fn callers_at_the_same_time_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot1.key");
        let keys: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| ensure_private_key(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }

    #[test]
    fn a_file_that_holds_no_key_is_kept_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot1.key");
        std::fs::write(&path, "not a key\n").unwrap();
        assert!(matches!(ensure_private_key(&path), Err(KeyError::NotAKey(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a key\n");
    }

    #[test]
    fn the_public_key_is_the_one_every_wireguard_derives() {
        // RFC 7748, section 6.1: Alice's key pair.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n").unwrap();
        assert_eq!(ensure_private_key(&path).unwrap(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }
}
