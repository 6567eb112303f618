//! PathSteer in the lab: its operator at headquarters, an agent on each node, and the command line of whoever runs it.

mod courier;
mod state;

pub use state::{Counters, Paths};

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::daemon::{Daemon, Recipe};
use crate::host::Host;
use crate::network::Network;
use crate::network::plan::{HQ, OPERATOR, OPERATOR_PORT, OPERATOR6, Plan};

/// The operator's data folder on its host.
const DATA_FOLDER: &str = "/var/lib/pathsteer/operator";
/// The agents' state folder on their nodes.
const STATE_FOLDER: &str = "/var/lib/pathsteer";
/// The command line's configuration on the operator's host.
pub const CLI_CONFIG: &str = "/etc/pathsteer/config.yaml";
const AGENT_CONFIG: &str = "/etc/pathsteer/agent.yaml";
/// A cold etcd takes about a second; a loaded machine several.
const START_DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// The running daemons.
pub struct Fleet {
    programs: PathBuf,
    hq: Host,
    plan: &'static Plan,
    operator: Daemon,
    /// The edges', then the anchors'.
    agents: Vec<Daemon>,
}

impl Fleet {
    /// Starts the operator, gives every node its certificate, and starts the agents. Nothing is declared yet.
    ///
    /// # Errors
    /// When a program is missing or a step fails; the message names the log.
    pub fn start(network: &Network, logs: &Path) -> Result<Fleet> {
        let programs = programs()?;
        let program = |name: &str| -> Result<PathBuf> {
            let path = programs.join(name);
            if !path.exists() {
                bail!("{} is missing: build everything with `cargo build --workspace`", path.display());
            }
            Ok(path)
        };
        let (plan, hq) = (network.plan(), network.host(HQ).clone());
        let operator = Daemon::start(&hq, operator(program("pathsteer-operator")?), logs)?;
        let mut fleet = Fleet { programs: programs.clone(), hq, plan, operator, agents: Vec::new() };
        fleet.wait_for_operator()?;
        fleet.certify_user()?;
        for name in plan.nodes() {
            let node = network.host(name);
            fleet.certify_node(node)?;
            node.write(AGENT_CONFIG, &agent_config(plan, name))?;
        }
        for name in plan.nodes() {
            let recipe = Recipe {
                name: agent_name(name),
                program: program("pathsteer-agent")?.into(),
                arguments: ["run", "--config", AGENT_CONFIG].map(str::to_owned).into(),
            };
            fleet.agents.push(Daemon::start(network.host(name), recipe, logs)?);
        }
        Ok(fleet)
    }

    /// Runs `pathsteer` with `arguments` where the operator is, and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with its own words.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cli_output(arguments)?;
        if !output.status.success() {
            bail!("`pathsteer {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `pathsteer` like [`Fleet::cli`], however it ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cli_output(&self, arguments: &[&str]) -> Result<Output> {
        self.cli_command(arguments).output().context("starting `pathsteer`")
    }

    /// `pathsteer` with `arguments` where the operator is, not started yet.
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.hq.command(self.programs.join("pathsteer"));
        command.args(arguments).env("PATHSTEER_CONFIG", CLI_CONFIG);
        command
    }

