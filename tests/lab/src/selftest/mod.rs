//! Proves the lab by itself, without a line of the product: plain static routing over the fibre.

mod beside;
mod uplinks;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::clock;
use crate::control::words;
use crate::emulator::Way;
use crate::measure::measure;
use crate::network::Network;
use crate::network::plan::{ANCHOR, ANCHOR_HOST, EDGE, MANY, UPLINKS, VAN, WAN};
use crate::progress::Progress;

const FIBER: &str = "fiber";
const DURATION: Duration = Duration::from_secs(2);

/// Runs every check of the network with many sites, saying what it does.
///
/// # Errors
/// The first check that fails.
pub fn run_many(logs: &Path, progress: &Progress) -> Result<()> {
    progress.say("the network of many sites is being built");
    let network = Network::build(&MANY, logs)?;
    progress.say("the network is up");
    uplinks::check(&network, progress)?;
    uplinks::check_widths(&network, progress)?;
    progress.say("the lab works");
    Ok(())
}

/// Runs every check of the van's network, saying what it does.
///
/// # Errors
/// The first check that fails.
pub fn run(logs: &Path, progress: &Progress) -> Result<()> {
    progress.say("the network is being built");
    let network = Network::build(&VAN, logs)?;
    progress.say("the network is up");
    uplinks::check(&network, progress)?;
    uplinks::check_widths(&network, progress)?;
    configure(&network)?;
    beside::check(&network, progress)?;

    let clean = measure(&network, 1, DURATION, |_| Ok(()))?;
    progress.say(&format!("a clean line:\n{}", words(&clean).trim_end()));
    for direction in [&clean.traffic.up, &clean.traffic.down] {
        ensure!(direction.datagrams.lost.is_empty(), "datagrams were lost on a clean line");
        ensure!(direction.datagrams.duplicated == 0, "datagrams were doubled on a clean line");
        ensure!(direction.changed_flows.is_empty(), "flows changed: {:?}", direction.changed_flows);
        direction.stream.as_ref().map_err(|error| anyhow::anyhow!("a stream broke on a clean line: {error:#}"))?;
    }

    let link = network.link(FIBER)?;
    let faulty = measure(&network, 2, DURATION, |start| {
        clock::sleep_until(start + DURATION / 4);
        link.set_blackholes(true);
        clock::sleep_until(start + DURATION / 2);
        link.set_blackholes(false);
        Ok(())
    })?;
    progress.say(&format!("a silent blackhole of 0.5 s:\n{}", words(&faulty).trim_end()));
    for (way, direction) in [(Way::Up, &faulty.traffic.up), (Way::Down, &faulty.traffic.down)] {
        let lost = direction.datagrams.lost.len() as u64;
        ensure!((450..=600).contains(&lost), "{lost} datagrams were lost where about 500 should be");
        ensure!(faulty.emulator_dropped[&way] >= lost, "the line counted fewer drops than the receiver");
    }
    progress.say("the lab works");
    Ok(())
}

/// What the agents would do in the product, by hand and without tunnels.
fn configure(network: &Network) -> Result<()> {
    let edge = network.host(EDGE);
    edge.forward()?;
    edge.ip(&format!(
        "address add 172.16.7.1/24 dev lan0
         link set lan0 up
         route replace default via {}",
        UPLINKS[0].gateway()
    ))?;
    let anchor = network.host(ANCHOR_HOST);
    anchor.forward()?;
    anchor.ip("address add 198.51.100.1/24 dev inet0\nlink set inet0 up")?;
    network.host(WAN).ip(&format!(
        "route add 198.51.100.0/24 via {ANCHOR}
         route add 172.16.7.0/24 via {}",
        UPLINKS[0].public()[0]
    ))?;
    network.host(FIBER).ip(&format!("route add 172.16.7.0/24 via {}.10", UPLINKS[0].private))
}
