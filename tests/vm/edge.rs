//! A node of the lab that is a machine of its own: its cards are on the lab's wires, its files on a disk, and it loses
//! everything else with its power.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use pathsteer_lab::emulator::Tap;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::Network;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::job::Job;
use crate::kernel::Unpacked;
use crate::machine::Machine;
use crate::tools::Tools;

/// Bytes of its disk.
const DISK: u64 = 256 << 20;
/// Seconds that a command in it may take.
const COMMAND: u64 = 60;
/// What makes a node one of the fabric: its files, and what their folders are called on the disk.
const FILES: [(&str, &str, &str); 4] = [
    ("/etc/pathsteer", "agent.yaml", "etc"),
    ("/etc/pathsteer", "ca.crt", "etc"),
    ("/etc/pathsteer", "node.crt", "etc"),
    ("/var/lib/pathsteer", "node.key", "state"),
];

/// What becomes of the time that the agent has kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Keep,
    /// It is put away.
    Hide,
    /// It comes back as it was put away.
    Return,
}

/// The node. It is off at first.
pub struct Edge {
    tools: Tools,
    kernel: Unpacked,
    /// Its disk, its console, and what its emulator needs.
    folder: PathBuf,
    cards: Vec<(&'static str, Tap)>,
    machine: Option<Machine>,
    was_on: bool,
}

impl Edge {
    /// Puts a machine in the place of the node `name` of `network`, whose agent ends.
    ///
    /// # Errors
    /// When the node's cards or files are not to be had.
    pub fn replace(
        name: &str,
        network: &Network,
        fleet: &mut Fleet,
        (tools, kernel): (Tools, Unpacked),
        folder: PathBuf,
    ) -> Result<Edge> {
        let node = network.host(name);
        fleet.dismiss(name)?;
        fleet.agent_command(node, &["teardown"])?;
        fs::create_dir_all(&folder)?;
        let _ = fs::remove_dir_all(folder.join("seed"));
        for (from, name, to) in FILES {
            let to = folder.join("seed").join(to);
            fs::create_dir_all(&to)?;
            fs::write(to.join(name), node.read(&format!("{from}/{name}"))?)?;
            fs::set_permissions(to.join(name), Permissions::from_mode(0o600))?;
        }
        File::create(folder.join("disk"))?.set_len(DISK)?;
        // Where the cards are now there is nothing but cables on to the machine.
        node.sysctl(&[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")])?;
        let site = network.plan().site(name);
        let names = site.uplinks.iter().map(|uplink| uplink.card);
        let names = names.chain(site.segments.iter().map(|segment| segment.card));
        let cards = names.map(|card| Ok((card, cable(node, card)?))).collect::<Result<_>>()?;
        Ok(Edge { tools, kernel, folder, cards, machine: None, was_on: false })
    }

    /// Gives it power. Its clock, which no battery kept, is `behind` by so much; returns when its agent runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot(&mut self, behind: std::time::Duration, clock: Clock) -> Result<()> {
        let agent =
            std::env::current_exe()?.ancestors().nth(2).context("this is in no folder")?.join("pathsteer-agent");
        let mut cards = String::new();
        let mut board = Vec::new();
        let time = (OffsetDateTime::now_utc() - behind).replace_nanosecond(0)?.format(&Rfc3339)?;
        board.extend(["-rtc".to_owned(), format!("base={}", time.trim_end_matches('Z'))]);
        let disk = self.folder.join("disk");
        board.extend(["-drive".to_owned(), format!("if=none,id=disk,format=raw,file={}", disk.display())]);
        board.extend(["-device".to_owned(), "virtio-blk-pci,drive=disk".to_owned()]);
        for (index, (card, tap)) in self.cards.iter().enumerate() {
            let mac = format!("02:00:5e:30:00:{index:02x}");
            board.extend(["-netdev".to_owned(), format!("tap,id=cable{index},fd={}", tap.as_raw_fd())]);
            let device = format!("virtio-net-pci,romfile=,netdev=cable{index},mac={mac}");
            board.extend(["-device".to_owned(), device]);
            cards.push_str(&format!("{card}={mac} "));
            tap.set_carrier(true)?;
        }
        let program = std::env::current_exe()?;
        let machine = Machine::boot(&self.tools, &self.kernel, &program, &self.folder, &board)?;
        self.machine = Some(machine);
        let clock = format!("{clock:?}").to_lowercase();
        let first = if self.was_on { "0" } else { "1" };
        self.was_on = true;
        let seed = self.folder.join("seed").display().to_string();
        let agent = agent.display().to_string();
        let told = [("CARDS", &*cards), ("FIRST", first), ("SEED", &*seed), ("CLOCK", &*clock), ("AGENT", &*agent)];
        self.shell(include_str!("edge.sh"), &told).map(drop)
    }

    /// Takes its power away, from one instruction to the next.
    ///
    /// # Errors
    /// When its cards are gone.
    pub fn power_off(&mut self) -> Result<()> {
        self.machine = None;
        for (_, tap) in &self.cards {
            tap.set_carrier(false)?;
            // What lay in the cable when the power went.
            while tap.receive(&mut [0; 9_216]).is_some() {}
        }
        Ok(())
    }

    /// Kills its agent without a chance to clean up, and starts it again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn restart_agent(&mut self) -> Result<()> {
        let agent = "program=$(readlink /proc/$(cat /run/agent.pid)/exe)
            kill -9 $(cat /run/agent.pid)
            setsid \"$program\" run >/dev/ttyS0 2>&1 &
            echo $! >/run/agent.pid";
        self.shell(agent, &[]).map(drop)
    }

    /// What the machine's shell makes of `script`, with `variables`.
    ///
    /// # Errors
    /// When it fails: what it printed.
    pub fn shell(&mut self, script: &str, variables: &[(&str, &str)]) -> Result<String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let job = Job {
            program: "/bin/sh".into(),
            arguments: vec!["-ec".to_owned(), script.to_owned()],
            folder: "/".into(),
            environment: environment.collect(),
            deadline: COMMAND,
            stays: true,
        };
        let outcome = self.machine.as_mut().context("the machine is off")?.run(&job)?;
        ensure!(outcome.code == Some(0), "in the machine ({:?}): {}", outcome.code, outcome.output);
        Ok(outcome.output)
    }

    /// How many lines of its console, since it was last booted, contain `words`.
    pub fn said(&self, words: &str) -> usize {
        self.console().lines().filter(|line| line.contains(words)).count()
    }

    /// What it has said on its console since it was last booted.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A cable that leads on from `card` of `node`.
fn cable(node: &Host, card: &str) -> Result<Tap> {
    let (bridge, end) = (format!("{card}-on"), format!("{card}-end"));
    let tap = Tap::open(&node.net, &end)?;
    // The emulator inherits it.
    fcntl(&tap, FcntlArg::F_SETFD(FdFlag::empty()))?;
    node.ip(&format!(
        "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0
         link set {card} master {bridge} up
         link set {end} master {bridge} up
         link set {bridge} up"
    ))?;
    Ok(tap)
}
