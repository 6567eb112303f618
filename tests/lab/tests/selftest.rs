//! The whole network, with real DHCP servers and address translation, by the program's own selftest.

use std::process::Command;

#[test]
fn the_lab_passes_its_own_selftest() {
    let out = tempfile::tempdir().unwrap();
    let run =
        Command::new(env!("CARGO_BIN_EXE_pathsteer-lab")).args(["selftest", "--out"]).arg(out.path()).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{complained}");
    for provider in ["fiber", "starlink", "cellular"] {
        assert!(said.contains(&format!("{provider} leases")), "{said}");
        assert!(out.path().join(format!("logs/dhcp-{provider}.log")).exists());
    }
}
