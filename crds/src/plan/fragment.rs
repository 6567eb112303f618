//! Cutting a plan into content-addressed fragments and putting it together again.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NodePlan, PLAN_VERSION, PlanObjects, Role, each_noun};
use crate::canonical;

/// The key under which a plan becomes visible; written after every fragment it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRoot {
    pub version: u32,
    pub node: String,
    pub role: Role,
    pub store_epoch: u64,
    pub generation: i64,
    /// `<noun>/<scope>` to SHA-256 of the fragment's canonical JSON.
    pub fragments: BTreeMap<String, String>,
}

/// Why fragments do not make a plan.
#[derive(Debug, thiserror::Error)]
pub enum FragmentError {
    #[error("plan version {0} is not one this agent reads (it reads {PLAN_VERSION})")]
    Version(u32),
    #[error("fragment {0} is missing")]
    Missing(String),
    #[error("fragment {name} does not hash to its name {sha256}")]
    Damaged { name: String, sha256: String },
    #[error("fragment {name} cannot be read")]
    Unreadable { name: String, source: serde_json::Error },
}

/// The fragments of `scopes` (scope name to its objects): `<noun>/<scope>` to canonical JSON.
pub fn split<P: Borrow<PlanObjects>>(scopes: &BTreeMap<String, P>) -> BTreeMap<String, String> {
    let mut fragments = BTreeMap::new();
    for (scope, objects) in scopes {
        let mut objects = objects.borrow().clone();
        objects.sort();
        macro_rules! one {
            ($field:ident) => {
                if !objects.$field.is_empty() {
                    let noun = stringify!($field);
                    fragments.insert(format!("{noun}/{scope}"), fragment(&objects, noun).unwrap_or_default());
                }
            };
        }
        each_noun!(one);
    }
    fragments
}

/// A plan cut into fragments, each known by its hash. Of two plans of a node most fragments are the same, and to compare
/// objects costs far less than to write and hash them.
#[derive(Debug, Default)]
pub struct Cut {
    /// By name.
    scopes: BTreeMap<String, Arc<Scope>>,
}

/// One scope of a plan.
#[derive(Debug)]
struct Scope {
    objects: Arc<PlanObjects>,
    /// Noun to SHA-256 of the fragment's canonical JSON.
    hashes: BTreeMap<&'static str, String>,
}

impl Cut {
    /// Cuts `scopes` (scope name to its objects, which are sorted); what has not changed since `before` keeps the hash it
    /// had.
    pub fn of(scopes: BTreeMap<String, Arc<PlanObjects>>, before: Option<&Cut>) -> Cut {
        let one = |(name, objects): (String, Arc<PlanObjects>)| {
            let earlier = before.and_then(|before| before.scopes.get(&name));
            let scope = match earlier {
                Some(same) if Arc::ptr_eq(&same.objects, &objects) => Arc::clone(same),
                earlier => Arc::new(Scope::of(objects, earlier.map(Arc::as_ref))),
            };
            (name, scope)
        };
        Cut { scopes: scopes.into_iter().map(one).collect() }
    }

    /// `<noun>/<scope>` to SHA-256 of the fragment's canonical JSON.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        let of = |(name, scope): (&String, &Arc<Scope>)| {
            let named = scope.hashes.iter().map(|(noun, sha256)| (format!("{noun}/{name}"), sha256.clone()));
            named.collect::<Vec<_>>()
        };
        self.scopes.iter().flat_map(of).collect()
    }

    /// The canonical JSON of the fragment `<noun>/<scope>`, if there is one.
    pub fn json(&self, name: &str) -> Option<String> {
        let (noun, scope) = name.split_once('/')?;
        fragment(&self.scopes.get(scope)?.objects, noun)
    }

    /// All scopes, each by itself.
    pub fn scopes(&self) -> impl Iterator<Item = &PlanObjects> + Clone {
        self.scopes.values().map(|scope| &*scope.objects)
    }

    /// Whether it is cut of the very same objects as `other`.
    pub fn is_same(&self, other: &Cut) -> bool {
        let names = self.scopes.len() == other.scopes.len();
        names && self.scopes.iter().all(|(name, scope)| other.scopes.get(name).is_some_and(|it| Arc::ptr_eq(scope, it)))
    }

    /// All scopes together.
    pub fn objects(&self) -> PlanObjects {
        let mut all = PlanObjects::default();
        self.scopes().for_each(|objects| all.extend(objects.clone()));
        all.sort();
        all
    }
}

impl Scope {
    fn of(objects: Arc<PlanObjects>, before: Option<&Scope>) -> Scope {
        let mut hashes = BTreeMap::new();
        macro_rules! one {
            ($field:ident) => {
                if !objects.$field.is_empty() {
                    let noun = stringify!($field);
                    let kept = before.filter(|old| old.objects.$field == objects.$field);
                    let kept = kept.and_then(|old| old.hashes.get(noun).cloned());
                    let made = || canonical::sha256(fragment(&objects, noun).unwrap_or_default().as_bytes());
                    hashes.insert(noun, kept.unwrap_or_else(made));
                }
            };
        }
        each_noun!(one);
        Scope { objects, hashes }
    }
}

