//! Strangers on a WAN: the van's neighbour on its fibre, and another customer behind the anchor.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS, uplink_netns, uplink_veth};
use pathsteer_lab::capture::{FiveTuple, Recording};
use pathsteer_lab::craft::{Gre, ethernet, ip, udp};
use pathsteer_lab::network::plan::{
    ANCHOR, ANCHOR_HOST, CLIENT, CLIENT6, EDGE, INTERNET, LAN, MEDIA, MEDIA_CLIENT, MEDIA_CLIENT6, NEIGHBOUR,
    Neighbour, RACK, UPLINKS, VAN,
};
use pathsteer_lab::network::provider::EDGE_SIDE;

use super::blow::{Blow, Muzzle, Target, strike_all};
use super::segment::mac;
use super::steady::Steady;
use super::tally::Reason;
use crate::stage::Stage;
use crate::talk::{ENDS, socket, talk};

/// Port of the anchor's slot 1.
const TUNNEL: u16 = 51_821;
/// WireGuard's message type of data, and the length of one without a packet inside (keepalive).
const DATA: u8 = 4;
const KEEPALIVE: usize = 32;
/// Ethernet, IPv4 and UDP before a WireGuard message.
const HEADERS: usize = 14 + 20 + 8;
/// The shim endpoints of the anchor and of the van.
const ANCHOR_SHIM: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);
const VAN_SHIM: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);
/// Datagrams that are sent once more, from each of two addresses.
const REPLAYS: usize = 20;

/// Datagrams of the van's tunnel sent once more, from its own address and from another: refused, and the tunnel stays
/// where it was.
pub fn replay(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let neighbour = stage.network.host(NEIGHBOUR);
    let (client, server) = ENDS[0];
    let (near, far) = (SocketAddr::new(client, 42_000), SocketAddr::new(server, 7_300));
    let recording = Recording::start(&neighbour.net, "eth0")?;
    talk((stage.network.host(LAN), near), (stage.network.host(INTERNET), far), 2 * REPLAYS as u32)?;
    let anchor = (IpAddr::from(ANCHOR), TUNNEL);
    let mut caught: Vec<Vec<u8>> = recording.finish()?.0.into_iter().map(|frame| frame.bytes).collect();
    caught.retain(|frame| {
        let is_data = frame.len() > HEADERS + KEEPALIVE && frame[HEADERS] == DATA;
        is_data && FiveTuple::of(frame).is_some_and(|tuple| tuple.destination == anchor)
    });
    ensure!(caught.len() >= REPLAYS, "the neighbour has seen {} datagrams of the tunnel", caught.len());
    caught.truncate(REPLAYS);
    let router = mac(stage.network.host("fiber"), "", EDGE_SIDE)?;
    let stranger = SocketAddr::new(UPLINKS[0].neighbour.context("the fibre has no neighbour")?.v4.into(), TUNNEL);
    let here = mac(neighbour, "", "eth0")?;
    let moved: Vec<Vec<u8>> = caught
        .iter()
        .map(|frame| ethernet(here, router, &udp(stranger, SocketAddr::from(anchor), &frame[HEADERS..])))
        .collect();

    let (before, endpoint) = (rejected(stage)?, endpoint(stage)?);
    let (near, far) = (SocketAddr::new(client, 42_001), SocketAddr::new(server, 7_301));
    let steady = Steady::start((stage.network.host(LAN), near), (stage.network.host(INTERNET), far))?;
    let card = Muzzle::of(neighbour, "eth0");
    let fired = card.fire(&[caught, moved.clone()].concat());
    let all_are_refused = |stage: &mut Stage, replays: u64| -> Result<()> {
        let wanted = before + replays;
        stage.until("the anchor has reported every replay", |stage| Ok(rejected(stage)? >= wanted))?;
        let counted = rejected(stage)?;
        ensure!(counted == wanted, "of {replays} replays {} were refused", counted - before);
        Ok(())
    };
    let counted = all_are_refused(stage, 2 * REPLAYS as u64);
    let rounds = steady.finish().context("beside the replays")?;
    fired?;
    counted?;
    // Once more in silence: honest datagrams would bring a tunnel back that had moved.
    card.fire(&moved)?;
    all_are_refused(stage, 3 * REPLAYS as u64)?;
    ensure!(self::endpoint(stage)? == endpoint, "the anchor now sends to {:?}", self::endpoint(stage)?);
    stage.remark(format!("{rounds} questions and answers beside the replays"));
    Ok(())
}

/// What the anchor's worker of slot 1 has refused, as last reported.
pub fn rejected(stage: &Stage) -> Result<u64> {
    let counters = stage.report(ANCHOR_HOST)?.counters;
    let found = counters.iter().find(|counter| counter.name == "rejected" && counter.place == "worker 1");
    Ok(found.map_or(0, |counter| counter.packets))
}

/// Where the anchor's slot 1 finds the van.
fn endpoint(stage: &Stage) -> Result<BTreeSet<Option<String>>> {
    let tunnels = stage.report(ANCHOR_HOST)?.tunnels.into_iter();
    Ok(tunnels.filter(|tunnel| tunnel.slot == 1 && tunnel.peer == EDGE).map(|tunnel| tunnel.endpoint).collect())
}

