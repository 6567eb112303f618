//! Eyes on every wire and in every tunnel, which search whole frames for markers and say during what they were there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use pathsteer_crds::ownership::{ANCHOR_NETNS, anchor_tunnel, edge_tunnel, uplink_netns};
use pathsteer_lab::capture::{FiveTuple, PacketSocket, Watch};
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, INTERNET, UPLINKS, WAN};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::traffic::Marker;

use crate::packet;

/// What may not be on a wire of a provider or of the anchor, in either direction.
const NOT_IN_CLEAR: [Marker; 2] = [Marker::SURVIVABLE, Marker::SERVICE];
/// What may not be in a tunnel, nor behind one.
const NOT_IN_TUNNEL: [Marker; 2] = [Marker::GUEST, Marker::BEST_EFFORT];

/// What was seen, by what was going on then.
type Seen = BTreeMap<String, u64>;

/// Eyes on both sides.
pub struct Eyes {
    moment: Arc<Mutex<String>>,
    wires: Vec<Watch<Seen>>,
    tunnels: Vec<Watch<Seen>>,
}

/// What they have seen.
pub struct Verdict {
    /// What should not have been there: place, what it was, during what, and how many frames.
    pub leaks: Seen,
    /// Kinds of places where traffic was seen that belongs there: an eye that sees nothing proves nothing.
    pub seeing: BTreeSet<&'static str>,
}

const WIRE: &str = "a wire";
const TUNNEL: &str = "a tunnel";
/// What `seeing` holds besides leaks.
const RIGHT: &str = "as it should";

impl Eyes {
    /// Eyes on the wire of every provider, and of the anchor, and behind the anchor.
    pub fn on_wires(network: &Network) -> Result<Eyes> {
        let mut eyes = Eyes { moment: Arc::default(), wires: Vec::new(), tunnels: Vec::new() };
        for (host, interface) in UPLINKS.iter().map(|uplink| (uplink.name, EDGE_SIDE)).chain([(WAN, "dal0")]) {
            let watch = eyes.on(&network.host(host).net, host, interface, on_wire)?;
            eyes.wires.push(watch);
        }
        // What comes out of the anchor has been in a tunnel.
        let watch = eyes.on(&network.host(INTERNET).net, INTERNET, "eth0", in_tunnel)?;
        eyes.tunnels.push(watch);
        Ok(eyes)
    }

    /// The same, and in every tunnel at both of its ends.
    pub fn everywhere(network: &Network) -> Result<Eyes> {
        let mut eyes = Eyes::on_wires(network)?;
        for uplink in &UPLINKS {
            let (edge, anchor) = (network.host(EDGE), network.host(ANCHOR_HOST));
            let netns = edge.namespace(&uplink_netns(uplink.slot))?;
            let watch = eyes.on(&netns, EDGE, &edge_tunnel(uplink.slot, 1), in_tunnel)?;
            eyes.tunnels.push(watch);
            let netns = anchor.namespace(ANCHOR_NETNS)?;
            let watch = eyes.on(&netns, ANCHOR_HOST, &anchor_tunnel(uplink.slot), in_tunnel)?;
            eyes.tunnels.push(watch);
        }
        Ok(eyes)
    }

    fn on(
        &self,
        netns: &Namespace,
        host: &str,
        interface: &str,
        verdict: fn(&[u8]) -> Option<String>,
    ) -> Result<Watch<Seen>> {
        let socket = netns.run(|| PacketSocket::open_whole(interface))?;
        let (moment, place) = (Arc::clone(&self.moment), format!("{host} {interface}"));
        Watch::start(socket, move |seen: &mut Seen, frame, _| {
            if let Some(what) = verdict(frame) {
                let key = if what == RIGHT {
                    what
                } else {
                    format!("{place}: {what}, {}", moment.lock().unwrap_or_else(PoisonError::into_inner))
                };
                *seen.entry(key).or_default() += 1;
            }
        })
    }

    /// What is going on from now on.
    pub fn during(&self, words: &str) {
        *self.moment.lock().unwrap_or_else(PoisonError::into_inner) = words.to_owned();
    }

    pub fn finish(self) -> Result<Verdict> {
        let mut verdict = Verdict { leaks: Seen::new(), seeing: BTreeSet::new() };
        let wires = self.wires.into_iter().map(|watch| (WIRE, watch));
        for (kind, watch) in wires.chain(self.tunnels.into_iter().map(|watch| (TUNNEL, watch))) {
            let mut seen = watch.finish()?;
            if seen.remove(RIGHT).is_some() {
                verdict.seeing.insert(kind);
            }
            verdict.leaks.extend(seen);
        }
        Ok(verdict)
    }
}

impl Verdict {
    /// Nothing was where it should not be, and everything was looked at.
    pub fn is_clean(&self) -> Result<()> {
        ensure!(self.leaks.is_empty(), "seen was {:#?}", self.leaks);
        ensure!(self.seeing == BTreeSet::from([WIRE, TUNNEL]), "traffic was seen in {:?} alone", self.seeing);
        Ok(())
    }

    /// Frames with `what` at a place whose name begins so.
    pub fn count(&self, place: &str, what: &str) -> u64 {
        let those = self.leaks.iter().filter(|(key, _)| key.starts_with(place) && key.contains(what));
        those.map(|(_, count)| count).sum()
    }
}

fn on_wire(frame: &[u8]) -> Option<String> {
    let overlay = packet::overlay(frame);
    if NOT_IN_CLEAR.iter().any(|marker| marker.is_in(frame)) {
        return Some(format!("payload in {}", overlay.map_or_else(|| flow(frame), str::to_owned)));
    }
    let right = || Marker::ALL.iter().any(|marker| marker.is_in(frame)).then_some(RIGHT);
    overlay.or_else(right).map(str::to_owned)
}

/// Between whom a frame is.
fn flow(frame: &[u8]) -> String {
    let tuple = FiveTuple::of(frame).map(|tuple| (tuple.source.0, tuple.destination));
    tuple.map_or_else(
        || "something else".to_owned(),
        |(source, (destination, port))| format!("{source} > {destination} {port}"),
    )
}

fn in_tunnel(frame: &[u8]) -> Option<String> {
    if NOT_IN_TUNNEL.iter().any(|marker| marker.is_in(frame)) {
        return Some("a guest's payload".to_owned());
    }
    NOT_IN_CLEAR.iter().any(|marker| marker.is_in(frame)).then(|| RIGHT.to_owned())
}
