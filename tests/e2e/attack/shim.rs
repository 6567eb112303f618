//! A shim as a malicious site would make it: a genuine one, caught on a tunnel, with fields of one's own choice.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use pathsteer_crds::ownership::{edge_tunnel, uplink_netns};
use pathsteer_lab::capture::{Frame, Recording};
use pathsteer_lab::craft::{Gre, Ipv4};
use pathsteer_lab::network::plan::{INTERNET, LAN};

use super::blow::Muzzle;
use crate::stage::Stage;
use crate::talk::talk;

/// GRE protocols of packets inside.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
/// Of control packets.
pub const CONTROL: u16 = 0x88b5;

/// Outer header and GRE header.
#[derive(Debug, Clone)]
pub struct Shim {
    pub outer: Ipv4,
    pub gre: Gre,
}

impl Shim {
    /// That of the last packet of a conversation between these two that leaves by the tunnel in `slot`.
    pub fn caught(stage: &Stage, slot: u8, near: SocketAddr, far: SocketAddr) -> Result<Shim> {
        let namespace = stage.edge().namespace(&uplink_netns(slot))?;
        let recording = Recording::start(&namespace, &edge_tunnel(slot, 1))?;
        talk((stage.network.host(LAN), near), (stage.network.host(INTERNET), far), 3)?;
        let frames = recording.finish()?.0;
        let ports = [near.port().to_be_bytes(), far.port().to_be_bytes()].concat();
        let is_ours = |frame: &&Frame| frame.outgoing && frame.bytes.windows(4).any(|bytes| bytes == ports);
        let frame = frames.iter().rev().find(is_ours).context("no shimmed packet was caught")?;
        Shim::read(&frame.bytes).context("what was caught has no shim")
    }

    fn read(packet: &[u8]) -> Option<Shim> {
        let header = packet.first_chunk::<32>()?;
        let four = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let gre = Gre {
            protocol: u16::from_be_bytes([header[22], header[23]]),
            key: u32::from_be_bytes(four(24)),
            sequence: u32::from_be_bytes(four(28)),
        };
        let is_gre = header[0] == 0x45 && header[9] == Gre::PROTOCOL;
        is_gre.then(|| Shim { outer: Ipv4::new(four(12).into(), four(16).into(), Gre::PROTOCOL), gre })
    }

    /// The same with the next sequence number; of the families of `inner` it carries either.
    pub fn next(&mut self) -> Shim {
        self.gre.sequence += 1;
        self.outer.id = self.gre.sequence as u16;
        self.clone()
    }

    /// The same with these bits of the key set to `value`.
    pub fn with_key(mut self, shift: u32, bits: u32, value: u32) -> Shim {
        let mask = ((1 << bits) - 1) << shift;
        self.gre.key = self.gre.key & !mask | value << shift & mask;
        self
    }

    /// The whole packet around `inner`.
    pub fn around(&self, inner: &[u8]) -> Vec<u8> {
        self.outer.packet(&self.gre.payload(inner))
    }

    /// The same, saying of what family `inner` is.
    pub fn around_ip(mut self, inner: &[u8]) -> Vec<u8> {
        self.gre.protocol = if inner[0] >> 4 == 6 { IPV6 } else { IPV4 };
        self.around(inner)
    }

    pub fn epoch(&self) -> u32 {
        self.gre.key >> 24 & 31
    }
}

/// The van's tunnel in `slot`, from inside its namespace: what is put there goes to the anchor as it is.
pub fn tunnel(stage: &Stage, slot: u8) -> Result<Muzzle> {
    Ok(Muzzle::Card { namespace: stage.edge().namespace(&uplink_netns(slot))?, card: edge_tunnel(slot, 1) })
}
