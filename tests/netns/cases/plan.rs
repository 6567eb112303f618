//! Plans that come over the session or lie on disk: older, newer, damaged, and with no room left for them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::plan::PlanRoot;
use serde_json::{Value, json};

use super::Case;
use super::settle::assert_as_declared;
use crate::dump;
use crate::node::{CERTIFICATE, Node, OPERATOR, Prepared, STATE};
use crate::operator::Operator;
use crate::plans::{ANCHOR, EDGE, Plan, example, example_plan, hash, plan};

pub const CASES: &[(&str, Case)] = &[
    ("of_the_plans_that_an_operator_sends_only_whole_ones_that_are_not_older_come_into_force", session),
    ("a_plan_that_the_disk_has_no_room_for_is_in_force_and_saved_when_there_is", full_disk),
    ("on_a_full_disk_no_epoch_is_used_twice_and_no_key_is_half_there", full_disk_counters),
];

/// The example's anchor with its site and without.
fn with_and_without() -> Result<[Plan; 2]> {
    let mut inventory = example()?;
    let with = plan(&mut inventory, ANCHOR)?;
    inventory.sites.clear();
    inventory.uplinks.clear();
    inventory.vlans.clear();
    Ok([with, plan(&mut inventory, ANCHOR)?])
}

/// An anchor dials from the node's own network: its operator is on the node.
fn beside_its_operator(name: &'static str, complete: impl FnOnce(&Prepared) -> Result<()>) -> Result<(Node, Operator)> {
    let cards = example_plan(ANCHOR)?.cards();
    let mut node = Node::prepare(name, ANCHOR)?.begin(|node| {
        cards.iter().try_for_each(|card| node.plug(card))?;
        node.host.ip(&format!("address add {}/32 dev lo", OPERATOR.ip()))?;
        complete(node)
    })?;
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    let operator = Operator::listen(&node.host, OPERATOR, &node.host.read(CERTIFICATE)?, &key)?;
    node.wait("with its operator", |_| operator.streams() == 1)?;
    Ok((node, operator))
}

