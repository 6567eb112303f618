//! `get` and `plan`: objects and plans as tables, YAML or JSON.

use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::plan::NodePlan;
use serde_json::Value;

use crate::args::{ObjectWords, Output, PlanOutput};
use crate::client::Client;
use crate::columns;
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::object::{self, ObjectId};
use crate::table;

pub async fn get(
    client: &mut Client,
    words: &ObjectWords,
    output: Output,
    selector: &[String],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let labels = parse_selector(selector)?;
    let (kind, key) = object::parse(&words.kind, words.name.as_deref())?;
    let is_one = key.is_some();
    let mut entries = match key {
        Some(key) => vec![entry::get(client, &ObjectId { kind, key }).await?],
        None => entry::list(client, kind).await?,
    };
    entries.retain(|entry| entry.has_labels(&labels));
    let colour = table::wants_colour();
    Ok(out.write_all(render(kind, &entries, output, is_one, colour).as_bytes())?)
}

fn render(kind: Kind, entries: &[Entry], output: Output, is_one: bool, colour: bool) -> String {
    match output {
        Output::Table if entries.is_empty() => format!("there are no {}\n", kind.plural()),
        Output::Table => columns::table(kind, entries).render(colour),
        Output::Name => entries.iter().map(|entry| format!("{}\n", entry.id)).collect(),
        Output::Yaml => entries.iter().map(Entry::yaml).collect::<Vec<_>>().join("---\n"),
        Output::Json if is_one => entries.iter().map(|entry| format!("{}\n", entry.json())).collect(),
        Output::Json => {
            let items: Vec<String> = entries.iter().map(|entry| indented(&entry.json(), 4)).collect();
            match items.is_empty() {
                true => "{\n  \"items\": []\n}\n".to_owned(),
                false => format!("{{\n  \"items\": [\n{}\n  ]\n}}\n", items.join(",\n")),
            }
        }
    }
}

/// `text` with every line moved right.
pub fn indented(text: &str, spaces: usize) -> String {
    let margin = " ".repeat(spaces);
    text.trim_end().lines().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}

fn parse_selector(selector: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let part = |part: &String| match part.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::Usage(format!("`{part}` selects nothing: write LABEL=VALUE"))),
    };
    selector.iter().map(part).collect()
}

/// The plan compiled for a node, with everything in the order the compiler gave it.
pub async fn plan(client: &mut Client, node: &str, output: PlanOutput, out: &mut dyn Write) -> Result<(), Failure> {
    // A node is named like the Site or Anchor it is.
    let id = object::parse_one("site", Some(node))?;
    let plan: Value = client.get(&format!("/v1/plans/{}", id.key)).await?;
    // By the type where it fits, for its order of fields; else as it is, so that no version hides a plan.
    let text = match (serde_json::from_value::<NodePlan>(plan.clone()), output) {
        (Ok(plan), PlanOutput::Yaml) => serde_saphyr::to_string(&plan).expect("plans always serialize"),
        (Err(_), PlanOutput::Yaml) => serde_saphyr::to_string(&plan).expect("JSON can always be written as YAML"),
        (Ok(plan), PlanOutput::Json) => format!("{}\n", serde_json::to_string_pretty(&plan).expect("as above")),
        (Err(_), PlanOutput::Json) => format!("{plan:#}\n"),
    };
    Ok(out.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;
    use pathsteer_crds::manifest;

    #[test]
    fn names_are_one_a_line_in_the_form_every_command_takes() {
        let entries = [samples::site(7, "True", "Verified", "")];
        assert_eq!(render(Kind::Site, &entries, Output::Name, false, false), "site/rv-07\n");
    }

    #[test]
    fn json_is_one_object_or_a_list_of_them() {
        let entries = [samples::site(7, "True", "Verified", "")];
        let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let one = parse(render(Kind::Site, &entries, Output::Json, true, false));
        let list = parse(render(Kind::Site, &entries, Output::Json, false, false));
        assert_eq!(one["metadata"]["name"], "rv-07");
        assert_eq!(list["items"], Value::Array(vec![one]));
        assert_eq!(parse(render(Kind::Site, &[], Output::Json, false, false))["items"], Value::Array(vec![]));
    }

    #[test]
    fn yaml_is_a_manifest_again_but_for_what_the_server_wrote() {
        let entries = [samples::site(7, "True", "Verified", ""), samples::site(7, "True", "Verified", "")];
        let errors = manifest::parse(&render(Kind::Site, &entries, Output::Yaml, false, false), "f").unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["metadata.resourceVersion", "status", "metadata.resourceVersion", "status"]);
    }

    #[test]
    fn a_selector_needs_a_label_and_a_value() {
        let parse = |text: &str| parse_selector(&[text.to_owned()]);
        assert_eq!(parse("region=west").unwrap(), [("region".to_owned(), "west".to_owned())]);
        assert!(parse("region").is_err() && parse("=west").is_err());
    }
}
