//! The manifest reference: a page for each kind with every field of its spec, and one for what all kinds share. Written
//! from the schemas, so that it says what the reader of manifests does.

use std::collections::BTreeMap;

use crate::Kind;
use crate::schema::{self, Part};

/// Columns of a page.
const WIDTH: usize = 120;
const NOTE: &str = "<!-- Generated from the types by `make schemas`: change the comments there. -->";
const SHARED: &str = "README.md";
const REQUIRED: &str = "required";
const OPTIONAL: &str = "optional";

/// Name of the file in `docs/reference/` to the page it holds.
pub fn files() -> BTreeMap<String, String> {
    let kinds = Kind::ALL.map(|kind| (file(kind), page(kind)));
    kinds.into_iter().chain([(SHARED.to_owned(), shared())]).collect()
}

fn file(kind: Kind) -> String {
    format!("{}.md", kind.name().to_lowercase())
}

fn page(kind: Kind) -> String {
    let root = schema::of_kind(kind).to_value();
    let spec = field(Part::whole(&root), "spec");
    let description = spec.as_ref().map_or("", Part::description);
    let named = match kind.is_sited() {
        true => "Its `metadata` names the `site` it belongs to, and it is called SITE/NAME.",
        false => "Its `metadata` has no `site`.",
    };
    let mut text = format!("# {kind}\n\n{NOTE}\n\n{description}\n\n");
    let more = format!(
        "{named} Otherwise `metadata` and `status` are the [same for all kinds]({SHARED}). `pathsteer explain {}.spec.FIELD` says \
         what this page does.",
        kind.name().to_lowercase()
    );
    filled(&mut text, "", &more);
    spec.iter().for_each(|spec| fields(spec, "spec", &mut text));
    text
}

/// What every kind has: the kinds, and the fields outside of their specs.
fn shared() -> String {
    let mut text = format!(
        "# Manifests\n\n{NOTE}\n\nA manifest is YAML or JSON; a file may hold several, separated by `---`. A field that is \
         not known is a mistake,\nand the nearest that is known is named. Each kind has a page:\n\n"
    );
    for kind in Kind::ALL {
        let root = schema::of_kind(kind).to_value();
        let spec = field(Part::whole(&root), "spec");
        let first = spec.as_ref().map_or("", Part::description).split("\n\n").next().unwrap_or_default();
        let first = first.split(". ").next().unwrap_or_default().trim_end_matches('.');
        filled(&mut text, &format!("- [{kind}]({}): ", file(kind)), first);
    }
    text.push_str(
        "\nWhat they share. The reasons of conditions are explained in [troubleshooting](../troubleshooting.md).\n",
    );
    // A kind that belongs to a site has every field there is; what differs between kinds is said in words.
    let root = schema::of_kind(Kind::Uplink).to_value();
    for (name, part) in Part::whole(&root).fields() {
        match name {
            "spec" => {}
            "kind" => text.push_str("\n### `kind`\n\none of the kinds above; required\n"),
            _ => {
                entry(name, &part, if name == "status" { OPTIONAL } else { REQUIRED }, &mut text);
                fields(&part, name, &mut text);
            }
        }
    }
    text
}

fn field<'a>(part: Part<'a>, name: &str) -> Option<Part<'a>> {
    part.fields().into_iter().find(|(known, _)| *known == name).map(|(_, field)| field)
}

/// Every field below `part`, at any depth.
fn fields(part: &Part, path: &str, text: &mut String) {
    let choices = part.choices().unwrap_or_default();
    for (name, field) in part.fields() {
        let own = format!("{path}.{name}");
        let need = if choices.iter().any(|choice| choice.name == name) {
            format!("a choice of `{path}`")
        } else if own == "metadata.site" {
            "as the kind says".to_owned()
        } else {
            let need = if part.requires(name) { REQUIRED } else { OPTIONAL };
            field.default().map_or_else(|| need.to_owned(), |default| format!("default {default}"))
        };
        entry(&own, &field, &need, text);
        fields(&field, &own, text);
    }
}

fn entry(path: &str, part: &Part, need: &str, text: &mut String) {
    text.push_str(&format!("\n### `{path}`\n\n"));
    let pattern = part.pattern().map_or_else(String::new, |pattern| format!(", matches `{pattern}`"));
    filled(text, "", &format!("{}{pattern}; {need}", part.shape()));
    if !part.description().is_empty() {
        text.push('\n');
        filled(text, "", part.description());
    }
    let choices = part.choices().unwrap_or_default();
    if !choices.is_empty() {
        text.push('\n');
    }
    for choice in choices {
        let more = if choice.holds.is_some() { ": …" } else { "" };
        filled(text, &format!("- `{}{more}`: ", choice.name), choice.meaning);
    }
}

/// Adds `words` in lines that fit, the first one after `begin`, the others below it.
fn filled(text: &mut String, begin: &str, words: &str) {
    let margin = if begin.is_empty() { "" } else { "  " };
    let mut line = begin.trim_end().to_owned();
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = format!("{margin}{word}");
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    text.push_str(&line);
    text.push('\n');
}
