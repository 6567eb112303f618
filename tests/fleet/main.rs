//! Many sites: three of them and two anchors in the lab at once, and an anchor with five hundred.

mod apart;
// What nodes and plans of single agents need is theirs already, and what leaks are is said end to end.
#[path = "../netns/dump.rs"]
#[expect(dead_code, reason = "only what compares anchors is used here")]
mod dump;
mod flows;
mod hundreds;
#[path = "../bench/src/inventory.rs"]
mod inventory;
#[path = "../e2e/kernel.rs"]
#[expect(dead_code, reason = "here nobody looks for one worker or one tunnel")]
mod kernel;
mod leak;
mod mesh;
#[path = "../netns/node.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod node;
#[path = "../e2e/packet.rs"]
#[expect(dead_code, reason = "here nobody asks what is in a tunnel")]
mod packet;
#[path = "../netns/plans.rs"]
#[expect(dead_code, reason = "only what one anchor needs is used here")]
mod plans;
mod removed;
mod rogue;
mod snat;
mod stage;
mod suite;

fn main() -> std::process::ExitCode {
    suite::SUITE.main()
}
