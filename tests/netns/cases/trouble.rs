//! What an agent lacks, and what it does meanwhile: everything else, and delete nothing.

use anyhow::{Result, ensure};

use super::Case;
use crate::dump;
use crate::node::{CONFIG, Node, STATE, plug};
use crate::plans::{EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("a_missing_card_stops_nothing_else_and_is_taken_when_it_is_plugged_in", missing_card),
    ("a_damaged_plan_is_said_and_costs_nothing", damaged_plan),
    ("before_a_complete_plan_nothing_is_deleted", bootstrap),
    ("a_state_folder_that_cannot_be_written_costs_nothing_that_works", read_only),
    ("without_a_bpffs_everything_else_is_made_and_the_remedy_is_said", no_bpffs),
    ("doctor_names_what_is_missing_with_its_remedy", doctor),
];

fn missing_card() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge6n", EDGE)?.begin(|node| {
        plan.cards().iter().filter(|card| *card != "wan2").try_for_each(|card| node.plug(card))?;
        node.keep(&plan, 1)
    })?;
    let all_but = |node: &Node| node.pending().is_some_and(|left| left.len() == 1 && left[0].contains("psup2/wan2"));
    node.wait("complete but for the card", all_but)?;
    let why = "the node has no such interface: plug it in, or correct its name";
    let said = node.log().into_iter().find(|line| line.contains("failed") && line.contains("link psup2/wan2"));
    ensure!(said.as_ref().is_some_and(|line| line.contains(why)), "the log says {said:?}");

    // Turns that cannot succeed become rarer: the agent is not busy with it.
    let applies = node.applies();
    plug(&node.host, &node.outside, "wan2")?;
    let took = node.settle()?;
    println!("edge6n: {applies} attempts, then in sync {took:?} after the card came");
    ensure!(applies <= 8, "{applies} attempts in the first moments");
    ensure!(took.as_secs() < 3, "the card waited for a resync: {took:?}");
    Ok(())
}

fn damaged_plan() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::start("edge6d", &plan)?;
    node.settle()?;
    let before = dump::ours(&node.host)?;
    node.kill()?;
    let whole = plan.saved(2);
    let flipped = whole.replace("\\\"psup1\\\"", "\\\"psup9\\\"");
    ensure!(flipped != whole, "nothing was flipped");
    for (damage, words) in [(&flipped, "does not hash to its name"), (&whole[..1_000].to_owned(), "EOF")] {
        node.host.write(&format!("{STATE}/plan.json"), damage)?;
        node.restart()?;
        node.first_turn()?;
        let said = node.log().into_iter().rfind(|line| line.contains("the saved plan is unusable"));
        ensure!(said.as_ref().is_some_and(|line| line.contains(words)), "the log says {said:?}");
        let printed = node.run(&["plan"])?;
        ensure!(!printed.well && printed.text.contains(words), "`plan` says {}", printed.text);
        let now = dump::ours(&node.host)?;
        ensure!(now == before, "{}", dump::difference(&before, &now));
        node.kill()?;
    }
    node.teardown()
}

fn bootstrap() -> Result<()> {
    let mut node = Node::start("edge7", &example_plan(EDGE)?)?;
    node.settle()?;
    let before = dump::ours(&node.host)?;
    node.kill()?;
    let config = node.host.read(CONFIG)? + "bootstrap: {uplinks: {1: wan1, 2: wan2}}\n";
    node.host.write(CONFIG, &config)?;
    node.host.output("rm", &[&format!("{STATE}/plan.json")])?;
    node.restart()?;
    node.wait("in sync with its bootstrap plan", |node| node.said("in sync generation=0") == 1)?;
    let now = dump::ours(&node.host)?;
    ensure!(now == before, "{}", dump::difference(&before, &now));
    ensure!(node.workers().len() == 3, "workers {:?}", node.workers());
    Ok(())
}

fn read_only() -> Result<()> {
    let mut node = Node::start("edge6r", &example_plan(EDGE)?)?;
    node.settle()?;
    let before = dump::ours(&node.host)?;
    node.kill()?;
    node.host.output("mount", &["--bind", STATE, STATE])?;
    node.host.output("mount", &["-o", "remount,bind,ro", STATE])?;
    node.restart()?;
    node.first_turn()?;
    node.ip("-n psup1 link del psv")?;
    node.settle()?;
    let now = dump::ours(&node.host)?;
    ensure!(now == before, "{}", dump::difference(&before, &now));

    // Sequences made afresh without an epoch of their own would be refused by the far end: then rather none.
    node.host.output("rm", &["-r", "/sys/fs/bpf/pathsteer"])?;
    node.wait("heard", |node| node.said("advance the epoch: Read-only file system") > 0)?;
    let maps = node.host.output("sh", &["-c", "ls -d /sys/fs/bpf/pathsteer/*/ps_*"]);
    ensure!(maps.is_err(), "the datapath was opened all the same: {maps:?}");
    node.host.output("mount", &["-o", "remount,bind,rw", STATE])?;
    node.settle()?;
    Ok(())
}

fn no_bpffs() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge10b", EDGE)?.begin(|node| {
        plan.cards().iter().try_for_each(|card| node.plug(card))?;
        node.host.output("umount", &["/sys/fs/bpf"])?;
        node.keep(&plan, 1)
    })?;
    let of_shim = ["datapath", "remote", "prefix", "program"];
    let left = node.wait("complete but for the datapath", |node| {
        let left = node.pending().unwrap_or_default();
        !left.is_empty()
            && left.iter().all(|line| of_shim.iter().any(|noun| line.contains(&format!("create  {noun} "))))
    })?;
    println!("edge10b: complete but for the datapath after {left:?}");
    ensure!(node.said("mount -t bpf bpf /sys/fs/bpf") > 0, "the remedy is not in the log:\n{}", node.log().join("\n"));
    node.host.output("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    node.settle()?;
    Ok(())
}

fn doctor() -> Result<()> {
    let node = Node::start("edge10", &example_plan(EDGE)?)?;
    let sound = node.run(&["doctor"])?;
    ensure!(sound.well && !sound.text.contains("FAIL"), "a sound node: {}", sound.text);

    let without_nft = node.command(&["doctor"]).env("PATH", "/nonexistent").output()?;
    let text = String::from_utf8_lossy(&without_nft.stdout).into_owned();
    ensure!(without_nft.status.code() == Some(1) && text.contains("FAIL  nft: apt install nftables"), "{text}");

    node.host.output("umount", &["/sys/fs/bpf"])?;
    let printed = node.run(&["doctor"])?;
    let line = "FAIL  bpffs on /sys/fs/bpf: mount -t bpf bpf /sys/fs/bpf";
    ensure!(!printed.well && printed.text.contains(line), "{}", printed.text);
    ensure!(printed.text.matches("FAIL").count() == 1, "{}", printed.text);
    Ok(())
}
