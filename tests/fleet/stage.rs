//! The fleet of many sites that the cases share.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use pathsteer_bpf::{Datapath, Maps};
use pathsteer_crds::AnyObject;
use pathsteer_crds::manifest;
use pathsteer_crds::plan::NodePlan;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, CLINIC_3, HQ, MANY};
use pathsteer_lab::{clock, suite, tree};

use crate::removed::{self, Trace};

/// How often a condition is looked at that costs a process.
const LOOK: Duration = Duration::from_millis(100);
/// A turn of an agent takes tenths of a second, a resync up to 30 s; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the manifests lie at headquarters: of the site that comes last and goes first, and the others.
pub const LAST: &str = "/run/last.yaml";
const OTHERS: &str = "/run/others.yaml";

/// The running fleet.
pub struct Stage {
    // Dropped first: agents end before the interfaces they hold.
    pub fleet: Fleet,
    pub network: Network,
    /// What a case wants to tell beside its verdict.
    pub remarks: Vec<String>,
    /// What the anchors had before the last site was declared.
    pub before: Vec<Trace>,
    runs: u64,
}

impl suite::Stage for Stage {
    /// Builds the network, starts the programs and declares the example, the clinic last.
    fn open(logs: &Path) -> Result<Stage> {
        let network = Network::build(&MANY, logs)?;
        let fleet = Fleet::start(&network, logs)?;
        let mut stage = Stage { fleet, network, remarks: Vec::new(), before: Vec::new(), runs: 0 };
        let (last, others) = examples()?;
        stage.network.host(HQ).write(LAST, &last)?;
        stage.network.host(HQ).write(OTHERS, &others)?;
        stage.declare(OTHERS)?;
        stage.before = removed::traces(&stage)?;
        stage.declare(LAST)?;
        stage.everybody_follows()?;
        Ok(stage)
    }

    /// Cases that go well leave the fleet as they found it, but for the one that takes a site away.
    fn restore(&mut self, well: bool) -> Result<()> {
        if well {
            return Ok(());
        }
        self.fleet.restart()?;
        self.declare(OTHERS)?;
        self.declare(LAST)?;
        self.everybody_follows()
    }

    fn remarks(&mut self) -> &mut Vec<String> {
        &mut self.remarks
    }
}

impl Stage {
    /// Waits until every anchor of every site has said that it follows.
    pub fn everybody_follows(&mut self) -> Result<()> {
        MANY.sites.iter().try_for_each(|site| {
            self.fleet.wait_for_paths_of(site, "a path with copies", |paths| !paths.copies.is_empty()).map(drop)
        })
    }

    /// A number that no measurement had before.
    pub fn run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Applies a file at headquarters and waits until everything is ready.
    pub fn declare(&mut self, file: &str) -> Result<()> {
        self.fleet.cli(&["apply", "-f", file])?;
        let waited = self.fleet.cli(&["wait", "--for=condition=Ready", "--all", "--timeout", "60s"]);
        self.fleet.check()?;
        waited.map(drop)
    }

    /// Waits until `condition` holds; `what` says what it is.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&Stage) -> Result<bool>) -> Result<()> {
        clock::wait_for(what, PATIENCE, LOOK, || condition(self))?;
        self.fleet.check()
    }

    /// Waits until every node is as planned: its agent would change nothing, and has said so.
    pub fn as_planned(&mut self) -> Result<()> {
        for node in MANY.nodes() {
            let mut pending = String::new();
            let met = self.until("nothing is left to be changed", |stage| {
                pending = stage.fleet.agent_command(stage.network.host(node), &["plan"])?;
                Ok(pending.trim() == "0 changes" && stage.fleet.report(node)?.is_some_and(|report| report.verified))
            });
            met.with_context(|| format!("{node} would still change:\n{pending}"))?;
        }
        Ok(())
    }

    /// The plan of `node` in the store.
    pub fn plan(&self, node: &str) -> Result<NodePlan> {
        let plan = self.fleet.cli(&["plan", node, "-o", "json"])?;
        serde_json::from_str(&plan).with_context(|| format!("reading the plan of {node}"))
    }

    /// The anchor by which `site` sends.
    pub fn preferred_anchor(&self, site: &str) -> Result<String> {
        let text = self.fleet.cli(&["get", &format!("site/{site}"), "-o", "json"])?;
        let object: serde_json::Value = serde_json::from_str(&text)?;
        let name = object["spec"]["anchors"][0].as_str();
        name.map(str::to_owned).with_context(|| format!("{site} names no anchor: {text}"))
    }

    /// The node index of `name`.
    pub fn index(&self, name: &str) -> Result<u32> {
        let remotes = self.plan(ANCHOR_HOST)?.objects.remotes;
        let remote = remotes.iter().find(|remote| remote.node == name);
        remote.map(|remote| remote.id).with_context(|| format!("{ANCHOR_HOST} does not know {name}"))
    }
}

/// Does something with the datapath's maps of `node`, as they are pinned there.
pub fn with_maps<T: Send>(node: &Host, work: impl FnOnce(&Maps) -> Result<T> + Send) -> Result<T> {
    node.inside(|| {
        let datapath = Datapath::adopt(Path::new("/sys/fs/bpf/pathsteer"))?;
        work(&datapath.context("no datapath is pinned")?.maps)
    })
}

/// The example's manifests: the clinic's, and all the others.
fn examples() -> Result<(String, String)> {
    let (mut last, mut others) = (String::new(), String::new());
    for entry in std::fs::read_dir(tree::examples(&MANY))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let name = path.display().to_string();
        for located in manifest::parse(&text, &name).map_err(|errors| anyhow!("{name}: {errors:?}"))? {
            let (AnyObject::Uplink(_) | AnyObject::Vlan(_) | AnyObject::Site(_)) = &located.object else {
                push(&mut others, &located.object)?;
                continue;
            };
            let metadata = located.object.metadata();
            let site = metadata.site.as_ref().unwrap_or(&metadata.name);
            push(if site == CLINIC_3 { &mut last } else { &mut others }, &located.object)?;
        }
    }
    Ok((last, others))
}

fn push(manifests: &mut String, object: &AnyObject) -> Result<()> {
    manifests.push_str(&format!("---\n{}\n", serde_json::to_string(object)?));
    Ok(())
}
