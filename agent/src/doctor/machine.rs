//! The machine: its kernel, what is mounted, its disk and its clock.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Finding;
use crate::config::Config;

/// A plan, its successor beside it while it is written, keys and counters, for the largest anchor.
const ROOM: u64 = 16 * 1024 * 1024;
/// Seconds from 1970 to the beginning of 2026: nothing that runs this was built earlier.
const BUILT_AFTER: Duration = Duration::from_secs(1_767_225_600);
/// Clocks that are set differ by less.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What every node needs.
pub fn examine() -> Vec<Finding> {
    vec![
        Finding::required("root", nix::unistd::geteuid().is_root(), "run it as root"),
        Finding::required(
            "kernel 6.1 or newer",
            kernel_at_least(6, 1),
            "boot a kernel from 6.1 on: no older one was ever tried",
        ),
        Finding::required(
            "BTF",
            Path::new("/sys/kernel/btf/vmlinux").exists(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ),
        Finding::required(
            "bpffs on /sys/fs/bpf",
            statfs("/sys/fs/bpf").is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        Finding::required("/dev/net/tun", Path::new("/dev/net/tun").exists(), "modprobe tun"),
        Finding::required(
            "nft",
            Command::new("nft").arg("--version").output().is_ok_and(|out| out.status.success()),
            "apt install nftables",
        ),
        Finding::required(
            "writable /proc/sys",
            fs::File::options().write(true).open("/proc/sys/net/ipv4/ip_forward").is_ok(),
            "run it outside a container, or with a writable /proc/sys",
        ),
        clock("clock", SystemTime::now(), None),
    ]
}

/// What the agent keeps on disk.
pub fn state(config: &Config) -> Vec<Finding> {
    let folder = &config.state_dir;
    let written = newest(folder).into_iter().chain(newest(&config.certificate)).max();
    let mut findings = vec![clock("clock not behind what the agent has written", SystemTime::now(), written)];
    let what = format!("room in {}", folder.display());
    // before the first start the folder above it counts
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    findings.push(match nix::sys::statvfs::statvfs(there) {
        Err(error) => Finding::failure(what, error.to_string()),
        Ok(disk) if disk.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) => Finding::failure(
            what,
            "it is read-only, so no plan and no counter can be kept: mount -o remount,rw, or set stateDir to a place that is not",
        ),
        Ok(disk) => match lacking(disk.blocks_available() * disk.fragment_size()) {
            Some(remedy) => Finding::failure(what, remedy),
            None => Finding::well(what),
        },
    });
    findings
}

fn lacking(free: u64) -> Option<String> {
    let (free_kib, room_mib) = (free / 1024, ROOM / 1024 / 1024);
    (free < ROOM).then(|| {
        format!("{free_kib} KiB are free, the next plan may need {room_mib} MiB: make room, or set stateDir elsewhere")
    })
}

/// `written` is when something was written at the latest: no clock that is set says less.
fn clock(what: &str, now: SystemTime, written: Option<SystemTime>) -> Finding {
    let past = written.unwrap_or(UNIX_EPOCH + BUILT_AFTER);
    match past.duration_since(now) {
        Ok(behind) if behind > TOLERANCE => {
            let hours = behind.as_secs() / 3_600;
            Finding::warning(
                what,
                format!(
                    "it is behind by {hours} h at least, so certificates may not hold yet: date -s …, and install chrony \
                     (and fake-hwclock where there is no real-time clock)"
                ),
            )
        }
        _ => Finding::well(what),
    }
}

/// When anything in `path` was last written.
fn newest(path: &Path) -> Option<SystemTime> {
    let of_folder = fs::read_dir(path).into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok());
    let all = fs::metadata(path).into_iter().filter(fs::Metadata::is_file).chain(of_folder);
    all.filter_map(|one| one.modified().ok()).max()
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_behind_what_was_written_or_before_this_was_built() {
        let at = |seconds| UNIX_EPOCH + BUILT_AFTER + Duration::from_secs(seconds);
        assert_eq!(clock("clock", at(0), None), Finding::well("clock"));
        assert_ne!(clock("clock", UNIX_EPOCH + Duration::from_secs(90_000), None), Finding::well("clock"));
        assert_eq!(clock("clock", at(1_000), Some(at(1_200))), Finding::well("clock"), "within what clocks differ by");
        let behind = clock("clock", at(0), Some(at(7_300)));
        assert!(behind.to_string().contains("behind by 2 h"), "{behind}");
    }

    #[test]
    fn a_disk_has_room_for_a_plan_or_says_how_much_it_lacks() {
        assert_eq!(lacking(ROOM), None);
        assert!(lacking(65_536).unwrap().starts_with("64 KiB are free, the next plan may need 16 MiB"));
    }
}
