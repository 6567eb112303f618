//! Random plans and random vandalism, both from a row of dice that shrinks.

mod contents;

use pathsteer_agent_core::kernel::Kernel;
use pathsteer_agent_core::{PlanObject, Sweep, changes};
use pathsteer_crds::plan::{
    LentSysctlSpec, LinkKind, LinkSpec, NetnsSpec, PlanObjects, RuleAction, RuleSpec, SysctlSpec,
};
use proptest::prelude::*;

/// Cards every node has; a plan takes some of them.
pub const CARDS: [&str; 3] = ["wan1", "wan2", "lan0"];

/// Numbers thrown in advance. When they run out every throw is 0, which every choice takes as "the plain one".
#[derive(Debug, Clone)]
pub struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    pub fn throw(&mut self, sides: u8) -> u8 {
        self.0.next().unwrap_or(0) % sides
    }

    pub fn one_in(&mut self, n: u8) -> bool {
        self.throw(n) == n - 1
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let sides = u8::try_from(from.len()).ok().filter(|sides| *sides > 0)?;
        Some(from[usize::from(self.throw(sides))].clone())
    }
}

/// Dice for one plan or one act of vandalism.
pub fn dice() -> impl Strategy<Value = Dice> {
    prop::collection::vec(any::<u8>(), 0..160).prop_map(|numbers| Dice(numbers.into_iter()))
}

/// A sound plan of a small node: everything it refers to is in it.
pub fn plan(mut dice: Dice) -> PlanObjects {
    let mut plan = PlanObjects::default();
    for netns in ["psvip", "psup1", "psup2"] {
        if dice.throw(4) != 3 {
            plan.netns.push(NetnsSpec { name: netns.into() });
            plan.sysctls.push(SysctlSpec {
                netns: netns.into(),
                key: "net/ipv4/ip_forward".into(),
                value: dice.throw(2).to_string(),
            });
            plan.links.push(link(netns, "lo", LinkKind::Loopback));
        }
    }
    if dice.throw(2) == 0 {
        let (key, value) = ("net/ipv4/conf/wwan0/forwarding".into(), dice.throw(2).to_string());
        plan.lent_sysctls.push(LentSysctlSpec { key, value });
    }
    pairs(&mut plan, &mut dice);
    for card in CARDS {
        let netns = dice.pick(&plan.netns);
        if let Some(netns) = netns.filter(|_| !dice.one_in(3)) {
            plan.links.push(link(&netns.name, card, LinkKind::Nic));
            if dice.one_in(3) {
                let tagged = LinkKind::Vlan { parent: card.into(), id: 30 + u16::from(dice.throw(2)) };
                plan.links.push(link(&netns.name, &format!("psq{card}"), tagged));
            }
        }
    }
    for link in &mut plan.links {
        attributes(link, &mut dice);
    }
    contents::on_links(&mut plan, &mut dice);
    contents::of_the_datapath(&mut plan, &mut dice);
    contents::of_wireguard(&mut plan, &mut dice);
    contents::routing(&mut plan, &mut dice);
    contents::nft(&mut plan, &mut dice);
    plan.sort();
    plan
}

pub fn link(netns: &str, name: &str, kind: LinkKind) -> LinkSpec {
    LinkSpec::new(netns, name, kind)
}

/// Pairs that join namespaces, now with one end here, now there, and TUNs that take the same names.
fn pairs(plan: &mut PlanObjects, dice: &mut Dice) {
    let ends: Vec<(String, &str)> =
        plan.netns.iter().flat_map(|netns| ["psa", "psb"].map(|name| (netns.name.clone(), name))).collect();
    let mut free = ends;
    while free.len() > 1 {
        let (netns, name) = free.remove(0);
        match dice.throw(4) {
            0 | 1 => {
                let (peer_netns, peer) = free.remove(usize::from(dice.throw(free.len() as u8)));
                let there = LinkKind::Veth { peer_netns: netns.clone(), peer: name.into() };
                let here = LinkKind::Veth { peer_netns: peer_netns.clone(), peer: peer.into() };
                plan.links.push(link(&netns, name, here));
                plan.links.push(link(&peer_netns, peer, there));
            }
            2 => plan.links.push(link(&netns, name, LinkKind::Tunnel)),
            _ => {}
        }
    }
}

fn attributes(link: &mut LinkSpec, dice: &mut Dice) {
    if link.kind != LinkKind::Loopback {
        link.mtu = [None, Some(1_420), Some(1_388)][usize::from(dice.throw(3))];
        link.gso_max_segs = [None, Some(1)][usize::from(dice.throw(2))];
        link.mac = [None, Some("02:70:73:00:00:01".to_owned())][usize::from(dice.throw(2))].clone();
    }
}

/// What somebody else does to a kernel behind our back.
pub fn vandalise(kernel: &mut Kernel, mut dice: Dice) {
    for _ in 0..dice.throw(8) {
        let seen = kernel.observe(&PlanObjects::default());
        match dice.throw(5) {
            0 => {
                if let Some(link) = dice.pick(&seen.links) {
                    kernel.set_down(&link);
                }
            }
            // Anything of any noun is taken away, in whatever order.
            1 | 2 => {
                let is_card = |object: &PlanObject| matches!(object, PlanObject::Link(l) if l.kind == LinkKind::Nic);
                let all =
                    changes(&PlanObjects::default(), &seen, Sweep::Everything).into_iter().map(|change| change.object);
                kernel.steal(dice.pick(&all.filter(|object| !is_card(object)).collect::<Vec<_>>()));
            }
            3 => {
                if let Some(sysctl) = dice.pick(&seen.sysctls) {
                    kernel.set(&sysctl, "7");
                }
            }
            _ => {
                if let Some(rule) = dice.pick(&seen.rules) {
                    kernel.plant(RuleSpec { action: RuleAction::Blackhole, ..rule });
                }
            }
        }
    }
}

/// What an agent with another plan leaves that dies in the middle of its work, or fails at half of it.
pub fn half_build(kernel: &mut Kernel, other: &PlanObjects, mut dice: Dice) {
    let planned = changes(other, &kernel.observe(other), Sweep::Everything);
    let end = planned.len() * usize::from(dice.throw(8)) / 7;
    let often = 2 + dice.throw(6);
    for change in &planned[..end] {
        if !dice.one_in(often) {
            // What depends on what was left out may be refused.
            let _refused = kernel.apply(change).is_err();
        }
    }
}
