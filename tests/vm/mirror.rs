//! The whole product in an emulated machine: a site and its anchor, the kernel's own WireGuard, and an uplink that dies in
//! silence while copies are on, and once more while they are not. Judged by counts alone: such a machine keeps no time.
//! It may even stand still for seconds when its host is busy; then what was lost meanwhile proves nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::demo::declare;
use pathsteer_lab::emulator::Way;
use pathsteer_lab::fleet::{Fleet, Paths};
use pathsteer_lab::hiccup::{Meter, Stall};
use pathsteer_lab::host::Host;
use pathsteer_lab::netns;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{ANCHOR_HOST, CLIENT, EDGE, INTERNET, LAN, SERVER, UPLINKS, VAN};
use pathsteer_lab::progress::Progress;
use pathsteer_lab::traffic::udp::{Receiver, send};
use pathsteer_lab::traffic::{Account, Datagrams};

/// 50 a second each way: what an emulated processor carries with time to spare.
const PERIOD: Duration = Duration::from_millis(20);
/// 400 datagrams each way.
const DURATION: Duration = Duration::from_secs(8);
const FAULT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// From the order to send until the first packet.
const LEAD: Duration = Duration::from_secs(1);
/// Attempts while the machine spoils each one.
const ATTEMPTS: u64 = 3;
/// A machine that stands still for so long may lose what it has in hand; an emulated one is often late by less.
const STANDSTILL: Duration = Duration::from_millis(200);
/// A lost packet may have been anywhere on its way so long.
const FLIGHT: Duration = Duration::from_secs(1);
/// A port of the client and the server for each way and run.
const PORT: u16 = 40_000;

/// Plays it; what was counted is printed. To be called in a sandbox.
///
/// # Errors
/// When anything was lost or doubled with copies, nothing was lost without, or the tunnels are not the kernel's.
pub fn play(examples: &Path) -> Result<()> {
    let logs = Path::new("/run/logs");
    std::fs::create_dir_all(logs)?;
    let network = Network::build(&VAN, logs)?;
    let mut fleet = Fleet::start(&network, logs)?;
    let played = perform(&network, &mut fleet, examples);
    if played.is_err() {
        for daemon in fleet.daemons() {
            println!("the log of {} ends:\n{}", daemon.name(), daemon.last_lines(40).join("\n"));
        }
    }
    for node in [EDGE, ANCHOR_HOST] {
        let counters = fleet.agent_command(network.host(node), &["observe", "--counters", "-o", "json"])?;
        println!("{node} counted: {}", counters.split_whitespace().collect::<String>());
    }
    for (name, line) in network.links() {
        println!("{name}: up {:?}, down {:?}", line.count(Way::Up), line.count(Way::Down));
    }
    played
}

fn perform(network: &Network, fleet: &mut Fleet, examples: &Path) -> Result<()> {
    declare(fleet, examples, &Progress::start())?;
    ensure_kernel_tunnels(network)?;

    let fiber = UPLINKS[0].name;
    let copying = fleet.wait_for_paths("copying", |paths| paths.active == fiber && !paths.copies.is_empty())?;
    let doubles = |fleet: &Fleet, node: &str| Ok::<_, anyhow::Error>(fleet.counters(network.host(node))?.duplicate);
    let (mut before, mut after) = ([0; 2], [0; 2]);
    let mut whole = None;
    for attempt in 1..=ATTEMPTS {
        before = [doubles(fleet, ANCHOR_HOST)?, doubles(fleet, EDGE)?];
        let Run { accounts, spoilt } = run(network, fleet, &copying, attempt)?;
        after = [doubles(fleet, ANCHOR_HOST)?, doubles(fleet, EDGE)?];
        for (way, account) in Way::BOTH.into_iter().zip(&accounts) {
            tell("with copies", way, account);
            ensure!(account.duplicated == 0, "{}: {} packets were delivered twice", way.word(), account.duplicated);
        }
        if accounts.iter().all(|account| account.lost.is_empty()) {
            whole = Some(accounts);
            break;
        }
        let lost = accounts.each_ref().map(|account| (account.lost.first(), account.lost.last()));
        ensure!(spoilt, "packets were lost, the first and the last of them, up and down: {lost:?}");
        println!("vm: attempt {attempt} proves nothing: the machine stood still while packets were lost");
    }
    let accounts = whole.with_context(|| format!("{ATTEMPTS} attempts have proved nothing"))?;
    for (index, (way, account)) in Way::BOTH.into_iter().zip(&accounts).enumerate() {
        let dropped = after[index] - before[index];
        println!("vm: {}: {dropped} second copies were dropped at the far end", way.word());
        // All but three of eight seconds have two paths that work.
        ensure!(dropped >= account.sent / 2, "{}: only {dropped} second copies came", way.word());
    }

    fleet.cli(&["mode", "set", EDGE, "training"])?;
    let alone = fleet.wait_for_paths("not copying", |paths| paths.active == fiber && paths.copies.is_empty())?;
    let Run { accounts, .. } = run(network, fleet, &alone, ATTEMPTS + 1)?;
    for (way, account) in Way::BOTH.into_iter().zip(accounts) {
        tell("without copies", way, &account);
        ensure!(!account.lost.is_empty(), "{}: nothing was lost without copies: the fault was none", way.word());
        ensure!(account.duplicated == 0, "{}: {} packets were delivered twice", way.word(), account.duplicated);
    }
    Ok(())
}

