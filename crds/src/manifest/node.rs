//! A YAML document as a tree in which every value and every key knows where it stands.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_saphyr::Spanned;

/// Where something stands in a file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 1 };
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        // serde-saphyr says 0 where it does not know.
        let from_one = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Position { line: from_one(location.line()), column: from_one(location.column()) }
    }
}

/// One step of a path into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// Index in the list as written, counting from 0.
    Item(usize),
}

/// `spec.match[0].ports`, as people read it.
pub fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text.push_str(&format!(".{name}")),
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The path that [`path_text`] wrote.
pub fn parse_path(text: &str) -> Vec<Step> {
    text.split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Step::Item(index),
            None => Step::Field(step.to_owned()),
        })
        .collect()
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Position,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    /// Each item with its index as written, which stays when another item is taken out.
    List(Vec<(usize, Node)>),
    Map(Vec<Field>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    /// Where the name stands.
    pub at: Position,
    pub node: Node,
}

impl Node {
    /// The field of this name, if this is a mapping that has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }

    /// The text of field `name`, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.field(name)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where `path` stands, or else its nearest parent that is there; and whether it is there itself.
    pub fn locate(&self, path: &[Step]) -> (Position, bool) {
        let (mut node, mut at) = (self, self.at);
        for (depth, step) in path.iter().enumerate() {
            let is_last = depth + 1 == path.len();
            let next = match (&node.value, step) {
                (Value::Map(_), Step::Field(name)) => node.field(name).map(|f| {
                    // A block below a name begins one line further: the name is what a person looks for.
                    let block = matches!(f.node.value, Value::Map(_) | Value::List(_));
                    (if is_last && !block { f.node.at } else { f.at }, &f.node)
                }),
                (Value::List(items), Step::Item(index)) => {
                    items.iter().find(|(i, _)| i == index).map(|(_, item)| (item.at, item))
                }
                _ => None,
            };
            match next {
                Some((position, child)) => (at, node) = (position, child),
                None => return (at, false),
            }
        }
        (at, true)
    }

    /// Takes out what stands at `path`; false if there is nothing (the root cannot be taken out).
    pub fn remove(&mut self, path: &[Step]) -> bool {
        match (&mut self.value, path) {
            (Value::Map(fields), [Step::Field(name), rest @ ..]) => {
                let Some(index) = fields.iter().position(|field| field.name == *name) else { return false };
                if rest.is_empty() {
                    fields.remove(index);
                    return true;
                }
                fields[index].node.remove(rest)
            }
            (Value::List(items), [Step::Item(number), rest @ ..]) => {
                let Some(index) = items.iter().position(|(i, _)| i == number) else { return false };
                if rest.is_empty() {
                    items.remove(index);
                    return true;
                }
                items[index].1.remove(rest)
            }
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { at: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// In the order in which it was read.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Signed(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items.iter().map(|(_, item)| item)),
            Value::Map(fields) => serializer.collect_map(fields.iter().map(|field| (&field.name, &field.node))),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push((items.len(), item));
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            fields.push(Field { name: key.value, at: key.referenced.into(), node });
        }
        Ok(Value::Map(fields))
    }
}
