//! The segmentation self-test on the running kernel.

use std::time::{Duration, Instant};

#[test]
fn the_selftest_lets_packets_pass_whole_within_a_second() {
    let begin = Instant::now();
    let outcome = pathsteer_bpf::selftest::segmentation_selftest();
    println!("{outcome:?} after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(outcome.allowed, "{outcome:?}");
}
