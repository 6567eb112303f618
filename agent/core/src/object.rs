//! One object of a plan, whatever its noun.

use pathsteer_crds::plan::{
    AddressSpec, DatapathSpec, LinkSpec, NeighbourSpec, NetnsSpec, NftTableSpec, PrefixSpec, ProgramSpec, RemoteSpec,
    RouteSpec, RuleSpec, SysctlSpec, WireguardDeviceSpec, WireguardPeerSpec,
};

use crate::noun::Noun;

/// A kernel object. DHCP, paths and steering of a plan are none: the DHCP driver, the session and the switching machine
/// work with those.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanObject {
    Netns(NetnsSpec),
    Sysctl(SysctlSpec),
    Link(LinkSpec),
    Address(AddressSpec),
    Neighbour(NeighbourSpec),
    Datapath(DatapathSpec),
    Remote(RemoteSpec),
    Prefix(PrefixSpec),
    Program(ProgramSpec),
    WireguardDevice(WireguardDeviceSpec),
    WireguardPeer(WireguardPeerSpec),
    Route(RouteSpec),
    Rule(RuleSpec),
    NftTable(NftTableSpec),
}

impl PlanObject {
    /// Noun and name, such as `route psvip 7701 default metric 10`; the same for two objects of the same identity.
    pub fn name(&self) -> String {
        match self {
            PlanObject::Netns(spec) => spec.name(),
            PlanObject::Sysctl(spec) => spec.name(),
            PlanObject::Link(spec) => spec.name(),
            PlanObject::Address(spec) => spec.name(),
            PlanObject::Neighbour(spec) => spec.name(),
            PlanObject::Datapath(spec) => spec.name(),
            PlanObject::Remote(spec) => spec.name(),
            PlanObject::Prefix(spec) => spec.name(),
            PlanObject::Program(spec) => spec.name(),
            PlanObject::WireguardDevice(spec) => spec.name(),
            PlanObject::WireguardPeer(spec) => spec.name(),
            PlanObject::Route(spec) => spec.name(),
            PlanObject::Rule(spec) => spec.name(),
            PlanObject::NftTable(spec) => spec.name(),
        }
    }
}
