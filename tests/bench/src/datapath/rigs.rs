//! The rigs of the section, each built when it is first asked for, and what can carry packets in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use pathsteer_lab::host::Host;

use crate::node::Folders;
use crate::processor;
use crate::rig::{Chain, Ends, Medium, ShimRig, Tunnel};

/// Name of [`Rigs::without_nft`].
pub const NFT_EMPTIED: &str = "shim, nft emptied";

/// What carries packets.
#[derive(Clone)]
pub enum Carrier {
    Chain(Rc<Chain>),
    Shim(Shim),
}

/// The product in one of its states.
#[derive(Clone)]
pub struct Shim {
    pub rig: Rc<RefCell<ShimRig>>,
    pub copies: usize,
    /// Big sends pass in one piece.
    pub whole: bool,
}

impl Carrier {
    /// Does `work` with the two that talk.
    pub fn with<T>(&self, work: impl FnOnce(&Ends) -> T) -> T {
        match self {
            Carrier::Chain(chain) => work(&chain.ends),
            Carrier::Shim(shim) => work(&shim.rig.borrow().ends),
        }
    }

    /// Makes it carry as it should from the next packet on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(&self) -> Result<()> {
        match self {
            Carrier::Chain(_) => Ok(()),
            Carrier::Shim(Shim { rig, copies, whole }) => {
                let mut rig = rig.borrow_mut();
                if rig.is_whole()? != *whole {
                    rig.pass_whole(*whole)?;
                }
                rig.choose(1, *copies)
            }
        }
    }

    /// Processor time of whatever encrypts, so far.
    ///
    /// # Errors
    /// When a worker has ended.
    pub fn workers_time(&self) -> Result<Duration> {
        match self {
            Carrier::Chain(chain) => processor::of(&chain.workers),
            Carrier::Shim(shim) => processor::of(&shim.rig.borrow().workers()),
        }
    }
}

/// A carrier and what it is called in rows.
pub struct Case {
    pub name: &'static str,
    pub carrier: Carrier,
}

impl Case {
    /// Whether big sends are cut up before the shim although they might pass in one piece.
    pub fn is_forced(&self) -> bool {
        match &self.carrier {
            Carrier::Chain(_) => false,
            Carrier::Shim(shim) => !shim.whole && shim.rig.borrow().allowed_whole,
        }
    }
}

/// Every rig there is so far.
pub struct Rigs {
    pub folders: Folders,
    shims: BTreeMap<&'static str, Rc<RefCell<ShimRig>>>,
    chains: BTreeMap<&'static str, Rc<Chain>>,
}

impl Rigs {
    pub fn new(folders: &Folders) -> Rigs {
        Rigs { folders: folders.clone(), shims: BTreeMap::new(), chains: BTreeMap::new() }
    }

