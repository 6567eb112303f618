//! A site that means ill, at the second anchor: whoever runs the yacht has its keys, and puts what he likes into its
//! tunnel. Each forged packet goes beside a twin that differs in the forged field alone and is delivered.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{edge_tunnel, uplink_netns};
use pathsteer_lab::capture::{PacketSocket, Recording, Watch, inject};
use pathsteer_lab::craft::{Gre, Ipv4, udp};
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::network::plan::{ANCHOR_HOST, Anchor, CHI_A, EDGE, MANY, Segment, YACHT_2};

use crate::mesh::{addresses, servers};
use crate::snat::seen_as;
use crate::stage::{Stage, with_maps};

/// Of each attack, and as many twins.
const PACKETS: u32 = 20;
/// What the payload of a forged packet begins with, and that of its twin: as long as each other.
const FORGED: [u8; 16] = *b"psrogue-forged!!";
const HONEST: [u8; 16] = *b"psrogue-honest!!";
/// Of the yacht's client and of the server; no policy names them.
const NEAR: u16 = 47_000;
const FAR: u16 = 17_000;
/// Longer than any way through the lab.
const PATIENCE: Duration = Duration::from_secs(2);
/// The yacht's best line.
const SLOT: u8 = 1;
/// What rises with honest packets.
const NO_REASONS: [&str; 4] = ["sent", "whole", "delivered", "control"];

