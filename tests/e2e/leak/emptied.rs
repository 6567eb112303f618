//! One table after another is emptied, in every namespace of both nodes, while nobody puts it back: then the next layer
//! holds. And the proof that the eyes see: with every layer taken away, guests are in a tunnel and the crew is in clear.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_bpf::Datapath;
use pathsteer_bpf::layout::Behind;
use pathsteer_crds::ownership::{ANCHOR_NETNS, OUTSIDE_RULE_PRIORITY, VIP_NETNS};
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS};

use super::eyes::Eyes;
use super::flows::{Flows, SERVICE_POLICY};
use crate::kernel::{kill_process, shell, worker};
use crate::shape::declare;
use crate::stage::Stage;

/// How long a table stays empty: a dozen datagrams of each flow, and three that begin anew.
const HOLD: Duration = Duration::from_millis(300);
/// The guests' networks, which are not the site's.
const GUESTS: [&str; 2] = ["10.77.0.0/24", "fd77::/64"];

/// What is emptied.
#[derive(Debug, Clone, Copy)]
enum Table {
    Nft,
    /// Of a family, also those that every namespace has from the beginning.
    Rules(&'static str),
    Routes(&'static str, &'static str),
}

use Table::{Nft, Routes, Rules};

const INSIDE: &[Table] = &[
    Nft,
    Rules("-4"),
    Rules("-6"),
    Routes("-4", "main"),
    Routes("-6", "main"),
    Routes("-4", "7717"),
    Routes("-4", "7990"),
    Routes("-6", "7990"),
    Routes("-4", "7701"),
    Routes("-6", "7701"),
];
const UPLINK: &[Table] = &[Nft, Rules("-4"), Rules("-6"), Routes("-4", "main"), Routes("-6", "main")];
const ANCHOR: &[Table] =
    &[Nft, Rules("-4"), Rules("-6"), Routes("-4", "main"), Routes("-6", "main"), Routes("-4", "7701")];
/// Node, namespace, and what of it is emptied in turn.
const PLACES: [(&str, &str, &[Table]); 5] = [
    (EDGE, VIP_NETNS, INSIDE),
    (EDGE, "psup1", UPLINK),
    (EDGE, "psup2", UPLINK),
    (EDGE, "psup3", UPLINK),
    (ANCHOR_HOST, ANCHOR_NETNS, ANCHOR),
];

pub fn case(stage: &mut Stage) -> Result<()> {
    declare::apply(stage, &[SERVICE_POLICY.to_owned()])?;
    stage.on_fiber(true)?;
    let flows = Flows::start(&stage.network)?;
    let eyes = Eyes::everywhere(&stage.network)?;
    for (node, netns, tables) in PLACES {
        for table in tables {
            emptied(stage, &eyes, node, netns, *table).with_context(|| format!("{node} {netns}: {table:?}"))?;
        }
    }
    let verdict = eyes.finish()?;
    stage.remark(format!("{} questions arrived meanwhile", flows.arrived()));
    flows.finish()?;
    verdict.is_clean()
}

/// Empties `table` while the agent stands still, then ends the worker of the uplink in use as well.
fn emptied(stage: &mut Stage, eyes: &Eyes, node: &'static str, netns: &str, table: Table) -> Result<()> {
    let host = stage.network.host(node).clone();
    let run = |line: &str| {
        let enter = format!("--net=/run/netns/{netns}");
        host.output("nsenter", &[&enter, "--", "sh", "-c", line])
    };
    let agent = stage.fleet.agent(node)?.pid();
    let is_main = |table: &str| table == "main";
    signal(agent, Signal::SIGSTOP)?;
    eyes.during(&format!("{netns} {table:?} emptied"));
    // What nobody of ours has made is put back by hand.
    let back = match table {
        Nft => {
            run("nft flush ruleset")?;
            String::new()
        }
        Rules(family) => {
            run(&format!("ip {family} rule flush"))?;
            format!("ip {family} rule add priority 32766 lookup main")
        }
        Routes(family, table) => {
            let saved = format!("/run/saved{family}");
            if is_main(table) {
                run(&format!("ip {family} route save table {table} > {saved}"))?;
            }
            run(&format!("ip {family} route flush table {table}"))?;
            if is_main(table) { format!("ip {family} route restore < {saved}") } else { String::new() }
        }
    };
    hold();
    eyes.during(&format!("{netns} {table:?} emptied and the worker of the fiber dead"));
    kill_process(worker(&host, UPLINKS[0].slot)?)?;
    hold();
    run(&back)?;
    signal(agent, Signal::SIGCONT)?;
    eyes.during(&format!("{netns} {table:?} being put back"));
    let mut pending = String::new();
    let met = stage.until("everything is put back", |stage| {
        pending = stage.fleet.agent_command(&host, &["plan"])?;
        Ok(pending.trim() == "0 changes")
    });
    met.with_context(|| pending)
}

/// Every layer between a tunnel that is gone and the wire is taken away, and the eyes must see it.
pub fn control_of_clear(stage: &mut Stage) -> Result<()> {
    let flows = Flows::start(&stage.network)?;
    let (edge, netns) = (stage.edge().clone(), "psup1");
    let agent = stage.fleet.agent(EDGE)?.pid();
    signal(agent, Signal::SIGSTOP)?;
    let eyes = Eyes::on_wires(&stage.network)?;
    kill_process(worker(&edge, UPLINKS[0].slot)?)?;
    let layers = ["ip link delete psw1a1", "ip route delete blackhole 10.100.0.0/16 metric 4000", "nft flush ruleset"];
    for (taken, layer) in (1..).zip(layers) {
        eyes.laid_open(&format!("{taken} taken"), || shell(&edge, netns, layer))?;
    }
    signal(agent, Signal::SIGCONT)?;
    eyes.during("repair");
    stage.as_planned()?;
    let verdict = eyes.finish()?;
    flows.finish()?;
    let seen = |moment| verdict.count(UPLINKS[0].name, moment);
    ensure!(seen("3 taken") > 0, "what was laid open was not seen: {:?}", verdict.leaks);
    let layered = seen("1 taken") + seen("2 taken");
    ensure!(layered == 0, "two layers are none: {:?}", verdict.leaks);
    stage.remark(format!("laid open on purpose: {} frames", seen("3 taken")));
    Ok(())
}

/// Every layer between a guest and a tunnel is taken away, and the eyes must see it.
pub fn control_of_guests(stage: &mut Stage) -> Result<()> {
    let flows = Flows::start(&stage.network)?;
    let edge = stage.edge().clone();
    let agent = stage.fleet.agent(EDGE)?.pid();
    signal(agent, Signal::SIGSTOP)?;
    let eyes = Eyes::everywhere(&stage.network)?;
    let before = refused(stage)?;
    eyes.laid_open("without nft", || shell(&edge, VIP_NETNS, "nft flush ruleset"))?;
    let without_nft = refused(stage)?;
    eyes.laid_open("without nft and rules", || {
        let delete = |family| format!("ip {family} rule delete priority {OUTSIDE_RULE_PRIORITY}");
        ["-4", "-6"].into_iter().try_for_each(|family| shell(&edge, VIP_NETNS, &delete(family)).map(drop))
    })?;
    let without_rules = refused(stage)?;
    eyes.laid_open("without anything", || {
        prefixes(stage, |datapath, address, length| datapath.maps.set_prefix(address, length, Behind::Own))
    })?;
    prefixes(stage, |datapath, address, length| datapath.maps.remove_prefix(address, length))?;
    signal(agent, Signal::SIGCONT)?;
    let verdict = eyes.finish()?;
    flows.finish()?;
    // Rules keep guests away from the shim, and the shim refuses those that come all the same.
    ensure!(without_nft == before, "without nft the shim refused {} packets", without_nft - before);
    ensure!(without_rules > without_nft, "without rules no guest came to the shim");
    let seen = |moment| verdict.count(&format!("{EDGE} psw1a1"), moment);
    ensure!(seen("without anything") > 0, "what was laid open was not seen: {:?}", verdict.leaks);
    let layered = seen("without nft") + seen("without nft and rules");
    ensure!(layered == 0, "two layers are none: {:?}", verdict.leaks);
    stage.remark(format!("laid open on purpose: {:?}", verdict.leaks));
    Ok(())
}

impl Eyes {
    /// Takes a layer away, and looks for a while. What crosses while it is being taken belongs to neither moment.
    fn laid_open<T>(&self, moment: &str, take: impl FnOnce() -> Result<T>) -> Result<()> {
        self.during("a layer is being taken away");
        take()?;
        self.during(moment);
        hold();
        Ok(())
    }
}

fn prefixes<E: std::error::Error + Send + Sync + 'static>(
    stage: &Stage,
    change: impl Fn(&mut Datapath, IpAddr, u8) -> Result<(), E> + Sync,
) -> Result<()> {
    stage.edge().inside(|| {
        let mut datapath = Datapath::adopt(Path::new("/sys/fs/bpf/pathsteer"))?.context("the edge has no datapath")?;
        for net in GUESTS {
            let net: IpNet = net.parse()?;
            change(&mut datapath, net.addr(), net.prefix_len())?;
        }
        Ok(())
    })
}

/// Packets that the edge's shim has refused because their sources are not the site's.
fn refused(stage: &Stage) -> Result<u64> {
    stage.edge().inside(|| {
        let datapath = Datapath::adopt(Path::new("/sys/fs/bpf/pathsteer"))?.context("the edge has no datapath")?;
        let of_nobody = datapath.maps.counters()?.remove(&0).context("no counters")?;
        of_nobody.get("foreign").copied().context("no such counter")
    })
}

fn hold() {
    clock::sleep_until(clock::now() + HOLD);
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.try_into()?), signal).with_context(|| format!("{signal} to process {pid}"))
}
