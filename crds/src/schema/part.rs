//! A part of a schema as people read it: what it may be, what it means, which fields it has.

use serde_json::{Map, Value};

/// A part of a schema, seen through references and through "or nothing".
pub struct Part<'a> {
    root: &'a Value,
    /// What says something about it, what stands nearest first.
    said: Vec<&'a Map<String, Value>>,
    /// Of a choice: the schema says what it means beside it and not in it.
    meaning: Option<&'a str>,
}

/// One of several words, or objects with one field, that a part may be.
pub struct Choice<'a> {
    /// The word, or the name of the field.
    pub name: String,
    pub meaning: &'a str,
    /// What that field holds; None for a word.
    pub holds: Option<Part<'a>>,
}

impl<'a> Part<'a> {
    /// All that `root` describes.
    pub fn whole(root: &'a Value) -> Part<'a> {
        Part::of(root, root)
    }

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
        Part { root, said, meaning: None }
    }

    fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.said.iter().find_map(|schema| schema.get(keyword))
    }

    fn items(&self) -> Option<Part<'a>> {
        self.get("items").map(|items| Part::of(self.root, items))
    }

    /// The fields of an object, of what a list consists of, or of the choices that have one. What has to be written comes
    /// first.
    pub fn fields(&self) -> Vec<(&'a str, Part<'a>)> {
        if let Some(items) = self.items() {
            return items.fields();
        }
        let known = self.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut fields: Vec<_> = known.map(|(name, field)| (name.as_str(), Part::of(self.root, field))).collect();
        fields.sort_by_key(|(name, _)| !self.requires(name));
        let choices = self.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        fields.extend(choices.filter_map(|choice| self.branch(choice)));
        fields
    }

    /// Whether an object without the field `name` is refused.
    pub fn requires(&self, name: &str) -> bool {
        if let Some(items) = self.items() {
            return items.requires(name);
        }
        self.get("required").and_then(Value::as_array).is_some_and(|required| required.iter().any(|one| one == name))
    }

    /// What it may be, in a few words.
    pub fn shape(&self) -> String {
        if let Some(value) = self.get("const") {
            return plain(value);
        }
        if let Some(words) = self.get("enum").and_then(Value::as_array) {
            return format!("one of {}", words.iter().map(plain).collect::<Vec<_>>().join(", "));
        }
        if let Some(choices) = self.choices() {
            let name = |choice: &Choice| format!("{}{}", choice.name, if choice.holds.is_some() { ": …" } else { "" });
            return format!("one of {}", choices.iter().map(name).collect::<Vec<_>>().join(", "));
        }
        if let Some(items) = self.items() {
            let most = self.number("maxItems").map_or_else(String::new, |most| format!(", at most {most}"));
            return format!("list of {}{most}", items.shape());
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

    /// The regular expression that a string matches.
    pub fn pattern(&self) -> Option<&'a str> {
        self.get("pattern").and_then(Value::as_str)
    }

    /// The choices there are, if it is one of several.
    pub fn choices(&self) -> Option<Vec<Choice<'a>>> {
        let choices = self.get("oneOf")?.as_array()?;
        let named = choices.iter().filter_map(|choice| {
            let meaning = choice["description"].as_str().unwrap_or("");
            let (name, holds) = match (choice.get("const"), self.branch(choice)) {
                (Some(word), _) => (plain(word), None),
                (None, branch) => branch.map(|(name, holds)| (name.to_owned(), Some(holds)))?,
            };
            Some(Choice { name, meaning, holds })
        });
        Some(named.collect())
    }

    /// The one field of a choice that is an object.
    fn branch(&self, choice: &'a Value) -> Option<(&'a str, Part<'a>)> {
        let name = choice["required"][0].as_str()?;
        let part = Part::of(self.root, &choice["properties"][name]);
        Some((name, Part { meaning: choice["description"].as_str(), ..part }))
    }

    /// What it is if it is left out; None: nothing, or nothing worth a word.
    pub fn default(&self) -> Option<String> {
        let default = self.get("default").filter(|default| !matches!(default, Value::Null | Value::Object(_)))?;
        match default {
            Value::Array(all) if all.is_empty() => None,
            Value::Array(all) => Some(all.iter().map(plain).collect::<Vec<_>>().join(", ")),
            one => Some(plain(one)),
        }
    }

    /// Shape and default.
    pub fn headline(&self) -> String {
        match self.default() {
            Some(default) => format!("{}; default {default}", self.shape()),
            None => self.shape(),
        }
    }

    /// What it means, for people; empty where nobody has said it.
    pub fn description(&self) -> &'a str {
        self.meaning.or_else(|| self.get("description").and_then(Value::as_str)).unwrap_or("")
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
