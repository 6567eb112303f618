//! What the fleet says about itself: which paths it uses, what its datapath has dropped as second copies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_crds::keys;
use pathsteer_crds::report::NodeReport;
use serde::Deserialize;

use super::{Fleet, LOOK};
use crate::clock;
use crate::host::Host;
use crate::network::plan::Site;

/// How long a change of mode or path may take to be carried out and acknowledged by the far end.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);

/// The paths an edge sends by, the same for each of its classes that may be copied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Paths {
    /// Name of the active uplink.
    pub active: &'static str,
    /// Names of the uplinks that carry copies.
    pub copies: Vec<&'static str>,
}

/// How the name of a class that is never copied ends.
const SERVICE: &str = "/service";

/// Counters of a node's datapath, all its remotes together, since its maps were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// Packets dropped because their first copy had come.
    pub duplicate: u64,
    /// Packets dropped because their inner source is not the site's that sent them.
    pub forged: u64,
}

impl Fleet {
    /// The paths that `site` uses now, if its classes agree and the far ends follow. A class that is never copied has
    /// the active one only.
    ///
    /// # Errors
    /// When the operator does not answer, or names a slot the lab does not have.
    pub fn paths(&self, site: &Site) -> Result<Option<Paths>> {
        let Some(report) = self.report(site.name)? else { return Ok(None) };
        let name = |slot: &u8| -> Result<&'static str> {
            let uplink = site.uplink_in(*slot);
            Ok(uplink.with_context(|| format!("the lab has no uplink in slot {slot} of {}", site.name))?.name)
        };
        let (mut all, mut active) = (BTreeSet::new(), BTreeSet::new());
        for steering in &report.steering {
            if !steering.acknowledged {
                return Ok(None);
            }
            active.insert(name(&steering.active)?);
            if !steering.class_name.ends_with(SERVICE) {
                let copies = steering.copies.iter().map(name).collect::<Result<_>>()?;
                all.insert(Paths { active: name(&steering.active)?, copies });
            }
        }
        let one = all.pop_first();
        Ok(one.filter(|_| all.is_empty() && active.len() == 1))
    }

    /// The report of `node`, as it is in the store: its keys are a public contract, so plain etcdctl reads them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn report(&self, node: &str) -> Result<Option<NodeReport>> {
        let answer = self.etcdctl(&["get", "--print-value-only", &keys::report(node)])?;
        if answer.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&answer).with_context(|| format!("reading the report of {node}")).map(Some)
    }

    /// Waits until the first site uses paths that `wanted` accepts and the far end has acknowledged them.
    ///
    /// # Errors
    /// When that does not happen in time: what is used instead.
    pub fn wait_for_paths(&mut self, words: &str, wanted: impl Fn(&Paths) -> bool) -> Result<Paths> {
        self.wait_for_paths_of(&self.plan.sites[0], words, wanted)
    }

    /// The same for any site.
    ///
    /// # Errors
    /// As [`Fleet::wait_for_paths`].
    pub fn wait_for_paths_of(&mut self, site: &Site, words: &str, wanted: impl Fn(&Paths) -> bool) -> Result<Paths> {
        let mut last = Ok(None);
        let found = clock::wait_until(clock::now() + SETTLE_DEADLINE, LOOK, || {
            last = self.paths(site);
            matches!(&last, Ok(Some(paths)) if wanted(paths))
        });
        self.check()?;
        match last? {
            Some(paths) if found => Ok(paths),
            Some(paths) => {
                bail!("{words} was not carried out: still {} and copies on {:?}", paths.active, paths.copies)
            }
            None => bail!("{words} was not carried out: no paths are in use that the far end has acknowledged"),
        }
    }

    /// The datapath counters of `node`.
    ///
    /// # Errors
    /// When the agent's program cannot read them.
    pub fn counters(&self, node: &Host) -> Result<Counters> {
        let answer = self.agent_command(node, &["observe", "--counters", "-o", "json"])?;
        let remotes: BTreeMap<String, Counters> = serde_json::from_str(&answer)
            .with_context(|| format!("reading the counters of {}: {answer}", node.name))?;
        Ok(remotes.into_values().fold(Counters::default(), |all, one| Counters {
            duplicate: all.duplicate + one.duplicate,
            forged: all.forged + one.forged,
        }))
    }
}
