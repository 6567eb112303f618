//! A random walk through valid plans, keys, versions and layouts under live traffic: every change of a plan says what it
//! does to flows, and nothing is lost whatever it says.

use std::cell::RefCell;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::keys;
use pathsteer_crds::plan::PlanRoot;
use pathsteer_lab::clock;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE};

use crate::renewal::{ALIKE, rekey, relay, upgrade};
use crate::stage::{Stage, out};

/// Walks: a seed, how long, how long before the end the last step may begin, and the kinds of steps. Any seed will do; a
/// failure names the one it came with. In the first there are other numbers, and in the second the anchor is renewed, with
/// copies and without.
const WALKS: [(u64, Duration, Duration, &[&[Step]]); 2] = [
    (7_883, Duration::from_secs(30), Duration::from_secs(6), &[&ALONE, &PLANS]),
    (7_090, Duration::from_secs(75), Duration::from_secs(25), &[&ALONE, &PLANS, &UPKEEP]),
];
/// A plan is carried out and reported in tenths of a second; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(15);
/// Both nodes say for so long that they are as planned before the next step begins: a change that is still on its way
/// would be taken for none.
const QUIET: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(30);

/// What is declared beside the example, or instead of a part of it.
#[derive(Clone, PartialEq)]
struct Declared {
    /// A class of its own for what runs already.
    policy: bool,
    guests: bool,
    /// The slot of the first uplink, the cheapest unless swapped, if there is one.
    fiber: Option<u8>,
    /// The slot of the third uplink, if there is one.
    cellular: Option<u8>,
    /// The second uplink is the cheapest.
    swapped: bool,
    /// The MTU of the first uplink.
    mtu: u16,
    /// An anchor at which nobody is.
    second_anchor: bool,
    /// A site at which nobody is.
    second_site: bool,
    /// 8 or 9: the last digit of ports and addresses of the policy, the guests' segment, that site and that anchor.
    number: u8,
    copies: u8,
    copied: bool,
}

const EXAMPLE: Declared = Declared {
    policy: false,
    guests: true,
    fiber: Some(1),
    cellular: Some(3),
    swapped: false,
    mtu: 1_500,
    second_anchor: false,
    second_site: false,
    number: 9,
    copies: 1,
    copied: true,
};

