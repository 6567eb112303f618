//! Diagnostics: what is wrong with an object, seen together with the others.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::{Kind, Resource, manifest};

use crate::reason::Reason;
use crate::uplink::split_key;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object, and what depends on it, is left out of every plan.
    Error,
    /// The object is compiled, but does not (yet) do all it says.
    Warning,
}

/// One statement about one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub kind: Kind,
    /// `name`, or `site/name`.
    pub key: String,
    pub severity: Severity,
    pub reason: Reason,
    /// A sentence for people, with the fix where there is one.
    pub message: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Diagnostic { kind, key, severity, reason, message } = self;
        write!(f, "{severity:?} {kind} {key} {reason}: {message}")
    }
}

/// The diagnostics of one compilation, in order and without doubles.
#[derive(Default)]
pub(crate) struct Diagnostics(BTreeSet<Diagnostic>);

impl Diagnostics {
    pub fn add(&mut self, severity: Severity, kind: Kind, key: &str, reason: Reason, message: String) {
        self.0.insert(Diagnostic { kind, key: key.to_owned(), severity, reason, message });
    }

    pub fn error(&mut self, kind: Kind, key: &str, reason: Reason, message: String) {
        self.add(Severity::Error, kind, key, reason, message);
    }

    pub fn warning(&mut self, kind: Kind, key: &str, reason: Reason, message: String) {
        self.add(Severity::Warning, kind, key, reason, message);
    }

    /// `kind` `key` names the `target` called `name`, which takes no part: it does not exist, or is in error itself.
    pub fn dangling<S>(
        &mut self,
        severity: Severity,
        (kind, key): (Kind, &str),
        (target, name): (Kind, &str),
        existing: &BTreeMap<String, S>,
    ) {
        if existing.contains_key(name) {
            let message = format!("{target} `{name}` is itself in error: put that right first");
            return self.add(severity, kind, key, Reason::ReferenceInvalid, message);
        }
        // Nobody means themselves, or what belongs to another site.
        let others = existing.keys().filter(|one| kind != target || *one != key);
        let (site, wrong) = split_key(name);
        let names = others.map(|one| split_key(one)).filter(|(of, _)| *of == site).map(|(_, name)| name);
        let hint = manifest::nearest(wrong, names).map(|near| match site {
            "" => format!(": did you mean `{near}`?"),
            _ => format!(": did you mean `{site}/{near}`?"),
        });
        let message = format!("there is no {target} `{name}`{}", hint.unwrap_or_default());
        self.add(severity, kind, key, Reason::ReferenceMissing, message);
    }

    /// The objects whose own fields are sound. Admission refuses others, but a compilation must hold for any input.
    pub fn sound<'a, S: Resource>(&mut self, specs: &'a BTreeMap<String, S>) -> BTreeMap<&'a str, &'a S> {
        let mut sound = BTreeMap::new();
        for (key, spec) in specs {
            let problems = spec.check();
            if problems.is_empty() {
                sound.insert(key.as_str(), spec);
            }
            for (path, message) in problems {
                self.error(S::KIND, key, Reason::Invalid, format!("spec.{path}: {message}"));
            }
        }
        sound
    }

    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.0.into_iter().collect()
    }
}
