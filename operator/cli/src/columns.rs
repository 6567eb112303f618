//! Which columns a table of objects has, kind by kind.

use pathsteer_crds::meta::ConditionStatus;
use pathsteer_crds::{
    AddressMethod, AnyObject, Egress, Kind, ModeKind, OverrideAction, SegmentTreatment, Treatment, UplinkKind,
};

use crate::duration;
use crate::entry::Entry;
use crate::table::{Cell, Table, Tone};

/// The table of `entries`, all of one kind; a wide one says more of each.
pub fn table(kind: Kind, entries: &[Entry], is_wide: bool) -> Table {
    let own = titles(kind);
    let more: &[&str] = if is_wide { &["SINCE", "LABELS", "MESSAGE"] } else { &[] };
    let mut table = Table::new(&[&["NAME"], own, &["READY", "REASON"], more].concat());
    for entry in entries {
        let mut row = vec![entry.id.key.as_str().into()];
        match &entry.object {
            Some(object) => row.extend(cells(object)),
            None => row.extend(own.iter().map(|_| Cell::from("?"))),
        }
        let [ready, reason] = readiness(entry);
        row.extend([ready, reason]);
        if is_wide {
            let condition = entry.readiness();
            let labels = entry.metadata.labels.iter().map(|(key, value)| format!("{key}={value}"));
            row.push(condition.map_or("-", |condition| &condition.last_transition_time).into());
            row.push(Cell::list(labels));
            row.push(condition.map_or("", |condition| &condition.message).into());
        }
        table.rows.push(row);
    }
    table
}

/// Cells of the READY and REASON columns.
pub fn readiness(entry: &Entry) -> [Cell; 2] {
    let Some(condition) = entry.readiness().filter(|_| entry.status.observed_generation >= entry.revision()) else {
        return [Cell::toned("Unknown", Tone::Doubtful), "not looked at yet".into()];
    };
    let reason = Cell::from(condition.reason.as_str());
    match condition.status {
        ConditionStatus::True => {
            // carried out, and yet the node or the store has a problem: it may not be so for long
            let problems = ["Healthy", "StoreHealthy"].into_iter().filter_map(|kind| entry.status.condition(kind));
            let problem = problems.into_iter().find(|healthy| healthy.status == ConditionStatus::False);
            let reason = problem.map_or("".into(), |healthy| Cell::toned(healthy.reason.as_str(), Tone::Doubtful));
            [Cell::toned("True", Tone::Good), reason]
        }
        ConditionStatus::False => [Cell::toned("False", Tone::Bad), reason],
        ConditionStatus::Unknown => [Cell::toned("Unknown", Tone::Doubtful), reason],
    }
}

fn titles(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Fabric => &["OVERLAY", "WINDOW"],
        Kind::Anchor => &["ENDPOINTS", "INTERNET", "EGRESS"],
        Kind::Site => &["ANCHORS", "PREFIXES"],
        Kind::Uplink => &["SLOT", "KIND", "INTERFACE", "ADDRESS", "MTU", "COST"],
        Kind::Vlan => &["INTERFACE", "ID", "ADDRESSES", "TREATMENT"],
        Kind::TrafficPolicy => &["PRIORITY", "CLASS", "TREATMENT", "SITES"],
        Kind::Mode => &["MODE", "COPIES", "SITES"],
        Kind::Override => &["SITE", "ACTION", "FOR"],
    }
}

/// As many cells as the object's kind has titles.
fn cells(object: &AnyObject) -> Vec<Cell> {
    match object {
        AnyObject::Fabric(fabric) => {
            vec![fabric.spec.overlay.to_string().into(), fabric.spec.window_packets.to_string().into()]
        }
        AnyObject::Anchor(anchor) => vec![
            Cell::list(anchor.spec.endpoints.iter().map(|endpoint| endpoint.address)),
            anchor.spec.internet.interface.as_str().into(),
            match &anchor.spec.egress {
                Egress::Routed => "routed".into(),
                Egress::Snat { pool: _ } => "snat".into(),
            },
        ],
        AnyObject::Site(site) => vec![Cell::list(&site.spec.anchors), Cell::list(site.spec.all_prefixes())],
        AnyObject::Uplink(uplink) => vec![
            uplink.spec.slot.to_string().into(),
            uplink_kind(uplink.spec.kind).into(),
            uplink.spec.interface.as_str().into(),
            match &uplink.spec.address {
                AddressMethod::Dhcp => "dhcp".into(),
                AddressMethod::Slaac => "slaac".into(),
                AddressMethod::Host => "host".into(),
                AddressMethod::Dhcpv6 => "dhcpv6".into(),
                AddressMethod::Static { addresses, gateways: _ } => Cell::list(addresses),
            },
            uplink.spec.mtu.to_string().into(),
            uplink.spec.cost.to_string().into(),
        ],
        AnyObject::Vlan(vlan) => vec![
            vlan.spec.interface.as_str().into(),
            vlan.spec.id.map_or("untagged".to_owned(), |id| id.to_string()).into(),
            Cell::list(&vlan.spec.addresses),
            segment_treatment(vlan.spec.treatment).into(),
        ],
        AnyObject::TrafficPolicy(policy) => vec![
            policy.spec.priority.to_string().into(),
            policy.spec.steering_class.as_str().into(),
            treatment(policy.spec.treatment).into(),
            sites(&policy.spec.sites),
        ],
        AnyObject::Mode(mode) => {
            vec![mode_word(mode.spec.mode).into(), mode.spec.copies.to_string().into(), sites(&mode.spec.sites)]
        }
        AnyObject::Override(over) => vec![
            over.spec.site.as_str().into(),
            action(&over.spec.action).into(),
            over.spec.duration_seconds.map_or("until deleted".to_owned(), duration::text).into(),
        ],
    }
}

