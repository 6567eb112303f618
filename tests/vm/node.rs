//! The machine itself as a node: cards come and go in its own namespace, as the kernel has it, with nothing around the agent.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use crate::dump;
use crate::guest;
use crate::plans::{EDGE, declare, example, plan};

const LOGS: &str = "/run/logs";
const STATE: &str = "/var/lib/pathsteer";
const CONFIG: &str = "/etc/pathsteer/agent.yaml";
/// Nobody listens there: the node is on its own.
const OPERATOR: &str = "203.0.113.1";
/// Ten times as long on an emulated machine.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// The machine, with a running agent.
pub struct Node {
    pub host: Host,
    /// Where the far ends of its other cards are.
    _outside: Host,
    /// Cards that were made up.
    made_up: Vec<String>,
    program: PathBuf,
    agent: Daemon,
}

impl Node {
    /// Starts the agent with the example's plan, in which `uplinks` (YAML) stand in the place of those of the same name.
    /// Cards that the plan names and the machine does not have are made up.
    pub fn start(uplinks: &str) -> Result<Node> {
        ensure!(guest::port().is_ok(), "this takes the machine's own cards, which only an emulated one can spare");
        let program =
            std::env::current_exe()?.ancestors().nth(2).context("this is in no folder")?.join("pathsteer-agent");
        fs::create_dir_all(LOGS)?;
        let (host, outside) = (Host::own("machine")?, Host::new("outside")?);
        let mut inventory = example()?;
        declare(&mut inventory, uplinks)?;
        let plan = plan(&mut inventory, EDGE)?;
        let there = links(&host, "")?;
        let missing = |card: &String| !card.starts_with("ps") && !there.contains(card);
        let made_up: Vec<String> = plan.cards().into_iter().filter(missing).collect();
        for card in &made_up {
            let peer = format!("/proc/{}/fd/{}", std::process::id(), outside.net.file().as_raw_fd());
            host.ip(&format!("link add {card} type veth peer name far-{card} netns {peer}"))?;
            outside.ip(&format!("link set far-{card} up"))?;
        }
        let certified = rcgen::generate_simple_self_signed([EDGE.to_owned()])?;
        for (path, text) in [
            (format!("{STATE}/node.key"), certified.signing_key.serialize_pem()),
            ("/etc/pathsteer/node.crt".to_owned(), certified.cert.pem()),
            (format!("{STATE}/plan.json"), plan.saved(1)),
            (
                CONFIG.to_owned(),
                format!(
                    "node: {EDGE}\noperator: https://{OPERATOR}:7443\nca: /etc/pathsteer/node.crt\n\
                     certificate: /etc/pathsteer/node.crt\nsegmentation: always\n"
                ),
            ),
        ] {
            fs::create_dir_all(Path::new(&path).parent().context("a path without a folder")?)?;
            fs::write(path, text)?;
        }
        let arguments = vec!["run".to_owned()];
        let recipe = Recipe { name: "agent".to_owned(), program: program.clone().into(), arguments };
        let agent = Daemon::start(&host, recipe, Path::new(LOGS))?;
        Ok(Node { host, _outside: outside, made_up, program, agent })
    }

    /// Waits until there is nothing left to change.
    pub fn settle(&mut self) -> Result<Duration> {
        self.wait("in sync", |node| Ok(node.host.output(&node.program, &["plan"])?.lines().last() == Some("0 changes")))
    }

    /// Waits until `condition` holds, and says how long that took.
    pub fn wait(&mut self, what: &str, mut condition: impl FnMut(&Node) -> Result<bool>) -> Result<Duration> {
        let begin = clock::now();
        match clock::wait_for(what, DEADLINE, LOOK, || condition(self)) {
            Ok(()) => Ok(clock::now() - begin),
            Err(error) => {
                self.agent.check()?;
                let pending = self.host.output(&self.program, &["plan"]).unwrap_or_default();
                bail!("{error:#}\n`plan` says: {pending}\nthe log ends:\n{}", self.agent.last_lines(30).join("\n"))
            }
        }
    }

