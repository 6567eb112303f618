//! Flows straight to the internet: which uplink they take, and when.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use super::Case;
use super::treatments::van;
use crate::node::{Node, plug};
use crate::plans::{EDGE, plan};

pub const CASES: &[(&str, Case)] = &[
    ("a_way_straight_to_the_internet_is_there_while_its_uplink_has_a_default_route", follows),
    ("a_guest_leaves_with_its_uplinks_address_and_stays_on_it_until_it_is_gone", pinned),
    ("what_may_not_pass_is_dropped_and_counted", counted),
];

/// A turn takes some tens of milliseconds on an idle machine; the rest is for a loaded one.
const SOON: Duration = Duration::from_secs(2);
/// Who guests talk to, behind every uplink.
const SERVER: &str = "198.18.99.1";

fn follows() -> Result<()> {
    let mut node = Node::start("edge14", &plan(&mut van()?, EDGE)?)?;
    node.settle()?;
    let leads = |node: &Node, family: &str, table: &str, veth: &str| {
        node.ip(&format!("{family} -n psvip route show table {table}")).is_ok_and(|routes| routes.contains(veth))
    };
    let both = |node: &Node| leads(node, "-4", "7990", "psu1") && leads(node, "-4", "7701", "psu1");
    ensure!(both(&node) && leads(&node, "-6", "7990", "psu1"), "uplink 1 has both families");
    ensure!(leads(&node, "-4", "7990", "psu2") && !leads(&node, "-6", "7990", "psu2"), "uplink 2 has IPv4 alone");
    ensure!(!leads(&node, "-4", "7990", "psu3"), "uplink 3 has no lease");
    let took = |what: &str, condition: &dyn Fn() -> bool| {
        let begin = clock::now();
        ensure!(clock::wait_until(begin + SOON, Duration::from_millis(1), condition), "not {what} after {SOON:?}");
        println!("edge14: {what} after {:?}", clock::now() - begin);
        Ok(())
    };
    node.outside.ip("link set far-wan1 down")?;
    took("gone without carrier", &|| !leads(&node, "-4", "7701", "psu1") && !leads(&node, "-4", "7990", "psu1"))?;
    took("gone without carrier, IPv6", &|| !leads(&node, "-6", "7990", "psu1"))?;
    node.outside.ip("link set far-wan1 up")?;
    took("back with it", &|| both(&node) && leads(&node, "-6", "7990", "psu1"))?;

    // What the kernel makes of a router's advertisement is nobody's to delete, and as good as a lease.
    node.ip("-n psup3 -6 address add 2001:db8:3::2/64 dev wan3 valid_lft 600 preferred_lft 300")?;
    node.ip("-n psup3 -6 route add default via 2001:db8:3::1 dev wan3 proto ra")?;
    took("there by advertisement", &|| leads(&node, "-6", "7990", "psu3") && leads(&node, "-6", "7703", "psu3"))?;
    node.settle()?;
    ensure!(node.ip("-n psup3 -6 address show dev wan3")?.contains("2001:db8:3::2"), "the address is gone");
    node.ip("-n psup3 -6 route del default via 2001:db8:3::1 dev wan3 proto ra")?;
    took("gone with its route", &|| !leads(&node, "-6", "7990", "psu3") && !leads(&node, "-6", "7703", "psu3"))
}

/// A node with a guest and two providers, behind both of which [`SERVER`] is.
struct Guests {
    node: Node,
    guest: Host,
    /// By slot: 1 and 2.
    providers: [Host; 2],
}

fn guests(name: &'static str) -> Result<Guests> {
    let plan = plan(&mut van()?, EDGE)?;
    let host = |role: &str| Host::new(Box::leak(format!("{name}-{role}").into_boxed_str()));
    let (guest, providers) = (host("guest")?, [host("isp1")?, host("isp2")?]);
    let mut node = Node::prepare(name, EDGE)?.begin(|node| {
        for card in plan.cards() {
            let end = match card.as_str() {
                "lan2" => &guest,
                "wan1" => &providers[0],
                "wan2" => &providers[1],
                _ => &node.outside,
            };
            plug(&node.host, end, &card)?;
        }
        node.keep(&plan, 1)
    })?;
    guest.ip("address add 10.77.0.2/24 dev far-lan2\nroute add default via 10.77.0.1")?;
    // They know the uplink's address and nothing behind it: what they answer has been translated.
    for (provider, far) in providers.iter().zip(["192.0.2.1/24 dev far-wan1", "203.0.113.129/25 dev far-wan2"]) {
        provider.ip(&format!("address add {far}\naddress add {SERVER}/32 dev lo"))?;
    }
    node.settle()?;
    Ok(Guests { node, guest, providers })
}

