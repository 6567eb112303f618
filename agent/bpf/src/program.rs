//! The programs and where they are attached.

use std::{collections::BTreeSet, path::PathBuf};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramInfo, SchedClassifier, TcAttachType, TestRun, TestRunOptions,
        links::{FdLink, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
    },
};

use crate::Error;

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
}

/// The loaded programs.
pub struct Programs {
    object: Ebpf,
    pins: PathBuf,
}

impl Programs {
    pub(crate) fn load(mut object: Ebpf, pins: PathBuf) -> Result<Self, Error> {
        for kind in Kind::ALL {
            program(&mut object, kind)?.load()?;
        }
        Ok(Programs { object, pins })
    }

    /// Whether exactly this build's `kind` runs, with the maps opened here, on the ingress of `ifname`, an interface of
    /// the calling thread's namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_current(&mut self, ifname: &str, kind: Kind) -> Result<bool, Error> {
        let ours = program(&mut self.object, kind)?.info()?;
        let maps = map_ids(&ours)?;
        let (_, running) = SchedClassifier::query_tcx(ifname, TcAttachType::Ingress)?;
        for info in running {
            // The tag says nothing about maps: programs that outlived their maps' pins still work with the old ones.
            if info.name_as_str() == Some(kind.name()) && info.tag() == ours.tag() && map_ids(&info)? == maps {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Attaches `kind` to the ingress of `ifname`, an interface of the calling thread's namespace, and pins the
    /// attachment as `pin`. A pinned attachment to that interface gets the new program without a gap.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&mut self, ifname: &str, pin: &str, kind: Kind) -> Result<(), Error> {
        let path = self.pins.join(pin);
        let on_interface = attached(ifname)?.is_some();
        let program = program(&mut self.object, kind)?;
        if path.exists() {
            if on_interface {
                let link: FdLink = PinnedLink::from_pin(&path)?.into();
                program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
                return Ok(());
            }
            // the pin outlived its interface
            PinnedLink::from_pin(&path)?.unpin().map_err(|source| Error::Folder { path: path.clone(), source })?;
        }
        // not the folders above: without the maps' pins in them nothing may be pinned
        match std::fs::create_dir(&self.pins) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Folder { path: self.pins.clone(), source });
            }
            _ => {}
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let id = program.attach_with_options(ifname, TcAttachType::Ingress, options)?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        link.pin(&path)?;
        Ok(())
    }

    /// Runs `kind` on one packet without any interface (BPF_PROG_TEST_RUN; its interface is the loopback's, index 1).
    /// `mark` is the packet's mark before, and in the outcome the one after.
    ///
    /// # Errors
    /// What the kernel says; packets shorter than an Ethernet header are refused.
    pub fn try_packet(&mut self, kind: Kind, packet: &[u8], mark: u32) -> Result<Trial, Error> {
        /// `struct __sk_buff` and where its mark is.
        const CONTEXT: usize = 192;
        const MARK: std::ops::Range<usize> = 8..12;
        let (mut context, mut context_out) = ([0; CONTEXT], [0; CONTEXT]);
        context[MARK].copy_from_slice(&mark.to_ne_bytes());
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
        mark.copy_from_slice(&context_out[MARK]);
        Ok(Trial { verdict: result.return_value, packet: packet_out, mark: u32::from_ne_bytes(mark) })
    }

    /// Detaches what is pinned as `pin`; nothing there is fine.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&mut self, pin: &str) -> Result<(), Error> {
        let path = self.pins.join(pin);
        if path.exists() {
            PinnedLink::from_pin(&path)?.unpin().map_err(|source| Error::Folder { path: path.clone(), source })?;
        }
        Ok(())
    }
}

/// Which of our programs runs on the ingress of `ifname`, an interface of the calling thread's namespace.
///
/// # Errors
/// What the kernel says.
pub fn attached(ifname: &str) -> Result<Option<Kind>, Error> {
    let (_, running) = SchedClassifier::query_tcx(ifname, TcAttachType::Ingress)?;
    Ok(Kind::ALL.into_iter().find(|kind| running.iter().any(|info| info.name_as_str() == Some(kind.name()))))
}

fn map_ids(info: &ProgramInfo) -> Result<Option<BTreeSet<u32>>, Error> {
    Ok(info.map_ids()?.map(|ids| ids.into_iter().collect()))
}

fn program(object: &mut Ebpf, kind: Kind) -> Result<&mut SchedClassifier, Error> {
    Ok(object.program_mut(kind.name()).ok_or(Error::Missing("program"))?.try_into()?)
}
