//! A node's kernel as a person with a shell sees and changes it.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_lab::capture::PacketSocket;
use pathsteer_lab::host::Host;

/// Runs the words of `line` in `netns` of `node`; the empty name is the node's own.
pub fn shell(node: &Host, netns: &str, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [program, arguments @ ..] = &words[..] else { bail!("no command") };
    if netns.is_empty() {
        return node.output(program, arguments);
    }
    let enter = format!("--net=/run/netns/{netns}");
    node.output("nsenter", &[&[&*enter, "--", program], arguments].concat())
}

/// A socket that sees every frame of `interface` in `netns` of `node`.
pub fn packet_socket(node: &Host, netns: &str, interface: &str) -> Result<PacketSocket> {
    node.inside(|| {
        let path = format!("/run/netns/{netns}");
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        PacketSocket::open(interface)
    })
}

/// The WireGuard worker of `slot` on `node`.
pub fn worker(node: &Host, slot: u8) -> Result<u32> {
    let workers = node.processes(&["pathsteer-agent", "wireguard", &format!("slot{slot}.")]);
    let [worker] = workers[..] else { bail!("{} has {} workers for slot {slot}", node.name, workers.len()) };
    Ok(worker)
}

/// Ends the process `pid` without a chance to clean up.
pub fn kill_process(pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL).with_context(|| format!("killing process {pid}"))
}
