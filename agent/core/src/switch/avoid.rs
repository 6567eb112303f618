//! What is declared and not to be used now.

use std::collections::BTreeSet;

use pathsteer_crds::plan::RemoteSpec;
use pathsteer_crds::report::TunnelReport;

/// Paths that are declared, and that nothing is to be sent by now unless there is no other; as node index of the remote and
/// slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Avoid {
    /// They are about to be interrupted.
    pub leave: BTreeSet<(u32, u8)>,
    /// They have no tunnel that works, yet or any longer: nothing goes there unless a person forces it, and what is there
    /// stays, since nothing measures yet.
    pub not_up: BTreeSet<(u32, u8)>,
}

/// The paths to `remotes` that none of `tunnels` works for.
pub fn not_up(remotes: &[RemoteSpec], tunnels: &[TunnelReport]) -> BTreeSet<(u32, u8)> {
    let up: BTreeSet<(&str, u8)> =
        tunnels.iter().filter(|tunnel| tunnel.is_up()).map(|tunnel| (tunnel.peer.as_str(), tunnel.slot)).collect();
    let paths = remotes.iter().flat_map(|remote| remote.slots.iter().map(move |slot| (remote, *slot)));
    let not_up = paths.filter(|(remote, slot)| !up.contains(&(remote.node.as_str(), *slot)));
    not_up.map(|(remote, slot)| (remote.id, slot)).collect()
}
