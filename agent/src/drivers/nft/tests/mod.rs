//! Against nft and the kernel, in a namespace of each test's own.

use std::thread;

use nix::sched::{CloneFlags, unshare};
use pathsteer_crds::{
    CopyBudget, PortRange,
    plan::{ClassElement, ClassMap, CopyTarget, Family, FlowTo, NftRule, Only, PolicySet, RemoteSide, Welcome},
};

use super::*;

/// Runs `test` in a new network namespace with the interfaces that copies are bound to.
fn in_namespace(test: impl FnOnce(&Netns) + Send + 'static) {
    let ran = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for link in ["psu1", "psu2", "lan@0"] {
            let made = Command::new("ip").args(["link", "add", link, "type", "veth"]).status().unwrap();
            assert!(made.success(), "these tests need root and veth");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _entered = runtime.enter();
        test(&Netns::current().unwrap());
    });
    ran.join().unwrap();
}

fn spec(rules: Vec<NftRule>) -> NftTableSpec {
    NftTableSpec::new("psvip", rules)
}

fn put_into(netns: &Netns, spec: &NftTableSpec, copied: &BTreeMap<u8, u64>) {
    let objects = render(spec).objects(copied);
    for commands in list(netns, "psvip").unwrap().turned_into(&objects) {
        run(netns, &["-j", "-f", "-"], Some(json!({"nftables": commands}).to_string())).unwrap();
    }
}

fn is_as_declared(netns: &Netns, spec: &NftTableSpec) -> bool {
    list(netns, "psvip").unwrap().is_same(&Listing::of(&render(spec).objects(&BTreeMap::new())))
}

fn assert_as_declared(netns: &Netns, spec: &NftTableSpec) {
    let (found, declared) = (list(netns, "psvip").unwrap(), Listing::of(&render(spec).objects(&BTreeMap::new())));
    assert!(found.is_same(&declared), "found, and declared:\n{}", found.differences(&declared));
}

fn nft(netns: &Netns, words: &'static [&'static str]) {
    run(netns, words, None).unwrap();
}

fn nets<T: std::str::FromStr<Err: std::fmt::Debug>>(all: &[&str]) -> Vec<T> {
    all.iter().map(|net| net.parse().unwrap()).collect()
}

fn map(set: PolicySet, order: u16, family: Option<Family>, elements: Vec<ClassElement>) -> NftRule {
    NftRule::ClassMap(ClassMap { set, order, family, remote: RemoteSide::Destination, elements })
}

fn ports(first: u16, last: u16) -> Option<PortRange> {
    Some(PortRange { first, last })
}

fn copy(slot: u8, bytes_per_second: u64, bytes_per_month: u64) -> NftRule {
    let budget = CopyBudget { bytes_per_second: Some(bytes_per_second), bytes_per_month: Some(bytes_per_month) };
    let to = CopyTarget::Gateway([169, 254, 78, 2].into());
    NftRule::Copy { slot, link: format!("psu{slot}"), to, budget: Some(budget) }
}

