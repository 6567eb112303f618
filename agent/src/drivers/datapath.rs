//! The shim's maps and programs.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use pathsteer_bpf::{
    Datapath, Kind, Ways,
    layout::{self, Config, Remote},
};
use pathsteer_crds::{
    ownership,
    plan::{Behind, DatapathSpec, PlanObjects, PrefixSpec, Program, ProgramSpec, RemoteSpec, Role},
};

use super::Kernel;
use crate::{
    state::StateDir,
    sys::{KernelError, netns},
};

const EDGE: u32 = 1;
const ANCHOR: u32 = 2;

/// The opened datapath; shared with the threads that visit namespaces.
#[derive(Clone)]
pub struct Shim {
    datapath: Arc<Mutex<Datapath>>,
    /// Large segments pass whole.
    whole_segments: bool,
}

/// Where our pins are.
pub fn bpffs() -> PathBuf {
    PathBuf::from("/sys/fs/bpf").join(ownership::BPF_FOLDER)
}

impl Shim {
    /// Opens the datapath. One that lacks a pin is made anew as a whole: maps of different ages would not fit each other. What
    /// runs meanwhile runs on until its program is exchanged.
    /// Whole segments are taken from now on, if they shall be: before any are let in.
    ///
    /// # Errors
    /// The kernel refuses the programs, or the epoch cannot be written: nothing may be sent then.
    pub fn open(state: &StateDir, whole_segments: bool) -> Result<Self, KernelError> {
        let bpffs = bpffs();
        let fail = |error| KernelError::new("bpf", io::Error::other(error));
        let mut ways = Ways::default();
        if !pathsteer_bpf::is_pinned(&bpffs) && !pathsteer_bpf::take_over(&bpffs).map_err(fail)? {
            // before the first map: who dies in between advances it once more, which does no harm
            state.advance_epoch().map_err(|error| KernelError::new("advance the epoch", error))?;
            ways = pathsteer_bpf::begin_anew(&bpffs).map_err(fail)?;
        }
        let mut datapath = Datapath::open(&bpffs).map_err(fail)?;
        let gone_on = datapath.maps.go_on(ways);
        gone_on.map_err(|error| KernelError::new("bpf paths", io::Error::other(error)))?;
        let shim = Shim { datapath: Arc::new(Mutex::new(datapath)), whole_segments };
        if whole_segments {
            let config =
                shim.lock().maps.config().map_err(|error| KernelError::new("bpf config", io::Error::other(error)))?;
            shim.set_config(Config { gso: 1, ..config })?;
        }
        Ok(shim)
    }

    /// A lock that a panicking thread left behind guards nothing half-done: every map write is one system call.
    pub fn lock(&self) -> MutexGuard<'_, Datapath> {
        self.datapath.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a datapath that is pinned, to look at it or to take it away; makes none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn adopt() -> Result<Option<Self>, KernelError> {
        let datapath = Datapath::adopt(&bpffs()).map_err(|error| KernelError::new("bpf", io::Error::other(error)))?;
        let Some(datapath) = datapath else { return Ok(None) };
        let config = datapath.maps.config().map_err(|error| KernelError::new("bpf config", io::Error::other(error)))?;
        Ok(Some(Shim { datapath: Arc::new(Mutex::new(datapath)), whole_segments: config.gso != 0 }))
    }

    /// Whether large segments pass whole.
    pub fn takes_whole_segments(&self) -> bool {
        self.whole_segments
    }

    /// Whether the maps still have their pins: somebody may have deleted them.
    pub fn is_pinned() -> bool {
        pathsteer_bpf::is_pinned(&bpffs())
    }

    /// Whether the programs of `declared` still have theirs, without which they end with the agent.
    pub fn are_attached(declared: &[ProgramSpec]) -> bool {
        let bpffs = bpffs();
        declared.iter().all(|program| pathsteer_bpf::is_attachment_pinned(&bpffs, &pin_of(program)))
    }

    /// Whether a program has come off its link since the last time; told once. Takes as long as the kernel does, without
    /// holding up whoever writes maps.
    pub fn has_lost_a_program(&self) -> bool {
        let attachments = self.lock().programs.attachments();
        let ended = attachments.ended();
        if !ended.is_empty() {
            self.lock().programs.forget(&ended);
        }
        !ended.is_empty()
    }

    /// Lets go of the programs: what holds them from now on is their pins.
    pub fn let_go(&self) {
        self.lock().programs.let_go();
    }