fn tell(words: &str, way: Way, account: &Account) {
    let Account { sent, lost, duplicated, reordered, .. } = account;
    println!(
        "vm: {words}, {}: {sent} sent, {} lost, {duplicated} twice, {reordered} out of order",
        way.word(),
        lost.len()
    );
}

/// What became of the datagrams of one run.
struct Run {
    /// Up and down.
    accounts: [Account; 2],
    /// The machine stood still while each packet was under way that was lost.
    spoilt: bool,
}

/// Datagrams up and down of number `run`, while the line in use drops everything for a while.
fn run(network: &Network, fleet: &mut Fleet, paths: &Paths, run: u64) -> Result<Run> {
    let line = network.link(paths.active)?;
    let dropped = || Way::BOTH.map(|way| line.count(way).dropped());
    let before = dropped();
    let meter = Meter::start()?;
    let start = clock::now() + LEAD;
    let (client, server) = (network.host(LAN), network.host(INTERNET));
    let number = run as u16 * 2;
    let address = |ip: std::net::Ipv4Addr, number: u16| (ip, PORT + number).into();
    let (up, down) = (
        (address(CLIENT, number), address(SERVER, number)),
        (address(CLIENT, number + 1), address(SERVER, number + 1)),
    );
    let flow = |from: (&Host, _), to: (&Host, _)| {
        let receiver = Receiver::start(to.0, to.1, run)?;
        let sender = send(from.0, from.1, to.1, Datagrams::every(PERIOD, run), (start, start + DURATION))?;
        Ok::<_, anyhow::Error>((sender, receiver))
    };
    let flows = [flow((client, up.0), (server, up.1))?, flow((server, down.1), (client, down.0))?];
    clock::sleep_until(start + FAULT.0);
    Way::BOTH.into_iter().for_each(|way| line.set_blackhole(way, true));
    clock::sleep_until(start + FAULT.1);
    Way::BOTH.into_iter().for_each(|way| line.set_blackhole(way, false));
    let accounts = flows.map(|(sender, receiver)| {
        let sent_at = netns::join(sender)?;
        let (sent, last) = (sent_at.len() as u64, sent_at.last().copied().unwrap_or_default());
        let received = receiver.finish(sent, last)?;
        ensure!(received.socket_drops == 0, "the receiver's own socket dropped {} packets", received.socket_drops);
        Ok((received.accounting.close(sent), sent_at))
    });
    let stalls: Vec<Stall> = meter.finish()?.into_iter().filter(|stall| stall.length() >= STANDSTILL).collect();
    fleet.check()?;
    for ((way, before), after) in Way::BOTH.into_iter().zip(before).zip(dropped()) {
        ensure!(after > before, "{}: the line dropped nothing: the fault was none", way.word());
    }
    let [up, down] = accounts;
    let flows = [up?, down?];
    let lost_at = |(account, sent_at): &(Account, Vec<Duration>)| -> Vec<Duration> {
        account.lost.iter().filter_map(|number| sent_at.get(*number as usize).copied()).collect()
    };
    let excused = |at: Duration| stalls.iter().any(|stall| stall.overlaps(at, at + FLIGHT));
    let spoilt = flows.iter().flat_map(lost_at).all(excused);
    Ok(Run { accounts: flows.map(|(account, _)| account), spoilt })
}

/// A stock kernel has WireGuard: the agents must have taken it for every tunnel.
///
/// # Errors
/// When one is not the kernel's, or there is none.
pub fn ensure_kernel_tunnels(network: &Network) -> Result<()> {
    let edge = UPLINKS.iter().map(|uplink| (EDGE, format!("psup{}", uplink.slot)));
    for (node, netns) in edge.chain([(ANCHOR_HOST, "psan".to_owned())]) {
        let list =
            |words: &[&str]| network.host(node).output("ip", &[&["-n", &netns, "-o", "link", "show"], words].concat());
        let wireguard = list(&["type", "wireguard"])?;
        let tunnels = list(&[])?;
        let count = |text: &str| text.lines().filter(|line| line.contains(": psw")).count();
        match (count(&wireguard), count(&tunnels)) {
            (0, _) => bail!("{node} has no tunnel of the kernel's in {netns}: {tunnels}"),
            (kernel, all) if kernel < all => bail!("{node} has {} userspace tunnels in {netns}", all - kernel),
            (kernel, _) => println!("vm: {node} {netns}: {kernel} tunnels, all of them the kernel's own WireGuard"),
        }
    }
    Ok(())
}
