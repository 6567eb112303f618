//! The segmentation self-test on the running kernel.

use std::time::{Duration, Instant};

#[test]
fn the_selftest_comes_to_a_verdict_within_a_second() {
    let begin = Instant::now();
    let outcome = pathsteer_bpf::selftest::segmentation_selftest();
    println!("{outcome:?} after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!outcome.why.contains("could not run") && !outcome.why.contains("itself failed"), "{outcome:?}");
}
