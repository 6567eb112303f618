//! A node's report in full, for `describe`.

use std::collections::BTreeMap;

use pathsteer_crds::api::NodeState;
use pathsteer_crds::plan::NodePlan;
use pathsteer_crds::report::{
    ChangeOutcome, ChangeReport, ChangesReport, CounterReport, DriftReport, FollowingReport, Moment, NodeReport,
    ObjectReport, ProblemReport, SteeringReport, TunnelReport, UplinkReport,
};

use crate::describe::{section, table};
use crate::node::SlotNames;
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
        uptime_seconds,
        not_as_declared,
        problems,
        last_changes,
        drift_repaired,
        drift,
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
    let wrong = Wrong { uptime: *uptime_seconds, names, site: name };
    section(&mut text, "Problems", &wrong.problems(problems), colour);
    section(&mut text, "Not as declared", &wrong.objects(not_as_declared), colour);
    if let Some(changes) = last_changes {
        let ChangesReport { at, created, updated, deleted, failed, drift, objects } = changes;
        let sum = format!(
            "{created} created, {updated} updated, {deleted} deleted, {failed} failed; drift among them: {drift}"
        );
        text.push_str(&format!("\nLast changes ({}): {sum}\n", wrong.ago(at)));
        table(&mut text, &changes_table(objects), colour);
    }
    section(&mut text, "Changed by somebody else and put right", &wrong.drift(drift), colour);
    section(&mut text, "Uplinks", &uplinks_table(name, uplinks, names), colour);
    section(&mut text, "Tunnels", &tunnels_table(name, tunnels, names), colour);
    section(&mut text, "Steering", &steering_table(name, steering, names), colour);
    section(&mut text, "Following", &following_table(following, names), colour);
    section(&mut text, "Counters", &counters_table(counters, names), colour);
    text
}

/// Tables of what is, or was, not as it should be.
struct Wrong<'a> {
    /// The node's uptime when it reported.
    uptime: u64,
    names: &'a Names,
    site: &'a str,
}

impl Wrong<'_> {
    /// By a clock that nobody sets: `for 3m 20s`, with the time on the node's other clock.
    fn since(&self, moment: &Moment) -> Cell {
        let Moment { since, since_uptime } = moment;
        if since.is_empty() {
            return "-".into();
        }
        format!("{since}, for {}", span(self.uptime.saturating_sub(*since_uptime))).into()
    }

    fn ago(&self, moment: &Moment) -> String {
        format!("{}, {} before this report", moment.since, span(self.uptime.saturating_sub(moment.since_uptime)))
    }

    fn problems(&self, problems: &[ProblemReport]) -> Table {
        let mut table = Table::new(&["PROBLEM", "OF", "SINCE", "REASON"]);
        for ProblemReport { kind, object, slot, reason, since } in problems {
            let of =
                slot.map_or(object.clone(), |slot| format!("{object} ({})", self.names.slots.name(self.site, slot)));
            let kind = Cell::toned(kind.as_str(), Tone::Bad);
            table.rows.push(vec![kind, of.into(), self.since(since), reason.as_str().into()]);
        }
        table
    }

    fn objects(&self, objects: &[ObjectReport]) -> Table {
        let mut table = Table::new(&["OBJECT", "SINCE", "REASON"]);
        for ObjectReport { object, reason, since } in objects {
            table.rows.push(vec![object.as_str().into(), self.since(since), reason.as_str().into()]);
        }
        table
    }

    fn drift(&self, drift: &[DriftReport]) -> Table {
        let mut table = Table::new(&["OBJECT", "TIMES", "LAST", "WAS FOUND"]);
        for DriftReport { object, found, times, last } in drift {
            let [object, found] = [object, found].map(|text| Cell::from(text.as_str()));
            table.rows.push(vec![object, times.to_string().into(), last.since.as_str().into(), found]);
        }
        table
    }
}

fn changes_table(objects: &[ChangeReport]) -> Table {
    let mut table = Table::new(&["OBJECT", "OUTCOME", "REASON"]);
    for ChangeReport { object, outcome, reason, drift } in objects {
        let outcome = match outcome {
            ChangeOutcome::Failed => Cell::toned("failed", Tone::Bad),
            ChangeOutcome::Created => "created".into(),
            ChangeOutcome::Updated => "updated".into(),
            ChangeOutcome::Deleted => "deleted".into(),
        };
        let reason = reason.as_deref().unwrap_or(if *drift { "drift" } else { "-" });
        table.rows.push(vec![object.as_str().into(), outcome, reason.into()]);
    }
    table
}

/// `3m 20s`: the two largest units are enough.
fn span(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let parts = units[first..].iter().take(2).map(|(size, unit)| {
        let count = rest / size;
        rest %= size;
        format!("{count}{unit}")
    });
    parts.collect::<Vec<_>>().join(" ")
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
        let state = if tunnel.is_up() { Cell::toned("up", Tone::Good) } else { Cell::toned("down", Tone::Bad) };
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
pub fn bytes(count: u64) -> String {
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
                uptime_seconds: 1_000,
                not_as_declared: vec![ObjectReport {
                    object: "link psup2/wan2".into(),
                    reason: "not there".into(),
                    since: at(800),
                }],
                problems: vec![ProblemReport {
                    kind: "NoLease".into(),
                    object: "uplink 1".into(),
                    slot: Some(1),
                    reason: "no server".into(),
                    since: at(0),
                }],
                last_changes: Some(ChangesReport {
                    at: at(990),
                    created: 1,
                    failed: 1,
                    drift: 1,
                    objects: vec![
                        ChangeReport {
                            object: "link psup2/wan2".into(),
                            outcome: ChangeOutcome::Failed,
                            reason: Some("no such interface".into()),
                            drift: false,
                        },
                        ChangeReport {
                            object: "rule psvip 7701".into(),
                            outcome: ChangeOutcome::Created,
                            reason: None,
                            drift: true,
                        },
                    ],
                    ..ChangesReport::default()
                }),
                drift_repaired: 4,
                drift: vec![DriftReport {
                    object: "rule psvip 7701".into(),
                    found: "is missing".into(),
                    times: 4,
                    last: at(990),
                }],
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
          Drift repaired:   4 since the agent started
          Agent:            0.1.0
          Segmentation:     off: TCP with a fixed IP ID is frozen

        Problems:
          PROBLEM   OF                 SINCE                               REASON
          NoLease   uplink 1 (fiber)   2026-01-01T00:00:00Z, for 16m 40s   no server

        Not as declared:
          OBJECT            SINCE                              REASON
          link psup2/wan2   2026-01-01T00:00:00Z, for 3m 20s   not there

        Last changes (2026-01-01T00:00:00Z, 10s before this report): 1 created, 0 updated, 0 deleted, 1 failed; drift among them: 1
          OBJECT            OUTCOME   REASON
          link psup2/wan2   failed    no such interface
          rule psvip 7701   created   drift

        Changed by somebody else and put right:
          OBJECT            TIMES   LAST                   WAS FOUND
          rule psvip 7701   4       2026-01-01T00:00:00Z   is missing

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

    fn at(uptime: u64) -> Moment {
        Moment { since: "2026-01-01T00:00:00Z".into(), since_uptime: uptime }
    }

    #[test]
    fn how_long_is_read_at_a_glance() {
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (200, "3m 20s"), (90_061, "1d 1h")] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn counts_of_bytes_are_read_at_a_glance() {
        for (count, expected) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(bytes(count), expected);
        }
    }
}
