//! Which version of each object is compiled, and what comes of it. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use ipnet::Ipv4Net;
use pathsteer_compiler::{Allocations, Compiled, Compiler, Inventory, Severity};
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::{AnyObject, Kind};

use super::declared::{Declarations, Declared, Id};
use super::memory::Identities;
use crate::store::changed;

/// The outcome of a compilation.
#[derive(Debug, Default)]
pub struct Decision {
    pub compiled: Compiled,
    /// The version of each object that was compiled; objects without a good version are not here.
    pub chosen: Chosen,
    /// Why the newest version of an object is not part of the plans.
    pub refused: BTreeMap<Id, Reason>,
    /// What is missing for an object that is part of the plans.
    pub warned: BTreeMap<Id, Vec<Reason>>,
}

/// Reason in one word and in a sentence, as conditions have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub word: Cow<'static, str>,
    pub sentence: String,
}

/// Decides about one state after another, and looks only at what has changed between them.
#[derive(Debug, Default)]
pub struct Decider {
    compiler: Compiler,
    declared: Declarations,
    /// Of each object the newest version that can be one.
    best: Chosen,
    /// What `compiler` is given, and of what it was filled.
    inventory: Inventory,
    filled: Chosen,
    identities: Identities,
}

/// The version of each object that takes part.
pub type Chosen = OrdMap<Id, Arc<AnyObject>>;

impl Decider {
    /// Compiles the newest version of everything. A newest version that is invalid, or that the compiler refuses seen
    /// together with the others, gives way to the last good one, or to nothing: one bad object changes nothing and
    /// freezes nobody else.
    pub fn decide(&mut self, declared: &Declarations, identities: &Identities, allocations: &Allocations) -> Decision {
        for id in changed(&self.declared, declared) {
            match declared.get(id).and_then(Declared::best) {
                Some(best) => self.best.insert(id.clone(), Arc::clone(best)),
                None => self.best.remove(id),
            };
        }
        self.declared = declared.clone();
        for node in changed(&self.identities, identities) {
            match identities.get(node) {
                Some(identity) => self.inventory.identities.insert(node.clone(), NodeIdentity::clone(identity)),
                None => self.inventory.identities.remove(node),
            };
        }
        self.identities = identities.clone();
        if self.inventory.allocations != *allocations {
            self.inventory.allocations = allocations.clone();
        }
        let invalid = declared.iter().filter_map(|(id, object)| Some((id, object.newest.as_ref().err()?)));
        let invalid =
            invalid.map(|(id, refusal)| (id.clone(), Reason { word: "Invalid".into(), sentence: refusal.to_string() }));
        let mut refused: BTreeMap<Id, Reason> = invalid.collect();
        let mut chosen = self.best.clone();
        loop {
            self.fill(&chosen);
            let compiled = self.compiler.compile(&self.inventory);
            let mut fell_back = false;
            let mut warned: BTreeMap<Id, Vec<Reason>> = BTreeMap::new();
            for diagnostic in &compiled.diagnostics {
                let id = (diagnostic.kind, diagnostic.key.clone());
                let reason = Reason { word: diagnostic.reason.into(), sentence: diagnostic.message.clone() };
                if diagnostic.severity == Severity::Warning {
                    warned.entry(id).or_default().push(reason);
                    continue;
                }
                // Each object falls back once at most, so this ends.
                let first = !refused.contains_key(&id);
                if let Some(object) = declared.get(&id)
                    && first
                    && !object.is_admitted()
                {
                    match &object.admitted {
                        Some(admitted) => chosen.insert(id.clone(), Arc::clone(admitted)),
                        None => chosen.remove(&id),
                    };
                    fell_back = true;
                }
                refused.entry(id).or_insert(reason);
            }
            if !fell_back {
                return Decision { compiled, chosen, refused, warned };
            }
        }
    }

    fn fill(&mut self, chosen: &Chosen) {
        for id in changed(&self.filled, chosen) {
            match chosen.get(id) {
                Some(object) => self.inventory.insert(AnyObject::clone(object)),
                None => self.inventory.remove(id.0, &id.1),
            }
        }
        self.filled = chosen.clone();
    }
}

