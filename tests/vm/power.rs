//! A node that loses its power, as a machine of its own on the lab's wires; its anchor, its operator and its providers are
//! elsewhere and go on. What it knows afterwards is what it had put on its disk.
//!
//! It has no clock that goes on without power: what it is told at a boot is yesterday's time, and the anchor remembers that
//! there was a later one. Once more without the time that the agent has kept, so that the fault is known to be one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::demo::declare;
use pathsteer_lab::emulator::Way;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::netns;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, CLIENT, EDGE, HQ, INTERNET, LAN, SERVER, TUNNEL_PORTS, UPLINKS, VAN};
use pathsteer_lab::network::provider::WAN_SIDE;
use pathsteer_lab::progress::Progress;
use pathsteer_lab::traffic::Datagrams;
use pathsteer_lab::traffic::udp::{Receiver, send};
use pathsteer_lab::tree;

use crate::edge::{Clock, Edge};
use crate::kernel::KERNELS;
use crate::tools::Tools;

/// Less than the day before they are made from which certificates hold, so that they do not tell what time it is.
const BEHIND: Duration = Duration::from_secs(20 * 3_600);
/// What a handshake's first message and its answer begin with (WireGuard's protocol, 5.4.2 and 5.4.3).
const INITIATES: u8 = 1;
const ANSWERS: u8 = 2;
/// That many are sent by every tunnel before it is believed that none is answered.
const INITIATIONS: u64 = 3;
/// How long a plan with other uplinks may be without an operator. A boot costs a quarter of it.
const PATIENCE: u64 = 40;
/// 50 a second, 100 in all.
const PERIOD: Duration = Duration::from_millis(20);
const DURATION: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
const PORT: u16 = 41_000;

/// Plays it; what was seen is printed. To be called in a sandbox, with the machine's tools fetched below `cache`.
///
/// # Errors
/// When the node is not what it was before, or does without what makes it so.
pub fn play(examples: &Path, cache: &Path) -> Result<()> {
    let folder = cache.join("power");
    let logs = tree::logs(&folder)?;
    let network = Network::build(&VAN, &logs)?;
    let mut fleet = Fleet::start(&network, &logs)?;
    let kernel = KERNELS.last().context("there is no kernel")?.fetch(cache)?;
    println!("vm: {}", kernel.origin);
    let mut edge = Edge::replace(EDGE, &network, &mut fleet, (Tools::fetch(cache)?, kernel), folder)?;
    let mut van = Van { network: &network, fleet: &mut fleet, edge: &mut edge, runs: 0 };
    let played = van.perform(examples);
    if played.is_err() {
        println!("the console ends:\n{}", edge.console());
        for daemon in fleet.daemons() {
            println!("the log of {} ends:\n{}", daemon.name(), daemon.last_lines(40).join("\n"));
        }
    }
    played
}

struct Van<'a> {
    network: &'a Network,
    fleet: &'a mut Fleet,
    edge: &'a mut Edge,
    runs: u16,
}

