//! Rules.

use pathsteer_agent_core::ownership::is_owned_rule;
use pathsteer_crds::{
    ownership,
    plan::{self, Family, RuleSpec},
};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{Kernel, gone_is_fine};
use crate::sys::{KernelError, netlink::Put};

/// Every rule of ours, known by its priority, in our namespaces.
///
/// # Errors
/// What the kernel says.
pub async fn observe(kernel: &Kernel) -> Result<Vec<RuleSpec>, KernelError> {
    let mut observed = Vec::new();
    for (netns, netlink) in kernel.places() {
        for family in Family::BOTH {
            let mut all = RuleMessage::default();
            all.header.family = family_of(family);
            for object in netlink.dump("rule list", RouteNetlinkMessage::GetRule(all)).await? {
                let RouteNetlinkMessage::NewRule(message) = object else { continue };
                observed.extend(spec_of(netns, family, &message));
            }
        }
    }
    Ok(observed)
}

fn spec_of(netns: &str, family: Family, message: &RuleMessage) -> Option<RuleSpec> {
    let (mut priority, mut protocol, mut mark, mut mask, mut iif) = (0, 0, 0, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Protocol(value) => protocol = u8::from(*value),
            // a mark of 0 is not dumped, its mask is
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Iifname(name) => iif = Some(name.clone()),
            RuleAttribute::Table(id) => table = *id,
            _ => {}
        }
    }
    let action = match message.header.action {
        RuleAction::ToTable => plan::RuleAction::Table(table),
        RuleAction::Blackhole => plan::RuleAction::Blackhole,
        _ => return None,
    };
    is_owned_rule(netns, priority, protocol).then(|| RuleSpec {
        netns: netns.to_owned(),
        family,
        priority,
        fwmark: mask.map(|mask| (mark, mask)),
        iif,
        action,
    })
}

/// Adds a rule; one that is there already is fine. The kernel allows several of one priority, so a rule that changes is
/// added beside the old one, which goes afterwards.
///
/// # Errors
/// What the kernel says.
pub async fn put(kernel: &Kernel, spec: &RuleSpec, previous: Option<&RuleSpec>) -> Result<(), KernelError> {
    let what = format!("rule add priority {} in {}", spec.priority, spec.netns);
    match kernel.netlink(&spec.netns)?.put(&what, RouteNetlinkMessage::NewRule(message_of(spec)), Put::New).await {
        Err(error) if error.source.raw_os_error() == Some(libc::EEXIST) => {}
        other => other?,
    }
    match previous {
        Some(previous) => remove(kernel, previous).await,
        None => Ok(()),
    }
}

/// Removes one rule that is exactly this.
///
/// # Errors
/// What the kernel says.
pub async fn remove(kernel: &Kernel, spec: &RuleSpec) -> Result<(), KernelError> {
    let what = format!("rule delete priority {} in {}", spec.priority, spec.netns);
    gone_is_fine(kernel.netlink(&spec.netns)?.change(&what, RouteNetlinkMessage::DelRule(message_of(spec))).await)
}

fn message_of(spec: &RuleSpec) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_of(spec.family);
    message.attributes.push(RuleAttribute::Priority(spec.priority));
    if spec.netns == ownership::HOST {
        // Others have rules there, maybe of this very priority: this one says whose it is.
        message.attributes.push(RuleAttribute::Protocol(ownership::ROUTE_PROTOCOL.into()));
    }
    if let Some((mark, mask)) = spec.fwmark {
        message.attributes.push(RuleAttribute::FwMark(mark));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    message.attributes.extend(spec.iif.clone().map(RuleAttribute::Iifname));
    match spec.action {
        plan::RuleAction::Table(table) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        plan::RuleAction::Blackhole => message.header.action = RuleAction::Blackhole,
    }
    message
}

fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}