fn answered(guest: &Host) -> bool {
    guest.output("ping", &["-c", "1", "-W", "1", SERVER]).is_ok()
}

fn pinned() -> Result<()> {
    let Guests { mut node, guest, providers } = guests("edge15")?;
    let count = "table ip count { chain in { type filter hook input priority 0; icmp type echo-request counter; }; }";
    providers.iter().try_for_each(|provider| provider.output("nft", &[count]).map(drop))?;
    let heard = |slot: usize| -> u64 {
        let listed = providers[slot - 1].output("nft", &["list", "table", "ip", "count"]).unwrap_or_default();
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    node.wait("answered", |_| answered(&guest))?;
    ensure!(heard(1) > 0 && heard(2) == 0, "by uplink {:?}", (heard(1), heard(2)));

    // One flow: all requests of one ping have one identifier.
    let arguments = ["-i", "0.05", SERVER].map(str::to_owned).into();
    let recipe = Recipe { name: "edge15-ping".into(), program: "ping".into(), arguments };
    let flow = Daemon::start(&guest, recipe, std::path::Path::new("/run/lab/logs"))?;
    let replies = || flow.last_lines(1_000_000).iter().filter(|line| line.contains("bytes from")).count();
    node.wait("flowing", |_| replies() > 5)?;
    ensure!(heard(2) == 0, "by both uplinks");
    providers[0].ip("link set far-wan1 down")?;
    node.wait("by the other uplink", |_| heard(2) > 5)?;
    let before = replies();
    node.wait("answered by the other uplink", |_| replies() > before + 5)?;
    providers[0].ip("link set far-wan1 up")?;
    node.settle()?;
    let on_first = heard(1);
    let on_second = heard(2);
    node.wait("still flowing", |_| heard(2) > on_second + 60)?;
    // Some may have waited since the carrier went for the neighbour behind the first uplink.
    let late = heard(1) - on_first;
    ensure!(late < 20, "the flow went back to the first uplink: {late} packets");
    let on_first = heard(1);
    node.wait("a new flow by the first uplink", |_| answered(&guest) && heard(1) > on_first)?;
    Ok(())
}

fn counted() -> Result<()> {
    let Guests { mut node, guest, providers: _behind } = guests("edge16")?;
    // the twin of them all
    node.wait("answered", |_| answered(&guest))?;
    let counter = |name: &str| -> Result<u64> {
        let words = format!("netns exec psvip nft -j list counter inet pathsteer {name}");
        let listed: serde_json::Value = serde_json::from_str(&node.ip(&words)?)?;
        let counters = listed["nftables"].as_array().context("no list")?;
        counters.iter().find_map(|one| one["counter"]["packets"].as_u64()).with_context(|| listed.to_string())
    };
    let rises = |name: &str, by: u64, ping: &dyn Fn(&[&str]) -> Result<String>, words: &str| -> Result<()> {
        let before = counter(name)?;
        // nobody answers what is dropped
        let words: Vec<&str> = words.split(' ').collect();
        ensure!(ping(&words).is_err(), "{words:?} is answered");
        let now = counter(name)?;
        ensure!(now == before + by, "{name} is {now} after {before}: ping {words:?}");
        Ok(())
    };
    let by_guest = |words: &[&str]| guest.output("ping", &[&["-i", "0.05", "-W", "1"], words].concat());
    let by_node = |words: &[&str]| node.ip(&format!("netns exec psvip ping -i 0.05 -W 1 {}", words.join(" ")));
    guest.ip("address add 172.16.7.77/32 dev far-lan2")?;
    rises("spoofed", 3, &by_guest, &format!("-c 3 -I 172.16.7.77 {SERVER}"))?;
    rises("barred", 3, &by_guest, "-c 3 172.16.7.1")?;
    rises("barred", 2, &by_guest, "-c 2 192.0.2.10")?;
    rises("forgedMark", 3, &by_node, "-c 3 -m 256 198.51.100.7")
}
