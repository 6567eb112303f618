//! What programs and agent both read and write: the twin of `c/layout.h`.

use aya::Pod;

/// Names the pin folder: programs and agents of one layout share maps. Who finds none of its own takes over another layout's if
/// all of them look alike, and otherwise begins a new epoch. So maps whose entries come to mean something else need another
/// name or another size.
pub const LAYOUT: u32 = 3;
/// Flow buckets per remote and class.
pub const BUCKETS: u32 = 256;
/// Room for remotes: ids 1 to 2,047 are node indexes, 0 stands for "none known".
pub const REMOTES: u32 = 2_048;
/// In [`Incarnation::previous`]: none.
pub const NO_EPOCH: u32 = u32::MAX;

/// Where a prefix lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    /// Behind the remote with this id.
    Remote(u32),
    /// Behind this node (edges): the only sources it shims, the only destinations it takes from a shim.
    Own,
    /// Behind none.
    Nowhere,
}

const OWN: u32 = u32::MAX - 1;
const NOWHERE: u32 = u32::MAX;

impl From<u32> for Behind {
    fn from(value: u32) -> Self {
        match value {
            OWN => Behind::Own,
            NOWHERE => Behind::Nowhere,
            id => Behind::Remote(id),
        }
    }
}

impl From<Behind> for u32 {
    fn from(behind: Behind) -> u32 {
        match behind {
            Behind::Remote(id) => id,
            Behind::Own => OWN,
            Behind::Nowhere => NOWHERE,
        }
    }
}

/// Key of everything kept per remote (node index) and steering class (1-15).
pub const fn class_key(remote: u32, class: u8) -> u32 {
    (remote << 4) | class as u32
}

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        // SAFETY: integers only, laid out without padding (checked below), any bit pattern is a value.
        unsafe impl Pod for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "no padding");
    };
}

layout! {
    /// `struct config`.
    Config {
        /// Own shim endpoint, network byte order.
        self_address: [u8; 4],
        /// Own probe address of slot k is this plus k; network byte order.
        probe_base: [u8; 4],
        /// 0-31.
        epoch: u32,
        /// log2 of the window in packets.
        window_shift: u32,
        /// 1 edge, 2 anchor.
        role: u32,
        /// 1: packets of several segments may pass whole; only where the self-test allows it.
        gso: u32,
    }
}

layout! {
    /// `struct remote`.
    Remote {
        /// Its shim endpoint, network byte order; 0 where there is no remote. Its low 11 bits are the remote's id: by these
        /// the programs find it.
        address: [u8; 4],
        /// Its anchor index in marks, 0 if it is a site.
        anchor: u32,
        /// For the agent alone: a remote with another one has lost its memory.
        identity: u32,
        /// Bit k-1: it can be reached by slot k, and nothing of it comes by another.
        slots: u32,
        /// For the agent alone: bit c says that class c has its sequences and windows.
        classes: u32,
    }
}

layout! {
    /// `struct slots`.
    Slots {
        /// By which interface the packets of slot k come in, at k-1; 0: none.
        ifindex: [u32; 8],
    }
}

layout! {
    /// `struct chosen`.
    Chosen {
        /// 1-8; 0: nothing is chosen.
        active: u8,
        copies: u8,
        pad: [u8; 6],
        counter: u64,
    }
}

layout! {
    /// `struct learned`.
    Learned {
        active: u8,
        copies: u8,
        serial: u8,
        pad: u8,
        tick: u32,
        counter: u64,
        seen_ns: u64,
    }
}

layout! {
    /// `struct incarnation`.
    Incarnation {
        state: u64,
        changed_ns: u64,
        previous: u32,
        lock: u32,
    }
}

layout! {
    /// `struct acknowledgement`.
    Acknowledgement {
        remote: u32,
        class: u8,
        active: u8,
        copies: u8,
        slot: u8,
        counter: u64,
        nonce: u64,
    }
}

impl Acknowledgement {
    /// The record in `bytes`, if it has the right size.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (bytes.len() >= size_of::<Self>()).then_some(())?;
        Some(Acknowledgement {
            remote: u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?),
            class: bytes[4],
            active: bytes[5],
            copies: bytes[6],
            slot: bytes[7],
            counter: u64_at(8)?,
            nonce: u64_at(16)?,
        })
    }
}

/// Names of the counters, in the order of `enum counter`, where each is explained.
pub const COUNTERS: [&str; 20] = [
    "sent",
    "whole",
    "delivered",
    "duplicate",
    "late",
    "staleEpoch",
    "control",
    "noRemote",
    "noPath",
    "noState",
    "notShim",
    "unknown",
    "malformed",
    "foreign",
    "forged",
    "copySet",
    "class",
    "ecn",
    "oversize",
    "error",
];

/// `struct counters`: one remote's, on one processor.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters(pub [u64; COUNTERS.len()]);
// SAFETY: integers only, no padding, any bit pattern is a value.
unsafe impl Pod for Counters {}
