//! How long after a decision packets take the new path, and how long after it they are copied.
//!
//! A decision is what the switching machine makes of new orders. It is carried out as the agent does it: the switch
//! counter is kept on disk, then the map is written. The packet is sent right behind; the kernel's own stamp at the far
//! end of the tunnel says when it came. Beside it stand packets about which nothing was decided: what they take, and how
//! late the worst of them are, is the way's and the machine's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_agent_core::switch::{Action, Avoid, Choice, Switch};
use pathsteer_bpf::layout::Chosen;
use pathsteer_crds::ModeKind;
use pathsteer_crds::ownership::{ANCHOR_NETNS, anchor_tunnel};
use pathsteer_crds::plan::SteeringSpec;
use pathsteer_lab::clock;

use super::rigs::Rigs;
use super::tap::{Tap, wall_clock};
use crate::plan::wire;
use crate::report::{Row, Target};
use crate::rig::{Medium, ShimRig};
use crate::series::{Discipline, Series, interleave};
use crate::statistics::quantile;
use crate::traffic::udp::connected;

/// Runs and decisions in each: a thousand decisions of each kind, in runs short enough that few see the machine stand
/// still.
const ROUNDS: usize = 40;
const DECISIONS: u64 = 25;
/// Between two decisions, so that each finds an idle path.
const PAUSE: Duration = Duration::from_micros(500);
/// A packet that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Promised, in microseconds.
const ARM_P99: f64 = 200.0;
const SWITCH_P99: f64 = 1_000.0;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Nothing: the packet goes by slot 1 as those before it.
    Nothing,
    /// To copy what goes by slot 1 to slot 2.
    Arm,
    /// To send by slot 2 instead of slot 1, or back.
    Switch,
}

/// What has become of orders.
struct Outcome {
    /// When the map was first written.
    written: Option<Duration>,
    /// A counter that goes to the disk when there is nothing else to do: traffic does not wait for it.
    later: Option<u64>,
}

impl Outcome {
    fn finish(self, counter: &Path) -> Result<Option<Duration>> {
        self.later.map_or(Ok(()), |later| keep(counter, later))?;
        Ok(self.written)
    }
}

/// Microseconds until the packet that was sent next came by the path in question.
struct Sample {
    since_decision: f64,
    since_write: f64,
}

/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (medium, name) in [(Medium::Wires, "veth"), (Medium::Wireguard, "WireGuard")] {
        let rig = rigs.shim(medium)?;
        let rig = rig.borrow();
        let links = [1, 2].map(|slot| if medium == Medium::Wires { wire(slot) } else { anchor_tunnel(slot) });
        let mut stage = Stage::new(&rig, &links, rigs.folders.out.join("switch-counter"))?;
        let decisions = [Decision::Nothing, Decision::Arm, Decision::Switch];
        let all = interleave(&decisions, ROUNDS, Discipline::Timed, |decision| stage.run(*decision).map(Some))?;
        let [nothing, arm, switch] = &all[..] else { unreachable!("a series for each case") };
        let after = |what: &str| format!("{what}, {name}");
        rows.extend(quantiles(&after("nothing decided, sent to arrived"), nothing, |s| s.since_write, None));
        rows.extend(quantiles(&after("arm, map write to first copy"), arm, |s| s.since_write, None));
        rows.extend(quantiles(&after("arm, decision to first copy"), arm, |s| s.since_decision, Some(ARM_P99)));
        rows.extend(quantiles(&after("switch, map write to first packet"), switch, |s| s.since_write, None));
        rows.extend(quantiles(
            &after("switch, decision to first packet"),
            switch,
            |s| s.since_decision,
            Some(SWITCH_P99),
        ));
        let lost = stage.sent - stage.delivered.len() as u64;
        let lost = Row {
            n: stage.sent as usize,
            ..Row::read(after("lost while arming and switching"), "packets", lost as f64, switch.load())
        };
        rows.push(lost.promised(Target::AtMost(0.0)));
    }
    Ok(rows)
}

/// Two rows: p50, and p99 with its promise.
fn quantiles(
    metric: &str,
    series: &Series<Vec<Sample>>,
    see: impl Fn(&Sample) -> f64,
    promised: Option<f64>,
) -> [Row; 2] {
    let values: Vec<f64> = series.valid().flatten().map(see).collect();
    let row = |share: f64, name: &str| Row {
        metric: format!("{metric}, {name}"),
        value: quantile(&values, share),
        spread: crate::statistics::spread(&values),
        n: values.len(),
        ..Row::of(metric, "us", &series.map(|_| 0.0))
    };
    let p99 = row(0.99, "p99");
    [
        row(0.5, "p50"),
        match promised {
            Some(most) => p99.promised(Target::AtMost(most)),
            None => p99,
        },
    ]
}

/// A rig with everything that decides and looks.
struct Stage<'a> {
    maps: pathsteer_bpf::Datapath,
    machine: Switch,
    orders: Vec<SteeringSpec>,
    counter: PathBuf,
    taps: Vec<Tap>,
    sender: UdpSocket,
    receiver: UdpSocket,
    sent: u64,
    delivered: BTreeSet<u64>,
    rig: &'a ShimRig,
}

