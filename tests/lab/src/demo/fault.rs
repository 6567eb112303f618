//! What goes wrong in a scenario, and how it is done to the running lab.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::emulator::Way;
use crate::fleet::{Fleet, Paths};
use crate::host::Host;
use crate::network::Network;
use crate::network::plan::{ANCHOR_HOST, EDGE, uplink};
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
    /// The line in use loses its carrier.
    Unplug {
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
}

impl Fault {
    /// When it is over.
    pub fn end(&self) -> Duration {
        match self {
            Fault::None => Duration::ZERO,
            Fault::Blackhole { start, length, times, every, .. } => *start + *every * times.saturating_sub(1) + *length,
            Fault::Unplug { start, length }
            | Fault::Switch { start, length, .. }
            | Fault::KillAgents { start, length }
            | Fault::KillWorkers { start, length } => *start + *length,
        }
    }

    /// Whether packets die on a line: there must then be drops to prove it.
    pub fn cuts_a_line(&self) -> bool {
        matches!(self, Fault::Blackhole { .. } | Fault::Unplug { .. })
    }

    /// Whether packets that go `way` die on a line.
    pub fn cuts(&self, way: Way) -> bool {
        match self {
            Fault::Blackhole { ways, .. } => ways.contains(&way),
            Fault::Unplug { .. } => true,
            Fault::None | Fault::Switch { .. } | Fault::KillAgents { .. } | Fault::KillWorkers { .. } => false,
        }
    }

    /// The uplink that becomes the active one meanwhile, if another one does.
    pub fn moves_to(&self) -> Option<&'static str> {
        match self {
            Fault::Switch { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Does it and undoes it, in its time after `zero`. `paths` are those in use. A line is mended even when
    /// something else fails.
    ///
    /// # Errors
    /// When PathSteer refuses a command or does not start again.
    pub fn strike(&self, scene: &mut Scene, paths: &Paths, zero: Duration) -> Result<()> {
        let Scene { network, fleet, progress } = scene;
        let at = |time: Duration, what: &str| {
            clock::sleep_until(zero + time);
            progress.say(&format!("    {what}"));
        };
        match *self {
            Fault::None => {}
            Fault::Blackhole { line, ways, start, length, times, every } => {
                let name = match line {
                    Line::Active => paths.active,
                    Line::Copy => paths.copies.first().context("no path carries copies")?,
                };
                let link = network.link(name)?;
                for number in 0..times {
                    let from = start + every * number;
                    at(from, &format!("{name} drops {}, and nothing says so", words(ways)));
                    ways.iter().for_each(|way| link.set_blackhole(*way, true));
                    at(from + length, &format!("{name} works again"));
                    ways.iter().for_each(|way| link.set_blackhole(*way, false));
                }
            }
            Fault::Unplug { start, length } => {
                let link = network.link(paths.active)?;
                at(start, &format!("the cable of {} is pulled", paths.active));
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
        }
        Ok(())
    }
}

fn words(ways: &[Way]) -> &'static str {
    match ways {
        [Way::Up] => "what is sent",
        [Way::Down] => "what is received",
        _ => "everything",
    }
}

fn kill_worker(node: &Host, slot: u8) -> Result<()> {
    let workers = node.processes(&["pathsteer-agent", "wireguard", &format!("slot{slot}")]);
    let [worker] = workers[..] else { bail!("{} has {} workers for slot {slot}", node.name, workers.len()) };
    Ok(kill(Pid::from_raw(worker.try_into()?), Signal::SIGKILL)?)
}
