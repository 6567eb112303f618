//! Leases that nobody renews, and leases that lead nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::report::UplinkReport;
use pathsteer_lab::capture::{Capture, FiveTuple};
use pathsteer_lab::clock;
use pathsteer_lab::daemon::Daemon;

use super::Case;
use crate::node::{CERTIFICATE, Node, STATE};
use crate::operator::Operator;
use crate::plans::{EDGE, example_plan};
use crate::server::Server;

pub const CASES: &[(&str, Case)] = &[
    ("a_lease_that_nobody_renews_holds_to_its_end_and_is_lent_again_when_a_server_returns", given_up),
    ("a_lease_that_ends_while_the_agent_is_dead_is_given_up_at_its_next_start", ended_unseen),
    ("a_captive_network_breaks_nothing_and_its_portal_is_reported", captive),
];

/// What a server lends for, and how much later than it says the last of it may be gone, on a loaded machine.
const LEASE: Duration = Duration::from_secs(120);
const SLACK: Duration = Duration::from_secs(60);
/// Between two renewals: a server that ends may have lent so long before.
const RENEWALS: Duration = Duration::from_secs(10);

const FIRST: Server<'_> = Server { card: "wan1", gateway: "192.0.2.1", lends: "192.0.2.50", life: 1 };
const SECOND: Server<'_> = Server { card: "wan2", gateway: "198.51.100.1", lends: "198.51.100.50", life: 1 };

/// A node that has leases on wan1 and wan2, and its operator, which is behind wan2 by name.
fn node(name: &'static str, first: &[&str]) -> Result<(Node, Operator, [Daemon; 2])> {
    let node = Node::prepare(name, EDGE)?;
    let plan = example_plan(EDGE)?;
    plan.cards().iter().try_for_each(|card| node.plug(card))?;
    node.keep(&plan, 1)?;
    node.seek(&format!("{EDGE}:7443"))?;
    // nobody, so that nothing is found by chance
    node.host.write("/etc/resolv.conf", "nameserver 203.0.113.54\noptions timeout:1 attempts:1\n")?;
    let timers = ["--port=0", "--dhcp-option=option:T1,4", "--dhcp-option=option:T2,6"];
    let (first, _) = FIRST.start(&node.outside, name, &[&timers, first].concat())?;
    let record = format!("--host-record={EDGE},{}", SECOND.gateway);
    let (second, _) = SECOND.start(&node.outside, name, &[&record])?;
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    let address = SocketAddr::new(SECOND.gateway.parse()?, 7_443);
    let operator = Operator::listen(&node.outside, address, &node.host.read(CERTIFICATE)?, &key)?;
    let mut node = node.begin(|_| Ok(()))?;
    node.wait("with its lease", has_address)?;
    node.wait("in session", |_| operator.report().is_some())?;
    Ok((node, operator, [first, second]))
}

fn has_address(node: &Node) -> bool {
    node.ip("-n psup1 -4 address show wan1").is_ok_and(|text| text.contains("192.0.2.50/24"))
}

fn fiber(operator: &Operator) -> Result<UplinkReport> {
    operator.report().and_then(|report| report.uplinks.into_iter().next()).context("nothing is reported")
}

fn given_up() -> Result<()> {
    let (mut node, operator, [server, _second]) = node("edge24", &[])?;
    drop(server);
    let begin = clock::now();
    node.wait_for(LEASE + SLACK, "without address", |node| !has_address(node))?;
    let held = clock::now() - begin;
    println!("edge24: without a server a lease of {LEASE:?} was held for {held:?} more");
    ensure!(held >= LEASE - RENEWALS, "it was given up after {held:?}");
    let route = node.ip("-n psup1 -4 route show default")?;
    ensure!(route.is_empty(), "the way out is still there: {route}");
    node.settle()?;
    let expected = "the lease of 192.0.2.50 has expired: no DHCP server renewed it";
    node.wait("reported", |_| {
        fiber(&operator).is_ok_and(|fiber| fiber.trouble.as_deref() == Some(expected) && fiber.address.is_none())
    })?;

    let (_server, _) = FIRST.start(&node.outside, "edge24", &["--port=0"])?;
    let took = node.wait("lent again", has_address)?;
    println!("edge24: lent again {took:?} after the server came back");
    node.wait("reported as well", |_| {
        fiber(&operator).is_ok_and(|fiber| fiber.trouble.is_none() && fiber.address.is_some())
    })?;
    ensure!(node.said(": session underlay=\"psup1\"") == 0, "the operator is behind the other: {:?}", node.log());
    Ok(())
}

fn ended_unseen() -> Result<()> {
    let (mut node, operator, [server, _second]) = node("edge24r", &[])?;
    drop(server);
    let begin = clock::now();
    // a restart alone changes nothing
    node.kill()?;
    node.restart()?;
    node.first_turn()?;
    node.settle()?;
    ensure!(has_address(&node), "a restart costs the address");
    node.kill()?;
    clock::sleep_until(begin + LEASE + Duration::from_secs(2));
    ensure!(has_address(&node), "who has taken it away?");
    let restarted = clock::now();
    node.restart()?;
    node.wait("without address", |node| !has_address(node))?;
    let took = clock::now() - restarted;
    println!("edge24r: a lease that had ended was given up {took:?} after the agent's start");
    node.wait("reported", |_| {
        fiber(&operator).is_ok_and(|fiber| fiber.trouble.is_some_and(|why| why.contains("192.0.2.50 has expired")))
    })?;
    Ok(())
}

/// The network lends an address, names its portal, and lets nothing through.
fn captive() -> Result<()> {
    const PORTAL: &str = "https://portal.example/api";
    let option = format!("--dhcp-option-force=114,{PORTAL}");
    let (mut node, operator, [server, _second]) = node("edge24c", &[&option])?;
    node.wait("reported", |_| {
        fiber(&operator).is_ok_and(|fiber| fiber.captive_portal.as_deref() == Some(PORTAL) && fiber.trouble.is_none())
    })?;
    node.settle()?;
    ensure!(node.said(": session underlay=\"psup2\"") > 0, "the operator is behind the other: {:?}", node.log());
    let report = operator.report().context("there was one")?;
    ensure!(report.verified, "a captive network is no reason not to be in sync: {:?}", report.not_as_declared);
    ensure!(
        report.tunnels.iter().all(|tunnel| tunnel.handshake_age_seconds.is_none()),
        "a tunnel is up: {:?}",
        report.tunnels
    );

    // What survives is not let out in clear for want of a tunnel, whatever the portal would answer.
    let capture = Capture::start(&node.outside, "far-wan1", |_: &FiveTuple| true)?;
    let server_beyond = "203.0.113.200";
    let sends = format!("for port in 5060 443 53; do echo x >/dev/udp/{server_beyond}/$port; done");
    node.host.output("ip", &["netns", "exec", "psvip", "bash", "-c", &sends])?;
    let renewals = |server: &Daemon| server.last_lines(usize::MAX).iter().filter(|l| l.contains("DHCPACK")).count();
    let before = renewals(&server);
    node.wait("seen by the capture, with what else it sends", |_| renewals(&server) >= before + 2)?;
    let flows = capture.finish()?;
    for tuple in flows.sent.keys().chain(flows.received.keys()) {
        ensure!(![tuple.source.0, tuple.destination.0].contains(&server_beyond.parse()?), "in clear: {tuple:?}");
    }
    ensure!(!flows.received.is_empty(), "the capture has seen nothing at all");
    Ok(())
}