/// Every rule there is, in the shapes that nft could list otherwise than they were written.
fn everything() -> NftTableSpec {
    let plain = ClassElement::default;
    let net = |text: &str| Some(text.parse().unwrap());
    let by_port =
        |protocol, first, last, to| ClassElement { protocol: Some(protocol), ports: ports(first, last), to, ..plain() };
    let to = FlowTo::Class(2);
    let segment = |link: &str, policies, default| NftRule::Segment {
        link: link.into(),
        sources: nets(&["172.16.7.0/24", "fd07::/64"]),
        barred: Vec::new(),
        policies,
        default,
    };
    let forward = |from: &str, to: &str, only| NftRule::Forward { from: from.into(), to: to.into(), only };
    spec(vec![
        map(
            PolicySet::Tunnel,
            1,
            None,
            vec![by_port(6, 443, 443, to), by_port(17, 5_060, 5_061, to), by_port(17, 5_062, 5_062, to)],
        ),
        map(
            PolicySet::Tunnel,
            2,
            Some(Family::Ipv4),
            vec![
                ClassElement { prefix: net("192.0.2.0/25"), to, ..plain() },
                ClassElement { prefix: net("192.0.2.128/25"), to, ..plain() },
                ClassElement { prefix: net("198.51.100.7/32"), to, ..plain() },
            ],
        ),
        map(
            PolicySet::Tunnel,
            3,
            Some(Family::Ipv6),
            vec![
                ClassElement { prefix: net("2001:db8::/33"), local: net("fd07::/64"), to, ..by_port(6, 443, 443, to) },
                ClassElement {
                    prefix: net("2001:db8:8000::/33"),
                    local: net("fd07::/64"),
                    to,
                    ..by_port(6, 400, 450, to)
                },
            ],
        ),
        map(
            PolicySet::Tunnel,
            4,
            Some(Family::Ipv4),
            vec![
                ClassElement { local: net("172.16.9.0/24"), to, ..plain() },
                ClassElement { prefix: net("203.0.113.0/26"), local: net("172.16.8.0/24"), to, ..plain() },
                ClassElement {
                    prefix: net("203.0.113.64/26"),
                    local: net("172.16.8.0/24"),
                    to,
                    ..by_port(17, 7, 9, to)
                },
                ClassElement {
                    prefix: net("203.0.113.64/26"),
                    local: net("172.16.8.0/24"),
                    protocol: Some(1),
                    to,
                    ..plain()
                },
                ClassElement { local: net("172.16.7.0/24"), protocol: Some(6), dscp: Some(8), to, ..plain() },
            ],
        ),
        map(
            PolicySet::Tunnel,
            5,
            Some(Family::Ipv6),
            vec![
                ClassElement { prefix: net("2001:db8:9::/48"), to, ..plain() },
                ClassElement { local: net("fd07::/64"), to, ..by_port(6, 22, 22, to) },
            ],
        ),
        map(
            PolicySet::Mixed,
            1,
            None,
            vec![ClassElement { protocol: Some(1), to, ..plain() }, ClassElement { protocol: Some(17), ..plain() }],
        ),
        map(
            PolicySet::Mixed,
            2,
            Some(Family::Ipv4),
            vec![
                ClassElement { dscp: Some(46), to, ..plain() },
                ClassElement { dscp: Some(47), to: FlowTo::Direct, ..plain() },
            ],
        ),
        map(
            PolicySet::Mixed,
            3,
            Some(Family::Ipv6),
            vec![
                ClassElement { dscp: Some(46), to, ..by_port(17, 1, 9, to) },
                ClassElement { dscp: Some(46), to: FlowTo::Direct, ..by_port(17, 10, 10, to) },
                ClassElement { dscp: Some(47), to, ..by_port(17, 1, 9, to) },
                ClassElement { dscp: Some(47), to: FlowTo::Direct, ..by_port(17, 10, 10, to) },
            ],
        ),
        NftRule::DefaultClass { class: 1 },
        segment("lan0", Some(PolicySet::Tunnel), FlowTo::Class(1)),
        segment("lan@0", Some(PolicySet::Mixed), FlowTo::Direct),
        NftRule::Segment {
            link: "psq30".into(),
            sources: nets(&["10.77.0.0/24", "10.77.1.0/24"]),
            barred: nets(&["10.0.0.0/8", "10.77.0.0/16", "192.168.0.0/16", "192.0.2.1/32", "fc00::/7", "fe80::/10"]),
            policies: None,
            default: FlowTo::Direct,
        },
        NftRule::Inside { prefixes: nets(&["172.16.7.0/24", "172.16.8.0/24", "fd07::/64"]) },
        NftRule::Direct { slot: 1, link: "psu1".into() },
        NftRule::Direct { slot: 2, link: "psu2".into() },
        copy(1, 250_000, 60_000_000_000),
        copy(2, 256_000, 1_000_000),
        NftRule::DropOverlay { link: "wan1".into(), overlay: "10.100.0.0/16".parse().unwrap() },
        NftRule::DropSources {
            link: "inet0".into(),
            sources: nets(&["172.16.7.0/24", "2001:db8:7::/64", "fd07::/64"]),
        },
        NftRule::ClampMss { link: "ps0".into() },
        forward("lan0", "ps0", None),
        forward("psu1", "lan0", Some(Only::Shimmed)),
        forward("psu1", "lan@0", Some(Only::Shimmed)),
        forward("psu1", "lan@0", Some(Only::Established)),
        forward("psu1", "psq30", Some(Only::Established)),
        NftRule::Protect { link: "psu1".into(), welcome: vec![Welcome::Shimmed] },
        NftRule::Protect { link: "psu2".into(), welcome: vec![Welcome::Shimmed] },
        NftRule::Protect { link: "psq30".into(), welcome: vec![Welcome::Neighbours] },
        NftRule::Protect { link: "inet0".into(), welcome: vec![Welcome::Diagnostics] },
        NftRule::Protect { link: "psv".into(), welcome: vec![] },
        NftRule::Masquerade { from: "psv".into(), link: "wan1".into() },
        NftRule::Snat {
            link: "inet0".into(),
            sources: nets(&["172.16.7.0/24", "fd07::/64"]),
            pool: nets(&["198.51.100.16/28", "198.51.100.64/32", "2001:db8:100::/112"]),
        },
    ])
}

