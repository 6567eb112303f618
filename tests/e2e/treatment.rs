//! What becomes of a flow by its treatment: in which tunnels it is, whether it is copied, what of it is on a provider's
//! wire in clear, and as whom the far end sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_crds::ownership::{edge_tunnel, uplink_netns};
use pathsteer_lab::capture::Recording;
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{
    CLIENT, CLIENT6, GUEST, GUEST_CLIENT, GUEST_CLIENT6, INTERNET, LAN, MEDIA, MEDIA_CLIENT, MEDIA_CLIENT6, SERVER,
    SERVER6, UPLINKS, WEB, WEB_SERVER, WEB_SERVER6,
};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::traffic::{Datagrams, Exchange, Marker, exchange};

use crate::shape::declare;
use crate::stage::Stage;

/// Which a policy of these cases makes a service, and which one of the example's makes survivable.
const SERVICE_PORT: u16 = 7_300;
const VOICE_PORT: u16 = 5_060;
/// Which no policy names.
const OTHER_PORT: u16 = 7_301;
const PERIOD: Duration = Duration::from_millis(5);
const DURATION: Duration = Duration::from_millis(250);
/// From the order to send until the first packet.
const LEAD: Duration = Duration::from_millis(30);
/// Not used by any other measurement.
static NEXT_RUN: AtomicU64 = AtomicU64::new(900_000);

const SERVICE_POLICY: &str = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: payments}
spec:
  match: [{protocol: udp, ports: [\"7300\"]}]
  treatment: service
";

/// A client behind the van, by family.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub host: &'static str,
    pub addresses: [IpAddr; 2],
}

pub const CREW: Client = Client { host: LAN, addresses: [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT6)] };
pub const PLAYER: Client = Client { host: MEDIA, addresses: [IpAddr::V4(MEDIA_CLIENT), IpAddr::V6(MEDIA_CLIENT6)] };
pub const VISITOR: Client = Client { host: GUEST, addresses: [IpAddr::V4(GUEST_CLIENT), IpAddr::V6(GUEST_CLIENT6)] };
/// Servers, the first behind the anchor.
pub const BEHIND_ANCHOR: Client = Client { host: INTERNET, addresses: [IpAddr::V4(SERVER), IpAddr::V6(SERVER6)] };
pub const ON_THE_WEB: Client = Client { host: WEB, addresses: [IpAddr::V4(WEB_SERVER), IpAddr::V6(WEB_SERVER6)] };

/// How a flow travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In the tunnel of the fiber, and in that of the starlink once more.
    Copied,
    /// In the tunnel of the fiber alone.
    Tunnelled,
    /// Straight out by the fiber, with its address.
    Direct,
}

pub fn survivable(stage: &mut Stage) -> Result<()> {
    travels(stage, CREW, (BEHIND_ANCHOR, OTHER_PORT), Marker::SURVIVABLE, Way::Copied)
}

pub fn service(stage: &mut Stage) -> Result<()> {
    declare::apply(stage, &[SERVICE_POLICY.to_owned(), segment("media", "lan1", "service")])?;
    stage.on_fiber(true)?;
    travels(stage, CREW, (BEHIND_ANCHOR, SERVICE_PORT), Marker::SERVICE, Way::Tunnelled).context("by a policy")?;
    travels(stage, PLAYER, (BEHIND_ANCHOR, OTHER_PORT), Marker::SERVICE, Way::Tunnelled).context("by its segment")?;
    travels(stage, PLAYER, (BEHIND_ANCHOR, VOICE_PORT), Marker::SURVIVABLE, Way::Copied)
        .context("a service segment's call")
}

pub fn mixed(stage: &mut Stage) -> Result<()> {
    travels(stage, PLAYER, (BEHIND_ANCHOR, VOICE_PORT), Marker::SURVIVABLE, Way::Copied).context("a call")?;
    travels(stage, PLAYER, (ON_THE_WEB, OTHER_PORT), Marker::MIXED, Way::Direct).context("the rest")
}

pub fn guest(stage: &mut Stage) -> Result<()> {
    travels(stage, VISITOR, (ON_THE_WEB, OTHER_PORT), Marker::GUEST, Way::Direct)?;
    travels(stage, VISITOR, (ON_THE_WEB, VOICE_PORT), Marker::GUEST, Way::Direct).context("on a port of a policy")
}

pub fn best_effort(stage: &mut Stage) -> Result<()> {
    declare::apply(stage, &[segment("guests", "lan2", "bestEffort")])?;
    stage.on_fiber(true)?;
    travels(stage, VISITOR, (ON_THE_WEB, OTHER_PORT), Marker::BEST_EFFORT, Way::Direct)?;
    travels(stage, VISITOR, (ON_THE_WEB, VOICE_PORT), Marker::BEST_EFFORT, Way::Direct).context("on a port of a policy")
}

