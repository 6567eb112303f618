//! What goes wrong in a scenario, and how it is done to the running lab.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::damage::{Damage, ROUTE, Repair};
use crate::clock;
use crate::emulator::Way;
use crate::fleet::{Fleet, Paths};
use crate::host::Host;
use crate::network::Network;
use crate::network::plan::{ANCHOR_HOST, EDGE, HQ, uplink};
use crate::progress::Progress;

/// What a fault is done to, and who is told.
pub struct Scene<'a> {
    pub network: &'a Network,
    pub fleet: &'a mut Fleet,
    pub progress: &'a Progress,
}

/// Which line a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The one in use when the fault strikes.
    Active,
    /// The first of those that carry copies.
    Copy,
}

/// A fault. Times count from the first packet.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    None,
    /// A line drops everything these ways without losing its carrier, `times` times for `length`, once `every`.
    Blackhole {
        line: Line,
        ways: &'static [Way],
        start: Duration,
        length: Duration,
        times: u32,
        every: Duration,
    },
    /// A line loses its carrier.
    Unplug {
        line: Line,
        start: Duration,
        length: Duration,
    },
    /// A person forces another uplink, and takes that back after `length`.
    Switch {
        to: &'static str,
        start: Duration,
        length: Duration,
    },
    /// Both agents are killed (SIGKILL) and started again after `length`.
    KillAgents {
        start: Duration,
        length: Duration,
    },
    /// The WireGuard worker of the uplink in use is killed (SIGKILL), first at the edge, then, `length` later, at the
    /// anchor; the agents start it again.
    KillWorkers {
        start: Duration,
        length: Duration,
    },
    /// Things are taken away from the edge by hand, one every `every`, and its agent puts each of them right.
    Drift {
        damages: &'static [Damage],
        start: Duration,
        every: Duration,
    },
    /// The edge's agent is killed, things are taken away by hand, and after `length` it is started again.
    Neglect {
        damages: &'static [Damage],
        start: Duration,
        length: Duration,
    },
    /// The operator and its etcd are killed; then the edge's agent, which is started without them, has to put right what
    /// somebody takes away; after `length` they come back.
    KillControlPlane {
        start: Duration,
        length: Duration,
    },
}

/// After the operator the agent is killed, so much later it is started, and so much later something is taken away.
const AGENT_DIES: Duration = Duration::from_millis(1_000);
const AGENT_STARTS: Duration = Duration::from_millis(1_700);
const AGENT_IS_TRIED: Duration = Duration::from_millis(3_000);

impl Fault {
    /// When it is over.
    pub fn end(&self) -> Duration {
        match self {
            Fault::None => Duration::ZERO,
            Fault::Blackhole { start, length, times, every, .. } => *start + *every * times.saturating_sub(1) + *length,
            Fault::Unplug { start, length, .. }
            | Fault::Switch { start, length, .. }
            | Fault::KillAgents { start, length }
            | Fault::KillWorkers { start, length }
            | Fault::Neglect { start, length, .. }
            | Fault::KillControlPlane { start, length } => *start + *length,
            Fault::Drift { damages, start, every } => *start + *every * damages.len() as u32,
        }
    }

    /// Whether packets that go `way` die on a line: there must then be drops to prove it.
    pub fn cuts(&self, way: Way) -> bool {
        match self {
            Fault::Blackhole { ways, .. } => ways.contains(&way),
            Fault::Unplug { .. } => true,
            _ => false,
        }
    }

    /// Whether packets that go `way` die, on a line or elsewhere, where nothing covers for them.
    pub fn harms(&self, way: Way) -> bool {
        match self {
            Fault::KillWorkers { .. } | Fault::Drift { .. } => true,
            // what every packet needs of the edge's own is for its way out
            Fault::Neglect { .. } => way == Way::Up,
            _ => self.cuts(way),
        }
    }