impl Van<'_> {
    fn perform(&mut self, examples: &Path) -> Result<()> {
        self.edge.boot(Duration::ZERO, Clock::Keep)?;
        declare(self.fleet, examples, &Progress::start())?;
        let before = self.datagrams()?;
        println!("vm: before: {before:?} of 100 datagrams came up and down");
        ensure!(before.iter().all(|came| *came > 50), "there is no traffic to begin with");
        self.yesterday().context("offline with yesterday's time")?;
        self.nowhere(examples).context("with a plan that takes the operator away")
    }

    /// It boots with yesterday's time, and nobody is there who knows better.
    fn yesterday(&mut self) -> Result<()> {
        // Off for longer than address translations are remembered: nobody outside can begin, only the edge itself.
        for uplink in UPLINKS {
            self.network.host(uplink.router).nft(&format!(
                "table ip reboot {{
                    counter begun {{}}
                    counter answered {{}}
                    chain forward {{
                        type filter hook forward priority -10
                        meta l4proto udp @th,64,8 {INITIATES} iifname {WAN_SIDE} drop
                        meta l4proto udp @th,64,8 {INITIATES} counter name begun
                        meta l4proto udp @th,64,8 {ANSWERS} counter name answered
                    }}
                }}"
            ))?;
        }
        self.fleet.kill_operator()?;
        self.edge.power_off()?;
        let [begun, answered] = [self.handshakes("begun")?, self.handshakes("answered")?];
        self.edge.boot(BEHIND, Clock::Hide)?;
        clock::wait_for("every tunnel has tried in vain", DEADLINE, LOOK, || {
            let now = self.handshakes("begun")?;
            Ok(now.iter().zip(&begun).all(|(now, before)| *now >= before + INITIATIONS))
        })?;
        ensure!(
            self.handshakes("answered")? == answered,
            "handshakes dated yesterday were answered, so nothing is shown"
        );
        let [up, _] = self.datagrams()?;
        println!(
            "vm: yesterday's time: no handshake of {} tunnels is answered, {up} of 100 datagrams came up",
            UPLINKS.len()
        );
        ensure!(up == 0, "datagrams came without a tunnel");

        self.edge.power_off()?;
        self.edge.boot(BEHIND, Clock::Return)?;
        let began = clock::now();
        clock::wait_for("every tunnel has a handshake", DEADLINE, LOOK, || {
            Ok(self.handshakes("answered")?.iter().zip(&answered).all(|(now, before)| now > before))
        })?;
        let took = (clock::now() - began).as_secs_f64();
        let after = self.datagrams()?;
        println!(
            "vm: with the time kept: every tunnel had a handshake {took:.1} s after the agent's start, {after:?} of 100 \
             datagrams came up and down"
        );
        ensure!(after.iter().all(|came| *came > 50), "the tunnels carry nothing");
        // It may have other things to find fault with.
        let examined = self.edge.shell("$(readlink /proc/$(cat /run/agent.pid)/exe) doctor || true", &[])?;
        ensure!(examined.contains("it lay behind and was stepped forward from "), "doctor does not tell: {examined}");
        let steps = self.edge.said("the clock lay behind and was stepped forward");
        ensure!(steps == 1, "the log tells of {steps} steps of the clock");
        for uplink in UPLINKS {
            self.network.host(uplink.router).nft("delete table ip reboot")?;
        }
        self.fleet.start_operator()
    }

    /// A plan's uplinks lead nowhere; before it is known to be so, the agent is killed, and then the power goes. No tunnel
    /// can come up from then on.
    fn nowhere(&mut self, examples: &Path) -> Result<()> {
        let sites = std::fs::read_to_string(examples.join("sites.yaml"))?;
        self.apply(&sites.replacen("spec:\n", &format!("spec:\n  deadManSeconds: {PATIENCE}\n"), 1))?;
        self.wait("the site is as declared", |van| Ok(van.condition("Ready")?.starts_with("True")))?;
        self.apply(&uplinks_to_nowhere())?;
        self.wait("the plan is on trial", |van| Ok(van.edge.said("on trial until the operator hears of it") > 0))?;
        let begun = clock::now();
        let leads_nowhere = |van: &mut Self| -> Result<bool> {
            let cards = van.edge.shell("ip -n psup1 -4 -o address show || true", &[])?;
            Ok(cards.contains("10.66.1.2"))
        };
        self.wait("the uplinks lead nowhere", leads_nowhere)?;
        let before = self.edge.said("turn: in sync");
        self.edge.restart_agent()?;
        self.wait("its agent, started again, is in sync", |van| Ok(van.edge.said("turn: in sync") > before))?;
        ensure!(leads_nowhere(self)?, "the plan did not outlive the agent");
        let trial = clock::now() - begun;
        self.edge.power_off()?;
        ensure!(
            trial < Duration::from_secs(PATIENCE * 3 / 4),
            "the power went too late, {trial:?} after the trial began"
        );

        let (first, last) = (TUNNEL_PORTS.start(), TUNNEL_PORTS.end());
        self.network.host(ANCHOR_HOST).nft(&format!(
            "table inet deaf {{
                chain early {{
                    type filter hook prerouting priority -400
                    udp dport {first}-{last} drop
                }}
            }}"
        ))?;
        self.edge.boot(Duration::ZERO, Clock::Keep)?;
        let booted = clock::now();
        self.wait("the plan outlives the boot", leads_nowhere)?;
        self.wait("the plan before comes back", |van| Ok(van.edge.said("the plan before comes back") > 0))?;
        let decided = clock::now() - booted;
        self.wait("the operator tells why", |van| Ok(van.condition("Healthy")?.contains("is refused")))?;
        println!(
            "vm: killed and without power {:.0} s into the trial of {PATIENCE} s, the plan before came back {:.0} s after \
             the boot, without any tunnel the operator knew {:.0} s after it: Healthy is {}",
            trial.as_secs_f64(),
            decided.as_secs_f64(),
            (clock::now() - booted).as_secs_f64(),
            self.condition("Healthy")?
        );
        ensure!(self.condition("Healthy")?.starts_with("False"), "it is healthy all the same");
        ensure!(!leads_nowhere(self)?, "its uplinks still lead nowhere");
        let [up, _] = self.datagrams()?;
        ensure!(up == 0, "there was a tunnel");
        self.network.host(ANCHOR_HOST).nft("delete table inet deaf")?;
        self.wait("traffic passes again", |van| Ok(van.datagrams()?.iter().all(|came| *came > 50)))
    }

    fn apply(&self, manifests: &str) -> Result<()> {
        let path = "/etc/pathsteer/manifests.yaml";
        self.network.host(HQ).write(path, manifests)?;
        self.fleet.cli(&["apply", "-f", path]).map(drop)
    }

    fn wait(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        clock::wait_for(what, DEADLINE, LOOK, || condition(self))
    }

    /// Status and message of a condition of the site.
    fn condition(&self, kind: &str) -> Result<String> {
        let site: serde_json::Value = serde_json::from_str(&self.fleet.cli(&["get", "site", EDGE, "-o", "json"])?)?;
        let conditions = site["status"]["conditions"].as_array().into_iter().flatten();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind);
        let words = |key: &str| found.and_then(|condition| condition[key].as_str()).unwrap_or("unknown").to_owned();
        Ok(format!("{}: {}", words("status"), words("message")))
    }

    /// How many handshakes have been `begun` by each uplink, or `answered`.
    fn handshakes(&self, what: &str) -> Result<Vec<u64>> {
        let count = |router| {
            let told = self.network.host(router).output("nft", &["list", "counter", "ip", "reboot", what])?;
            let mut words = told.split_whitespace().skip_while(|word| *word != "packets").skip(1);
            words.next().and_then(|word| word.parse().ok()).with_context(|| format!("no count: {told}"))
        };
        UPLINKS.iter().map(|uplink| count(uplink.router)).collect()
    }

    /// How many of 100 datagrams come, up and then down.
    fn datagrams(&mut self) -> Result<[usize; 2]> {
        self.runs += 1;
        let run = u64::from(self.runs);
        let (client, server) = (self.network.host(LAN), self.network.host(INTERNET));
        let mut came = [0; 2];
        for (way, came) in Way::BOTH.into_iter().zip(&mut came) {
            let port = PORT + 2 * self.runs + u16::from(way == Way::Down);
            let ends = [(client, (CLIENT, port).into()), (server, (SERVER, port).into())];
            let [from, to] = if way == Way::Up { ends } else { [ends[1], ends[0]] };
            let receiver = Receiver::start(to.0, to.1, run)?;
            let start = clock::now();
            let sender = send(from.0, from.1, to.1, Datagrams::every(PERIOD, run), (start, start + DURATION))?;
            let sent = netns::join(sender)?;
            let received = receiver.finish(sent.len() as u64, sent.last().copied().unwrap_or_default())?;
            let account = received.accounting.close(sent.len() as u64);
            *came = sent.len() - account.lost.len();
        }
        Ok(came)
    }
}

/// Every uplink with an address that no provider knows: each is sound, and none leads anywhere.
fn uplinks_to_nowhere() -> String {
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
