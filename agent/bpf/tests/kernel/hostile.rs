//! Hostile packets: each has a twin that differs from it only in what is forged, and is delivered; it is not, and counts
//! once, for the right reason.

use std::collections::BTreeMap;

use pathsteer_bpf::{Trial, control::SwitchMessage};

use crate::pair::*;

/// Counters that rose.
type Risen = BTreeMap<&'static str, u64>;

struct Scene {
    edge: Node,
    anchor: Node,
}

impl Scene {
    fn new() -> Self {
        Scene { edge: Node::edge(), anchor: Node::anchor() }
    }

    /// A packet that is delivered unless something is changed.
    fn fresh(&mut self) -> Vec<u8> {
        self.edge.send(&udp(CLIENT, SERVER, [1, 2], 0), 0).packet
    }

    fn fresh6(&mut self) -> Vec<u8> {
        self.edge.send(&udp6("2001:db8:7::2", "2001:db8:51::2"), 0).packet
    }

    /// The forged packet is dropped and counts once as `counter`; then its twin is delivered.
    fn twins(&mut self, what: &str, counter: &'static str, forge: impl Fn(&mut Vec<u8>)) {
        let twin = self.fresh();
        let mut forged = twin.clone();
        forge(&mut forged);
        assert_ne!(forged, twin, "{what}: nothing was forged");
        self.anchor.refuses(&forged, counter, what);
        self.anchor.delivers(&twin, what);
    }
}

/// Writes `bytes` at `at`, counted from the outer header, and makes that header's checksum right.
fn with(packet: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    packet[L2 + at..L2 + at + bytes.len()].copy_from_slice(bytes);
    *packet = rechecked(std::mem::take(packet));
}

fn dropped_once((trial, risen): (Trial, Risen), what: &str) -> &'static str {
    assert_eq!(trial.verdict, DROP, "{what}");
    let (counter, count) = risen.first_key_value().unwrap_or_else(|| panic!("{what}: not counted"));
    assert_eq!((risen.len(), *count), (1, 1), "{what}");
    counter
}

#[test]
fn a_packet_cut_short_at_any_byte_is_dropped_and_counted_once() {
    let mut scene = Scene::new();
    for packet in [scene.fresh(), scene.fresh6()] {
        // the kernel tries programs on no IPv4 packet without its header; the fuzzer does
        for length in L2 + 20..packet.len() {
            let risen = scene.anchor.receive_and_count(&packet[..length]);
            let counter = dropped_once(risen, &format!("{length} bytes"));
            // without a whole shim it is not known for one
            assert_eq!(counter, if length < L2 + SHIM { "notShim" } else { "malformed" }, "{length} bytes");
            // and a header that tells the truth about what is left does not help the rest of it
            if length >= L2 + SHIM {
                let mut honest = packet[..length].to_vec();
                with(&mut honest, 2, &((length - L2) as u16).to_be_bytes());
                let counter = dropped_once(scene.anchor.receive_and_count(&honest), &format!("{length}, honest"));
                assert_eq!(counter, "malformed");
            }
        }
        scene.anchor.delivers(&packet, "whole");
    }
}

#[test]
fn every_other_value_of_the_outer_header_is_refused() {
    let mut scene = Scene::new();
    for version_and_length in (0..=255u8).filter(|value| *value != 0x45) {
        scene.twins("version and header length", "notShim", |packet| with(packet, 0, &[version_and_length]));
    }
    for protocol in (0..=255u8).filter(|value| *value != 47) {
        scene.twins("protocol", "notShim", |packet| with(packet, 9, &[protocol]));
    }
    for bit in 0..16 {
        let flags = 0x4000u16 ^ 1 << bit;
        scene.twins("flags and fragment offset", "malformed", |packet| with(packet, 6, &flags.to_be_bytes()));
        scene.twins("total length", "malformed", |packet| {
            let length = u16::from_be_bytes([packet[L2 + 2], packet[L2 + 3]]) ^ 1 << bit;
            with(packet, 2, &length.to_be_bytes());
        });
        scene.twins("checksum", "malformed", |packet| packet[L2 + 10 + bit / 8] ^= 1 << (bit % 8));
    }
    for bit in 0..32 {
        scene.twins("source", "unknown", |packet| {
            let byte = packet[L2 + 12 + bit / 8] ^ 1 << (bit % 8);
            with(packet, 12 + bit / 8, &[byte]);
        });
        scene.twins("destination", "notShim", |packet| {
            let byte = packet[L2 + 16 + bit / 8] ^ 1 << (bit % 8);
            with(packet, 16 + bit / 8, &[byte]);
        });
    }
}

