//! A node under test: a host with cards, an agent that may be killed and started again, and questions about it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use crate::plans::Plan;

/// The agent's files on its node.
pub const STATE: &str = "/var/lib/pathsteer";
pub const CONFIG: &str = "/etc/pathsteer/agent.yaml";
/// Good for the node and for its operator.
pub const CERTIFICATE: &str = "/etc/pathsteer/node.crt";
/// Where the node's operator should be: behind wan1, see [`crate::operator`].
pub const OPERATOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 7443);
/// From nothing to in sync takes about a second on an idle machine; the rest is for a loaded one.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// How often a condition is looked at that costs a process.
pub const LOOK: Duration = Duration::from_millis(100);

/// A node. Dropping it ends its processes.
pub struct Node {
    pub host: Host,
    /// Where the far ends of its cards are, as `far-<card>`.
    pub outside: Host,
    program: PathBuf,
    agent: Daemon,
    /// How often earlier lives of the agent had said that they were in sync.
    synced: usize,
}

/// What a program printed, and whether it was content.
pub struct Printed {
    pub well: bool,
    pub text: String,
}

impl Node {
    /// A node called `name` (short, unique in the suite) with the cards that `plan` takes, `plan` as its last good plan,
    /// and a running agent.
    pub fn start(name: &'static str, plan: &Plan) -> Result<Node> {
        Node::prepare(name, plan.node)?.begin(|node| {
            plan.cards().iter().try_for_each(|card| node.plug(card))?;
            node.keep(plan, 1)
        })
    }

    /// A node without cards and plan, to be completed by [`Prepared::begin`]. `identity` is the name it has in plans.
    pub fn prepare(name: &'static str, identity: &str) -> Result<Prepared> {
        let folder =
            std::env::current_exe()?.parent().and_then(Path::parent).context("this is in no folder")?.to_owned();
        let program = folder.join("pathsteer-agent");
        if !program.exists() {
            bail!("{} is missing: build everything with `cargo build --workspace`", program.display());
        }
        let host = Host::node(name)?;
        host.publish()?;
        let outside = Host::new(Box::leak(format!("{name}-out").into_boxed_str()))?;
        let certified = rcgen::generate_simple_self_signed([identity.to_owned(), OPERATOR.ip().to_string()])?;
        for (path, text) in [
            (format!("{STATE}/node.key"), certified.signing_key.serialize_pem()),
            (CERTIFICATE.to_owned(), certified.cert.pem()),
            // Nobody listens there, unless a case starts somebody: the node is on its own. It segments on every kernel,
            // so that what is found can be compared with the plan alone.
            (
                CONFIG.to_owned(),
                format!(
                    "node: {identity}\noperator: https://{OPERATOR}\nca: /etc/pathsteer/node.crt\n\
                     certificate: /etc/pathsteer/node.crt\nsegmentation: always\n"
                ),
            ),
        ] {
            host.write(&path, &text)?;
        }
        Ok(Prepared { host, outside, program })
    }

    /// Puts the agent back to life.
    pub fn restart(&mut self) -> Result<()> {
        self.synced = self.said("in sync");
        self.agent.restart()
    }

    /// Waits until the agent has seen everything as declared, once since it was last started.
    pub fn first_turn(&mut self) -> Result<Duration> {
        self.wait("through its first turn", |node| node.said("in sync") > node.synced)
    }

    /// Ends the agent without a chance to clean up.
    pub fn kill(&mut self) -> Result<()> {
        self.agent.kill()
    }

    /// Runs a script while the agent stands still: what several commands break is one break for it, and it does not
    /// mend the first before the second.
    pub fn meddle(&self, script: &str) -> Result<()> {
        self.unseen(|node| node.host.output("sh", &["-c", script]).map(drop))
    }

    /// Does `work` while the agent stands still: it sees the end of it alone.
    pub fn unseen(&self, work: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
        let pid = self.pid().to_string();
        self.host.output("kill", &["-STOP", &pid])?;
        let done = work(self);
        self.host.output("kill", &["-CONT", &pid])?;
        done
    }

