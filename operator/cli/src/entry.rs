//! An object as the operator answers it. What a newer operator answers may not fit our types; it is shown all the
//! same, with what the operator says about it.

use pathsteer_crds::api::List;
use pathsteer_crds::meta::{Condition, ConditionStatus, Metadata, Status};
use pathsteer_crds::{AnyObject, Kind, manifest};
use serde_json::Value;

use crate::args::Selection;
use crate::client::{Client, ClientError};
use crate::object::ObjectId;
use crate::query;

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: ObjectId,
    pub metadata: Metadata,
    pub status: Status,
    /// None if it does not fit its kind.
    pub object: Option<AnyObject>,
    json: Value,
}

impl Entry {
    pub fn new(kind: Kind, json: Value) -> Entry {
        let part = |name: &str| json.get(name).cloned().unwrap_or_default();
        let metadata: Metadata = serde_json::from_value(part("metadata")).unwrap_or_default();
        let key = match &metadata.site {
            Some(site) => format!("{site}/{}", metadata.name),
            None => metadata.name.clone(),
        };
        Entry {
            id: ObjectId { kind, key },
            metadata,
            status: serde_json::from_value(part("status")).unwrap_or_default(),
            object: AnyObject::of_kind(kind, &json).ok(),
            json,
        }
    }

    /// The generation of the spec.
    pub fn revision(&self) -> i64 {
        self.metadata.resource_version.unwrap_or_default()
    }

    /// The condition the object is judged by: what keeps it from being compiled, or else whether it is carried out.
    pub fn readiness(&self) -> Option<&Condition> {
        let admitted = self.status.condition("Admitted").filter(|admitted| admitted.status != ConditionStatus::True);
        admitted.or_else(|| self.status.condition("Ready"))
    }

    pub fn yaml(&self) -> String {
        match &self.object {
            Some(object) => manifest::to_yaml(object),
            None => serde_saphyr::to_string(&self.json).expect("JSON can always be written as YAML"),
        }
    }

    /// As a manifest without what the operator has added.
    pub fn declared(&self) -> String {
        let Some(mut object) = self.object.clone() else { return self.yaml() };
        object.set_status(None);
        object.metadata_mut().resource_version = None;
        manifest::to_yaml(&object)
    }

    /// In the order people write fields in, where the object is readable.
    pub fn json(&self) -> String {
        match &self.object {
            Some(object) => serde_json::to_string_pretty(object),
            None => serde_json::to_string_pretty(&self.json),
        }
        .expect("objects always serialize")
    }

    /// The same in one line.
    pub fn json_line(&self) -> String {
        match &self.object {
            Some(object) => serde_json::to_string(object),
            None => serde_json::to_string(&self.json),
        }
        .expect("objects always serialize")
    }
}

pub async fn get(client: &mut Client, id: &ObjectId) -> Result<Entry, ClientError> {
    Ok(Entry::new(id.kind, client.get(&id.path()).await?))
}

/// Every object of a kind, sorted by key.
pub async fn list(client: &mut Client, kind: Kind) -> Result<Vec<Entry>, ClientError> {
    Ok(select(client, kind, &Selection::default()).await?.0)
}

/// Those of a kind that are selected, sorted by key, and the revision they are of.
pub async fn select(client: &mut Client, kind: Kind, selection: &Selection) -> Result<(Vec<Entry>, i64), ClientError> {
    let Selection { selector, field_selector } = selection;
    let path = format!("/v1/{}", kind.plural());
    let path = query::with(&path, &[("labelSelector", selector), ("fieldSelector", field_selector)]);
    let list: List<Value> = client.get(&path).await?;
    let mut entries: Vec<Entry> = list.items.into_iter().map(|json| Entry::new(kind, json)).collect();
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((entries, list.resource_version.unwrap_or_default()))
}

/// Every object of every kind.
pub async fn list_all(client: &mut Client) -> Result<Vec<Entry>, ClientError> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.extend(list(client, kind).await?);
    }
    Ok(all)
}

#[cfg(test)]
pub mod samples {
    use super::*;

    /// An entry from YAML, the way the operator would answer it.
    pub fn entry(yaml: &str) -> Entry {
        let json: Value = serde_saphyr::from_str(yaml).unwrap();
        let kind = Kind::parse(json["kind"].as_str().unwrap()).unwrap();
        Entry::new(kind, json)
    }

    /// A site at revision 7 whose operator speaks of `observed` and says Ready is `ready`.
    pub fn site(observed: i64, ready: &str, reason: &str, message: &str) -> Entry {
        entry(&format!(
            "apiVersion: pathsteer.io/v1alpha1
kind: Site
metadata: {{name: rv-07, resourceVersion: 7}}
spec: {{anchors: [dal-a], vips: [198.18.7.1], prefixes: [172.16.7.0/24]}}
status:
  observedGeneration: {observed}
  conditions:
    - {{type: Admitted, status: 'True', reason: Valid, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}}
    - {{type: Ready, status: '{ready}', reason: {reason}, message: '{message}', lastTransitionTime: '2026-01-01T00:00:00Z'}}
"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_does_not_fit_its_kind_is_still_shown_with_its_status() {
        let entry = samples::entry(
            "kind: Uplink
metadata: {site: rv-07, name: fiber}
spec: {slot: eleven}
status: {observedGeneration: 3, conditions: [{type: Admitted, status: 'False', reason: Invalid, message: m, lastTransitionTime: t}]}",
        );
        assert_eq!(entry.id.to_string(), "uplink/rv-07/fiber");
        assert_eq!(entry.object, None);
        assert_eq!(entry.readiness().unwrap().reason, "Invalid");
        assert!(entry.yaml().contains("slot: eleven"), "{}", entry.yaml());
    }
}