#[test]
fn what_is_loaded_is_listed_as_it_was_written_whatever_the_rule() {
    in_namespace(|netns| {
        let everything = everything();
        put_into(netns, &everything, &BTreeMap::new());
        assert_as_declared(netns, &everything);
        // and each alone: what one needs, another might bring along
        for rule in everything.rules {
            let alone = spec(vec![rule]);
            put_into(netns, &alone, &BTreeMap::new());
            assert_as_declared(netns, &alone);
        }
        put_into(netns, &spec(vec![]), &BTreeMap::new());
        assert_as_declared(netns, &spec(vec![]));
    });
}

#[test]
fn whatever_somebody_breaks_in_it_is_seen_and_put_right() {
    in_namespace(|netns| {
        let everything = everything();
        put_into(netns, &everything, &BTreeMap::new());
        let objects = render(&everything).objects(&BTreeMap::new());
        let map = |begins: &str| -> &'static str {
            let mut names = objects.iter().filter_map(|object| object["map"]["name"].as_str());
            names.find(|name| name.starts_with(begins)).unwrap().to_owned().leak()
        };
        let breaks: &[&'static [&'static str]] = &[
            &["flush", "chain", "inet", "pathsteer", "segment-lan0"],
            vec!["delete", "element", "inet", "pathsteer", map("tunnel1-"), "{ 6 . 443 }"].leak(),
            vec!["add", "element", "inet", "pathsteer", map("tunnel2-"), "{ 203.0.113.1 : 0x1000 }"].leak(),
            &["add", "chain", "inet", "pathsteer", "mine"],
            &["add", "rule", "ip", "pathsteer", "copy", "drop"],
            &["add", "set", "inet", "pathsteer", "mine", "{ type ipv4_addr; }"],
            &["add", "counter", "inet", "pathsteer", "mine"],
            &["flush", "chain", "inet", "pathsteer", "raw", ";", "flush", "chain", "inet", "pathsteer", "leave"],
            &["flush", "chain", "inet", "pathsteer", "in-clear", ";", "delete", "counter", "inet", "pathsteer", "leak"],
            &["flush", "chain", "ip", "pathsteer", "copy", ";", "delete", "quota", "ip", "pathsteer", "copies1"],
            &["delete", "table", "inet", "pathsteer"],
            &["delete", "table", "ip", "pathsteer"],
        ];
        for words in breaks {
            nft(netns, words);
            assert!(!is_as_declared(netns, &everything), "{words:?} is not seen");
            put_into(netns, &everything, &BTreeMap::new());
            assert_as_declared(netns, &everything);
        }
    });
}

#[test]
fn another_table_goes_on_with_what_was_counted_and_a_deleted_one_with_what_is_remembered() {
    in_namespace(|netns| {
        let used = |slot: u8| {
            let mut tallies = Tallies::default();
            tallies.add("psvip", netns.run(|| nfnetlink::counted(ownership::NFT_TABLE)).unwrap());
            tallies.copied.get(&slot).copied()
        };
        let nothing = BTreeMap::new();
        put_into(netns, &spec(vec![copy(1, 1_000, 60_000_000_000)]), &BTreeMap::from([(1, 5_000_000_000)]));
        assert_eq!(used(1), Some(5_000_000_000));
        let larger = spec(vec![copy(1, 1_000, 70_000_000_000), copy(2, 1_000, 9), NftRule::DefaultClass { class: 1 }]);
        put_into(netns, &larger, &nothing);
        assert_as_declared(netns, &larger);
        assert_eq!((used(1), used(2)), (Some(5_000_000_000), Some(0)), "what was used stays, whatever is remembered");
        nft(netns, &["delete", "table", "ip", "pathsteer"]);
        put_into(netns, &larger, &BTreeMap::from([(1, 6_000_000_000)]));
        assert_eq!(used(1), Some(6_000_000_000));
        run(netns, &["-j", "-f", "-"], Some(json!({"nftables": [ruleset::reset_of(1)]}).to_string())).unwrap();
        assert_eq!(used(1), Some(0), "a month begins");
        assert_as_declared(netns, &larger);
    });
}

