//! Compiles the BPF programs with clang (14 or newer).

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CLANG");
    for object in ["pathsteer", "selftest"] {
        compile(object);
    }
}

fn compile(object: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(format!("{object}.bpf.o"));
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    // Debian keeps <asm/types.h> in the multiarch folder, which -target bpf does not search.
    let asm = format!("-I/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it"));
    let status = Command::new(&clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", &asm, "-c"])
        .args([&format!("c/{object}.bpf.c"), "-o"])
        .arg(&out)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{clang} failed ({status}); it needs the packages clang and libbpf-dev: run `make setup`"),
        Err(error) => panic!("cannot run {clang} ({error}): run `make setup`, which installs it"),
    }
}
