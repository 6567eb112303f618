//! `explain`: what a kind or a field of it means, by the schema of the types that manifests are read into.

use std::io::Write;

use pathsteer_crds::schema::Part;
use pathsteer_crds::{manifest, schema};

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
    let mut part = Part::whole(&root);
    let mut walked = kind.name().to_lowercase();
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let fields = part.fields();
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let Some((_, next)) = fields.into_iter().find(|(known, _)| *known == name) else {
            let fix = match (manifest::nearest(name, names.iter().copied()), names.is_empty()) {
                (Some(meant), _) => format!("did you mean `{walked}.{meant}`?"),
                (None, false) => format!("it has {}", names.join(", ")),
                (None, true) => format!("it has no fields: it is {}", part.shape()),
            };
            return Err(Failure::Usage(format!("`{walked}` has no field `{name}`: {fix}")));
        };
        part = next;
        walked = format!("{walked}.{name}");
    }
    Ok(out.write_all(text(&part, &walked).as_bytes())?)
}

fn text(part: &Part, name: &str) -> String {
    let mut text = format!("{name}: {}\n", part.headline());
    text.push_str(&filled(part.description(), "  "));
    let choices = part.choices().unwrap_or_default();
    for choice in &choices {
        let more = if choice.holds.is_some() { ": …" } else { "" };
        text.push_str(&format!("\n{}{more}\n{}", choice.name, filled(choice.meaning, "    ")));
    }
    let fields: Vec<_> =
        part.fields().into_iter().filter(|(name, _)| !choices.iter().any(|choice| choice.name == *name)).collect();
    if !fields.is_empty() {
        text.push_str("\nFields:\n");
    }
    for (name, field) in fields {
        let must = if part.requires(name) { " (required)" } else { "" };
        text.push_str(&format!("  {name}{must}: {}\n{}", field.headline(), filled(field.description(), "      ")));
    }
    text
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

    #[test]
    fn choices_lead_to_what_they_hold() {
        assert!(told("uplink.spec.address").contains("\nstatic: …\n    Fixed addresses and default gateways.\n"));
        assert!(
            told("uplink.spec.address.static.gateways").starts_with("uplink.spec.address.static.gateways: list of")
        );
        assert!(told("uplink.spec.address.dhcp").ends_with("has no field `dhcp`: it has static"));
    }

    /// Every field of every kind, at any depth.
    fn each(part: &Part, walked: &str, look: &mut dyn FnMut(&str, &Part)) {
        look(walked, part);
        for (name, field) in part.fields() {
            each(&field, &format!("{walked}.{name}"), look);
        }
    }

    #[test]
    fn every_field_of_every_kind_is_explained() {
        let (mut seen, mut unexplained) = (0, Vec::new());
        for kind in Kind::ALL {
            let root = schema::of_kind(kind).to_value();
            each(&Part::whole(&root), kind.name(), &mut |walked, part| {
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
