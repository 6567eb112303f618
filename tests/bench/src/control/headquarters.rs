//! The real operator with its private etcd on a disk, and those who use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;
use rcgen::{CertificateParams, KeyPair};

use super::api::{Api, Identity};
use super::folder::Folder;
use super::store::{Access, Store};
use crate::node::Folders;
use crate::processor;

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7_443);
/// A cold etcd takes about a second; a loaded machine several.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A running operator.
pub struct Headquarters {
    // first: it must have ended when its folder goes
    operator: Daemon,
    data: Folder,
    program: PathBuf,
    pub host: Host,
}

impl Headquarters {
    /// An operator on `host`, which nothing is declared to yet.
    ///
    /// # Errors
    /// When it does not start.
    pub fn open(host: &Host, folders: &Folders) -> Result<Headquarters> {
        let name = format!("operator-{}", host.name);
        let data = Folder::new(&folders.out.join(&name))?;
        let program = folders.programs.join("pathsteer-operator");
        let listen = SocketAddr::from(ADDRESS).to_string();
        let folder = data.path().display().to_string();
        let arguments = ["run", "--data-dir", &folder, "--listen", &listen].map(str::to_owned).into();
        let recipe = Recipe { name, program: program.clone().into(), arguments };
        let mut operator = Daemon::start(host, recipe, &folders.logs)?;
        let deadline = clock::now() + clock::patience(DEADLINE);
        while !operator.last_lines(50).iter().any(|line| line.contains("store listed")) {
            operator.check()?;
            if clock::now() > deadline {
                bail!("the operator does not run; its log is {}", operator.log().display());
            }
            clock::sleep_until(clock::now() + LOOK);
        }
        Ok(Headquarters { operator, data, program, host: host.clone() })
    }

    /// Where it listens, on its own host.
    pub fn url() -> String {
        format!("https://{}", SocketAddr::from(ADDRESS))
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.data.path().join("pki/ca.crt")
    }

    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.operator.check()
    }

    /// Bytes of it that are in memory.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<u64> {
        processor::resident(self.operator.pid())
    }

    /// A certificate for a `node` or a `user` of that name, and its key, both in `folder`: `node.key`, `node.crt`.
    ///
    /// # Errors
    /// When it is not issued.
    pub fn certify(&self, party: &str, name: &str, folder: &Path) -> Result<Identity> {
        std::fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let (csr, certificate) = (folder.join("node.csr"), folder.join("node.crt"));
        std::fs::write(&csr, CertificateParams::default().serialize_request(&key)?.pem()?)?;
        std::fs::write(folder.join("node.key"), key.serialize_pem())?;
        let path = |path: &Path| path.display().to_string();
        let words = ["issue", party, name, "--csr", &path(&csr), "--out", &path(&certificate), "--data-dir"];
        self.host.output(&self.program, &[&words[..], &[&path(self.data.path())]].concat())?;
        Ok(Identity {
            certificate: std::fs::read_to_string(certificate)?,
            key: key.serialize_pem(),
            ca: std::fs::read_to_string(self.authority())?,
        })
    }

    /// Its store, as etcdctl would have it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn store(&self) -> Result<Store> {
        let folder = self.data.path().display().to_string();
        let exports = self.host.output(&self.program, &["etcdctl-env", "--data-dir", &folder])?;
        let find = |name: &str| {
            let line = exports.lines().find_map(|line| line.strip_prefix(&format!("export ETCDCTL_{name}='")));
            line.and_then(|rest| rest.strip_suffix('\'')).with_context(|| format!("no {name} in:\n{exports}"))
        };
        let access = Access {
            endpoint: find("ENDPOINTS")?,
            ca: Path::new(find("CACERT")?),
            certificate: Path::new(find("CERT")?),
            key: Path::new(find("KEY")?),
        };
        Store::connect(&self.host, &access)
    }

    /// A user of its API.
    ///
    /// # Errors
    /// When he cannot be certified, or not connect.
    pub fn user(&self) -> Result<Api> {
        let identity = self.certify("user", "bench", &self.data.path().join("bench"))?;
        Api::connect(&self.host, ADDRESS.into(), &identity)
    }
}
