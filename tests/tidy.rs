//! House rules that a compiler does not check. Each says why it is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longer files hide a second noun.
const LONGEST: usize = 500;
/// Crates whose results depend on their arguments alone.
const PURE: [&str; 2] = ["operator/compiler", "agent/core"];
/// What a pure crate's library may not name: I/O, clocks, chance, and order that differs from run to run.
const IMPURE: [&str; 14] = [
    "tokio",
    "rtnetlink",
    "etcd",
    "std::fs",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime",
    "rand::",
    "HashMap",
    "HashSet",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every source file of ours below `folder` with one of `extensions`, sorted.
fn sources(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.contains(&e.to_str().unwrap())) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The lines of a Rust file before its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = text(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pure_crates_name_nothing_impure() {
    let mut broken = Vec::new();
    for pure in PURE {
        for path in sources(&root().join(pure).join("src"), &["rs"]) {
            let code = code(&path);
            broken.extend(IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{path:?}: {word}")));
        }
    }
    assert!(broken.is_empty(), "purity is the architecture: {broken:#?}");
}

#[test]
fn operator_and_agent_do_not_know_each_other() {
    let dependencies = |manifest: &str| {
        let text = text(&root().join(manifest));
        let begin = text.find("[dependencies]").unwrap();
        text[begin..].split("\n[").next().unwrap().to_owned()
    };
    for operator in ["operator/Cargo.toml", "operator/compiler/Cargo.toml", "operator/cli/Cargo.toml"] {
        for word in ["pathsteer-agent", "pathsteer-bpf", "pathsteer-wireguard"] {
            assert!(!dependencies(operator).contains(word), "{operator} depends on {word}");
        }
    }
    for agent in ["agent/Cargo.toml", "agent/core/Cargo.toml", "agent/bpf/Cargo.toml", "agent/wireguard/Cargo.toml"] {
        for word in ["pathsteer-operator", "pathsteer-compiler", "pathsteer.workspace"] {
            assert!(!dependencies(agent).contains(word), "{agent} depends on {word}");
        }
    }
}

#[test]
fn no_file_is_long_enough_to_hide_a_second_noun() {
    let long: Vec<_> = sources(&root(), &["rs", "c", "h", "sh"])
        .into_iter()
        .filter(|path| text(path).lines().count() > LONGEST)
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:#?}");
}

#[test]
fn a_daemon_that_carries_sessions_does_not_die_of_a_surprise() {
    let mut brittle = Vec::new();
    for folder in ["crds/src", "operator/src", "operator/compiler/src", "operator/cli/src", "agent"] {
        for path in sources(&root().join(folder), &["rs"]) {
            let within = |part: &str| path.components().any(|c| c.as_os_str() == part);
            if !within("tests") && within("src") {
                let code = code(&path);
                let found = [".unwrap()", "panic!("].into_iter().filter(|word| code.contains(word));
                brittle.extend(found.map(|word| format!("{path:?}: {word}")));
            }
        }
    }
    assert!(brittle.is_empty(), "return an error instead: {brittle:#?}");
}

#[test]
fn every_rust_file_says_what_it_is() {
    let mute: Vec<_> =
        sources(&root(), &["rs"]).into_iter().filter(|path| !text(path).trim_start().starts_with("//!")).collect();
    assert!(mute.is_empty(), "begin these with a //! line: {mute:#?}");
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    let words =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!("].concat(), ["unimplemented", "!("].concat()];
    let mut left = Vec::new();
    for path in sources(&root(), &["rs", "c", "h", "sh", "md", "yaml"]) {
        let text = text(&path);
        left.extend(words.iter().filter(|word| text.contains(word.as_str())).map(|word| format!("{path:?}: {word}")));
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_folders_that_the_architecture_names_exist() {
    let architecture = text(&root().join("ARCHITECTURE.md"));
    let table = architecture.split("## Folders").nth(1).unwrap().split("\n## ").next().unwrap();
    let folders: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(folders.len() >= 10, "the table has lost its folders: {folders:?}");
    for folder in folders {
        assert!(root().join(folder).is_dir(), "{folder} is in ARCHITECTURE.md and not on disk");
    }
}
