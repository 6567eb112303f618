//! `explain`: what a kind or a field of it means, by the schema of the types that manifests are read into.

use std::io::Write;

use pathsteer_crds::{manifest, schema};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::object;

/// Columns of text, as a terminal has at least.
const WIDTH: usize = 80;

/// Explains `words`: `KIND` or `KIND.FIELD.FIELD`.
///
/// # Errors
/// A kind or a field there is not, with the nearest there is.
pub fn explain(words: &str, out: &mut dyn Write) -> Result<(), Failure> {
    // Of a kind by itself people want to know what can be declared.
    let (kind, path) = words.split_once('.').unwrap_or((words, "spec"));
    let (kind, _) = object::parse(kind, None)?;
    let root = schema::of_kind(kind).to_value();
    let mut part = Part::of(&root, &root);
    let mut walked = kind.name().to_lowercase();
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let fields = part.fields();
        let Some((_, next)) = fields.iter().find(|(known, _)| known.as_str() == name) else {
            let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let fix = match (manifest::nearest(name, names.iter().copied()), names.is_empty()) {
                (Some(meant), _) => format!("did you mean `{walked}.{meant}`?"),
                (None, false) => format!("it has {}", names.join(", ")),
                (None, true) => format!("it has no fields: it is {}", part.shape()),
            };
            return Err(Failure::Usage(format!("`{walked}` has no field `{name}`: {fix}")));
        };
        part = Part::of(&root, next);
        walked = format!("{walked}.{name}");
    }
    Ok(out.write_all(part.text(&walked).as_bytes())?)
}

/// A part of a schema, seen through references and through "or nothing".
struct Part<'a> {
    root: &'a Value,
    /// What says something about it, what stands nearest first.
    said: Vec<&'a Map<String, Value>>,
}

