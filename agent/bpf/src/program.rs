//! The programs: loaded, attached, and tried on single packets.

use std::{collections::BTreeMap, os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use aya::{
    Ebpf,
    programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions},
};

use crate::{
    Error,
    attach::{self, Hook, map_ids},
    clsact,
    link::TcxLink,
};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Adds the shim (Ethernet).
    Encap,
    /// Takes it off (Ethernet).
    DecapEthernet,
    /// Takes it off (no link layer).
    DecapIp,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Encap, Kind::DecapEthernet, Kind::DecapIp];

    /// The function's name, at most 15 characters, which the kernel shows.
    const fn name(self) -> &'static str {
        match self {
            Kind::Encap => "ps_encap",
            Kind::DecapEthernet => "ps_decap_eth",
            Kind::DecapIp => "ps_decap_ip",
        }
    }
}

/// What a program did with one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// `TC_ACT_OK` 0, `TC_ACT_SHOT` 2, `TC_ACT_REDIRECT` 7.
    pub verdict: u32,
    pub packet: Vec<u8>,
    pub mark: u32,
    /// As the kernel has it, its clock's own cost included.
    pub duration: Duration,
}

/// The loaded programs.
pub struct Programs {
    object: Ebpf,
    pins: PathBuf,
    hook: Hook,
    /// Links by their pins. Held, so that nobody detaches a program by removing its pin.
    held: BTreeMap<String, Arc<TcxLink>>,
}

/// Links that were held when they were asked for.
pub struct Attachments(Vec<(String, Arc<TcxLink>)>);

impl Programs {
    pub(crate) fn load(mut object: Ebpf, pins: PathBuf, hook: Hook) -> Result<Self, Error> {
        for kind in Kind::ALL {
            program(&mut object, kind)?.load()?;
        }
        Ok(Programs { object, pins, hook, held: BTreeMap::new() })
    }

