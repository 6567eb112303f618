//! Tells the crate where the vendored etcd lies, so that the operator's binary can carry it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let path = etcd_bin_vendored::etcd_bin_path().expect("etcd-bin-vendored has an etcd for this machine");
    println!("cargo:rustc-env=PATHSTEER_ETCD={}", path.display());
}
