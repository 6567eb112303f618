//! A network namespace of one test alone.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread in a fresh namespace that is gone with it. It holds the pair `near` and `far` and no IPv6, so
/// that nothing is on the wire but what the test sends.
pub fn with_pair(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        ip("link set lo up");
        make_pair();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn make_pair() {
    ip("link add near type veth peer name far");
    ip("link set near up");
    ip("link set far up");
}

/// `ip` with these arguments, in the calling thread's namespace.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}: {status}");
}
