//! Addresses and names by router advertisements and DHCPv6, with a real radvd and a real dnsmasq on the far end.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use pathsteer_lab::daemon::Daemon;

use super::Case;
use crate::dump;
use crate::node::{CERTIFICATE, Node, Prepared, STATE};
use crate::operator::Operator;
use crate::plans::{EDGE, Plan, declare, example, example_plan, plan};
use crate::server::{dismiss, dnsmasq, radvd};

pub const CASES: &[(&str, Case)] = &[
    ("where_routers_say_that_addresses_are_managed_one_is_had_by_dhcpv6_and_the_operator_over_ipv6", managed),
    ("resolvers_come_by_stateless_dhcpv6_and_router_advertisements_and_go_with_their_router", stateless),
    ("what_a_router_advertised_ends_with_its_lifetime_when_the_router_falls_silent", silent),
    ("an_uplink_declared_dhcpv6_asks_for_an_address_unasked_and_for_none_of_ipv4", declared),
];

/// The router, which is everything else here too.
const ROUTER: &str = "2001:db8:c1::1";
const LENT: &str = "2001:db8:c1::100";
/// An address of the router's that means something on its link alone.
const LINK_LOCAL: &str = "fe80::c1";
/// Found by information requests.
const RESOLVER: &str = "2001:db8:c1::53";
const PREFIX: &str = "prefix 2001:db8:c1::/64 { AdvOnLink on; AdvAutonomous";

/// A node with a router on wan1 that says what `says`, and a DHCPv6 server with `arguments`.
fn node(name: &'static str, plan: &Plan, says: &str, arguments: &[&str]) -> Result<(Node, [Daemon; 2])> {
    let node = Node::prepare(name, EDGE)?;
    plan.cards().iter().try_for_each(|card| node.plug(card))?;
    node.keep(plan, 1)?;
    node.seek(&format!("{EDGE}:7443"))?;
    node.host.write("/etc/resolv.conf", "nameserver 203.0.113.54\noptions timeout:1 attempts:1\n")?;
    let daemons = servers(&node, name, says, arguments)?;
    Ok((node.begin(|_| Ok(()))?, daemons))
}

fn servers(node: &Prepared, name: &str, says: &str, arguments: &[&str]) -> Result<[Daemon; 2]> {
    let outside = &node.outside;
    for address in [ROUTER, LINK_LOCAL] {
        outside.output("ip", &["address", "replace", &format!("{address}/64"), "dev", "far-wan1", "nodad"])?;
    }
    let radvd = radvd(outside, name, "wan1", says)?;
    let (dnsmasq, _) = dnsmasq(outside, format!("{name}-dhcp"), "wan1", arguments)?;
    Ok([radvd, dnsmasq])
}

fn operator(node: &Node) -> Result<Operator> {
    let key = node.host.read(&format!("{STATE}/node.key"))?;
    let address = SocketAddr::new(ROUTER.parse()?, 7_443);
    Operator::listen(&node.outside, address, &node.host.read(CERTIFICATE)?, &key)
}

/// Addresses of wan1 that are not link-local, with their prefix lengths.
fn addresses(node: &Node) -> Vec<String> {
    let found = dump::ip(&node.host, "psup1", "-6 address show wan1 scope global").unwrap_or_default();
    let each = found[0]["addr_info"].as_array().cloned().unwrap_or_default();
    // iproute2 leaves an empty place for what it was told to leave out
    let global = each.iter().filter_map(|one| Some(format!("{}/{}", one["local"].as_str()?, one["prefixlen"])));
    global.collect()
}

fn has_default(node: &Node) -> bool {
    node.ip("-n psup1 -6 route show default").is_ok_and(|text| text.contains("via fe80::"))
}

/// Who resolves names, as people see it.
fn resolvers(node: &Node) -> Vec<String> {
    let text = node.host.read("/etc/netns/psup1/resolv.conf").unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("nameserver ").map(str::to_owned)).collect()
}

