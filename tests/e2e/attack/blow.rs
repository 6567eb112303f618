//! An attack beside its twin, which differs in the forged field alone: the twin arrives, the attack does not and is
//! counted, each packet once, and nothing else is counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use pathsteer_crds::ownership::uplink_netns;
use pathsteer_lab::capture::inject;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::network::plan::{DISH, GUEST, HQ, INTERNET, LAN, MEDIA, UPLINKS, WEB};

use super::tally::{Reason, Tally, risen, tally};
use super::witness::{FORGED, HONEST, Witness};
use crate::kernel::shell;
use crate::stage::{LOOK, PATIENCE, Stage};

/// Of each attack, and as many twins.
pub const PACKETS: u32 = 20;
/// Cards by which an attack could come to an end.
const ENDS: [(&str, &str); 7] =
    [(INTERNET, "eth0"), (WEB, "eth0"), (HQ, "wan0"), (DISH, "eth0"), (LAN, "eth0"), (MEDIA, "eth0"), (GUEST, "eth0")];

/// From where packets are sent.
#[derive(Clone)]
pub enum Muzzle {
    /// A card, on which they are put as they are: on a wire, or into a tunnel.
    Card { namespace: Namespace, card: String },
    /// Two sockets of a process on a node, both from one address; what is forged is sent by the one that was `bent`.
    Process { namespace: Namespace, from: IpAddr, to: SocketAddr, bent: Bent },
}

/// How a process makes a socket's packets go elsewhere.
#[derive(Clone)]
pub enum Bent {
    /// Its packets have this mark.
    Marked(u32),
    /// They leave by this link, whatever routes say.
    Bound(String),
}

impl Bent {
    fn bend(&self, socket: &UdpSocket) -> nix::Result<()> {
        match self {
            Bent::Marked(mark) => setsockopt(socket, sockopt::Mark, mark),
            Bent::Bound(link) => setsockopt(socket, sockopt::BindToDevice, &link.into()),
        }
    }
}

impl Muzzle {
    pub fn of(host: &Host, card: &str) -> Muzzle {
        Muzzle::Card { namespace: host.net.clone(), card: card.into() }
    }

    pub fn fire(&self, packets: &[Vec<u8>]) -> Result<()> {
        match self {
            Muzzle::Card { namespace, card } => inject(namespace, card, packets),
            Muzzle::Process { namespace, from, to, bent } => namespace.run(|| {
                let (forging, honest) = (UdpSocket::bind((*from, 0))?, UdpSocket::bind((*from, 0))?);
                bent.bend(&forging)?;
                for packet in packets {
                    if packet.starts_with(&FORGED) {
                        // What nft drops of a process's own is refused.
                        let _ = forging.send_to(packet, to);
                    } else {
                        honest.send_to(packet, to)?;
                    }
                }
                Ok(())
            }),
        }
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
    /// An end on the wire of the attack itself, which sees it there.
    pub beside: Option<&'static str>,
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
        Blow { what: what.into(), from: from.clone(), packets, reason, target, beside: None }
    }

    /// Strikes, and insists on the outcome; `before` is what was counted until now, and becomes what is counted then.
    fn strike(&self, stage: &Stage, before: &mut Tally) -> Result<()> {
        let mut witnesses = Vec::new();
        let mut target = None;
        for (host, card) in ENDS.into_iter().filter(|(host, _)| self.beside != Some(*host)) {
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
        self.from.fire(&self.packets)?;

        let deadline = clock::now() + PATIENCE / 5;
        let wanted = u64::from(PACKETS);
        let all_came = clock::wait_until(deadline, LOOK, || target.honest() >= wanted);
        let mut after = Ok(Tally::new());
        clock::wait_until(deadline, LOOK, || {
            after = tally(stage);
            after.as_ref().map_or(true, |after| risen(before, after).get(&self.reason) >= Some(&wanted))
        });
        let honest = target.honest();
        for (host, witness) in witnesses {
            let (forged, _) = witness.finish()?;
            ensure!(forged == 0, "{forged} of {PACKETS} forged packets came to {host}");
        }
        let after = after?;
        let counted = risen(before, &after);
        *before = after;
        ensure!(all_came && honest == wanted, "of {PACKETS} twins {honest} came; counted: {counted:?}");
        let only = Tally::from([(self.reason.clone(), wanted)]);
        ensure!(counted == only, "counted is {counted:?} where {only:?} should be");
        Ok(())
    }
}

/// Strikes one after another while nobody on the node asks for routers, which is counted as denied now and then.
pub fn strike_all(stage: &Stage, blows: &[Blow]) -> Result<()> {
    for uplink in &UPLINKS {
        shell(stage.edge(), &uplink_netns(uplink.slot), "sysctl -qw net.ipv6.conf.psv.accept_ra=0")?;
    }
    let mut counted = tally(stage)?;
    blows.iter().try_for_each(|blow| blow.strike(stage, &mut counted).with_context(|| blow.what.clone()))
}
