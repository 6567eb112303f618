//! What every payload carries, so that it is recognised wherever it turns up in clear.

/// Sixteen bytes, one pattern for each treatment. Behind encryption one comes up once in 2^128 places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker([u8; 16]);

impl Marker {
    /// What the markers have in common.
    pub const START: [u8; 8] = *b"pslab\0\0\x01";

    pub const SURVIVABLE: Marker = Marker(*b"pslab\0\0\x01survive\0");
    pub const SERVICE: Marker = Marker(*b"pslab\0\0\x01service\0");
    pub const MIXED: Marker = Marker(*b"pslab\0\0\x01mixed\0\0\0");
    pub const BEST_EFFORT: Marker = Marker(*b"pslab\0\0\x01direct\0\0");
    pub const GUEST: Marker = Marker(*b"pslab\0\0\x01guest\0\0\0");

    pub const ALL: [Marker; 5] =
        [Marker::SURVIVABLE, Marker::SERVICE, Marker::MIXED, Marker::BEST_EFFORT, Marker::GUEST];

    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether the marker is anywhere in `bytes`.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(self.0.len()).any(|window| window == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Marker;

    #[test]
    fn a_marker_is_found_at_any_place_and_no_other_is_taken_for_it() {
        let mut bytes = vec![b'p'; 100];
        assert!(Marker::ALL.iter().all(|marker| !marker.is_in(&bytes)));
        bytes[83..99].copy_from_slice(Marker::GUEST.bytes());
        let found: Vec<&Marker> = Marker::ALL.iter().filter(|marker| marker.is_in(&bytes)).collect();
        assert_eq!(found, [&Marker::GUEST]);
        assert!(!Marker::GUEST.is_in(&bytes[..98]));
    }
}
