//! `status`: the fleet at a glance.

use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::api::{Health, List, NodeState};
use pathsteer_crds::plan::Role;
use serde_json::Value;

use crate::args::Output;
use crate::client::Client;
use crate::columns;
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::node::{self, SlotNames};
use crate::table::{self, Cell, Table, Tone};

pub async fn status(client: &mut Client, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let nodes: List<NodeState> = client.get("/v1/nodes").await?;
    let mut entries = entry::list(client, Kind::Anchor).await?;
    entries.extend(entry::list(client, Kind::Site).await?);
    let uplinks = entry::list(client, Kind::Uplink).await?;
    let colour = table::wants_colour();
    let mut text = render(nodes.items, &entries, &SlotNames::of(&uplinks), output, colour);
    if matches!(output, Output::Table | Output::Wide) {
        let health: Health = client.get("/v1/readyz").await?;
        text.push_str(&warnings(&health.warnings, colour));
    }
    Ok(out.write_all(text.as_bytes())?)
}

/// What the operator says a person should look at, below the table.
fn warnings(warnings: &[String], colour: bool) -> String {
    let head = Cell::toned("warning:", Tone::Bad);
    warnings.iter().map(|warning| format!("\n{} {warning}\n", table::paint(&head, colour))).collect()
}

/// The nodes sorted by role (anchors last) and name.
fn render(mut nodes: Vec<NodeState>, entries: &[Entry], slots: &SlotNames, output: Output, colour: bool) -> String {
    nodes.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    match output {
        Output::Table | Output::Wide if nodes.is_empty() => {
            "there are no nodes: apply a Site and an Anchor\n".to_owned()
        }
        Output::Table | Output::Wide => fleet(&nodes, entries, slots).render(colour),
        Output::Name => nodes.iter().map(|node| format!("{}/{}\n", role(node.role), node.name)).collect(),
        Output::Json => format!("{:#}\n", serde_json::json!({"items": detailed(&nodes, entries)})),
        Output::Jsonl => detailed(&nodes, entries).iter().map(|node| format!("{node}\n")).collect(),
        Output::Yaml => {
            serde_saphyr::to_string(&detailed(&nodes, entries)).expect("JSON can always be written as YAML")
        }
    }
}

/// Each node as the operator sees it, with the Ready condition of the Site or Anchor it is.
fn detailed(nodes: &[NodeState], entries: &[Entry]) -> Vec<Value> {
    let one = |node: &NodeState| {
        let mut value = serde_json::to_value(node).expect("API types always serialize");
        value["ready"] = serde_json::json!(own(node, entries).and_then(|entry| entry.status.condition("Ready")));
        value
    };
    nodes.iter().map(one).collect()
}

/// The Site or Anchor that a node is.
fn own<'a>(node: &NodeState, entries: &'a [Entry]) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.id.kind == kind_of(node.role) && entry.id.key == node.name)
}

/// One row a node.
fn fleet(nodes: &[NodeState], entries: &[Entry], slots: &SlotNames) -> Table {
    let mut table = Table::new(&["NODE", "ROLE", "READY", "REASON", "PLAN", "ACTIVE PATHS", "TUNNELS", "LAST REPORT"]);
    for state in nodes {
        let [ready, reason] = match own(state, entries) {
            Some(entry) => columns::readiness(entry),
            None => [Cell::toned("Unknown", Tone::Doubtful), format!("no {} of this name", kind_of(state.role)).into()],
        };
        let report = state.report.as_ref();
        table.rows.push(vec![
            state.name.as_str().into(),
            role(state.role).into(),
            ready,
            reason,
            plan(state),
            report.map_or("-".to_owned(), |report| node::paths(&state.name, &report.steering, slots)).into(),
            report.map_or("-".to_owned(), node::tunnels_up).into(),
            last_report(state),
        ]);
    }
    table
}

/// The kind of object a node of this role is declared by.
pub fn kind_of(role: Role) -> Kind {
    match role {
        Role::Edge => Kind::Site,
        Role::Anchor => Kind::Anchor,
    }
}

pub fn role(role: Role) -> &'static str {
    match role {
        Role::Edge => "edge",
        Role::Anchor => "anchor",
    }
}

