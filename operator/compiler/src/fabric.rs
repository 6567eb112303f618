//! Fabric: the one object all nodes share, and the addresses inside its overlay.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use pathsteer_crds::{FabricSpec, Kind};

use crate::diagnostics::Diagnostics;
use crate::inventory::Inventory;
use crate::reason::Reason;

/// The name of the one Fabric.
const NAME: &str = "default";
/// Probe addresses a node has: one per slot 1-8, rounded up so that the index can be read off the address.
const PROBES_PER_NODE: u32 = 16;
/// The datapath indexes remotes by node; 2,047 fill a /16.
const MAX_NODES: u32 = 2_047;

/// What every plan needs to know of the fabric.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Fabric<'a> {
    pub overlay: Ipv4Net,
    pub spec: &'a FabricSpec,
}

impl<'a> Fabric<'a> {
    pub fn new(spec: &'a FabricSpec) -> Self {
        Fabric { overlay: spec.overlay, spec }
    }

    /// The last node index: 2,047 in a /16, 127 in a /20.
    pub fn last_node(&self) -> u32 {
        (self.half() / PROBES_PER_NODE - 1).min(MAX_NODES)
    }

    /// Outer source and destination of the shimmed packets of `node` (its index). Assigned to no interface.
    pub fn shim_endpoint(&self, node: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.overlay.network().to_bits() + node)
    }

    /// The address of `node` (its index) on its tunnels of `slot`, for probes.
    pub fn probe_address(&self, node: u32, slot: u8) -> Ipv4Addr {
        let offset = self.half() + PROBES_PER_NODE * node + u32::from(slot);
        Ipv4Addr::from_bits(self.overlay.network().to_bits() + offset)
    }

    pub fn overlaps(&self, network: &IpNet) -> bool {
        let overlay = IpNet::V4(self.overlay);
        overlay.contains(network) || network.contains(&overlay)
    }

    /// Addresses in half of the overlay.
    fn half(&self) -> u32 {
        1 << (31 - u32::from(self.overlay.prefix_len()))
    }
}

/// The fabric, if there is a sound one.
pub(crate) fn admit<'a>(inventory: &'a Inventory, diagnostics: &mut Diagnostics) -> Option<Fabric<'a>> {
    let sound = diagnostics.sound(&inventory.fabrics);
    for name in inventory.fabrics.keys().filter(|name| *name != NAME) {
        diagnostics.error(
            Kind::Fabric,
            name,
            Reason::NotDefault,
            format!("Fabric `{name}` is ignored: there is one fabric, and it must be named `{NAME}`"),
        );
    }
    if !inventory.fabrics.contains_key(NAME) {
        diagnostics.error(
            Kind::Fabric,
            NAME,
            Reason::FabricMissing,
            format!("there is no Fabric named `{NAME}`: nothing can be compiled until one is applied"),
        );
    }
    sound.get(NAME).map(|spec| Fabric::new(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(overlay: &str) -> FabricSpec {
        FabricSpec {
            overlay: overlay.parse().unwrap(),
            window_packets: 16_384,
            operators: Vec::new(),
            guests_denied: Vec::new(),
        }
    }

    #[test]
    fn a_slash_16_holds_2047_nodes_and_a_slash_20_holds_127() {
        for (overlay, nodes) in [("10.100.0.0/16", 2_047), ("10.100.0.0/18", 511), ("10.100.0.0/20", 127)] {
            assert_eq!(Fabric::new(&spec(overlay)).last_node(), nodes);
        }
    }

    #[test]
    fn addresses_of_the_last_node_stay_inside_their_half() {
        for overlay in ["10.100.0.0/16", "10.100.240.0/20"] {
            let spec = spec(overlay);
            let fabric = Fabric::new(&spec);
            let last = fabric.last_node();
            let [low, high]: [Ipv4Net; 2] = fabric
                .overlay
                .subnets(fabric.overlay.prefix_len() + 1)
                .unwrap()
                .collect::<Vec<_>>()
                .try_into()
                .unwrap();
            assert!(low.contains(&fabric.shim_endpoint(1)) && low.contains(&fabric.shim_endpoint(last)));
            assert!(high.contains(&fabric.probe_address(1, 1)) && high.contains(&fabric.probe_address(last, 8)));
        }
    }

    #[test]
    fn addresses_are_the_documented_ones() {
        let spec = spec("10.100.0.0/16");
        let fabric = Fabric::new(&spec);
        assert_eq!(fabric.shim_endpoint(300), Ipv4Addr::new(10, 100, 1, 44));
        assert_eq!(fabric.probe_address(2, 3), Ipv4Addr::new(10, 100, 128, 35));
    }
}
