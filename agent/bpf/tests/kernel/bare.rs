//! What comes without a shim.

use crate::pair::*;

fn to(destination: [u8; 4], protocol: u8) -> Vec<u8> {
    let mut packet = udp(SERVER, destination, [1, 2], 0);
    packet[L2 + 9] = protocol;
    packet
}

#[test]
fn an_anchors_tunnel_brings_nothing_bare_but_probes_to_the_address_of_its_slot() {
    let mut anchor = Node::anchor();
    let [a, b, c, base] = ANCHOR_PROBES;
    for slot in 1..=5 {
        anchor.arrive_by(slot);
        for address in 0..16 {
            let packet = to([a, b, c, base + address], 17);
            let what = format!("address {address} by slot {slot}");
            if address == slot {
                let (trial, risen) = anchor.receive_and_count(&packet);
                assert_eq!((trial.verdict, trial.packet, risen.len()), (PASS, packet, 0), "{what}");
            } else {
                anchor.refuses(&packet, "notShim", &what);
            }
        }
    }
    anchor.refuses(&to(SERVER, 17), "notShim", "the internet");
    anchor.refuses(&to(CLIENT, 17), "notShim", "a site");
    anchor.refuses(&to(ANCHOR, 17), "notShim", "the shim endpoint, but no GRE");
    anchor.refuses(&to(EDGE, 47), "notShim", "GRE for somebody else");
    anchor.refuses(&udp6("2001:db8:7::2", "2001:db8:51::2"), "notShim", "IPv6");
}

#[test]
fn an_edge_takes_answers_to_direct_flows_and_neither_gre_nor_its_own_sources() {
    let mut edge = Node::edge();
    let passes = |edge: &mut Node, packet: &[u8], what: &str| {
        let trial = edge.datapath.programs.try_packet(pathsteer_bpf::Kind::DecapEthernet, packet, 0xf_ffff).unwrap();
        assert_eq!((trial.verdict, trial.packet == packet, trial.mark), (PASS, true, 0), "{what}: and unmarked");
    };
    passes(&mut edge, &to(CLIENT, 17), "UDP");
    passes(&mut edge, &to(CLIENT, 6), "TCP");
    passes(&mut edge, &udp6("2001:db8:51::2", "2001:db8:7::2"), "IPv6");
    let mut arp = udp(SERVER, CLIENT, [1, 2], 0);
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(edge.receive(&arp).verdict, PASS, "ARP");

    edge.refuses(&to(CLIENT, 47), "notShim", "GRE");
    let mut gre6 = udp6("2001:db8:51::2", "2001:db8:7::2");
    gre6[L2 + 6] = 47;
    edge.refuses(&gre6, "notShim", "GRE in IPv6");
    edge.refuses(&to(EDGE, 17), "notShim", "the shim endpoint, but no GRE");
    edge.refuses(&udp(CLIENT, SERVER, [1, 2], 0), "forged", "its own source");
    edge.refuses(&udp6("2001:db8:7::9", "2001:db8:7::2"), "forged", "its own source, IPv6");
    let mut other = udp(SERVER, CLIENT, [1, 2], 0);
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    edge.refuses(&other, "notShim", "another protocol");
    let mut lying = to(CLIENT, 17);
    lying[L2] = 0x65;
    edge.refuses(&lying, "notShim", "IPv6 that says IPv4");
}