impl<'a> Stage<'a> {
    fn new(rig: &'a ShimRig, links: &[String], counter: PathBuf) -> Result<Stage<'a>> {
        let maps = rig.edge.datapath()?;
        let mut machine = Switch::new(0, u64::from(std::process::id()));
        for ((remote, class), chosen) in maps.maps.chosen()? {
            let Chosen { active, copies, counter, .. } = chosen;
            machine.adopt(remote, class, Choice { active, copies, counter });
        }
        let open = |link: &String| rig.anchor.within(ANCHOR_NETNS, || Tap::open(link));
        let taps = links.iter().map(open).collect::<Result<_>>()?;
        let at = rig.ends.server_address();
        let receiver = rig.ends.server.net.run(|| Ok(UdpSocket::bind(at)?))?;
        receiver.set_nonblocking(true)?;
        let sender = rig.ends.client.net.run(|| connected(at))?;
        let orders = rig.edge_plan.steering.clone();
        ensure!(!orders.is_empty(), "the plan steers nothing");
        Ok(Stage { maps, machine, orders, counter, taps, sender, receiver, sent: 0, delivered: BTreeSet::new(), rig })
    }

    fn run(&mut self, decision: Decision) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for number in 0..DECISIONS {
            // the state from which it is decided: single, by slot 1, or for every other switch by slot 2
            let from = if decision == Decision::Switch && number % 2 == 1 { 2 } else { 1 };
            self.order(ModeKind::Training, from)?.finish(&self.counter)?;
            clock::sleep_until(clock::now() + PAUSE);
            self.drain()?;

            let decided = wall_clock();
            let (outcome, by) = match decision {
                Decision::Nothing => (Outcome { written: Some(decided), later: None }, from),
                Decision::Arm => (self.order(ModeKind::Mirror, 1)?, 2),
                Decision::Switch => (self.order(ModeKind::Training, 3 - from)?, 3 - from),
            };
            let number = self.send()?;
            let written = outcome.finish(&self.counter)?;
            let came = self.came_by(by, number)?;
            let since = |begin: Duration| (came.saturating_sub(begin)).as_secs_f64() * 1e6;
            let written = written.context("the machine chose nothing")?;
            samples.push(Sample { since_decision: since(decided), since_write: since(written) });
        }
        self.drain()?;
        Ok(samples)
    }

    /// Gives the machine orders and carries out what it decides, as far as packets wait for it.
    fn order(&mut self, mode: ModeKind, slot: u8) -> Result<Outcome> {
        for order in &mut self.orders {
            (order.mode, order.copies, order.forced) = (mode, 1, Some(slot));
        }
        let now = clock::now();
        self.machine.handle_plan(&self.orders, &self.rig.edge_plan.paths, &Avoid::default(), now);
        let mut outcome = Outcome { written: None, later: None };
        while let Some(action) = self.machine.poll_action(now) {
            match action {
                Action::PersistCounter(counter) if outcome.written.is_some() => outcome.later = Some(counter),
                Action::PersistCounter(counter) => keep(&self.counter, counter)?,
                Action::Choose { remote, class, choice } => {
                    let Choice { active, copies, counter } = choice;
                    outcome.written.get_or_insert_with(wall_clock);
                    self.maps.maps.choose(remote, class, Chosen { active, copies, counter, ..Chosen::default() })?;
                }
                // packets do not wait for these
                Action::SendControl { .. } | Action::Log(_) => {}
            }
        }
        Ok(outcome)
    }

    fn send(&mut self) -> Result<u64> {
        let mut packet = [0; 64];
        packet[56..].copy_from_slice(&self.sent.to_be_bytes());
        self.sender.send(&packet)?;
        self.sent += 1;
        Ok(self.sent - 1)
    }

    /// When the packet with this number came by `slot`.
    fn came_by(&self, slot: u8, number: u64) -> Result<Duration> {
        let tap = &self.taps[usize::from(slot) - 1];
        while let Some(frame) = tap.next(PATIENCE)? {
            if frame.bytes.ends_with(&number.to_be_bytes()) {
                return Ok(frame.at);
            }
        }
        anyhow::bail!("packet {number} did not come by slot {slot}")
    }

    /// Takes what has come to the server, waiting for what is still missing, and forgets what the taps have seen.
    fn drain(&mut self) -> Result<()> {
        let deadline = clock::now() + PATIENCE;
        let mut packet = [0; 64];
        while (self.delivered.len() as u64) < self.sent && clock::now() < deadline {
            while let Ok(64) = self.receiver.recv(&mut packet) {
                let number = packet[56..].try_into().map(u64::from_be_bytes)?;
                ensure!(self.delivered.insert(number), "packet {number} was delivered twice");
            }
        }
        for tap in &self.taps {
            while tap.next(Duration::ZERO)?.is_some() {}
        }
        Ok(())
    }
}

/// Keeps the counter as the agent does: whole or not at all, and on disk when this returns.
fn keep(path: &Path, counter: u64) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(counter.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().context("a file in a folder")?)?.sync_all()?;
    Ok(())
}
