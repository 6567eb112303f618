//! Selectors: which objects of a list are meant, by their labels or by their fields.

use serde_json::Value;

/// Requirements, all of which must hold. The empty selector selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    /// From the object's root, name by name.
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// What is no selector, and what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` selects nothing: write {form}")]
pub struct SelectorError {
    part: String,
    form: &'static str,
}

const LABELS: &str = "LABEL=VALUE, LABEL!=VALUE, LABEL in (VALUE,VALUE), LABEL notin (VALUE,VALUE), LABEL or !LABEL, \
                      separated by commas";
const FIELDS: &str = "FIELD=VALUE or FIELD!=VALUE with a FIELD such as spec.kind, metadata.site or \
                      status.conditions.Ready, separated by commas";

impl Selector {
    /// By labels, as Kubernetes writes it.
    ///
    /// # Errors
    /// The first part that is no requirement.
    pub fn labels(text: &str) -> Result<Selector, SelectorError> {
        let label = |key: &str, test| {
            let path = ["metadata", "labels", key].map(str::to_owned).to_vec();
            Requirement { path, test }
        };
        let requirements = parts(text).map(|part| {
            let wrong = || SelectorError { part: part.to_owned(), form: LABELS };
            if let Some(key) = part.strip_prefix('!') {
                return key_of(key).map(|key| label(key, Test::Absent)).ok_or_else(wrong);
            }
            if let Some((key, test)) = compared(part) {
                return key_of(key).map(|key| label(key, test)).ok_or_else(wrong);
            }
            let Some((key, rest)) = part.split_once(char::is_whitespace) else {
                return key_of(part).map(|key| label(key, Test::Exists)).ok_or_else(wrong);
            };
            let (word, list) = rest.trim().split_once('(').ok_or_else(wrong)?;
            let values = list.strip_suffix(')').ok_or_else(wrong)?;
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            let test = match word.trim() {
                "in" => Test::In(values),
                "notin" => Test::NotIn(values),
                _ => return Err(wrong()),
            };
            key_of(key).map(|key| label(key, test)).ok_or_else(wrong)
        });
        Ok(Selector(requirements.collect::<Result<_, _>>()?))
    }

    /// By fields. Of a list one entry must be the value; conditions are found by their type.
    ///
    /// # Errors
    /// The first part that is no requirement.
    pub fn fields(text: &str) -> Result<Selector, SelectorError> {
        let requirements = parts(text).map(|part| {
            let (path, test) = compared(part)
                .filter(|(path, _)| path.split('.').all(|name| key_of(name).is_some()))
                .ok_or_else(|| SelectorError { part: part.to_owned(), form: FIELDS })?;
            Ok(Requirement { path: path.split('.').map(str::to_owned).collect(), test })
        });
        Ok(Selector(requirements.collect::<Result<_, _>>()?))
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This and `other` both.
    pub fn and(mut self, other: Selector) -> Selector {
        self.0.extend(other.0);
        self
    }

    /// Whether `object` is meant.
    pub fn selects(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| {
            let found = found(object, &requirement.path);
            match &requirement.test {
                Test::In(values) => found.iter().any(|value| values.contains(value)),
                Test::NotIn(values) => !found.iter().any(|value| values.contains(value)),
                Test::Exists => !found.is_empty(),
                Test::Absent => found.is_empty(),
            }
        })
    }
}

/// What is between commas, those in parentheses aside.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let split = move |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth <= 0
    };
    let whole = (!text.trim().is_empty()).then_some(text);
    whole.into_iter().flat_map(move |text| text.split(split)).map(str::trim)
}

/// Of `a=b`, `a==b` and `a!=b`: `a`, and what is asked of it.
fn compared(part: &str) -> Option<(&str, Test)> {
    let (left, value) = part.split_once('=')?;
    let value = value.strip_prefix('=').unwrap_or(value).trim().to_owned();
    Some(match left.strip_suffix('!') {
        Some(key) => (key.trim(), Test::NotIn(vec![value])),
        None => (left.trim(), Test::In(vec![value])),
    })
}

fn key_of(key: &str) -> Option<&str> {
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(fits)).then_some(key)
}

/// Every scalar at `path`, as text.
fn found(value: &Value, path: &[String]) -> Vec<String> {
    let Some((name, rest)) = path.split_first() else {
        return match value {
            Value::Array(entries) => entries.iter().flat_map(|entry| found(entry, path)).collect(),
            Value::String(text) => vec![text.clone()],
            Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
            Value::Null | Value::Object(_) => Vec::new(),
        };
    };
    match value {
        Value::Array(entries) if rest.is_empty() && entries.iter().any(|entry| entry.get("type").is_some()) => {
            let typed = entries.iter().filter(|entry| entry["type"] == **name);
            typed.flat_map(|entry| found(&entry["status"], rest)).collect()
        }
        Value::Array(entries) => entries.iter().flat_map(|entry| found(entry, path)).collect(),
        _ => value.get(name).map_or_else(Vec::new, |value| found(value, rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({
            "metadata": {"name": "fiber", "site": "rv-07", "labels": {"region": "west", "tier": "gold", "a.b/c": "x"}},
            "spec": {"slot": 1, "metered": false, "anchors": ["dal-a", "chi-a"], "endpoints": [{"port": 51820}]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Admitted", "status": "True"}]},
        })
    }

    #[test]
    fn labels_select_as_kubernetes_words_it() {
        for (text, selected) in [
            ("", true),
            ("region=west", true),
            ("region==west, tier = gold", true),
            ("region=east", false),
            ("region!=east", true),
            ("old!=yes", true),
            ("region in (east, west),tier notin (silver)", true),
            ("region in (east)", false),
            ("region notin (west)", false),
            ("tier", true),
            ("old", false),
            ("!old", true),
            ("!tier", false),
            ("a.b/c=x", true),
        ] {
            assert_eq!(Selector::labels(text).unwrap().selects(&object()), selected, "{text}");
        }
    }

    #[test]
    fn fields_select_by_value_by_entry_of_a_list_and_by_condition() {
        for (text, selected) in [
            ("metadata.site=rv-07", true),
            ("spec.slot=1,spec.metered=false", true),
            ("spec.slot!=1", false),
            ("spec.anchors=chi-a", true),
            ("spec.anchors!=chi-a", false),
            ("spec.endpoints.port=51820", true),
            ("spec.nothing=1", false),
            ("spec.nothing!=1", true),
            ("status.conditions.Ready=False", true),
            ("status.conditions.Ready=True", false),
            ("status.conditions.Loud!=True", true),
        ] {
            assert_eq!(Selector::fields(text).unwrap().selects(&object()), selected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_named_with_the_form() {
        for text in ["=west", "region=west,", "region in west", "region within (a)", "a b", "!", "re gion=x"] {
            assert!(Selector::labels(text).unwrap_err().to_string().contains("write LABEL=VALUE"), "{text}");
        }
        for text in ["spec.kind", "=x", "spec..kind=x", ",", "spec.kind in (a)"] {
            assert!(Selector::fields(text).unwrap_err().to_string().contains("write FIELD=VALUE"), "{text}");
        }
    }
}