type Step = (&'static str, Change);

/// What a step changes.
#[derive(Clone, Copy)]
enum Change {
    /// What is declared.
    Plan(fn(&mut Declared)),
    /// Something about a node, done when this returns.
    Node(fn(&Network, &mut Fleet) -> Result<()>),
}

const PLANS: [Step; 12] = [
    ("a policy comes or goes", Change::Plan(|now| now.policy = !now.policy)),
    ("a segment comes or goes", Change::Plan(|now| now.guests = !now.guests)),
    (
        "the cheapest uplink comes or goes",
        Change::Plan(|now| now.fiber = if now.fiber.is_some() { None } else { Some(1) }),
    ),
    (
        "the cheapest uplink gets another slot",
        Change::Plan(|now| now.fiber = if now.fiber == Some(5) { Some(1) } else { Some(5) }),
    ),
    ("an uplink comes or goes", Change::Plan(|now| now.cellular = if now.cellular.is_some() { None } else { Some(3) })),
    (
        "an uplink gets another slot",
        Change::Plan(|now| now.cellular = if now.cellular == Some(4) { Some(3) } else { Some(4) }),
    ),
    ("another uplink is the cheapest", Change::Plan(|now| now.swapped = !now.swapped)),
    ("an uplink's MTU changes", Change::Plan(|now| now.mtu = if now.mtu == 1_500 { 1_480 } else { 1_500 })),
    ("an anchor comes or goes", Change::Plan(|now| now.second_anchor = !now.second_anchor)),
    ("a site comes or goes", Change::Plan(|now| now.second_site = !now.second_site)),
    ("a policy, a segment, a site and an anchor get other numbers", Change::Plan(|now| now.number = 17 - now.number)),
    ("copies go to one more path or one less", Change::Plan(|now| now.copies = 3 - now.copies)),
];

/// Without copies everything depends on the one path in use.
const ALONE: [Step; 1] = [("copies are made or not", Change::Plan(|now| now.copied = !now.copied))];

const UPKEEP: [Step; 6] = [
    ("the site gets another key", Change::Node(|network, fleet| rekey(network, fleet, EDGE, 2))),
    ("the anchor gets another key", Change::Node(|network, fleet| rekey(network, fleet, ANCHOR_HOST, 2))),
    (
        "the site's agent and workers are of another version",
        Change::Node(|network, fleet| upgrade(network, fleet, EDGE)),
    ),
    ("the anchor's are", Change::Node(|network, fleet| upgrade(network, fleet, ANCHOR_HOST))),
    ("the site finds maps of another layout", Change::Node(|network, fleet| relay(network, fleet, EDGE, ALIKE))),
    (
        "the anchor finds maps of another layout",
        Change::Node(|network, fleet| relay(network, fleet, ANCHOR_HOST, ALIKE)),
    ),
];

impl Declared {
    fn manifests(&self) -> String {
        let (mut all, number) = (String::new(), self.number);
        let mut object = |kind: &str, metadata: &str, spec: &str| {
            let _never = writeln!(
                all,
                "---\napiVersion: pathsteer.io/v1alpha1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}"
            );
        };
        let site = format!("site: {EDGE}, name: ");
        let (first, second) = if self.swapped { (20, 10) } else { (10, 20) };
        let uplink = |slot: u8, kind: &str, card: u8, cost: u8, mtu: u16| {
            format!("slot: {slot}, kind: {kind}, interface: wan{card}, address: dhcp, cost: {cost}, mtu: {mtu}")
        };
        if let Some(slot) = self.fiber {
            object("Uplink", &format!("{site}fiber"), &uplink(slot, "fiber", 1, first, self.mtu));
        }
        object("Uplink", &format!("{site}starlink"), &uplink(2, "starlink", 2, second, 1_500));
        if let Some(slot) = self.cellular {
            object("Uplink", &format!("{site}cellular"), &uplink(slot, "cellular", 3, 30, 1_500));
        }
        if self.guests {
            let spec = format!("interface: lan2, addresses: [10.7{number}.0.1/24], treatment: guest");
            object("Vlan", &format!("{site}guests"), &spec);
        }
        if self.policy {
            let spec = format!("match: [{{protocol: tcp, ports: [\"30000-3400{number}\"]}}], steeringClass: bulk");
            object("TrafficPolicy", "name: bulk", &spec);
        }
        if self.second_anchor {
            let internet = format!("interface: inet0, addresses: [192.0.2.9{number}/24]");
            let spec = format!("endpoints: [{{address: 203.0.113.9{number}}}], internet: {{{internet}}}");
            object("Anchor", "name: chi-a", &spec);
        }
        if self.second_site {
            object("Site", "name: yacht-2", &format!("anchors: [dal-a], prefixes: [172.16.9{number}.0/24]"));
            let spec = "slot: 1, kind: fiber, interface: wan1, address: dhcp, cost: 10";
            object("Uplink", "site: yacht-2, name: fiber", spec);
        }
        let anchors = if self.second_anchor { "dal-a, chi-a" } else { "dal-a" };
        let prefixes = "172.16.7.0/24, 172.16.8.0/24, \"2001:db8:7::/64\", \"2001:db8:8::/64\"";
        let spec = format!("anchors: [{anchors}], vips: [198.18.7.1, \"2001:db8:7:ff::1\"], prefixes: [{prefixes}]");
        object("Site", &format!("name: {EDGE}"), &spec);
        let mode =
            if self.copied { format!("mode: mirror, copies: {}", self.copies) } else { "mode: training".to_owned() };
        object("Mode", "name: fleet", &mode);
        all
    }

    /// What was declared `before` and is no longer.
    fn gone(&self, before: &Declared) -> Vec<[&'static str; 2]> {
        let gone = [
            (before.policy && !self.policy, ["trafficpolicy", "bulk"]),
            (before.guests && !self.guests, ["vlan", "rv-07/guests"]),
            (before.fiber.is_some() && self.fiber.is_none(), ["uplink", "rv-07/fiber"]),
            (before.cellular.is_some() && self.cellular.is_none(), ["uplink", "rv-07/cellular"]),
            (before.second_site && !self.second_site, ["uplink", "yacht-2/fiber"]),
            (before.second_site && !self.second_site, ["site", "yacht-2"]),
            (before.second_anchor && !self.second_anchor, ["anchor", "chi-a"]),
        ];
        gone.into_iter().filter(|(gone, _)| *gone).map(|(_, object)| object).collect()
    }
}

pub fn case(stage: &mut Stage) -> Result<()> {
    for (seed, duration, rest, steps) in WALKS {
        let told = RefCell::new(Vec::new());
        let walked = stage.nobody_notices(duration, |network, fleet, _, zero| {
            told.borrow_mut().clear();
            let mut way = Way { network, fleet, dice: seed, now: EXAMPLE };
            clock::sleep_until(zero);
            while clock::now() < zero + duration - rest {
                let begun = clock::now();
                let step = way.step(&steps.concat())?;
                let [from, to] = [begun - zero, clock::now() - zero].map(|at| at.as_secs_f64());
                told.borrow_mut().push(format!("{from:.1} to {to:.1} s: {step}"));
            }
            Ok(())
        });
        let told = told.into_inner();
        walked.with_context(|| format!("seed {seed}: {}", told.join("; ")))?;
        ensure!(told.len() >= 5, "seed {seed}: only {} steps: {}", told.len(), told.join("; "));
        stage.remark(format!("seed {seed}, 0 lost: {}", told.join("; ")));
        stage.settle()?;
    }
    Ok(())
}

/// How far a walk has come.
struct Way<'a> {
    network: &'a Network,
    fleet: &'a mut Fleet,
    dice: u64,
    now: Declared,
}