impl Decision {
    /// The overlay of the fabric that was compiled.
    pub fn overlay(&self) -> Option<Ipv4Net> {
        match &**self.chosen.get(&(Kind::Fabric, "default".to_owned()))? {
            AnyObject::Fabric(fabric) => Some(fabric.spec.overlay),
            _ => None,
        }
    }

    /// Whether `node` is declared, in whatever version: a Site or an Anchor of that name exists.
    pub fn is_node(declared: &Declarations, node: &str) -> bool {
        [Kind::Site, Kind::Anchor].into_iter().any(|kind| declared.contains_key(&(kind, node.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::admission::admit;

    fn object(kind: Kind, key: &str, spec: &str) -> (Id, String) {
        let metadata = match key.split_once('/') {
            Some((site, name)) => format!(r#"{{"site":"{site}","name":"{name}"}}"#),
            None => format!(r#"{{"name":"{key}"}}"#),
        };
        let json =
            format!(r#"{{"apiVersion":"pathsteer.io/v1alpha1","kind":"{kind}","metadata":{metadata},"spec":{spec}}}"#);
        ((kind, key.to_owned()), json)
    }

    fn fabric() -> Vec<(Id, String)> {
        let anchor = r#"{"endpoints":[{"address":"203.0.113.10"}],
            "internet":{"interface":"inet0","addresses":["198.51.100.1/24"]}}"#;
        vec![
            object(Kind::Fabric, "default", r#"{"overlay":"10.100.0.0/16"}"#),
            object(Kind::Anchor, "dal-a", anchor),
            object(Kind::Site, "rv-07", r#"{"anchors":["dal-a"],"prefixes":["172.16.7.0/24"]}"#),
            object(Kind::Uplink, "rv-07/fiber", r#"{"slot":1,"kind":"fiber","interface":"wan1"}"#),
        ]
    }

    fn declare(newest: Vec<(Id, String)>, admitted: &[(Id, String)]) -> Declarations {
        let admitted: BTreeMap<_, _> = admitted.iter().cloned().collect();
        let declared = newest.into_iter().map(|(id, json)| {
            let admitted =
                admitted.get(&id).map(|json| Arc::new(admit(id.0, &id.1, json).expect("a good version is good")));
            let newest = admit(id.0, &id.1, &json).map(Arc::new).map_err(Arc::new);
            (id, Declared::new(1, newest, admitted))
        });
        declared.collect()
    }

    fn decided(declared: &Declarations) -> Decision {
        Decider::default().decide(declared, &Identities::new(), &Allocations::default())
    }

    #[test]
    fn an_object_that_is_invalid_is_compiled_in_its_last_good_version() {
        let good = fabric();
        let mut bad = good.clone();
        bad[3].1 = bad[3].1.replace("\"slot\":1", "\"slot\":9");
        let decision = decided(&declare(bad, &good));
        let id = good[3].0.clone();
        assert_eq!(decision.refused[&id].word, "Invalid");
        assert_eq!(*decision.chosen[&id], admit(id.0, &id.1, &good[3].1).unwrap());
        assert_eq!(decision.compiled.plans, decided(&declare(good.clone(), &good)).compiled.plans);
    }

    #[test]
    fn an_object_the_compiler_refuses_is_compiled_in_its_last_good_version() {
        let good = fabric();
        let mut bad = good.clone();
        bad[2].1 = bad[2].1.replace("dal-a", "dal-b");
        let decision = decided(&declare(bad, &good));
        assert!(decision.refused[&good[2].0].sentence.contains("dal-b"));
        assert_eq!(decision.compiled.plans, decided(&declare(good.clone(), &good)).compiled.plans);
    }

    #[test]
    fn a_newcomer_that_was_never_good_takes_no_part_and_disturbs_nobody() {
        let good = fabric();
        let mut more = good.clone();
        more.push(object(Kind::Uplink, "rv-07/other", r#"{"slot":1,"kind":"fiber","interface":"wan2"}"#));
        let before = decided(&declare(good.clone(), &good));
        let mut decider = Decider::default();
        decider.decide(&declare(good, &[]), &Identities::new(), &Allocations::default());
        let after =
            decider.decide(&declare(more.clone(), &more[..4]), &Identities::new(), &before.compiled.allocations);
        assert!(after.refused.contains_key(&more[4].0) && !after.chosen.contains_key(&more[4].0));
        assert_eq!(after.compiled.plans, before.compiled.plans);
    }
}
