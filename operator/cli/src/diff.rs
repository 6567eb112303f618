//! `diff`: what applying manifests would change, as `diff -u` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use pathsteer_crds::meta::SOURCE_LABEL;
use pathsteer_crds::{AnyObject, Kind, manifest};
use similar::TextDiff;

use crate::args::Pruning;
use crate::client::Client;
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::object::ObjectId;
use crate::table;

/// Lines shown around a change, as many as `diff -u` shows.
const CONTEXT: usize = 3;

/// Shows how the store differs from `objects`, and what would be pruned.
///
/// # Errors
/// [`Failure::Differs`] when it does.
pub async fn diff(
    client: &mut Client,
    objects: Vec<AnyObject>,
    pruning: &Pruning,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut declared: BTreeMap<ObjectId, AnyObject> =
        objects.into_iter().map(|object| (ObjectId::of(&object), object)).collect();
    let mut kinds: BTreeSet<Kind> = declared.keys().map(|id| id.kind).collect();
    if let Some(source) = &pruning.source {
        kinds = Kind::ALL.into();
        for object in declared.values_mut() {
            object.metadata_mut().labels.insert(SOURCE_LABEL.to_owned(), source.clone());
        }
    }
    let mut stored: BTreeMap<ObjectId, Entry> = BTreeMap::new();
    for kind in kinds {
        stored.extend(entry::list(client, kind).await?.into_iter().map(|entry| (entry.id.clone(), entry)));
    }
    let is_pruned =
        |entry: &Entry| pruning.source.is_some() && entry.metadata.labels.get(SOURCE_LABEL) == pruning.source.as_ref();
    stored.retain(|id, entry| declared.contains_key(id) || is_pruned(entry));
    let all: BTreeSet<&ObjectId> = declared.keys().chain(stored.keys()).collect();
    let colour = table::wants_colour();
    let mut differing = 0;
    for id in &all {
        let difference = difference(id, stored.get(id), declared.get(id));
        differing += usize::from(!difference.is_empty());
        out.write_all(painted(&difference, colour).as_bytes())?;
    }
    if differing == 0 { Ok(()) } else { Err(Failure::Differs { differing, all: all.len() }) }
}

/// Empty if there is none.
fn difference(id: &ObjectId, stored: Option<&Entry>, declared: Option<&AnyObject>) -> String {
    let before = stored.map(Entry::declared).unwrap_or_default();
    let after = declared.map(manifest::to_yaml).unwrap_or_default();
    let name = |place: &str, is_there| if is_there { format!("{place}/{id}") } else { "/dev/null".to_owned() };
    let (from, to) = (name("stored", stored.is_some()), name("manifest", declared.is_some()));
    TextDiff::from_lines(&before, &after).unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

/// In colour where that is wanted.
pub fn painted(difference: &str, colour: bool) -> String {
    if !colour {
        return difference.to_owned();
    }
    let paint = |line: &str| match line.as_bytes().first() {
        Some(b'+') => format!("\x1b[32m{line}\x1b[0m\n"),
        Some(b'-') => format!("\x1b[31m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    };
    difference.lines().map(paint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;

    fn site(prefix: &str) -> AnyObject {
        let yaml = format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Site\nmetadata: {{name: rv-07}}\n\
             spec: {{anchors: [dal-a], vips: [198.18.7.1], prefixes: [{prefix}]}}\n"
        );
        manifest::parse(&yaml, "f").unwrap().remove(0).object
    }

    #[test]
    fn what_is_stored_as_declared_does_not_differ_whatever_the_operator_adds() {
        let stored = samples::site(7, "True", "CarriedOut", "");
        assert_eq!(difference(&stored.id, Some(&stored), Some(&site("172.16.7.0/24"))), "");
    }

    #[test]
    fn a_change_is_shown_with_its_surroundings_and_an_object_that_is_not_there_as_a_whole() {
        let stored = samples::site(7, "True", "CarriedOut", "");
        insta::assert_snapshot!(difference(&stored.id, Some(&stored), Some(&site("172.16.9.0/24"))), @r#"
        --- stored/site/rv-07
        +++ manifest/site/rv-07
        @@ -8,7 +8,7 @@
           vips:
           - "198.18.7.1"
           prefixes:
        -  - 172.16.7.0/24
        +  - 172.16.9.0/24
           deadManSeconds: 120
           managementPorts:
           - 22
        "#);
        insta::assert_snapshot!(difference(&stored.id, None, Some(&site("172.16.7.0/24"))), @r#"
        --- /dev/null
        +++ manifest/site/rv-07
        @@ -0,0 +1,14 @@
        +apiVersion: pathsteer.io/v1alpha1
        +kind: Site
        +metadata:
        +  name: rv-07
        +spec:
        +  anchors:
        +  - dal-a
        +  vips:
        +  - "198.18.7.1"
        +  prefixes:
        +  - 172.16.7.0/24
        +  deadManSeconds: 120
        +  managementPorts:
        +  - 22
        "#);
    }

    #[test]
    fn what_would_be_pruned_is_shown_as_gone() {
        let stored = samples::site(7, "True", "CarriedOut", "");
        let gone = difference(&stored.id, Some(&stored), None);
        assert!(gone.starts_with("--- stored/site/rv-07\n+++ /dev/null\n@@ -1,14 +0,0 @@\n-apiVersion"), "{gone}");
    }

    #[test]
    fn colour_is_all_that_a_terminal_adds() {
        let stored = samples::site(7, "True", "CarriedOut", "");
        let plain = difference(&stored.id, Some(&stored), Some(&site("172.16.9.0/24")));
        let stripped =
            ["\x1b[31m", "\x1b[32m", "\x1b[0m"].iter().fold(painted(&plain, true), |t, code| t.replace(code, ""));
        assert_eq!(stripped, plain);
    }
}
