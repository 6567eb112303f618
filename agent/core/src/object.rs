//! One object of a plan, whatever its noun.

use pathsteer_crds::plan::{
    AddressSpec, DatapathSpec, LentSysctlSpec, LinkSpec, NeighbourSpec, NetnsSpec, NftTableSpec, PrefixSpec,
    ProgramSpec, RemoteSpec, RouteSpec, RuleSpec, SysctlSpec, WireguardDeviceSpec, WireguardPeerSpec,
};

use crate::noun::Noun;

macro_rules! plan_objects {
    ($($variant:ident($spec:ident),)*) => {
        /// A kernel object. DHCP, paths and steering of a plan are none: the DHCP driver, the session and the switching
        /// machine work with those.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum PlanObject {
            $($variant($spec),)*
        }

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

plan_objects! {
    Netns(NetnsSpec),
    Sysctl(SysctlSpec),
    Link(LinkSpec),
    LentSysctl(LentSysctlSpec),
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
