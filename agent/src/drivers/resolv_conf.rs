//! Who resolves names on each uplink, for people: `ip netns exec psup1 …` shows programs `/etc/netns/psup1/resolv.conf` in
//! the place of `/etc/resolv.conf`, which is never touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use pathsteer_agent_core::Resolvers;
use pathsteer_crds::ownership;

/// Where iproute2 looks.
const FOLDER: &str = "/etc/netns";
const FILE: &str = "resolv.conf";
/// The first line of every file of ours. A file without it is somebody else's.
const MARK: &str = "# Kept by PathSteer: who resolves names on this uplink. Without this line the file is yours.\n";
/// MAXNS of resolv.h: what a C library reads.
const MOST: usize = 3;

/// The files.
#[derive(Debug)]
pub struct ResolvConf {
    folder: PathBuf,
    /// What went wrong the last time, so that it is said once.
    told: String,
}

impl Default for ResolvConf {
    fn default() -> Self {
        ResolvConf { folder: FOLDER.into(), told: String::new() }
    }
}

impl ResolvConf {
    /// Makes the files of `wanted`, by namespace, as they should be, takes every other file of ours away, and leaves what
    /// is not ours alone. Nothing that carries packets depends on them, so what fails is logged.
    pub fn put(&mut self, wanted: &BTreeMap<String, Resolvers>) {
        let names = ours_below(&self.folder).into_iter().chain(wanted.keys().cloned()).collect::<BTreeSet<_>>();
        let mut failures = Vec::new();
        for netns in names {
            let done = match wanted.get(&netns) {
                Some(resolvers) => self.write(&netns, &text(resolvers)),
                None => self.remove(&netns),
            };
            failures.extend(done.err().map(|error| format!("{}: {error}", self.folder.join(netns).display())));
        }
        let said = failures.join("; ");
        if said != self.told && !said.is_empty() {
            tracing::warn!(error = said, "cannot tell people who resolves names");
        }
        self.told = said;
    }

    fn write(&self, netns: &str, text: &str) -> io::Result<()> {
        let path = self.folder.join(netns).join(FILE);
        match read(&path)? {
            Some(there) if there == text || !there.starts_with(MARK) => return Ok(()),
            _ => {}
        }
        fs::create_dir_all(self.folder.join(netns))?;
        // Whole or not at all. Beside the folder: `ip netns exec` lays every file that is in it over one of /etc.
        let fresh = self.folder.join(format!(".{netns}.{FILE}"));
        fs::write(&fresh, text)?;
        fs::rename(fresh, path)
    }

    fn remove(&self, netns: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(netns).join(FILE))?;
        // what else is in there is somebody else's, and keeps them
        let _ = fs::remove_dir(self.folder.join(netns));
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

/// Namespaces that have a file of ours.
fn ours_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_ours = |name: &String| {
        name.starts_with(ownership::PREFIX)
            && read(&folder.join(name).join(FILE)).is_ok_and(|text| text.is_some_and(|text| text.starts_with(MARK)))
    };
    names.filter(is_ours).collect()
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(resolvers: &Resolvers) -> String {
    let Resolvers { link, addresses } = resolvers;
    let lines = addresses.iter().take(MOST).map(|address| match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("nameserver {v6}%{link}\n"),
        other => format!("nameserver {other}\n"),
    });
    [MARK.to_owned()].into_iter().chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolvers(addresses: &[&str]) -> Resolvers {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolvers { link: "wan1".into(), addresses }
    }

    fn named(netns: &str, addresses: &[&str]) -> BTreeMap<String, Resolvers> {
        BTreeMap::from([(netns.to_owned(), resolvers(addresses))])
    }

    #[test]
    fn a_file_lists_as_many_resolvers_as_programs_read_and_says_where_link_local_ones_are() {
        let text = text(&resolvers(&["fe80::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]));
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["nameserver fe80::1%wan1", "nameserver 192.0.2.1", "nameserver 192.0.2.2"]);
    }

    #[test]
    fn files_of_ours_come_change_and_go_with_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = ResolvConf { folder: folder.path().join("netns"), told: String::new() };
        for address in ["192.0.2.1", "192.0.2.2"] {
            files.put(&named("psup1", &[address]));
            let text = fs::read_to_string(files.folder.join("psup1/resolv.conf")).unwrap();
            assert_eq!(text, format!("{MARK}nameserver {address}\n"));
        }
        files.put(&named("psup2", &["192.0.2.1"]));
        assert!(!files.folder.join("psup1").exists(), "its folder goes with it");
        files.put(&BTreeMap::new());
        assert!(!files.folder.exists());
        assert_eq!(files.told, "");
    }

    #[test]
    fn what_somebody_else_has_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = ResolvConf { folder: folder.path().to_owned(), told: String::new() };
        let theirs = folder.path().join("psup1/resolv.conf");
        fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        fs::write(&theirs, "nameserver 9.9.9.9\n").unwrap();
        files.put(&named("psup1", &["192.0.2.1"]));
        files.put(&BTreeMap::new());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "nameserver 9.9.9.9\n");
        // a neighbour of ours that is not ours
        files.put(&named("psup2", &["192.0.2.1"]));
        fs::write(folder.path().join("psup2/hosts"), "").unwrap();
        files.put(&BTreeMap::new());
        assert!(folder.path().join("psup2/hosts").exists() && !folder.path().join("psup2/resolv.conf").exists());
    }
}
