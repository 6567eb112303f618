//! On no wire of any site's providers, nor on the anchors', is anything of the sites in clear while workers die and an
//! anchor with them. And the proof that the eyes see: without its layers each site's flows are there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_crds::ownership::{edge_tunnel, uplink_netns};
use pathsteer_lab::capture::{PacketSocket, Watch};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{CHI_A, MANY, Site, WAN};
use pathsteer_lab::network::provider::EDGE_SIDE;

use crate::flows::Flows;
use crate::kernel::{kill_process, shell};
use crate::packet;
use crate::stage::Stage;

/// A dozen datagrams of each conversation.
const HOLD: Duration = Duration::from_millis(300);

/// What was seen in clear, by wire, what it was and what was going on then, to how many frames.
type Leaks = BTreeMap<String, u64>;

/// Leaks of one wire, and how many frames were looked at.
#[derive(Default)]
struct Seen {
    leaks: Leaks,
    frames: u64,
}

/// Eyes on every wire between nodes.
struct Eyes {
    moment: Arc<Mutex<String>>,
    /// By wire.
    watches: BTreeMap<&'static str, Watch<Seen>>,
}

impl Eyes {
    fn open(stage: &Stage) -> Result<Eyes> {
        let mut eyes = Eyes { moment: Arc::default(), watches: BTreeMap::new() };
        let lines = MANY.uplinks().map(|uplink| (uplink.router, uplink.router, EDGE_SIDE));
        for (wire, host, card) in lines.chain(MANY.anchors.iter().map(|anchor| (anchor.port, WAN, anchor.port))) {
            let socket = stage.network.host(host).net.run(|| PacketSocket::open_whole(card))?;
            let moment = Arc::clone(&eyes.moment);
            let watch = Watch::start(socket, move |seen: &mut Seen, frame, _| {
                seen.frames += 1;
                if let Some(what) = packet::leak(frame) {
                    let moment = moment.lock().unwrap_or_else(PoisonError::into_inner);
                    *seen.leaks.entry(format!("{wire}: {what}, {moment}")).or_default() += 1;
                }
            })?;
            eyes.watches.insert(wire, watch);
        }
        Ok(eyes)
    }

    /// What is going on from now on, long enough to be seen.
    fn during(&self, words: &str) {
        *self.moment.lock().unwrap_or_else(PoisonError::into_inner) = words.to_owned();
        clock::sleep_until(clock::now() + HOLD);
    }

    /// What leaked, and the wires on which nothing at all was seen.
    fn finish(self) -> Result<(Leaks, Vec<&'static str>)> {
        let (mut leaks, mut silent) = (Leaks::new(), Vec::new());
        for (wire, watch) in self.watches {
            let seen = watch.finish()?;
            silent.extend((seen.frames == 0).then_some(wire));
            leaks.extend(seen.leaks);
        }
        Ok((leaks, silent))
    }
}

pub fn case(stage: &mut Stage) -> Result<()> {
    let flows = Flows::start(stage)?;
    let eyes = Eyes::open(stage)?;
    let mut killed = 0;
    for site in MANY.sites {
        killed += kill_workers(stage.network.host(site.name))?;
        eyes.during(&format!("the workers of {} killed", site.name));
    }
    flows.go_on(stage)?;

    // First who would bring them back.
    stage.fleet.agent(CHI_A)?.kill()?;
    killed += kill_workers(stage.network.host(CHI_A))?;
    eyes.during(&format!("{CHI_A} dead"));
    for site in MANY.sites {
        killed += kill_workers(stage.network.host(site.name))?;
        eyes.during(&format!("{CHI_A} dead and the workers of {} killed", site.name));
    }
    stage.fleet.agent(CHI_A)?.restart()?;
    eyes.during(&format!("{CHI_A} coming back"));
    stage.as_planned()?;
    flows.go_on(stage)?;
    eyes.during("everything in order again");

    flows.finish()?;
    let (leaks, silent) = eyes.finish()?;
    ensure!(leaks.is_empty(), "in clear: {leaks:#?}");
    ensure!(silent.is_empty(), "nothing at all was seen on {silent:?}");
    stage.remark(format!("{killed} workers killed"));
    stage.everybody_follows()
}

/// Every layer between a site's active tunnel and its provider's wire is taken away, and the eyes must see it.
pub fn control(stage: &mut Stage) -> Result<()> {
    let flows = Flows::start(stage)?;
    for site in MANY.sites {
        let eyes = Eyes::open(stage)?;
        let paths = stage.fleet.paths(site)?.with_context(|| format!("{} has no path", site.name))?;
        let uplink = site.uplink(paths.active).context("an uplink of the lab")?;
        let (netns, line) = (uplink_netns(uplink.slot), uplink.router);
        let layers = layers(stage, site, uplink.slot)?;
        let (last, others) = layers.split_last().context("there are no layers")?;
        let node = stage.network.host(site.name).clone();
        let agent = Pid::from_raw(stage.fleet.agent(site.name)?.pid().try_into()?);
        kill(agent, Signal::SIGSTOP)?;
        kill_workers(&node)?;
        others.iter().try_for_each(|layer| shell(&node, &netns, layer).map(drop))?;
        eyes.during("one layer left");
        // What crosses while it is being taken belongs to neither moment.
        *eyes.moment.lock().unwrap_or_else(PoisonError::into_inner) = "between".to_owned();
        shell(&node, &netns, last)?;
        eyes.during("laid open");
        let (leaks, _) = eyes.finish()?;
        kill(agent, Signal::SIGCONT)?;
        let seen = |moment: &str| {
            let those = leaks.iter().filter(|(key, _)| key.starts_with(line) && key.ends_with(moment));
            those.map(|(_, count)| count).sum::<u64>()
        };
        ensure!(seen("laid open") > 0, "what was laid open at {} was not seen: {leaks:?}", site.name);
        ensure!(seen("one layer left") == 0, "at {} one layer is none: {leaks:?}", site.name);
        stage.remark(format!("laid open on purpose on {line}: {} frames", seen("laid open")));
        stage.as_planned()?;
    }
    flows.go_on(stage)?;
    flows.finish()?;
    stage.everybody_follows()
}

/// Commands that take a layer of an uplink's namespace away each: the tunnels, the blackhole, the guards.
fn layers(stage: &Stage, site: &Site, slot: u8) -> Result<Vec<String>> {
    let anchors = stage.plan(site.name)?.objects.remotes.into_iter().map(|remote| remote.anchor);
    let tunnels = anchors.map(|anchor| format!("ip link delete {}", edge_tunnel(slot, anchor)));
    let guards = ["ip route delete blackhole 10.100.0.0/16 metric 4000", "nft flush ruleset"].map(str::to_owned);
    Ok(tunnels.chain(guards).collect())
}

/// Ends every worker of `node` without a chance to clean up; how many there were.
fn kill_workers(node: &Host) -> Result<usize> {
    let workers = node.processes(&["pathsteer-agent", "wireguard", "--config"]);
    ensure!(!workers.is_empty(), "{} has no workers", node.name);
    workers.iter().try_for_each(|worker| kill_process(*worker))?;
    Ok(workers.len())
}
