//! A node that the real agent has made from a plan.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use pathsteer_bpf::Datapath;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use crate::inventory::SLOTS;
use crate::plan::Plan;

/// The agent's files on its node.
pub const STATE: &str = "/var/lib/pathsteer";
pub const CONFIG: &str = "/etc/pathsteer/agent.yaml";
/// Where the agent's pins are.
const BPFFS: &str = "/sys/fs/bpf/pathsteer";
/// From nothing to in sync takes a second, with 500 sites and their gigabyte of windows a few; the rest is for a loaded
/// machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the agent's log is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Where programs and logs are.
#[derive(Debug, Clone)]
pub struct Folders {
    /// With `pathsteer-agent` in it.
    pub programs: PathBuf,
    pub logs: PathBuf,
    /// On a disk, as an agent's state is.
    pub out: PathBuf,
}

impl Folders {
    /// The agent, which is also the WireGuard worker.
    pub fn agent(&self) -> PathBuf {
        self.programs.join("pathsteer-agent")
    }
}

/// A node: namespaces, rules, maps and workers as its plan says.
pub struct Node {
    pub host: Host,
    pub agent: Daemon,
}

/// A node without a plan: it has keys, and cards can be given to it.
pub struct Blank {
    pub host: Host,
    pub identity: NodeIdentity,
}

impl Blank {
    /// A node called `name`, unique in the sandbox.
    ///
    /// # Errors
    /// Needs root.
    pub fn new(name: &str) -> Result<Blank> {
        let host = Host::node(leak(name))?;
        host.publish()?;
        let identity = host.inside(|| {
            let key = |slot: u8| {
                let path = Path::new(STATE).join(format!("wireguard-{slot}.key"));
                Ok((slot, pathsteer_wireguard::ensure_private_key(&path)?))
            };
            Ok(NodeIdentity { wireguard_keys: SLOTS.into_iter().map(key).collect::<Result<_>>()?, incarnation: 1 })
        })?;
        Ok(Blank { host, identity })
    }

    /// Has the agent carry out `plan`, and waits until it finds everything as declared.
    ///
    /// # Errors
    /// When it does not get there; the end of its log is in the message.
    pub fn become_node(self, plan: &Plan, folders: &Folders) -> Result<Node> {
        let certified = rcgen::generate_simple_self_signed([plan.node.clone()])?;
        // Nobody listens there: the node is on its own.
        let config = format!(
            "node: {}\noperator: https://192.0.2.254:7443\nca: /etc/pathsteer/node.crt\n\
             certificate: /etc/pathsteer/node.crt\n",
            plan.node
        );
        self.host.write(&format!("{STATE}/node.key"), &certified.signing_key.serialize_pem())?;
        self.host.write("/etc/pathsteer/node.crt", &certified.cert.pem())?;
        self.host.write(CONFIG, &config)?;
        self.host.write(&format!("{STATE}/plan.json"), &plan.saved())?;
        let recipe = recipe(self.host.name, folders);
        let mut node = Node { agent: Daemon::start(&self.host, recipe, &folders.logs)?, host: self.host };
        let deadline = clock::now() + DEADLINE;
        while !node.agent.last_lines(usize::MAX).iter().any(|line| line.contains("in sync generation=")) {
            node.agent.check()?;
            if clock::now() > deadline {
                let pending = node.host.output(folders.agent(), &["plan"])?;
                bail!(
                    "{} is not in sync; its log is {}; pending: {pending}",
                    node.host.name,
                    node.agent.log().display()
                );
            }
            clock::sleep_until(clock::now() + LOOK);
        }
        Ok(node)
    }
}

impl Node {
    /// Ends the agent, so that nothing but packets is worked on: the datapath does without it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave_alone(&mut self) -> Result<()> {
        self.agent.kill()
    }

    /// The agent's process.
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// Its WireGuard workers' processes.
    pub fn workers(&self) -> Vec<u32> {
        self.host.processes(&["pathsteer-agent", "wireguard", "--config"])
    }

    /// The datapath's maps and programs.
    ///
    /// # Errors
    /// When they are not pinned.
    pub fn datapath(&self) -> Result<Datapath> {
        self.host.inside(|| Datapath::adopt(Path::new(BPFFS))?.context("the datapath is not pinned"))
    }

    /// Runs `work` in the node's namespace called `netns`.
    ///
    /// # Errors
    /// What `work` returns, or that there is no such namespace.
    pub fn within<T: Send>(&self, netns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.host.inside(|| {
            let path = Path::new("/run/netns").join(netns);
            let file = File::open(&path).with_context(|| format!("{} on {}", path.display(), self.host.name))?;
            setns(file, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }
}

/// How an agent called `name` is started, so that its log tells of its turns.
pub fn recipe(name: &str, folders: &Folders) -> Recipe {
    let agent = folders.agent().display().to_string();
    let words = ["RUST_LOG=info,pathsteer_agent::reconcile=debug", &agent, "run"];
    Recipe { name: name.to_owned(), program: "env".into(), arguments: words.map(str::to_owned).into() }
}

/// Hosts live as long as the measurement and are named once each.
pub fn leak(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}
