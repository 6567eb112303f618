//! What belongs to a node and to no network namespace: files, mounts, names of namespaces, pins in the bpffs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_lab::host::Host;

const BPFFS: &str = "/sys/fs/bpf";
/// What is ours, or the tests' own.
const OURS: [&str; 4] = ["/etc/pathsteer", "/run/pathsteer", "/run/lab", "/sys/fs/bpf/pathsteer"];

/// Everything of `host`'s that is not ours, a line each.
pub fn dump(host: &Host) -> Result<String> {
    let mut all = host.inside(|| {
        let mut all = Vec::new();
        for folder in ["/etc", "/run", BPFFS] {
            files(Path::new(folder), &mut all)?;
        }
        all.extend(mounts(&fs::read_to_string("/proc/thread-self/mountinfo")?));
        Ok(all)
    })?;
    let pins: Vec<String> = all.iter().filter_map(|line| pin(line)).collect();
    for pin in pins {
        let script = format!(
            "for kind in prog map link; do bpftool -j $kind show pinned {pin} && break; done 2>/dev/null
             bpftool map dump pinned {pin} 2>/dev/null || true"
        );
        all.push(format!("pinned {pin} {}\n", host.output("sh", &["-c", &script])?.trim_end().replace('\n', " ")));
    }
    all.sort();
    Ok(all.concat())
}

fn is_ours(path: &Path) -> bool {
    let in_netns = path.strip_prefix("/run/netns").ok().and_then(Path::to_str).is_some_and(is_owned_netns);
    in_netns || OURS.iter().any(|ours| path.starts_with(ours))
}

/// What is below `folder`: which file it is, when it was last written and how long it is. A namespace's number is that of
/// its file.
fn files(folder: &Path, all: &mut Vec<String>) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            let Ok(known) = fs::symlink_metadata(&path) else { continue };
            if is_ours(&path) {
                continue;
            }
            let is_folder = known.is_dir();
            // A folder is written when something comes or goes, which may be ours; an overlay numbers as it likes.
            let number = if path.starts_with("/etc") { 0 } else { known.ino() };
            let (seconds, rest, length) =
                if is_folder { (0, 0, 0) } else { (known.mtime(), known.mtime_nsec(), known.len()) };
            let (name, mode, owner) = (path.display(), known.mode(), known.uid());
            all.push(format!("file {name} {number} {mode:o} {owner} {seconds}.{rest} {length}\n"));
            if is_folder {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// The path in a line about a file of the bpffs. What the kernel itself puts there is nobody's.
fn pin(line: &str) -> Option<String> {
    let mut words = line.split(' ').skip(1);
    let (path, mode) = (words.next()?, words.nth(1)?);
    (path.starts_with(BPFFS) && mode.starts_with("100") && !path.ends_with(".debug")).then(|| path.to_owned())
}

/// What is mounted where, without the numbers that say in which order.
fn mounts(table: &str) -> Vec<String> {
    let line = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let words: Vec<&str> = place.split(' ').collect();
        // proc(5): the device, the root of the mount, where, and how
        (!is_ours(Path::new(words.get(4)?))).then(|| format!("mount {} {kind}\n", words[2..6].join(" ")))
    };
    table.lines().filter_map(line).collect()
}
