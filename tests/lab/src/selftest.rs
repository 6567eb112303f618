//! Proves the lab by itself, without a line of the product: plain static routing over the fibre.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::control::words;
use crate::emulator::Way;
use crate::measure::measure;
use crate::network::plan::{ANCHOR, ANCHOR_HOST, EDGE, OPERATOR, UPLINKS, VAN, WAN};
use crate::network::{Network, dhcp};
use crate::progress::Progress;

const FIBER: &str = "fiber";
const DURATION: Duration = Duration::from_secs(2);

/// Runs every check, saying what it does.
///
/// # Errors
/// The first check that fails.
pub fn run(logs: &Path, progress: &Progress) -> Result<()> {
    progress.say("the network is being built");
    let network = Network::build(&VAN, logs)?;
    progress.say("the network is up");
    leases(&network, progress)?;
    configure(&network)?;
    delays(&network, progress)?;
    translation(&network, progress)?;

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

/// Each provider leases addresses of its own network.
fn leases(network: &Network, progress: &Progress) -> Result<()> {
    for uplink in &UPLINKS {
        let edge = network.host(EDGE);
        edge.ip(&format!("link set {} up", uplink.card))?;
        let offer = dhcp::discover(edge, uplink.card)?;
        progress.say(&format!("{} leases {} by way of {}", uplink.name, offer.address, offer.router));
        ensure!(offer.address.to_string().starts_with(uplink.private), "that is not {}'s network", uplink.name);
        ensure!(offer.router.to_string() == uplink.gateway(), "that is not {}'s router", uplink.name);
    }
    Ok(())
}

/// What the agents would do in the product, by hand and without tunnels.
fn configure(network: &Network) -> Result<()> {
    let edge = network.host(EDGE);
    edge.forward()?;
    for uplink in &UPLINKS {
        edge.ip(&format!("address add {}.10/24 dev {}", uplink.private, uplink.card))?;
    }
    edge.ip(&format!(
        "address add 172.16.7.1/24 dev lan0
         link set lan0 up
         route add default via {}",
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

/// A round trip takes as long as the line says, and hardly longer.
fn delays(network: &Network, progress: &Progress) -> Result<()> {
    for uplink in &UPLINKS {
        let gateway = uplink.gateway();
        // The first one also asks for the neighbour.
        network.host(EDGE).output("ping", &["-q", "-c", "1", "-W", "2", &gateway])?;
        let output = network.host(EDGE).output("ping", &["-q", "-c", "20", "-i", "0.02", "-W", "2", &gateway])?;
        // rtt min/avg/max/mdev = 7.089/7.163/7.333/0.063 ms
        let average: f64 = output
            .rsplit_once("= ")
            .and_then(|(_, numbers)| numbers.split('/').nth(1)?.parse().ok())
            .with_context(|| format!("ping printed no round trip: {output}"))?;
        let wanted = 2.0 * uplink.profile(Way::Up).delay.as_secs_f64() * 1_000.0;
        progress.say(&format!("{}: a round trip takes {average:.1} ms, {wanted:.0} are wanted", uplink.name));
        ensure!((wanted - 3.0..wanted + 5.0).contains(&average), "{} is too far off", uplink.name);
    }
    Ok(())
}

/// The operator, beyond the providers' address translation, answers the edge.
fn translation(network: &Network, progress: &Progress) -> Result<()> {
    let operator = OPERATOR.to_string();
    for uplink in &UPLINKS {
        let edge = network.host(EDGE);
        edge.ip(&format!("route replace default via {}", uplink.gateway()))?;
        edge.output("ping", &["-q", "-c", "2", "-i", "0.1", "-W", "2", &operator])
            .with_context(|| format!("the operator does not answer through {}", uplink.name))?;
    }
    progress.say("the operator answers through every provider's address translation");
    network.host(EDGE).ip(&format!("route replace default via {}", UPLINKS[0].gateway()))
}
