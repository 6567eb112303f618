//! Rules of others that are asked before ours, and would lead our traffic elsewhere.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use pathsteer_agent_core::ownership::is_owned_rule;
use pathsteer_crds::ownership::{HOST, RULE_PRIORITIES, path_rule_priority};
use rtnetlink::packet_route::{
    AddressFamily,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{
    Finding, Known, card,
    home::{Home, Place, Reach},
    or_well,
};

/// Bits of the fwmark that are ours (ARCHITECTURE.md, "Marks").
const MARKS: u32 = 0x00ff_ffff;
/// The kernel's own first rule, which has the addresses of the node itself.
const LOCAL_TABLE: u32 = 255;

/// What comes by a rule of ours, as far as others may ask for it.
#[derive(Debug, Clone)]
enum Traffic {
    /// From an uplink's namespace to the card that carries it: by this link, with this source and no mark.
    InPlace { veth: String, source: Ipv4Addr },
    /// With any mark of ours, from anywhere.
    Marked,
}

/// What a rule asks for, and what it does then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    priority: u32,
    iif: Option<String>,
    source: Option<IpNet>,
    mark: Option<(u32, u32)>,
    inverted: bool,
    /// It asks for more: a destination, a protocol, a port.
    narrow: bool,
    /// Only what this node itself sends.
    local: bool,
    /// The table that is asked; everything that does not lead on otherwise ends there.
    table: Option<u32>,
    /// Answers of this prefix length or shorter do not count.
    suppressed: Option<u32>,
}

/// How much of the traffic a rule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Catch {
    Nothing,
    Some,
    Everything,
}

/// Looks at the node's own namespace where a card stays there, and at every namespace of ours.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in &home.places {
        let traffic: Vec<Traffic> = if place.netns == HOST { of_cards(known) } else { vec![Traffic::Marked] };
        for (family, message) in &place.rules {
            let rule = Rule::read(message);
            let is_ours = is_owned_rule(&place.netns, rule.priority, protocol(message));
            // ours at home have the number of a slot alone
            let last = if place.netns == HOST { path_rule_priority(8, 0) } else { *RULE_PRIORITIES.end() };
            if is_ours || rule.priority > last {
                continue;
            }
            let of_family =
                traffic.iter().filter(|one| matches!(one, Traffic::Marked) || *family == AddressFamily::Inet);
            let caught = of_family.map(|one| rule.catches(one).min(rule.leads(place, *family))).max();
            findings.extend(finding(place, *family, &rule, caught.unwrap_or(Catch::Nothing)));
        }
    }
    findings.sort();
    or_well("no foreign rule before ours", findings)
}

fn finding(place: &Place, family: AddressFamily, rule: &Rule, caught: Catch) -> Option<Finding> {
    let (flag, netns) = (if family == AddressFamily::Inet6 { "-6 " } else { "" }, &place.netns);
    let (inside, place) = if netns.is_empty() {
        (String::new(), "the node's own namespace".to_owned())
    } else {
        (format!("-n {netns} "), netns.clone())
    };
    let Rule { priority, .. } = rule;
    let what = format!("foreign rule {priority} in {place} (ip {inside}{flag}rule)");
    let last = RULE_PRIORITIES.end();
    let remedy = |takes: &str| {
        format!(
            "it is asked before ours and takes {takes}: give it a priority above {last}, or a condition that leaves ours out"
        )
    };
    match caught {
        Catch::Nothing => None,
        Catch::Some => Some(Finding::warning(what, remedy("a part of our traffic"))),
        Catch::Everything => Some(Finding::failure(what, remedy("our traffic"))),
    }
}

fn of_cards(known: &Known) -> Vec<Traffic> {
    let objects = &known.plan.objects;
    let pairs = card::in_place(known).into_iter().filter_map(|(_, veth)| {
        let gateway = objects.addresses.iter().find(|address| address.netns == HOST && address.link == veth)?;
        let IpNet::V4(net) = gateway.address else { return None };
        let source = net.hosts().find(|host| *host != net.addr())?;
        Some(Traffic::InPlace { veth, source })
    });
    pairs.collect()
}

fn protocol(message: &RuleMessage) -> u8 {
    let protocol = message.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    });
    protocol.unwrap_or(0)
}