fn session() -> Result<()> {
    let [with, without] = with_and_without()?;
    let (mut node, operator) = beside_its_operator("anchor34", |_| Ok(()))?;
    ensure!(operator.sessions() == [(0, 0)], "{:?}", operator.sessions());
    operator.send(with.cut(5))?;
    in_force(&mut node, 5)?;
    let before = dump::ours(&node.host)?;

    operator.send(without.cut(4))?;
    node.wait("refused as older", |node| node.said("older plan refused") == 1)?;

    // What a later version may say within this one.
    operator.say(json!({"type": "weather", "outlook": "rain"}).to_string());
    for line in of_tomorrow(with.cut(6))? {
        operator.say(line);
    }
    in_force(&mut node, 6)?;
    assert_as_declared(&with.objects(), node.observe()?);

    type Damage = (&'static str, fn(&mut PlanRoot, &mut BTreeMap<String, String>));
    let damaged: [Damage; 4] = [
        ("is missing", |_, fragments| fragments.clear()),
        ("does not hash to its name", |_, fragments| _ = longest(fragments).pop()),
        ("does not hash to its name", |_, fragments| {
            let flipped = longest(fragments).replacen("psan", "qsan", 1);
            *longest(fragments) = flipped;
        }),
        ("is not one this agent reads", |root, _| root.version += 1),
    ];
    for (generation, (why, damage)) in (7..).zip(damaged) {
        let (mut root, mut fragments) = without.cut(generation);
        damage(&mut root, &mut fragments);
        operator.send((root, fragments))?;
        let words = format!("plan refused, the last good one stays generation={generation}");
        node.wait("refused", |node| node.log().iter().any(|line| line.contains(&words) && line.contains(why)))
            .with_context(|| format!("{generation}: {why}"))?;
    }
    // That it wanted none of them is seen by what it does with what comes after them.
    node.ip("-n psan route flush table 7701")?;
    node.settle()?;
    let now = dump::ours(&node.host)?;
    ensure!(now == before, "a refused plan: {}", dump::difference(&before, &now));
    node.wait("reported", |_| operator.report().is_some_and(|it| it.generation == 6 && it.verified))?;

    // A whole one may be in the store by now, under names that were sent already.
    let took = node.wait("asking for all of it again", |_| operator.streams() == 2)?;
    println!("anchor34: asks again {took:?} later");
    ensure!(operator.sessions().last() == Some(&(1, 6)), "{:?}", operator.sessions());
    operator.send(without.cut(11))?;
    in_force(&mut node, 11)?;
    assert_as_declared(&without.objects(), node.observe()?);

    operator.say("{\"type\": \"fragment\", \"sha");
    node.wait("dialled anew", |_| operator.streams() == 3)?;
    node.kill()?;
    node.restart()?;
    node.wait("dialled anew", |_| operator.streams() == 4)?;
    ensure!(operator.sessions()[2..] == [(1, 11), (1, 11)], "{:?}", operator.sessions());
    node.settle()?;
    Ok(())
}

fn in_force(node: &mut Node, generation: i64) -> Result<()> {
    let words = format!("plan store_epoch=1 generation={generation}");
    node.wait(&format!("told of plan {generation}"), |node| node.said(&words) > 0)?;
    node.wait("with it on disk", |node| on_disk(node).is_ok_and(|saved| saved == generation))?;
    node.settle()?;
    Ok(())
}

/// The generation of the plan on disk.
fn on_disk(node: &Node) -> Result<i64> {
    let saved: Value = serde_json::from_str(&node.host.read(&format!("{STATE}/plan.json"))?)?;
    saved["root"]["generation"].as_i64().context("a saved plan has a generation")
}

fn longest(fragments: &mut BTreeMap<String, String>) -> &mut String {
    fragments.values_mut().max_by_key(|json| json.len()).expect("a plan has fragments")
}

/// The same plan as an operator of a later version may send it: with fields, nouns and fragments that nobody knows yet.
fn of_tomorrow((root, fragments): (PlanRoot, BTreeMap<String, String>)) -> Result<Vec<String>> {
    let mut renamed = BTreeMap::new();
    let mut lines = Vec::new();
    let mut add = |fragment: &Value| {
        let json = fragment.to_string();
        let sha256 = hash(&json);
        lines.push(json!({"type": "fragment", "sha256": sha256, "json": json, "colour": "blue"}).to_string());
        sha256
    };
    for (sha256, json) in fragments {
        let mut fragment: Value = serde_json::from_str(&json)?;
        for noun in fragment.as_object_mut().context("a fragment is an object")?.values_mut() {
            for object in noun.as_array_mut().context("of lists")? {
                object["colour"] = json!("blue");
            }
        }
        fragment["umbrellas"] = json!([{"netns": "psan", "open": true}]);
        renamed.insert(sha256, add(&fragment));
    }
    let new = add(&json!({"umbrellas": [{"netns": "psan", "open": false}]}));
    let mut root = serde_json::to_value(root)?;
    root["colour"] = json!("blue");
    for named in root["fragments"].as_object_mut().context("a root names fragments")?.values_mut() {
        let now = named.as_str().and_then(|sha256| renamed.get(sha256));
        *named = json!(now.context("a root names fragments that were sent")?);
    }
    root["fragments"]["umbrellas/node"] = json!(new);
    lines.push(json!({"type": "root", "revision": root["generation"], "root": root, "colour": "blue"}).to_string());
    Ok(lines)
}

/// Puts the node's files on a file system of their own, of 1 MiB.
fn small_disk(node: &Prepared) -> Result<()> {
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    node.host.output("mount", &["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", STATE])?;
    node.host.write(&format!("{STATE}/node.key"), &key)
}

const FILL: &str =
    "dd if=/dev/zero of=/var/lib/pathsteer/ballast bs=4096 2> /dev/null; test $(stat -f -c %a /var/lib/pathsteer) = 0";

fn fill(node: &Node) -> Result<()> {
    node.host.output("sh", &["-c", FILL]).map(drop)
}

fn empty(node: &Node) -> Result<()> {
    node.host.output("rm", &[&format!("{STATE}/ballast")]).map(drop)
}

/// Its files but for the ballast, and for what workers remember when they like.
fn files(node: &Node) -> Result<Vec<String>> {
    let listed = node.host.output("ls", &["-A", STATE])?;
    let lasting = |name: &&str| *name != "ballast" && !name.contains(".endpoints");
    Ok(listed.lines().filter(lasting).map(str::to_owned).collect())
}

fn full_disk() -> Result<()> {
    let [with, without] = with_and_without()?;
    let (mut node, operator) = beside_its_operator("anchor35", |node| {
        small_disk(node)?;
        node.keep(&with, 1)
    })?;
    node.settle()?;
    let (saved, files_before) = (node.host.read(&format!("{STATE}/plan.json"))?, files(&node)?);
    let unsaved = "cannot save the plan: it is in force, but a reboot would begin with the one before \
                   error=No space left on device";
    for (round, generation) in [(1, 2), (2, 3)] {
        fill(&node)?;
        operator.send(without.cut(generation))?;
        node.wait("reported", |_| operator.report().is_some_and(|it| it.generation == generation && it.verified))?;
        // `plan` would compare with what is on disk.
        let left = dump::ours(&node.host)?;
        ensure!(!left.contains("172.16.7"), "the site is still there: {left}");
        ensure!(node.said(unsaved) == round, "the log says {:?}", node.log());
        let (now, files_now) = (node.host.read(&format!("{STATE}/plan.json"))?, files(&node)?);
        ensure!(now == saved && files_now == files_before, "on disk: {files_now:?}, plan whole: {}", now == saved);
        if round == 1 {
            // It begins with the plan before, and is given the later one again.
            node.kill()?;
            let streams = operator.streams();
            node.restart()?;
            node.wait("dialled anew", |_| operator.streams() > streams)?;
            ensure!(operator.sessions().last() == Some(&(1, 1)), "{:?}", operator.sessions());
        }
    }
    empty(&node)?;
    operator.say(json!({"type": "heartbeat"}).to_string());
    node.wait("with its plan on disk", |node| on_disk(node).is_ok_and(|generation| generation == 3))?;
    ensure!(node.said("the plan is saved generation=3") == 1, "the log does not say so");

    // With all of it full again a restart writes nothing and needs nothing.
    fill(&node)?;
    node.kill()?;
    let streams = operator.streams();
    node.restart()?;
    node.wait("dialled anew", |_| operator.streams() > streams)?;
    ensure!(operator.sessions().last() == Some(&(1, 3)), "{:?}", operator.sessions());
    node.settle()?;
    assert_as_declared(&without.objects(), node.observe()?);
    Ok(())
}

fn full_disk_counters() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge35", EDGE)?.begin(|node| {
        plan.cards().iter().try_for_each(|card| node.plug(card))?;
        small_disk(node)?;
        // Without room there is no first start: better no key than half of one.
        node.host.output("sh", &["-c", FILL])?;
        Ok(())
    })?;
    node.wait("told", |node| node.said("private key") > 0 && node.said("No space left on device") > 0)?;
    let csr = node.run(&["csr", "--node", EDGE, "--state-dir", &format!("{STATE}/other")])?;
    ensure!(!csr.well && csr.text.contains("No space left on device"), "csr: {}", csr.text);
    ensure!(files(&node)? == ["node.key", "other"], "{:?}", files(&node)?);
    ensure!(node.host.output("ls", &["-A", &format!("{STATE}/other")])?.is_empty(), "half a key is left");

    empty(&node)?;
    node.keep(&plan, 1)?;
    node.restart()?;
    node.settle()?;
    let number =
        |node: &Node, name: &str| -> Result<u64> { Ok(node.host.read(&format!("{STATE}/{name}"))?.trim().parse()?) };
    node.wait("with a switch counter on disk", |node| number(node, "switch-counter").is_ok())?;
    let reference = dump::ours(&node.host)?;
    let (epoch, files_before) = (number(&node, "epoch")?, files(&node)?);

    // Sequences made afresh without an epoch of their own would be refused by the far end, or taken for old ones: then
    // rather none are made.
    fill(&node)?;
    node.host.output("rm", &["-r", "/sys/fs/bpf/pathsteer"])?;
    node.wait("heard", |node| node.said("advance the epoch: No space left on device") > 0)?;
    let maps = node.host.output("sh", &["-c", "ls -d /sys/fs/bpf/pathsteer/*/ps_*"]);
    ensure!(maps.is_err(), "the datapath was opened all the same: {maps:?}");
    ensure!(number(&node, "epoch")? == epoch && files(&node)? == files_before, "on disk: {:?}", files(&node)?);
    empty(&node)?;
    node.settle()?;
    let now = dump::ours(&node.host)?;
    ensure!(now == reference, "{}", dump::difference(&reference, &now));
    ensure!(number(&node, "epoch")? == epoch + 1, "epoch {epoch} before, {} now", number(&node, "epoch")?);

    // A counter that was lost is reserved anew as soon as there is room; switching does not wait for it.
    node.kill()?;
    node.host.output("rm", &[&format!("{STATE}/switch-counter")])?;
    fill(&node)?;
    node.restart()?;
    node.wait("heard", |node| node.said("PersistCounter") > 0)?;
    empty(&node)?;
    node.wait("with a switch counter on disk", |node| number(node, "switch-counter").is_ok())?;
    ensure!(node.said("the switch counter is saved") == 1, "the log does not say so");
    Ok(())
}