    /// The uplink that becomes the active one meanwhile, if another one does.
    pub fn moves_to(&self) -> Option<&'static str> {
        match self {
            Fault::Switch { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Does it and undoes it, in its time after `zero`; returns what somebody else has put right meanwhile. `paths` are
    /// those in use. A line is mended even when something else fails.
    ///
    /// # Errors
    /// When PathSteer refuses a command or does not start again.
    pub fn strike(&self, scene: &mut Scene, paths: &Paths, zero: Duration) -> Result<Vec<Repair>> {
        let Scene { network, fleet, progress } = scene;
        let at = |time: Duration, what: &str| {
            clock::sleep_until(zero + time);
            progress.say(&format!("    {what}"));
        };
        let mut repairs = Vec::new();
        match *self {
            Fault::None => {}
            Fault::Blackhole { line, ways, start, length, times, every } => {
                let name = line.name(paths)?;
                let link = network.link(name)?;
                for number in 0..times {
                    let from = start + every * number;
                    at(from, &format!("{name} drops {}, and nothing says so", words(ways)));
                    ways.iter().for_each(|way| link.set_blackhole(*way, true));
                    at(from + length, &format!("{name} works again"));
                    ways.iter().for_each(|way| link.set_blackhole(*way, false));
                }
            }
            Fault::Unplug { line, start, length } => {
                let name = line.name(paths)?;
                let link = network.link(name)?;
                at(start, &format!("the cable of {name} is pulled"));
                link.set_plugged(false)?;
                at(start + length, "and plugged in again");
                link.set_plugged(true)?;
            }
            Fault::Switch { to, start, length } => {
                at(start, &format!("pathsteer uplink force {EDGE}/{to}"));
                fleet.cli(&["uplink", "force", &format!("{EDGE}/{to}")])?;
                let moved = fleet.wait_for_paths("the move", |paths| paths.active == to);
                at(start + length, &format!("pathsteer uplink auto {EDGE}"));
                fleet.cli(&["uplink", "auto", EDGE])?;
                moved?;
                fleet.wait_for_paths("the move back", |now| now.active == paths.active)?;
            }
            Fault::KillAgents { start, length } => {
                at(start, "kill -9 of the agent at the site and of the agent at the anchor");
                fleet.kill_agents()?;
                at(start + length, "both are started again");
                fleet.start_agents()?;
            }
            Fault::KillWorkers { start, length } => {
                let slot = uplink(paths.active).context("the active path has an uplink")?.slot;
                at(start, &format!("kill -9 of the site's WireGuard process for {}", paths.active));
                kill_worker(network.host(EDGE), slot)?;
                at(start + length, "and of the anchor's");
                kill_worker(network.host(ANCHOR_HOST), slot)?;
            }
            Fault::Drift { damages, start, every } => {
                for (number, damage) in (0..).zip(damages) {
                    clock::sleep_until(zero + start + every * number);
                    repairs.push(tried(damage, network, progress)?);
                }
            }
            Fault::Neglect { damages, start, length } => {
                at(start, "kill -9 of the agent at the site");
                fleet.agent(EDGE)?.kill()?;
                for damage in damages {
                    progress.say(&format!("    {} is taken away by hand", damage.what));
                    damage.harm(network.host(EDGE))?;
                }
                at(start + length, "the agent is started again");
                fleet.agent(EDGE)?.restart()?;
            }
            Fault::KillControlPlane { start, length } => {
                at(start, "kill -9 of the operator and of its etcd");
                fleet.kill_operator()?;
                kill_etcd(network.host(HQ))?;
                if let Ok(answer) = fleet.cli(&["status"]) {
                    bail!("the command line was answered without an operator: {answer}");
                }
                at(start + AGENT_DIES, "kill -9 of the agent at the site");
                fleet.agent(EDGE)?.kill()?;
                at(start + AGENT_STARTS, "it is started, and nobody is there to tell it anything");
                fleet.agent(EDGE)?.restart()?;
                clock::sleep_until(zero + start + AGENT_IS_TRIED);
                repairs.push(tried(&ROUTE, network, progress)?);
                at(start + length, "the operator and its etcd are started again");
                fleet.start_operator()?;
            }
        }
        Ok(repairs)
    }
}

impl Line {
    /// The name of its uplink.
    fn name(self, paths: &Paths) -> Result<&'static str> {
        match self {
            Line::Active => Ok(paths.active),
            Line::Copy => paths.copies.first().copied().context("no path carries copies"),
        }
    }
}

/// Takes something away from the edge and tells when it is back.
fn tried(damage: &Damage, network: &Network, progress: &Progress) -> Result<Repair> {
    let repair = damage.strike(network.host(EDGE))?;
    let words = match repair.taken() {
        Some(taken) => format!("and is back after {} ms", taken.as_millis()),
        None => "and IS NOT PUT RIGHT".to_owned(),
    };
    progress.say(&format!("    {} is taken away by hand {words}", damage.what));
    Ok(repair)
}

/// Ends the operator's private etcd, unless it has ended with its operator.
fn kill_etcd(host: &Host) -> Result<()> {
    for etcd in host.processes(&["etcd", "--data-dir", "--listen-client-urls"]) {
        match kill(Pid::from_raw(etcd.try_into()?), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn words(ways: &[Way]) -> &'static str {
    match ways {
        [Way::Up] => "what is sent",
        [Way::Down] => "what is received",
        _ => "everything",
    }
}

fn kill_worker(node: &Host, slot: u8) -> Result<()> {
    let workers = node.processes(&["pathsteer-agent", "wireguard", &format!("slot{slot}.")]);
    let [worker] = workers[..] else { bail!("{} has {} workers for slot {slot}", node.name, workers.len()) };
    Ok(kill(Pid::from_raw(worker.try_into()?), Signal::SIGKILL)?)
}