/// The example's segment, with another treatment.
pub fn segment(name: &str, card: &str, treatment: &str) -> String {
    let addresses = match card {
        "lan1" => "172.16.8.1/24, \"2001:db8:8::1/64\"",
        _ => "10.77.0.1/24, \"fd77::1/64\"",
    };
    format!(
        "apiVersion: pathsteer.io/v1alpha1
kind: Vlan
metadata: {{site: rv-07, name: {name}}}
spec: {{interface: {card}, addresses: [{addresses}], treatment: {treatment}}}
"
    )
}

/// Frames with a marker, at the edge's end of each tunnel and on the wire of each provider, from and to the edge.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    tunnel: BTreeMap<&'static str, (usize, usize)>,
    wire: BTreeMap<&'static str, (usize, usize)>,
}

/// Questions of `client` and answers, in both families, travel by `way` and no other.
fn travels(stage: &mut Stage, client: Client, server: (Client, u16), marker: Marker, way: Way) -> Result<()> {
    for family in [0, 1] {
        let what = format!("{} asks {}", client.addresses[family], server.0.addresses[family]);
        one_family(stage, client, server, family, marker, way).context(what)?;
    }
    Ok(())
}

fn one_family(
    stage: &mut Stage,
    client: Client,
    (server, port): (Client, u16),
    family: usize,
    marker: Marker,
    way: Way,
) -> Result<()> {
    let mut recordings = Vec::new();
    for uplink in &UPLINKS {
        let netns = stage.edge().namespace(&uplink_netns(uplink.slot))?;
        recordings.push((uplink.name, true, Recording::start(&netns, &edge_tunnel(uplink.slot, 1))?));
        let router = &stage.network.host(uplink.name).net;
        recordings.push((uplink.name, false, Recording::start(router, EDGE_SIDE)?));
    }
    let near = SocketAddr::new(client.addresses[family], 43_000 + port % 1_000);
    let far = SocketAddr::new(server.addresses[family], port);
    let Exchange { questions, answers, seen_as } = ask(stage, (client.host, near), (server.host, far), marker)?;

    let mut seen = Seen::default();
    for (uplink, in_tunnel, recording) in recordings {
        let frames = recording.finish()?;
        let marked = |up: bool| {
            // The edge sends into its tunnel; what it sends on a wire, the provider's router receives.
            frames.count(|frame| marker.is_in(&frame.bytes) && (frame.outgoing == in_tunnel) == up)
        };
        let counts = (marked(true), marked(false));
        if counts != (0, 0) {
            if in_tunnel { &mut seen.tunnel } else { &mut seen.wire }.insert(uplink, counts);
        }
    }
    let sent = questions.sent as usize;
    let both = (sent, sent);
    let [first, second] = [UPLINKS[0].name, UPLINKS[1].name];
    let wanted = match way {
        Way::Copied => Seen { tunnel: BTreeMap::from([(first, both), (second, both)]), wire: BTreeMap::new() },
        Way::Tunnelled => Seen { tunnel: BTreeMap::from([(first, both)]), wire: BTreeMap::new() },
        Way::Direct => Seen { tunnel: BTreeMap::new(), wire: BTreeMap::from([(first, both)]) },
    };
    ensure!(seen == wanted, "seen was {seen:?}, wanted {wanted:?}");
    for (what, account) in [("questions", &questions), ("answers", &answers)] {
        let whole = account.lost.is_empty() && account.duplicated == 0;
        ensure!(whole, "of {sent} {what} {} were lost, {} doubled", account.lost.len(), account.duplicated);
    }
    match way {
        Way::Copied | Way::Tunnelled => ensure!(seen_as == BTreeSet::from([near]), "seen as {seen_as:?}"),
        Way::Direct => ensure!(seen_as.iter().all(|from| is_of_provider(from.ip())), "seen as {seen_as:?}"),
    }
    Ok(())
}

/// Questions every 5 ms for a quarter of a second, each answered.
pub fn ask(
    stage: &Stage,
    client: (&'static str, SocketAddr),
    server: (&'static str, SocketAddr),
    marker: Marker,
) -> Result<Exchange> {
    let run = NEXT_RUN.fetch_add(1, Relaxed);
    let start = clock::now() + LEAD;
    let datagrams = Datagrams { marker, ..Datagrams::every(PERIOD, run) };
    let hosts = (stage.network.host(client.0), stage.network.host(server.0));
    let all = exchange((hosts.0, client.1), (hosts.1, server.1), datagrams, (start, start + DURATION))?;
    if all.questions.received == 0 {
        bail!("no question arrived");
    }
    Ok(all)
}

/// Whether the first uplink's provider has given out `address`: its own in IPv4, one of its prefix in IPv6.
fn is_of_provider(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 == UPLINKS[0].public()[0],
        IpAddr::V6(v6) => v6.segments()[..4] == UPLINKS[0].prefix6().segments()[..4],
    }
}
