//! Golden cases. `UPDATE_GOLDEN=1 cargo test -p pathsteer-compiler` writes what comes out; read the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pathsteer_compiler::{check, compile};

use crate::case;

#[test]
fn every_case_compiles_to_its_golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for name in case::all() {
        let folder = case::folder(&name);
        let results = case::results(&case::inventory(&name));
        let golden = golden(&folder);
        if update {
            golden.keys().for_each(|file| fs::remove_file(folder.join(file)).unwrap());
            results.iter().for_each(|(file, content)| fs::write(folder.join(file), content).unwrap());
            continue;
        }
        for file in results.keys().chain(golden.keys()) {
            if let Some(line) = first_difference(golden.get(file), results.get(file)) {
                different.push(format!("{name}/{file}: {line}"));
            }
        }
    }
    different.dedup();
    assert!(different.is_empty(), "UPDATE_GOLDEN=1 writes what came out.\n{}", different.join("\n"));
}

#[test]
fn check_finds_nothing_in_the_plans_of_any_case() {
    let mut plans = 0;
    for name in case::all() {
        let inventory = case::inventory(&name);
        for (node, plan) in compile(&inventory).plans {
            plans += 1;
            let overlay = inventory.fabrics["default"].overlay;
            assert_eq!(check(&node, &plan.objects(), plan.role, overlay), [], "case {name}");
        }
    }
    assert!(plans > 10, "{plans} plans are too few to say anything");
}

/// Files that an update writes.
fn golden(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let written = entries.filter(|path| {
        let name = case::name_of(path);
        name == "diagnostics.txt" || name.ends_with(".plan.yaml")
    });
    written.map(|path| (case::name_of(&path), fs::read_to_string(&path).unwrap())).collect()
}

fn first_difference(golden: Option<&String>, result: Option<&String>) -> Option<String> {
    let (golden, result) = match (golden, result) {
        (Some(golden), Some(result)) => (golden, result),
        (None, _) => return Some("came out, but is not expected".to_owned()),
        (_, None) => return Some("is expected, but did not come out".to_owned()),
    };
    let lines = golden.lines().zip(result.lines()).enumerate();
    let first = lines.into_iter().find(|(_, (golden, result))| golden != result);
    match first {
        Some((line, (golden, result))) => Some(format!("line {}: expected `{golden}`, came out `{result}`", line + 1)),
        None if golden != result => Some("one is longer than the other".to_owned()),
        None => None,
    }
}
