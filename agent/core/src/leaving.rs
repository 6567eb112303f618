//! Leaving paths before a plan takes them away: as long as there is another, a change that somebody declares costs no packet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pathsteer_crds::ownership::uplink_netns;
use pathsteer_crds::plan::{LinkKind, LinkSpec, PlanObjects, RemoteSpec};
use pathsteer_crds::report::{FollowingReport, SteeringReport};

use crate::ChangeClass;
use crate::noun::Noun;

/// For so long it is waited until nothing is sent by the paths. A far end may be away.
const LEAVE: Duration = Duration::from_secs(5);
/// And for so long, then, for what is under way: by a geostationary satellite it takes 300 ms, by a mobile network whose
/// queue is full as much.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// A plan waits for this to be over.
#[derive(Debug)]
pub struct Leaving {
    paths: BTreeSet<(u32, u8)>,
    since: Duration,
    /// Since when nothing is sent by them.
    left: Option<Duration>,
}

impl Leaving {
    /// Of what is interrupted from `old` to `new`. Of remotes that only one of them knows nothing stays, what loses all of its
    /// paths cannot leave any, and by those that are `not_up` nothing comes. Times are durations since one start, whichever
    /// the caller takes.
    pub fn new(old: &PlanObjects, new: &PlanObjects, not_up: &BTreeSet<(u32, u8)>, now: Duration) -> Leaving {
        let mut paths = BTreeSet::new();
        let (keys, then_keys) = (keys(old), keys(new));
        let then: BTreeMap<u32, &RemoteSpec> = new.remotes.iter().map(|remote| (remote.id, remote)).collect();
        for remote in &old.remotes {
            let Some(then) = then.get(&remote.id) else { continue };
            let lost: Vec<u8> = remote
                .slots
                .iter()
                .copied()
                .filter(|slot| {
                    let path = (remote.node.as_str(), *slot);
                    // A site has left a slot before anybody hears of its next key.
                    let rekeyed = remote.anchor != 0 && keys.get(&path) != then_keys.get(&path);
                    !then.slots.contains(slot) || rekeyed || is_interrupted(*slot, old, new)
                })
                .collect();
            if lost.len() < remote.slots.len() {
                paths.extend(lost.into_iter().map(|slot| (remote.id, slot)));
            }
        }
        Leaving { paths: &paths - not_up, since: now, left: None }
    }

    /// When it began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The paths, as node index of the remote and slot.
    pub fn paths(&self) -> &BTreeSet<(u32, u8)> {
        &self.paths
    }

    /// Whether they may be taken away at `now`; `used` are those by which something is sent.
    pub fn is_over(&mut self, used: &BTreeSet<(u32, u8)>, now: Duration) -> bool {
        if self.paths.is_empty() || now.saturating_sub(self.since) >= LEAVE {
            return true;
        }
        if !self.paths.is_disjoint(used) {
            self.left = None;
            return false;
        }
        now.saturating_sub(*self.left.get_or_insert(now)) >= UNDER_WAY
    }
}

/// Paths by which an edge sends and is sent to. What a far end follows that has not acknowledged is not known: it may be any.
pub fn sent_by(steering: &[SteeringReport]) -> BTreeSet<(u32, u8)> {
    let slots = |one: &SteeringReport| match one.acknowledged {
        true => one.copies.iter().copied().chain([one.active]).collect(),
        false => (1..=8).collect::<Vec<u8>>(),
    };
    steering.iter().flat_map(|one| slots(one).into_iter().map(|slot| (one.remote, slot))).collect()
}

/// Paths by which an anchor sends, and is sent to as far as it has heard.
pub fn followed_by(following: &[FollowingReport]) -> BTreeSet<(u32, u8)> {
    let slots = |one: &FollowingReport| one.copies.clone().into_iter().chain([one.active]);
    following.iter().flat_map(|one| slots(one).map(|slot| (one.remote, slot))).collect()
}

/// By which keys WireGuard knows a node in a slot.
fn keys(objects: &PlanObjects) -> BTreeMap<(&str, u8), BTreeSet<&str>> {
    let slots: BTreeMap<&str, u8> =
        objects.wireguard_devices.iter().map(|device| (device.link.as_str(), device.slot)).collect();
    let mut keys: BTreeMap<(&str, u8), BTreeSet<&str>> = BTreeMap::new();
    for peer in &objects.wireguard_peers {
        if let Some(slot) = slots.get(peer.link.as_str()) {
            keys.entry((&peer.node, *slot)).or_default().insert(&peer.public_key);
        }
    }
    keys
}

