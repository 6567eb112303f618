//! The programs in user space against their oracle, with the committed corpus: see `fuzz/`. Needs clang and its runtime.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn crate_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles the fuzz target of `root` (a folder with `c` and `fuzz`).
fn build(root: &Path, sanitizers: &str) -> PathBuf {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let target = root.join("fuzz/replay");
    let output = Command::new(clang)
        .current_dir(root.join("fuzz"))
        .args(["-std=gnu11", "-O1", "-g", "-Iuserspace", "target.c", "-fno-sanitize-recover=all"])
        .arg(format!("-fsanitize={sanitizers}"))
        .arg("-o")
        .arg(&target)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "clang needs the package libclang-rt-14-dev: run `make setup`\n{said}");
    target
}

/// Runs every input of the corpus once.
fn replay(target: &Path) -> Output {
    Command::new(target)
        .arg("-runs=0")
        .arg(format!("-artifact_prefix={}/", target.parent().unwrap().display()))
        .arg(crate_folder().join("fuzz/corpus"))
        .output()
        .unwrap()
}

/// A copy of the sources.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for folder in ["c", "fuzz", "fuzz/userspace/bpf"] {
        let (from, to) = (crate_folder().join(folder), copy.path().join(folder));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "h" || extension == "c") {
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

#[test]
fn the_corpus_finds_nothing_in_the_programs() {
    let inputs = fs::read_dir(crate_folder().join("fuzz/corpus")).unwrap().count();
    assert!(inputs > 100, "{inputs} inputs are no corpus");
    let copy = copy();
    let output = replay(&build(copy.path(), "fuzzer,address,undefined"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("{inputs} files found")), "all of them were run: {said}");
}

/// File, what stands there, and what is put in its place.
const FAULTS: [(&str, &str, &str); 23] = [
    ("window.h", "if (old & bit)", "if (0)"),
    ("window.h", "<< shift) < 0)", "<< shift) < 0 && 0)"),
    ("window.h", "now - known->changed_ns < PREVIOUS_EPOCH_NS", "0"),
    ("window.h", "generation = sequence >> shift", "generation = (sequence >> shift) & 1"),
    ("packet.h", "return sequence + (__u16)(bpf_ntohs(shim->ip.id) - (__u16)sequence)", "return sequence"),
    ("packet.h", "number <= MOST_COPIES", "1"),
    ("packet.h", "header_sum(shim) == 0xffff", "1"),
    ("inner.h", "inner->v4.ihl >= 5", "1"),
    ("inner.h", "outer == ECT_1 && inner == ECT_0", "outer == ECT_1"),
    ("bytes.h", "bpf_skb_pull_data(skb, offset + length) < 0", "1"),
    ("bare.h", "source_lies(packet, v6) == OWN", "0"),
    ("bare.h", "== IPPROTO_GRE", "== 200"),
    ("decap.h", "if (ecn == ECN_DROP)", "if (0)"),
    ("decap.h", "remote->address != shim->ip.saddr", "0"),
    ("decap.h", "return source == id;", "return source != NOWHERE;"),
    ("decap.h", "inner_length(inner, v6) != skb->len - at", "0"),
    ("decap.h", "learned->tick == tick", "1"),
    ("decap.h", "KEY_COPIES(key) & remote->slots", "KEY_COPIES(key)"),
    ("decap.h", "slots->ifindex[slot - 1] == ifindex", "slots->ifindex[slot - 1] >= ifindex"),
    ("control.h", " && bpf_map_lookup_elem(&ps_window, &key)", ""),
    ("control.h", "message->copies & ~remote->slots || ", ""),
    ("encap.h", "source_lies(inner, v6) != OWN", "0"),
    ("encap.h", "__sync_fetch_and_add(last, segments)", "__sync_fetch_and_add(last, 1)"),
];

#[test]
fn the_corpus_finds_every_fault_that_is_put_into_the_programs() {
    let missed: Vec<_> = FAULTS
        .into_iter()
        .filter(|(file, right, wrong)| {
            let copy = copy();
            let path = copy.path().join("c").join(file);
            let source = fs::read_to_string(&path).unwrap();
            assert_eq!(source.matches(right).count(), 1, "{file} has lost `{right}`");
            fs::write(&path, source.replace(right, wrong)).unwrap();
            replay(&build(copy.path(), "fuzzer")).status.success()
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
