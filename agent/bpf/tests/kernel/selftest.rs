//! The segmentation self-test on the running kernel.

#[test]
fn the_selftest_lets_packets_pass_whole() {
    let outcome = pathsteer_bpf::selftest::segmentation_selftest();
    println!("{outcome:?}");
    assert!(outcome.allowed, "{outcome:?}");
}