    /// Whether exactly this build's `kind` runs, with the maps opened here and by the hook in use, on the ingress of
    /// `ifname`, an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_current(&mut self, ifname: &str, kind: Kind) -> Result<bool, Error> {
        let ours = program(&mut self.object, kind)?.info()?;
        let maps = map_ids(&ours)?;
        for info in self.hook.running(ifname)? {
            if info.name_as_str() == Some(kind.name()) && info.tag() == ours.tag() && map_ids(&info)? == maps {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Attaches `kind` to the ingress of `ifname`, an interface of the calling thread's namespace, and pins the
    /// attachment as `pin`. What `pin` stands for gets the new program without a gap.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&mut self, ifname: &str, pin: &str, kind: Kind) -> Result<(), Error> {
        // not the folders above: without the maps' pins in them nothing may be pinned
        match std::fs::create_dir(&self.pins) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Folder { path: self.pins.clone(), source });
            }
            _ => {}
        }
        let (path, held) = (self.pins.join(pin), self.held.get(pin).cloned());
        let link = self.hook.attach(program(&mut self.object, kind)?, ifname, &path, held.as_deref())?;
        self.held.remove(pin);
        self.held.extend(link.map(|link| (pin.to_owned(), Arc::new(link))));
        Ok(())
    }

    /// Whether an attachment is pinned as `pin`. From now on it stays attached while this value lives, also without.
    pub fn hold(&mut self, pin: &str) -> bool {
        let path = self.pins.join(pin);
        if !self.held.contains_key(pin) {
            self.held.extend(attach::hold(&path).map(|link| (pin.to_owned(), Arc::new(link))));
        }
        attach::is_pinned(&path)
    }

    /// Lets go of every attachment: whether it stays is up to its pin.
    pub fn let_go(&mut self) {
        self.held.clear();
    }

    /// What is held now, to be asked without this value, because the kernel may take its time.
    pub fn attachments(&self) -> Attachments {
        Attachments(self.held.iter().map(|(pin, link)| (pin.clone(), Arc::clone(link))).collect())
    }

    /// Lets go of what has `ended`, so that it is told once.
    pub fn forget(&mut self, ended: &Attachments) {
        for (pin, link) in &ended.0 {
            if self.held.get(pin).is_some_and(|held| Arc::ptr_eq(held, link)) {
                self.held.remove(pin);
            }
        }
    }

    /// Attaches `kind` to the ingress of `ifname` for as long as that interface lives, without a pin.
    pub(crate) fn attach_unpinned(&mut self, ifname: &str, kind: Kind) -> Result<(), Error> {
        let fd = program(&mut self.object, kind)?.fd()?;
        clsact::attach(ifname, &fd.as_fd(), kind.name()).map_err(Error::Filter)
    }

    /// Detaches what is pinned as `pin` from `ifname`, an interface of the calling thread's namespace; nothing there is
    /// fine, so is no interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&mut self, ifname: &str, pin: &str) -> Result<(), Error> {
        self.held.remove(pin);
        attach::detach(ifname, &self.pins.join(pin))
    }

    /// Runs `kind` on one packet without any interface (BPF_PROG_TEST_RUN; its interface is the loopback's, index 1).
    /// `mark` is the packet's mark before, and in the outcome the one after.
    ///
    /// # Errors
    /// What the kernel says; packets shorter than an Ethernet header are refused.
    pub fn try_packet(&mut self, kind: Kind, packet: &[u8], mark: u32) -> Result<Trial, Error> {
        self.try_segments(kind, packet, mark, 0)
    }

    /// The same with a packet of so many segments, still whole; 0 for one that never was more. Their number is known
    /// until a header is added, their size thereafter: so the programs see it in the kernel, and so they see it here.
    ///
    /// # Errors
    /// As above.
    pub fn try_segments(&mut self, kind: Kind, packet: &[u8], mark: u32, segments: u32) -> Result<Trial, Error> {
        /// `struct __sk_buff` and where its fields are.
        const CONTEXT: usize = 192;
        const MARK: usize = 8;
        const GSO_SEGMENTS: usize = 164;
        const GSO_SIZE: usize = 176;
        let (mut context, mut context_out) = ([0; CONTEXT], [0; CONTEXT]);
        let shape = match kind {
            Kind::Encap => (GSO_SEGMENTS, segments),
            Kind::DecapEthernet | Kind::DecapIp => {
                (GSO_SIZE, (packet.len() as u32).checked_div(segments).unwrap_or_default())
            }
        };
        for (at, value) in [(MARK, mark), shape] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut packet_out = vec![0; packet.len() + 256];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut packet_out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        };
        let result = program(&mut self.object, kind)?.test_run(options)?;
        packet_out.truncate(result.data_size_out as usize);
        let mut mark = [0; 4];
        mark.copy_from_slice(&context_out[MARK..MARK + 4]);
        Ok(Trial {
            verdict: result.return_value,
            packet: packet_out,
            mark: u32::from_ne_bytes(mark),
            duration: result.duration,
        })
    }
}

impl Attachments {
    /// Those of which somebody has detached the program, or whose interface is gone. Nobody is notified of that.
    pub fn ended(mut self) -> Attachments {
        self.0.retain(|(_, link)| !link.is_attached());
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which of our programs runs on the ingress of `ifname`, an interface of the calling thread's namespace.
///
/// # Errors
/// What the kernel says.
pub fn attached(ifname: &str) -> Result<Option<Kind>, Error> {
    Ok(ours(&attach::running(ifname)?))
}

/// The first of our programs among those that run.
pub(crate) fn ours(running: &[ProgramInfo]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| running.iter().any(|info| info.name_as_str() == Some(kind.name())))
}

fn program(object: &mut Ebpf, kind: Kind) -> Result<&mut SchedClassifier, Error> {
    Ok(object.program_mut(kind.name()).ok_or(Error::Missing("program"))?.try_into()?)
}