    /// The agent's process id.
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// # Errors
    /// When the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.agent.check()
    }

    /// Waits until there is nothing left to change. What the agent itself thinks may come a moment later.
    pub fn settle(&mut self) -> Result<Duration> {
        self.wait("in sync", |node| node.pending().is_some_and(|pending| pending.is_empty()))
    }

    /// Waits until `condition` holds, and says how long that took.
    pub fn wait(&mut self, what: &str, condition: impl FnMut(&Node) -> bool) -> Result<Duration> {
        self.wait_for(DEADLINE, what, condition)
    }

    /// The same for what takes its time: at most `longest`.
    pub fn wait_for(
        &mut self,
        longest: Duration,
        what: &str,
        mut condition: impl FnMut(&Node) -> bool,
    ) -> Result<Duration> {
        let begin = clock::now();
        if clock::wait_until(begin + longest, LOOK, || condition(self)) {
            return Ok(clock::now() - begin);
        }
        self.check()?;
        bail!(
            "not {what} after {longest:?}\n`plan` says: {}\nthe log ends:\n{}",
            self.run(&["plan"])?.text,
            self.agent.last_lines(30).join("\n")
        )
    }

    /// What the agent's `plan` would change; `None` when it cannot tell.
    pub fn pending(&self) -> Option<Vec<String>> {
        let printed = self.run(&["plan"]).ok().filter(|printed| printed.well)?;
        let mut lines: Vec<String> = printed.text.lines().map(str::to_owned).collect();
        let last = lines.pop()?;
        last.starts_with(&format!("{} changes", lines.len())).then_some(lines)
    }

    /// What of the plan's nouns the agent finds in the kernel.
    pub fn observe(&self) -> Result<PlanObjects> {
        let printed = self.run(&["observe", "-o", "json"])?;
        serde_json::from_str(&printed.text).with_context(|| printed.text.clone())
    }

    /// Runs `pathsteer-agent` with `words`.
    pub fn run(&self, words: &[&str]) -> Result<Printed> {
        let output = self.command(words).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Printed { well: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// `pathsteer-agent` with `words`, to be run on the node.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.command(&self.program);
        command.args(words);
        command
    }

    /// Makes `plan` the node's last good plan.
    pub fn keep(&self, plan: &Plan, generation: i64) -> Result<()> {
        keep(&self.host, plan, generation)
    }

    /// Takes everything of ours off the node; its agent must not run.
    pub fn teardown(&self) -> Result<()> {
        let printed = self.run(&["teardown"])?;
        if !printed.well {
            bail!("teardown: {}", printed.text);
        }
        Ok(())
    }

    /// Process ids of its WireGuard workers.
    pub fn workers(&self) -> Vec<u32> {
        self.host.processes(&["pathsteer-agent", "wireguard", "--config"])
    }

    /// Lines that the agent has logged so far, over all its lives.
    pub fn log(&self) -> Vec<String> {
        self.agent.last_lines(usize::MAX)
    }

    /// How often the agent has applied changes, over all its lives.
    pub fn applies(&self) -> usize {
        self.said(": apply generation=")
    }

    /// How many lines of its log contain `words`.
    pub fn said(&self, words: &str) -> usize {
        self.log().iter().filter(|line| line.contains(words)).count()
    }

    /// Runs `words` with iproute2 on the node.
    pub fn ip(&self, words: &str) -> Result<String> {
        self.host.output("ip", &words.split(' ').collect::<Vec<_>>())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        for pid in self.host.processes(&["pathsteer-agent"]) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// A node whose agent does not run yet.
pub struct Prepared {
    pub host: Host,
    pub outside: Host,
    program: PathBuf,
}

impl Prepared {
    /// Gives the node a card called `name`, its far end up outside.
    pub fn plug(&self, name: &str) -> Result<()> {
        plug(&self.host, &self.outside, name)
    }

    /// Makes `plan` the node's last good plan.
    pub fn keep(&self, plan: &Plan, generation: i64) -> Result<()> {
        keep(&self.host, plan, generation)
    }

    /// Lets the agent look for its operator at `authority` (`HOST:PORT`).
    pub fn seek(&self, authority: &str) -> Result<()> {
        seek(&self.host, authority)
    }

    /// Starts the agent once `complete` has completed the node.
    pub fn begin(self, complete: impl FnOnce(&Prepared) -> Result<()>) -> Result<Node> {
        complete(&self)?;
        let logs = Path::new("/run/lab/logs");
        fs::create_dir_all(logs)?;
        let recipe = Recipe {
            name: self.host.name.to_owned(),
            program: self.program.clone().into(),
            arguments: vec!["run".to_owned()],
        };
        let agent = Daemon::start(&self.host, recipe, logs)?;
        let Prepared { host, outside, program } = self;
        Ok(Node { host, outside, program, agent, synced: 0 })
    }
}

fn keep(host: &Host, plan: &Plan, generation: i64) -> Result<()> {
    host.write(&format!("{STATE}/plan.json"), &plan.saved(generation))
}

fn seek(host: &Host, authority: &str) -> Result<()> {
    let config = host.read(CONFIG)?;
    let operator = config.lines().find(|line| line.starts_with("operator:")).context("there is a line")?;
    host.write(CONFIG, &config.replace(operator, &format!("operator: https://{authority}")))
}

/// Gives `host` a card called `name`, its far end up in `outside`.
pub fn plug(host: &Host, outside: &Host, name: &str) -> Result<()> {
    let node = host.name;
    outside.ip(&format!("link add far-{name} type veth peer name {name} netns {node}\nlink set far-{name} up"))
}
