//! Every call to a driver fails once, and the agent dies after every object that it changes: it gets there all the same.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use pathsteer_agent_core::{PlanObject, Sweep, changes};
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;

use super::Case;
use super::foreign::{AROUND, around_now};
use super::transition;
use crate::dump;
use crate::life::Life;
use crate::node::Node;
use crate::plans::{ANCHOR, EDGE, Plan};

pub const CASES: &[(&str, Case)] = &[
    ("an_edge_agent_that_dies_after_every_change_gets_there_and_doubles_nothing", || dies("edge31", EDGE)),
    ("an_anchor_agent_that_dies_after_every_change_gets_there_and_doubles_nothing", || dies("anchor31", ANCHOR)),
    ("every_step_of_an_edge_that_fails_once_is_taken_again", || fails("edge32", EDGE)),
    ("every_step_of_an_anchor_that_fails_once_is_taken_again", || fails("anchor32", ANCHOR)),
    ("every_look_at_an_edge_that_fails_once_is_taken_again", || looks("edge33", EDGE, "psvip")),
    ("every_look_at_an_anchor_that_fails_once_is_taken_again", || looks("anchor33", ANCHOR, "psan")),
];

/// What steps are divided into: each share fails in a life of its own.
const SHARES: u64 = 5;

/// A node that has been through two plans undisturbed.
struct Rehearsed {
    node: Node,
    plans: [Plan; 2],
    cards: Vec<String>,
    /// What it held with each.
    references: [String; 2],
    /// What was there of others, at the end.
    around: String,
}

impl Rehearsed {
    fn new(name: &'static str, identity: &'static str) -> Result<Rehearsed> {
        let plans = transition::two_plans(identity)?;
        let mut cards = [plans[0].cards(), plans[1].cards()].concat();
        cards.sort();
        cards.dedup();
        let mut node = Node::prepare(name, identity)?.begin(|node| {
            cards.iter().try_for_each(|card| node.plug(card))?;
            node.host.output("sh", &["-c", AROUND])?;
            node.keep(&plans[0], 1)
        })?;
        let mut references = [String::new(), String::new()];
        for (plan, reference) in plans.iter().zip(&mut references) {
            node.kill()?;
            node.keep(plan, 1)?;
            node.restart()?;
            node.settle()?;
            *reference = dump::ours(&node.host)?;
        }
        node.kill()?;
        node.teardown()?;
        let around = around_now(&node.host, &named(&cards))?;
        Ok(Rehearsed { node, plans, cards, references, around })
    }

    /// Everything is as it was with plan `which`, and what is not ours as it always was.
    fn assert_is(&self, which: usize, when: &str) -> Result<()> {
        let now = dump::ours(&self.node.host)?;
        let reference = &self.references[which];
        ensure!(now == *reference, "{when}: {}", dump::difference(reference, &now));
        ensure!(self.node.pending() == Some(vec![]), "{when}: {:?}", self.node.pending());
        let slots: BTreeSet<u8> = self.plans[which].objects().wireguard_devices.iter().map(|one| one.slot).collect();
        let kernels = now.lines().filter(|line| line.contains("wireguard")).count();
        ensure!(
            kernels > 0 || self.node.workers().len() == slots.len(),
            "{when}: workers {:?} for slots {slots:?}",
            self.node.workers()
        );
        self.assert_around(when)
    }

    fn assert_around(&self, when: &str) -> Result<()> {
        let around = around_now(&self.node.host, &named(&self.cards))?;
        ensure!(around == self.around, "{when}: {}", dump::difference(&self.around, &around));
        Ok(())
    }

    fn assert_gone(&self, when: &str) -> Result<()> {
        // With the cards at home: what is around has them.
        let left = [
            dump::ours(&self.node.host)?,
            self.node.host.output(
                "sh",
                &["-c", "ls /run/netns /sys/fs/bpf | grep -x -e psvip -e psan -e 'psup[1-8]' -e pathsteer || true"],
            )?,
        ];
        ensure!(left.concat().is_empty(), "{when}: left is {left:?}");
        ensure!(self.node.workers().is_empty(), "{when}: workers {:?}", self.node.workers());
        self.assert_around(when)
    }
}

fn named(cards: &[String]) -> Vec<&str> {
    cards.iter().map(String::as_str).collect()
}

