//! Reasons: every sort of thing that can be wrong with objects seen together, in one word.

use std::borrow::Cow;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a diagnostic is given: one CamelCase word for programs, which never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All there are, in the order of their words. A golden case shows each.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// `SlotTaken`.
            pub fn word(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// A network that the fabric does not carry lies inside one that it carries.
    AddressInsidePrefixes,
    /// A segment that the fabric carries lies outside its site's prefixes.
    AddressOutsidePrefixes,
    /// Two segments of a site share addresses.
    AddressOverlap,
    /// There is no Fabric.
    FabricMissing,
    /// Guests would share the wire of another segment.
    GuestsAmongOthers,
    /// A segment asks to reach guests.
    GuestsApart,
    /// Two segments of a site have one VLAN id.
    IdTaken,
    /// Two objects want one interface.
    InterfaceTaken,
    /// The object's own fields are unsound.
    Invalid,
    /// A node has not reported the keys of all its slots.
    KeysPending,
    /// Two nodes report the same keys.
    KeysShared,
    /// A WAN is too narrow for IPv6 inside a tunnel.
    MtuBelowIpv6,
    /// Another node, or the plan's own format, has the name.
    NameTaken,
    /// No flow ever becomes what a policy says.
    NeverMatches,
    /// No uplink of a site reaches any of its anchors.
    NoAnchor,
    /// An uplink does not reach an anchor of its site.
    NoCommonFamily,
    /// A site has no uplink.
    NoUplinks,
    /// A Fabric of another name than the one that counts.
    NotDefault,
    /// Guests are to be kept from operators whom nobody has named.
    OperatorsUnknown,
    /// A tunnel runs over another address family than was asked for.
    OtherFamily,
    /// Addresses of the fabric's own are used for something else.
    OverlayOverlap,
    /// Another override goes first.
    Overruled,
    /// There are no more numbers of a kind.
    PoolExhausted,
    /// An anchor translates one address family, and a site uses the other.
    PoolLacksFamily,
    /// An anchor would translate to somebody else's address.
    PoolTaken,
    /// A prefix lies in two places.
    PrefixOverlap,
    /// A prefix means something on a single link only.
    PrefixReserved,
    /// What an object names exists and is in error.
    ReferenceInvalid,
    /// What an object names does not exist.
    ReferenceMissing,
    /// Two uplinks of a site have one slot.
    SlotTaken,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl From<Reason> for Cow<'static, str> {
    fn from(reason: Reason) -> Self {
        Cow::Borrowed(reason.word())
    }
}