    /// The product over `medium`, with one policy.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn shim(&mut self, medium: Medium) -> Result<Rc<RefCell<ShimRig>>> {
        let name = match medium {
            Medium::Wires => "wires",
            Medium::Wireguard => "wg",
        };
        if let Some(rig) = self.shims.get(name) {
            return Ok(Rc::clone(rig));
        }
        let rig = Rc::new(RefCell::new(ShimRig::build(name, medium, 1, &self.folders)?));
        self.shims.insert(name, Rc::clone(&rig));
        Ok(rig)
    }

    /// The product on veth with its nft tables emptied: what it costs less is what the rules cost.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn without_nft(&mut self) -> Result<Case> {
        let rig = match self.shims.get("bare") {
            Some(rig) => Rc::clone(rig),
            None => {
                let rig = ShimRig::build("bare", Medium::Wires, 1, &self.folders)?;
                rig.empty_nft()?;
                rig.ends.await_passage()?;
                Rc::new(RefCell::new(rig))
            }
        };
        self.shims.insert("bare", Rc::clone(&rig));
        let whole = rig.borrow().allowed_whole;
        Ok(Case { name: NFT_EMPTIED, carrier: Carrier::Shim(Shim { rig, copies: 0, whole }) })
    }

    /// The chain with `tunnel`.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn chain(&mut self, tunnel: &Tunnel) -> Result<Rc<Chain>> {
        let name = match tunnel {
            Tunnel::Veth => "plain",
            Tunnel::VethSegmented => "cut",
            Tunnel::VethCopied => "dup",
            Tunnel::Worker { segmentation: true } => "worker",
            Tunnel::Worker { segmentation: false } => "workerseg",
            Tunnel::Other { program, .. } if *program == gotatun().0 => "gota",
            Tunnel::Other { .. } => "go",
        };
        if let Some(chain) = self.chains.get(name) {
            return Ok(Rc::clone(chain));
        }
        let chain = Rc::new(Chain::build(name, tunnel, &self.folders)?);
        self.chains.insert(name, Rc::clone(&chain));
        Ok(chain)
    }

    /// Plain routing and the product with no, one and two copies, on veth.
    ///
    /// # Errors
    /// When a rig cannot be built.
    pub fn on_veth(&mut self) -> Result<Vec<Case>> {
        let plain = self.chain(&Tunnel::Veth)?;
        let shim = self.shim(Medium::Wires)?;
        in_turn(["plain routing", "shim", "shim + 1 copy", "shim + 2 copies"], plain, &shim)
    }

    /// Plain WireGuard and the product with no, one and two copies, with userspace workers at both ends.
    ///
    /// # Errors
    /// When a rig cannot be built.
    pub fn on_wireguard(&mut self) -> Result<Vec<Case>> {
        let plain = self.chain(&Tunnel::Worker { segmentation: true })?;
        let shim = self.shim(Medium::Wireguard)?;
        in_turn(["plain WireGuard", "shim", "shim + 1 copy", "shim + 2 copies"], plain, &shim)
    }

    /// The product over `medium` with no and one copy and big sends cut up before the shim, where they might pass whole.
    ///
    /// # Errors
    /// When a rig cannot be built.
    pub fn cut_up(&mut self, medium: Medium) -> Result<Vec<Case>> {
        let rig = self.shim(medium)?;
        let case = |(copies, name)| {
            let shim = Shim { rig: Rc::clone(&rig), copies, whole: false };
            Case { name, carrier: Carrier::Shim(shim) }
        };
        let mut cases: Vec<Case> =
            ["shim, segmented", "shim + 1 copy, segmented"].into_iter().enumerate().map(case).collect();
        cases.retain(Case::is_forced);
        Ok(cases)
    }
}

/// gotatun's own program, where `make bench` installs it, and how it is started.
pub fn gotatun() -> (PathBuf, Vec<String>) {
    let words = ["-f", "--disable-drop-privileges"].map(str::to_owned);
    (PathBuf::from("target/bench/tools/bin/gotatun"), words.into())
}

/// Debian's wireguard-go, and how it is started.
pub fn wireguard_go() -> (PathBuf, Vec<String>) {
    (PathBuf::from("/usr/bin/wireguard-go"), vec!["-f".to_owned()])
}

/// What is compared first, then the product as its self-test has left it.
fn in_turn(names: [&'static str; 4], plain: Rc<Chain>, rig: &Rc<RefCell<ShimRig>>) -> Result<Vec<Case>> {
    let [first, rest @ ..] = names;
    let mut cases = vec![Case { name: first, carrier: Carrier::Chain(plain) }];
    for (copies, name) in rest.into_iter().enumerate() {
        let shim = Shim { rig: Rc::clone(rig), copies, whole: rig.borrow().allowed_whole };
        cases.push(Case { name, carrier: Carrier::Shim(shim) });
    }
    Ok(cases)
}

/// Bytes that left by `link` of the calling thread's namespace so far.
///
/// # Errors
/// When there is no such link.
pub fn sent_bytes(link: &str) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    // proc_pid_net(5): eight numbers of what came in stand before the bytes that went out
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(link)?.strip_prefix(':'));
    let bytes = line.and_then(|line| line.split_whitespace().nth(8));
    bytes.and_then(|bytes| bytes.parse().ok()).ok_or_else(|| anyhow::anyhow!("no link {link}"))
}

/// Bytes that left by `links` of `host` so far.
///
/// # Errors
/// When there is no such link.
pub fn sent_by(host: &Host, links: &[&str]) -> Result<u64> {
    host.net.run(|| links.iter().map(|link| sent_bytes(link)).sum())
}
