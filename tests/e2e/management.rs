//! Management: the operator is reached by whatever underlay is left, and needs no tunnel.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::uplink_netns;
use pathsteer_lab::network::plan::{EDGE, INTERNET, LAN, OPERATOR, OPERATOR_PORT, UPLINKS, Uplink};

use crate::kernel::shell;
use crate::stage::{Stage, out};
use crate::talk::{ENDS, talk};

/// Nobody has it otherwise.
const OTHER_SLOT: u8 = 7;

pub fn case(stage: &mut Stage) -> Result<()> {
    shell(stage.anchor(), "", "nft add table inet deaf")?;
    let shown = without_tunnels(stage);
    shell(stage.anchor(), "", "nft delete table inet deaf")?;
    for uplink in &UPLINKS {
        cut(stage, uplink, false)?;
    }
    shown
}

fn without_tunnels(stage: &mut Stage) -> Result<()> {
    shell(stage.anchor(), "", "nft add chain inet deaf early { type filter hook prerouting priority -400 ; }")?;
    shell(stage.anchor(), "", "nft add rule inet deaf early udp dport 51821-51828 drop")?;
    let hosts = [LAN, INTERNET].map(|name| stage.network.host(name).clone());
    let [from, to] = [ENDS[0].0, ENDS[0].1].map(|address| SocketAddr::new(address, 20_900));
    ensure!(talk((&hosts[0], from), (&hosts[1], to), 1).is_err(), "there still is a tunnel");

    let [fiber, starlink, cellular] = &UPLINKS;
    is_managed(stage, fiber.slot).context("all lines are there")?;
    cut(stage, fiber, true)?;
    is_managed(stage, starlink.slot).context("the first line is dead")?;
    cut(stage, starlink, true)?;
    is_managed(stage, cellular.slot).context("two lines are dead")?;

    // A boot finds nothing in the kernel, and the plan on disk.
    cut(stage, fiber, false)?;
    cut(stage, cellular, true)?;
    stage.fleet.agent(EDGE)?.kill()?;
    stage.fleet.agent_command(stage.edge(), &["teardown"])?;
    stage.fleet.agent(EDGE)?.restart()?;
    is_managed(stage, fiber.slot).context("after a boot, with the first line alone")?;

    // Its only way is taken from under it, and given back in another slot.
    let moved = format!("slot: {OTHER_SLOT}, kind: fiber, interface: {}, address: dhcp, cost: 10", fiber.card);
    let manifest = format!(
        "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: {EDGE}, name: {}}}\nspec: {{{moved}}}\n",
        fiber.name
    );
    let path = out().join("moved-uplink.yaml");
    std::fs::write(&path, manifest)?;
    stage.fleet.cli(&["apply", "-f", &path.to_string_lossy()])?;
    is_managed(stage, OTHER_SLOT).context("the uplink that it used has moved")
}

fn cut(stage: &Stage, uplink: &Uplink, dead: bool) -> Result<()> {
    stage.network.link(uplink.router)?.set_blackholes(dead);
    Ok(())
}

/// The operator is heard, and hears what has come of it, by the uplink in `slot`.
fn is_managed(stage: &mut Stage, slot: u8) -> Result<()> {
    let to = format!("ss -H -t -n state established dst {OPERATOR}:{OPERATOR_PORT}");
    stage.until("the session goes by it", |stage| {
        // a namespace may be about to come
        Ok(shell(stage.edge(), &uplink_netns(slot), &to).is_ok_and(|sessions| !sessions.is_empty()))
    })?;
    let before = stage.report(EDGE)?.generation;
    // Whichever it is in, one of them is another.
    for mode in ["mirror", "training"] {
        stage.fleet.cli(&["mode", "set", EDGE, mode])?;
    }
    stage.until("what it is told is in force", |stage| {
        let report = stage.report(EDGE)?;
        Ok(report.verified && report.generation > before)
    })
}
