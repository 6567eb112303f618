//! The traffic meters find what was planted, and nothing else.

mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use pair::{CLIENT, CLIENT6, LINE, Pair, SERVER, SERVER6, dual_pair, pair};
use pathsteer_lab::capture::{Frame, Recording};
use pathsteer_lab::clock;
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::traffic::{self, Datagrams, Ends, Load, Marker, Outcome, exchange};

fn load(run: u64) -> Load {
    Load { datagrams: Datagrams::every(Duration::from_millis(1), run), duration: Duration::from_secs(1) }
}

fn assert_clean(outcome: &Outcome) {
    for direction in [&outcome.up, &outcome.down] {
        let datagrams = &direction.datagrams;
        assert_eq!((datagrams.sent, datagrams.received, datagrams.duplicated), (1_000, 1_000, 0));
        assert_eq!((direction.ping_lost, direction.socket_drops, direction.capture_missed), (0, 0, 0));
        assert!(direction.changed_flows.is_empty(), "{:?}", direction.changed_flows);
        // 5 Mb/s for a second, less the handshake.
        let bytes = *direction.stream.as_ref().expect("the stream is whole");
        assert!((500_000..=625_000).contains(&bytes), "{bytes} bytes");
    }
}

/// Has the client's kernel do `what` to the datagrams it sends.
fn plant(pair: &Pair, kind: &str, what: &str) {
    let chain = format!("type {kind} hook postrouting priority 100\nudp sport >= 40000 {what}");
    pair.ends.client.nft(&format!("table ip plant {{\nchain out {{\n{chain}\n}}\n}}")).unwrap();
}

#[test]
fn a_clean_line_gives_a_clean_account_both_ways() {
    let pair = pair();
    assert_clean(&traffic::run(&pair.ends, load(1), |_| Ok(())).unwrap());
}

#[test]
fn the_same_holds_for_ipv6_for_other_sizes_and_other_markers() {
    let pair = dual_pair();
    pair.link.set_mtu(9_000).unwrap();
    let ends = Ends { client_address: CLIENT6.into(), server_address: SERVER6.into(), ..pair.ends.clone() };
    let watching = Recording::start(&pair.ends.server.net, "e0").unwrap();
    let datagrams = Datagrams { size: 8_952, marker: Marker::SERVICE, ..load(11).datagrams };
    assert_clean(&traffic::run(&ends, Load { datagrams, ..load(11) }, |_| Ok(())).unwrap());
    let frames = watching.finish().unwrap();
    // Datagrams, pings and streams of both ways: hardly a frame but acknowledgements and neighbours is without it.
    assert!(frames.marked(Marker::SERVICE) >= 2_000 + 4 * 10 + 2 * 60, "{}", frames.marked(Marker::SERVICE));
    let unmarked = |frame: &Frame| frame.bytes.len() > 300 && !Marker::SERVICE.is_in(&frame.bytes);
    assert_eq!(frames.count(unmarked), 0);
    assert!(frames.count(|frame| frame.bytes.len() == 14 + 9_000) >= 2_000);
}

#[test]
fn questions_and_answers_are_accounted_apart_and_the_translated_client_is_seen() {
    let pair = pair();
    plant(&pair, "nat", "masquerade to :61000-61999");
    let (client, server) = (SocketAddr::new(CLIENT.into(), 40_000), SocketAddr::new(SERVER.into(), 5_000));
    let start = clock::now() + Duration::from_millis(50);
    let span = (start, start + Duration::from_millis(400));
    let run = |run| {
        let datagrams = load(run).datagrams;
        exchange((&pair.ends.client, client), (&pair.ends.server, server), datagrams, span).unwrap()
    };
    let clean = run(12);
    assert_eq!((clean.questions.received, clean.answers.received), (400, 400));
    assert!(clean.seen_as.iter().all(|seen| seen.port() >= 61_000), "{:?}", clean.seen_as);
    assert_eq!(clean.seen_as.len(), 1);
}

