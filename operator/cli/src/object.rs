//! Which object is meant: `site rv-07`, `sites/rv-07`, `uplink/rv-07/fiber`.

use std::fmt;

use pathsteer_crds::{AnyObject, Kind, manifest};

use crate::failure::Failure;

/// A kind and a key: name, or `site/name` for kinds that belong to a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    pub kind: Kind,
    pub key: String,
}

impl ObjectId {
    /// The object's own path in the API.
    pub fn path(&self) -> String {
        format!("/v1/{}/{}", self.kind.plural(), self.key)
    }

    pub fn of(object: &AnyObject) -> ObjectId {
        ObjectId { kind: object.kind(), key: object.key() }
    }
}

/// `site/rv-07`: what `-o name` prints, and what every command takes.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name().to_lowercase(), self.key)
    }
}

/// The kind in `words`, and the key if one is given in the same word or the next.
///
/// # Errors
/// A kind there is not, a name given twice, a name that is none.
pub fn parse(kind: &str, name: Option<&str>) -> Result<(Kind, Option<String>), Failure> {
    let (kind_word, in_word) = match kind.split_once('/') {
        Some((kind, name)) => (kind, Some(name)),
        None => (kind, None),
    };
    let kind = parse_kind(kind_word)?;
    let key = match (in_word, name) {
        (Some(_), Some(name)) => {
            return Err(Failure::Usage(format!("`{kind_word}/…` already names one: leave out `{name}`")));
        }
        (key, None) | (None, key) => key,
    };
    let key = key.map(|key| check_key(kind, key)).transpose()?;
    Ok((kind, key))
}

/// The one object that `words` name.
///
/// # Errors
/// As [`parse`], and a kind without a name.
pub fn parse_one(kind: &str, name: Option<&str>) -> Result<ObjectId, Failure> {
    let (kind, key) = parse(kind, name)?;
    let key = key.ok_or_else(|| {
        let example = if kind.is_sited() { "SITE/NAME" } else { "NAME" };
        Failure::Usage(format!("which {}? add {example}", kind.name()))
    })?;
    Ok(ObjectId { kind, key })
}

/// The name of a node, which is that of the Site or Anchor it is.
///
/// # Errors
/// A name that is none.
pub fn node(name: &str) -> Result<String, Failure> {
    Ok(parse_one("site", Some(name))?.key)
}

fn parse_kind(word: &str) -> Result<Kind, Failure> {
    Kind::parse(word).ok_or_else(|| {
        if ["node", "nodes"].contains(&word.to_ascii_lowercase().as_str()) {
            let fix = "see `pathsteer status`, and `pathsteer describe` with its site or anchor";
            return Failure::Usage(format!("a node is not declared: {fix}"));
        }
        let words = Kind::ALL.iter().flat_map(|kind| [kind.plural(), kind.name()]);
        let fix = match manifest::nearest(word, words) {
            Some(meant) => format!("did you mean `{}`?", meant.to_lowercase()),
            None => format!("kinds are {}", Kind::ALL.map(Kind::plural).join(", ")),
        };
        Failure::Usage(format!("`{word}` is not a kind: {fix}"))
    })
}

fn check_key(kind: Kind, key: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = key.split('/').collect();
    let expected = if kind.is_sited() { 2 } else { 1 };
    // Names are RFC 1123 labels; what is none cannot be the name of anything, nor part of a path.
    let is_name = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if parts.len() == expected && parts.iter().all(is_name) {
        return Ok(key.to_owned());
    }
    let form = if kind.is_sited() { "SITE/NAME" } else { "NAME" };
    Err(Failure::Usage(format!("`{key}` names no {}: write {form} in lower-case letters, digits and `-`", kind.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_in_singular_plural_and_any_case_and_names_in_one_word_or_two() {
        for (kind, name) in [("site", Some("rv-07")), ("Sites", Some("rv-07")), ("SITE/rv-07", None)] {
            assert_eq!(parse_one(kind, name).unwrap().to_string(), "site/rv-07", "{kind}");
        }
        assert_eq!(parse_one("uplinks", Some("rv-07/fiber")).unwrap().path(), "/v1/uplinks/rv-07/fiber");
        assert_eq!(parse_one("uplink/rv-07/fiber", None).unwrap().to_string(), "uplink/rv-07/fiber");
        assert_eq!(parse("trafficpolicy", None).unwrap(), (Kind::TrafficPolicy, None));
    }

    #[test]
    fn what_names_nothing_is_refused_with_the_fix() {
        let text = |kind, name| parse_one(kind, name).unwrap_err().to_string();
        assert_eq!(text("stie", Some("x")), "`stie` is not a kind: did you mean `site`?");
        assert_eq!(text("site", None), "which Site? add NAME");
        assert_eq!(text("uplink", None), "which Uplink? add SITE/NAME");
        assert!(text("uplink", Some("fiber")).contains("write SITE/NAME"));
        assert!(text("site", Some("a/b")).contains("write NAME"));
        assert!(text("site", Some("a?b")).contains("names no Site"));
        assert!(text("site/a", Some("b")).contains("leave out `b`"));
    }
}