impl Rule {
    fn read(message: &RuleMessage) -> Rule {
        let header = &message.header;
        let mut rule = Rule {
            priority: 0,
            iif: None,
            source: None,
            mark: None,
            inverted: header.flags.contains(RuleFlags::Invert),
            narrow: header.tos != 0 || header.dst_len != 0,
            local: false,
            table: None,
            suppressed: None,
        };
        let (mut mark, mut mask, mut table) = (0, None, u32::from(header.table));
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
                RuleAttribute::Source(source) => rule.source = IpNet::new(*source, header.src_len).ok(),
                RuleAttribute::FwMark(value) => mark = *value,
                RuleAttribute::FwMask(value) => mask = Some(*value),
                RuleAttribute::Table(id) => table = *id,
                // absent, all bits are set
                RuleAttribute::SuppressPrefixLen(length) => {
                    rule.suppressed = Some(*length).filter(|length| *length != u32::MAX);
                }
                RuleAttribute::Oifname(_) | RuleAttribute::UidRange(_) => rule.local = true,
                RuleAttribute::IpProtocol(_)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::DestinationPortRange(_)
                | RuleAttribute::L3MDev(true)
                | RuleAttribute::TunId(_) => rule.narrow = true,
                _ => {}
            }
        }
        rule.mark = mask.map(|mask| (mark, mask));
        rule.table = (header.action == RuleAction::ToTable).then_some(table);
        if matches!(header.action, RuleAction::Goto | RuleAction::Nop) {
            // Where it leads is another rule, which is looked at as well.
            rule.local = true;
        }
        rule
    }

    /// How much of `traffic` it asks for.
    fn catches(&self, traffic: &Traffic) -> Catch {
        let sure = |yes: bool| if yes { Catch::Everything } else { Catch::Nothing };
        let (by_link, by_source, by_mark) = match traffic {
            Traffic::InPlace { veth, source } => (
                sure(self.iif.as_ref().is_none_or(|iif| iif == veth)),
                sure(self.source.is_none_or(|net| net.contains(&IpAddr::V4(*source)))),
                sure(self.mark.is_none_or(|(value, mask)| value & mask == 0)),
            ),
            Traffic::Marked => (
                if self.iif.is_none() { Catch::Everything } else { Catch::Some },
                if self.source.is_none_or(|net| net.prefix_len() == 0) { Catch::Everything } else { Catch::Some },
                match self.mark {
                    None => Catch::Everything,
                    // bits that no mark of ours has
                    Some((value, mask)) if value & mask & !MARKS != 0 => Catch::Nothing,
                    Some((value, mask)) if value == 0 && mask & MARKS == 0 => Catch::Everything,
                    Some(_) => Catch::Some,
                },
            ),
        };
        let asked = by_link.min(by_source).min(by_mark).min(if self.narrow { Catch::Some } else { Catch::Everything });
        match (self.local, self.inverted, asked) {
            (true, ..) => Catch::Nothing,
            (_, false, asked) => asked,
            (_, true, Catch::Nothing) => Catch::Everything,
            (_, true, Catch::Some) => Catch::Some,
            (_, true, Catch::Everything) => Catch::Nothing,
        }
    }

    /// How much of what it asks for it leads somewhere.
    fn leads(&self, place: &Place, family: AddressFamily) -> Catch {
        let Some(table) = self.table else { return Catch::Everything };
        if table == LOCAL_TABLE {
            return Catch::Nothing;
        }
        match place.reach.get(&(family.into(), table)) {
            None => Catch::Nothing,
            Some(Reach::Everything) if self.suppressed.is_none() => Catch::Everything,
            // Single networks of others are led to these others by their own right.
            Some(_) => Catch::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rule = Rule {
        priority: 100,
        iif: None,
        source: None,
        mark: None,
        inverted: false,
        narrow: false,
        local: false,
        table: Some(100),
        suppressed: None,
    };

    fn in_place() -> Traffic {
        Traffic::InPlace { veth: "psh3".into(), source: Ipv4Addr::new(169, 254, 79, 14) }
    }

    #[test]
    fn a_rule_catches_what_comes_from_an_uplinks_namespace_unless_it_asks_for_something_else() {
        let rule = |change: fn(&mut Rule)| {
            let mut rule = ALL;
            change(&mut rule);
            rule.catches(&in_place())
        };
        assert_eq!(rule(|_| ()), Catch::Everything);
        assert_eq!(rule(|rule| rule.iif = Some("eth0".into())), Catch::Nothing);
        assert_eq!(rule(|rule| rule.iif = Some("psh3".into())), Catch::Everything);
        assert_eq!(rule(|rule| rule.source = Some("10.0.0.0/8".parse().unwrap())), Catch::Nothing);
        assert_eq!(rule(|rule| rule.source = Some("169.254.0.0/16".parse().unwrap())), Catch::Everything);
        assert_eq!(rule(|rule| rule.mark = Some((5, 0xff))), Catch::Nothing, "it has no mark");
        assert_eq!(rule(|rule| rule.narrow = true), Catch::Some);
        assert_eq!(rule(|rule| rule.local = true), Catch::Nothing);
        // wg-quick: not from all fwmark 0xca6c lookup 51820
        let not_marked = |rule: &mut Rule| (rule.inverted, rule.mark) = (true, Some((0xca6c, u32::MAX)));
        assert_eq!(rule(not_marked), Catch::Everything);
    }

    #[test]
    fn a_rule_catches_marks_of_ours_unless_it_asks_for_bits_that_ours_never_have() {
        let marked = |mark| Rule { mark, ..ALL }.catches(&Traffic::Marked);
        assert_eq!(marked(None), Catch::Everything);
        assert_eq!(marked(Some((0x0100_0000, 0x0100_0000))), Catch::Nothing);
        assert_eq!(marked(Some((0x8_0000, 0xff_0000))), Catch::Some);
        assert_eq!(marked(Some((0, 0x0100_0000))), Catch::Everything);
        assert_eq!(Rule { iif: Some("lan0".into()), ..ALL }.catches(&Traffic::Marked), Catch::Some);
    }

    #[test]
    fn a_rule_leads_elsewhere_only_by_a_table_with_a_way_to_everything() {
        let reach = |reach| std::collections::BTreeMap::from([((u8::from(AddressFamily::Inet), 100), reach)]);
        let place = |reach| Place {
            netns: String::new(),
            links: Vec::new(),
            networks: Vec::new(),
            rules: Vec::new(),
            reach,
            defaults: Vec::new(),
        };
        let leads = |rule: Rule, reach| rule.leads(&place(reach), AddressFamily::Inet);
        assert_eq!(leads(ALL, reach(Reach::Everything)), Catch::Everything);
        assert_eq!(leads(ALL, reach(Reach::Some)), Catch::Nothing, "a tailnet's own addresses");
        assert_eq!(leads(ALL, std::collections::BTreeMap::new()), Catch::Nothing, "an empty table");
        assert_eq!(leads(Rule { suppressed: Some(0), ..ALL }, reach(Reach::Everything)), Catch::Nothing);
        assert_eq!(leads(Rule { table: None, ..ALL }, reach(Reach::Some)), Catch::Everything, "a blackhole");
    }
}