    /// What the maps hold. Names of remotes, which no map holds, come from `declared`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn observe(&self, declared: &PlanObjects) -> Result<PlanObjects, KernelError> {
        let datapath = self.lock();
        let fail = |error| KernelError::new("bpf map", io::Error::other(error));
        let mut observed = PlanObjects::default();
        let config = datapath.maps.config().map_err(fail)?;
        // one that takes other segments than it shall is not as declared
        if config.self_address != [0; 4] && (config.gso != 0) == self.whole_segments {
            let role = if config.role == ANCHOR { Role::Anchor } else { Role::Edge };
            observed.datapath.push(DatapathSpec {
                netns: netns_of(role).to_owned(),
                role,
                address: Ipv4Addr::from(config.self_address),
                probe_base: Ipv4Addr::from(config.probe_base),
                window_packets: 1 << config.window_shift,
            });
        }
        for (id, (remote, classes)) in datapath.maps.remotes().map_err(fail)? {
            let known = declared.remotes.iter().find(|known| known.id == id);
            observed.remotes.push(RemoteSpec {
                id,
                node: known.map_or_else(String::new, |known| known.node.clone()),
                address: Ipv4Addr::from(remote.address),
                anchor: remote.anchor as u8,
                identity: remote.identity,
                slots: (1..=8).filter(|slot| remote.slots & slot_bit(*slot) != 0).collect(),
                classes,
            });
        }
        for ((address, length), behind) in datapath.maps.prefixes().map_err(fail)? {
            if let Ok(prefix) = IpNet::new(address, length) {
                let behind = match behind {
                    layout::Behind::Remote(id) => Behind::Remote(id),
                    layout::Behind::Own => Behind::Own,
                    layout::Behind::Nowhere => Behind::Nowhere,
                };
                observed.prefixes.push(PrefixSpec { prefix, behind });
            }
        }
        Ok(observed)
    }

    /// # Errors
    /// What the kernel says.
    pub fn put_datapath(&self, spec: &DatapathSpec, state: &StateDir) -> Result<(), KernelError> {
        let epoch = state.epoch().map_err(|error| KernelError::new("read the epoch", error))?;
        self.set_config(Config {
            self_address: spec.address.octets(),
            probe_base: spec.probe_base.octets(),
            epoch: epoch & 31,
            window_shift: spec.window_packets.trailing_zeros(),
            role: if spec.role == Role::Anchor { ANCHOR } else { EDGE },
            gso: self.whole_segments.into(),
        })
    }

    /// Without an own address the programs let nothing through.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_datapath(&self) -> Result<(), KernelError> {
        self.set_config(Config::default())
    }

    fn set_config(&self, config: Config) -> Result<(), KernelError> {
        self.lock().maps.set_config(config).map_err(|error| KernelError::new("bpf config", io::Error::other(error)))
    }

    /// Makes what takes long for all `remotes` at once, so that to put each of them takes no time.
    ///
    /// # Errors
    /// What the kernel says; there is no window width before the datapath.
    pub fn prepare_remotes(&self, remotes: &[RemoteSpec]) -> Result<(), KernelError> {
        let mut datapath = self.lock();
        let fail = |error| KernelError::new("bpf windows", io::Error::other(error));
        let window = 1 << datapath.maps.config().map_err(fail)?.window_shift;
        let classes = remotes.iter().flat_map(|remote| remote.classes.iter().map(|class| (remote.id, *class)));
        datapath.maps.make_inner(classes, window).map_err(fail)
    }

    /// # Errors
    /// What the kernel says; there is no window width before the datapath.
    pub fn put_remote(&self, spec: &RemoteSpec) -> Result<(), KernelError> {
        let mut datapath = self.lock();
        let fail = |error| KernelError::new(format!("bpf remote {}", spec.node), io::Error::other(error));
        let window = 1 << datapath.maps.config().map_err(fail)?.window_shift;
        let remote = Remote {
            address: spec.address.octets(),
            anchor: spec.anchor.into(),
            identity: spec.identity,
            slots: spec.slots.iter().map(|slot| slot_bit(*slot)).sum(),
            ..Remote::default()
        };
        datapath.maps.set_remote(spec.id, remote, &spec.classes, window).map_err(fail)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_remote(&self, spec: &RemoteSpec) -> Result<(), KernelError> {
        let fail = |error| KernelError::new(format!("bpf remote {}", spec.id), io::Error::other(error));
        self.lock().maps.remove_remote(spec.id).map_err(fail)
    }

    /// # Errors
    /// What the kernel says.
    pub fn put_prefix(&self, spec: &PrefixSpec) -> Result<(), KernelError> {
        let fail = |error| KernelError::new(format!("bpf prefix {}", spec.prefix), io::Error::other(error));
        let behind = match spec.behind {
            Behind::Remote(id) => layout::Behind::Remote(id),
            Behind::Own => layout::Behind::Own,
            Behind::Nowhere => layout::Behind::Nowhere,
        };
        self.lock().maps.set_prefix(spec.prefix.addr(), spec.prefix.prefix_len(), behind).map_err(fail)
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_prefix(&self, spec: &PrefixSpec) -> Result<(), KernelError> {
        let fail = |error| KernelError::new(format!("bpf prefix {}", spec.prefix), io::Error::other(error));
        self.lock().maps.remove_prefix(spec.prefix.addr(), spec.prefix.prefix_len()).map_err(fail)
    }

    /// The programs on the links of our namespaces. One of another build, or with other maps, is not as declared and is left
    /// out, where one is `declared`.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn observe_programs(
        &self,
        kernel: &Kernel,
        declared: &[ProgramSpec],
    ) -> Result<Vec<ProgramSpec>, KernelError> {
        let mut observed = Vec::new();
        for (netns, netlink) in kernel.owned() {
            let links: BTreeMap<u32, String> = netlink.link_names().await?;
            let found = netlink.netns.inside(|| {
                let mut found = Vec::new();
                for (index, link) in links {
                    let Some(kind) = pathsteer_bpf::attached(&link).map_err(io::Error::other)? else { continue };
                    let mut datapath = self.lock();
                    let current = datapath.programs.is_current(&link, kind).map_err(io::Error::other)?;
                    let slot = datapath.maps.slot(index).map_err(io::Error::other)?;
                    let spec = ProgramSpec { netns: netns.to_owned(), link, program: program_of(kind), slot };
                    let has_to_go = !declared.iter().any(|one| (&one.netns, &one.link) == (&spec.netns, &spec.link));
                    // one that has lost its pin is not as declared
                    if current && datapath.programs.hold(&pin_of(&spec)) || has_to_go {
                        found.push(spec);
                    }
                }
                Ok(found)
            });
            observed.extend(found.map_err(|error| KernelError::new(format!("bpf programs in {netns}"), error))?);
        }
        Ok(observed)
    }

    /// # Errors
    /// What the kernel says.
    pub fn put_program(&self, kernel: &Kernel, spec: &ProgramSpec) -> Result<(), KernelError> {
        let attach = || {
            let index = netns::ifindex(&spec.link)?;
            let mut datapath = self.lock();
            // the slot first: from its first packet on the program must know it
            datapath.maps.set_slot(index, spec.slot).map_err(io::Error::other)?;
            let kind = kind_of(spec.program);
            datapath.programs.attach(&spec.link, &pin_of(spec), kind).map_err(io::Error::other)
        };
        let what = format!("bpf program on {}/{}", spec.netns, spec.link);
        kernel.netlink(&spec.netns)?.netns.inside(attach).map_err(|error| KernelError::new(what, error))
    }

    /// # Errors
    /// What the kernel says.
    pub fn remove_program(&self, kernel: &Kernel, spec: &ProgramSpec) -> Result<(), KernelError> {
        let detach = || self.lock().programs.detach(&spec.link, &pin_of(spec)).map_err(io::Error::other);
        let what = format!("bpf program on {}/{}", spec.netns, spec.link);
        kernel.netlink(&spec.netns)?.netns.inside(detach).map_err(|error| KernelError::new(what, error))
    }
}

/// A dot is reserved in the names of a bpffs.
fn pin_of(spec: &ProgramSpec) -> String {
    format!("{}-{}", spec.netns, spec.link)
}

/// Of a slot (1-8) in a set of slots.
const fn slot_bit(slot: u8) -> u32 {
    (1 << slot) >> 1
}

const fn netns_of(role: Role) -> &'static str {
    match role {
        Role::Edge => ownership::VIP_NETNS,
        Role::Anchor => ownership::ANCHOR_NETNS,
    }
}

const fn kind_of(program: Program) -> Kind {
    match program {
        Program::Encap => Kind::Encap,
        Program::DecapEthernet => Kind::DecapEthernet,
        Program::DecapIp => Kind::DecapIp,
    }
}

const fn program_of(kind: Kind) -> Program {
    match kind {
        Kind::Encap => Program::Encap,
        Kind::DecapEthernet => Program::DecapEthernet,
        Kind::DecapIp => Program::DecapIp,
    }
}
