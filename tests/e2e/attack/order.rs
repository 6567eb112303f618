//! A malicious site again: sequences, epochs and switch messages that it makes up, and packets without a shim.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{ANCHOR_NETNS, edge_tunnel, uplink_netns};
use pathsteer_lab::craft::{checksum, ip, udp};
use pathsteer_lab::network::plan::{ANCHOR_HOST, CLIENT, INTERNET, LAN, SERVER};
use serde_json::Value;

use super::blow::{Blow, Target, strike_all};
use super::shim::{CONTROL, Shim, tunnel};
use super::site::van;
use super::steady::Steady;
use super::tally::Reason;
use super::witness::HONEST;
use crate::kernel::shell;
use crate::stage::Stage;
use crate::talk::talk;

const NEAR: SocketAddr = SocketAddr::new(IpAddr::V4(CLIENT), 41_820);
const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(SERVER), 7_120);
/// The example's window, in packets.
const WINDOW: u32 = 16_384;
/// Type of a switch message.
const SWITCH: u8 = 1;
/// ICMP's number in an IPv4 header, and its type of an echo request.
const ICMP: u8 = 1;
const ECHO: u8 = 8;

/// Everything that harms the bucket or the class it is said in, and nothing beside.
pub fn case(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let mut shim = Shim::caught(stage, 1, NEAR, FAR)?;
    let steady_ends = (SocketAddr::new(NEAR.ip(), 41_830), SocketAddr::new(FAR.ip(), 7_130));
    let busy = Shim::caught(stage, 1, steady_ends.0, steady_ends.1)?;
    ensure!(shim.gre.key & 0xff != busy.gre.key & 0xff, "forged and honest packets share a bucket");
    let van = van(stage)?;

    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    let steady = Steady::start((lan, steady_ends.0), (internet, steady_ends.1))?;
    let struck = beside_others(stage, van, &mut shim).and_then(|blows| strike_all(stage, &blows));
    let rounds = steady.finish().context("beside the attacks");
    struck?;
    rounds?;
    strike_all(stage, &switches(stage, van, &shim)?)?;
    strike_all(stage, &epochs(stage, van, &mut shim)?)?;
    // The van's own packets are of the refused epoch for 2 s; then they begin anew, in every bucket.
    stage.until("the van is heard again", |stage| {
        Ok(talk((stage.network.host(LAN), NEAR), (stage.network.host(INTERNET), FAR), 1).is_ok())
    })
}

fn beside_others(stage: &Stage, van: u32, shim: &mut Shim) -> Result<Vec<Blow>> {
    let tunnel = tunnel(stage, 1)?;
    let inner = |payload: &[u8]| udp(NEAR, FAR, payload);
    // Ahead by more than the window: taken, as after a long silence.
    shim.gre.sequence += 2 * WINDOW + 1;
    tunnel.fire(&[shim.next().around(&inner(b"a jump ahead"))])?;
    let mut blows = Vec::new();
    for (what, behind, reason) in
        [("a sequence behind the window", WINDOW, "late"), ("a sequence that was there before", 0, "duplicate")]
    {
        let reason = Reason::shim(van, reason);
        blows.push(Blow::new(what, &tunnel, reason, Target::End(INTERNET), |payload, forged| {
            if !forged {
                return shim.next().around(&inner(payload));
            }
            let mut old = shim.clone();
            old.gre.sequence -= behind;
            old.outer.id = old.gre.sequence as u16;
            old.around(&inner(payload))
        }));
    }
    let anchor: SocketAddr = "198.51.100.1:7120".parse()?;
    let reason = Reason::nft(ANCHOR_HOST, ANCHOR_NETNS, "denied");
    blows.push(Blow::new("to the anchor itself", &tunnel, reason, Target::End(INTERNET), |payload, forged| {
        shim.next().around(&udp(NEAR, if forged { anchor } else { FAR }, payload))
    }));
    blows.push(bare(stage, shim)?);
    Ok(blows)
}