/// Why packets were dropped: by anchor, by remote (0 for none), or by worker.
type Tally = BTreeMap<(&'static str, String), u64>;

pub fn case(stage: &mut Stage) -> Result<()> {
    let yacht = stage.index(YACHT_2)?;
    let chicago = MANY.anchors.iter().find(|anchor| anchor.name == CHI_A).context("the second anchor")?;
    let mut shim = Shim::caught(stage, chicago)?;
    let cabin = &MANY.site(YACHT_2).segments[0];
    let crew = &MANY.site(EDGE).segments[0];
    let victim = endpoint(stage, EDGE)?;
    for (family, server) in servers(chicago).into_iter().enumerate() {
        let to = SocketAddr::new(server, FAR);
        let inner =
            |segment: &Segment, payload: &[u8]| udp(SocketAddr::new(addresses(segment)[family], NEAR), to, payload);
        let spoofed =
            shim.beside_twins(|shim, payload, forged| shim.around(&inner(if forged { crew } else { cabin }, payload)));
        strike(stage, &spoofed, (chicago.server, to), (CHI_A, format!("remote {yacht}: forged")))
            .with_context(|| format!("another site's source, to {server}"))?;
        let claimed = shim.beside_twins(|shim, payload, forged| {
            let source = if forged { victim } else { shim.outer.source };
            Shim { outer: Ipv4 { source, ..shim.outer.clone() }, ..shim }.around(&inner(cabin, payload))
        });
        strike(stage, &claimed, (chicago.server, to), (CHI_A, format!("worker {SLOT}: rejected")))
            .with_context(|| format!("another remote's endpoint, to {server}"))?;
    }
    Ok(())
}

/// Sends `packets` into the yacht's tunnel: of them only the twins may come to `server`, and nothing but `reason` may
/// be counted at either anchor, for any site.
fn strike(
    stage: &mut Stage,
    packets: &[Vec<u8>],
    (server, address): (&str, SocketAddr),
    reason: (&'static str, String),
) -> Result<()> {
    let host = stage.network.host(server);
    let socket = host.net.run(|| Ok(UdpSocket::bind(address)?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let eye = host.net.run(|| PacketSocket::open_whole("eth0"))?;
    let eye = Watch::start(eye, |forged: &mut u64, frame, _| {
        *forged += u64::from(frame.windows(FORGED.len()).any(|bytes| bytes == FORGED));
    })?;
    let (namespace, link) = tunnel(stage, YACHT_2, SLOT, CHI_A)?;
    let before = tally(stage)?;
    inject(&namespace, &link, packets)?;
    // The last twin was sent after the last forged packet: what was let through has come by then.
    for number in 0..PACKETS {
        let mut bytes = [0; 32];
        let length = socket.recv(&mut bytes).with_context(|| format!("twin {number} was lost"))?;
        let twin = [&HONEST[..], &number.to_be_bytes()].concat();
        ensure!(bytes[..length] == twin, "{:?} came instead of twin {number}", &bytes[..length]);
    }
    let wanted = Tally::from([(reason.clone(), u64::from(PACKETS))]);
    let mut counted = Tally::new();
    let met = stage.until("the forged packets are counted", |stage| {
        counted = risen(&before, &tally(stage)?);
        Ok(counted.get(&reason) >= wanted.get(&reason))
    });
    let forged = eye.finish()?;
    ensure!(forged == 0, "{forged} forged packets came to {server}");
    met.with_context(|| format!("counted is {counted:?}"))?;
    ensure!(counted == wanted, "counted is {counted:?} instead of {wanted:?}");
    Ok(())
}

/// A genuine shim, whose sequence goes on.
#[derive(Clone)]
struct Shim {
    outer: Ipv4,
    gre: Gre,
}

impl Shim {
    /// That of the last packet of a conversation between the yacht's client and the server behind `anchor`.
    fn caught(stage: &mut Stage, anchor: &Anchor) -> Result<Shim> {
        let (namespace, link) = tunnel(stage, YACHT_2, SLOT, CHI_A)?;
        let recording = Recording::start(&namespace, &link)?;
        let cabin = &MANY.site(YACHT_2).segments[0];
        seen_as(stage, (cabin.client, cabin.v4.into()), (anchor.server, anchor.server_v4.into()))?;
        let frames = recording.finish()?.0;
        let mut shims = frames.iter().rev().filter(|frame| frame.outgoing).filter_map(|frame| Shim::read(&frame.bytes));
        shims.next().context("no shimmed packet was caught")
    }

    /// None where there is none around an IPv4 packet.
    fn read(packet: &[u8]) -> Option<Shim> {
        let header = packet.first_chunk::<32>()?;
        let four = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let (key, sequence) = (u32::from_be_bytes(four(24)), u32::from_be_bytes(four(28)));
        let is_shim = header[0] == 0x45 && header[9] == Gre::PROTOCOL && header[22..24] == [0x08, 0x00];
        let outer = Ipv4::new(four(12).into(), four(16).into(), Gre::PROTOCOL);
        is_shim.then_some(Shim { outer, gre: Gre { protocol: 0x0800, key, sequence } })
    }

    /// Forged packets and their twins in turn, as `forge` makes them of a shim, a payload and whether it is to be forged.
    fn beside_twins(&mut self, forge: impl Fn(Shim, &[u8], bool) -> Vec<u8>) -> Vec<Vec<u8>> {
        let both = |number: u32| [(FORGED, true, number), (HONEST, false, number)];
        let packet = |(marker, is_forged, number): ([u8; 16], bool, u32)| {
            self.gre.sequence += 1;
            self.outer.id = self.gre.sequence as u16;
            forge(self.clone(), &[&marker[..], &number.to_be_bytes()].concat(), is_forged)
        };
        (0..PACKETS).flat_map(both).map(packet).collect()
    }

    /// The whole packet around `inner`.
    fn around(&self, inner: &[u8]) -> Vec<u8> {
        let protocol = if inner[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        self.outer.packet(&Gre { protocol, ..self.gre }.payload(inner))
    }
}

/// The tunnel of `site` in `slot` to `anchor`: what is put there goes to the anchor as it is.
pub fn tunnel(stage: &Stage, site: &str, slot: u8, anchor: &str) -> Result<(Namespace, String)> {
    let remotes = stage.plan(site)?.objects.remotes;
    let remote = remotes.iter().find(|remote| remote.node == anchor);
    let index = remote.with_context(|| format!("{site} does not know {anchor}"))?.anchor;
    Ok((stage.network.host(site).namespace(&uplink_netns(slot))?, edge_tunnel(slot, index)))
}

/// The shim endpoint of `site`.
pub fn endpoint(stage: &Stage, site: &str) -> Result<Ipv4Addr> {
    let remotes = stage.plan(ANCHOR_HOST)?.objects.remotes;
    let remote = remotes.iter().find(|remote| remote.node == site);
    Ok(remote.with_context(|| format!("{ANCHOR_HOST} does not know {site}"))?.address)
}

/// What both anchors have dropped up to now.
fn tally(stage: &Stage) -> Result<Tally> {
    let mut all = Tally::new();
    for anchor in [ANCHOR_HOST, CHI_A] {
        for (remote, counters) in with_maps(stage.network.host(anchor), |maps| Ok(maps.counters()?))? {
            let reasons = counters.into_iter().filter(|(name, _)| !NO_REASONS.contains(name));
            all.extend(reasons.map(|(name, count)| ((anchor, format!("remote {remote}: {name}")), count)));
        }
        let report = stage.fleet.report(anchor)?.with_context(|| format!("{anchor} has not reported"))?;
        for counter in report.counters.into_iter().filter(|counter| counter.place.starts_with("worker")) {
            all.insert((anchor, format!("{}: {}", counter.place, counter.name)), counter.packets);
        }
    }
    Ok(all)
}

/// What `after` has more than `before`.
fn risen(before: &Tally, after: &Tally) -> Tally {
    let more = |(reason, count): (&(&'static str, String), &u64)| {
        // A worker that was started again counts anew.
        let more = count.saturating_sub(before.get(reason).copied().unwrap_or(0));
        (more > 0).then(|| (reason.clone(), more))
    };
    after.iter().filter_map(more).collect()
}
