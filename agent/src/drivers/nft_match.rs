//! What a policy's match says of a packet, as nft conditions.

use ipnet::IpNet;
use nftables::{
    expr::{Expression, MetaKey, Range},
    stmt::{Operator, Statement},
};
use pathsteer_crds::{Match as TrafficMatch, Protocol, plan::RemoteSide};

use super::nft_expression::{compare, field, meta, one_or_set, prefix};

/// The conditions of a match, once per address family where the family matters.
pub(super) fn conditions(one: &TrafficMatch, remote: RemoteSide, local: &[IpNet]) -> Vec<Vec<Statement<'static>>> {
    let (remote_address, remote_port, local_address) = match remote {
        RemoteSide::Destination => ("daddr", "dport", "saddr"),
        RemoteSide::Source => ("saddr", "sport", "daddr"),
    };
    if one.prefix.is_none() && one.dscp.is_none() && local.is_empty() {
        return vec![transport(one, remote_port)];
    }
    let mut all = Vec::new();
    for (family, is_v6) in [("ip", false), ("ip6", true)] {
        let of_family = |net: &IpNet| net.addr().is_ipv6() == is_v6;
        let local_nets: Vec<&IpNet> = local.iter().filter(|net| of_family(net)).collect();
        let excluded = one.prefix.is_some_and(|net| !of_family(&net)) || (!local.is_empty() && local_nets.is_empty());
        if excluded {
            continue;
        }
        let mut statements = Vec::new();
        if let Some(net) = &one.prefix {
            statements.push(compare(field(family, remote_address), Operator::EQ, prefix(net)));
        }
        if !local_nets.is_empty() {
            let nets = one_or_set(local_nets.into_iter().map(prefix).collect());
            statements.push(compare(field(family, local_address), Operator::EQ, nets));
        }
        if let Some(dscp) = one.dscp {
            statements.push(compare(field(family, "dscp"), Operator::EQ, Expression::Number(dscp.into())));
        }
        statements.extend(transport(one, remote_port));
        all.push(statements);
    }
    all
}

fn transport(one: &TrafficMatch, port: &str) -> Vec<Statement<'static>> {
    let (name, number) = match one.protocol {
        None => return Vec::new(),
        Some(Protocol::Icmp) => {
            let both = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].map(|number| Expression::Number(number as u32));
            return vec![compare(meta(MetaKey::L4proto), Operator::EQ, one_or_set(both.into()))];
        }
        Some(Protocol::Tcp) => ("tcp", libc::IPPROTO_TCP),
        Some(Protocol::Udp) => ("udp", libc::IPPROTO_UDP),
    };
    vec![match one.ports.is_empty() {
        true => compare(meta(MetaKey::L4proto), Operator::EQ, Expression::Number(number as u32)),
        false => compare(field(name, port), Operator::EQ, ports(one)),
    }]
}

/// Sorted and merged, as nft itself does.
fn ports(one: &TrafficMatch) -> Expression<'static> {
    let mut sorted = one.ports.clone();
    sorted.sort();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some((_, last)) if u32::from(range.first) <= u32::from(*last) + 1 => *last = (*last).max(range.last),
            _ => merged.push((range.first, range.last)),
        }
    }
    let number = |port: u16| Expression::Number(port.into());
    let ranges = merged.into_iter().map(|(first, last)| match first == last {
        true => number(first),
        false => Expression::Range(Box::new(Range { range: [number(first), number(last)] })),
    });
    one_or_set(ranges.collect())
}
