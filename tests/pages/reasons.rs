//! The reasons that conditions and events give, as they stand in the code, and what the page about troubles says of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use pathsteer_compiler::Reason;

use crate::root;

const PAGE: &str = "docs/troubleshooting.md";
/// Whatever gives a reason does it here, but for the compiler, which has a list of its own.
const SOURCES: [&str; 3] = ["operator/src/controller", "operator/src/store/health.rs", "agent/src/problems.rs"];
/// Types of conditions and what events speak of, and the two statuses: written like reasons, and none. `Admitted` is both.
const NO_REASONS: [&str; 6] = ["Ready", "Healthy", "StoreHealthy", "Declared", "True", "False"];

/// Every reason has its heading in the page, and every heading is one that the code gives.
pub fn every_reason_has_its_place_in_the_page() -> Result<(), Failed> {
    let page = std::fs::read_to_string(root().join(PAGE))?;
    let mut explained = BTreeSet::new();
    for heading in page.lines().filter_map(|line| line.strip_prefix("### ")) {
        if !explained.insert(heading.to_owned()) {
            return Err(format!("{PAGE} has `{heading}` twice").into());
        }
    }
    let mut given: BTreeSet<String> = Reason::ALL.iter().map(ToString::to_string).collect();
    for source in SOURCES {
        let before = given.len();
        words_below(&root().join(source), &mut given)?;
        if given.len() == before {
            return Err(format!("{source} gives no reason: do they stand elsewhere now?").into());
        }
    }
    given.retain(|word| !NO_REASONS.contains(&word.as_str()));
    let missing: Vec<_> = given.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&given).collect();
    match missing.is_empty() && gone.is_empty() {
        true => Ok(()),
        false => Err(format!("{PAGE} lacks {missing:?}, and explains {gone:?}, which no code gives").into()),
    }
}

fn words_below(path: &Path, words: &mut BTreeSet<String>) -> std::io::Result<()> {
    if path.is_dir() {
        let entries: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        return entries.into_iter().try_for_each(|path| words_below(&path, words));
    }
    let text = std::fs::read_to_string(path)?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    for line in lines {
        let line = line.replace("\\\"", "");
        words.extend(line.split('"').skip(1).step_by(2).filter(|literal| is_word(literal)).map(str::to_owned));
    }
    Ok(())
}

/// In CamelCase, as reasons are: no sentence is, nor `IPv4`.
fn is_word(literal: &str) -> bool {
    let mut letters = literal.chars();
    letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && letters.next().is_some_and(|second| second.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_alphanumeric())
}
