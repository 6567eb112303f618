//! `get`: objects as tables, YAML or JSON, once or as they change.

use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::api::{WatchChange, WatchLine};
use serde_json::Value;

use crate::args::{ObjectWords, Output, Selection};
use crate::client::Client;
use crate::columns;
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::object::{self, ObjectId};
use crate::table::{self, Cell, Tone};
use crate::{paths, query};

pub async fn get(
    client: &mut Client,
    words: &ObjectWords,
    output: Output,
    selection: &Selection,
    watch: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if ["path", "paths"].contains(&words.kind.to_ascii_lowercase().as_str()) {
        if watch {
            return Err(Failure::Usage("paths cannot be watched: see `pathsteer events --follow`".to_owned()));
        }
        return paths::get(client, words.name.as_deref(), output, out).await;
    }
    let (kind, key) = object::parse(&words.kind, words.name.as_deref())?;
    let is_one = key.is_some();
    if is_one && (!selection.selector.is_empty() || !selection.field_selector.is_empty()) {
        return Err(Failure::Usage(
            "an object that is named is not selected: leave out the name or the selector".into(),
        ));
    }
    if watch && matches!(output, Output::Json) {
        return Err(Failure::Usage("what goes on is no JSON document: use -o jsonl".to_owned()));
    }
    let (entries, revision) = match &key {
        Some(key) => {
            let entry = entry::get(client, &ObjectId { kind, key: key.clone() }).await?;
            let revision = entry.revision();
            (vec![entry], revision)
        }
        None => entry::select(client, kind, selection).await?,
    };
    let colour = table::wants_colour();
    out.write_all(render(kind, &entries, output, is_one, colour).as_bytes())?;
    match watch {
        true => follow(client, Following { kind, key, entries, output, colour }, selection, revision, out).await,
        false => Ok(()),
    }
}

fn render(kind: Kind, entries: &[Entry], output: Output, is_one: bool, colour: bool) -> String {
    match output {
        Output::Table | Output::Wide if entries.is_empty() => format!("there are no {}\n", kind.plural()),
        Output::Table | Output::Wide => columns::table(kind, entries, output == Output::Wide).render(colour),
        Output::Name => entries.iter().map(|entry| format!("{}\n", entry.id)).collect(),
        Output::Yaml => entries.iter().map(Entry::yaml).collect::<Vec<_>>().join("---\n"),
        Output::Jsonl => entries.iter().map(|entry| format!("{}\n", entry.json_line())).collect(),
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

/// What is followed, and how it is shown.
struct Following {
    kind: Kind,
    /// One object alone.
    key: Option<String>,
    /// What has been shown so far: the table keeps its widths.
    entries: Vec<Entry>,
    output: Output,
    colour: bool,
}

async fn follow(
    client: &mut Client,
    following: Following,
    selection: &Selection,
    revision: i64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Following { kind, key, mut entries, output, colour } = following;
    let name = key.as_deref().map(|key| format!("metadata.name={}", key.rsplit('/').next().unwrap_or(key)));
    let pairs = [
        ("labelSelector", selection.selector.as_str()),
        ("fieldSelector", name.as_deref().unwrap_or(&selection.field_selector)),
        ("resourceVersion", &revision.to_string()),
    ];
    let widths = columns::table(kind, &entries, output == Output::Wide).widths();
    let mut lines = client.follow(&query::with(&format!("/v1/watch/{}", kind.plural()), &pairs)).await?;
    out.flush()?;
    while let Some(line) = lines.next::<Value>().await? {
        let WatchLine { change, object: Some(object), resource_version: _ } = line else { continue };
        let entry = Entry::new(kind, object);
        if key.as_ref().is_some_and(|key| *key != entry.id.key) {
            continue;
        }
        let is_gone = change == WatchChange::Deleted;
        // A watch begins with what it cannot know to have been seen.
        if !is_gone && entries.contains(&entry) {
            continue;
        }
        entries.retain(|shown| shown.id != entry.id);
        let text = match output {
            Output::Table | Output::Wide => {
                let mut table = columns::table(kind, std::slice::from_ref(&entry), output == Output::Wide);
                if is_gone {
                    let ready = table.headline.iter().position(|title| *title == "READY").unwrap_or_default();
                    table.rows[0][ready] = Cell::toned("Deleted", Tone::Bad);
                    table.rows[0].truncate(ready + 1);
                }
                table.rows_as_wide_as(&widths, colour)
            }
            Output::Name if is_gone => format!("{} deleted\n", entry.id),
            Output::Name => format!("{}\n", entry.id),
            Output::Yaml => format!("---\n{}", entry.yaml()),
            Output::Json | Output::Jsonl => {
                let change = if is_gone { "deleted" } else { "changed" };
                format!("{{\"{change}\":{}}}\n", entry.json_line())
            }
        };
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if !is_gone {
            entries.push(entry);
        }
    }
    Err(Failure::No("the operator has ended".to_owned()))
}

/// `text` with every line moved right.
pub fn indented(text: &str, spaces: usize) -> String {
    let margin = " ".repeat(spaces);
    text.trim_end().lines().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
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
    fn json_is_one_object_or_a_list_of_them_or_one_a_line() {
        let entries = [samples::site(7, "True", "Verified", ""), samples::site(7, "True", "Verified", "")];
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = parse(&render(Kind::Site, &entries[..1], Output::Json, true, false));
        let list = parse(&render(Kind::Site, &entries[..1], Output::Json, false, false));
        assert_eq!(one["metadata"]["name"], "rv-07");
        assert_eq!(list["items"], Value::Array(vec![one.clone()]));
        assert_eq!(parse(&render(Kind::Site, &[], Output::Json, false, false))["items"], Value::Array(vec![]));
        let lines = render(Kind::Site, &entries, Output::Jsonl, false, false);
        assert_eq!(lines.lines().map(parse).collect::<Vec<_>>(), [one.clone(), one]);
    }

    #[test]
    fn yaml_is_a_manifest_again_but_for_what_the_server_wrote() {
        let entries = [samples::site(7, "True", "Verified", ""), samples::site(7, "True", "Verified", "")];
        let errors = manifest::parse(&render(Kind::Site, &entries, Output::Yaml, false, false), "f").unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["metadata.resourceVersion", "status", "metadata.resourceVersion", "status"]);
    }
}
