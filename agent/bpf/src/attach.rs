//! Where a program runs: attached to the ingress of an interface, until it is detached or the interface is gone.
//!
//! Both ways work on while no process of ours lives, and exchange a program without a gap.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    loaded_programs,
    tc::{SchedClassifierLink, TcAttachOptions},
};

use crate::{Error, clsact, link::TcxLink, program::ours};

/// Names a hook, to have another than this kernel's best: `tcx` or `clsact`.
pub const HOOK_VARIABLE: &str = "PATHSTEER_BPF_HOOK";
/// The pin of an attachment by clsact is the program's, and only says that there is one: the filter itself cannot be
/// pinned and lives as long as its interface.
const CLSACT_SUFFIX: &str = "-clsact";

/// By what a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A pinned link (from kernel 6.6 on).
    Tcx,
    /// A direct-action filter.
    Clsact,
}

impl Hook {
    /// The one named by [`HOOK_VARIABLE`], else the best this kernel has.
    ///
    /// # Errors
    /// The variable names none.
    pub fn of_this_kernel() -> Result<Self, Error> {
        match std::env::var(HOOK_VARIABLE).as_deref() {
            Err(_) => Ok(if by_tcx("lo").is_ok() { Hook::Tcx } else { Hook::Clsact }),
            Ok("tcx") => Ok(Hook::Tcx),
            Ok("clsact") => Ok(Hook::Clsact),
            Ok(other) => Err(Error::Hook(other.to_owned())),
        }
    }

    /// Attaches `program`; `held` is the link of earlier, if there was one. Returns the link to hold, if there is one.
    pub(crate) fn attach(
        self,
        program: &mut SchedClassifier,
        ifname: &str,
        pin: &Path,
        held: Option<&TcxLink>,
    ) -> Result<Option<TcxLink>, Error> {
        // the other way's goes last: while both are there the kernel runs the link and not the filter
        match self {
            Hook::Tcx => {
                attach_tcx(program, ifname, pin, held)?;
                detach_clsact(ifname, pin)?;
                Ok(hold(pin))
            }
            Hook::Clsact => {
                attach_clsact(program, ifname, pin)?;
                unpin(pin).map(|()| None)
            }
        }
    }

    /// The programs that run by this hook on `ifname`, whosever they are.
    pub(crate) fn running(self, ifname: &str) -> Result<Vec<ProgramInfo>, Error> {
        match self {
            Hook::Tcx => Ok(by_tcx(ifname)?),
            Hook::Clsact => by_clsact(ifname),
        }
    }
}

/// Every program on the ingress of `ifname`, by whichever hook.
pub(crate) fn running(ifname: &str) -> Result<Vec<ProgramInfo>, Error> {
    let mut all = match by_tcx(ifname) {
        // kernels before 6.6 do not know the question
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
        other => other?,
    };
    all.extend(by_clsact(ifname)?);
    Ok(all)
}

/// Takes whatever is pinned as `pin`, by whichever hook, from `ifname`; nothing there is fine.
pub(crate) fn detach(ifname: &str, pin: &Path) -> Result<(), Error> {
    unpin(pin)?;
    detach_clsact(ifname, pin)
}

pub(crate) fn is_pinned(pin: &Path) -> bool {
    pin.exists() || clsact_pin(pin).exists()
}

/// The link that is pinned as `pin`. Whoever holds it keeps its program attached even when somebody removes the pin.
pub(crate) fn hold(pin: &Path) -> Option<TcxLink> {
    TcxLink::of_pin(pin).ok()
}

fn attach_tcx(program: &mut SchedClassifier, ifname: &str, pin: &Path, held: Option<&TcxLink>) -> Result<(), Error> {
    if let (Some(held), false) = (held.filter(|held| held.is_attached()), pin.exists()) {
        held.pin(pin).map_err(|source| Error::Folder { path: pin.to_owned(), source })?;
    }
    if pin.exists() {
        if ours(&by_tcx(ifname)?).is_some() {
            let link: FdLink = PinnedLink::from_pin(pin)?.into();
            let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
            // a descriptor that is kept with the program would keep it attached when it shall not be
            drop(program.take_link(id)?);
            return Ok(());
        }
        unpin(pin)?; // it outlived its interface
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(ifname, TcAttachType::Ingress, options)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin)?;
    Ok(())
}

fn attach_clsact(program: &mut SchedClassifier, ifname: &str, pin: &Path) -> Result<(), Error> {
    let name = program.info()?.name_as_str().unwrap_or_default().to_owned();
    clsact::attach(ifname, &std::os::fd::AsFd::as_fd(program.fd()?), &name).map_err(Error::Filter)?;
    let pin = clsact_pin(pin);
    gone_is_fine(std::fs::remove_file(&pin), &pin)?;
    program.pin(&pin)?;
    Ok(())
}

fn detach_clsact(ifname: &str, pin: &Path) -> Result<(), Error> {
    clsact::detach(ifname).map_err(Error::Filter)?;
    let pin = clsact_pin(pin);
    gone_is_fine(std::fs::remove_file(&pin), &pin)
}

/// A link without its pin detaches.
fn unpin(pin: &Path) -> Result<(), Error> {
    gone_is_fine(std::fs::remove_file(pin), pin)
}

fn by_tcx(ifname: &str) -> Result<Vec<ProgramInfo>, ProgramError> {
    SchedClassifier::query_tcx(ifname, TcAttachType::Ingress).map(|(_, running)| running)
}

fn by_clsact(ifname: &str) -> Result<Vec<ProgramInfo>, Error> {
    let Some(id) = clsact::running(ifname).map_err(Error::Filter)? else { return Ok(Vec::new()) };
    // programs come and go while they are listed
    Ok(loaded_programs().flatten().find(|info| info.id() == id).into_iter().collect())
}

/// The ids of a program's maps: the tag says nothing about them, and programs that outlived their maps' pins still work
/// with the old ones.
pub(crate) fn map_ids(info: &ProgramInfo) -> Result<Option<BTreeSet<u32>>, Error> {
    Ok(info.map_ids()?.map(|ids| ids.into_iter().collect()))
}

fn clsact_pin(pin: &Path) -> PathBuf {
    let mut path = pin.as_os_str().to_owned();
    path.push(CLSACT_SUFFIX);
    path.into()
}

pub(crate) fn gone_is_fine(result: io::Result<()>, path: &Path) -> Result<(), Error> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Folder { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}
