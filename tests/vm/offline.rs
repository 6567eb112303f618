//! A machine without a clock of its own, started again with yesterday's time and nobody in reach who knows a better one: in
//! an emulated machine, whose clock may be turned. Once more without the time that the agent has kept, so that the fault is
//! known to be one. The whole machine has one clock, so the anchor's goes back with the edge's; an anchor that answers does
//! not look at it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use pathsteer_lab::clock;
use pathsteer_lab::demo::declare;
use pathsteer_lab::emulator::Way;
use pathsteer_lab::fleet::Fleet;
use pathsteer_lab::host::Host;
use pathsteer_lab::netns;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{CLIENT, EDGE, INTERNET, LAN, SERVER, UPLINKS, VAN};
use pathsteer_lab::network::provider::WAN_SIDE;
use pathsteer_lab::progress::Progress;
use pathsteer_lab::traffic::Datagrams;
use pathsteer_lab::traffic::udp::{Receiver, send};

use crate::{guest, mirror};

const DAY: Duration = Duration::from_secs(86_400);
/// Certificates hold from a day before they are made. Made so long ago, they say nothing about what time it is.
const CERTIFIED: Duration = Duration::from_secs(3 * 86_400);
/// Where the agent keeps the time.
const KEPT: &str = "/var/lib/pathsteer/time.json";
/// The first byte of a handshake's first message.
const INITIATES: u8 = 1;
/// Bytes of a handshake's first message (WireGuard's protocol, 5.4.2). An idle tunnel sends nothing else until it has an
/// answer.
const INITIATION: u64 = 148;
/// That many are sent by every tunnel before it is believed that none is answered.
const INITIATIONS: u64 = 3;
/// 50 a second, 100 in all.
const PERIOD: Duration = Duration::from_millis(20);
const DURATION: Duration = Duration::from_secs(2);
/// A tunnel begins again every five seconds.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
const PORT: u16 = 41_000;

/// Plays it; what was seen is printed. To be called in a sandbox.
///
/// # Errors
/// When tunnels do not come up with the time kept, do without it, or this is no machine of its own.
pub fn play(examples: &Path) -> Result<()> {
    ensure!(guest::port().is_ok(), "this turns the clock, which only an emulated machine has for itself");
    let logs = Path::new("/run/logs");
    std::fs::create_dir_all(logs)?;
    let network = Network::build(&VAN, logs)?;
    turn(-(CERTIFIED.as_secs() as i64))?;
    let fleet = Fleet::start(&network, logs);
    turn(CERTIFIED.as_secs() as i64)?;
    let right = (wall()?, clock::now());
    let mut fleet = fleet?;
    let played = perform(&network, &mut fleet, examples);
    // What comes after this on the same machine finds the time it expects.
    set(right.0 + (clock::now() - right.1))?;
    if played.is_err() {
        for daemon in fleet.daemons() {
            println!("the log of {} ends:\n{}", daemon.name(), daemon.last_lines(40).join("\n"));
        }
    }
    played
}

