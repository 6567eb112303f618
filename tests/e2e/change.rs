//! Changes under traffic: of the plan, and of what carries it out.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{VIP_NETNS, uplink_veth};
use pathsteer_lab::clock;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, uplink};

use crate::kernel::{kill_process, shell, worker};
use crate::stage::{LOOK, PATIENCE, Stage, examples, out};
use crate::walk::as_planned;

/// Long enough for four changes, each carried out before the next.
const DURATION: Duration = Duration::from_secs(12);
/// The same where every path has to be left first, and another tunnel to come up.
const LONGER: Duration = Duration::from_secs(18);
/// A new class for what runs already, so that sequences and windows are made under traffic.
const POLICY: &str = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: bulk}
spec:
  match: [{protocol: tcp, ports: [\"30000-34000\"]}]
  steeringClass: bulk
";
/// The second uplink becomes the cheapest.
const CHEAPER: &str = "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: starlink}
spec: {slot: 2, kind: starlink, interface: wan2, address: dhcp, cost: 5}
";

/// The cheapest uplink has another slot, and with it another namespace, interface and key.
const MOVED: &str = "apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: fiber}
spec: {slot: 5, kind: fiber, interface: wan1, address: dhcp, cost: 10}
";
/// Every uplink carries each packet.
const EVERYWHERE: &str = "apiVersion: pathsteer.io/v1alpha1
kind: Mode
metadata: {name: fleet}
spec: {mode: mirror, copies: 2}
";

pub fn plans(stage: &mut Stage) -> Result<()> {
    let (policy, cheaper) = (manifest("policy", POLICY)?, manifest("cheaper", CHEAPER)?);
    stage.nobody_notices(DURATION, |_, fleet, _, zero| {
        clock::sleep_until(zero);
        apply(fleet, &policy)?;
        apply(fleet, &cheaper)?;
        fleet.wait_for_paths("the cheaper uplink", |paths| paths.active == "starlink")?;
        fleet.cli(&["delete", "uplink", "rv-07/cellular"])?;
        carried_out(fleet)?;
        fleet.cli(&["delete", "trafficpolicy", "bulk"])?;
        apply(fleet, &examples())?;
        fleet.wait_for_paths("the first uplink", |paths| paths.active == "fiber")?;
        let last = clock::now() - zero;
        ensure!(last < DURATION, "the changes took {:.1} s, longer than the traffic", last.as_secs_f64());
        Ok(())
    })
}

/// Anchor and site hear of it one after the other: for a while only one of them knows the uplink, and packets say that they
/// are copied by it.
pub fn copied_by(stage: &mut Stage) -> Result<()> {
    let everywhere = manifest("everywhere", EVERYWHERE)?;
    stage.nobody_notices(DURATION, |_, fleet, _, zero| {
        clock::sleep_until(zero);
        apply(fleet, &everywhere)?;
        for _twice in 0..2 {
            fleet.wait_for_paths("copies by two more uplinks", |paths| paths.copies.len() == 2)?;
            fleet.cli(&["delete", "uplink", "rv-07/cellular"])?;
            carried_out(fleet)?;
            fleet.cli(&["apply", "-f", &examples().join("uplinks.yaml").to_string_lossy()])?;
            carried_out(fleet)?;
        }
        fleet.wait_for_paths("copies by two more uplinks", |paths| paths.copies.len() == 2)?;
        let last = clock::now() - zero;
        ensure!(last < DURATION, "the changes took {:.1} s, longer than the traffic", last.as_secs_f64());
        Ok(())
    })
}

/// Nothing else carries what it does: it is left before it is taken away, and used again once it is up.
pub fn active(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let (moved, declared) = (manifest("moved", MOVED)?, examples().join("uplinks.yaml"));
    stage.nobody_notices(LONGER, |_, fleet, _, zero| {
        clock::sleep_until(zero);
        fleet.cli(&["delete", "uplink", "rv-07/fiber"])?;
        sent_by(fleet, 2)?;
        for (manifests, slot) in [(&declared, 1), (&moved, 5), (&declared, 1)] {
            fleet.cli(&["apply", "-f", &manifests.to_string_lossy()])?;
            sent_by(fleet, slot)?;
        }
        let last = clock::now() - zero;
        ensure!(last < LONGER, "the changes took {:.1} s, longer than the traffic", last.as_secs_f64());
        Ok(())
    })
}

/// Waits until both nodes are as planned and the site sends by this slot alone.
fn sent_by(fleet: &Fleet, slot: u8) -> Result<()> {
    as_planned(fleet)?;
    clock::wait_for("everything is sent by another slot", PATIENCE, LOOK, || {
        let report = fleet.report(EDGE)?.context("the site has not reported")?;
        Ok(report.steering.iter().all(|one| one.active == slot && one.copies.is_empty()))
    })
    .with_context(|| format!("slot {slot}"))
}

pub fn worker_killed(stage: &mut Stage) -> Result<()> {
    stage.nobody_notices(Duration::from_secs(4), |network, _, paths, zero| {
        ensure!(!paths.copies.is_empty(), "no copies are armed");
        let slot = uplink(paths.active).context("the active path has an uplink")?.slot;
        for (node, at) in [(EDGE, 500), (ANCHOR_HOST, 1_500)] {
            clock::sleep_until(zero + Duration::from_millis(at));
            kill_process(worker(network.host(node), slot)?)?;
        }
        // The way to the worker: without another one the packet is lost before its copy is made.
        clock::sleep_until(zero + Duration::from_millis(3_000));
        shell(network.host(EDGE), VIP_NETNS, &format!("ip link set {} down", uplink_veth(slot).0)).map(drop)
    })
}

fn apply(fleet: &mut Fleet, manifests: &std::path::Path) -> Result<()> {
    fleet.cli(&["apply", "-f", &manifests.to_string_lossy()])?;
    carried_out(fleet)
}

fn carried_out(fleet: &mut Fleet) -> Result<()> {
    fleet.cli(&["wait", "--all", "--timeout", "30s"]).map(drop)
}

fn manifest(name: &str, text: &str) -> Result<PathBuf> {
    let path = out().join(format!("{name}.yaml"));
    std::fs::write(&path, text)?;
    Ok(path)
}