fn sites(names: &[String]) -> Cell {
    if names.is_empty() { "all".into() } else { Cell::list(names) }
}

pub fn action(action: &OverrideAction) -> String {
    match action {
        OverrideAction::Mode(mode) => format!("mode {}", mode_word(*mode)),
        OverrideAction::ForceUplink(uplink) => format!("force {uplink}"),
        OverrideAction::FailUplink(uplink) => format!("fail {uplink}"),
    }
}

fn mode_word(mode: ModeKind) -> &'static str {
    match mode {
        ModeKind::Training => "training",
        ModeKind::Tripwire => "tripwire",
        ModeKind::Mirror => "mirror",
    }
}

fn treatment(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Survivable => "survivable",
        Treatment::Service => "service",
        Treatment::BestEffort => "bestEffort",
    }
}

fn segment_treatment(treatment: SegmentTreatment) -> &'static str {
    match treatment {
        SegmentTreatment::Survivable => "survivable",
        SegmentTreatment::Service => "service",
        SegmentTreatment::Mixed => "mixed",
        SegmentTreatment::BestEffort => "bestEffort",
        SegmentTreatment::Guest => "guest",
    }
}

fn uplink_kind(kind: UplinkKind) -> &'static str {
    match kind {
        UplinkKind::Fiber => "fiber",
        UplinkKind::Starlink => "starlink",
        UplinkKind::Cellular => "cellular",
        UplinkKind::Ethernet => "ethernet",
        UplinkKind::Wifi => "wifi",
        UplinkKind::Satellite => "satellite",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::samples;

    #[test]
    fn a_table_of_sites_says_what_they_are_and_whether_they_are_ready() {
        let entries = [
            samples::site(7, "True", "Verified", ""),
            samples::site(7, "False", "TunnelDown", "slot 2"),
            samples::site(6, "True", "Verified", ""),
        ];
        assert_eq!(
            table(Kind::Site, &entries, false).render(false),
            "\
NAME    ANCHORS   PREFIXES                      READY     REASON
rv-07   dal-a     172.16.7.0/24,198.18.7.1/32   True
rv-07   dal-a     172.16.7.0/24,198.18.7.1/32   False     TunnelDown
rv-07   dal-a     172.16.7.0/24,198.18.7.1/32   Unknown   not looked at yet
"
        );
    }

    #[test]
    fn every_kind_has_a_cell_for_each_title() {
        let specs = [
            (Kind::Fabric, "", "{overlay: 10.100.0.0/16}"),
            (
                Kind::Anchor,
                "",
                "{endpoints: [{address: 203.0.113.10}], internet: {interface: i, addresses: [10.0.0.1/24]}}",
            ),
            (Kind::Site, "", "{anchors: [a]}"),
            (Kind::Uplink, "site: s, ", "{slot: 1, kind: fiber, interface: wan1}"),
            (Kind::Vlan, "site: s, ", "{interface: lan0, addresses: [10.0.0.1/24]}"),
            (Kind::TrafficPolicy, "", "{match: [{protocol: udp}]}"),
            (Kind::Mode, "", "{mode: mirror}"),
            (Kind::Override, "", "{site: s, action: {forceUplink: fiber}, durationSeconds: 3600}"),
        ];
        for (kind, site, spec) in specs {
            let entry = samples::entry(&format!(
                "{{apiVersion: pathsteer.io/v1alpha1, kind: {kind}, metadata: {{{site}name: x}}, spec: {spec}}}"
            ));
            let object = entry.object.as_ref().unwrap_or_else(|| panic!("{kind} does not read"));
            assert_eq!(cells(object).len(), titles(kind).len(), "{kind}");
        }
        let over = samples::entry(
            "{apiVersion: pathsteer.io/v1alpha1, kind: Override, metadata: {name: x}, spec: {site: s, action: {mode: mirror}}}",
        );
        assert_eq!(
            Cell::list(cells(over.object.as_ref().unwrap()).iter().map(|c| &c.text)).text,
            "s,mode mirror,until deleted"
        );
    }

    #[test]
    fn an_unreadable_object_keeps_its_row() {
        let entry = samples::entry("{kind: Mode, metadata: {name: m}, spec: {mode: 3}}");
        assert_eq!(table(Kind::Mode, &[entry], false).rows[0].len(), 6);
    }
}