#[test]
fn an_answer_that_is_lost_is_no_lost_question() {
    let pair = pair();
    pair.link.set_blackhole(Way::Down, true);
    // Without a way back nobody would find the other's card.
    let shown = pair.ends.server.output("ip", &["-br", "link", "show", "e0"]).unwrap();
    let card = shown.split_whitespace().nth(2).unwrap();
    pair.ends.client.ip(&format!("neighbour replace {SERVER} lladdr {card} dev e0 nud permanent")).unwrap();
    let (client, server) = (SocketAddr::new(CLIENT.into(), 40_000), SocketAddr::new(SERVER.into(), 5_000));
    let start = clock::now() + Duration::from_millis(50);
    let span = (start, start + Duration::from_millis(100));
    let datagrams = load(13).datagrams;
    let outcome = exchange((&pair.ends.client, client), (&pair.ends.server, server), datagrams, span).unwrap();
    assert_eq!((outcome.questions.lost.len(), outcome.answers.lost.len()), (0, 100));
}

#[test]
fn a_blackhole_is_counted_in_its_direction_with_its_gap() {
    let pair = pair();
    let outcome = traffic::run(&pair.ends, load(2), |start| {
        clock::sleep_until(start + Duration::from_millis(400));
        pair.link.set_blackhole(Way::Down, true);
        clock::sleep_until(start + Duration::from_millis(600));
        pair.link.set_blackhole(Way::Down, false);
        Ok(())
    })
    .unwrap();
    assert!(outcome.up.datagrams.lost.is_empty());
    let down = &outcome.down.datagrams;
    // 200 ms without, and the 10 ms of frames that were under way.
    assert!((190..=260).contains(&down.lost.len()), "{} were lost", down.lost.len());
    assert_eq!(down.received + down.lost.len() as u64, down.sent);
    assert!(down.longest_gap > Duration::from_millis(190), "{:?}", down.longest_gap);
    // A datagram lost is lost; the stream repairs itself.
    assert!(outcome.down.stream.is_ok() && outcome.up.stream.is_ok());
    assert!(outcome.down.ping_lost >= 1 && outcome.up.ping_lost >= 1, "an echo needs both ways");
}

#[test]
fn random_loss_agrees_with_what_the_line_says_it_dropped() {
    let pair = pair();
    pair.link.settings(Way::Up).set_profile(Profile { loss_ppm: 50_000, ..LINE });
    let outcome = traffic::run(&pair.ends, load(3), |_| Ok(())).unwrap();
    let dropped = pair.link.count(Way::Up).lost;
    let lost = outcome.up.datagrams.lost.len() as u64;
    assert!(lost > 0 && lost <= dropped, "{lost} lost, {dropped} dropped");
    assert!(outcome.down.datagrams.lost.is_empty());
}

#[test]
fn planted_copies_are_counted_as_duplicates() {
    let pair = pair();
    plant(&pair, "filter", "dup to 10.0.0.2 device \"e0\"");
    let outcome = traffic::run(&pair.ends, load(4), |_| Ok(())).unwrap();
    assert_eq!((outcome.up.datagrams.received, outcome.up.datagrams.duplicated), (1_000, 1_000));
    assert_eq!(outcome.down.datagrams.duplicated, 0);
}

#[test]
fn a_translated_source_is_a_changed_flow() {
    let pair = pair();
    plant(&pair, "nat", "masquerade to :61000-61999");
    let outcome = traffic::run(&pair.ends, load(5), |_| Ok(())).unwrap();
    assert_eq!(
        outcome.up.changed_flows.len(),
        2,
        "the one that came and the one that did not: {:?}",
        outcome.up.changed_flows
    );
    assert_eq!(outcome.up.datagrams.received, 1_000);
}

#[test]
fn a_line_that_is_dead_is_an_outcome_and_not_an_error() {
    let pair = pair();
    pair.link.set_blackhole(Way::Up, true);
    let outcome = traffic::run(&pair.ends, load(6), |_| Ok(())).unwrap();
    assert_eq!((outcome.up.datagrams.received, outcome.up.datagrams.lost.len()), (0, 1_000));
    assert_eq!(outcome.up.ping_lost, 10);
    assert!(outcome.up.stream.is_err());
}
