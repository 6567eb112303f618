//! Reading a typed value out of a [`Node`], with an error that knows which field it speaks of.

use std::convert::Infallible;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Field, Node, Position, Step, Value};

/// What does not fit, and where. `path` leads to what would have to be taken out for the rest to be read.
#[derive(Debug)]
pub struct Mismatch {
    pub path: Vec<Step>,
    pub at: Option<Position>,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    UnknownField {
        name: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    MissingField(&'static str),
    Unfit {
        found: String,
        expected: String,
    },
    /// In the words of the type that refused the value.
    Refused(String),
}

impl Mismatch {
    fn new(what: What) -> Self {
        Mismatch { path: Vec::new(), at: None, what }
    }

    /// Gives the error its position, unless something further inside already did.
    fn or_at(mut self, at: Position) -> Self {
        self.at.get_or_insert(at);
        self
    }

    fn below(mut self, step: Step) -> Self {
        self.path.insert(0, step);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Mismatch::new(What::Refused(message.to_string()))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        Mismatch::new(What::Unfit { found: found_text(found), expected: expected_text(expected) })
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Mismatch::new(What::UnknownField { name: name.to_owned(), known })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Mismatch::new(What::UnknownWord { word: word.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Mismatch::new(What::MissingField(name))
    }
}

fn found_text(found: Unexpected) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(value) => format!("`{value}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// serde names what it wants by Rust types; people know numbers, text, lists and mappings.
fn expected_text(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a string" | "a borrowed string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "IP address" => "an IP address".to_owned(),
        "IPv4 network address" => "an IPv4 prefix such as 10.100.0.0/16".to_owned(),
        "IPv4 or IPv6 network address" => "an address with prefix length such as 172.16.7.0/24".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other if other.starts_with("enum ") => "one of its words".to_owned(),
        _ => text,
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(fields) => visitor.visit_map(Fields { fields: fields.iter(), current: None }),
        }
        .map_err(|error| error.or_at(self.at))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let expected = expected_text(&visitor as &dyn Expected);
        self.deserialize_any(visitor).map_err(|mut error| {
            // A parser of addresses says "invalid syntax": say which text, and what it should have been.
            if let (What::Refused(_), Value::Text(text)) = (&error.what, &self.value) {
                error.what = What::Unfit { found: format!("`{text}`"), expected };
            }
            error
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let variant = match &self.value {
            Value::Text(word) => Variant { word, at: self.at, content: None },
            Value::Map(fields) if fields.len() == 1 => {
                let Field { name, at, node } = &fields[0];
                Variant { word: name, at: *at, content: Some(node) }
            }
            _ => {
                let expected = format!("one of {}", words.join(", "));
                let found = match &self.value {
                    Value::Map(fields) => format!("a mapping with {} fields", fields.len()),
                    _ => return self.deserialize_any(Refuse(expected)).map(|never| match never {}),
                };
                return Err(Mismatch::new(What::Unfit { found, expected }).or_at(self.at));
            }
        };
        visitor.visit_enum(variant).map_err(|error| error.or_at(self.at))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Fits nothing: words the refusal of a value that no variant could be read from.
struct Refuse(String);

impl<'de> Visitor<'de> for Refuse {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a value; what its type refused only after reading it (`try_from`) stands where the value does.
fn read<'de, S: DeserializeSeed<'de>>(seed: S, node: &'de Node) -> Result<S::Value, Mismatch> {
    seed.deserialize(node).map_err(|error: Mismatch| error.or_at(node.at))
}

struct Items<'de>(std::slice::Iter<'de, (usize, Node)>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        read(seed, item).map(Some).map_err(|error| error.below(Step::Item(*index)))
    }
}

struct Fields<'de> {
    fields: std::slice::Iter<'de, Field>,
    current: Option<&'de Field>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        self.current = self.fields.next();
        let Some(field) = self.current else { return Ok(None) };
        let key = de::value::StrDeserializer::new(&field.name);
        seed.deserialize(key).map(Some).map_err(|e: Mismatch| e.or_at(field.at).below(Step::Field(field.name.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let field = self.current.ok_or_else(|| de::Error::custom("a value was read before its name"))?;
        read(seed, &field.node).map_err(|error| {
            // A missing field is missed where its parent's name stands, not where the parent's first field does.
            let error = match error.what {
                What::MissingField(_) if error.path.is_empty() => Mismatch { at: Some(field.at), ..error },
                _ => error,
            };
            error.below(Step::Field(field.name.clone()))
        })
    }
}

struct Variant<'de> {
    word: &'de str,
    at: Position,
    content: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mismatch> {
        let word = de::value::StrDeserializer::new(self.word);
        let value = seed.deserialize(word).map_err(|error: Mismatch| error.or_at(self.at))?;
        Ok((value, self))
    }
}

impl<'de> Variant<'de> {
    fn content(&self) -> Result<&'de Node, Mismatch> {
        let needed = || What::Refused(format!("`{0}` needs a value: write `{0}: …` below it", self.word));
        self.content.ok_or_else(|| Mismatch::new(needed()).or_at(self.at))
    }

    fn below(&self) -> impl Fn(Mismatch) -> Mismatch {
        let word = self.word.to_owned();
        move |error| error.below(Step::Field(word.clone()))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Mismatch::new(What::Refused(format!("`{0}` takes no value: write just `{0}`", self.word)))
                .or_at(self.at)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mismatch> {
        read(seed, self.content()?).map_err(self.below())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.content()?.deserialize_any(visitor).map_err(self.below())
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Mismatch> {
        self.content()?.deserialize_any(visitor).map_err(self.below())
    }
}
