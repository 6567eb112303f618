//! Manifests: YAML as people write it, read strictly and with errors that say where, what and how to put it right.
//!
//! A document is first read into a tree in which everything knows its line and column, then into the type of its
//! kind. What does not fit is noted, taken out of the tree, and the rest read again, so that one run names all that
//! is wrong. Ranges and rules of the kind itself ([`AnyObject::check`]) are looked at once every field can be read.

mod missing;
mod nearest;
mod node;
mod typed;

use std::fmt;

use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::meta::API_VERSION;
use crate::{AnyObject, Kind, schema};

pub use nearest::nearest;
use node::{Node, Position, Step, Value, parse_path, path_text};
use typed::{Mismatch, What};

/// An object and where its document begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    pub object: AnyObject,
    pub file: String,
    /// Counting from 1.
    pub line: u32,
}

/// Something wrong in a manifest. Displays as `FILE:LINE:COLUMN: FIELD: message (fix)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    pub file: String,
    /// Counting from 1.
    pub line: u32,
    /// Counting from 1.
    pub column: u32,
    /// Such as `spec.match[0].ports`; empty when the error is the document's.
    pub field: String,
    pub message: String,
    /// What to do about it, where the message does not say so itself.
    pub fix: Option<String>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ManifestError { file, line, column, field, message, fix } = self;
        write!(f, "{file}:{line}:{column}: ")?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)?;
        match fix {
            Some(fix) => write!(f, " ({fix})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ManifestError {}

/// The objects in `text`, which is YAML (or JSON) of any number of documents; empty documents are skipped. `file` is
/// what errors call it.
///
/// # Errors
/// Everything that is wrong, in the order of the lines. A document that is not YAML ends the reading.
pub fn parse(text: &str, file: &str) -> Result<Vec<Located>, Vec<ManifestError>> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        // Values that come from elsewhere in the file would be reported at the wrong place.
        merge_keys: MergeKeyPolicy::Error,
        // `no` is a name like any other.
        strict_booleans: true,
        with_snippet: false,
    };
    let mut reader = text.as_bytes();
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Node>(&mut reader, options) {
        let result = match document {
            Ok(node) => read(&node).map(|object| Located { object, file: file.to_owned(), line: node.at.line }),
            Err(error) => Err(vec![not_yaml(&error)]),
        };
        match result {
            Ok(object) => objects.push(object),
            Err(found) => errors.extend(found.into_iter().map(|finding| finding.into_error(file))),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

/// The object as one YAML document, with whatever the server added.
///
/// # Panics
/// Never: the types of this crate have text as keys, and nothing in them refuses to be written.
pub fn to_yaml(object: &AnyObject) -> String {
    // Written as it is, an empty list in a variant (`static: {gateways: []}`) comes out where no reader takes it. So
    // serde-saphyr is given a tree of nothing but mappings and lists, in the same order.
    let json = serde_json::to_string(object).expect("objects always serialize");
    let tree: Node = serde_saphyr::from_str(&escaped(&json)).expect("escaped JSON is YAML");
    serde_saphyr::to_string(&tree).expect("trees always serialize")
}

/// JSON as YAML reads it, whatever people call things: it takes some characters, such as U+0085, only if they are escaped.
fn escaped(json: &str) -> String {
    let mut yaml = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => yaml.push(character),
            // Only inside of quotes is there anything else.
            other => yaml.push_str(&format!("\\U{:08x}", u32::from(other))),
        }
    }
    yaml
}

struct Finding {
    at: Position,
    path: Vec<Step>,
    message: String,
    fix: Option<String>,
}

impl Finding {
    fn into_error(self, file: &str) -> ManifestError {
        ManifestError {
            file: file.to_owned(),
            line: self.at.line,
            column: self.at.column,
            field: path_text(&self.path),
            message: self.message,
            fix: self.fix,
        }
    }
}

fn finding(at: Position, path: &[&str], message: String, fix: String) -> Finding {
    let path = path.iter().map(|name| Step::Field((*name).to_owned())).collect();
    Finding { at, path, message, fix: Some(fix) }
}

fn not_yaml(error: &serde_saphyr::Error) -> Finding {
    let at = error.location().map_or(Position::START, Position::from);
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error.without_snippet() {
        return finding(at, &[], format!("`{key}` is given twice"), "remove one".to_owned());
    }
    // serde-saphyr ends its text with the position, which we give ourselves.
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message).trim_end_matches(':');
    finding(at, &[], format!("cannot be read as YAML: {message}"), "check indentation, colons and quotes".to_owned())
}

