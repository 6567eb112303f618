//! An edge and an anchor whose programs are fed by hand: what one sends is what the other gets.

use std::{collections::BTreeMap, sync::Arc};

use pathsteer_bpf::{
    Datapath, Kind, Trial,
    layout::{Behind, Chosen, Config, Remote},
};

use crate::bpffs::Bpffs;

pub const PASS: u32 = 0;
pub const DROP: u32 = 2;
pub const REDIRECT: u32 = 7;
/// Ethernet header.
pub const L2: usize = 14;
/// Outer IPv4 and GRE with key and sequence.
pub const SHIM: usize = 32;
pub const EDGE: [u8; 4] = [10, 100, 0, 2];
pub const ANCHOR: [u8; 4] = [10, 100, 0, 1];
pub const EDGE_ID: u32 = 2;
pub const ANCHOR_ID: u32 = 1;
pub const WINDOW: u32 = 1_024;
/// Slots 1 to 5: there are some that no node has.
pub const SLOTS: u32 = 0b1_1111;
pub const EDGE_PROBES: [u8; 4] = [10, 100, 128, 32];
pub const ANCHOR_PROBES: [u8; 4] = [10, 100, 128, 16];

pub struct Node {
    pub datapath: Datapath,
    bpffs: Arc<Bpffs>,
}

impl Node {
    fn new(config: Config, id: u32, remote: Remote) -> Self {
        let bpffs = Bpffs::new();
        let mut datapath = Datapath::open(&bpffs.path()).unwrap();
        datapath.maps.set_config(config).unwrap();
        datapath.maps.set_remote(id, remote, &[1, 2], 1 << config.window_shift).unwrap();
        let mut node = Node { datapath, bpffs: Arc::new(bpffs) };
        node.arrive_by(1);
        node
    }

    pub fn edge() -> Self {
        Node::edge_with(WINDOW)
    }

    pub fn edge_with(window: u32) -> Self {
        let config = config(EDGE, EDGE_PROBES, 1, window);
        let mut node = Node::new(
            config,
            ANCHOR_ID,
            Remote { address: ANCHOR, anchor: 1, identity: 1, slots: SLOTS, ..Remote::default() },
        );
        node.lies("0.0.0.0", 0, Behind::Remote(ANCHOR_ID));
        node.lies("::", 0, Behind::Remote(ANCHOR_ID));
        node.lies("172.16.7.0", 24, Behind::Own);
        node.lies("2001:db8:7::", 64, Behind::Own);
        node.lies("10.100.0.0", 16, Behind::Nowhere);
        node.choose(1, 0b10, 1);
        node
    }

    pub fn anchor() -> Self {
        Node::anchor_with(WINDOW)
    }

    pub fn anchor_with(window: u32) -> Self {
        let config = config(ANCHOR, ANCHOR_PROBES, 2, window);
        let mut node = Node::new(
            config,
            EDGE_ID,
            Remote { address: EDGE, anchor: 0, identity: 1, slots: SLOTS, ..Remote::default() },
        );
        node.lies("172.16.7.0", 24, Behind::Remote(EDGE_ID));
        node.lies("2001:db8:7::", 64, Behind::Remote(EDGE_ID));
        node
    }

    /// The same node in another hand.
    pub fn again(&self) -> Self {
        Node { datapath: Datapath::open(&self.bpffs.path()).unwrap(), bpffs: self.bpffs.clone() }
    }

    /// Where a prefix lies.
    pub fn lies(&mut self, address: &str, length: u8, behind: Behind) {
        self.datapath.maps.set_prefix(address.parse().unwrap(), length, behind).unwrap();
    }

    /// At an anchor: who the edge is.
    pub fn identify(&mut self, identity: u32) {
        self.set_edge(identity, &[1, 2]);
    }

    /// At an anchor: which classes the edge has.
    pub fn has_classes(&mut self, classes: &[u8]) {
        self.set_edge(1, classes);
    }

    fn set_edge(&mut self, identity: u32, classes: &[u8]) {
        let remote = Remote { address: EDGE, anchor: 0, identity, slots: SLOTS, ..Remote::default() };
        self.datapath.maps.set_remote(EDGE_ID, remote, classes, WINDOW).unwrap();
    }

    /// Active slot, copy set and switch counter of class 1 and 2.
    pub fn choose(&mut self, active: u8, copies: u8, counter: u64) {
        for class in [1, 2] {
            let chosen = Chosen { active, copies, counter, ..Chosen::default() };
            self.datapath.maps.choose(ANCHOR_ID, class, chosen).unwrap();
        }
    }

    pub fn set_epoch(&mut self, epoch: u32) {
        let config = self.datapath.maps.config().unwrap();
        self.datapath.maps.set_config(Config { epoch, ..config }).unwrap();
    }

