//! What a measured datagram carries: which run it is of, its number, and when it was sent.

use std::time::Duration;

use super::marker::Marker;

/// Bytes of the numbered part; a datagram is at least that long.
pub const SMALLEST: usize = 44;

/// The numbered part of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// One measurement; stragglers of an earlier one are told apart by it.
    pub run: u64,
    pub sequence: u64,
    /// Since boot.
    pub sent: Duration,
}

impl Stamp {
    /// A payload of `size` bytes, [`SMALLEST`] if that is more, with `marker` at its begin.
    pub fn write(&self, marker: Marker, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size);
        bytes.extend(marker.bytes());
        bytes.extend(self.run.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend((self.sent.as_nanos() as u64).to_be_bytes());
        let size = size.max(SMALLEST);
        bytes.extend((size as u32).to_be_bytes());
        bytes.resize(size, 0x5a);
        bytes
    }

    /// None when `bytes` is not one of ours, or not whole.
    pub fn read(bytes: &[u8]) -> Option<Stamp> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let size = u32::from_be_bytes(bytes.get(40..44)?.try_into().ok()?);
        if bytes[..8] != Marker::START || bytes.len() != size as usize {
            return None;
        }
        Some(Stamp { run: number(16)?, sequence: number(24)?, sent: Duration::from_nanos(number(32)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_its_size() {
        let stamp = Stamp { run: 7, sequence: 42, sent: Duration::from_micros(5) };
        for size in [0, SMALLEST, 200, 8_972] {
            let bytes = stamp.write(Marker::SERVICE, size);
            assert_eq!(bytes.len(), size.max(SMALLEST));
            assert!(Marker::SERVICE.is_in(&bytes));
            assert_eq!(Stamp::read(&bytes), Some(stamp));
        }
    }

    #[test]
    fn a_cut_or_foreign_datagram_is_not_one_of_ours() {
        let bytes = Stamp { run: 7, sequence: 42, sent: Duration::ZERO }.write(Marker::SURVIVABLE, 200);
        for length in 0..200 {
            assert_eq!(Stamp::read(&bytes[..length]), None);
        }
        assert_eq!(Stamp::read(&[0; 200]), None);
    }
}