fn managed() -> Result<()> {
    let says = format!("AdvManagedFlag on; AdvOtherConfigFlag on; {PREFIX} off; }};");
    let range = format!("--dhcp-range={LENT},{LENT},64,2m");
    let record = format!("--host-record={EDGE},{ROUTER}");
    // dnsmasq names itself as resolver
    let (mut node, _daemons) = node("edge25", &example_plan(EDGE)?, &says, &[&range, &record])?;
    let operator = operator(&node)?;
    let took = node.wait("at its address", |node| addresses(node) == [format!("{LENT}/128")])?;
    println!("edge25: an address by DHCPv6 after {took:?}");
    ensure!(has_default(&node), "there is no way out: {}", node.ip("-n psup1 -6 route")?);
    // an uplink with no IPv4 at all, and a name that its own resolver knows alone
    let took = node.wait("in session over IPv6", |_| operator.report().is_some())?;
    println!("edge25: a session over IPv6 alone after {took:?}");
    node.wait("reported", |_| {
        operator.report().is_some_and(|report| {
            let fiber = &report.uplinks[0];
            fiber.address == Some(format!("{LENT}/128")) && fiber.resolvers == [ROUTER] && fiber.gateway.is_some()
        })
    })?;
    node.kill()?;
    node.restart()?;
    node.first_turn()?;
    node.settle()?;
    ensure!(addresses(&node) == [format!("{LENT}/128")], "a restart changes addresses: {:?}", addresses(&node));
    Ok(())
}

fn stateless() -> Result<()> {
    let (mut node, [radvd, _dnsmasq]) = advertised("edge25s", "RDNSS fe80::c1 { };")?;
    let expected = [RESOLVER.to_owned(), format!("{LINK_LOCAL}%wan1")];
    let took = node.wait("told of both resolvers", |node| resolvers(node) == expected)?;
    println!("edge25s: resolvers by DHCPv6 and by RDNSS after {took:?}");
    ensure!(
        addresses(&node).iter().all(|address| address.ends_with("/64")) && has_default(&node),
        "{:?}",
        addresses(&node)
    );
    // taking its leave the router takes back what it said
    dismiss(radvd)?;
    node.wait("without the router's resolver", |node| resolvers(node) == [RESOLVER])?;
    node.wait("without a way out", |node| !has_default(node))?;
    Ok(())
}

fn silent() -> Result<()> {
    let says = "AdvDefaultLifetime 12; RDNSS fe80::c1 { AdvRDNSSLifetime 8; };";
    let (mut node, [radvd, _dnsmasq]) = advertised("edge25q", says)?;
    let expected = [RESOLVER.to_owned(), format!("{LINK_LOCAL}%wan1")];
    node.wait("told of both resolvers", |node| resolvers(node) == expected && has_default(node))?;
    // killed, it says nothing more
    drop(radvd);
    let took = node.wait("without the router's resolver", |node| resolvers(node) == [RESOLVER])?;
    println!("edge25q: a resolver with a lifetime of 8 s was gone {took:?} after its router");
    node.wait("without a way out", |node| !has_default(node))?;
    Ok(())
}

/// A node whose router advertises a prefix, `more`, and stateless DHCPv6.
fn advertised(name: &'static str, more: &str) -> Result<(Node, [Daemon; 2])> {
    let says = format!("AdvOtherConfigFlag on; {PREFIX} on; }}; {more}");
    let option = format!("--dhcp-option=option6:dns-server,[{RESOLVER}]");
    // it has addresses too, for who asks; it advertises nothing by itself
    let range = format!("--dhcp-range={LENT},{LENT},64,2m");
    let arguments = ["--port=0", &range, &option];
    node(name, &example_plan(EDGE)?, &says, &arguments)
}

fn declared() -> Result<()> {
    let mut inventory = example()?;
    declare(
        &mut inventory,
        &format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: {EDGE}, name: fiber}}\n\
             spec: {{slot: 1, kind: fiber, interface: wan1, address: dhcpv6, cost: 10}}\n"
        ),
    )?;
    let range = format!("--dhcp-range={LENT},{LENT},64,2m");
    let arguments = ["--port=0", &range, "--dhcp-range=192.0.2.50,192.0.2.59,255.255.255.0,2m"];
    let says = format!("{PREFIX} off; }};");
    let (mut node, [_radvd, dnsmasq]) = node("edge25d", &plan(&mut inventory, EDGE)?, &says, &arguments)?;
    node.wait("at its address", |node| addresses(node) == [format!("{LENT}/128")])?;
    ensure!(has_default(&node), "there is no way out: {}", node.ip("-n psup1 -6 route")?);
    let asked = dnsmasq.last_lines(usize::MAX);
    ensure!(!asked.iter().any(|line| line.contains("DHCPDISCOVER")), "it asks for IPv4 too: {asked:?}");
    Ok(())
}
