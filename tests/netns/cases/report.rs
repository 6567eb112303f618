//! What an agent reports, how often, and what that costs on the wire.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_crds::report::NodeReport;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::Daemon;

use super::Case;
use super::lease::{operator, serve, wait_for_lease};
use crate::node::{LOOK, Node, STATE, plug};
use crate::operator::Operator;
use crate::plans::{EDGE, Plan, declare, example, example_plan, plan};

pub const CASES: &[(&str, Case)] = &[
    ("what_is_not_as_declared_is_told_since_when_also_by_the_next_agent", since),
    ("somebody_who_keeps_changing_something_is_told_of_by_what_is_changed_and_how_often", drift),
    ("a_state_that_flaps_does_not_flood_and_where_it_ends_is_told", flap),
    ("a_node_that_idles_over_a_metered_uplink_costs_less_than_a_megabyte_a_day", idle),
];

const ADDRESS: &str = "192.0.2.50";
/// A rule of the example's plan.
const RULE: &str = "7717";

fn has(operator: &Operator, wanted: impl Fn(&NodeReport) -> bool) -> bool {
    operator.report().is_some_and(|report| wanted(&report))
}

fn since() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge9s", EDGE)?.begin(|node| {
        plan.cards().iter().filter(|card| *card != "wan2").try_for_each(|card| node.plug(card))?;
        node.keep(&plan, 1)
    })?;
    let (_server, _) = serve(&node, "edge9s", ADDRESS, 1)?;
    wait_for_lease(&mut node, ADDRESS)?;
    let operator = operator(&node)?;
    let kinds =
        |report: &NodeReport| report.problems.iter().map(|one| (one.kind.clone(), one.slot)).collect::<Vec<_>>();
    let card_is_missing =
        |report: &NodeReport| report.not_as_declared.iter().any(|one| one.object == "link psup2/wan2");
    let complete =
        |report: &NodeReport| card_is_missing(report) && !kinds(report).contains(&("NoLease".to_owned(), Some(1)));
    node.wait("reported", |_| has(&operator, complete))?;
    let before = operator.report().context("there was one")?;
    ensure!(kinds(&before).contains(&("NoLease".to_owned(), Some(2))), "{:?}", before.problems);
    let [wrong] = &before.not_as_declared[..] else { bail!("one object is missing: {before:?}") };
    ensure!(wrong.since.since.ends_with('Z') && wrong.since.since_uptime <= before.uptime_seconds, "{wrong:?}");

    node.kill()?;
    let told = operator.posts().len();
    node.restart()?;
    let again = || operator.posts()[told..].iter().any(|post| post.method == "POST");
    node.wait("reported by the next agent", |_| again() && has(&operator, complete))?;
    let after = operator.report().context("there was one")?;
    let same = |report: &NodeReport| report.not_as_declared.first().map(|one| (one.object.clone(), one.since.clone()));
    ensure!(same(&after) == same(&before), "{:?} was {:?}", same(&after), same(&before));

    // A renewed lease is written within seconds.
    node.host.output("mount", &["--bind", STATE, STATE])?;
    node.host.output("mount", &["-o", "remount,bind,ro", STATE])?;
    let unsaved = |report: &NodeReport| report.problems.iter().any(|one| one.object == "file leases.json");
    node.wait("reported that it cannot write", |_| has(&operator, unsaved))?;
    node.host.output("mount", &["-o", "remount,bind,rw", STATE])?;
    node.wait("reported that it can write again", |_| has(&operator, |report| !unsaved(report)))?;
    plug(&node.host, &node.outside, "wan2")?;
    node.wait("reported as in sync", |_| has(&operator, |report| report.verified && !card_is_missing(report)))?;
    Ok(())
}

/// A node in sync with an operator behind its first uplink.
pub fn reporting(name: &'static str, plan: &Plan) -> Result<(Node, Operator, Daemon)> {
    let mut node = Node::start(name, plan)?;
    let (server, _) = serve(&node, name, ADDRESS, 1)?;
    wait_for_lease(&mut node, ADDRESS)?;
    let operator = operator(&node)?;
    node.wait("reported as in sync", |_| {
        has(&operator, |report| report.verified && report.uplinks[0].address.is_some())
    })?;
    Ok((node, operator, server))
}

