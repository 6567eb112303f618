//! `describe`: everything known about one object, and about the node it is.

use std::collections::BTreeMap;
use std::io::Write;

use pathsteer_crds::Kind;
use pathsteer_crds::api::NodeState;
use pathsteer_crds::meta::{Condition, ConditionStatus};
use pathsteer_crds::plan::NodePlan;
use pathsteer_crds::report::{FollowingReport, NodeReport, ObjectReport, SteeringReport, TunnelReport, UplinkReport};

use crate::args::ObjectWords;
use crate::client::{Client, ClientError};
use crate::entry::{self, Entry};
use crate::failure::Failure;
use crate::node::{self, SlotNames};
use crate::object;
use crate::show::indented;
use crate::status;
use crate::table::{self, Cell, Table, Tone};

pub async fn describe(client: &mut Client, words: &ObjectWords, out: &mut dyn Write) -> Result<(), Failure> {
    let id = object::parse_one(&words.kind, words.name.as_deref())?;
    let entry = entry::get(client, &id).await?;
    let colour = table::wants_colour();
    let mut text = object_text(&entry, colour);
    if matches!(id.kind, Kind::Site | Kind::Anchor) {
        let state: Option<NodeState> = if_there(client.get(&format!("/v1/nodes/{}", id.key)).await)?;
        text.push_str(&match state {
            Some(state) => {
                let plan: Option<NodePlan> = if_there(client.get(&format!("/v1/plans/{}", id.key)).await)?;
                let slots = SlotNames::of(&entry::list(client, Kind::Uplink).await?);
                node_text(&state, &Names { slots, remotes: remotes(plan.as_ref()) }, colour)
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

/// What people call what reports number.
struct Names {
    slots: SlotNames,
    remotes: BTreeMap<u32, String>,
}

impl Names {
    fn remote(&self, index: u32) -> Cell {
        self.remotes.get(&index).cloned().unwrap_or_else(|| format!("node {index}")).into()
    }
}

fn remotes(plan: Option<&NodePlan>) -> BTreeMap<u32, String> {
    plan.into_iter().flat_map(|plan| &plan.objects.remotes).map(|remote| (remote.id, remote.node.clone())).collect()
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

fn section(text: &mut String, title: &str, table: &Table, colour: bool) {
    if !table.rows.is_empty() {
        text.push_str(&format!("\n{title}:\n{}\n", indented(&table.render(colour), 2)));
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

fn node_text(state: &NodeState, names: &Names, colour: bool) -> String {
    let NodeState { name, role, connected, plan, report, reported_at } = state;
    let mut text = format!("\nNode:\n  Role:             {}\n", status::role(*role));
    let mut line = |title: &str, value: String| text.push_str(&format!("  {:<18}{value}\n", format!("{title}:")));
    line("Connected", if *connected { "yes" } else { "no" }.to_owned());
    line(
        "Published plan",
        plan.map_or("none".to_owned(), |plan| format!("generation {} of epoch {}", plan.generation, plan.store_epoch)),
    );
    let Some(report) = report else {
        line("Last report", "never".to_owned());
        return text;
    };
    let NodeReport {
        node: _,
        agent_version,
        store_epoch,
        generation,
        verified,
        not_as_declared,
        drift_repaired,
        uplinks,
        tunnels,
        steering,
        following,
    } = report;
    line("Plan in force", format!("generation {generation} of epoch {store_epoch}"));
    line("Verified", if *verified { "yes, every object was seen as declared" } else { "no" }.to_owned());
    line("Drift repaired", format!("{drift_repaired} since the agent started"));
    line("Agent", agent_version.clone());
    if let Some(time) = reported_at {
        line("Last report", time.clone());
    }
    section(&mut text, "Not as declared", &objects_table(not_as_declared), colour);
    section(&mut text, "Uplinks", &uplinks_table(name, uplinks, names), colour);
    section(&mut text, "Tunnels", &tunnels_table(name, tunnels, names), colour);
    section(&mut text, "Steering", &steering_table(name, steering, names), colour);
    section(&mut text, "Following", &following_table(following, names), colour);
    text
}

fn objects_table(objects: &[ObjectReport]) -> Table {
    let mut table = Table::new(&["OBJECT", "REASON"]);
    for ObjectReport { object, reason } in objects {
        table.rows.push(vec![object.as_str().into(), reason.as_str().into()]);
    }
    table
}

fn uplinks_table(site: &str, uplinks: &[UplinkReport], names: &Names) -> Table {
    let mut table = Table::new(&["UPLINK", "LINK", "ADDRESS", "GATEWAY"]);
    for UplinkReport { slot, link, address, gateway } in uplinks {
        let cells = [link.as_str(), address.as_deref().unwrap_or("none yet"), gateway.as_deref().unwrap_or("-")];
        table.rows.push([vec![names.slots.name(site, *slot).into()], cells.map(Cell::from).to_vec()].concat());
    }
    table
}

fn tunnels_table(site: &str, tunnels: &[TunnelReport], names: &Names) -> Table {
    let mut table = Table::new(&["UPLINK", "LINK", "PEER", "STATE", "HANDSHAKE", "ENDPOINT", "RECEIVED", "SENT"]);
    for tunnel in tunnels {
        let TunnelReport { slot, link, peer, handshake_age_seconds, endpoint, rx_bytes, tx_bytes } = tunnel;
        let state = if node::is_up(tunnel) { Cell::toned("up", Tone::Good) } else { Cell::toned("down", Tone::Bad) };
        table.rows.push(vec![
            names.slots.name(site, *slot).into(),
            link.as_str().into(),
            peer.as_str().into(),
            state,
            handshake_age_seconds.map_or("never".to_owned(), |age| format!("{age} s ago")).into(),
            endpoint.as_deref().unwrap_or("-").into(),
            bytes(*rx_bytes).into(),
            bytes(*tx_bytes).into(),
        ]);
    }
    table
}

fn steering_table(site: &str, steering: &[SteeringReport], names: &Names) -> Table {
    let mut table = Table::new(&["CLASS", "TO", "ACTIVE", "COPIES", "SWITCHES", "ACKNOWLEDGED", "REASON"]);
    for one in steering {
        let SteeringReport { remote, class: _, class_name, active, copies, switch_counter, acknowledged, reason } = one;
        table.rows.push(vec![
            class_name.as_str().into(),
            names.remote(*remote),
            names.slots.name(site, *active).into(),
            names.slots.names(site, copies).into(),
            switch_counter.to_string().into(),
            if *acknowledged { "yes" } else { "no" }.into(),
            reason.as_str().into(),
        ]);
    }
    table
}

fn following_table(following: &[FollowingReport], names: &Names) -> Table {
    let mut table = Table::new(&["SITE", "CLASS", "ACTIVE", "COPIES"]);
    for FollowingReport { remote, class, active, copies } in following {
        // An anchor's slots are named after the uplinks of the site it follows.
        let site = names.remote(*remote);
        table.rows.push(vec![
            site.clone(),
            class.to_string().into(),
            names.slots.name(&site.text, *active).into(),
            names.slots.names(&site.text, copies).into(),
        ]);
    }
    table
}

/// `1.5 MiB`: three figures are enough to see whether a tunnel carries traffic.
fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;
    use crate::node::samples::{steering, tunnel, uplink};
    use pathsteer_crds::api::PublishedPlan;
    use pathsteer_crds::plan::Role;

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

        Conditions:
          TYPE       STATUS   REASON       SINCE                  MESSAGE
          Admitted   True     Valid        2026-01-01T00:00:00Z
          Ready      False    TunnelDown   2026-01-01T00:00:00Z   slot 2 has no handshake
        "#);
    }

    #[test]
    fn a_node_shows_what_it_reports_by_the_names_people_gave() {
        let state = NodeState {
            name: "rv-07".into(),
            role: Role::Edge,
            connected: true,
            plan: Some(PublishedPlan { store_epoch: 1, generation: 57 }),
            report: Some(NodeReport {
                node: "rv-07".into(),
                agent_version: "0.1.0".into(),
                store_epoch: 1,
                generation: 57,
                not_as_declared: vec![ObjectReport { object: "link psup2/wan2".into(), reason: "not there".into() }],
                uplinks: vec![UplinkReport { slot: 1, link: "wan1".into(), address: None, gateway: None }],
                tunnels: vec![tunnel(1, Some(5)), tunnel(2, None)],
                steering: vec![steering(1, 1, "default", 1, &[2])],
                following: vec![FollowingReport { remote: 9, class: 1, active: 1, copies: vec![] }],
                ..NodeReport::default()
            }),
            reported_at: None,
        };
        let names = Names {
            slots: SlotNames::of(&[uplink("rv-07", "fiber", 1), uplink("rv-07", "starlink", 2)]),
            remotes: BTreeMap::from([(1, "dal-a".to_owned())]),
        };
        insta::assert_snapshot!(node_text(&state, &names, false).trim(), @"
        Node:
          Role:             edge
          Connected:        yes
          Published plan:   generation 57 of epoch 1
          Plan in force:    generation 57 of epoch 1
          Verified:         no
          Drift repaired:   0 since the agent started
          Agent:            0.1.0

        Not as declared:
          OBJECT            REASON
          link psup2/wan2   not there

        Uplinks:
          UPLINK   LINK   ADDRESS    GATEWAY
          fiber    wan1   none yet   -

        Tunnels:
          UPLINK     LINK     PEER    STATE   HANDSHAKE   ENDPOINT             RECEIVED   SENT
          fiber      psw1a1   dal-a   up      5 s ago     203.0.113.10:51821   2.0 KiB    1.0 KiB
          starlink   psw2a1   dal-a   down    never       203.0.113.10:51821   2.0 KiB    1.0 KiB

        Steering:
          CLASS     TO      ACTIVE   COPIES     SWITCHES   ACKNOWLEDGED   REASON
          default   dal-a   fiber    starlink   3          yes            lowest cost

        Following:
          SITE     CLASS   ACTIVE   COPIES
          node 9   1       slot 1   -
        ");
    }

    #[test]
    fn counts_of_bytes_are_read_at_a_glance() {
        for (count, expected) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(bytes(count), expected);
        }
    }
}