#[test]
fn every_other_value_of_flags_protocol_and_version_is_refused() {
    let mut scene = Scene::new();
    for bit in 0..16 {
        let flags = 0x3000u16 ^ 1 << bit;
        scene.twins("GRE flags and version", "unknown", |packet| with(packet, 20, &flags.to_be_bytes()));
    }
    for protocol in (0..=u16::MAX).step_by(97).chain([0x6558, 0x8847, 0x88b5, 0x8100]) {
        if protocol != 0x0800 && protocol != 0x86dd {
            scene.twins("GRE protocol", "unknown", |packet| with(packet, 22, &protocol.to_be_bytes()));
        }
    }
    scene.twins("IPv6 that is IPv4", "malformed", |packet| with(packet, 22, &[0x86, 0xdd]));
    let mut other = scene.fresh6();
    other[L2 + 22..L2 + 24].copy_from_slice(&[8, 0]);
    scene.anchor.refuses(&other, "malformed", "IPv4 that is IPv6");
    for version in 1..8 {
        scene.twins("version", "unknown", |packet| *packet = with_key(packet, |key| key | version << 29));
    }
}

#[test]
fn classes_and_slots_that_the_site_does_not_have_and_too_many_copies_are_refused() {
    let mut scene = Scene::new();
    for class in (0..16).filter(|class| *class != 1 && *class != 2) {
        let counter = if class == 0 { "unknown" } else { "class" };
        scene.twins("class", counter, |packet| {
            *packet = with_key(packet, |key| key & !(15 << 20) | class << 20);
        });
    }
    for copies in 0..256u32 {
        let packet = scene.fresh();
        let other = with_key(&packet, |key| key & !(255 << 12) | copies << 12);
        if copies.count_ones() > 3 {
            scene.anchor.refuses(&other, "copySet", &format!("{copies:08b}"));
            scene.anchor.delivers(&packet, "its twin");
        } else {
            scene.anchor.delivers(&other, &format!("{copies:08b} is allowed"));
        }
    }
    for slot in 1..=8 {
        let packet = scene.fresh();
        scene.anchor.arrive_by(slot);
        if slot <= 5 {
            scene.anchor.delivers(&packet, "a slot of the site");
        } else {
            scene.anchor.refuses(&packet, "copySet", "not a slot of the site");
        }
    }
}

#[test]
fn a_forged_epoch_or_serial_is_the_senders_own_harm_alone() {
    let mut scene = Scene::new();
    for serial in 0..16 {
        let packet = scene.fresh();
        let other = with_key(&packet, |key| key & !(15 << 8) | serial << 8);
        scene.anchor.delivers(&other, "serials teach the way back, no more");
    }
    let old = scene.fresh();
    let jumped = with_key(&scene.fresh(), |key| key & !(31 << 24) | 9 << 24);
    scene.anchor.delivers(&jumped, "a new epoch");
    scene.anchor.refuses(&old, "staleEpoch", "and the former one is refused for a while");
    let other = with_key(&scene.fresh(), |key| key & !(31 << 24) | 9 << 24);
    scene.anchor.delivers(&other, "the new one goes on");
}

#[test]
fn inner_addresses_and_lengths_that_lie_are_refused() {
    let mut scene = Scene::new();
    const INNER: usize = SHIM;
    for bit in 0..16 {
        scene.twins("inner total length", "malformed", |packet| packet[L2 + INNER + 2 + bit / 8] ^= 1 << (bit % 8));
    }
    for version in (0..16u8).filter(|version| *version != 4) {
        scene.twins("inner version", "malformed", |packet| packet[L2 + INNER] = version << 4 | 5);
    }
    for words in 0..5 {
        scene.twins("inner header length", "malformed", |packet| packet[L2 + INNER] = 4 << 4 | words);
    }
    // the site's prefix is a /24: of its other 24 bits none may differ
    for bit in 0..24 {
        scene.twins("inner source", "forged", |packet| packet[L2 + INNER + 12 + bit / 8] ^= 1 << (bit % 8));
    }
    let twin = scene.fresh6();
    for bit in 0..64 {
        let mut forged = twin.clone();
        forged[L2 + INNER + 8 + bit / 8] ^= 1 << (bit % 8);
        scene.anchor.refuses(&forged, "forged", "inner source, IPv6");
    }
    for bit in 0..16 {
        let mut forged = twin.clone();
        forged[L2 + INNER + 4 + bit / 8] ^= 1 << (bit % 8);
        scene.anchor.refuses(&forged, "malformed", "inner payload length");
    }
    scene.anchor.delivers(&twin, "its twin");
}