/// Whether the uplink in `slot` has another card, or none, or is another's.
fn is_interrupted(slot: u8, old: &PlanObjects, new: &PlanObjects) -> bool {
    let netns = uplink_netns(slot);
    let stays = |link: &LinkSpec| {
        new.links.iter().any(|then| then.key() == link.key() && then.class(link) != ChangeClass::Disruptive)
    };
    let carries = |link: &&LinkSpec| !matches!(link.kind, LinkKind::Tunnel | LinkKind::Loopback);
    !old.links.iter().filter(|link| link.netns == netns).filter(carries).all(stays)
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::plan::{WireguardDeviceSpec, WireguardPeerSpec};

    use super::*;

    const ANCHOR: u32 = 7;
    const NONE: [u8; 0] = [];

    /// An edge with these slots and their cards.
    fn edge(slots: &[(u8, &str)]) -> PlanObjects {
        let remote = RemoteSpec {
            id: ANCHOR,
            node: "dal-a".into(),
            address: [10, 100, 0, 7].into(),
            anchor: 1,
            identity: 1,
            slots: slots.iter().map(|(slot, _)| *slot).collect(),
            classes: vec![1],
        };
        let links = slots.iter().map(|(slot, card)| LinkSpec::new(&uplink_netns(*slot), card, LinkKind::Nic)).collect();
        PlanObjects { remotes: vec![remote], links, ..PlanObjects::default() }
    }

    fn lost(old: &[(u8, &str)], new: &[(u8, &str)]) -> Vec<u8> {
        let leaving = Leaving::new(&edge(old), &edge(new), &BTreeSet::new(), Duration::ZERO);
        leaving.paths().iter().map(|(remote, slot)| (*remote == ANCHOR).then_some(*slot).unwrap()).collect()
    }

    #[test]
    fn paths_that_go_or_get_another_card_are_left_while_another_stays() {
        let all = [(1, "wan1"), (2, "wan2"), (3, "wan3")];
        assert_eq!(lost(&all, &all), NONE);
        assert_eq!(lost(&all, &all[1..]), [1]);
        assert_eq!(lost(&all[1..], &all), NONE, "it comes");
        assert_eq!(lost(&all, &[(4, "wan1"), (2, "wan2"), (3, "wan3")]), [1], "another slot");
        assert_eq!(lost(&all, &[(1, "wan2"), (2, "wan1"), (3, "wan3")]), [1, 2], "changed about");
        assert_eq!(lost(&all[..1], &all[1..]), NONE, "nothing would be left");
    }

    #[test]
    fn a_path_whose_far_end_gets_another_key_is_left() {
        let with = |key: &str| {
            let devices = [1, 2].map(|slot| WireguardDeviceSpec {
                slot,
                netns: uplink_netns(slot),
                link: format!("psw{slot}a1"),
                underlay_netns: uplink_netns(slot),
                listen_port: 0,
            });
            let peer = |(link, key): (&str, &str)| WireguardPeerSpec {
                link: link.into(),
                public_key: key.into(),
                node: "dal-a".into(),
                endpoint: None,
                allowed_ips: vec![],
                keepalive_seconds: 25,
            };
            let peers = [("psw1a1", key), ("psw2a1", "same")].map(peer);
            let edge = edge(&[(1, "wan1"), (2, "wan2")]);
            PlanObjects { wireguard_devices: devices.into(), wireguard_peers: peers.into(), ..edge }
        };
        assert_eq!(
            Leaving::new(&with("old"), &with("new"), &BTreeSet::new(), Duration::ZERO).paths(),
            &BTreeSet::from([(ANCHOR, 1)])
        );
        assert!(Leaving::new(&with("old"), &with("old"), &BTreeSet::new(), Duration::ZERO).paths().is_empty());
        let mut of_site = with("old");
        of_site.remotes[0].anchor = 0;
        let leaving = Leaving::new(&of_site, &with("new"), &BTreeSet::new(), Duration::ZERO);
        assert!(leaving.paths().is_empty(), "a site leaves a slot by itself before its key changes");
    }

    #[test]
    fn what_the_far_end_has_not_acknowledged_may_still_come_by_any_path() {
        let sent = |acknowledged| SteeringReport {
            remote: ANCHOR,
            class: 1,
            class_name: "voice".into(),
            active: 2,
            copies: vec![3],
            switch_counter: 1,
            acknowledged,
            reason: String::new(),
        };
        assert_eq!(sent_by(&[sent(true)]), BTreeSet::from([(ANCHOR, 2), (ANCHOR, 3)]));
        assert_eq!(sent_by(&[sent(true), sent(false)]), (1..=8).map(|slot| (ANCHOR, slot)).collect());
        let followed = FollowingReport { remote: 9, class: 1, active: 1, copies: vec![2] };
        assert_eq!(followed_by(&[followed]), BTreeSet::from([(9, 1), (9, 2)]));
    }

    #[test]
    fn a_remote_that_goes_or_comes_is_not_waited_for() {
        let (some, none) = (edge(&[(1, "wan1"), (2, "wan2")]), PlanObjects::default());
        assert!(Leaving::new(&some, &none, &BTreeSet::new(), Duration::ZERO).paths().is_empty());
        assert!(Leaving::new(&none, &some, &BTreeSet::new(), Duration::ZERO).paths().is_empty());
    }

    #[test]
    fn what_is_in_use_is_waited_for_and_then_what_is_under_way_but_not_for_ever() {
        let at = Duration::from_millis;
        let (old, then) = (edge(&[(1, "wan1"), (2, "wan2")]), edge(&[(2, "wan2")]));
        let new = |not_up: &[(u32, u8)]| Leaving::new(&old, &then, &not_up.iter().copied().collect(), at(100));
        let (used, other) = (BTreeSet::from([(ANCHOR, 1)]), BTreeSet::from([(ANCHOR, 2), (8, 1)]));
        assert!(new(&[(ANCHOR, 1)]).is_over(&used, at(100)), "nothing comes by it");
        let mut leaving = new(&[(8, 1), (ANCHOR, 2)]);
        let steps =
            [(&used, 100), (&used, 150), (&other, 200), (&other, 699), (&used, 700), (&other, 710), (&other, 1_209)];
        for (used, now) in steps {
            assert!(!leaving.is_over(used, at(now)), "{now} ms");
        }
        assert!(leaving.is_over(&other, at(1_210)));
        let mut leaving = new(&[]);
        assert!(!leaving.is_over(&used, at(5_099)));
        assert!(leaving.is_over(&used, at(5_100)), "somebody does not leave it");
    }
}
