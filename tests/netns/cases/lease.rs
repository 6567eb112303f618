//! DHCP, with a real server on the far end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pathsteer_crds::report::NodeReport;
use pathsteer_lab::daemon::{Daemon, Recipe};

use super::Case;
use crate::dump;
use crate::node::{CERTIFICATE, DEADLINE, LOOK, Node, OPERATOR, STATE, plug};
use crate::operator::Operator;
use crate::plans::{EDGE, example_plan};
use crate::server::{Server, dnsmasq};

pub const CASES: &[(&str, Case)] = &[
    ("a_lease_becomes_address_and_default_route_and_outlives_the_agent", lease),
    ("a_report_tells_the_leased_address_and_the_card_that_is_missing", report),
    ("a_lease_is_renewed_in_time_and_nothing_changes", renewed),
    ("a_refused_renewal_brings_another_address_before_the_old_one_goes", replaced),
    ("two_nodes_on_one_network_get_an_address_each", apart),
    ("a_cable_that_was_pulled_may_lead_to_another_network", pulled),
    ("a_card_plugged_in_anew_asks_for_a_lease_of_its_own", replugged),
];

/// The operator's too: it is behind this uplink.
const GATEWAY: &str = "192.0.2.1";

fn lease() -> Result<()> {
    let mut node = Node::start("edge9", &example_plan(EDGE)?)?;
    let (_server, leases) = serve(&node, "edge9", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    let card = dump::ip(&node.host, "psup1", "link show wan1")?;
    let mac = card[0]["address"].as_str().context("a card has a MAC")?;
    let leased = std::fs::read_to_string(leases)?;
    ensure!(
        leased.contains(mac) && leased.contains("192.0.2.50"),
        "the server's leases, {mac} not among them: {leased}"
    );

    let monitor = ["-n", "psup1", "monitor", "address", "route"].map(str::to_owned);
    let recipe = Recipe { name: "edge9-monitor".into(), program: "ip".into(), arguments: monitor.into() };
    let monitor = Daemon::start(&node.host, recipe, Path::new("/run/lab/logs"))?;
    node.kill()?;
    let before = node.said(" lease ");
    node.restart()?;
    node.wait("with its lease again", |node| node.said(" lease ") > before)?;
    node.first_turn()?;
    node.settle()?;
    // That it would have seen something gone is shown by taking something away.
    node.ip("-n psup1 route del default")?;
    let sees = |lines: Vec<String>| lines.iter().filter(|line| line.contains("Deleted")).cloned().collect::<Vec<_>>();
    node.wait("seen by the monitor", |_| !sees(monitor.last_lines(1_000)).is_empty())?;
    let gone = sees(monitor.last_lines(1_000));
    ensure!(gone.len() == 1 && gone[0].contains("default"), "went away for a moment: {gone:?}");
    node.settle()?;
    Ok(())
}

fn report() -> Result<()> {
    let plan = example_plan(EDGE)?;
    let mut node = Node::prepare("edge9o", EDGE)?.begin(|node| {
        plan.cards().iter().filter(|card| *card != "wan2").try_for_each(|card| node.plug(card))?;
        node.keep(&plan, 1)
    })?;
    let (_server, _) = serve(&node, "edge9o", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    let operator = operator(&node)?;

    let complete = |report: &NodeReport| !report.verified && report.uplinks[0].address.is_some();
    node.wait("reported", |_| operator.report().is_some_and(|report| complete(&report)))?;
    let report = operator.report().context("there was one")?;
    let fiber = &report.uplinks[0];
    ensure!(
        fiber.address.as_deref() == Some("192.0.2.50/24") && fiber.gateway.as_deref() == Some(GATEWAY),
        "{fiber:?}"
    );
    let [wrong] = &report.not_as_declared[..] else { bail!("one object is missing: {report:?}") };
    let reason = "is missing: link wan2: the node has no such interface: plug it in, or correct its name";
    ensure!(wrong.object == "link psup2/wan2" && wrong.reason == reason, "{wrong:?}");
    ensure!((report.node.as_str(), report.generation) == (EDGE, 1), "{report:?}");

    plug(&node.host, &node.outside, "wan2")?;
    node.wait("reported as in sync", |_| operator.report().is_some_and(|report| report.verified))?;
    node.ip("-n psvip rule del pref 7717")?;
    node.wait("reported as repaired", |_| operator.report().is_some_and(|report| report.drift_repaired == 1))?;
    node.ip("netns del psup1")?;
    let took = node.wait("let go", |node| {
        dump::ip(&node.outside, "", "link").is_ok_and(|links| !links.to_string().contains("far-wan1"))
    })?;
    ensure!(took.as_secs() < 10, "the session kept the namespace alive for {took:?}");
    println!("edge9o: with a session over it, a deleted namespace is let go after {took:?}");
    Ok(())
}

fn renewed() -> Result<()> {
    let mut node = Node::start("edge9n", &example_plan(EDGE)?)?;
    let (server, _) = serve(&node, "edge9n", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    let monitor = monitor(&node, "edge9n")?;
    let acknowledged = |server: &Daemon| count(server, "DHCPACK");
    let before = acknowledged(&server);
    let took = node.wait("renewed three times", |_| acknowledged(&server) >= before + 3)?;
    println!("edge9n: three renewals of a lease with T1 of 4 s took {took:?}");
    ensure!(took.as_secs() >= 7, "it does not wait for T1: {took:?}");
    ensure!(count(&server, "DHCPDISCOVER") <= 2, "it asks as if it had none: {:?}", server.last_lines(50));
    let seen = monitor.last_lines(1_000);
    let ours = |line: &&String| line.contains("Deleted") && !line.contains("203.0.113.199");
    let gone: Vec<_> = seen.iter().filter(ours).collect();
    ensure!(gone.is_empty(), "a renewal takes something away: {gone:?}");
    Ok(())
}

/// An operator behind wan1.
pub fn operator(node: &Node) -> Result<Operator> {
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    Operator::listen(&node.outside, OPERATOR, &node.host.read(CERTIFICATE)?, &key)
}

fn replaced() -> Result<()> {
    let mut node = Node::start("edge9r", &example_plan(EDGE)?)?;
    let (server, leases) = serve(&node, "edge9r", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    let monitor = monitor(&node, "edge9r")?;
    drop(server);
    std::fs::remove_file(leases)?;
    let (server, _) = serve(&node, "edge9r", "192.0.2.60", 2)?;
    let took = wait_for_lease(&mut node, "192.0.2.60")?;
    println!("edge9r: the new address is there after {took:?}");
    ensure!(count(&server, "DHCPNAK") > 0, "the server did not refuse: {:?}", server.last_lines(50));
    node.wait("seen by the monitor", |_| count(&monitor, "192.0.2.50") > 0)?;
    let seen = monitor.last_lines(1_000);
    let place = |what: &dyn Fn(&String) -> bool| seen.iter().position(what);
    let new = place(&|line| line.contains("192.0.2.60/24") && !line.contains("Deleted"));
    let old = place(&|line| line.contains("192.0.2.50/24") && line.contains("Deleted"));
    ensure!(new.is_some() && old.is_some() && new < old, "the new address at {new:?}, the old one gone at {old:?}");
    let default = place(&|line| line.contains("Deleted") && line.contains("default"));
    ensure!(default.is_none(), "for a moment there was no way out: {seen:?}");
    Ok(())
}

/// Servers tell clients apart by an identifier, which two nodes must not have in common.
fn apart() -> Result<()> {
    let mut node = Node::start("edge9t", &example_plan(EDGE)?)?;
    node.outside.ip("link add br0 type bridge
         link set far-wan1 master br0
         link set far-wan2 master br0
         address add 192.0.2.1/24 dev br0
         link set br0 up
         link add far-br0 type veth peer name on-br0
         link set on-br0 master br0
         link set on-br0 up
         link set far-br0 up")?;
    let range = "--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m";
    node.outside.ip("address del 192.0.2.1/24 dev br0\naddress add 192.0.2.1/24 dev far-br0")?;
    let _server = dnsmasq(&node.outside, "edge9t-dhcp".into(), "br0", &["--port=0", range])?;
    let address = |node: &Node, slot: u8| {
        let found = dump::ip(&node.host, &format!("psup{slot}"), &format!("-4 address show wan{slot}"));
        found.ok().and_then(|found| found[0]["addr_info"][0]["local"].as_str().map(str::to_owned))
    };
    node.wait("at addresses of both cards", |node| address(node, 1).is_some() && address(node, 2).is_some())?;
    let addresses = [address(&node, 1), address(&node, 2)];
    ensure!(addresses[0] != addresses[1], "two cards on one network share {addresses:?}");
    Ok(())
}

/// What becomes of addresses and routes in the first uplink's namespace.
fn monitor(node: &Node, name: &str) -> Result<Daemon> {
    let arguments = ["-n", "psup1", "monitor", "address", "route"].map(str::to_owned).into();
    let recipe = Recipe { name: format!("{name}-monitor"), program: "ip".into(), arguments };
    let monitor = Daemon::start(&node.host, recipe, Path::new("/run/lab/logs"))?;
    // That it listens is seen by what it hears.
    let deadline = pathsteer_lab::clock::now() + DEADLINE;
    let hears = pathsteer_lab::clock::wait_until(deadline, LOOK, || {
        let _ = node.ip("-n psup1 route replace blackhole 203.0.113.199/32 metric 77");
        let _ = node.ip("-n psup1 route del blackhole 203.0.113.199/32 metric 77");
        count(&monitor, "203.0.113.199") > 0
    });
    ensure!(hears, "the monitor does not hear anything");
    Ok(monitor)
}

/// How many lines of its log contain `word`.
fn count(daemon: &Daemon, word: &str) -> usize {
    daemon.last_lines(usize::MAX).iter().filter(|line| line.contains(word)).count()
}

fn pulled() -> Result<()> {
    let mut node = Node::start("edge9c", &example_plan(EDGE)?)?;
    let (server, _) = serve(&node, "edge9c", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    node.outside.output("ip", &["link", "set", "far-wan1", "down"])?;
    drop(server);
    node.wait("without carrier", |node| {
        dump::ip(&node.host, "psup1", "link show wan1").is_ok_and(|link| link.to_string().contains("NO-CARRIER"))
    })?;
    ensure!(
        node.ip("-n psup1 address show wan1")?.contains("192.0.2.50"),
        "a cable pulled for a moment costs the address"
    );
    node.outside.output("ip", &["link", "set", "far-wan1", "up"])?;
    let _server = serve(&node, "edge9c", "192.0.2.80", 2)?;
    let took = wait_for_lease(&mut node, "192.0.2.80")?;
    println!("edge9c: the other network's address is there after {took:?}");
    ensure!(took.as_secs() < 4, "it waited for a renewal: {took:?}");
    Ok(())
}

fn replugged() -> Result<()> {
    let mut node = Node::start("edge9p", &example_plan(EDGE)?)?;
    let (server, _) = serve(&node, "edge9p", "192.0.2.50", 1)?;
    wait_for_lease(&mut node, "192.0.2.50")?;
    drop(server);
    node.ip("-n psup1 link del wan1")?;
    plug(&node.host, &node.outside, "wan1")?;
    let (_server, _) = serve(&node, "edge9p", "192.0.2.70", 2)?;
    let took = wait_for_lease(&mut node, "192.0.2.70")?;
    println!("edge9p: the new card has its lease after {took:?}");
    Ok(())
}

/// A server on the far end of wan1 that lends `address` and nothing else, and its file of leases. Clients renew after
/// four seconds.
pub fn serve(node: &Node, name: &str, address: &str, life: u32) -> Result<(Daemon, PathBuf)> {
    let server = Server { card: "wan1", gateway: GATEWAY, lends: address, life };
    server.start(&node.outside, name, &["--port=0", "--dhcp-option=option:T1,4", "--dhcp-option=option:T2,6"])
}

/// Waits until wan1 has exactly `address`, and the default route.
pub fn wait_for_lease(node: &mut Node, address: &str) -> Result<std::time::Duration> {
    let address: Ipv4Addr = address.parse()?;
    node.wait(&format!("at {address}"), |node| {
        let has = dump::ip(&node.host, "psup1", "-4 address show wan1").unwrap_or_default();
        let route = dump::ip(&node.host, "psup1", "-4 route show default").unwrap_or_default();
        let all = has[0]["addr_info"].as_array().cloned().unwrap_or_default();
        all.len() == 1 && all[0]["local"] == address.to_string() && route[0]["gateway"] == GATEWAY
    })
}