    /// Runs Debian's etcdctl against the operator's private etcd, as `pathsteer-operator etcdctl-env` has it.
    ///
    /// # Errors
    /// When it fails, with its own words.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let script = "exports=$(\"$0\" etcdctl-env --data-dir \"$1\") && eval \"$exports\" && shift && etcdctl \"$@\"";
        let operator = self.programs.join("pathsteer-operator");
        let words = ["-c", script, &operator.to_string_lossy(), DATA_FOLDER];
        self.hq.output("sh", &[&words, arguments].concat())
    }

    /// Runs `pathsteer-agent` with `arguments` on `node`, beside the one that runs as a daemon.
    ///
    /// # Errors
    /// When it fails, with its own words.
    pub fn agent_command(&self, node: &Host, arguments: &[&str]) -> Result<String> {
        node.output(self.programs.join("pathsteer-agent"), arguments)
    }

    /// The agent of `node`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn agent(&mut self, node: &str) -> Result<&mut Daemon> {
        let name = agent_name(node);
        self.agents.iter_mut().find(|agent| agent.name() == name).with_context(|| format!("{node} has no agent"))
    }

    /// Kills the agent of `node`, which somebody else runs from now on.
    ///
    /// # Errors
    /// When there is no such node, or the kernel refuses.
    pub fn dismiss(&mut self, node: &str) -> Result<()> {
        self.agent(node)?.kill()?;
        self.agents.retain(|agent| agent.name() != agent_name(node));
        Ok(())
    }

    /// Kills the operator without a chance to clean up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill_operator(&mut self) -> Result<()> {
        self.operator.kill()
    }

    /// Starts the operator again and waits until it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_operator(&mut self) -> Result<()> {
        self.operator.restart()?;
        self.wait_for_operator()
    }

    /// Kills all agents at once, without a chance to clean up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill_agents(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Daemon::kill)
    }

    /// Starts all agents again.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_agents(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Daemon::restart)
    }

    /// Ends everything, or what is left of it, and starts it again.
    ///
    /// # Errors
    /// When something does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill_operator()?;
        self.kill_agents()?;
        self.start_operator()?;
        self.start_agents()
    }

    /// # Errors
    /// When a daemon has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.operator.check()?;
        self.agents.iter_mut().try_for_each(Daemon::check)
    }

    pub fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        std::iter::once(&self.operator).chain(&self.agents)
    }

    fn wait_for_operator(&mut self) -> Result<()> {
        let listens = |hq: &Host| {
            hq.inside(|| {
                let address = std::net::SocketAddr::from((OPERATOR, OPERATOR_PORT));
                Ok(std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))?)
            })
            .is_ok()
        };
        let mut alive = Ok(());
        let found = clock::wait_until(clock::now() + START_DEADLINE, LOOK, || {
            alive = self.operator.check();
            alive.is_err() || listens(&self.hq)
        });
        alive?;
        if !found {
            bail!(
                "the operator did not listen within {} s; its log is {}",
                START_DEADLINE.as_secs(),
                self.operator.log().display()
            );
        }
        Ok(())
    }
}

/// All our programs are built into one folder; those of tests lie below it.
fn programs() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("this program is in no folder")?;
    match folder.parent() {
        Some(above) if folder.ends_with("deps") => Ok(above.to_owned()),
        _ => Ok(folder.to_owned()),
    }
}

fn agent_name(node: &str) -> String {
    format!("agent-{node}")
}

fn operator(program: PathBuf) -> Recipe {
    // over both families
    let listen = format!("[::]:{OPERATOR_PORT}");
    let names = [OPERATOR.to_string(), OPERATOR6.to_string()];
    let [v4, v6] = &names;
    let arguments = ["run", "--data-dir", DATA_FOLDER, "--listen", &listen, "--server-name", v4, "--server-name", v6];
    Recipe { name: "operator".into(), program: program.into(), arguments: arguments.map(str::to_owned).into() }
}

fn agent_config(plan: &Plan, node: &str) -> String {
    let mut config = format!(
        "node: {node}
operator: https://{OPERATOR}:{OPERATOR_PORT}
ca: {}
certificate: {}
stateDir: {STATE_FOLDER}
",
        courier::AUTHORITY,
        courier::NODE_CERTIFICATE
    );
    if let Some(site) = plan.sites.iter().find(|site| site.name == node) {
        // How it reaches its operator before its first plan.
        let uplinks = site.uplinks.iter().map(|uplink| format!("{}: {}", uplink.slot, uplink.card));
        config.push_str(&format!("bootstrap: {{uplinks: {{{}}}}}\n", uplinks.collect::<Vec<_>>().join(", ")));
    }
    config
}