impl Way<'_> {
    /// One step, whichever comes, and what was said of it. Whatever comes, nothing may be lost: a change that is disruptive
    /// is so for a path that carries nothing alone.
    fn step(&mut self, steps: &[Step]) -> Result<String> {
        let (what, change) = steps[(throw(&mut self.dice) % steps.len() as u64) as usize];
        match change {
            Change::Node(change) => {
                change(self.network, self.fleet).with_context(|| what)?;
                Ok(what.to_owned())
            }
            Change::Plan(change) => {
                let class = self.declare(change).with_context(|| format!("{what}: not carried out"))?;
                Ok(format!("{what} ({class})"))
            }
        }
    }

    /// Declares a change, and returns its class once it is carried out.
    fn declare(&mut self, change: fn(&mut Declared)) -> Result<&'static str> {
        let (fleet, before) = (&*self.fleet, self.now.clone());
        change(&mut self.now);
        let said = || fleet.daemons().flat_map(|daemon| daemon.last_lines(usize::MAX)).collect::<Vec<_>>();
        let spoken = said().len();
        let file: PathBuf = out().join("walk.yaml");
        std::fs::write(&file, self.now.manifests())?;
        // An anchor that a site still names cannot go, a site has to be there for its uplinks.
        fleet.cli(&["apply", "-f", &file.to_string_lossy()])?;
        for [kind, name] in self.now.gone(&before) {
            fleet.cli(&["delete", kind, name])?;
        }
        as_planned(fleet)?;
        let lines = said();
        Ok(worst_class(&lines[spoken.min(lines.len())..]))
    }
}

/// Both nodes have carried out what is published, and go on saying so.
pub fn as_planned(fleet: &Fleet) -> Result<()> {
    let carried_out = |node: &str| -> Result<bool> {
        let root = fleet.etcdctl(&["get", "--print-value-only", &keys::plan_root(node)])?;
        let root: PlanRoot = serde_json::from_str(&root).with_context(|| format!("the plan of {node}: {root}"))?;
        let report = fleet.report(node)?.with_context(|| format!("{node} has not reported"))?;
        Ok(report.verified && report.generation == root.generation)
    };
    let mut since = None;
    clock::wait_for("both nodes are as planned", PATIENCE, LOOK, || {
        let well = carried_out(EDGE)? && carried_out(ANCHOR_HOST)?;
        since = since.filter(|_| well).or_else(|| well.then(clock::now));
        Ok(since.is_some_and(|since| clock::now() >= since + QUIET))
    })
}

/// The worst of what agents said that their changes do to flows.
fn worst_class(lines: &[String]) -> &'static str {
    let classes = ["Disruptive", "MakeBeforeBreak", "InPlace", "None"];
    let said = |class: &&&str| lines.iter().any(|line| line.contains(&format!("worst={class}")));
    classes.iter().find(said).copied().unwrap_or("nothing to change")
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn throw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
