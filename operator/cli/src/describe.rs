//! `describe`: everything known about one object, and about the node it is.

use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::api::NodeState;
use pathsteer_crds::meta::{Condition, ConditionStatus};
use pathsteer_crds::plan::NodePlan;

use crate::args::ObjectWords;
use crate::client::{Client, ClientError};
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::get::indented;
use crate::node::SlotNames;
use crate::object;
use crate::report::{self, Names};
use crate::table::{Cell, Table, Tone, wants_colour};

pub async fn describe(client: &mut Client, words: &ObjectWords, out: &mut dyn Write) -> Result<(), Failure> {
    let id = object::parse_one(&words.kind, words.name.as_deref())?;
    let entry = entry::get(client, &id).await?;
    let colour = wants_colour();
    let mut text = object_text(&entry, colour);
    if matches!(id.kind, Kind::Site | Kind::Anchor) {
        let state: Option<NodeState> = if_there(client.get(&format!("/v1/nodes/{}", id.key)).await)?;
        text.push_str(&match state {
            Some(state) => {
                let plan: Option<NodePlan> = if_there(client.get(&format!("/v1/plans/{}", id.key)).await)?;
                let slots = SlotNames::of(&entry::list(client, Kind::Uplink).await?);
                report::text(&state, &Names { slots, remotes: report::remotes(plan.as_ref()) }, colour)
            }
            None => "\nNode: the operator knows no node of this name yet\n".to_owned(),
        });
    }
    Ok(out.write_all(text.as_bytes())?)
}

fn if_there<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn object_text(entry: &Entry, colour: bool) -> String {
    let mut text = format!("Name:         {}\nKind:         {}\n", entry.id.key, entry.id.kind);
    let labels: Vec<String> = entry.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !labels.is_empty() {
        text.push_str(&format!("Labels:       {}\n", labels.join(", ")));
    }
    text.push_str(&format!("Generation:   {}, observed {}\n", entry.revision(), entry.status.observed_generation));
    text.push_str(&format!("\nSpec:\n{}\n", indented(&spec(entry), 2)));
    section(&mut text, "Conditions", &conditions(&entry.status.conditions), colour);
    text
}

/// The spec alone, in the order people write it.
fn spec(entry: &Entry) -> String {
    let yaml = entry.yaml();
    let after = yaml.lines().skip_while(|line| !line.starts_with("spec:")).skip(1);
    let lines: Vec<&str> = after.take_while(|line| line.starts_with([' ', '-'])).collect();
    let margin = lines.first().map_or(0, |line| line.len() - line.trim_start().len());
    lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or_default())).collect()
}

/// A titled table; nothing if it has no rows.
pub fn section(text: &mut String, title: &str, rows: &Table, colour: bool) {
    if !rows.rows.is_empty() {
        text.push_str(&format!("\n{title}:\n"));
        table(text, rows, colour);
    }
}

/// A table below whatever title; nothing if it has no rows.
pub fn table(text: &mut String, rows: &Table, colour: bool) {
    if !rows.rows.is_empty() {
        text.push_str(&format!("{}\n", indented(&rows.render(colour), 2)));
    }
}

fn conditions(conditions: &[Condition]) -> Table {
    let mut table = Table::new(&["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in conditions {
        let Condition { kind, status, reason, message, last_transition_time } = condition;
        let status = match status {
            ConditionStatus::True => Cell::toned("True", Tone::Good),
            ConditionStatus::False => Cell::toned("False", Tone::Bad),
            ConditionStatus::Unknown => Cell::toned("Unknown", Tone::Doubtful),
        };
        let cells = [reason, last_transition_time, message].map(|text| Cell::from(text.as_str()));
        table.rows.push([vec![kind.as_str().into(), status], cells.to_vec()].concat());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;

    #[test]
    fn an_object_shows_its_spec_and_every_condition_with_reason_and_message() {
        let text = object_text(&samples::site(6, "False", "TunnelDown", "slot 2 has no handshake"), false);
        insta::assert_snapshot!(text.trim(), @r#"
        Name:         rv-07
        Kind:         Site
        Generation:   7, observed 6

        Spec:
          anchors:
          - dal-a
          vips:
          - "198.18.7.1"
          prefixes:
          - 172.16.7.0/24
          deadManSeconds: 120
          managementPorts:
          - 22

        Conditions:
          TYPE       STATUS   REASON       SINCE                  MESSAGE
          Admitted   True     Valid        2026-01-01T00:00:00Z
          Ready      False    TunnelDown   2026-01-01T00:00:00Z   slot 2 has no handshake
        "#);
    }
}