fn dies(name: &'static str, identity: &'static str) -> Result<()> {
    let rehearsed = Rehearsed::new(name, identity)?;
    let node = &rehearsed.node;
    let mut deaths = Vec::new();
    let begin = clock::now();
    for (which, what) in [(0, "from nothing"), (1, "from the plan before")] {
        node.keep(&rehearsed.plans[which], 1)?;
        deaths.push(Life::until_alive(|| Life::live(node, "kill:1", || Ok(())))?);
        rehearsed.assert_is(which, what)?;
    }
    deaths.push(Life::until_alive(|| Life::tear_down(node, "kill:1"))?);
    rehearsed.assert_gone("after teardown")?;
    // Both: of what each life tries a part fails, and it dies of the rest.
    node.keep(&rehearsed.plans[0], 1)?;
    deaths.push(Life::until_alive(|| Life::live(node, "step:0/3,kill:5", || Ok(())))?);
    rehearsed.assert_is(0, "with failures")?;
    println!(
        "{name}: {deaths:?} deaths from nothing, to another plan, in teardown, with failures: {:?}",
        clock::now() - begin
    );
    // One for each object, but for sysctls that namespaces are born with and second ends of pairs.
    let steps = made(&rehearsed.plans[0].objects());
    let certain = steps.iter().filter(|step| !step.starts_with("Update ") && !step.contains(" sysctl ")).count();
    ensure!(deaths[0] >= certain, "{} deaths in {certain} steps and more", deaths[0]);
    ensure!(deaths[1] > 20 && deaths[2] > 20, "{deaths:?} deaths");
    Ok(())
}

fn fails(name: &'static str, identity: &'static str) -> Result<()> {
    let rehearsed = Rehearsed::new(name, identity)?;
    let node = &rehearsed.node;
    let mut failed = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let begin = clock::now();
    for share in 0..SHARES {
        let fault = format!("step:{share}/{SHARES}");
        for which in [0, 1] {
            node.keep(&rehearsed.plans[which], 1)?;
            failed[which].extend(Life::live(node, &fault, || Ok(()))?.faults);
            rehearsed.assert_is(which, &format!("{fault}, plan {which}"))?;
        }
        let life = Life::tear_down(node, &fault)?;
        ensure!(life.log.contains("still there"), "{fault}: a teardown that failed does not say so: {}", life.log);
        failed[2].extend(life.log.lines().filter_map(|line| Some(line.strip_prefix("still there: ")?.to_owned())));
        node.teardown()?;
        rehearsed.assert_gone(&fault)?;
    }
    let counts = failed.each_ref().map(BTreeSet::len);
    println!("{name}: {counts:?} steps failed from nothing, to another plan, in teardown: {:?}", clock::now() - begin);
    let expected = made(&rehearsed.plans[0].objects());
    let spared: Vec<_> = expected.difference(&failed[0]).collect();
    ensure!(spared.is_empty(), "these steps never failed: {spared:?}");
    for verb in ["Update ", "Delete ", "link set "] {
        ensure!(failed[1].iter().any(|step| step.starts_with(verb)), "no {verb}among {:?}", failed[1]);
    }
    Ok(())
}

/// The steps in which `objects` are made: one each, one for all that is a worker's.
fn made(objects: &PlanObjects) -> BTreeSet<String> {
    // While there is no default route, what waits for one is not declared.
    let mut objects = objects.clone();
    objects.routes.retain(|route| route.while_default_in.is_none());
    let steps = changes(&objects, &PlanObjects::default(), Sweep::Everything).into_iter().filter_map(|change| {
        match change.object {
            PlanObject::WireguardDevice(device) => Some(format!("Create worker of slot {}", device.slot)),
            PlanObject::WireguardPeer(_) => None,
            object => Some(format!("{:?} {}", change.action, object.name())),
        }
    });
    steps.collect()
}

fn looks(name: &'static str, identity: &'static str, netns: &str) -> Result<()> {
    let mut node = Node::start(name, &transition::two_plans(identity)?[0])?;
    node.settle()?;
    let reference = dump::ours(&node.host)?;
    node.kill()?;
    node.ip(&format!("-n {netns} rule del pref 7999"))?;
    // Whoever waits for the next turn is woken: by a route of somebody else, which comes and goes.
    let wake = || {
        let route = |verb| node.ip(&format!("-n {netns} route {verb} 203.0.113.7/32 dev ps0 table 100 proto static"));
        route("add")?;
        route("del").map(drop)
    };
    let begin = clock::now();
    let life = Life::live(&node, "look:0/1", wake)?;
    println!("{name}: {} looks failed: {:?}", life.faults.len(), clock::now() - begin);
    let nouns = [
        "datapath",
        "sysctls",
        "lent sysctls",
        "links",
        "addresses",
        "neighbours",
        "routes",
        "rules",
        "nft tables",
        "programs",
    ];
    let dumps = ["link list", "addr list", "neigh list", "route list", "rule list"];
    let workers = ["worker of slot 1", "worker of slot 2"];
    for look in nouns.iter().chain(&dumps).chain(&workers) {
        ensure!(life.faults.contains(*look), "{look} did not fail: {:?}", life.faults);
    }
    let now = dump::ours(&node.host)?;
    ensure!(now == reference, "{}", dump::difference(&reference, &now));
    ensure!(node.pending() == Some(vec![]), "{:?}", node.pending());
    Ok(())
}
