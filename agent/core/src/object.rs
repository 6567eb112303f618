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

macro_rules! ask_the_noun {
    ($($variant:ident($spec:ident),)*) => {
        impl PlanObject {
            /// Noun and name, such as `route psvip 7701 default metric 10`; the same for two objects of the same
            /// identity.
            pub fn name(&self) -> String {
                match self {
                    $(PlanObject::$variant(spec) => spec.name(),)*
                }
            }

            /// The object as found, one of the same name, is what this one declares.
            pub(crate) fn satisfied_by(&self, found: &PlanObject) -> bool {
                match (self, found) {
                    $((PlanObject::$variant(declared), PlanObject::$variant(found)) => declared.satisfied_by(found),)*
                    _ => false,
                }
            }
        }

        $(impl From<$spec> for PlanObject {
            fn from(spec: $spec) -> PlanObject {
                PlanObject::$variant(spec)
            }
        })*
    };
}

ask_the_noun! {
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
