//! Many sites: three of them and two anchors in the lab at once, and an anchor with five hundred.

mod apart;
// What nodes and plans of single agents need is theirs already.
#[path = "../netns/dump.rs"]
#[expect(dead_code, reason = "only what compares anchors is used here")]
mod dump;
mod hundreds;
#[path = "../bench/src/inventory.rs"]
mod inventory;
mod mesh;
#[path = "../netns/node.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod node;
#[path = "../netns/plans.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod plans;
mod removed;
mod snat;
mod stage;
mod suite;

fn main() -> std::process::ExitCode {
    suite::SUITE.main()
}
