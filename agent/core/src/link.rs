//! Interfaces. A declared one that is down is observed as absent: see [`crate::ownership::is_link_observed`].

use std::collections::BTreeSet;

use pathsteer_crds::plan::{CardSpec, LinkKind, LinkSpec, PlanObjects};

use crate::noun::{Noun, place};
use crate::{Action, Change, ChangeClass, PlanObject};

impl Noun for LinkSpec {
    type Key<'a> = (&'a str, &'a str);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, &self.name)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        let Self { netns: _, name: _, kind, mtu, mac, gso_max_segs, card } = self;
        *kind == found.kind
            && card.as_ref().is_none_or(|card| found.card.as_ref().is_some_and(|other| is_card(card, other)))
            && (mtu.is_none() || *mtu == found.mtu)
            && (gso_max_segs.is_none() || *gso_max_segs == found.gso_max_segs)
            && mac.as_ref().is_none_or(|mac| found.mac.as_ref().is_some_and(|other| mac.eq_ignore_ascii_case(other)))
    }

    fn class(&self, found: &Self) -> ChangeClass {
        let is_it = match (&self.card, &found.card) {
            (Some(card), Some(other)) => is_card(card, other),
            (None, _) => true,
            (Some(_), None) => false,
        };
        if self.kind == found.kind && is_it { ChangeClass::InPlace } else { ChangeClass::Disruptive }
    }

    fn name(&self) -> String {
        format!("link {}/{}", place(&self.netns), self.name)
    }

    /// Network cards late: with them the world outside can come in, and by then everything inside stands.
    fn rank(&self) -> u8 {
        match self.kind {
            LinkKind::Loopback => 0,
            LinkKind::Veth { .. } | LinkKind::Tunnel => 1,
            LinkKind::Nic => 2,
            // On a card, and gone before it.
            LinkKind::Vlan { .. } => 3,
        }
    }

    /// A namespace always has its loopback.
    fn removable(&self) -> bool {
        self.kind != LinkKind::Loopback
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.links
    }
}

/// The card as found, whose `bus` is the whole way to it, is the declared one.
pub fn is_card(declared: &CardSpec, found: &CardSpec) -> bool {
    // How a card is taken is nothing that it shows.
    let CardSpec { mac, bus, radio: _ } = declared;
    let on_the_way = |bus: &String| found.bus.as_ref().is_some_and(|way| way.split('/').any(|device| device == bus));
    (mac.is_none() || *mac == found.mac) && bus.as_ref().is_none_or(on_the_way)
}

/// `one` is an 802.1Q segment of `trunk`.
pub(crate) fn is_tagged_on(one: &LinkSpec, trunk: &LinkSpec) -> bool {
    matches!(&one.kind, LinkKind::Vlan { parent, .. } if (&one.netns, parent) == (&trunk.netns, &trunk.name))
}

/// `found` stands where `declared` has to be: it has its name and is something else, or it is the very network card,
/// in another of our namespaces.
pub(crate) fn in_the_way(declared: &LinkSpec, found: &LinkSpec) -> bool {
    let cards = declared.kind == LinkKind::Nic && found.kind == LinkKind::Nic;
    if declared.key() == found.key() {
        declared.class(found) == ChangeClass::Disruptive
    } else {
        cards
            && match (&declared.card, &found.card) {
                (Some(CardSpec { mac: None, bus: None, .. }) | None, _) => declared.name == found.name,
                (Some(declared), Some(found)) => is_card(declared, found),
                (Some(_), None) => false,
            }
    }
}

/// Leaves of two changes to the ends of one pair the one that does both: a pair is created and deleted whole. The end
/// created along with the first still has to be given what is declared about it.
pub(crate) fn once_per_pair(changes: Vec<Change>) -> Vec<Change> {
    let mut created = BTreeSet::new();
    let mut deleted = BTreeSet::new();
    let mut kept = Vec::with_capacity(changes.len());
    for change in changes {
        let PlanObject::Link(LinkSpec { netns, name, kind: LinkKind::Veth { peer_netns, peer }, .. }) = &change.object
        else {
            kept.push(change);
            continue;
        };
        let other_end = (peer_netns.clone(), peer.clone());
        let done = match change.action {
            Action::Create => &mut created,
            Action::Delete => &mut deleted,
            Action::Update => {
                kept.push(change);
                continue;
            }
        };
        if !done.contains(&other_end) {
            done.insert((netns.clone(), name.clone()));
            kept.push(change);
        } else if change.action == Action::Create {
            kept.extend(rest_of_pair(&change.object));
        }
    }
    kept
}

