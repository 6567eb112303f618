//! Admission: from the text in a spec key, whoever put it there, to an object.

use pathsteer_crds::meta::API_VERSION;
use pathsteer_crds::{AnyObject, Kind};

/// Why the text in a spec key is not an object of ours. The message is what the condition says.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("not a {kind}: {source}")]
    Unreadable { kind: Kind, source: serde_json::Error },
    #[error("{}", list(.0))]
    Problems(Vec<(String, String)>),
}

impl Refusal {
    /// What is wrong, as `(field path, message)`.
    pub fn problems(&self) -> Vec<(String, String)> {
        match self {
            Refusal::Unreadable { .. } => vec![(String::new(), self.to_string())],
            Refusal::Problems(problems) => problems.clone(),
        }
    }
}

fn list(problems: &[(String, String)]) -> String {
    problems.iter().map(|(path, message)| format!("{path}: {message}")).collect::<Vec<_>>().join("; ")
}

/// The object that `json` in the spec key of `kind` and `key` holds.
///
/// # Errors
/// Text that is not such an object, an object that belongs in another key, and everything
/// [`AnyObject::check`] finds.
pub fn admit(kind: Kind, key: &str, json: &str) -> Result<AnyObject, Refusal> {
    let object = AnyObject::from_json(kind, json).map_err(|source| Refusal::Unreadable { kind, source })?;
    let mut problems = own_problems(kind, &object);
    if object.key() != key {
        problems.push((
            "metadata".to_owned(),
            format!("the object is named `{}` but stands in the key of `{key}`: make them equal", object.key()),
        ));
    }
    if problems.is_empty() { Ok(object) } else { Err(Refusal::Problems(problems)) }
}

/// What is wrong with `object`, meant to be a `kind`, wherever it comes from.
pub fn own_problems(kind: Kind, object: &AnyObject) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, path: &str, message: String| {
        if !holds {
            problems.push((path.to_owned(), message));
        }
    };
    let version = object.api_version();
    must(version == API_VERSION, "apiVersion", format!("`{version}` is not known: write `{API_VERSION}`"));
    must(object.kind() == kind, "kind", format!("`{}` where a {kind} belongs", object.kind()));
    must(object.status().is_none(), "status", "is the operator's to write: remove it".to_owned());
    problems.extend(object.check());
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"{"apiVersion":"pathsteer.io/v1alpha1","kind":"Site","metadata":{"name":"rv-07"},
        "spec":{"anchors":["dal-a"],"prefixes":["172.16.7.0/24"]}}"#;

    fn refusal(json: &str) -> String {
        admit(Kind::Site, "rv-07", json).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_object_under_its_own_name_is_admitted() {
        assert_eq!(admit(Kind::Site, "rv-07", SITE).unwrap().key(), "rv-07");
    }

    #[test]
    fn each_thing_wrong_is_named() {
        assert!(refusal("{").starts_with("not a Site: EOF"));
        assert!(refusal(&SITE.replace("prefixes", "prefix")).contains("unknown field `prefix`"));
        assert!(refusal(&SITE.replace("rv-07", "rv-08")).contains("named `rv-08` but stands in the key of `rv-07`"));
        assert!(refusal(&SITE.replace("v1alpha1", "v2")).contains("write `pathsteer.io/v1alpha1`"));
        assert!(refusal(&SITE.replace("\"Site\"", "\"Anchor\"")).contains("`Anchor` where a Site belongs"));
        assert!(refusal(&SITE.replace("7.0/24", "7.1/24")).contains("spec.prefixes"));
        let with_status = SITE.replace("\"spec\"", "\"status\":{},\"spec\"");
        assert!(refusal(&with_status).contains("status: is the operator's to write"));
    }
}
