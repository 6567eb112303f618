//! Agents that come, go and die in the middle of it: uplinks that are up without their tunnels, teardowns that end early,
//! first plans that are half carried out.

use std::time::Duration;

use anyhow::{Context, Result};
use pathsteer_crds::ownership::uplink_netns;
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS};

use super::eyes::Eyes;
use super::flows::{Flows, SERVICE_POLICY};
use crate::kernel::{kill_process, shell};
use crate::shape::declare;
use crate::stage::{LOOK, Stage, examples};

/// Long enough for a dozen datagrams of each flow.
const HOLD: Duration = Duration::from_millis(300);
/// A first plan takes most of a second to carry out, a teardown as well: it is cut short after so many
/// milliseconds.
const CUTS: [(&str, u64); 6] =
    [(EDGE, 60), (EDGE, 150), (ANCHOR_HOST, 300), (EDGE, 450), (EDGE, 650), (ANCHOR_HOST, 900)];
/// What the fiber's provider drops, so that its tunnel does not come up.
const NO_TUNNEL: &str = "table inet shut {
    chain forward {
        type filter hook forward priority 0; policy accept
        udp dport 51821 drop
        udp sport 51821 drop
    }
}";

/// An uplink is declared, has its lease, and its tunnel does not come up; then one that comes up before there is any.
pub fn early(stage: &mut Stage) -> Result<()> {
    declare::apply(stage, &[SERVICE_POLICY.to_owned()])?;
    stage.on_fiber(true)?;
    let flows = Flows::start(&stage.network)?;
    let eyes = Eyes::on_wires(&stage.network)?;
    eyes.during("the fiber is withdrawn");
    stage.fleet.cli(&["delete", "uplink", "rv-07/fiber"])?;
    stage.fleet.wait_for_paths("another uplink", |paths| paths.active != UPLINKS[0].name)?;
    stage.as_planned()?;
    let provider = stage.network.host(UPLINKS[0].name).clone();
    provider.nft(NO_TUNNEL)?;
    eyes.during("the fiber is back without its tunnel");
    stage.fleet.cli(&["apply", "-f", &examples().to_string_lossy()])?;
    stage.until("the fiber has a lease", |stage| {
        let uplinks = stage.report(EDGE)?.uplinks;
        Ok(uplinks.iter().any(|uplink| uplink.slot == UPLINKS[0].slot && uplink.address.is_some()))
    })?;
    hold();
    provider.nft("delete table inet shut")?;
    stage.ready()?;

    eyes.during("uplinks without a plan");
    stage.fleet.kill_operator()?;
    stage.fleet.agent(EDGE)?.kill()?;
    stage.fleet.agent_command(stage.edge(), &["teardown"])?;
    shell(stage.edge(), "", "find /var/lib/pathsteer -mindepth 1 ! -name node.key -delete")?;
    stage.fleet.agent(EDGE)?.restart()?;
    stage.until("every uplink has a default route", |stage| {
        // There is no such namespace at first.
        let routes = |slot| shell(stage.edge(), &uplink_netns(slot), "ip -4 route show default").unwrap_or_default();
        Ok(UPLINKS.iter().all(|uplink| !routes(uplink.slot).is_empty()))
    })?;
    hold();
    eyes.during("the first plan");
    stage.fleet.start_operator()?;
    stage.ready()?;
    finish(stage, eyes, flows)
}

pub fn case(stage: &mut Stage) -> Result<()> {
    declare::apply(stage, &[SERVICE_POLICY.to_owned()])?;
    stage.on_fiber(true)?;
    let flows = Flows::start(&stage.network)?;
    let eyes = Eyes::on_wires(&stage.network)?;
    for (node, cut) in CUTS {
        stage.fleet.kill_agents()?;
        eyes.during(&format!("{node}: a teardown that is killed after {cut} ms"));
        teardown_for(stage, node, Duration::from_millis(cut))?;
        hold();
        eyes.during(&format!("{node}: torn down after that"));
        let host = stage.network.host(node);
        stage.fleet.agent_command(host, &["teardown"]).context("after one that was killed")?;
        hold();
        eyes.during(&format!("{node}: an agent that is killed {cut} ms after its start"));
        let start = clock::now();
        stage.fleet.agent(node)?.restart()?;
        clock::sleep_until(start + Duration::from_millis(cut));
        stage.fleet.agent(node)?.kill()?;
        hold();
        eyes.during(&format!("{node}: the agent after that"));
        stage.fleet.start_agents()?;
        stage.as_planned()?;
    }
    finish(stage, eyes, flows)
}

/// Begins a teardown of `node` and kills it after `cut`, if it is still at it.
fn teardown_for(stage: &Stage, node: &str, cut: Duration) -> Result<()> {
    let host = stage.network.host(node);
    std::thread::scope(|scope| {
        let teardown = scope.spawn(|| stage.fleet.agent_command(host, &["teardown"]));
        let start = clock::now();
        clock::wait_until(start + cut, LOOK, || teardown.is_finished());
        for pid in host.processes(&["pathsteer-agent", "teardown"]) {
            kill_process(pid)?;
        }
        // It was killed, or had come to its end.
        let _ = teardown.join();
        Ok(())
    })
}

fn finish(stage: &mut Stage, eyes: Eyes, flows: Flows) -> Result<()> {
    stage.as_planned()?;
    eyes.during("everything in order again");
    let before = flows.arrived();
    stage.until("traffic goes on", |_| Ok(flows.arrived() > before + 100))?;
    let verdict = eyes.finish()?;
    stage.remark(format!("{} questions arrived meanwhile", flows.arrived()));
    flows.finish()?;
    verdict.is_clean()
}

fn hold() {
    clock::sleep_until(clock::now() + HOLD);
}
