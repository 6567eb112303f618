//! Behind the van: guests who take others' addresses or knock where they must not, one segment at another's door, and a
//! process on the node that chooses a path by itself.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use pathsteer_crds::mark;
use pathsteer_crds::ownership::{VIP_NETNS, uplink_netns, uplink_veth};
use pathsteer_lab::craft::{FIN, Mac, SYN, Tcp, ethernet, udp};
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{
    CLIENT, CLIENT6, EDGE, GUEST, GUEST_CLIENT, GUEST_CLIENT6, HQ, INTERNET, LAN, MEDIA, MEDIA_CLIENT, MEDIA_CLIENT6,
    SERVER, WEB, WEB_SERVER, WEB_SERVER6,
};
use serde_json::Value;

use super::blow::{Bent, Blow, Muzzle, Target, strike_all};
use super::tally::Reason;
use crate::kernel::shell;
use crate::stage::Stage;
use crate::talk::talk;

const NEAR: u16 = 41_900;
const FAR: u16 = 7_200;

/// Addresses that a guest may not use.
const SPOOFED: [&str; 5] = ["172.16.7.2", "2001:db8:7::2", "198.18.7.1", "172.16.8.2", "203.0.113.66"];
/// Where a guest may not go, and what is there.
const BARRED: [(&str, &str); 16] = [
    ("the node itself", "10.77.0.1"),
    ("the node itself", "fd77::1"),
    ("the crew's gateway", "172.16.7.1"),
    ("the node's VIP", "198.18.7.1"),
    ("the node's VIP", "2001:db8:7:ff::1"),
    ("a client of the crew", "172.16.7.2"),
    ("a client of the crew", "2001:db8:7::2"),
    ("a player", "172.16.8.2"),
    ("the operator", "192.0.2.10"),
    ("the dish", "192.168.100.1"),
    ("the fibre's router", "192.168.1.1"),
    ("the dish's router", "100.64.2.1"),
    ("the anchor's endpoint", "203.0.113.10"),
    ("the anchor's shim endpoint", "10.100.0.1"),
    ("an uplink's namespace", "169.254.78.6"),
    ("the shim", "169.254.77.2"),
];

/// Media may open flows to the crew.
const REACHES: &str = r#"
apiVersion: pathsteer.io/v1alpha1
kind: Vlan
metadata: {site: rv-07, name: media}
spec:
  interface: lan1
  addresses: [172.16.8.1/24, "2001:db8:8::1/64"]
  treatment: mixed
  reaches: [crew]
"#;

pub fn guest(stage: &mut Stage) -> Result<()> {
    let wire = Wire::of(stage, GUEST, "lan2")?;
    let here = |v6: bool| if v6 { IpAddr::V6(GUEST_CLIENT6) } else { GUEST_CLIENT.into() };
    let spoofed = SPOOFED.iter().map(|address| {
        let address: IpAddr = address.parse()?;
        let (here, web) = (here(address.is_ipv6()), web(address.is_ipv6()));
        let what = format!("a guest as {address}");
        Ok(wire.blow(what, "spoofed", WEB, move |forged| (if forged { address } else { here }, web)))
    });
    let barred = BARRED.iter().map(|(place, address)| {
        let address: IpAddr = address.parse()?;
        let (here, web) = (here(address.is_ipv6()), web(address.is_ipv6()));
        let what = format!("a guest to {address}, {place}");
        Ok(wire.blow(what, "barred", WEB, move |forged| (here, if forged { address } else { web })))
    });
    let mut blows = spoofed.chain(barred).collect::<Result<Vec<Blow>>>()?;
    // The node's own address on a WAN is no secret, and in no list.
    let address = wan_address(stage)?;
    let mut blow = wire.blow(format!("a guest to {address}, the van's on its fibre"), "denied", WEB, |forged| {
        (here(true), if forged { address } else { web(true) })
    });
    let on_the_fibre = Reason::nft(EDGE, &uplink_netns(1), "denied");
    blow.reason = on_the_fibre.clone();
    blows.push(blow);
    for v6 in [false, true] {
        let (what, reason) = (format!("the end of a connection that {} never began", here(v6)), on_the_fibre.clone());
        let mut ports = NEAR..;
        blows.push(Blow::new(what, &wire.card, reason, Target::End(WEB), |payload, forged| {
            // A flow of its own for each, so that no answer to a twin makes the next one part of it.
            let source = SocketAddr::new(here(v6), ports.next().unwrap_or(NEAR));
            let flags = if forged { FIN } else { SYN };
            let destination = SocketAddr::new(web(v6), FAR);
            let segment = Tcp { source, destination, sequence: 1, acknowledgement: 0, flags };
            ethernet(wire.ends.0, wire.ends.1, &segment.packet(payload))
        }));
    }
    strike_all(stage, &blows)
}

