//! An attack beside its twin, which differs in the forged field alone: the twin arrives, the attack does not and is
//! counted, each packet once, and nothing else is counted.

use anyhow::{Context, Result, ensure};
use pathsteer_lab::capture::inject;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::network::plan::{DISH, GUEST, HQ, INTERNET, LAN, MEDIA, WEB};

use super::tally::{Reason, Tally, risen, tally};
use super::witness::{FORGED, HONEST, Witness};
use crate::stage::{LOOK, PATIENCE, Stage};

/// Of each attack, and as many twins.
pub const PACKETS: u32 = 20;
/// Cards by which an attack could come to an end.
const ENDS: [(&str, &str); 7] =
    [(INTERNET, "eth0"), (WEB, "eth0"), (HQ, "wan0"), (DISH, "eth0"), (LAN, "eth0"), (MEDIA, "eth0"), (GUEST, "eth0")];

/// Where packets are put on a wire or into a tunnel.
#[derive(Clone)]
pub struct Muzzle {
    pub namespace: Namespace,
    pub card: String,
}

impl Muzzle {
    pub fn of(host: &Host, card: &str) -> Muzzle {
        Muzzle { namespace: host.net.clone(), card: card.into() }
    }
}

/// Where the twins come to.
#[derive(Clone)]
pub enum Target {
    /// An end of the lab, by its host.
    End(&'static str),
    /// A card in a namespace of a node.
    Card(Namespace, String),
}

pub struct Blow {
    pub what: String,
    pub from: Muzzle,
    /// Frames, or packets where the card knows none: an attack, its twin, and so on.
    pub packets: Vec<Vec<u8>>,
    /// Why the attack is dropped.
    pub reason: Reason,
    pub target: Target,
}

impl Blow {
    /// Of the frames that `forge` makes of a payload and whether it is to be forged.
    pub fn new(
        what: impl Into<String>,
        from: &Muzzle,
        reason: Reason,
        target: Target,
        mut forge: impl FnMut(&[u8], bool) -> Vec<u8>,
    ) -> Blow {
        let both =
            |number: u32| [(FORGED, true), (HONEST, false)].map(|(marker, is_forged)| (marker, is_forged, number));
        let packets = (0..PACKETS)
            .flat_map(both)
            .map(|(marker, is_forged, number)| forge(&[&marker[..], &number.to_be_bytes()].concat(), is_forged))
            .collect();
        Blow { what: what.into(), from: from.clone(), packets, reason, target }
    }

    /// Strikes, and insists on the outcome.
    pub fn strike(&self, stage: &Stage) -> Result<()> {
        self.outcome(stage).with_context(|| self.what.clone())
    }

    fn outcome(&self, stage: &Stage) -> Result<()> {
        let before = tally(stage)?;
        let mut witnesses = Vec::new();
        let mut target = None;
        for (host, card) in ENDS {
            if matches!(self.target, Target::End(end) if end == host) {
                target = Some(witnesses.len());
            }
            witnesses.push((host, Witness::start(&stage.network.host(host).net, card)?));
        }
        if let Target::Card(namespace, card) = &self.target {
            target = Some(witnesses.len());
            witnesses.push(("the node", Witness::start(namespace, card)?));
        }
        let target = &witnesses[target.context("the target is no end of the lab")?].1;
        inject(&self.from.namespace, &self.from.card, &self.packets)?;

        let deadline = clock::now() + PATIENCE / 5;
        let wanted = u64::from(PACKETS);
        let all_came = clock::wait_until(deadline, LOOK, || target.honest() >= wanted);
        let mut counted = Ok(Tally::new());
        clock::wait_until(deadline, LOOK, || {
            counted = tally(stage).map(|after| risen(&before, &after));
            counted.as_ref().map_or(true, |counted| counted.get(&self.reason) >= Some(&wanted))
        });
        let honest = target.honest();
        for (host, witness) in witnesses {
            let (forged, _) = witness.finish()?;
            ensure!(forged == 0, "{forged} of {PACKETS} forged packets came to {host}");
        }
        let counted = counted?;
        ensure!(all_came && honest == wanted, "of {PACKETS} twins {honest} came; counted: {counted:?}");
        let is_there = |reason: &Reason| (reason.node, &reason.place) == (self.reason.node, &self.reason.place);
        let there: Tally = counted.clone().into_iter().filter(|(reason, _)| is_there(reason)).collect();
        let only = Tally::from([(self.reason.clone(), wanted)]);
        ensure!(there == only, "counted is {counted:?} where {only:?} should be");
        Ok(())
    }
}
