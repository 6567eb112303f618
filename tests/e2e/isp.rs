//! Providers as they are: one without IPv4, and one behind another's address translation.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::capture::{Capture, FiveTuple};
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{
    ANCHOR_HOST, EDGE, INTERNET, LAN, OPERATOR, OPERATOR_PORT, OPERATOR6, TUNNEL_PORTS, UPLINKS, WAN,
};
use pathsteer_lab::network::provider::EDGE_SIDE;

use crate::kernel::shell;
use crate::shape::declare;
use crate::stage::Stage;
use crate::talk::{ENDS, socket, talk};

/// Where an edge's agent reads its operator's address.
const CONFIG: &str = "/etc/pathsteer/agent.yaml";
/// What the most impatient translators grant a UDP flow.
const FORGETFUL: Duration = Duration::from_secs(30);
const ROUNDS: u32 = 50;

/// The cheapest uplink has no IPv4 at all. Its tunnel and the session with the operator are over IPv6; IPv4 inside does
/// not notice.
pub fn ipv6_only(stage: &mut Stage) -> Result<()> {
    let config = stage.edge().read(CONFIG)?;
    let v4 = format!("https://{OPERATOR}:{OPERATOR_PORT}");
    ensure!(config.contains(&v4), "the agent looks elsewhere for its operator: {config}");
    stage.edge().write(CONFIG, &config.replace(&v4, &format!("https://[{OPERATOR6}]:{OPERATOR_PORT}")))?;
    let shown = over_ipv6(stage);
    stage.edge().write(CONFIG, &config)?;
    let agent = stage.fleet.agent(EDGE)?;
    agent.kill()?;
    agent.restart()?;
    shown
}

fn over_ipv6(stage: &mut Stage) -> Result<()> {
    let uplink = &UPLINKS[0];
    let manifest = format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {{site: {EDGE}, name: {}}}
spec: {{slot: {}, kind: fiber, interface: {}, address: slaac, cost: 10}}
",
        uplink.name, uplink.slot, uplink.card
    );
    declare::apply(stage, &[declare::anchor(1_500), manifest])?;
    let agent = stage.fleet.agent(EDGE)?;
    agent.kill()?;
    agent.restart()?;
    let netns = pathsteer_crds::ownership::uplink_netns(uplink.slot);
    let card = uplink.card;
    stage.until("the uplink has no address of IPv4", |stage| {
        Ok(shell(stage.edge(), &netns, &format!("ip -4 -o address show dev {card}"))?.is_empty())
    })?;
    stage.until("the session is over IPv6, by the uplink without IPv4", |stage| {
        let to = format!("ss -H -t -n state established dst [{OPERATOR6}]:{OPERATOR_PORT}");
        Ok(!shell(stage.edge(), &netns, &to)?.is_empty())
    })?;
    stage.ready()?;
    let report = stage.report(EDGE)?;
    let reported = report.uplinks.iter().find(|report| report.slot == uplink.slot).context("it is reported")?;
    let prefix = uplink.prefix6().to_string();
    let address = reported.address.as_deref().unwrap_or_default();
    ensure!(address.starts_with(prefix.trim_end_matches(':')), "its address is reported as {reported:?}");
    stage.on_fiber(true)?;
    let capture = Capture::start(stage.network.host(uplink.router), EDGE_SIDE, is_tunnel)?;
    let hosts = [LAN, INTERNET].map(|name| stage.network.host(name).clone());
    let talked = ENDS.into_iter().zip([42_100, 42_200]).try_for_each(|((client, server), port)| {
        talk((&hosts[0], SocketAddr::new(client, port)), (&hosts[1], SocketAddr::new(server, port)), ROUNDS)
    });
    let seen = capture.finish()?;
    talked?;
    for (way, flows) in [("up", &seen.received), ("down", &seen.sent)] {
        let over = |v4: bool| -> u64 {
            flows.iter().filter(|(tuple, _)| tuple.source.0.is_ipv4() == v4).map(|(_, count)| count).sum()
        };
        ensure!(over(true) == 0, "{way}: {} datagrams over IPv4", over(true));
        ensure!(over(false) >= 2 * u64::from(ROUNDS), "{way}: only {} datagrams over IPv6", over(false));
    }
    stage.nobody_notices(Duration::from_secs(2), |_, _, _, _| Ok(()))
}

fn is_tunnel(tuple: &FiveTuple) -> bool {
    [tuple.source.1, tuple.destination.1].iter().any(|port| TUNNEL_PORTS.contains(port))
}

/// A provider that translates addresses is behind one that translates them again, and both forget soon. The site is
/// still found by what comes down after a silence longer than that.
pub fn double_nat(stage: &mut Stage) -> Result<()> {
    let uplink = &UPLINKS[1];
    let seconds = FORGETFUL.as_secs().to_string();
    let timeouts = ["net/netfilter/nf_conntrack_udp_timeout", "net/netfilter/nf_conntrack_udp_timeout_stream"]
        .map(|key| (key, &*seconds));
    stage.network.host(WAN).nft(&format!(
        "table ip carrier {{
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr {} meta l4proto udp masquerade random
            }}
        }}",
        uplink.public()[0]
    ))?;
    // a name space has its timeouts once it tracks
    stage.network.host(WAN).sysctl(&timeouts)?;
    stage.network.host(uplink.router).sysctl(&timeouts)?;
    let shown = behind_two(stage);
    stage.network.host(WAN).nft("delete table ip carrier")?;
    shown
}

fn behind_two(stage: &mut Stage) -> Result<()> {
    let uplink = &UPLINKS[1];
    stage.without_copies()?;
    stage.fleet.cli(&["uplink", "force", &format!("{EDGE}/{}", uplink.name)])?;
    stage.fleet.wait_for_paths("the forced uplink", |paths| paths.active == uplink.name)?;
    let seen_as = |stage: &Stage| -> Result<Option<String>> {
        let tunnels = stage.report(ANCHOR_HOST)?.tunnels;
        Ok(tunnels.into_iter().find(|tunnel| tunnel.slot == uplink.slot).and_then(|tunnel| tunnel.endpoint))
    };
    let outer: IpAddr = "203.0.113.1".parse()?;
    stage.until("the anchor sees the site by the outer translator", |stage| {
        let endpoint = seen_as(stage)?.and_then(|endpoint| endpoint.parse::<SocketAddr>().ok());
        Ok(endpoint.is_some_and(|endpoint| endpoint.ip() == outer))
    })?;
    let (lan, internet) = (stage.network.host(LAN).clone(), stage.network.host(INTERNET).clone());
    let (client, server) = ENDS[0];
    let (near, far) = (SocketAddr::new(client, 42_300), SocketAddr::new(server, 42_300));
    talk((&lan, near), (&internet, far), ROUNDS)?;
    let before = seen_as(stage)?;
    // Silence is what is to be shown.
    clock::sleep_until(clock::now() + FORGETFUL + Duration::from_secs(10));
    let (down, up) = (socket(&internet, far)?, socket(&lan, near)?);
    down.send_to(b"after", near)?;
    let mut bytes = [0; 16];
    let (length, source) = up.recv_from(&mut bytes).context("the first packet down after a silence was lost")?;
    ensure!(&bytes[..length] == b"after" && source == far, "got {:?} from {source}", &bytes[..length]);
    ensure!(seen_as(stage)? == before, "the way in was {before:?} and is {:?}", seen_as(stage)?);
    drop((down, up));
    talk((&lan, near), (&internet, far), ROUNDS)
}
