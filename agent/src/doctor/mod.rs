//! `doctor`: what this node lacks and who is in the way, each with the remedy. Everything is seen in the kernel and in
//! files, and nothing is changed: no daemon is asked, so none has to answer.

mod card;
mod feature;
mod firewall;
mod home;
mod machine;
mod manager;
mod overlap;
mod reverse_path;
mod rule;

use std::{collections::BTreeMap, path::Path};

use pathsteer_agent_core::bootstrap_plan;
use pathsteer_crds::{
    plan::{LinkKind, LinkSpec, NodePlan},
    report::CounterReport,
};
use pathsteer_wireguard::BackendKind;

use crate::{
    config::{Config, ConfigError},
    counters::counters,
    drivers::{Kernel, datapath::Shim, nft},
    state::StateDir,
};
use home::Home;

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub what: String,
    pub verdict: Verdict,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Well,
    /// Not looked at, and why.
    LeftOut(String),
    /// It works, but not as well as it could, or not for long.
    Warning {
        remedy: String,
    },
    /// Something of ours cannot work.
    Failure {
        remedy: String,
    },
}

impl Finding {
    fn well(what: impl Into<String>) -> Finding {
        Finding { what: what.into(), verdict: Verdict::Well }
    }

    fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what: what.into(), verdict: Verdict::Warning { remedy: remedy.into() } }
    }

    fn failure(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what: what.into(), verdict: Verdict::Failure { remedy: remedy.into() } }
    }

    fn left_out(what: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding { what: what.into(), verdict: Verdict::LeftOut(why.into()) }
    }

    /// Well, or a failure with this remedy.
    fn required(what: &str, well: bool, remedy: &str) -> Finding {
        if well { Finding::well(what) } else { Finding::failure(what, remedy) }
    }

    /// Something of ours cannot work.
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Failure { .. })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = &self.what;
        match &self.verdict {
            Verdict::Well => write!(f, "ok    {what}"),
            Verdict::LeftOut(why) => write!(f, "info  {what}: {why}"),
            Verdict::Warning { remedy } => write!(f, "warn  {what}: {remedy}"),
            Verdict::Failure { remedy } => write!(f, "FAIL  {what}: {remedy}"),
        }
    }
}

/// What a group has found; that all is well where it has found nothing.
fn or_well(what: &str, findings: Vec<Finding>) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::well(what)] } else { findings }
}

/// What the node is to be, as far as it is known.
struct Known {
    config: Config,
    plan: NodePlan,
}

impl Known {
    /// # Errors
    /// The finding that says why it is not known.
    fn read(path: &Path) -> Result<Known, Finding> {
        let what = "what depends on the node's plan";
        let config = Config::load(path).map_err(|error| match &error {
            ConfigError::Read { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                Finding::left_out(what, format!("not looked at, as there is no {}", path.display()))
            }
            _ => Finding::failure("configuration", error.to_string()),
        })?;
        // opening it would make it
        let saved = if config.state_dir.exists() {
            StateDir::open(&config.state_dir).and_then(|it| it.plan())
        } else {
            Ok(None)
        };
        let plan = match saved {
            Ok(Some((_, plan))) => plan,
            Ok(None) => bootstrap_plan(&config.node, &config.bootstrap.uplinks),
            Err(error) => {
                let remedy = format!("the operator sends another when the agent runs: {error}");
                return Err(Finding::failure("the last good plan", remedy));
            }
        };
        Ok(Known { config, plan })
    }

    /// The cards that the plan takes.
    fn taken(&self) -> impl Iterator<Item = &LinkSpec> {
        self.plan.objects.links.iter().filter(|link| link.kind == LinkKind::Nic)
    }
}

/// Looks at everything, in the same order whenever it is asked. What depends on the plan is left out where there is no
/// configuration at `config`.
pub async fn examine(config: &Path) -> Vec<Finding> {
    let mut findings = machine::examine();
    findings.extend(feature::examine().await);
    let known = Known::read(config);
    let (known, unknown) = match known {
        Ok(known) => (Some(known), None),
        Err(finding) => (None, Some(finding)),
    };
    match Home::look().await {
        Ok(home) => {
            findings.extend(card::names(&home));
            if let Some(known) = &known {
                findings.extend(card::examine(known, &home));
                findings.extend(feature::planned(known).await);
                findings.extend(rule::examine(known, &home));
                findings.extend(reverse_path::examine(known, &home));
                findings.extend(firewall::examine(known, &home));
                findings.extend(manager::examine(known, &home));
                findings.extend(overlap::examine(known, &home));
                findings.extend(machine::state(&known.config));
            }
        }
        Err(error) => findings.push(Finding::failure("netlink", error.to_string())),
    }
    findings.extend(unknown);
    findings
}

/// What the shim and our nft tables have counted, if anything, a line each.
pub fn counted() -> Vec<String> {
    let shim = Shim::adopt().ok().flatten();
    let tallies = Kernel::open(BackendKind::Userspace).and_then(|kernel| nft::tallies(&kernel)).unwrap_or_default();
    let described = |counter: CounterReport| {
        let CounterReport { name, place, remote, packets } = counter;
        let of = if remote == 0 { String::new() } else { format!(" remote {remote}") };
        format!("{place}{of} {name}: {packets}")
    };
    counters(shim.as_ref(), &tallies, &BTreeMap::new()).into_iter().map(described).collect()
}