pub fn vlan(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let (lan, media) = (Wire::of(stage, LAN, "lan0")?, Wire::of(stage, MEDIA, "lan1")?);
    let (crew, players): ([IpAddr; 2], [IpAddr; 2]) =
        ([CLIENT.into(), CLIENT6.into()], [MEDIA_CLIENT.into(), MEDIA_CLIENT6.into()]);
    let mut to_crew = Vec::new();
    for (player, client) in players.into_iter().zip(crew) {
        let web = web(player.is_ipv6());
        to_crew.push(media.blow(format!("{player} to {client}"), "denied", WEB, move |forged| {
            (player, if forged { client } else { web })
        }));
    }
    strike_all(stage, &to_crew)?;

    stage.network.host(HQ).write("/run/media.yaml", REACHES)?;
    stage.fleet.cli(&["apply", "-f", "/run/media.yaml"])?;
    stage.until("media reaches the crew", |stage| {
        let near = SocketAddr::new(players[0], NEAR + 1);
        Ok(talk((stage.network.host(MEDIA), near), (stage.network.host(LAN), SocketAddr::new(crew[0], FAR)), 1).is_ok())
    })?;
    stage.as_planned()?;
    for (player, client) in players.into_iter().zip(crew) {
        let (near, far) = (SocketAddr::new(player, NEAR + 2), SocketAddr::new(client, FAR));
        talk((stage.network.host(MEDIA), near), (stage.network.host(LAN), far), 5)?;
    }
    // Answers flow; what the crew opens does not.
    let server = IpAddr::from(SERVER);
    let to_players = lan.blow("the crew to a player".into(), "denied", INTERNET, move |forged| {
        (crew[0], if forged { players[0] } else { server })
    });
    strike_all(stage, &[to_players])
}

pub fn marked(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let namespace = stage.edge().namespace(VIP_NETNS)?;
    let (from, to): (IpAddr, SocketAddr) = ("198.18.7.1".parse()?, SocketAddr::new(SERVER.into(), FAR));
    let marked = |mark| (Bent::Marked(mark), "forgedMark");
    let blows = [
        ("marks its packets for the path by the fibre", marked(mark::path(1, 1))),
        ("marks its packets for the path by the dish and a copy", marked(mark::path(2, 1) | mark::copy_bit(1))),
        ("marks its packets to go straight out", marked(mark::DIRECT)),
        ("marks its packets with a steering class", marked(mark::class(1))),
        ("sends by the fibre's link itself", (Bent::Bound(uplink_veth(1).0), "leak")),
    ]
    .map(|(what, (bent, reason))| {
        let muzzle = Muzzle::Process { namespace: namespace.clone(), from, to, bent };
        let what = format!("a process that {what}");
        let reason = Reason::nft(EDGE, VIP_NETNS, reason);
        Blow::new(what, &muzzle, reason, Target::End(INTERNET), |payload, _| payload.to_vec())
    });
    strike_all(stage, &blows)
}

/// A client's card, and the node's at the other end.
struct Wire {
    card: Muzzle,
    ends: (Mac, Mac),
}

impl Wire {
    fn of(stage: &Stage, client: &'static str, card: &str) -> Result<Wire> {
        let host = stage.network.host(client);
        let ends = (mac(host, "", "eth0")?, mac(stage.edge(), VIP_NETNS, card)?);
        Ok(Wire { card: Muzzle::of(host, "eth0"), ends })
    }

    /// Datagrams between the two addresses that `forge` says, dropped where the segments meet.
    fn blow(&self, what: String, reason: &str, target: &'static str, forge: impl Fn(bool) -> (IpAddr, IpAddr)) -> Blow {
        let reason = Reason::nft(EDGE, VIP_NETNS, reason);
        Blow::new(what, &self.card, reason, Target::End(target), |payload, forged| {
            let (source, destination) = forge(forged);
            let packet = udp(SocketAddr::new(source, NEAR), SocketAddr::new(destination, FAR), payload);
            ethernet(self.ends.0, self.ends.1, &packet)
        })
    }
}

fn web(v6: bool) -> IpAddr {
    if v6 { WEB_SERVER6.into() } else { WEB_SERVER.into() }
}

/// The address of `card` in `netns` of `host`.
pub fn mac(host: &Host, netns: &str, card: &str) -> Result<Mac> {
    let listed: Value = serde_json::from_str(&shell(host, netns, &format!("ip -j link show dev {card}"))?)?;
    let text = listed[0]["address"].as_str().with_context(|| format!("{card} has no address"))?;
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    bytes.try_into().ok().with_context(|| format!("{text} is no address of a card"))
}

fn wan_address(stage: &Stage) -> Result<IpAddr> {
    let listed = shell(stage.edge(), &uplink_netns(1), "ip -j -6 address show dev wan1 scope global")?;
    let listed: Value = serde_json::from_str(&listed)?;
    let address = listed[0]["addr_info"][0]["local"].as_str().context("wan1 has no IPv6 address")?;
    Ok(address.parse()?)
}
