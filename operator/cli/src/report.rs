//! A node's report in full, for `describe`.

use std::collections::BTreeMap;

use pathsteer_crds::api::NodeState;
use pathsteer_crds::plan::NodePlan;
use pathsteer_crds::report::{
    CounterReport, FollowingReport, NodeReport, ObjectReport, SteeringReport, TunnelReport, UplinkReport,
};

use crate::describe::section;
use crate::node::{self, SlotNames};
use crate::status;
use crate::table::{Cell, Table, Tone};

/// What people call what reports number.
pub struct Names {
    pub slots: SlotNames,
    pub remotes: BTreeMap<u32, String>,
}

impl Names {
    fn remote(&self, index: u32) -> Cell {
        self.remotes.get(&index).cloned().unwrap_or_else(|| format!("node {index}")).into()
    }
}

/// Names of a plan's remotes by index.
pub fn remotes(plan: Option<&NodePlan>) -> BTreeMap<u32, String> {
    plan.into_iter().flat_map(|plan| &plan.objects.remotes).map(|remote| (remote.id, remote.node.clone())).collect()
}

/// What the operator knows of a node, and everything the node says about itself.
pub fn text(state: &NodeState, names: &Names, colour: bool) -> String {
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
        counters,
        segmentation,
    } = report;
    line("Plan in force", format!("generation {generation} of epoch {store_epoch}"));
    line("Verified", if *verified { "yes, every object was seen as declared" } else { "no" }.to_owned());
    line("Drift repaired", format!("{drift_repaired} since the agent started"));
    line("Agent", agent_version.clone());
    if !segmentation.is_empty() {
        line("Segmentation", segmentation.clone());
    }
    if let Some(time) = reported_at {
        line("Last report", time.clone());
    }
    section(&mut text, "Not as declared", &objects_table(not_as_declared), colour);
    section(&mut text, "Uplinks", &uplinks_table(name, uplinks, names), colour);
    section(&mut text, "Tunnels", &tunnels_table(name, tunnels, names), colour);
    section(&mut text, "Steering", &steering_table(name, steering, names), colour);
    section(&mut text, "Following", &following_table(following, names), colour);
    section(&mut text, "Counters", &counters_table(counters, names), colour);
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
    let mut table = Table::new(&["UPLINK", "LINK", "ADDRESS", "GATEWAY", "RESOLVERS", "NOTE"]);
    for UplinkReport { slot, link, address, gateway, resolvers, captive_portal, trouble } in uplinks {
        let portal = captive_portal.as_ref().map(|portal| format!("captive portal: {portal}"));
        let note = [trouble.clone(), portal].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let resolvers = resolvers.join(" ");
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let cells = [
            link.clone(),
            address.clone().unwrap_or_else(|| "none yet".to_owned()),
            or_dash(gateway.as_deref().unwrap_or_default()),
            or_dash(&resolvers),
            or_dash(&note),
        ];
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

fn counters_table(counters: &[CounterReport], names: &Names) -> Table {
    let mut table = Table::new(&["PLACE", "REMOTE", "COUNTER", "PACKETS"]);
    for CounterReport { name, place, remote, packets } in counters {
        let remote = if *remote == 0 { "-".into() } else { names.remote(*remote) };
        table.rows.push(vec![place.as_str().into(), remote, name.as_str().into(), packets.to_string().into()]);
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
    use crate::node::samples::{steering, tunnel, uplink};
    use pathsteer_crds::api::PublishedPlan;
    use pathsteer_crds::plan::Role;

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
                uplinks: vec![
                    UplinkReport {
                        slot: 1,
                        link: "wan1".into(),
                        address: None,
                        gateway: None,
                        resolvers: vec![],
                        captive_portal: None,
                        trouble: Some("the lease of 192.0.2.50 has expired: no DHCP server renewed it".into()),
                    },
                    UplinkReport {
                        slot: 2,
                        link: "wan2".into(),
                        address: Some("198.51.100.50/24".into()),
                        gateway: Some("198.51.100.1".into()),
                        resolvers: vec!["198.51.100.1".into(), "fe80::1".into()],
                        captive_portal: Some("https://portal.example/".into()),
                        trouble: None,
                    },
                ],
                tunnels: vec![tunnel(1, Some(5)), tunnel(2, None)],
                steering: vec![steering(1, 1, "default", 1, &[2])],
                following: vec![FollowingReport { remote: 9, class: 1, active: 1, copies: vec![] }],
                counters: vec![
                    CounterReport { name: "duplicate".into(), place: "shim".into(), remote: 1, packets: 4_000 },
                    CounterReport { name: "barred".into(), place: "psvip".into(), remote: 0, packets: 7 },
                ],
                segmentation: "off: TCP with a fixed IP ID is frozen".into(),
                ..NodeReport::default()
            }),
            reported_at: None,
        };
        let names = Names {
            slots: SlotNames::of(&[uplink("rv-07", "fiber", 1), uplink("rv-07", "starlink", 2)]),
            remotes: BTreeMap::from([(1, "dal-a".to_owned())]),
        };
        insta::assert_snapshot!(text(&state, &names, false).trim(), @"
        Node:
          Role:             edge
          Connected:        yes
          Published plan:   generation 57 of epoch 1
          Plan in force:    generation 57 of epoch 1
          Verified:         no
          Drift repaired:   0 since the agent started
          Agent:            0.1.0
          Segmentation:     off: TCP with a fixed IP ID is frozen

        Not as declared:
          OBJECT            REASON
          link psup2/wan2   not there

        Uplinks:
          UPLINK     LINK   ADDRESS            GATEWAY        RESOLVERS              NOTE
          fiber      wan1   none yet           -              -                      the lease of 192.0.2.50 has expired: no DHCP server renewed it
          starlink   wan2   198.51.100.50/24   198.51.100.1   198.51.100.1 fe80::1   captive portal: https://portal.example/

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

        Counters:
          PLACE   REMOTE   COUNTER     PACKETS
          shim    dal-a    duplicate   4000
          psvip   -        barred      7
        ");
    }

    #[test]
    fn counts_of_bytes_are_read_at_a_glance() {
        for (count, expected) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(bytes(count), expected);
        }
    }
}