    /// Packets come in by the tunnel of this slot from now on.
    pub fn arrive_by(&mut self, slot: u8) {
        self.datapath.maps.set_slot(1, slot).unwrap();
    }

    /// Sends an inner packet (with its Ethernet header).
    pub fn send(&mut self, packet: &[u8], mark: u32) -> Trial {
        self.datapath.programs.try_packet(Kind::Encap, packet, mark).unwrap()
    }

    /// Receives a shimmed packet (with an Ethernet header).
    pub fn receive(&mut self, packet: &[u8]) -> Trial {
        self.datapath.programs.try_packet(Kind::DecapEthernet, packet, 0).unwrap()
    }

    /// What the programs do with `packet`, and the counters that rose by it.
    pub fn receive_and_count(&mut self, packet: &[u8]) -> (Trial, BTreeMap<&'static str, u64>) {
        let before = self.counters();
        let trial = self.receive(packet);
        let risen = self.counters().into_iter().map(|(name, count)| (name, count - before[name]));
        (trial, risen.filter(|(_, count)| *count > 0).collect())
    }

    /// Asserts that `packet` is dropped and counted once, as this.
    pub fn refuses(&mut self, packet: &[u8], counter: &'static str, what: &str) {
        let (trial, risen) = self.receive_and_count(packet);
        assert_eq!((trial.verdict, risen), (DROP, BTreeMap::from([(counter, 1)])), "{what}");
    }

    /// Asserts that `packet` is delivered and counted once, and returns it.
    pub fn delivers(&mut self, packet: &[u8], what: &str) -> Vec<u8> {
        let (trial, risen) = self.receive_and_count(packet);
        assert_eq!((trial.verdict, risen), (PASS, BTreeMap::from([("delivered", 1)])), "{what}");
        trial.packet
    }

    /// Every counter, summed over remotes.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (name, count) in self.datapath.maps.counters().unwrap().into_values().flatten() {
            *sums.entry(name).or_default() += count;
        }
        sums
    }

    pub fn count(&self, name: &str) -> u64 {
        self.counters()[name]
    }
}

fn config(self_address: [u8; 4], probe_base: [u8; 4], role: u32, window: u32) -> Config {
    Config { self_address, probe_base, epoch: 1, window_shift: window.trailing_zeros(), role, gso: 0 }
}

/// An edge's address on its LAN and a server's.
pub const CLIENT: [u8; 4] = [172, 16, 7, 2];
pub const SERVER: [u8; 4] = [198, 51, 100, 2];

/// An IPv4 UDP packet with an Ethernet header, `tos` and four bytes of payload.
pub fn udp(source: [u8; 4], destination: [u8; 4], ports: [u16; 2], tos: u8) -> Vec<u8> {
    let mut packet = vec![2, 0x70, 0x73, 0, 0, 2, 2, 0x70, 0x73, 0, 0, 1, 8, 0];
    packet.extend([0x45, tos, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend([0, 12, 0, 0]);
    packet.extend(*b"data");
    packet
}

/// The same over IPv6.
pub fn udp6(source: &str, destination: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut packet = vec![2, 0x70, 0x73, 0, 0, 2, 2, 0x70, 0x73, 0, 0, 1, 0x86, 0xdd];
    packet.extend([0x6b, 0x80, 0, 0, 0, 12, 17, 64]);
    packet.extend(octets(source));
    packet.extend(octets(destination));
    packet.extend([0x13, 0xc4, 0x13, 0xc4, 0, 12, 0, 0]);
    packet.extend(*b"data");
    packet
}

/// Key and sequence of a shimmed packet.
pub fn key_and_sequence(packet: &[u8]) -> (u32, u32) {
    let at = |offset: usize| u32::from_be_bytes(packet[offset..offset + 4].try_into().unwrap());
    (at(L2 + 24), at(L2 + 28))
}

/// `packet` with the outer header's checksum made right.
pub fn rechecked(mut packet: Vec<u8>) -> Vec<u8> {
    packet[L2 + 10..L2 + 12].fill(0);
    let sum = header_sum(&packet[L2..L2 + 20]);
    packet[L2 + 10..L2 + 12].copy_from_slice(&(!sum).to_be_bytes());
    packet
}

/// The sum of an IPv4 header's words: 0xffff over a right one.
pub fn header_sum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// `packet` with another key.
pub fn with_key(packet: &[u8], change: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (key, _) = key_and_sequence(&packet);
    packet[L2 + 24..L2 + 28].copy_from_slice(&change(key).to_be_bytes());
    packet
}

/// `packet` with another sequence number, and the outer IP ID that goes with it.
pub fn with_sequence(packet: &[u8], sequence: u32) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[L2 + 28..L2 + 32].copy_from_slice(&sequence.to_be_bytes());
    packet[L2 + 4..L2 + 6].copy_from_slice(&(sequence as u16).to_be_bytes());
    rechecked(packet)
}
