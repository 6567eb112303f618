//! What a measured datagram carries: which run and flow it is of, its number, and when it was sent.

use std::time::Duration;

/// Bytes of UDP payload: a little more than a voice packet.
pub const SIZE: usize = 200;
const MAGIC: [u8; 8] = *b"pslab\0\0\x01";

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
    pub fn write(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.run.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[24..32].copy_from_slice(&(self.sent.as_nanos() as u64).to_be_bytes());
        bytes
    }

    /// None when `bytes` is not one of ours, or not whole.
    pub fn read(bytes: &[u8]) -> Option<Stamp> {
        if bytes.len() != SIZE || bytes[..8] != MAGIC {
            return None;
        }
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Stamp { run: number(8)?, sequence: number(16)?, sent: Duration::from_nanos(number(24)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { run: 7, sequence: 42, sent: Duration::from_micros(5) };
        assert_eq!(Stamp::read(&stamp.write()), Some(stamp));
    }

    #[test]
    fn a_cut_or_foreign_datagram_is_not_one_of_ours() {
        let bytes = Stamp { run: 7, sequence: 42, sent: Duration::ZERO }.write();
        assert_eq!(Stamp::read(&bytes[..SIZE - 1]), None);
        assert_eq!(Stamp::read(&[0; SIZE]), None);
    }
}