impl<'a> Part<'a> {
    fn of(root: &'a Value, schema: &'a Value) -> Part<'a> {
        let mut said = Vec::new();
        let mut next = schema.as_object();
        while let Some(schema) = next {
            said.push(schema);
            let refered = schema.get("$ref").and_then(Value::as_str);
            let refered = refered.and_then(|to| root.pointer(to.trim_start_matches('#')));
            let mut any = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
            next = refered.or_else(|| any.find(|one| one["type"] != "null")).and_then(Value::as_object);
        }
        Part { root, said }
    }

    fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.said.iter().find_map(|schema| schema.get(keyword))
    }

    /// Of an object, or of what a list consists of.
    fn fields(&self) -> Vec<(&'a String, &'a Value)> {
        if let Some(items) = self.get("items") {
            return Part::of(self.root, items).fields();
        }
        let known = self.get("properties").and_then(Value::as_object);
        let mut fields: Vec<_> = known.into_iter().flatten().collect();
        // What has to be written comes first.
        fields.sort_by_key(|(name, _)| !self.requires(name));
        fields
    }

    fn requires(&self, name: &str) -> bool {
        let object =
            self.get("items").map_or_else(|| self.get("required"), |items| Part::of(self.root, items).get("required"));
        object.and_then(Value::as_array).is_some_and(|required| required.iter().any(|one| one == name))
    }

    /// What it may be, in a few words.
    fn shape(&self) -> String {
        if let Some(value) = self.get("const") {
            return plain(value);
        }
        if let Some(words) = self.get("enum").and_then(Value::as_array) {
            return format!("one of {}", words.iter().map(plain).collect::<Vec<_>>().join(", "));
        }
        if let Some(choices) = self.choices() {
            return format!("one of {}", choices.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "));
        }
        if let Some(items) = self.get("items") {
            return format!("list of {}", Part::of(self.root, items).shape());
        }
        let kind = self.get("type").map(|kind| match kind {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").map_or_else(String::new, plain),
            kind => plain(kind),
        });
        let range = match (self.number("minimum"), self.number("maximum")) {
            (Some(least), Some(most)) => format!(", {least} to {most}"),
            (Some(least), None) if least != "0" => format!(", at least {least}"),
            _ => String::new(),
        };
        format!("{}{range}", kind.unwrap_or_else(|| "anything".to_owned()))
    }

    fn number(&self, keyword: &str) -> Option<String> {
        self.get(keyword).map(plain)
    }

    /// Words, or objects with one field, each with what it means.
    fn choices(&self) -> Option<Vec<(String, &'a str)>> {
        let choices = self.get("oneOf")?.as_array()?;
        let name = |choice: &Value| {
            choice.get("const").map(plain).or_else(|| choice["required"][0].as_str().map(|field| format!("{field}: …")))
        };
        let named =
            choices.iter().filter_map(|choice| Some((name(choice)?, choice["description"].as_str().unwrap_or(""))));
        Some(named.collect())
    }

    /// Shape and default.
    fn headline(&self) -> String {
        match self.get("default").filter(|default| !matches!(default, Value::Null | Value::Object(_))) {
            Some(default) if *default != Value::Array(Vec::new()) => {
                format!("{}; default {}", self.shape(), plain(default))
            }
            _ => self.shape(),
        }
    }

    fn description(&self) -> &'a str {
        self.get("description").and_then(Value::as_str).unwrap_or("")
    }

    fn text(&self, name: &str) -> String {
        let mut text = format!("{name}: {}\n", self.headline());
        text.push_str(&filled(self.description(), "  "));
        for (choice, meaning) in self.choices().into_iter().flatten() {
            text.push_str(&format!("\n{choice}\n{}", filled(meaning, "    ")));
        }
        let fields = self.fields();
        if !fields.is_empty() {
            text.push_str("\nFields:\n");
        }
        for (name, field) in fields {
            let must = if self.requires(name) { " (required)" } else { "" };
            let field = Part::of(self.root, field);
            text.push_str(&format!("  {name}{must}: {}\n{}", field.headline(), filled(field.description(), "      ")));
        }
        text
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Paragraphs of `text` in lines that fit, each after `margin`. What is fenced stays as it is.
fn filled(text: &str, margin: &str) -> String {
    let options = textwrap::Options::new(WIDTH).initial_indent(margin).subsequent_indent(margin);
    let mut filled = String::new();
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 1 {
            // its first word is the language
            let lines = part.lines().skip(1).map(|line| format!("{margin}  {line}\n"));
            filled.extend(lines);
            continue;
        }
        for paragraph in part.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        {
            if !paragraph.is_empty() {
                filled.push_str(&textwrap::fill(&paragraph, &options));
                filled.push('\n');
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use pathsteer_crds::Kind;

    fn told(words: &str) -> String {
        let mut out = Vec::new();
        match explain(words, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn a_field_is_told_with_its_range_its_default_and_what_it_means() {
        insta::assert_snapshot!(told("uplink.spec.cost"), @r"
        uplink.spec.cost: integer, 0 to 65535; default 100
          Preference: the lowest cost is the active path, equal costs go by slot. 0 to
          65,535; default 100.
        ");
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_nearest() {
        assert_eq!(told("uplink.spec.costs"), "`uplink.spec` has no field `costs`: did you mean `uplink.spec.cost`?");
        assert!(told("uplink.spec.cost.more").ends_with("it has no fields: it is integer, 0 to 65535"));
        assert!(told("uplonk").contains("did you mean `uplink`?"));
    }

    #[test]
    fn lists_lead_to_what_they_consist_of() {
        assert!(told("trafficpolicy.spec.match.ports").starts_with("trafficpolicy.spec.match.ports: list of string"));
    }

    /// Every field of every kind, at any depth.
    fn each(part: &Part, walked: &str, look: &mut dyn FnMut(&str, &Part)) {
        look(walked, part);
        for (name, field) in part.fields() {
            each(&Part::of(part.root, field), &format!("{walked}.{name}"), look);
        }
    }

    #[test]
    fn every_field_of_every_kind_is_explained() {
        let (mut seen, mut unexplained) = (0, Vec::new());
        for kind in Kind::ALL {
            let root = schema::of_kind(kind).to_value();
            each(&Part::of(&root, &root), kind.name(), &mut |walked, part| {
                seen += 1;
                if part.description().is_empty() || part.shape() == "anything" {
                    unexplained.push(format!("{walked}: {}", part.shape()));
                }
            });
        }
        assert!(seen > 100, "only {seen} fields were looked at");
        assert!(unexplained.is_empty(), "{unexplained:#?}");
    }
}