/// The neighbour answers a player's direct flow, which is the twin; and tries everything else.
pub fn neighbour(stage: &mut Stage) -> Result<()> {
    let host = stage.network.host(NEIGHBOUR);
    let Neighbour { card, v4, v6, .. } = UPLINKS[0].neighbour.context("the fibre has no neighbour")?;
    let namespace = uplink_netns(1);
    let ends = (mac(host, "", card)?, mac(stage.edge(), &namespace, "wan1")?);
    let muzzle = Muzzle::of(host, card);
    let (within, card) = uplink_veth(1);
    let inner = (mac(stage.edge(), &namespace, card)?, mac(stage.edge(), VIP_NETNS, &within)?);
    let within = Muzzle::Card { namespace: stage.edge().namespace(&namespace)?, card: card.into() };
    let players: [(IpAddr, IpAddr, IpAddr); 2] =
        [(v4.into(), MEDIA_CLIENT.into(), CLIENT.into()), (v6.into(), MEDIA_CLIENT6.into(), CLIENT6.into())];
    let (mut blows, mut open) = (Vec::new(), Vec::new());
    for (here, player, client) in players {
        let (near, far) = (SocketAddr::new(player, 42_010), SocketAddr::new(here, 7_310));
        let (asking, answering) = (socket(stage.network.host(MEDIA), near)?, socket(host, far)?);
        asking.send_to(b"who are you?", far)?;
        let (_, van) = answering.recv_from(&mut [0; 16]).context("a player's question to the neighbour was lost")?;
        ensure!(van.ip() != player, "a direct flow shows the player's own address");
        open.extend([asking, answering]);

        let mut add = |what: String, reason: &str, forge: &dyn Fn(&[u8]) -> Vec<u8>| {
            let reason = Reason::nft(EDGE, &namespace, reason);
            blows.push(Blow::new(what, &muzzle, reason, Target::End(MEDIA), |payload, forged| {
                let packet = if forged { forge(payload) } else { udp(far, van, payload) };
                ethernet(ends.0, ends.1, &packet)
            }));
        };
        for behind in [near, SocketAddr::new(client, near.port())] {
            let what = format!("{here} to {}, with the van as next hop", behind.ip());
            add(what, "denied", &|payload| udp(far, behind, payload));
        }
        let gre = Gre { protocol: 0x0800, key: 1 << 20, sequence: 1 };
        add(format!("GRE from {here}"), "overlay", &|payload| ip(here, van.ip(), Gre::PROTOCOL, &gre.payload(payload)));
        if here.is_ipv4() {
            let from = SocketAddr::new(ANCHOR_SHIM.into(), far.port());
            add("a neighbour with the anchor's shim endpoint".into(), "overlay", &|payload| udp(from, van, payload));
            let to = SocketAddr::new(VAN_SHIM.into(), van.port());
            add("a neighbour to the van's shim endpoint".into(), "overlay", &|payload| udp(far, to, payload));
        }
        // As if nothing had stopped it where it came in: from there on an answer to a player is the twin.
        let crew = SocketAddr::new(client, near.port());
        let what = format!("{here} to {client}, past the uplink's own guard");
        blows.push(Blow::new(
            what,
            &within,
            Reason::nft(EDGE, VIP_NETNS, "denied"),
            Target::End(MEDIA),
            |payload, forged| ethernet(inner.0, inner.1, &udp(far, if forged { crew } else { near }, payload)),
        ));
    }
    strike_all(stage, &blows)
}

/// Somebody on the wire behind the anchor, whose honest datagrams reach the van's client.
pub fn internet(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let host = stage.network.host(RACK);
    let [_, neighbour] = VAN.anchors[0].neighbours;
    let Neighbour { card, v4, v6, .. } = neighbour.context("nobody is behind the anchor")?;
    let ends = (mac(host, "", card)?, mac(stage.anchor(), ANCHOR_NETNS, "inet0")?);
    let muzzle = Muzzle::of(host, card);
    let mut blows = Vec::new();
    for (what, source, reason) in [
        ("a player of the van", "172.16.8.2", "spoofed"),
        ("a player of the van", "2001:db8:8::2", "spoofed"),
        ("the van's VIP", "198.18.7.1", "spoofed"),
        ("the van's shim endpoint", "10.100.0.2", "overlay"),
    ] {
        let source: IpAddr = source.parse()?;
        let v6_too = source.is_ipv6();
        let (here, client): (IpAddr, IpAddr) =
            if v6_too { (v6.into(), CLIENT6.into()) } else { (v4.into(), CLIENT.into()) };
        let reason = Reason::nft(ANCHOR_HOST, ANCHOR_NETNS, reason);
        let what = format!("from the internet as {source}, {what}");
        blows.push(Blow::new(what, &muzzle, reason, Target::End(LAN), |payload, forged| {
            let from = SocketAddr::new(if forged { source } else { here }, 7_320);
            ethernet(ends.0, ends.1, &udp(from, SocketAddr::new(client, 42_020), payload))
        }));
    }
    let gre = Gre { protocol: 0x0800, key: 1 << 20, sequence: 1 };
    let (here, client): (IpAddr, IpAddr) = (v4.into(), CLIENT.into());
    let (from, to) = (SocketAddr::new(here, 7_320), SocketAddr::new(client, 42_020));
    let mut add = |what, forge: &dyn Fn(&[u8]) -> Vec<u8>| {
        let reason = Reason::nft(ANCHOR_HOST, ANCHOR_NETNS, "overlay");
        blows.push(Blow::new(what, &muzzle, reason, Target::End(LAN), |payload, forged| {
            ethernet(ends.0, ends.1, &if forged { forge(payload) } else { udp(from, to, payload) })
        }));
    };
    add("GRE from the internet", &|payload| ip(here, client, Gre::PROTOCOL, &gre.payload(payload)));
    let endpoint = SocketAddr::new(VAN_SHIM.into(), to.port());
    add("from the internet to the van's shim endpoint", &|payload| udp(from, endpoint, payload));
    blows.iter_mut().for_each(|blow| blow.beside = Some(INTERNET));
    strike_all(stage, &blows)
}
