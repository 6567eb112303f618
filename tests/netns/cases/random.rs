//! Any plan over any junk: random plans of random inventories, each put onto what the one before it and vandals have left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_crds::plan::Role;
use pathsteer_lab::clock;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::Case;
use super::foreign::{AROUND, around_now};
use super::settle::assert_as_declared;
use crate::dump;
use crate::inventories;
use crate::node::Node;
use crate::plans::{Plan, all_plans};

pub const CASES: &[(&str, Case)] = &[
    ("any_plan_comes_into_force_over_any_junk", || rounds("edge36", 0)),
    ("any_plan_comes_into_force_over_any_junk_once_more", || rounds("edge37", 1)),
];

/// Plans one after the other on each node.
const ROUNDS: usize = 14;
/// Acts of vandalism before each.
const ACTS: usize = 6;
/// Replays a run: what is printed by it.
const SEED: &str = "PATHSTEER_SEED";
/// Whatever random inventories name.
const CARDS: [&str; 13] =
    ["wan1", "wan2", "wan3", "wan4", "wan5", "wan6", "wan7", "wan8", "wan9", "lan0", "lan1", "lan2", "inet0"];

/// What somebody does, with `$N` a namespace of ours, `$L` a link in it, `$P` one that is no card, `$W` a worker, and `$I` a
/// number of two digits. What cannot be done there is no failure.
const JUNK: &[&str] = &[
    // namespaces: surplus, half-made, gone
    "ip netns add psup8",
    "touch /run/netns/psup7",
    "ip netns add psvip; ip netns add psan; ip -n psan link add ps0 type veth peer name ps1",
    // links: surplus, of the wrong kind, half of a pair, down, with another name, gone
    "ip -n $N link add psu$I type veth peer name psx",
    "ip -n $N link del psu1; ip -n $N tuntap add dev psu1 mode tun",
    "ip -n $N link del ps0; ip -n $N link add ps0 type veth peer name psy",
    "ip -n $N link add psb$I type bridge",
    "ip -n $N link set $L down",
    "ip -n $N link set $L mtu 1281",
    "ip -n $N link set $L address 02:00:00:00:00:$I",
    "ip -n $N link set $P down; ip -n $N link set $P name psz$I",
    "ip -n $N link del $L",
    // addresses and neighbours
    "ip -n $N address add 10.66.$I.1/24 dev $L; ip -n $N address add 2001:db8:66:$I::1/64 dev $L",
    "ip -n $N address flush dev $L",
    "ip -n $N neigh replace 169.254.78.$I lladdr 02:00:00:00:00:$I dev $L nud permanent",
    "ip -n $N neigh flush dev $L nud permanent",
    // routes and rules
    "ip -n $N route add 203.0.113.0/24 dev $L table 77$I proto 77",
    "ip -n $N -6 route add 2001:db8:203::/64 dev $L table 77$I proto 77",
    "ip -n $N route add default dev $L table 7701 metric 10 proto 77",
    "ip -n $N route replace blackhole default metric 9 proto 77",
    "ip -n $N route flush table 7701; ip -n $N -6 route flush table all proto 77",
    "ip -n $N route flush table all proto 77",
    "ip -n $N rule add pref 77$I lookup 7701; ip -n $N rule add pref 77$I iif $L blackhole",
    "ip -n $N -6 rule add pref 7701 fwmark 0x100/0xf00 lookup main",
    "ip -n $N rule flush; ip -n $N rule add pref 32766 lookup main",
    "ip -n $N rule del pref 7999; ip -n $N rule del pref 7701",
    // tables
    "ip netns exec $N nft add table inet pathsteer; \
     ip netns exec $N nft 'add chain inet pathsteer forward { type filter hook forward priority 5; policy drop; }'",
    "ip netns exec $N nft add table ip pathsteer",
    "ip netns exec $N nft flush table inet pathsteer",
    "ip netns exec $N nft delete table inet pathsteer",
    // settings, programs, pins, workers
    "ip netns exec $N sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1",
    "rm -r /sys/fs/bpf/pathsteer",
    "rm /sys/fs/bpf/pathsteer/*/ps_remote",
    "rm -r /sys/fs/bpf/pathsteer/*/links",
    "kill -9 $W",
    "kill -STOP $W",
];

fn rounds(name: &'static str, offset: u64) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed =
        std::env::var(SEED).ok().map_or(Ok(now), |seed| seed.parse()).with_context(|| format!("{SEED}: a number"))?;
    println!("{name}: {SEED}={seed}");
    go(name, seed, offset).with_context(|| format!("{SEED}={seed} replays this"))
}

