//! One object that somebody wants written.

use axum::http::StatusCode;
use pathsteer_crds::api::Outcome;
use pathsteer_crds::meta::SOURCE_LABEL;
use pathsteer_crds::{AnyObject, Kind, canonical, keys};
use serde_json::Value;

use super::Problem;
use super::problem::ProblemItem;
use super::prune;
use crate::controller::admission::own_problems;
use crate::store::{Snapshot, Write};

/// Bytes of one object in the store, a third of what etcd takes for a value.
const LARGEST: usize = 512 << 10;

/// An object somebody wants written, and the revision it was read at, if the write depends on it.
#[derive(Debug, Clone)]
pub struct Change {
    object: AnyObject,
    expected: Option<i64>,
}

/// Everything wrong with what somebody wants written.
#[derive(Debug)]
pub struct Unfit(pub Vec<ProblemItem>);

impl From<Unfit> for Problem {
    fn from(Unfit(errors): Unfit) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing was written, correct this first").with(errors)
    }
}

impl Change {
    /// The object in `item`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(item: &Value) -> Result<Change, Unfit> {
        let text = |path: &str| item.pointer(path).and_then(Value::as_str).unwrap_or("?");
        let name = format!("{} {}", text("/kind"), text("/metadata/name"));
        let unfit = |field: &str, message: String| {
            Unfit(vec![ProblemItem { object: name.clone(), field: field.to_owned(), message }])
        };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == text("/kind")) else {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(unfit("kind", format!("`{}` is not a kind: kinds are {known}", text("/kind"))));
        };
        let mut object = AnyObject::from_json(kind, &item.to_string()).map_err(|error| {
            // The position would be one in a text the sender never saw.
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
            unfit("", message.to_owned())
        })?;
        // A client may send back what it was shown, status included: it is the operator's and not stored with the spec.
        object.set_status(None);
        let expected = object.metadata_mut().resource_version.take();
        let mut problems = own_problems(kind, &object);
        let size = canonical::to_json(&object).len();
        if size > LARGEST {
            problems.push((String::new(), format!("has {size} bytes, {LARGEST} at most are kept: make it smaller")));
        }
        let change = Change { object, expected };
        if problems.is_empty() {
            return Ok(change);
        }
        Err(Unfit(problems.into_iter().map(|(field, message)| change.problem(&field, &message)).collect()))
    }

    /// The same, but only if there is no such object.
    ///
    /// # Errors
    /// It claims to change a version that there is.
    pub fn only_new(mut self) -> Result<Change, Unfit> {
        match self.expected.replace(0) {
            None | Some(0) => Ok(self),
            Some(_) => {
                let message = "is set by the server: leave it out of what is new, or PUT over what there is";
                Err(Unfit(vec![self.problem("metadata.resourceVersion", message)]))
            }
        }
    }

    pub fn object(&self) -> &AnyObject {
        &self.object
    }

    pub fn kind(&self) -> Kind {
        self.object.kind()
    }

    pub fn key(&self) -> String {
        self.object.key()
    }

    /// Marks it as declared by `source`.
    pub fn belong_to(&mut self, source: &str) {
        self.object.metadata_mut().labels.insert(SOURCE_LABEL.to_owned(), source.to_owned());
    }

    pub fn problem(&self, field: &str, message: &str) -> ProblemItem {
        let object = format!("{} {}", self.kind(), self.key());
        ProblemItem { object, field: field.to_owned(), message: message.to_owned() }
    }

    pub fn write(&self) -> Write {
        let write = Write::put(keys::spec(self.kind(), &self.key()), canonical::to_json(&self.object));
        match self.expected {
            Some(revision) => write.if_at(revision),
            None => write,
        }
    }

    /// What writing this does to the store, for the source that declares it if one does.
    ///
    /// # Errors
    /// It depends on another version than there is, or another source declares the object.
    pub fn outcome(&self, snapshot: &Snapshot, source: Option<&str>) -> Result<Outcome, Problem> {
        let entry = snapshot.get(&keys::spec(self.kind(), &self.key()));
        if let (Some(source), Some(other)) = (source, entry.and_then(prune::source_of))
            && other != source
        {
            let detail = format!(
                "{} {} is declared by source `{other}`, not `{source}`: remove it there first",
                self.kind(),
                self.key()
            );
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        let found = entry.map_or(0, |entry| entry.mod_revision);
        if let Some(expected) = self.expected
            && expected != found
        {
            let name = format!("{} {}", self.kind(), self.key());
            let detail = match (expected, found) {
                (0, _) => format!("there is a {name} already: PUT or PATCH changes it"),
                (_, 0) => format!("there is no {name} any more, nor resourceVersion {expected} of it"),
                _ => format!(
                    "{name} is at resourceVersion {found}, not {expected}: somebody else wrote it; read it again and repeat"
                ),
            };
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        let Some(entry) = entry else { return Ok(Outcome::Created) };
        let same = AnyObject::from_json(self.kind(), &entry.value).is_ok_and(|stored| stored == self.object);
        Ok(if same { Outcome::Unchanged } else { Outcome::Configured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn site() -> Value {
        json!({"apiVersion": "pathsteer.io/v1alpha1", "kind": "Site", "metadata": {"name": "rv-07"},
            "spec": {"anchors": ["dal-a"], "prefixes": ["172.16.7.0/24"]}})
    }

    fn errors(item: &Value) -> Vec<ProblemItem> {
        Change::read(item).unwrap_err().0
    }

    #[test]
    fn every_error_names_its_object_and_field() {
        let mut bad = site();
        bad["spec"]["anchors"] = json!([]);
        bad["spec"]["prefixes"] = json!(["172.16.7.1/24"]);
        let errors = errors(&bad);
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|error| error.object == "Site rv-07"));
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["spec.anchors", "spec.prefixes"]);
    }

    #[test]
    fn what_is_no_object_is_refused_without_a_position_nobody_can_find() {
        let mut bad = site();
        bad["spec"]["anchor"] = json!([]);
        let message = &errors(&bad)[0].message;
        assert!(message.starts_with("unknown field `anchor`") && !message.contains("line"), "{message}");
        assert!(errors(&json!({"kind": "Stie"}))[0].message.contains("kinds are Fabric, Anchor"));
    }

    #[test]
    fn what_the_api_showed_may_be_sent_back_and_makes_the_write_conditional() {
        let mut shown = site();
        shown["metadata"]["resourceVersion"] = json!(7);
        shown["status"] = json!({"observedGeneration": 7, "conditions": []});
        let change = Change::read(&shown).unwrap();
        assert_eq!(change.expected, Some(7));
        assert_eq!(change.object, AnyObject::from_json(Kind::Site, &site().to_string()).unwrap());
    }
}
