//! What the datapaths of both nodes have counted, and whether it comes out even.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::hiccup::Meter;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE};

use crate::stage::{PATIENCE, Stage};

/// Longer than a packet is under way on the slowest line: what has not been counted by then is lost.
const QUIET: Duration = Duration::from_millis(150);
/// Attempts at a measurement that the machine spoils.
const ATTEMPTS: u32 = 3;
/// Counters that say that all is well.
const WELL: [&str; 5] = ["sent", "whole", "delivered", "duplicate", "control"];

/// A node's counters by name, all its remotes together.
pub type Tally = BTreeMap<String, u64>;

/// How packets come to the shims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    OneByOne,
    /// Several in one piece, each way, wherever the shims let them pass whole.
    InSegments,
}

/// Whether `node` lets packets of several segments pass its shim whole.
///
/// # Errors
/// When it has not reported.
pub fn passes_whole(stage: &Stage, node: &str) -> Result<bool> {
    Ok(stage.report(node)?.segmentation.starts_with("passed whole"))
}

/// Of the edge and of the anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallies {
    pub edge: Tally,
    pub anchor: Tally,
}

impl Tallies {
    /// As they are now.
    ///
    /// # Errors
    /// When an agent's program cannot read them.
    pub fn read(stage: &Stage) -> Result<Tallies> {
        Ok(Tallies { edge: of(stage, stage.edge())?, anchor: of(stage, stage.anchor())? })
    }

    /// Once nothing is under way any more.
    ///
    /// # Errors
    /// When something always is.
    pub fn at_rest(stage: &Stage) -> Result<Tallies> {
        let mut last = Tallies::read(stage)?;
        let mut failed = Ok(());
        let rest = clock::wait_until(clock::now() + PATIENCE, QUIET, || match Tallies::read(stage) {
            Ok(next) => std::mem::replace(&mut last, next.clone()).traffic() == next.traffic(),
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed?;
        ensure!(rest, "the datapath never came to rest: {last:?}");
        Ok(last)
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Tallies) -> Tallies {
        let since = |after: &Tally, before: &Tally| {
            let grown = after.iter().map(|(name, count)| (name.clone(), count - get(before, name)));
            grown.filter(|(_, count)| *count > 0).collect()
        };
        Tallies { edge: since(&self.edge, &before.edge), anchor: since(&self.anchor, &before.anchor) }
    }

    /// Without what the nodes say to each other at any time.
    fn traffic(mut self) -> Tallies {
        self.edge.remove("control");
        self.anchor.remove("control");
        self
    }

    /// Whether every packet was delivered once and its `copies` were counted as such; if not, what is missing. `whole`
    /// says that some were sent in one piece.
    ///
    /// # Errors
    /// What no loss on the way can explain: more copies than there were, of which some were originals, or packets dropped
    /// for any other reason.
    fn missing(&self, copies: u64, whole: bool) -> Result<Option<String>> {
        let mut missing = None;
        for (way, from, to) in [("up", &self.edge, &self.anchor), ("down", &self.anchor, &self.edge)] {
            let (sent, delivered, duplicate) = (get(from, "sent"), get(to, "delivered"), get(to, "duplicate"));
            let wrong: Vec<_> = to.iter().filter(|(name, _)| !WELL.contains(&name.as_str())).collect();
            let account = format!(
                "{way}: of {sent} packets {delivered} were delivered, {duplicate} copies dropped, beside {wrong:?}"
            );
            ensure!(!whole || get(from, "whole") > 0, "nothing was sent whole: {account}");
            ensure!(delivered <= sent && duplicate <= sent * copies && wrong.is_empty(), account);
            if (delivered, duplicate) != (sent, sent * copies) {
                missing = Some(account);
            }
        }
        Ok(missing)
    }
}

/// Does `act` and insists that everything it caused comes out even. What is missing because the machine stood still, so
/// that some queue overflowed, is repeated.
///
/// # Errors
/// What `act` returns, or what does not come out even.
pub fn exact(stage: &mut Stage, copies: u64, act: impl FnMut(&mut Stage) -> Result<()>) -> Result<()> {
    exact_of(stage, Sent::OneByOne, copies, act)
}

/// The same for whatever `act` sends as `sent` says.
///
/// # Errors
/// The same, or that nothing came whole to a shim that lets it pass.
pub fn exact_of(
    stage: &mut Stage,
    sent: Sent,
    copies: u64,
    mut act: impl FnMut(&mut Stage) -> Result<()>,
) -> Result<()> {
    let whole = sent == Sent::InSegments && passes_whole(stage, EDGE)? && passes_whole(stage, ANCHOR_HOST)?;
    for attempt in 1..=ATTEMPTS {
        let before = Tallies::at_rest(stage)?;
        let meter = Meter::start()?;
        act(stage)?;
        let since = Tallies::at_rest(stage)?.since(&before);
        let stalls = meter.finish()?;
        let Some(missing) = since.missing(copies, whole)? else { return Ok(()) };
        ensure!(!stalls.is_empty(), missing);
        stage.remark(format!("attempt {attempt}: {missing}; the machine stood still {} times", stalls.len()));
    }
    bail!("packets or copies were missing in each of {ATTEMPTS} attempts: {}", stage.remarks.join("; "))
}

/// The count of that name; what was never counted is not listed.
pub fn get(tally: &Tally, name: &str) -> u64 {
    tally.get(name).copied().unwrap_or(0)
}

fn of(stage: &Stage, node: &Host) -> Result<Tally> {
    let answer = stage.fleet.agent_command(node, &["observe", "--counters", "-o", "json"])?;
    let remotes: BTreeMap<String, Tally> =
        serde_json::from_str(&answer).with_context(|| format!("reading the counters of {}: {answer}", node.name))?;
    let mut all = Tally::new();
    for (name, count) in remotes.into_values().flatten() {
        *all.entry(name).or_default() += count;
    }
    Ok(all)
}