fn go(name: &'static str, seed: u64, offset: u64) -> Result<()> {
    // Of their own, so that plans are the same whatever acts come upon.
    let [mut plans, mut acts] = [0, 2].map(|which| Chance::new(seed.wrapping_mul(4).wrapping_add(offset + which)));
    let mut around = String::new();
    let mut plan = plans.plan();
    let mut node = Node::prepare(name, plan.node)?.begin(|node| {
        CARDS.iter().try_for_each(|card| node.plug(card))?;
        node.host.output("sh", &["-c", AROUND])?;
        around = around_now(&node.host, &CARDS)?;
        node.keep(&plan, 1)
    })?;
    let (begin, mut longest) = (clock::now(), Duration::ZERO);
    for round in 0..ROUNDS {
        let what = format!("round {round}, {}", plan.node);
        longest = longest.max(node.settle().with_context(|| what.clone())?);
        assert_as_declared(&plan.objects(), node.observe()?);
        let declared: Vec<String> = plan.objects().netns.into_iter().map(|netns| netns.name).collect();
        let mut there = dump::namespaces(&node.host)?;
        there.retain(|netns| is_owned_netns(netns));
        ensure!(there == declared, "{what}: namespaces {there:?} instead of {declared:?}");
        let now = around_now(&node.host, &CARDS)?;
        ensure!(now == around, "{what}: {}", dump::difference(&around, &now));

        node.kill()?;
        let applies = node.applies();
        node.restart()?;
        node.first_turn().with_context(|| what.clone())?;
        ensure!(node.applies() == applies, "{what}: a second run changed something:\n{}", node.log().join("\n"));

        // Half of them are at work while it is, and what they do then is drift.
        let dead = acts.draw(any::<bool>());
        if dead {
            node.kill()?;
        }
        for _ in 0..ACTS {
            let act = acts.act(&node)?;
            println!("{name}: {what}: {act}");
            node.host.output("sh", &["-c", &format!("({act}) 2> /dev/null || true")])?;
        }
        // What was in a namespace that is gone comes home, but for a veth: that ends.
        for card in CARDS {
            if node.outside.output("ip", &["link", "show", &format!("far-{card}")]).is_err() {
                crate::node::plug(&node.host, &node.outside, card)?;
            }
        }
        if !dead {
            node.kill()?;
        }
        plan = plans.plan();
        node.keep(&plan, 1)?;
        node.restart()?;
    }
    println!("{name}: {ROUNDS} plans in {:?}, the slowest in sync after {longest:?}", clock::now() - begin);
    node.settle()?;
    node.kill()?;
    node.teardown()?;
    let now = around_now(&node.host, &CARDS)?;
    ensure!(now == around, "after teardown: {}", dump::difference(&around, &now));
    Ok(())
}

/// A row of random choices that a seed repeats.
struct Chance(TestRunner);

impl Chance {
    fn new(seed: u64) -> Chance {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Chance(TestRunner::new_with_rng(ProptestConfig::default(), dice))
    }

    fn draw<S: Strategy>(&mut self, from: S) -> S::Value {
        from.new_tree(&mut self.0).expect("these strategies refuse nothing").current()
    }

    /// A sound plan of some node of some inventory: of a site as often as of an anchor.
    fn plan(&mut self) -> Plan {
        let role = self.draw(select(&[Role::Edge, Role::Anchor][..]));
        loop {
            let mut inventory = self.draw(inventories::inventory());
            // 802.1Q is for stock kernels.
            inventory.vlans.values_mut().for_each(|vlan| vlan.id = None);
            let mut plans = all_plans(&inventory);
            plans.retain(|plan| plan.role == role);
            if !plans.is_empty() {
                return self.draw(select(plans));
            }
        }
    }

    /// Somebody's next act. Of whatever there is to choose from, it is one choice.
    fn act(&mut self, node: &Node) -> Result<String> {
        let act = self.draw(select(JUNK));
        let mut netns = dump::namespaces(&node.host)?;
        netns.retain(|netns| is_owned_netns(netns));
        let netns = self.one_of(netns, "psvip");
        let links = dump::ip(&node.host, &netns, "link").unwrap_or_default();
        let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        let ours = names.iter().filter(|name| name.starts_with("ps")).cloned().collect();
        let workers = node.workers().iter().map(u32::to_string).collect();
        let (link, pair) = (self.one_of(names, "lo"), self.one_of(ours, "none"));
        let (worker, number) = (self.one_of(workers, "none"), self.draw(10_u8..=77).to_string());
        let words = [("$N", netns), ("$L", link), ("$P", pair), ("$W", worker), ("$I", number)];
        Ok(words.iter().fold(act.to_owned(), |act, (name, word)| act.replace(name, word)))
    }

    fn one_of(&mut self, of: Vec<String>, otherwise: &str) -> String {
        let number = self.draw(any::<u32>()) as usize;
        if of.is_empty() { otherwise.to_owned() } else { of[number % of.len()].clone() }
    }
}
