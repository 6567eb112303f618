//! Pruning: what a source, such as a repository, has declared before and declares no longer is deleted.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use pathsteer_crds::meta::SOURCE_LABEL;
use pathsteer_crds::{Kind, keys};
use serde_json::Value;

use super::Problem;
use super::problem::ProblemItem;
use super::stored::keys_of;
use crate::store::{Entry, Snapshot};

/// Of a kind's objects one in so many may go without a word: what a wrong folder or a broken template would delete is more.
const SHARE: usize = 4;

/// Whose objects are pruned.
#[derive(Debug)]
pub struct Pruning {
    pub source: String,
    /// However many go.
    pub confirmed: bool,
}

/// An object that is declared no longer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    pub kind: Kind,
    pub key: String,
    pub mod_revision: i64,
}

/// The source of a stored object, which may be anything else that is wrong.
pub fn source_of(entry: &Entry) -> Option<String> {
    let stored: Value = serde_json::from_str(&entry.value).ok()?;
    stored["metadata"]["labels"][SOURCE_LABEL].as_str().map(str::to_owned)
}

impl Pruning {
    /// # Errors
    /// A name that cannot be a source's.
    pub fn of(source: String, confirmed: bool) -> Result<Pruning, Problem> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if (1..=63).contains(&source.len()) && source.chars().all(fits) {
            return Ok(Pruning { source, confirmed });
        }
        let detail = "prune: name the source in 1 to 63 letters, digits, `-`, `_` and `.`";
        Err(Problem::new(StatusCode::BAD_REQUEST, detail))
    }

    /// What goes when the source declares no more than `declared`, by kind.
    ///
    /// # Errors
    /// It is so much of a kind that somebody has to confirm it.
    pub fn gone(&self, snapshot: &Snapshot, declared: &BTreeSet<(Kind, String)>) -> Result<Vec<Gone>, Problem> {
        let (mut all, mut too_many) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let stored = keys_of(snapshot, kind).into_iter().filter_map(|key| {
                let entry = snapshot.get(&keys::spec(kind, &key))?;
                (source_of(entry)? == self.source).then_some(Gone { kind, key, mod_revision: entry.mod_revision })
            });
            let (kept, gone): (Vec<_>, Vec<_>) =
                stored.partition(|stored| declared.contains(&(kind, stored.key.clone())));
            let had = kept.len() + gone.len();
            if gone.len() * SHARE > had && !self.confirmed {
                let message = format!("{} of {had} would be deleted", gone.len());
                too_many.extend(gone.iter().map(|gone| ProblemItem {
                    object: format!("{kind} {}", gone.key),
                    field: String::new(),
                    message: message.clone(),
                }));
            }
            all.extend(gone);
        }
        if too_many.is_empty() {
            return Ok(all);
        }
        let detail = format!(
            "nothing was written: more than a quarter of a kind that source `{}` has declared is declared no longer; if \
             that is meant, confirm it (--confirm-prune)",
            self.source
        );
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with(too_many))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(uplinks: &[(&str, &str)]) -> Snapshot {
        let entry = |source: &str| Entry {
            value: format!(r#"{{"metadata":{{"labels":{{"{SOURCE_LABEL}":"{source}"}}}}}}"#).into(),
            mod_revision: 7,
        };
        let entries = uplinks.iter().map(|(key, source)| (keys::spec(Kind::Uplink, key), entry(source)));
        Snapshot::listed(9, entries.collect())
    }

    fn declared(keys: &[&str]) -> BTreeSet<(Kind, String)> {
        keys.iter().map(|key| (Kind::Uplink, (*key).to_owned())).collect()
    }

    fn prune(confirmed: bool, stored: &Snapshot, declares: &[&str]) -> Result<Vec<String>, Problem> {
        let gone = Pruning { source: "fleet".to_owned(), confirmed }.gone(stored, &declared(declares))?;
        Ok(gone.into_iter().map(|gone| gone.key).collect())
    }

    #[test]
    fn what_the_source_declares_no_longer_goes_and_nothing_of_others() {
        let stored =
            snapshot(&[("a/1", "fleet"), ("a/2", "fleet"), ("a/3", "fleet"), ("a/4", "fleet"), ("b/1", "lab")]);
        assert_eq!(prune(false, &stored, &["a/1", "a/2", "a/4"]).unwrap(), ["a/3"]);
        assert_eq!(prune(false, &stored, &["a/1", "a/2", "a/3", "a/4"]).unwrap(), [""; 0]);
    }

    #[test]
    fn more_than_a_quarter_of_a_kind_has_to_be_confirmed() {
        let stored = snapshot(&[("a/1", "fleet"), ("a/2", "fleet"), ("a/3", "fleet")]);
        assert!(prune(false, &stored, &["a/1", "a/2"]).is_err());
        assert_eq!(prune(true, &stored, &["a/1", "a/2"]).unwrap(), ["a/3"]);
    }
}
