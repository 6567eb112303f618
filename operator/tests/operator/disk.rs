//! A disk that is full to its last byte below the private etcd. etcd ends there; nobody else does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use pathsteer_crds::{Kind, keys};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::degraded::warned;
use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, condition, eventually, eventually_within};

/// Megabytes: etcd's program (25), two files of its log (128), its data, and 64 that it must have left.
const SIZE: u32 = 256;
/// How long etcd may take to come back: it is tried again every five seconds.
const RETURN: Duration = Duration::from_secs(60);

/// A small disk that only this thread and what it starts can see; so it is gone with them, however they end.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> SmallDisk {
        let folder = tempfile::tempdir().unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let size = format!("size={SIZE}m");
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        SmallDisk { folder }
    }

    /// Fills it to the last byte; the file that does.
    fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("ballast");
        let mut ballast = File::create(&path).unwrap();
        for size in [1 << 20, 4_096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(self.folder.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

fn padded(name: &str) -> Value {
    let mut mode = objects::mode(name, 1);
    mode["metadata"]["labels"] = json!({"padding": "x".repeat(50_000)});
    mode
}

/// What the operator remembers beside its store; whole at every moment.
fn remembered(memory: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(memory).unwrap()).expect("half a file")
}

/// Seconds of processor time that a process has taken.
fn processor_time(pid: nix::unistd::Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name in brackets: utime and stime are the fields 14 and 15 of proc(5), in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    Duration::from_millis(fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

#[test]
fn a_full_disk_is_named_to_those_who_write_and_stops_nobody_else_until_there_is_room() {
    let disk = SmallDisk::mount();
    let rig = Rig::on(tempfile::tempdir_in(disk.folder.path()).unwrap());
    let (user, memory) = (rig.user(), rig.path("memory.json"));
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    eventually("numbers are remembered", || match fs::metadata(&memory) {
        Ok(file) if file.len() > 0 && remembered(&memory)["allocations"]["nodes"]["rv-07"].is_u64() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(warned(&user, None), "");
    let fabric = || condition(&user.get("/v1/fabrics/default").1, "StoreHealthy").unwrap();
    assert_eq!(fabric(), ("True".to_owned(), "NoProblems".to_owned(), String::new()));
    let mut watched = rig.user_named("alex").lines("/v1/watch/fabrics");

    let ballast = disk.fill();
    let before = remembered(&memory);
    // etcd has some room in its own files, so some are taken yet: that of a node, which is given numbers, is the first.
    let mut acknowledged = Vec::new();
    let mut site = objects::site();
    site["metadata"]["name"] = "rv-08".into();
    site["spec"]["prefixes"] = json!(["172.16.8.0/24"]);
    let (status, problem) = user.put("/v1/sites/rv-08", site);
    assert_eq!(status, 200, "{problem}");
    let (status, detail) = (0..200)
        .find_map(|n| match user.put(&format!("/v1/modes/m{n}"), padded(&format!("m{n}"))) {
            (200, _) => {
                acknowledged.push(format!("/v1/modes/m{n}"));
                None
            }
            (status, problem) => Some((status, problem["detail"].as_str().unwrap_or_default().to_owned())),
        })
        .expect("it never fills up");
    let full = format!("the disk that holds {} is full", rig.data.path().display());
    assert!(status == 503 && detail.contains(&full), "{status} {detail}");
    println!("{} writes taken on the full disk, then: {detail}", acknowledged.len());
    let sentence = warned(&user, Some(&full));
    assert_eq!(fabric(), ("False".to_owned(), "DiskFull".to_owned(), sentence.clone()));
    let since = Instant::now();
    let told =
        watched.find(|line| condition(&line["object"], "StoreHealthy").is_some_and(|(_, _, said)| said == sentence));
    assert_eq!(told.unwrap()["type"], "modified");
    assert!(since.elapsed() < Duration::from_secs(3), "it is told when it happens: {:?}", since.elapsed());

    // etcd is tried again and again, with pauses.
    let (began, spent) = (Instant::now(), processor_time(rig.pid()));
    let (mut started, mut asked) = (BTreeSet::new(), Instant::now());
    while began.elapsed() < Duration::from_secs(12) {
        started.extend(rig.etcd_pid().map(nix::unistd::Pid::as_raw));
        if asked.elapsed() > Duration::from_millis(500) {
            asked = Instant::now();
            assert_eq!(user.get("/v1/sites/rv-07").0, 200, "reads do without it");
            assert_eq!(user.get("/v1/nodes/rv-07").1["connected"], true, "nodes stay");
            assert_eq!(user.get("/v1/plans/rv-07").0, 200, "and keep their plans");
            assert_eq!(remembered(&memory), before, "what was remembered stays whole");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let spent = processor_time(rig.pid()) - spent;
    println!("etcd tried {} times in 12 s, {spent:?} of processor time", started.len());
    assert!((1..=8).contains(&started.len()), "{started:?}");
    assert!(spent < Duration::from_secs(6), "{spent:?}");

    fs::remove_file(ballast).unwrap();
    eventually_within(RETURN, "writes are taken again", || {
        match user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)) {
            (200, _) => Ok(()),
            other => Err(other),
        }
    });
    plan.follow(&mut lines, |plan| plan.count("paths") == 2);
    warned(&user, None);
    assert_eq!(fabric().0, "True");
    for path in &acknowledged {
        let padding = user.get(path).1["metadata"]["labels"]["padding"].as_str().map(str::len);
        assert_eq!(padding, Some(50_000), "{path} was acknowledged");
    }
    eventually("the numbers of the new node are remembered", || match &remembered(&memory)["allocations"]["nodes"] {
        nodes if nodes["rv-08"].is_u64() => Ok(()),
        nodes => Err(nodes.clone()),
    });
    let key = keys::spec(Kind::Uplink, "rv-07/starlink");
    assert!(rig.etcdctl(&["get", "--keys-only", &key]).contains(&key));
}