/// Generation published, and the one the node has if it is another.
fn plan(state: &NodeState) -> Cell {
    let Some(published) = state.plan else { return "-".into() };
    let has = state.report.as_ref().map(|report| (report.store_epoch, report.generation));
    match has {
        Some(has) if has == (published.store_epoch, published.generation) => published.generation.to_string().into(),
        Some((_, has)) => Cell::toned(format!("{} (has {has})", published.generation), Tone::Doubtful),
        None => Cell::toned(format!("{} (has none)", published.generation), Tone::Doubtful),
    }
}

fn last_report(state: &NodeState) -> Cell {
    let when = state.reported_at.as_deref().unwrap_or(if state.report.is_some() { "yes" } else { "never" });
    if state.connected { when.into() } else { Cell::toned(format!("{when}, not connected"), Tone::Bad) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;
    use crate::node::samples::{steering, tunnel, uplink};
    use pathsteer_crds::api::PublishedPlan;
    use pathsteer_crds::report::NodeReport;

    #[test]
    fn what_the_operator_warns_of_stands_below_the_table() {
        assert_eq!(warnings(&[], false), "");
        let said = ["etcd does not answer".to_owned(), "2 objects have vanished".to_owned()];
        assert_eq!(warnings(&said, false), "\nwarning: etcd does not answer\n\nwarning: 2 objects have vanished\n");
        assert!(warnings(&said, true).starts_with("\n\x1b[31mwarning:\x1b[0m etcd"), "{}", warnings(&said, true));
    }

    #[test]
    fn the_fleet_shows_edges_then_anchors_with_plan_paths_tunnels_and_last_report() {
        let report = NodeReport {
            store_epoch: 1,
            generation: 57,
            steering: vec![steering(1, 1, "default", 1, &[2])],
            tunnels: vec![tunnel(1, Some(5)), tunnel(2, None)],
            ..NodeReport::default()
        };
        let edge = NodeState {
            name: "rv-07".into(),
            role: Role::Edge,
            connected: true,
            plan: Some(PublishedPlan { store_epoch: 1, generation: 57 }),
            report: Some(report.clone()),
            reported_at: Some("2026-01-01T00:00:00Z".into()),
        };
        let behind = NodeReport { generation: 55, steering: Vec::new(), ..report };
        let anchor = NodeState {
            name: "dal-a".into(),
            role: Role::Anchor,
            connected: false,
            report: Some(behind),
            ..edge.clone()
        };
        let fresh = NodeState { name: "dal-b".into(), report: None, reported_at: None, ..anchor.clone() };
        let slots = SlotNames::of(&[uplink("rv-07", "fiber", 1), uplink("rv-07", "starlink", 2)]);
        let entries = [samples::site(7, "False", "TunnelDown", "slot 2")];
        let nodes = vec![fresh, anchor, edge];
        let shown = |output| render(nodes.clone(), &entries, &slots, output, false);
        assert_eq!(
            shown(Output::Table),
            "\
NODE    ROLE     READY     REASON                   PLAN            ACTIVE PATHS              TUNNELS   LAST REPORT
rv-07   edge     False     TunnelDown               57              default: fiber+starlink   1/2       2026-01-01T00:00:00Z
dal-a   anchor   Unknown   no Anchor of this name   57 (has 55)     -                         1/2       2026-01-01T00:00:00Z, not connected
dal-b   anchor   Unknown   no Anchor of this name   57 (has none)   -                         -         never, not connected
"
        );
        assert_eq!(shown(Output::Name), "edge/rv-07\nanchor/dal-a\nanchor/dal-b\n");
        let json: Value = serde_json::from_str(&shown(Output::Json)).unwrap();
        assert_eq!(json["items"][0]["report"]["tunnels"][1]["slot"], 2);
        assert_eq!(
            (&json["items"][0]["ready"]["reason"], &json["items"][1]["ready"]),
            (&"TunnelDown".into(), &Value::Null)
        );
        assert!(shown(Output::Yaml).contains("  name: rv-07\n"), "{}", shown(Output::Yaml));
    }
}
