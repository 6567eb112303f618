//! The command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use pathsteer_agent_core::{Change, Surroundings, Sweep, bootstrap_plan, changes, desired, names};
use pathsteer_crds::plan::PlanObjects;

use crate::{
    VERSION,
    apply::Applier,
    clock,
    config::{Config, SegmentationChoice, WireguardChoice},
    doctor,
    drivers::{
        Kernel, card,
        datapath::{Shim, bpffs},
        nft,
        resolv_conf::ResolvConf,
        route,
        wireguard::Wireguard,
    },
    lease_book::LeaseBook,
    log::Log,
    observe::observe,
    reconcile::RUN_DIR,
    run,
    segmentation::Segmentation,
    simulate::{self, Simulation},
    state::StateDir,
    tls,
};

/// The per-node agent of PathSteer: makes the kernel match the node's plan and keeps sessions alive.
#[derive(Parser)]
#[command(version = VERSION)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run as a daemon.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show what of ours is in the kernel.
    Observe {
        #[command(flatten)]
        config: ConfigFile,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        /// Only the datapath's counters.
        #[arg(long)]
        counters: bool,
    },
    /// Show what the last good plan would change now; before the first one, the configured uplinks.
    Plan {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Examine the node: what is missing or in the way, and the remedy. Exit code 1 if something cannot work; warnings alone
    /// leave it 0. Without a configuration it looks at what every node needs.
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take everything of ours out of the kernel and give the interfaces back. The agent must not run.
    Teardown {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Make the node's private key (it never leaves the node) and a certificate request for it.
    Csr {
        /// The node's name.
        #[arg(long)]
        node: String,
        #[arg(long, default_value = "/var/lib/pathsteer")]
        state_dir: PathBuf,
        /// Where to write the request; standard output without it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Give a slot another WireGuard key. The running agent takes it into use as soon as its operator knows it, with the slot's
    /// traffic on other uplinks meanwhile. Until then the old one holds.
    RotateKey {
        #[command(flatten)]
        config: ConfigFile,
        /// The uplink's slot, 1 to 8.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
        slot: u8,
    },
    /// Simulate many nodes in this process, each with a session of its own and a kernel in memory: nothing of this machine is
    /// changed, and nobody needs to be root. To see how an operator bears a fleet.
    Simulate(Simulation),
    /// The WireGuard worker of one slot; started by the agent.
    #[command(hide = true)]
    Wireguard {
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The agent's configuration.
    #[arg(long, default_value = "/etc/pathsteer/agent.yaml")]
    config: PathBuf,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Yaml,
    Json,
}

impl Command {
    /// Carries it out. Exit code 0, or 1 with one clear line on standard error.
    pub fn run(self) -> ExitCode {
        let done = match self.verb {
            Verb::Wireguard { config } => {
                pathsteer_wireguard::run_worker(&config).map_err(anyhow::Error::from).map(|()| true)
            }
            verb => asynchronously(verb),
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("pathsteer-agent: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

fn asynchronously(verb: Verb) -> anyhow::Result<bool> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?.block_on(carry_out(verb))
}

async fn carry_out(verb: Verb) -> anyhow::Result<bool> {
    match verb {
        Verb::Run { config } => {
            let log = Log::begin();
            run::run(Config::load(&config.config)?, log).await.map(|()| true)
        }
        Verb::Simulate(simulation) => {
            // every node has one of its own
            Log::begin();
            simulate::run(simulation).await.map(|()| true)
        }
        Verb::RotateKey { config, slot } => {
            let key = StateDir::open(&Config::load(&config.config)?.state_dir)?.make_next_key(slot)?;
            println!("slot {slot}: the next public key is {key}");
            Ok(true)
        }
        Verb::Observe { output, counters: true, .. } => {
            let counters = Shim::adopt()?.map(|shim| shim.lock().maps.counters()).transpose()?.unwrap_or_default();
            show(&counters, output)
        }
        Verb::Observe { config, output, counters: false } => {
            let node = Node::open(&config.config).await?;
            show(&node.observe().await?, output)
        }
        Verb::Plan { config } => {
            let node = Node::open(&config.config).await?;
            let pending = changes(&node.desired, &node.observe().await?, node.sweep());
            for change in &pending {
                println!("{}", describe(change));
            }
            let which = if node.own.is_some() { ", before the first plan" } else { "" };
            println!("{} changes{which}", pending.len());
            Ok(true)
        }
        Verb::Doctor { config } => {
            let findings = doctor::examine(&config.config).await;
            for finding in &findings {
                println!("{finding}");
            }
            println!("info  large segments: {}", Segmentation::find(SegmentationChoice::Auto).why);
            println!("info  clock: {}", clock::describe());
            for line in doctor::counted() {
                println!("count {line}");
            }
            Ok(!findings.iter().any(doctor::Finding::is_failure))
        }
        Verb::Teardown { config } => teardown(&config.config).await,
        Verb::Csr { node, state_dir, out } => {
            let request = tls::request(&node, &StateDir::open(&state_dir)?)?;
            match out {
                Some(path) => std::fs::write(path, request)?,
                None => print!("{request}"),
            }
            Ok(true)
        }
        Verb::Wireguard { .. } => Ok(true),
    }
}

/// The node as a command finds it.
struct Node {
    kernel: Kernel,
    shim: Option<Shim>,
    wireguard: Wireguard,
    state: StateDir,
    desired: PlanObjects,
    /// Before the first plan: what may go when it is declared no longer.
    own: Option<BTreeSet<String>>,
}

impl Node {
    async fn open(config: &Path) -> anyhow::Result<Self> {
        let config = Config::load(config)?;
        let state = StateDir::open(&config.state_dir)?;
        let plan = state.plan().context("the saved plan is unusable")?;
        let mut node = Node::declared(state, config.wireguard, PlanObjects::default())?;
        let bootstrap = || bootstrap_plan(&config.node, &config.bootstrap.uplinks);
        node.own = plan.is_none().then(|| names(&bootstrap().objects));
        let plan = plan.map_or_else(bootstrap, |(_, plan)| plan);
        let uplinks = plan.objects.paths.iter().map(|path| path.netns.clone()).collect();
        let defaults = route::defaults(&node.kernel, &uplinks).await?.into_keys().collect();
        let leases = LeaseBook::open(node.state.clone());
        let in_place = plan.objects.routes.iter().filter_map(|route| route.while_host_default.clone()).collect();
        let host_defaults = &route::host_defaults(&node.kernel, &in_place).await?;
        // as the agent found it out
        let whole_segments = node.shim.as_ref().is_some_and(Shim::takes_whole_segments);
        let surroundings = Surroundings { leases: leases.held(), defaults: &defaults, host_defaults, whole_segments };
        node.desired = desired(&plan, surroundings);
        Ok(node)
    }

    fn declared(state: StateDir, wireguard: WireguardChoice, desired: PlanObjects) -> anyhow::Result<Self> {
        let wireguard = Wireguard::new(Path::new(RUN_DIR).join("wireguard"), state.clone(), wireguard)?;
        let mut kernel = Kernel::open(wireguard.kind())?;
        kernel.at_home = true;
        Ok(Node { kernel, shim: Shim::adopt()?, wireguard, state, desired, own: None })
    }

    fn sweep(&self) -> Sweep<'_> {
        self.own.as_ref().map_or(Sweep::Everything, Sweep::Only)
    }

    async fn observe(&self) -> anyhow::Result<PlanObjects> {
        let workers = self.wireguard.status();
        Ok(observe(
            &self.kernel,
            self.shim.as_ref(),
            &self.wireguard,
            &workers,
            &mut nft::Memory::default(),
            &self.desired,
            &self.state,
        )
        .await?
        .objects)
    }
}

async fn teardown(config: &Path) -> anyhow::Result<bool> {
    let _lock = run::lock()?;
    // what is ours is known without a plan, which may be damaged
    let nothing = PlanObjects::default();
    let state = StateDir::open(&Config::load(config)?.state_dir)?;
    let mut node = Node::declared(state, WireguardChoice::Auto, nothing.clone())?;
    let pending = changes(&nothing, &node.observe().await?, Sweep::Everything);
    // the workers hold what the deletions need to be free
    for slot in 1..=8 {
        node.wireguard.remove(slot)?;
    }
    let mut applier = Applier {
        kernel: &mut node.kernel,
        shim: node.shim.as_ref().ok_or("it is not pinned"),
        wireguard: &node.wireguard,
        state: &node.state,
        desired: &nothing,
        copied: &BTreeMap::new(),
    };
    let outcomes = applier.apply(pending).await;
    card::finish(&node.kernel, &node.state).await?;
    pathsteer_bpf::unpin_all(&bpffs())?;
    ResolvConf::default().put(&BTreeMap::new());
    let failed: Vec<_> =
        outcomes.iter().filter_map(|outcome| Some((outcome.change.object.name(), outcome.failure.as_ref()?))).collect();
    for (object, why) in &failed {
        eprintln!("still there: {object}: {why}");
    }
    println!("{} objects removed", outcomes.len() - failed.len());
    Ok(failed.is_empty())
}

fn show<T: serde::Serialize>(value: &T, output: Output) -> anyhow::Result<bool> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(value)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(value)?),
    }
    Ok(true)
}

fn describe(change: &Change) -> String {
    let action = format!("{:?}", change.action).to_lowercase();
    format!("{action:<7} {} ({:?})", change.object.name(), change.class)
}
