//! Simulated nodes: the sessions and turns of as many agents in one process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_crds::keys;
use pathsteer_crds::plan::PlanRoot;
use pathsteer_crds::report::NodeReport;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};

use super::headquarters::Headquarters;
use super::store::{Change, Store, Watch};
use crate::node::Folders;

/// Where their keys and plans are. In memory: five hundred nodes have five hundred disks.
const FOLDER: &str = "/run/simulated";
/// Hundreds of first plans on a loaded machine take minutes.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often it is looked whether they are done. Nothing is timed by it that takes less than many seconds.
const LOOK: Duration = Duration::from_millis(250);

/// The nodes.
pub struct Nodes {
    pub process: Daemon,
    names: Vec<String>,
}

impl Nodes {
    /// Certifies `names` and lets them live.
    ///
    /// # Errors
    /// When one is not certified, or the process does not start.
    pub fn start(operator: &Headquarters, names: Vec<String>, folders: &Folders) -> Result<Nodes> {
        let folder = PathBuf::from(FOLDER).join(operator.host.name);
        for name in &names {
            operator.certify("node", name, &folder.join(name))?;
        }
        let (agent, authority) = (folders.agent().display().to_string(), operator.authority().display().to_string());
        let (count, url, folder) = (names.len().to_string(), Headquarters::url(), folder.display().to_string());
        let words = ["RUST_LOG=warn", &agent, "simulate", "--nodes", &count, "--operator", &url];
        let words = [&words[..], &["--ca", &authority, "--credentials", &folder]].concat();
        let recipe = Recipe {
            name: format!("simulate-{}", operator.host.name),
            program: "env".into(),
            arguments: words.into_iter().map(str::to_owned).collect(),
        };
        Ok(Nodes { process: Daemon::start(&operator.host, recipe, &folders.logs)?, names })
    }

    /// Waits until every one of them has reported that it carries out the plan that is published for it.
    ///
    /// # Errors
    /// When one does not, or the process has ended.
    pub fn in_force(&mut self, store: &Store) -> Result<()> {
        let mut late = self.names.clone();
        let deadline = clock::now() + clock::patience(DEADLINE);
        while !late.is_empty() {
            // what was in force once may wait for another plan now: only all of them together say something
            late = self.names.iter().filter(|node| !is_in_force(store, node)).cloned().collect();
            self.process.check()?;
            if clock::now() > deadline {
                let some = &late[..late.len().min(5)];
                bail!("{} nodes have not carried out their plans, {some:?} among them", late.len());
            }
            if !late.is_empty() {
                clock::sleep_until(clock::now() + LOOK);
            }
        }
        Ok(())
    }
}

fn is_in_force(store: &Store, node: &str) -> bool {
    let read = || {
        let root: PlanRoot = serde_json::from_str(&store.get(&keys::plan_root(node)).ok()?).ok()?;
        let report: NodeReport = serde_json::from_str(&store.get(&keys::report(node)).ok()?).ok()?;
        let same = (root.store_epoch, root.generation) == (report.store_epoch, report.generation);
        Some(same && report.verified)
    };
    read().unwrap_or(false)
}

/// What became of a change: plans published and reports that they are carried out.
#[derive(Debug, Default)]
pub struct Course {
    /// When a node's plan was there, and when its report.
    published: BTreeMap<String, Duration>,
    acknowledged: BTreeMap<String, Duration>,
    /// Sizes of keys and values that were written for that; 0 for a value that was deleted.
    pub written: Vec<(usize, usize)>,
    /// How many statuses the operator has written meanwhile.
    pub statuses: usize,
}

/// Roots and reports are in these places of a node's.
const ROOT: &str = "/plan/root";
const REPORT: &str = "/report/status";

impl Course {
    /// Follows what comes of the change with this revision until the plans of `nodes` are published and acknowledged.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn of(revision: i64, nodes: &[String], watch: &Watch) -> Result<Course> {
        let mut course = Course::default();
        let deadline = clock::now() + clock::patience(DEADLINE);
        while !nodes.iter().all(|node| course.acknowledged.contains_key(node)) {
            let Some(change) = watch.next(deadline)? else {
                let missing = nodes.iter().filter(|node| !course.acknowledged.contains_key(*node));
                let missing: Vec<_> = missing.take(5).collect();
                bail!("no report of generation {revision} or later from {missing:?}");
            };
            course.take(revision, &change);
        }
        Ok(course)
    }

    fn take(&mut self, revision: i64, change: &Change) {
        let Some(below) = change.key.strip_prefix(keys::ROOT).filter(|_| change.revision > revision) else { return };
        self.statuses += usize::from(below.starts_with("status/"));
        let Some((node, _)) = below.strip_prefix("nodes/").and_then(|rest| rest.split_once('/')) else { return };
        self.written.push((change.key.len(), change.value.as_ref().map_or(0, String::len)));
        let Some(value) = &change.value else { return };
        if change.key.ends_with(ROOT) {
            self.published.entry(node.to_owned()).or_insert(change.at);
        }
        let carried_out = |report: NodeReport| report.verified && report.generation >= revision;
        if change.key.ends_with(REPORT) && serde_json::from_str(value).is_ok_and(carried_out) {
            self.acknowledged.entry(node.to_owned()).or_insert(change.at);
        }
    }

    /// When the last plan was published.
    ///
    /// # Errors
    /// When none was.
    pub fn published(&self) -> Result<Duration> {
        self.published.values().max().copied().context("nothing was published")
    }

    /// When the last of them was acknowledged.
    ///
    /// # Errors
    /// When none was.
    pub fn acknowledged(&self) -> Result<Duration> {
        self.acknowledged.values().max().copied().context("nothing was acknowledged")
    }

    /// How many plans were published.
    pub fn plans(&self) -> usize {
        self.published.len()
    }
}
