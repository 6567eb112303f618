//! The last endpoint of each peer, kept over restarts.
//!
//! A worker that only ever answers would have to wait for its peers after a restart, and they notice after 15 s (their
//! keepalive plus rekey timeout). With the endpoints at hand it greets them at once.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::file;

/// Endpoint by public key (base64), by link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints(BTreeMap<String, BTreeMap<String, SocketAddr>>);

impl Endpoints {
    /// What was saved at `path`; nothing if there is no such file. Losing it only costs time, so a file that cannot
    /// be read is reported and otherwise counts as missing.
    pub(crate) fn load(path: &Path) -> Endpoints {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Endpoints::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "remembered endpoints cannot be read");
                return Endpoints::default();
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(endpoints) => Endpoints(endpoints),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "remembered endpoints are damaged");
                Endpoints::default()
            }
        }
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        file::replace(path, serde_json::to_string(&self.0)?.as_bytes())
    }

    pub(crate) fn get(&self, link: &str, public_key: &str) -> Option<SocketAddr> {
        self.0.get(link)?.get(public_key).copied()
    }

    /// Notes an endpoint; says whether it is news.
    pub(crate) fn learn(&mut self, link: &str, public_key: &str, endpoint: SocketAddr) -> bool {
        self.0.entry(link.to_owned()).or_default().insert(public_key.to_owned(), endpoint) != Some(endpoint)
    }

    /// Forgets every peer for which `known(link, public key)` is false; says whether there was one.
    pub(crate) fn retain(&mut self, known: impl Fn(&str, &str) -> bool) -> bool {
        let before: usize = self.0.values().map(BTreeMap::len).sum();
        for (link, peers) in &mut self.0 {
            peers.retain(|public_key, _| known(link, public_key));
        }
        self.0.retain(|_, peers| !peers.is_empty());
        before != self.0.values().map(BTreeMap::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_only_news_is_news() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot1.endpoints");
        assert_eq!(Endpoints::load(&path), Endpoints::default());
        let mut endpoints = Endpoints::default();
        let (first, second) = ("192.0.2.1:51821".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap());
        assert!(endpoints.learn("psw1", "key", first));
        assert!(!endpoints.learn("psw1", "key", first));
        assert!(endpoints.learn("psw1", "key", second));
        endpoints.save(&path).unwrap();
        assert_eq!(Endpoints::load(&path).get("psw1", "key"), Some(second));
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot1.endpoints");
        std::fs::write(&path, "{\"psw1\":").unwrap();
        assert_eq!(Endpoints::load(&path), Endpoints::default());
    }

    #[test]
    fn a_peer_that_is_gone_is_forgotten() {
        let mut endpoints = Endpoints::default();
        endpoints.learn("psw1", "kept", "192.0.2.1:1".parse().unwrap());
        endpoints.learn("psw1", "gone", "192.0.2.2:1".parse().unwrap());
        assert!(endpoints.retain(|_, public_key| public_key == "kept"));
        assert!(!endpoints.retain(|_, public_key| public_key == "kept"));
        assert_eq!(endpoints.get("psw1", "gone"), None);
        assert!(endpoints.get("psw1", "kept").is_some());
    }
}
