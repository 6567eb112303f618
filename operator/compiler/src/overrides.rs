//! Overrides that take part, and what they and the modes make of each site.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::{Kind, ModeKind, OverrideAction};

use crate::diagnostics::Severity;
use crate::mode::{self, Modes};
use crate::reason::Reason;
use crate::resolve::Admission;
use crate::site::Site;

/// What people want of a site's steering.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Will {
    pub mode: ModeKind,
    /// Further paths that carry a copy while copying, 1 to 3.
    pub copies: u8,
    /// Slot that shall be active.
    pub forced: Option<u8>,
    /// Slots that shall not be used.
    pub failed: BTreeSet<u8>,
}

impl Default for Will {
    fn default() -> Self {
        Will { mode: ModeKind::default(), copies: 1, forced: None, failed: BTreeSet::new() }
    }
}

/// Gives every site its will. Of two overrides that contradict each other the one whose name sorts first holds.
pub(crate) fn admit<'a>(admission: &mut Admission<'a>, modes: &Modes<'a>, sites: &mut BTreeMap<&'a str, Site<'a>>) {
    for site in sites.values_mut() {
        if let Some(mode) = mode::of(modes, site.name) {
            site.will = Will { mode: mode.mode, copies: mode.copies, ..Will::default() };
        }
    }
    let mut mode_set = BTreeMap::new();
    let mut uplink_forced = BTreeMap::new();
    for (name, spec) in admission.diagnostics.sound(&admission.inventory.overrides) {
        let this = (Kind::Override, name);
        let Some(site) = sites.get_mut(spec.site.as_str()) else {
            let target = (Kind::Site, spec.site.as_str());
            admission.diagnostics.dangling(Severity::Error, this, target, &admission.inventory.sites);
            continue;
        };
        let first = match &spec.action {
            OverrideAction::Mode(mode) => {
                let first = *mode_set.entry(site.name).or_insert(name);
                if first == name {
                    site.will.mode = *mode;
                }
                first
            }
            OverrideAction::ForceUplink(uplink) => {
                let Some(slot) = slot(admission, name, site, uplink) else { continue };
                let first = *uplink_forced.entry(site.name).or_insert(name);
                if first == name {
                    site.will.forced = Some(slot);
                }
                first
            }
            OverrideAction::FailUplink(uplink) => {
                let Some(slot) = slot(admission, name, site, uplink) else { continue };
                site.will.failed.insert(slot);
                name
            }
        };
        if first != name {
            let message = format!("Override `{first}` wants something else of Site `{}` and goes first", site.name);
            admission.diagnostics.warning(Kind::Override, name, Reason::Overruled, message);
        }
    }
}

/// The slot of `uplink`, unless it takes no part.
fn slot(admission: &mut Admission<'_>, name: &str, site: &Site<'_>, uplink: &str) -> Option<u8> {
    let found = site.uplinks.iter().find(|one| one.name == uplink);
    if found.is_none() {
        let target = format!("{}/{uplink}", site.name);
        let (this, target) = ((Kind::Override, name), (Kind::Uplink, target.as_str()));
        admission.diagnostics.dangling(Severity::Error, this, target, &admission.inventory.uplinks);
    }
    found.map(|uplink| uplink.spec.slot)
}
