//! Who resolves names on an uplink: those that its network names, or that its Uplink declares.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use pathsteer_lab::daemon::Daemon;

use super::Case;
use crate::node::{CERTIFICATE, Node, STATE};
use crate::operator::Operator;
use crate::plans::{EDGE, Plan, declare, example, example_plan, plan};
use crate::server::Server;

pub const CASES: &[(&str, Case)] = &[
    ("a_name_that_one_uplinks_resolver_knows_alone_is_resolved_over_that_uplink", learned),
    ("declared_resolvers_are_asked_instead_of_those_that_a_network_names", declared),
];

/// The only name that the operator's certificate has is the node's own.
const OPERATOR_NAME: &str = EDGE;

/// Where somebody could answer to the name, and nobody does.
const WRONG: &str = "192.0.2.66";
const FIRST: &str = "192.0.2.1";
const SECOND: &str = "198.51.100.1";

/// A node of `plan` that looks for its operator by name, and servers on wan1 and wan2: the first says that the name is
/// `WRONG`, the second that it is itself. Behind the second the operator listens.
fn node(name: &'static str, plan: &Plan) -> Result<(Node, Operator, [Daemon; 2])> {
    let node = Node::prepare(name, EDGE)?;
    plan.cards().iter().try_for_each(|card| node.plug(card))?;
    node.keep(plan, 1)?;
    node.seek(&format!("{OPERATOR_NAME}:7443"))?;
    // another's, and ours to respect
    node.host.output("mkdir", &["-p", "/etc/netns/psup3"])?;
    node.host.write("/etc/netns/psup3/resolv.conf", THEIRS)?;
    node.host.write("/etc/resolv.conf", HOSTS_OWN)?;
    let first = Server { card: "wan1", gateway: FIRST, lends: "192.0.2.50", life: 1 };
    let second = Server { card: "wan2", gateway: SECOND, lends: "198.51.100.50", life: 1 };
    let (first, _) = first.start(&node.outside, name, &[&format!("--host-record={OPERATOR_NAME},{WRONG}")])?;
    let (second, _) = second.start(&node.outside, name, &[&format!("--host-record={OPERATOR_NAME},{SECOND}")])?;
    let address = SocketAddr::new(SECOND.parse()?, 7443);
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    let operator = Operator::listen(&node.outside, address, &node.host.read(CERTIFICATE)?, &key)?;
    Ok((node.begin(|_| Ok(()))?, operator, [first, second]))
}

const THEIRS: &str = "nameserver 203.0.113.53\n";
/// Nobody is there: nothing comes by chance from the node's own resolvers.
const HOSTS_OWN: &str = "nameserver 203.0.113.54\noptions timeout:1 attempts:1\n";

fn learned() -> Result<()> {
    let (mut node, operator, servers) = node("edge23", &example_plan(EDGE)?)?;
    let took = node.wait("in session over the second", |_| operator.report().is_some())?;
    println!("edge23: a session by a name that the second uplink's resolver knows after {took:?}");
    ensure!(node.said(": session underlay=\"psup2\"") > 0, "by another uplink: {:?}", node.log());
    let named = |address: &str| vec![address.to_owned()];
    node.wait("reported", |_| {
        operator.report().is_some_and(|report| {
            report.uplinks[0].resolvers == named(FIRST) && report.uplinks[1].resolvers == named(SECOND)
        })
    })?;
    // what people see who go in, and what they have put there themselves
    for (netns, expected) in [("psup1", FIRST), ("psup2", SECOND), ("psup3", "203.0.113.53")] {
        let seen = node.ip(&format!("netns exec {netns} cat /etc/resolv.conf"))?;
        let lines: Vec<_> = seen.lines().filter(|line| !line.starts_with('#')).collect();
        ensure!(lines == [format!("nameserver {expected}")], "in {netns}: {seen}");
    }
    ensure!(node.host.read("/etc/resolv.conf")? == HOSTS_OWN, "the node's own resolvers were touched");

    drop(servers);
    node.kill()?;
    node.teardown()?;
    let left = node.host.output("find", &["/etc/netns", "-type", "f"])?;
    ensure!(left.trim() == "/etc/netns/psup3/resolv.conf", "after the teardown there are {left}");
    ensure!(node.host.read("/etc/netns/psup3/resolv.conf")? == THEIRS, "another's file was touched");
    Ok(())
}

fn declared() -> Result<()> {
    let mut inventory = example()?;
    // the first uplink is told to ask whom the second one's network names, and cannot reach it
    declare(
        &mut inventory,
        &format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: {EDGE}, name: starlink}}\n\
             spec: {{slot: 2, kind: starlink, interface: wan2, address: dhcp, cost: 20, resolvers: [{FIRST}]}}\n"
        ),
    )?;
    let (mut node, operator, _servers) = node("edge23d", &plan(&mut inventory, EDGE)?)?;
    let file = |node: &Node| node.host.read("/etc/netns/psup2/resolv.conf").unwrap_or_default();
    node.wait("asked for", |node| file(node).ends_with(&format!("nameserver {FIRST}\n")))?;
    // The server that the network names would have told the way.
    let asked = node.outside.output("ip", &["-o", "address", "show", "dev", "far-wan2"])?;
    ensure!(asked.contains(SECOND), "{asked}");
    let first: IpAddr = FIRST.parse()?;
    node.wait("told of its failure", |node| node.said("cannot reach rv-07:7443 from psup2") > 0)?;
    ensure!(operator.report().is_none(), "it was found although {first} says that it is elsewhere");
    Ok(())
}
