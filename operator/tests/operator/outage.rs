//! What is lost when etcd, the way to it, or the operator dies: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use pathsteer_crds::{Kind, keys};
use tokio::net::{TcpListener, TcpStream};

use crate::node::{Node, Plan};
use crate::objects;
use crate::rig::{Rig, eventually};

#[test]
fn a_killed_etcd_comes_back_and_nobody_notices_but_those_who_write() {
    let rig = Rig::start();
    let user = rig.user();
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);
    let killed = rig.etcd_pid().unwrap();
    kill(killed, Signal::SIGKILL).unwrap();
    assert_eq!(user.get("/v1/sites/rv-07").0, 200, "reads do without it");
    eventually("writes are taken again", || {
        match user.put("/v1/uplinks/rv-07/starlink", objects::uplink("starlink", 2)) {
            (200, _) => Ok(()),
            other => Err(other),
        }
    });
    assert_ne!(rig.etcd_pid(), Some(killed));
    plan.follow(&mut lines, |plan| plan.count("paths") == 2);
}

#[test]
fn what_etcd_says_while_it_dies_again_and_again_does_not_fill_the_disk() {
    let rig = Rig::start();
    let (user, log) = (rig.user(), rig.path("etcd/etcd.log"));
    eventually("the store is read", || if user.get("/v1/readyz").0 == 200 { Ok(()) } else { Err(()) });
    std::fs::write(&log, "x".repeat(2 << 20)).unwrap();
    kill(rig.etcd_pid().unwrap(), Signal::SIGKILL).unwrap();
    eventually("the log begins anew", || match std::fs::metadata(&log).unwrap().len() {
        0..1_048_576 => Ok(()),
        length => Err(length),
    });
}

#[test]
fn etcd_ends_with_the_operator_however_that_ends_and_the_data_stays() {
    let mut rig = Rig::start();
    assert_eq!(rig.user().post("/v1/apply", objects::all()).0, 200);
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
        let etcd = rig.etcd_pid().unwrap();
        let status = rig.end(signal);
        assert_eq!(status.success(), signal != Signal::SIGKILL, "{signal}");
        eventually("etcd is gone", || match kill(etcd, None) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            other => Err(other),
        });
        rig.restart_ended();
        let user = rig.user();
        eventually("what was applied is there", || match user.get("/v1/sites/rv-07") {
            (200, _) => Ok(()),
            other => Err(other),
        });
    }
}

#[test]
fn a_second_operator_on_the_same_folder_is_refused() {
    let rig = Rig::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_pathsteer-operator"))
        .args(["run", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(rig.data.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another operator runs"));
}

/// A way to etcd that can be cut.
struct Wire {
    url: String,
    whole: Arc<AtomicBool>,
    runtime: tokio::runtime::Runtime,
    cut: tokio::sync::watch::Sender<()>,
}

impl Wire {
    fn to(endpoint: &str) -> Wire {
        let target = endpoint.trim_start_matches("https://").to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let whole = Arc::new(AtomicBool::new(true));
        let cut = tokio::sync::watch::Sender::new(());
        let (is_whole, cuts) = (Arc::clone(&whole), cut.clone());
        runtime.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !is_whole.load(Ordering::SeqCst) {
                    continue;
                }
                let (target, mut cut) = (target.clone(), cuts.subscribe());
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Wire { url, whole, runtime, cut }
    }

    fn cut(&self) {
        self.whole.store(false, Ordering::SeqCst);
        self.cut.send_replace(());
    }

    fn mend(&self) {
        self.whole.store(true, Ordering::SeqCst);
    }
}

#[test]
fn what_was_deleted_and_compacted_while_etcd_was_out_of_reach_is_noticed() {
    // The etcd of one operator serves as the cluster of another.
    let cluster = Rig::start();
    let exports = std::process::Command::new(env!("CARGO_BIN_EXE_pathsteer-operator"))
        .args(["etcdctl-env", "--data-dir"])
        .arg(cluster.data.path())
        .output()
        .unwrap();
    let exports = String::from_utf8(exports.stdout).unwrap();
    let endpoint = exports.split('\'').find(|word| word.starts_with("https://")).unwrap();
    let wire = Wire::to(endpoint);
    let pki = |name: &str| cluster.path("etcd/pki").join(name).display().to_string();
    // Only the operator under test may write plans.
    kill(cluster.pid(), Signal::SIGSTOP).unwrap();
    let rig = Rig::with(&[
        "--etcd",
        &wire.url,
        "--etcd-ca",
        &pki("ca.crt"),
        "--etcd-cert",
        &pki("client.crt"),
        "--etcd-key",
        &pki("client.key"),
    ]);
    assert_eq!(rig.etcd_pid(), None, "no private etcd beside a cluster");
    let user = rig.user();
    eventually("the cluster is read", || if user.get("/v1/readyz").0 == 200 { Ok(()) } else { Err(()) });
    assert_eq!(user.post("/v1/apply", objects::all()).0, 200);
    let (mut lines, mut plan) = (Node::edge().stream(&rig, 0), Plan::default());
    plan.follow(&mut lines, |_| true);

    wire.cut();
    let deleted = cluster.etcdctl(&["del", "-w", "json", &keys::spec(Kind::Site, "rv-07")]);
    let deleted: serde_json::Value = serde_json::from_str(&deleted).unwrap();
    cluster.etcdctl(&["compact", &deleted["header"]["revision"].to_string()]);
    assert_eq!(user.get("/v1/sites/rv-07").0, 200, "the operator works on with what it knows");
    wire.mend();
    let gone = lines.find(|event| event["type"] != "heartbeat").unwrap();
    assert_eq!(gone["type"], "gone");
    assert_eq!(user.get("/v1/sites/rv-07").0, 404);
    kill(cluster.pid(), Signal::SIGCONT).unwrap();
    drop(rig);
    wire.runtime.shutdown_background();
}