fn perform(network: &Network, fleet: &mut Fleet, examples: &Path) -> Result<()> {
    // They know the present from now on.
    fleet.kill_agents()?;
    fleet.start_agents()?;
    declare(fleet, examples, &Progress::start())?;
    mirror::ensure_kernel_tunnels(network)?;
    fleet.wait_for_paths("copying", |paths| paths.active == UPLINKS[0].name && !paths.copies.is_empty())?;
    let before = datagrams(network, 1)?;
    println!("vm: before: {before:?} of 100 datagrams came up and down");
    ensure!(before.iter().all(|came| *came > 50), "there is no traffic to begin with");
    let edge = network.host(EDGE);
    let used = handshakes(edge)?.into_iter().map(|tunnel| tunnel.last).max().context("the edge has no tunnels")?;

    // A reboot takes longer than address translations are remembered: nobody outside can begin, only the edge itself.
    for uplink in UPLINKS {
        network.host(uplink.router).nft(&format!(
            "table ip reboot {{
                chain forward {{
                    type filter hook forward priority -10
                    iifname {WAN_SIDE} meta l4proto udp @th,64,8 {INITIATES} counter drop
                }}
            }}"
        ))?;
    }
    // The machine goes off, and with it whoever knows better.
    fleet.kill_operator()?;
    down(fleet, edge)?;
    let kept = edge.read(KEPT)?;
    turn(-(DAY.as_secs() as i64))?;
    edge.inside(|| Ok(std::fs::remove_file(KEPT)?))?;
    fleet.agent(EDGE)?.restart()?;
    let mut tunnels = Vec::new();
    clock::wait_for("every tunnel has tried in vain", DEADLINE, LOOK, || {
        tunnels = handshakes(edge)?;
        Ok(tunnels.len() == UPLINKS.len() && tunnels.iter().all(|tunnel| tunnel.sent >= INITIATIONS * INITIATION))
    })?;
    ensure!(wall()?.as_secs() < used, "the time is not yesterday's: {used} was used");
    let answered: Vec<_> = tunnels.iter().filter(|tunnel| tunnel.last > 0).collect();
    ensure!(answered.is_empty(), "handshakes dated yesterday were answered, so nothing is shown: {answered:?}");
    let [up, _] = datagrams(network, 2)?;
    println!("vm: yesterday's time: of {} tunnels none has a handshake, {up} of 100 datagrams came up", tunnels.len());
    ensure!(up == 0, "datagrams came without a tunnel");

    down(fleet, edge)?;
    edge.write(KEPT, &kept)?;
    let began = clock::now();
    fleet.agent(EDGE)?.restart()?;
    clock::wait_for("every tunnel has a handshake", DEADLINE, LOOK, || {
        tunnels = handshakes(edge)?;
        Ok(tunnels.len() == UPLINKS.len() && tunnels.iter().all(|tunnel| tunnel.last > used))
    })?;
    let took = clock::now() - began;
    let after = datagrams(network, 3)?;
    println!(
        "vm: with the time kept: every tunnel had a handshake {:.1} s after the agent's start, {after:?} of 100 datagrams came up and down",
        took.as_secs_f64()
    );
    ensure!(after.iter().all(|came| *came > 50), "the tunnels carry nothing");
    // It may have other things to find fault with.
    let agent = std::env::current_exe()?.ancestors().nth(2).context("this is in no folder")?.join("pathsteer-agent");
    let examined = edge.output("sh", &["-c", "\"$0\" doctor || true", &agent.to_string_lossy()])?;
    ensure!(examined.contains("it lay behind and was stepped forward from "), "doctor does not tell: {examined}");
    let said = fleet.agent(EDGE)?.last_lines(usize::MAX);
    let steps = said.iter().filter(|line| line.contains("the clock lay behind and was stepped forward")).count();
    ensure!(steps == 1, "the log tells of {steps} steps of the clock");
    Ok(())
}

/// The edge's agent ends without a word, and nothing of ours stays in its kernel, as after a reboot.
fn down(fleet: &mut Fleet, edge: &Host) -> Result<()> {
    fleet.agent(EDGE)?.kill()?;
    fleet.agent_command(edge, &["teardown"])?;
    let left = edge.output("ip", &["netns", "list"])?;
    ensure!(!left.contains("ps"), "after a teardown there still is {left}");
    Ok(())
}

/// One tunnel of the edge.
#[derive(Debug)]
struct Tunnel {
    /// Seconds since 1970 of its last handshake, 0 for none.
    last: u64,
    /// Bytes.
    sent: u64,
}

fn handshakes(edge: &Host) -> Result<Vec<Tunnel>> {
    let mut tunnels = Vec::new();
    for uplink in UPLINKS {
        let netns = format!("psup{}", uplink.slot);
        // `<private> <public> <port> <fwmark>`, then for each peer `<public> <preshared> <endpoint> <allowed> <handshake>
        // <received> <sent> <keepalive>`, each after the interface's name
        let Ok(dump) = edge.output("ip", &["netns", "exec", &netns, "wg", "show", "all", "dump"]) else { continue };
        for words in dump.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|words| words.len() == 9) {
            tunnels.push(Tunnel { last: words[5].parse()?, sent: words[7].parse()? });
        }
    }
    Ok(tunnels)
}

/// How many of 100 datagrams come, up and then down.
fn datagrams(network: &Network, run: u64) -> Result<[usize; 2]> {
    let (client, server) = (network.host(LAN), network.host(INTERNET));
    let mut came = [0; 2];
    for (way, came) in Way::BOTH.into_iter().zip(&mut came) {
        let port = PORT + 2 * run as u16 + u16::from(way == Way::Down);
        let ends = [(client, (CLIENT, port).into()), (server, (SERVER, port).into())];
        let [from, to] = if way == Way::Up { ends } else { [ends[1], ends[0]] };
        let receiver = Receiver::start(to.0, to.1, run)?;
        let start = clock::now();
        let sender = send(from.0, from.1, to.1, Datagrams::every(PERIOD, run), (start, start + DURATION))?;
        let sent = netns::join(sender)?;
        let received = receiver.finish(sent.len() as u64, sent.last().copied().unwrap_or_default())?;
        let account = received.accounting.close(sent.len() as u64);
        *came = sent.len() - account.lost.len();
    }
    Ok(came)
}

fn wall() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME)?.into())
}

fn set(time: Duration) -> Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(time)).context("setting the machine's clock")
}

/// Turns the machine's clock by so many seconds.
fn turn(seconds: i64) -> Result<()> {
    let now = wall()?;
    let by = Duration::from_secs(seconds.unsigned_abs());
    set(if seconds < 0 { now - by } else { now + by })
}
