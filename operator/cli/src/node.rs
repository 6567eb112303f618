//! What a node reports, in words: which uplink a slot is, which paths are taken, which tunnels are up.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_crds::AnyObject;
use pathsteer_crds::report::{NodeReport, SteeringReport};

use crate::entry::Entry;

/// Tunnels up, of all: `3/4`.
pub fn tunnels_up(report: &NodeReport) -> String {
    format!("{}/{}", report.tunnels.iter().filter(|tunnel| tunnel.is_up()).count(), report.tunnels.len())
}

/// Names of uplinks by site and slot.
#[derive(Debug, Default)]
pub struct SlotNames(BTreeMap<(String, u8), String>);

impl SlotNames {
    pub fn of(uplinks: &[Entry]) -> SlotNames {
        let named = uplinks.iter().filter_map(|entry| match &entry.object {
            Some(AnyObject::Uplink(uplink)) => {
                let site = uplink.metadata.site.clone().unwrap_or_default();
                Some(((site, uplink.spec.slot), uplink.metadata.name.clone()))
            }
            _ => None,
        });
        SlotNames(named.collect())
    }

    /// The uplink's name, or `slot 3` where there is no such uplink (any more), as on an anchor.
    pub fn name(&self, site: &str, slot: u8) -> String {
        self.0.get(&(site.to_owned(), slot)).cloned().unwrap_or_else(|| format!("slot {slot}"))
    }

    pub fn names(&self, site: &str, slots: &[u8]) -> String {
        let names: Vec<String> = slots.iter().map(|slot| self.name(site, *slot)).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(",") }
    }
}

/// Active path and copies of each class: `default: fiber+starlink; voice: lte`. What holds towards every remote is
/// said once.
pub fn paths(site: &str, steering: &[SteeringReport], slots: &SlotNames) -> String {
    let mut classes: BTreeMap<(u8, &str), BTreeSet<String>> = BTreeMap::new();
    for one in steering {
        let path: Vec<String> =
            std::iter::once(&one.active).chain(&one.copies).map(|slot| slots.name(site, *slot)).collect();
        classes.entry((one.class, &one.class_name)).or_default().insert(path.join("+"));
    }
    let texts = classes
        .into_iter()
        .map(|((_, name), paths)| format!("{name}: {}", paths.into_iter().collect::<Vec<_>>().join(" or ")));
    let text = texts.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
pub mod samples {
    use pathsteer_crds::report::TunnelReport;

    use super::*;

    pub fn tunnel(slot: u8, age: Option<u64>) -> TunnelReport {
        TunnelReport {
            slot,
            link: format!("psw{slot}a1"),
            peer: "dal-a".into(),
            handshake_age_seconds: age,
            endpoint: Some("203.0.113.10:51821".into()),
            rx_bytes: 2_048,
            tx_bytes: 1_024,
        }
    }

    pub fn steering(remote: u32, class: u8, class_name: &str, active: u8, copies: &[u8]) -> SteeringReport {
        SteeringReport {
            remote,
            class,
            class_name: class_name.into(),
            active,
            copies: copies.to_vec(),
            switch_counter: 3,
            acknowledged: true,
            reason: "lowest cost".into(),
        }
    }

    pub fn uplink(site: &str, name: &str, slot: u8) -> Entry {
        crate::entry::samples::entry(&format!(
            "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {{site: {site}, name: {name}}}
spec: {{slot: {slot}, kind: fiber, interface: wan{slot}}}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samples::{steering, tunnel, uplink};

    #[test]
    fn a_tunnel_is_up_while_its_last_handshake_counts() {
        let tunnels = vec![tunnel(1, Some(0)), tunnel(2, Some(180)), tunnel(3, Some(181)), tunnel(4, None)];
        assert_eq!(tunnels_up(&NodeReport { tunnels, ..NodeReport::default() }), "2/4");
    }

    #[test]
    fn paths_are_named_by_uplink_and_said_once_for_all_remotes_that_agree() {
        let slots =
            SlotNames::of(&[uplink("rv-07", "fiber", 1), uplink("rv-07", "starlink", 2), uplink("x", "lte", 3)]);
        let same =
            [steering(1, 1, "default", 1, &[2]), steering(2, 1, "default", 1, &[2]), steering(1, 2, "voice", 2, &[])];
        assert_eq!(paths("rv-07", &same, &slots), "default: fiber+starlink; voice: starlink");
        let apart = [steering(1, 1, "default", 1, &[]), steering(2, 1, "default", 3, &[])];
        assert_eq!(paths("rv-07", &apart, &slots), "default: fiber or slot 3");
        assert_eq!(paths("rv-07", &[], &slots), "-");
    }
}
