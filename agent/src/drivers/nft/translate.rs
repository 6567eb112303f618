//! Address translation, of both families alike.

use std::net::IpAddr;

use ipnet::IpNet;
use pathsteer_crds::plan::NftRule;
use serde_json::json;

use super::{
    address_set::{FAMILIES, addresses, of_family, range, ranges},
    ruleset::{REDIRECT, Rule, Ruleset, TRANSLATE},
    words::{comes_by, field, is, leaves_by, meta, one_of},
};

/// Which range of a pool a client gets must not change with every start, so the hash has a seed: any number will do.
const SEED: u32 = 7_770;

/// Translation of what leaves, and of what comes for somebody else.
pub fn render(rules: &[NftRule], tables: &mut Ruleset) {
    for rule in rules {
        match rule {
            NftRule::Masquerade { from, link } => {
                tables.rule(&TRANSLATE, vec![comes_by(from), leaves_by(link), json!({"masquerade": null})]);
            }
            NftRule::Redirect { links, addresses, ports, to } => {
                for family in FAMILIES {
                    tables.rules(&REDIRECT, redirected(family, links, addresses, ports, to));
                }
            }
            NftRule::Snat { link, sources, pool } => {
                for family in FAMILIES {
                    for statements in to_pool(family, link, sources, pool) {
                        tables.rule(&TRANSLATE, statements);
                    }
                }
            }
            _ => {}
        }
    }
}

fn redirected(family: &str, links: &[String], own: &[IpAddr], ports: &[u16], to: &[IpAddr]) -> Vec<Rule> {
    let prefixes = |all: &[IpAddr]| all.iter().map(|one| IpNet::from(*one)).collect::<Vec<_>>();
    let own = addresses(of_family(family, &prefixes(own)));
    let to = to.iter().find(|to| to.is_ipv6() == (family == "ip6"));
    let rule = own.zip(to).map(|(own, to)| {
        vec![
            is(meta("iifname"), one_of(links.iter().map(|link| json!(link)).collect())),
            is(field(family, "daddr"), own),
            is(field("tcp", "dport"), one_of(ports.iter().map(|port| json!(port)).collect())),
            json!({"dnat": {"family": family, "addr": to}}),
        ]
    });
    rule.into_iter().collect()
}

/// The kernel keeps a client's address within one range (`persistent`). Of several ranges, which nft cannot name in one
/// rule, the client's address picks one.
fn to_pool(family: &str, link: &str, sources: &[IpNet], pool: &[IpNet]) -> Vec<Rule> {
    let Some(clients) = addresses(of_family(family, sources)) else { return Vec::new() };
    let pool = ranges(of_family(family, pool));
    let count = pool.len();
    let one = |(index, (first, last))| {
        let mut rule = vec![leaves_by(link), is(field(family, "saddr"), clients.clone())];
        if count > 1 {
            let hash = json!({"jhash": {"mod": count, "seed": SEED, "expr": field(family, "saddr")}});
            rule.push(is(hash, index));
        }
        rule.push(json!({"snat": {"family": family, "addr": range(first, last), "flags": "persistent"}}));
        rule
    };
    pool.into_iter().enumerate().map(one).collect()
}