#[test]
fn a_thousand_elements_are_one_map_and_in_force_at_once() {
    in_namespace(|netns| {
        let to = FlowTo::Class(2);
        let element =
            |port| ClassElement { protocol: Some(17), ports: ports(port, port + 1), to, ..ClassElement::default() };
        let many =
            spec(vec![map(PolicySet::Tunnel, 1, None, (0..1_000).map(|index| element(10_000 + 2 * index)).collect())]);
        put_into(netns, &many, &BTreeMap::new());
        assert_as_declared(netns, &many);
    });
}

#[test]
fn what_an_element_does_not_name_fits_whatever_a_packet_has_there() {
    in_namespace(|netns| {
        let net = |text: &str| Some(text.parse().unwrap());
        let plain = || ClassElement { to: FlowTo::Class(2), ..ClassElement::default() };
        let elements = vec![
            ClassElement { prefix: net("203.0.113.0/26"), ..plain() },
            ClassElement { prefix: net("203.0.113.64/26"), protocol: Some(6), ..plain() },
            ClassElement { prefix: net("203.0.113.128/26"), protocol: Some(6), ports: ports(443, 445), ..plain() },
            ClassElement { prefix: net("203.0.113.192/26"), protocol: Some(1), ..plain() },
        ];
        let one = spec(vec![map(PolicySet::Tunnel, 1, Some(Family::Ipv4), elements)]);
        put_into(netns, &one, &BTreeMap::new());
        let name = |begins: &str| {
            let objects = render(&one).objects(&BTreeMap::new());
            let mut names = objects.iter().filter_map(|object| object["map"]["name"].as_str());
            names.find(|name| name.starts_with(begins)).unwrap().to_owned()
        };
        let knows = |map: &str, key: &str| {
            let words = ["get", "element", "inet", "pathsteer", map, key].map(|word| &*word.to_owned().leak());
            run(netns, Box::leak(Box::new(words)), None).is_ok()
        };
        let (with_ports, without) = (name("tunnel1-"), name("tunnel1bare-"));
        for (key, known) in [
            ("203.0.113.1 . 6 . 9", true),
            ("203.0.113.1 . 17 . 65535", true),
            ("203.0.113.65 . 6 . 0", true),
            ("203.0.113.65 . 17 . 443", false),
            ("203.0.113.129 . 6 . 444", true),
            ("203.0.113.129 . 6 . 446", false),
            ("203.0.113.193 . 6 . 443", false),
        ] {
            assert_eq!(knows(&with_ports, &format!("{{ {key} }}")), known, "{key}");
        }
        let cases = [("203.0.113.1 . 1", true), ("203.0.113.1 . 47", true), ("203.0.113.193 . 1", true)];
        for (key, known) in cases.into_iter().chain([("203.0.113.193 . 58", false), ("203.0.113.65 . 1", false)]) {
            assert_eq!(knows(&without, &format!("{{ {key} }}")), known, "{key}");
        }
    });
}

#[test]
fn the_kernel_tells_that_something_changed_and_what_was_counted() {
    in_namespace(|netns| {
        let generation = || netns.run(nfnetlink::generation).unwrap();
        let before = generation();
        assert_eq!(generation(), before, "nothing happened");
        put_into(netns, &everything(), &BTreeMap::from([(2, 77)]));
        let loaded = generation();
        assert_ne!(loaded, before);
        nft(netns, &["add", "table", "inet", "other"]);
        nft(netns, &["add", "counter", "inet", "other", "leak", "{ packets 9 bytes 9 }"]);
        assert_ne!(generation(), loaded, "another table");
        let counted = netns.run(|| nfnetlink::counted(ownership::NFT_TABLE)).unwrap();
        let names: Vec<&str> = counted.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["barred", "denied", "forgedMark", "leak", "overlay", "spoofed", "copies1", "copies2"]);
        assert_eq!(counted[3].1, Counted::Packets(0), "not the other table's");
        assert_eq!(counted[7].1, Counted::QuotaBytes(77));
    });
}