fn drift() -> Result<()> {
    let (mut node, operator, _server) = reporting("edge9d", &example_plan(EDGE)?)?;
    for times in 1..=2 {
        node.ip(&format!("-n psvip rule del pref {RULE}"))?;
        let repaired =
            |report: &NodeReport| report.drift.iter().any(|one| one.object.contains(RULE) && one.times == times);
        node.wait("reported as repaired", |_| has(&operator, repaired))?;
    }
    let report = operator.report().context("there was one")?;
    ensure!(report.drift_repaired == 2 && report.drift[0].found == "is missing", "{:?}", report.drift);
    let last = report.last_changes.context("something was changed")?;
    ensure!(last.created == 1 && last.drift == 1 && last.objects[0].drift, "{last:?}");
    let patches = operator.posts().into_iter().filter(|post| post.method == "PATCH");
    let fields: Vec<Vec<String>> =
        patches.map(|post| post.body.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect()).collect();
    let of_drift: Vec<_> = fields.iter().filter(|fields| fields.iter().any(|field| field == "drift")).collect();
    ensure!(of_drift.len() >= 2, "drift was told by changes: {fields:?}");
    ensure!(of_drift.iter().all(|fields| !fields.iter().any(|field| field == "uplinks")), "more than that: {fields:?}");
    Ok(())
}

fn flap() -> Result<()> {
    let (mut node, operator, _server) = reporting("edge9f", &example_plan(EDGE)?)?;
    let (told, begin) = (operator.posts().len(), clock::now());
    let mut deleted = 0;
    clock::wait_until(begin + Duration::from_secs(8), Duration::from_millis(5), || {
        deleted += u64::from(node.ip(&format!("-n psvip rule del pref {RULE}")).is_ok());
        false
    });
    let repaired = |node: &Node| node.said("drift=1") as u64;
    node.wait("told the end of it", |node| {
        node.pending().is_some_and(|pending| pending.is_empty())
            && has(&operator, |report| report.verified && report.drift_repaired == repaired(node))
    })?;
    let (took, posts) = ((clock::now() - begin).as_secs(), operator.posts().len() - told);
    println!("edge9f: the rule went away {deleted} times in 8 s, told in {posts} posts within {took} s");
    ensure!(deleted > 20, "it did not flap: {deleted}");
    // a burst, and one a second
    ensure!(posts <= 20 + took as usize, "{posts} posts in {took} s");
    Ok(())
}

/// The example's plan, if the bytes of the uplink that the operator is behind cost money.
pub fn metered() -> Result<Plan> {
    let mut inventory = example()?;
    let fiber = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/rv/uplinks.yaml"))?;
    declare(&mut inventory, &fiber.replacen("  cost: 10", "  cost: 10\n  metered: true", 1))?;
    plan(&mut inventory, EDGE)
}

fn idle() -> Result<()> {
    let (node, operator, _server) = reporting("edge9m", &metered()?)?;
    let meter = "table inet tally {
        chain in { type filter hook prerouting priority 0; tcp dport 7443 counter name up; }
        chain out { type filter hook postrouting priority 0; tcp sport 7443 counter name down; }
        counter up { }
        counter down { }
    }";
    // What a start has to say is said.
    quiet(&operator)?;
    node.outside.nft(meter)?;
    let (told, begin) = (operator.posts().len(), clock::now());
    clock::wait_until(begin + WINDOW, Duration::from_secs(1), || false);
    let counted = node.outside.output("nft", &["-j", "list", "counters"])?;
    let counted: serde_json::Value = serde_json::from_str(&counted)?;
    let counters = counted["nftables"].as_array().context("nft lists")?;
    let bytes: u64 = counters.iter().filter_map(|one| one["counter"]["bytes"].as_u64()).sum();
    let posts = operator.posts().split_off(told);
    let a_day = bytes * 86_400 / WINDOW.as_secs();
    println!("edge9m: {bytes} bytes in {WINDOW:?}, {} kB a day; posts: {posts:?}", a_day / 1_000);
    ensure!(bytes > 0, "the meter counts nothing");
    ensure!(a_day < 1_000_000, "{a_day} bytes a day, by {posts:?}");
    Ok(())
}

/// Two heartbeats and whatever is posted meanwhile.
const WINDOW: Duration = Duration::from_secs(120);

/// Waits until nothing has been posted for a while.
fn quiet(operator: &Operator) -> Result<()> {
    let mut last = (operator.posts().len(), clock::now());
    let is_quiet = clock::wait_until(clock::now() + Duration::from_secs(60), LOOK, || {
        let posts = operator.posts().len();
        if posts != last.0 {
            last = (posts, clock::now());
        }
        clock::now() - last.1 > Duration::from_secs(10)
    });
    ensure!(is_quiet, "it never stops: {:?}", operator.posts().last());
    Ok(())
}
