//! A plan that takes the operator away is taken back by the node itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{EDGE, UPLINKS};

use crate::stage::{LOOK, Stage};

/// The shortest there is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until the node has its leases and its session again, on a loaded machine.
const BACK: Duration = Duration::from_secs(60);

fn declare(stage: &Stage, manifests: &str) -> Result<()> {
    let path = "/tmp/dead-man.yaml";
    std::fs::write(path, manifests)?;
    stage.fleet.cli(&["apply", "-f", path]).map(drop)
}

/// Every uplink with an address that no provider knows: each is sound, and none leads anywhere.
fn nowhere() -> String {
    let uplink = |uplink: &pathsteer_lab::network::plan::Uplink| {
        let (name, slot, card) = (uplink.name, uplink.slot, uplink.card);
        format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: {EDGE}, name: {name}}}\n\
             spec: {{slot: {slot}, kind: ethernet, interface: {card}, cost: {slot}0, address: {{static: \
             {{addresses: [10.66.{slot}.2/24], gateways: [10.66.{slot}.1]}}}}}}\n"
        )
    };
    UPLINKS.iter().map(uplink).collect::<Vec<_>>().join("---\n")
}

fn dead_man(stage: &Stage, seconds: u64) -> Result<()> {
    stage.fleet.cli(&["get", "site", EDGE, "-o", "yaml"]).and_then(|site| {
        let spec = format!("spec:\n  deadManSeconds: {seconds}\n");
        let declared: Vec<&str> = site.lines().filter(|line| !line.contains("deadManSeconds")).collect();
        let manifest: String = declared.join("\n").replacen("spec:\n", &spec, 1);
        let end = manifest.find("\nstatus:").unwrap_or(manifest.len());
        declare(stage, &without_server_fields(&manifest[..end]))
    })
}

/// Of what `get` prints, what may be applied.
fn without_server_fields(manifest: &str) -> String {
    let server = ["resourceVersion:", "generation:", "creationTimestamp:", "uid:"];
    manifest
        .lines()
        .filter(|line| !server.iter().any(|one| line.trim().starts_with(one)))
        .map(|line| format!("{line}\n"))
        .collect()
}

pub fn case(stage: &mut Stage) -> Result<()> {
    dead_man(stage, PATIENCE.as_secs())?;
    stage.ready()?;
    let good = stage.report(EDGE)?.generation;
    declare(stage, &nowhere())?;
    let begun = clock::now();
    let said = |stage: &mut Stage, words: &str| -> Result<bool> {
        Ok(stage.fleet.agent(EDGE)?.last_lines(usize::MAX).iter().any(|line| line.contains(words)))
    };
    stage.until("the plan is on trial", |stage| said(stage, "on trial until the operator hears of it"))?;
    // It counts on while the agent is dead, and does not begin anew.
    stage.fleet.agent(EDGE)?.kill()?;
    stage.fleet.agent(EDGE)?.restart()?;
    let leaseless = |stage: &mut Stage| -> Result<bool> {
        Ok(stage.edge().output("ip", &["-n", "psup1", "-4", "address", "show"])?.contains("10.66.1.2"))
    };
    stage.until("the node is nowhere", leaseless)?;
    let deadline = clock::now() + PATIENCE + BACK;
    let back = clock::wait_until(deadline, LOOK, || said(stage, "the plan before comes back").unwrap_or(false));
    let decided = clock::now() - begun;
    ensure!(back, "it did not go back");
    ensure!(decided < PATIENCE + Duration::from_secs(10), "only after {decided:?}");
    // The operator sends that plan again, and the node does not take it.
    let refused = clock::wait_until(deadline, LOOK, || {
        said(stage, "plan refused: with the uplinks it declares").unwrap_or(false)
    });
    ensure!(refused, "nobody offered it again, or it was taken");
    stage.until("reported", |stage| Ok(stage.report(EDGE)?.verified && stage.report(EDGE)?.generation >= good))?;
    let took = clock::now() - begun;
    stage.remark(format!("taken back after {decided:?}, with its operator again after {took:?}"));
    ensure!(
        stage.report(EDGE)?.uplinks.iter().all(|uplink| !uplink.address.as_deref().unwrap_or("").starts_with("10.66.")),
        "still nowhere"
    );
    stage.nobody_notices(Duration::from_secs(2), |_, _, _, _| Ok(()))
}