/// What is declared about an end that has just been created along with the other one.
fn rest_of_pair(object: &PlanObject) -> Option<Change> {
    let PlanObject::Link(declared) = object else { return None };
    let bare = LinkSpec::new(&declared.netns, &declared.name, declared.kind.clone());
    (*declared != bare).then(|| Change {
        action: Action::Update,
        object: object.clone(),
        previous: Some(PlanObject::Link(bare)),
        class: ChangeClass::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sweep;
    use crate::changes;

    fn end(name: &str, peer: &str, mtu: Option<u32>) -> LinkSpec {
        let kind = LinkKind::Veth { peer_netns: "psvip".into(), peer: peer.into() };
        LinkSpec { mtu, ..LinkSpec::new("psvip", name, kind) }
    }

    fn planned(desired: Vec<LinkSpec>, observed: Vec<LinkSpec>) -> Vec<(Action, String, ChangeClass)> {
        let objects = |links| PlanObjects { links, ..PlanObjects::default() };
        let changes = changes(&objects(desired), &objects(observed), Sweep::Everything);
        changes.into_iter().map(|change| (change.action, change.object.name(), change.class)).collect()
    }

    #[test]
    fn a_pair_is_created_once_and_what_is_declared_about_its_other_end_set_afterwards() {
        let wanted = vec![end("ps0", "ps1", Some(1_388)), end("ps1", "ps0", Some(1_388))];
        let (ps0, ps1) = ("link psvip/ps0".to_owned(), "link psvip/ps1".to_owned());
        let expected = [(Action::Create, ps0.clone(), ChangeClass::None), (Action::Update, ps1, ChangeClass::None)];
        assert_eq!(planned(wanted, vec![]), expected);
        let bare = vec![end("ps0", "ps1", None), end("ps1", "ps0", None)];
        assert_eq!(planned(bare, vec![]), [(Action::Create, ps0, ChangeClass::None)]);
    }

    #[test]
    fn a_pair_is_deleted_once() {
        let found = vec![end("ps0", "ps1", None), end("ps1", "ps0", None)];
        assert_eq!(planned(vec![], found), [(Action::Delete, "link psvip/ps0".into(), ChangeClass::None)]);
    }

    #[test]
    fn a_link_of_another_kind_makes_room_first() {
        let tun = LinkSpec { kind: LinkKind::Tunnel, ..end("ps0", "ps1", None) };
        let found = vec![end("ps0", "ps1", None), end("ps1", "ps0", None)];
        let name = "link psvip/ps0".to_owned();
        let expected =
            [(Action::Delete, name.clone(), ChangeClass::Disruptive), (Action::Create, name, ChangeClass::None)];
        assert_eq!(planned(vec![tun], found), expected);
    }

    #[test]
    fn the_case_of_a_mac_makes_no_difference() {
        let with_mac = |mac: &str| LinkSpec { mac: Some(mac.into()), ..end("ps0", "ps1", None) };
        assert!(with_mac("02:70:73:00:00:0A").satisfied_by(&with_mac("02:70:73:00:00:0a")));
        assert!(!with_mac("02:70:73:00:00:0a").satisfied_by(&end("ps0", "ps1", None)));
    }

    fn card(netns: &str, name: &str, mac: &str, bus: Option<&str>) -> LinkSpec {
        let card = CardSpec { mac: Some(mac.into()), bus: bus.map(Into::into), radio: false };
        LinkSpec { card: Some(card), ..LinkSpec::new(netns, name, LinkKind::Nic) }
    }

    #[test]
    fn another_card_under_the_name_of_the_declared_one_makes_room_and_it_is_taken() {
        let (declared, found) = (card("psup1", "psn1", "02::01", None), card("psup1", "psn1", "02::02", Some("1-2")));
        let name = "link psup1/psn1".to_owned();
        let expected =
            [(Action::Delete, name.clone(), ChangeClass::Disruptive), (Action::Create, name, ChangeClass::None)];
        assert_eq!(planned(vec![declared], vec![found]), expected);
    }

    #[test]
    fn a_card_in_the_namespace_of_another_uplink_is_given_back_before_it_is_taken() {
        let (declared, found) = (card("psup2", "psn2", "02::01", None), card("psup1", "psn1", "02::01", Some("1-2")));
        let expected = [
            (Action::Delete, "link psup1/psn1".to_owned(), ChangeClass::Disruptive),
            (Action::Create, "link psup2/psn2".to_owned(), ChangeClass::None),
        ];
        assert_eq!(planned(vec![declared], vec![found]), expected);
    }

    #[test]
    fn a_card_is_the_declared_one_by_its_mac_and_by_any_device_on_the_way_to_it() {
        let found = CardSpec {
            mac: Some("02::01".into()),
            bus: Some("pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0".into()),
            radio: false,
        };
        let is = |mac: Option<&str>, bus: Option<&str>| {
            is_card(&CardSpec { mac: mac.map(Into::into), bus: bus.map(Into::into), radio: false }, &found)
        };
        assert!(is(Some("02::01"), None) && is(None, Some("1-2")) && is(Some("02::01"), Some("0000:00:04.0")));
        assert!(!is(Some("02::02"), None) && !is(None, Some("1-3")) && !is(None, Some("1")));
        assert!(!is(Some("02::02"), Some("1-2")), "both have to hold");
    }
}
