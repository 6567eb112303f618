//! What the kernel has counted in a namespace.

use crate::net::visit;

/// The counter `name` of `protocol` in /proc/net/snmp.
pub fn read(netns: &str, protocol: &str, name: &str) -> u64 {
    let table = file(netns, "snmp");
    let mut lines = table.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let column = names.split(' ').position(|its| its == name).unwrap();
    values.split(' ').nth(column).unwrap().parse().unwrap()
}

/// The counter `name` in /proc/net/snmp6.
pub fn read6(netns: &str, name: &str) -> u64 {
    let table = file(netns, "snmp6");
    let line = table.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

fn file(netns: &str, name: &str) -> String {
    visit(netns, || std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap())
}
