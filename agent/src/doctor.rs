//! `doctor`: what this node lacks, each with the remedy.

use std::{collections::BTreeMap, fs, io, path::Path, process::Command};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use pathsteer_crds::{ownership, report::CounterReport};
use pathsteer_wireguard::BackendKind;

use crate::{
    counters::counters,
    drivers::{Kernel, datapath::Shim, nft},
    sys::{
        netlink::Netlink,
        netns::{self, Netns},
    },
};

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    /// The remedy if it is not well.
    pub remedy: Option<String>,
}

/// Looks at everything the agent needs.
pub async fn examine() -> Vec<Finding> {
    let mut findings = vec![
        finding("root", nix::unistd::geteuid().is_root(), "run it as root"),
        finding("kernel 6.1 or newer", kernel_at_least(6, 1), "boot a kernel from 6.1 on: no older one was ever tried"),
        finding(
            "BTF",
            Path::new("/sys/kernel/btf/vmlinux").exists(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ),
        finding(
            "bpffs on /sys/fs/bpf",
            statfs("/sys/fs/bpf").is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        finding("/dev/net/tun", Path::new("/dev/net/tun").exists(), "modprobe tun"),
        finding(
            "nft",
            Command::new("nft").arg("--version").output().is_ok_and(|out| out.status.success()),
            "apt install nftables",
        ),
        finding(
            "writable /proc/sys",
            writable("/proc/sys/net/ipv4/ip_forward"),
            "run it outside a container, or with a writable /proc/sys",
        ),
        finding(
            "network namespaces",
            Path::new("/proc/self/ns/net").exists(),
            "use a kernel built with CONFIG_NET_NS=y",
        ),
    ];
    findings.push(match foreign_links().await {
        Ok(foreign) if foreign.is_empty() => finding("no foreign interface with our prefix", true, ""),
        Ok(foreign) => {
            let remedy =
                format!("rename {}: the prefix `{}` marks PathSteer's own", foreign.join(", "), ownership::PREFIX);
            Finding { what: "no foreign interface with our prefix", remedy: Some(remedy) }
        }
        Err(error) => Finding { what: "netlink", remedy: Some(error.to_string()) },
    });
    findings
}

/// What the shim and our nft tables have counted, if anything, a line each.
pub fn counted() -> Vec<String> {
    let shim = Shim::adopt().ok().flatten();
    let tallies = Kernel::open(BackendKind::Userspace).and_then(|kernel| nft::tallies(&kernel)).unwrap_or_default();
    let described = |counter: CounterReport| {
        let CounterReport { name, place, remote, packets } = counter;
        let of = if remote == 0 { String::new() } else { format!(" remote {remote}") };
        format!("{place}{of} {name}: {packets}")
    };
    counters(shim.as_ref(), &tallies, &BTreeMap::new()).into_iter().map(described).collect()
}

fn finding(what: &'static str, well: bool, remedy: &str) -> Finding {
    Finding { what, remedy: (!well).then(|| remedy.to_owned()) }
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

fn writable(path: &str) -> bool {
    fs::File::options().write(true).open(path).is_ok()
}

/// Interfaces of the node's own namespace that carry our prefix although nothing of ours lives there.
async fn foreign_links() -> io::Result<Vec<String>> {
    let names = Netlink::open(&Netns::current()?)?.link_names().await.map_err(io::Error::other)?;
    let ours = netns::list()?;
    Ok(names.into_values().filter(|name| name.starts_with(ownership::PREFIX) && !ours.contains(name)).collect())
}
