//! Canonical JSON and the content address of a plan fragment.
//!
//! Canonical here means: object keys sorted by code point, no insignificant whitespace, numbers as serde_json writes
//! them. Plans hold integers and strings only, so RFC 8785's number rules never come into play.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha2::{Digest, Sha256};

/// `value` as canonical JSON.
///
/// # Panics
/// Never for the types of this crate: their maps have string keys and no value refuses to serialize.
pub fn to_json<T: Serialize>(value: &T) -> String {
    let text = Text::default();
    let sorted = Sorted { text: text.clone(), objects: Vec::new() };
    value
        .serialize(&mut Serializer::with_formatter(text.clone(), sorted))
        .expect("types of this crate always serialize");
    String::from_utf8(text.0.take()).expect("JSON is UTF-8")
}

/// What is written, for the one who writes it and the one who sorts it.
#[derive(Clone, Default)]
struct Text(Rc<RefCell<Vec<u8>>>);

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorts the members of each object when it ends, so that field order in the source does not reach the hash. The way by a
/// `Value`, whose map is sorted, takes three times as long.
struct Sorted {
    text: Text,
    /// Of each object that has not ended, where its members begin.
    objects: Vec<Vec<Member>>,
}

/// From the quote before the key to the one behind it, and where the member ends.
#[derive(Clone, Copy)]
struct Member {
    begin: usize,
    key_end: usize,
    end: usize,
}

impl Sorted {
    fn at(&self) -> usize {
        self.text.0.borrow().len()
    }

    fn member(&mut self) -> Option<&mut Member> {
        self.objects.last_mut()?.last_mut()
    }
}

impl Formatter for Sorted {
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.objects.push(Vec::new());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        let begin = self.at();
        self.objects.last_mut().into_iter().for_each(|one| one.push(Member { begin, key_end: begin, end: begin }));
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let at = self.at();
        self.member().into_iter().for_each(|member| member.key_end = at);
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let at = self.at();
        self.member().into_iter().for_each(|member| member.end = at);
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let mut members = self.objects.pop().unwrap_or_default();
        if let (Some(first), text) = (members.first().copied(), &mut *self.text.0.borrow_mut()) {
            let written = text.split_off(first.begin);
            let piece = |from: usize, to: usize| &written[from - first.begin..to - first.begin];
            members.sort_by_cached_key(|member| key(piece(member.begin, member.key_end)));
            for (number, member) in members.iter().enumerate() {
                if number > 0 {
                    text.push(b',');
                }
                text.extend_from_slice(piece(member.begin, member.end));
            }
        }
        writer.write_all(b"}")
    }
}

/// What a key says that is written like this.
fn key(written: &[u8]) -> Vec<u8> {
    if written.contains(&b'\\') {
        return serde_json::from_slice::<String>(written).unwrap_or_default().into_bytes();
    }
    written[1..written.len() - 1].to_vec()
}

/// Lower-case hexadecimal SHA-256 of `bytes`: the name of a plan fragment.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::Value;

    #[test]
    fn keys_come_out_sorted_whatever_the_order_of_the_fields() {
        #[derive(serde::Serialize)]
        struct Unsorted {
            b: u8,
            a: u8,
        }
        assert_eq!(super::to_json(&Unsorted { b: 1, a: 2 }), r#"{"a":2,"b":1}"#);
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = || "[a-c\"\\\\ !\u{0}é]{0,4}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                btree_map(text(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The members of every object the other way round.
    struct Backwards<'a>(&'a Value);

    impl Serialize for Backwards<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                Value::Object(map) => serializer.collect_map(map.iter().rev().map(|(key, one)| (key, Backwards(one)))),
                Value::Array(list) => serializer.collect_seq(list.iter().map(Backwards)),
                leaf => leaf.serialize(serializer),
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_sorted_map_writes(value in json()) {
            prop_assert_eq!(super::to_json(&Backwards(&value)), value.to_string());
        }
    }
}