/// Packets without a shim: an echo to the probe address of that slot is answered, nothing else is even heard.
fn bare(stage: &Stage, shim: &Shim) -> Result<Blow> {
    let [own, anchor] = probes(stage)?;
    let tunnel = tunnel(stage, 1)?;
    let namespace = stage.edge().namespace(&uplink_netns(1))?;
    let target = Target::Card(namespace, edge_tunnel(1, 1));
    let endpoint = shim.outer.destination;
    let what = format!("without a shim to {endpoint}, where only shimmed packets go");
    Ok(Blow::new(what, &tunnel, Reason::shim(0, "notShim"), target, |payload, forged| {
        ip(own.into(), if forged { endpoint } else { anchor }.into(), ICMP, &echo(payload))
    }))
}

/// The van's own probe address in slot 1, and the anchor's.
fn probes(stage: &Stage) -> Result<[Ipv4Addr; 2]> {
    let address = |host, netns: &str, card: &str| -> Result<Ipv4Addr> {
        let listed: Value = serde_json::from_str(&shell(host, netns, &format!("ip -j -4 address show dev {card}"))?)?;
        let text = listed[0]["addr_info"][0]["local"].as_str().with_context(|| format!("{card} has no address"))?;
        Ok(text.parse()?)
    };
    let own = address(stage.edge(), &uplink_netns(1), &edge_tunnel(1, 1))?;
    Ok([own, address(stage.anchor(), ANCHOR_NETNS, "psw1")?])
}

fn echo(payload: &[u8]) -> Vec<u8> {
    let mut message = [&[ECHO, 0, 0, 0, 0, 7, 0, 1], payload].concat();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Switch messages: the twin is acknowledged with its own counter and nonce, which are the marker here.
fn switches(stage: &Stage, van: u32, shim: &Shim) -> Result<Vec<Blow>> {
    let tunnel = tunnel(stage, 1)?;
    let namespace = stage.edge().namespace(&uplink_netns(1))?;
    let class = (shim.gre.key >> 20 & 15) as u8;
    let mut control = shim.clone().with_key(0, 24, 0);
    control.gre.protocol = CONTROL;
    let honest = [class, 1, 0, 0];
    let forged = [
        ("to a slot that the van does not have", [class, 4, 0, 0], "copySet"),
        ("with copies by such a slot", [class, 1, 1 << 3, 0], "copySet"),
        ("with copies by the active slot", [class, 1, 1, 0], "copySet"),
        ("of a class that was never allocated", [14, 1, 0, 0], "class"),
        ("with bits where none belong", [class, 1, 0, 1], "unknown"),
    ];
    let blow = |(what, fields, reason): (&str, [u8; 4], &str)| {
        let target = Target::Card(namespace.clone(), edge_tunnel(1, 1));
        Blow::new(format!("a switch {what}"), &tunnel, Reason::shim(van, reason), target, |payload, is_forged| {
            let fields = if is_forged { fields } else { honest };
            control.around(&[&[SWITCH], &fields[..], &[0; 3], &payload[..HONEST.len()]].concat())
        })
    };
    Ok(forged.map(blow).into())
}

/// The first packet of the next epoch is the end of this one, for 2 s.
fn epochs(stage: &Stage, van: u32, shim: &mut Shim) -> Result<Vec<Blow>> {
    let next = (shim.epoch() + 1) & 31;
    let inner = |payload: &[u8]| udp(NEAR, FAR, payload);
    let what = "packets of the epoch before";
    let reason = Reason::shim(van, "staleEpoch");
    let mut blow = Blow::new(what, &tunnel(stage, 1)?, reason, Target::End(INTERNET), |payload, forged| {
        let packet = shim.next();
        let packet = if forged { packet } else { packet.with_key(24, 5, next) };
        packet.around(&inner(payload))
    });
    blow.packets.insert(0, shim.next().with_key(24, 5, next).around(&inner(b"the next epoch")));
    Ok(vec![blow])
}