#[test]
fn a_shim_in_a_shim_is_data_that_nobody_unwraps_twice() {
    let mut scene = Scene::new();
    let inner = scene.fresh();
    // the edge refuses to send it: its source is no client's
    assert_eq!(scene.edge.send(&inner, 0).verdict, DROP);
    assert_eq!(scene.edge.count("foreign"), 1);
    // built by hand, it carries the source of a shim endpoint, which lies behind no site
    let mut nested = scene.fresh();
    nested.truncate(L2 + SHIM);
    nested.extend(&inner[L2..]);
    let length = (nested.len() - L2) as u16;
    with(&mut nested, 2, &length.to_be_bytes());
    scene.anchor.refuses(&nested, "forged", "a shim in a shim");
    // GRE of a client is the client's business: one layer comes off
    let mut gre = udp(CLIENT, SERVER, [1, 2], 0);
    gre[L2 + 9] = 47;
    let sent = scene.edge.send(&gre, 0).packet;
    assert_eq!(scene.anchor.delivers(&sent, "GRE of a client"), gre);
}

#[test]
fn options_fragments_and_extension_headers_inside_pass_untouched() {
    let mut scene = Scene::new();
    let mut with_options = udp(CLIENT, SERVER, [1, 2], 0);
    with_options.splice(L2 + 20..L2 + 20, [0x94, 4, 0, 0]); // router alert (RFC 2113)
    with_options[L2] = 0x46;
    with_options[L2 + 3] += 4;
    let mut fragment = udp(CLIENT, SERVER, [1, 2], 0);
    fragment[L2 + 6] = 0x20;
    let mut later = udp(CLIENT, SERVER, [1, 2], 0);
    later[L2 + 7] = 5;
    let mut hop_by_hop = udp6("2001:db8:7::2", "2001:db8:51::2");
    hop_by_hop.splice(L2 + 40..L2 + 40, [17, 0, 5, 2, 0, 0, 1, 0]); // router alert (RFC 2711)
    hop_by_hop[L2 + 6] = 0;
    hop_by_hop[L2 + 5] += 8;
    for (what, inner) in
        [("options", with_options), ("a fragment", fragment), ("a later one", later), ("hop by hop", hop_by_hop)]
    {
        let sent = scene.edge.send(&inner, 0).packet;
        assert_eq!(scene.anchor.delivers(&sent, what), inner, "{what}");
        scene.anchor.refuses(&sent, "duplicate", what);
    }
}

#[test]
fn control_packets_that_lie_change_nothing() {
    let message = SwitchMessage {
        source: EDGE.into(),
        destination: ANCHOR.into(),
        epoch: 1,
        class: 1,
        active: 2,
        copies: 0b101,
        counter: 7,
        nonce: 99,
    };
    let bytes = |message: SwitchMessage| {
        let mut packet = udp(CLIENT, SERVER, [0, 0], 0)[..L2].to_vec();
        packet.extend(message.to_bytes());
        rechecked(packet)
    };
    let good = bytes(message);
    let mut anchor = Node::anchor();
    for active in (0..=255).filter(|active| !(1..=5).contains(active)) {
        anchor.refuses(&bytes(SwitchMessage { active, ..message }), "copySet", &format!("slot {active}"));
    }
    for copies in 0..=255u8 {
        let allowed = u32::from(copies) & !SLOTS == 0 && copies.count_ones() <= 3 && copies & 0b10 == 0;
        if !allowed {
            anchor.refuses(&bytes(SwitchMessage { copies, ..message }), "copySet", &format!("{copies:08b}"));
        }
    }
    for class in (0..=255).filter(|class| *class != 1 && *class != 2) {
        anchor.refuses(&bytes(SwitchMessage { class, ..message }), "class", &format!("class {class}"));
    }
    for kind in (0..=255).filter(|kind| *kind != 1) {
        let mut other = good.clone();
        other[L2 + 32] = kind;
        anchor.refuses(&other, "unknown", &format!("message {kind}"));
    }
    for at in 36..40 {
        let mut other = good.clone();
        other[L2 + at] = 1;
        anchor.refuses(&other, "unknown", "what must be zero");
    }
    for length in [L2 + 55, L2 + 57] {
        let mut other = good.clone();
        other.resize(length, 0);
        with(&mut other, 2, &((length - L2) as u16).to_be_bytes());
        anchor.refuses(&other, "unknown", "another length");
    }
    anchor.arrive_by(7);
    anchor.refuses(&good, "copySet", "by a slot that the site does not have");
    assert!(anchor.datapath.maps.learned().unwrap().is_empty(), "none of them taught anything");
    anchor.arrive_by(1);
    let (trial, risen) = anchor.receive_and_count(&good);
    assert_eq!((trial.verdict, risen), (REDIRECT, Risen::from([("control", 1)])), "their twin is answered");
    assert_eq!(anchor.datapath.maps.learned().unwrap()[&(EDGE_ID, 1)].active, 2);
}
