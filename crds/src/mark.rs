//! The packet mark: 24 bits of the fwmark (and of the conntrack mark) are ours.
//!
//! Bits 0-7 copy set (bit N-1 set: a copy goes over slot N), 8-11 slot of the active path, 12-15 steering class,
//! 16-19 anchor index, 20-23 tag. Fixed by the first release: changing it breaks a fleet.

/// The bits of a mark that are ours; the others are left as found.
pub const MASK: u32 = 0x00ff_ffff;
/// The bits an ip rule matches to find the path's table: slot and anchor index.
pub const PATH_MASK: u32 = 0x000f_0f00;
/// The bits of the steering class.
pub const CLASS_MASK: u32 = 0x0000_f000;
/// The tag of a flow that goes straight to the internet (best effort, guests). Once it has left by an uplink, the mark
/// carries that slot too, with anchor index 0.
pub const DIRECT: u32 = 0x0010_0000;
/// The bits of the tag.
pub const TAG_MASK: u32 = 0x00f0_0000;
/// The bits of the slot.
pub const SLOT_MASK: u32 = 0x0000_0f00;
/// Where the steering class begins.
pub const CLASS_SHIFT: u32 = 12;

/// Mark of the path through `slot` (1-8) to the anchor with index `anchor` (1-15; 0 on an anchor itself).
pub const fn path(slot: u8, anchor: u8) -> u32 {
    ((slot as u32) << 8) | ((anchor as u32) << 16)
}

/// Mark bits of steering class `class` (1-15).
pub const fn class(class: u8) -> u32 {
    (class as u32) << CLASS_SHIFT
}

/// The copy-set bit of `slot` (1-8).
pub const fn copy_bit(slot: u8) -> u32 {
    1 << (slot - 1)
}
