//! The links from page to page: whether what they lead to is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;

use crate::root;

/// Every link of every page below `docs` to something of the project leads to a file, and to a heading of it.
pub fn every_link_leads_somewhere() -> Result<(), Failed> {
    let (mut looked_at, mut dead) = (0, Vec::new());
    for page in below(&root().join("docs"))? {
        let text = std::fs::read_to_string(&page)?;
        for target in targets(&text).iter().filter(|target| !target.contains("://")) {
            looked_at += 1;
            if !is_there(&page, target)? {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    match dead.is_empty() && looked_at > 0 {
        true => Ok(()),
        false => Err(format!("of {looked_at} links these lead nowhere: {dead:#?}").into()),
    }
}

fn below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages.extend(below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// What stands in the round brackets of `[words](target)`, code apart.
fn targets(text: &str) -> Vec<String> {
    let prose = text.lines().map(|line| line.split('`').step_by(2).collect::<String>()).collect::<Vec<_>>().join("\n");
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

fn is_there(page: &Path, target: &str) -> std::io::Result<bool> {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        _ => page.parent().unwrap_or(page).join(file),
    };
    if !path.exists() || heading.is_empty() {
        return Ok(path.exists());
    }
    Ok(anchors(&std::fs::read_to_string(path)?).contains(heading))
}

/// The names that headings have as targets: lower case, hyphens for spaces, and neither punctuation nor marks.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let name = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
    };
    headings.map(name).collect()
}
