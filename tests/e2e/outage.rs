//! The control plane: traffic does not need it, and it takes up where it was when it comes back.

use std::time::Duration;

use anyhow::{Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{EDGE, HQ};

use crate::kernel::kill_process;
use crate::stage::Stage;

const DURATION: Duration = Duration::from_secs(5);
/// After the first packet.
const OPERATOR_DIES: Duration = Duration::from_millis(500);
const AGENTS_DIE: Duration = Duration::from_millis(1_500);
const AGENTS_START: Duration = Duration::from_millis(3_000);

pub fn case(stage: &mut Stage) -> Result<()> {
    let before = stage.report(EDGE)?.generation;
    ensure!(etcds(stage.network.host(HQ)).len() == 1, "the operator has no etcd of its own");
    let outage = stage.nobody_notices(DURATION, |network, fleet, _, zero| {
        clock::sleep_until(zero + OPERATOR_DIES);
        fleet.kill_operator()?;
        for etcd in etcds(network.host(HQ)) {
            // It may be ending already, with its operator.
            let _ = kill_process(etcd);
        }
        clock::sleep_until(zero + AGENTS_DIE);
        fleet.kill_agents()?;
        clock::sleep_until(zero + AGENTS_START);
        fleet.start_agents()
    });
    let left = etcds(stage.network.host(HQ));
    let refused = stage.fleet.cli(&["status"]);
    stage.fleet.start_operator()?;
    outage?;
    ensure!(left.is_empty(), "etcd outlives its operator: {left:?}");
    ensure!(refused.is_err(), "the command line was answered while the operator was dead");
    stage.ready()?;
    stage.without_copies()?;
    let after = stage.report(EDGE)?.generation;
    ensure!(after > before, "generation {after} is in force after generation {before}");
    Ok(())
}

/// The private etcd of the operator on `host`.
fn etcds(host: &Host) -> Vec<u32> {
    host.processes(&["etcd", "--data-dir", "--listen-client-urls"])
}