/// The canonical JSON of one list of `objects`.
fn fragment(objects: &PlanObjects, noun: &str) -> Option<String> {
    macro_rules! one {
        ($field:ident) => {
            if noun == stringify!($field) {
                let only = PlanObjects { $field: objects.$field.clone(), ..PlanObjects::default() };
                return Some(canonical::to_json(&only));
            }
        };
    }
    each_noun!(one);
    None
}

/// The plan that `root` and the fragments it names (by hash) make.
///
/// # Errors
/// A version we do not read, a fragment that is missing, damaged or unreadable. The plan is whole or not there.
pub fn assemble(root: &PlanRoot, by_hash: &BTreeMap<String, String>) -> Result<NodePlan, FragmentError> {
    if root.version != PLAN_VERSION {
        return Err(FragmentError::Version(root.version));
    }
    let mut objects = PlanObjects::default();
    for (name, sha256) in &root.fragments {
        let json = by_hash.get(sha256).ok_or_else(|| FragmentError::Missing(name.clone()))?;
        if canonical::sha256(json.as_bytes()) != *sha256 {
            return Err(FragmentError::Damaged { name: name.clone(), sha256: sha256.clone() });
        }
        let fragment: PlanObjects =
            serde_json::from_str(json).map_err(|source| FragmentError::Unreadable { name: name.clone(), source })?;
        objects.extend(fragment);
    }
    objects.sort();
    Ok(NodePlan {
        version: root.version,
        node: root.node.clone(),
        role: root.role,
        store_epoch: root.store_epoch,
        generation: root.generation,
        objects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NetnsSpec;

    fn scopes(names: &[(&str, &[&str])]) -> BTreeMap<String, Arc<PlanObjects>> {
        let objects = |names: &[&str]| {
            let netns = names.iter().map(|name| NetnsSpec { name: (*name).to_owned() }).collect();
            PlanObjects { netns, ..PlanObjects::default() }
        };
        let sorted = |names: &[&str]| {
            let mut objects = objects(names);
            objects.sort();
            Arc::new(objects)
        };
        names.iter().map(|(scope, names)| ((*scope).to_owned(), sorted(names))).collect()
    }

    #[test]
    fn a_cut_after_another_is_the_cut_that_would_be_made_alone() {
        let plans = [
            scopes(&[("node", &["b", "a"]), ("rv-07", &["c"])]),
            scopes(&[("node", &["a", "b"]), ("rv-07", &["d"])]),
            scopes(&[("node", &[]), ("rv-08", &["d"])]),
            scopes(&[]),
        ];
        for before in &plans {
            for after in &plans {
                let alone = Cut::of(after.clone(), None);
                let earlier = Cut::of(before.clone(), None);
                assert_eq!(Cut::of(after.clone(), Some(&earlier)).hashes(), alone.hashes(), "{before:?} {after:?}");
                for (name, sha256) in &alone.hashes() {
                    assert_eq!(canonical::sha256(alone.json(name).unwrap().as_bytes()), *sha256);
                }
            }
        }
    }

    fn sample() -> (PlanRoot, BTreeMap<String, String>) {
        let objects = PlanObjects {
            netns: vec![NetnsSpec { name: "psvip".into() }, NetnsSpec { name: "psup1".into() }],
            ..PlanObjects::default()
        };
        let fragments = split(&BTreeMap::from([("node".to_owned(), objects)]));
        let by_hash: BTreeMap<_, _> =
            fragments.values().map(|j| (canonical::sha256(j.as_bytes()), j.clone())).collect();
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: "rv-07".into(),
            role: Role::Edge,
            store_epoch: 1,
            generation: 7,
            fragments: fragments.iter().map(|(n, j)| (n.clone(), canonical::sha256(j.as_bytes()))).collect(),
        };
        (root, by_hash)
    }

    #[test]
    fn a_plan_survives_being_cut_and_put_together() {
        let (root, by_hash) = sample();
        let plan = assemble(&root, &by_hash).unwrap();
        assert_eq!(plan.objects.netns.len(), 2);
        assert_eq!(plan.objects.netns[0].name, "psup1", "lists are sorted");
    }

    #[test]
    fn a_flipped_bit_in_a_fragment_is_refused() {
        let (root, mut by_hash) = sample();
        for json in by_hash.values_mut() {
            *json = json.replace("psup1", "psup3");
        }
        assert!(matches!(assemble(&root, &by_hash), Err(FragmentError::Damaged { .. })));
    }

    #[test]
    fn a_missing_fragment_is_refused() {
        let (root, _) = sample();
        assert!(matches!(assemble(&root, &BTreeMap::new()), Err(FragmentError::Missing(_))));
    }

    #[test]
    fn a_field_of_a_newer_writer_is_ignored() {
        let (mut root, mut by_hash) = sample();
        let json = r#"{"netns":[{"name":"psvip","colour":"blue"}],"tomorrow":[1]}"#.to_owned();
        let sha256 = canonical::sha256(json.as_bytes());
        root.fragments = BTreeMap::from([("netns/node".to_owned(), sha256.clone())]);
        by_hash.insert(sha256, json);
        assert_eq!(assemble(&root, &by_hash).unwrap().objects.netns[0].name, "psvip");
    }
}
