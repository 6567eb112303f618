//! What somebody takes away from the edge by hand, and how to see from outside when it is back: with the tools of
//! whoever does such things, not by what the agent says.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{table, tcx};
use crate::clock;
use crate::host::Host;

/// Something of the agent's. Names and numbers are those of ARCHITECTURE.md for slot 1, which is in use, slot 2, which
/// carries the copies, and anchor 1.
#[derive(Debug)]
pub struct Damage {
    pub what: &'static str,
    /// Every packet needs it, so that packets are lost until it is back. What is not so is covered by copies, or by a
    /// route for the case.
    pub vital: bool,
    deed: Deed,
}

#[derive(Debug)]
enum Deed {
    /// A command does it, others, one after another, show what was there; all run on the node. `{pins}` is where the agent
    /// keeps its pins.
    Command { harm: &'static str, show: &'static [&'static str] },
    /// The inet table of this name in `psvip` is deleted.
    Table { name: &'static str },
    /// The tcx link on an interface of `psvip` is detached.
    Program { link: &'static str },
    /// The peers of a slot are taken from its worker.
    Peers { slot: u8 },
}

/// What became of a damage. Times are the lab's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    pub what: &'static str,
    pub vital: bool,
    /// When it was still there.
    pub gone: Duration,
    /// When it had been seen again exactly as before, if that was so in time.
    pub back: Option<Duration>,
}

impl Repair {
    /// How long it took, with the time it takes to do the damage and to look.
    pub fn taken(&self) -> Option<Duration> {
        self.back.map(|back| back - self.gone)
    }
}

/// How long a repair is waited for: far longer than one that nobody is notified of takes.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks, most of which are processes.
const LOOK: Duration = Duration::from_millis(2);

const fn command(what: &'static str, vital: bool, harm: &'static str, show: &'static [&'static str]) -> Damage {
    Damage { what, vital, deed: Deed::Command { harm, show } }
}

pub const MARK_RULE: Damage =
    command("the mark rule", true, "ip -n psvip rule delete priority 7717", &["ip -n psvip rule show priority 7717"]);
pub const ROUTE: Damage = command(
    "the route of the path in use",
    false,
    "ip -n psvip route delete default table 7717 metric 10",
    &["ip -n psvip route show table 7717"],
);
pub const CLASS_TABLE: Damage =
    Damage { what: "the class table", vital: true, deed: Deed::Table { name: "pathsteer" } };
pub const SHIM_PROGRAM: Damage = Damage { what: "the shim program", vital: true, deed: Deed::Program { link: "ps1" } };
pub const PIN: Damage = command("the shim program's pin", false, "rm {pins}/psvip-ps1", &["find {pins}/psvip-ps1"]);
pub const RETURN_PROGRAM: Damage =
    Damage { what: "the program on the path in use", vital: false, deed: Deed::Program { link: "psu1" } };
pub const PEER: Damage = Damage { what: "the peer of the path in use", vital: false, deed: Deed::Peers { slot: 1 } };
pub const COPY_VETH: Damage = command(
    "the copy path's veth",
    false,
    "ip -n psvip link delete psu2",
    &["ip -n psvip route show table all dev psu2", "nsenter --net=/run/netns/psvip nft -s list table ip pathsteer"],
);
pub const CARD_DOWN: Damage = command(
    "the network card of the uplink in use",
    false,
    "ip -n psup1 link set wan1 down",
    &["ip -n psup1 -4 route show table main"],
);
pub const VETH_DOWN: Damage = command(
    "the veth of the uplink in use",
    false,
    "ip -n psvip link set psu1 down",
    &["ip -n psvip route show table all dev psu1"],
);

impl Damage {
    /// Does it, and waits for it to be undone.
    ///
    /// # Errors
    /// When it cannot be done, or was not there to begin with.
    pub fn strike(&self, node: &Host) -> Result<Repair> {
        let before = self.show(node).context("it was not there before")?;
        let gone = clock::now();
        self.harm(node)?;
        let found = self.found(node, gone + PATIENCE)?;
        let mut back = None;
        clock::wait_until(gone + PATIENCE, LOOK, || {
            let same = self.show(node).is_ok_and(|now| now == before);
            back = same.then(|| found.unwrap_or_else(clock::now));
            same
        });
        Ok(Repair { what: self.what, vital: self.vital, gone, back })
    }

    /// When it was found again, where that can be told sooner than what it looks like: a table comes with all that it holds.
    fn found(&self, node: &Host, deadline: Duration) -> Result<Option<Duration>> {
        let Deed::Table { name } = self.deed else { return Ok(None) };
        node.namespace("psvip")?.run(|| {
            clock::wait_until(deadline, LOOK, || table::exists(name).unwrap_or(false));
            Ok(Some(clock::now()))
        })
    }

    /// Does it. What is gone is gone when this returns.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn harm(&self, node: &Host) -> Result<()> {
        match self.deed {
            Deed::Command { harm, .. } => run(node, harm).map(drop),
            Deed::Table { name } => node.namespace("psvip")?.run(|| Ok(table::delete(name)?)),
            Deed::Program { link } => {
                let pin = format!("{}/psvip-{link}", pins(node)?);
                node.inside(|| Ok(tcx::detach(&pin)?))
            }
            Deed::Peers { slot } => take_peers(node, slot),
        }
        .with_context(|| format!("taking away {}", self.what))
    }

    fn show(&self, node: &Host) -> Result<Vec<String>> {
        match self.deed {
            Deed::Command { show, .. } => {
                let shown: Vec<String> = show.iter().map(|line| run(node, line)).collect::<Result<_>>()?;
                Ok(lines(&shown.concat()))
            }
            Deed::Table { name } => {
                let list = format!("nsenter --net=/run/netns/psvip nft -s list table inet {name}");
                Ok(lines(&run(node, &list)?))
            }
            Deed::Program { link } => {
                let programs = node.namespace("psvip")?.run(|| Ok(tcx::programs(link)?))?;
                ensure!(programs > 0, "no program runs on {link}");
                Ok(vec![programs.to_string()])
            }
            Deed::Peers { slot } => peers(node, slot),
        }
    }
}

fn run(node: &Host, line: &str) -> Result<String> {
    let line = line.replace("{pins}", &pins(node)?);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [program, arguments @ ..] = &words[..] else { bail!("no command") };
    node.output(program, arguments)
}

/// The folder is named after the layout of the maps.
fn pins(node: &Host) -> Result<String> {
    node.inside(|| {
        let mut layouts = std::fs::read_dir("/sys/fs/bpf/pathsteer")?;
        let layout = layouts.next().context("no programs are pinned")??;
        Ok(layout.path().join("links").to_string_lossy().into_owned())
    })
}

/// What is there, line by line. Interfaces come back with other numbers, chains and elements of maps in another order.
fn lines(text: &str) -> Vec<String> {
    let bare = |word: &'_ str| word.split("@if").next().unwrap_or(word).trim_end_matches(',').to_owned();
    let sorted = |line: &str| {
        let mut words: Vec<String> = line.split_whitespace().map(bare).collect();
        words.sort_unstable();
        words.join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(sorted).filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// Tells the worker of `slot` that it has no peers.
fn take_peers(node: &Host, slot: u8) -> Result<()> {
    let text = node.read(&format!("/run/pathsteer/wireguard/slot{slot}.json"))?;
    let mut config: Value = serde_json::from_str(&text)?;
    for device in config["devices"].as_array_mut().context("the worker has no devices")? {
        device["peers"] = json!([]);
    }
    ask(node, slot, &json!({"op": "apply", "config": config})).map(drop)
}

/// What the worker of `slot` lets whom send.
fn peers(node: &Host, slot: u8) -> Result<Vec<String>> {
    let answer = ask(node, slot, &json!({"op": "status"}))?;
    let devices = answer["status"]["devices"].as_array().context("the worker has no devices")?;
    let peers = devices.iter().flat_map(|device| device["peers"].as_array().into_iter().flatten());
    let peers: Vec<String> = peers.map(|peer| format!("{} {}", peer["publicKey"], peer["allowedIps"])).collect();
    ensure!(!peers.is_empty(), "no peers");
    Ok(peers)
}

fn ask(node: &Host, slot: u8, request: &Value) -> Result<Value> {
    node.inside(|| {
        let socket = format!("/run/pathsteer/wireguard/slot{slot}.sock");
        let mut worker = UnixStream::connect(&socket).with_context(|| format!("speaking to {socket}"))?;
        writeln!(worker, "{request}")?;
        let mut answer = String::new();
        BufReader::new(worker).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_with_another_number_or_in_another_order_is_the_same() {
        let before = "elements = { 1.2.3.4, 5.6.7.8 }\n\ndefault dev psu2@if8";
        assert_eq!(lines(before), lines("default dev psu2@if4\nelements = { 5.6.7.8, 1.2.3.4 }"));
        assert_ne!(lines(before), lines("default dev psu2@if8\nelements = { 1.2.3.4 }"));
    }
}
