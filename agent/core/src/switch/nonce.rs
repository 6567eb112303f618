//! Nonces of control packets.

/// The nonce of everything `process` says about switch `counter`: any two processes or counters differ in many bits, and
/// saying it again is answered with the same nonce. The mixing is SplitMix64's (Steele, Lea, Flood 2014), a bijection.
pub(super) fn of(process: u64, counter: u64) -> u64 {
    let mut mixed = process.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_process_has_other_nonces_for_the_same_counters() {
        for counter in 0..1_000 {
            assert_ne!(super::of(1, counter), super::of(2, counter));
            assert_ne!(super::of(1, counter), super::of(1, counter + 1));
        }
    }
}
