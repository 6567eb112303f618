//! The whole networks, with real DHCP servers, router advertisements and address translation, by the program's own
//! selftest.

use std::process::Command;

fn selftest(words: &[&str], providers: &[&str]) {
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_pathsteer-lab"))
        .arg("selftest")
        .args(words)
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{complained}");
    for provider in providers {
        assert!(said.contains(&format!("{provider} leases")), "{said}");
        assert!(out.path().join(format!("logs/dhcp-{provider}.log")).exists());
    }
}

#[test]
fn the_vans_network_passes_its_own_selftest() {
    selftest(&[], &["fiber", "starlink", "cellular"]);
}

#[test]
fn the_network_of_many_sites_passes_its_own_selftest() {
    selftest(&["--many"], &["fiber", "starlink", "cellular", "sea-starlink", "geo", "metro", "city"]);
}