    /// Waits until the uplink in `slot` has a lease of `isp` and the default route with it.
    pub fn wait_for_lease(&mut self, slot: u8, isp: &Isp) -> Result<Duration> {
        let netns = format!("psup{slot}");
        let (network, gateway) = (format!("192.0.{slot}."), isp.gateway());
        self.wait(&format!("the uplink in slot {slot} has its lease"), |node| {
            let addresses = dump::ip(&node.host, &netns, "-4 address")?.to_string();
            let route = dump::ip(&node.host, &netns, "-4 route show default")?;
            Ok(addresses.contains(&format!("\"{network}")) && route[0]["gateway"] == gateway)
        })
    }

    /// How many lines of the agent's log contain `words`.
    pub fn said(&self, words: &str) -> usize {
        self.agent.last_lines(usize::MAX).iter().filter(|line| line.contains(words)).count()
    }

    /// Ends the agent, gives the cards back and forgets everything.
    pub fn end(mut self) -> Result<()> {
        self.agent.kill()?;
        self.host.output(&self.program, &["teardown"])?;
        let left = dump::namespaces(&self.host)?;
        ensure!(left.is_empty(), "a teardown leaves {left:?}");
        for card in &self.made_up {
            self.host.ip(&format!("link del {card}"))?;
        }
        for folder in [STATE, "/etc/pathsteer", "/run/pathsteer"] {
            fs::remove_dir_all(folder)?;
        }
        Ok(())
    }
}

/// Names of the links in `netns` of `host`.
pub fn links(host: &Host, netns: &str) -> Result<Vec<String>> {
    let listed = dump::ip(host, netns, "link")?;
    let listed = listed.as_array().into_iter().flatten();
    Ok(listed.filter_map(|link| link["ifname"].as_str()).map(str::to_owned).collect())
}

/// Somebody at the far end of an uplink who leases addresses of 192.0.<slot>.0/24.
pub struct Isp {
    pub host: Host,
    /// Lives there, so that tools can name the namespace.
    holder: Daemon,
    slot: u8,
    server: Option<Daemon>,
}

impl Isp {
    pub fn new(name: &'static str, slot: u8) -> Result<Isp> {
        fs::create_dir_all(LOGS)?;
        let host = Host::new(name)?;
        let recipe =
            Recipe { name: format!("{name}-holder"), program: "sleep".into(), arguments: vec!["infinity".to_owned()] };
        let holder = Daemon::start(&host, recipe, Path::new(LOGS))?;
        Ok(Isp { host, holder, slot, server: None })
    }

    /// A process in its namespace.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    pub fn gateway(&self) -> String {
        format!("192.0.{}.1", self.slot)
    }

    /// Leases addresses on `card`, which is in its namespace.
    pub fn serve(&mut self, card: &str) -> Result<()> {
        let (gateway, slot) = (self.gateway(), self.slot);
        self.host.ip(&format!("address add {gateway}/24 dev {card}\nlink set {card} up"))?;
        let leases = format!("{LOGS}/{}.leases", self.host.name);
        let arguments = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--log-facility=-",
            "--port=0",
            &format!("--interface={card}"),
            "--bind-interfaces",
            "--dhcp-authoritative",
            "--no-ping",
            &format!("--dhcp-range=192.0.{slot}.50,192.0.{slot}.99,255.255.255.0,1h"),
            &format!("--dhcp-option=option:router,{gateway}"),
            &format!("--dhcp-leasefile={leases}"),
        ];
        let recipe = Recipe {
            name: format!("{}-dhcp", self.host.name),
            program: "dnsmasq".into(),
            arguments: arguments.map(str::to_owned).into(),
        };
        self.server = Some(Daemon::start(&self.host, recipe, Path::new(LOGS))?);
        Ok(())
    }
}