/// The object in `document`, or everything that is wrong with it.
fn read(document: &Node) -> Result<AnyObject, Vec<Finding>> {
    let kind = read_kind(document).map_err(|finding| vec![finding])?;
    let mut rest = document.clone();
    let mut found = refuse_what_the_server_writes(&mut rest);
    found.extend(check_version(document));
    let mut is_whole = true;
    let object = loop {
        match AnyObject::of_kind(kind, &rest) {
            Ok(object) => break Some(object),
            Err(mismatch) => {
                is_whole = false;
                let unfit = mismatch.path.clone();
                found.extend(describe(mismatch, document));
                if !rest.remove(&unfit) {
                    break None;
                }
            }
        }
    };
    if !is_whole {
        for path in missing::missing(&schema::of_kind(kind).to_value(), document) {
            if found.iter().all(|finding| finding.path != path) {
                found.push(is_missing(document, path));
            }
        }
    }
    for (path, message) in object.iter().flat_map(AnyObject::check) {
        let path = parse_path(&path);
        let (at, is_there) = document.locate(&path);
        // What is said of an absent field may only follow from what was taken out above.
        if is_whole || is_there {
            found.push(Finding { at, path, message, fix: None });
        }
    }
    found.sort_by_key(|finding| finding.at);
    match object {
        Some(object) if found.is_empty() => Ok(object),
        _ => Err(found),
    }
}

fn read_kind(document: &Node) -> Result<Kind, Finding> {
    let names = Kind::ALL.map(Kind::name);
    if !matches!(document.value, Value::Map(_)) {
        let message = "a manifest is a mapping".to_owned();
        return Err(finding(document.at, &[], message, "write apiVersion, kind, metadata and spec".to_owned()));
    }
    let Some(word) = document.text("kind") else {
        let (at, _) = document.locate(&[Step::Field("kind".to_owned())]);
        return Err(finding(at, &["kind"], "is missing".to_owned(), format!("write one of {}", names.join(", "))));
    };
    Kind::ALL.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
        let (at, _) = document.locate(&[Step::Field("kind".to_owned())]);
        finding(at, &["kind"], format!("`{word}` is not a kind"), did_you_mean(word, &names, "kinds are"))
    })
}

fn check_version(document: &Node) -> Option<Finding> {
    let version = document.text("apiVersion").filter(|version| *version != API_VERSION)?;
    let (at, _) = document.locate(&[Step::Field("apiVersion".to_owned())]);
    Some(finding(
        at,
        &["apiVersion"],
        format!("`{version}` is not a version this program reads"),
        format!("write {API_VERSION}"),
    ))
}

/// Takes out `status` and `metadata.resourceVersion`, which an object from the API has and a manifest must not.
fn refuse_what_the_server_writes(document: &mut Node) -> Vec<Finding> {
    let mut found = Vec::new();
    for names in [&["status"][..], &["metadata", "resourceVersion"]] {
        let path: Vec<Step> = names.iter().map(|name| Step::Field((*name).to_owned())).collect();
        let (at, _) = document.locate(&path);
        if document.remove(&path) {
            found.push(finding(at, names, "is written by the server alone".to_owned(), "remove it".to_owned()));
        }
    }
    found
}

fn is_missing(document: &Node, path: Vec<Step>) -> Finding {
    let (at, _) = document.locate(&path);
    Finding { at, path, message: "is missing".to_owned(), fix: Some("add it".to_owned()) }
}

/// Mismatches in people's words; none for a field that is only missing because it was taken out.
fn describe(Mismatch { mut path, at, what }: Mismatch, document: &Node) -> Option<Finding> {
    let at = at.unwrap_or_else(|| document.locate(&path).0);
    let (message, fix) = match what {
        What::MissingField(name) => {
            path.push(Step::Field(name.to_owned()));
            return (!document.locate(&path).1).then(|| is_missing(document, path));
        }
        What::UnknownField { name, known } => {
            let known: Vec<&str> =
                known.iter().copied().filter(|name| !["status", "resourceVersion"].contains(name)).collect();
            (format!("unknown field `{name}`"), Some(did_you_mean(&name, &known, "fields here are")))
        }
        What::UnknownWord { word, known } => {
            (format!("`{word}` is not known here"), Some(did_you_mean(&word, known, "words here are")))
        }
        What::Unfit { found, expected } => {
            let fix = match expected.as_str() {
                "text" if !found.starts_with("a ") && found != "nothing" => Some("put it in quotes".to_owned()),
                _ if found == "nothing" => Some("give it a value or remove it".to_owned()),
                _ => None,
            };
            (format!("found {found} where {expected} is needed"), fix)
        }
        What::Refused(message) => (message, None),
    };
    Some(Finding { at, path, message, fix })
}

fn did_you_mean(word: &str, known: &[&str], introduction: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("{introduction} {}", known.join(", ")),
    }
}
