//! The plan's nft rules as nft's own JSON, in the shape in which nft lists them, so that what is loaded and what is
//! found can be compared.
//!
//! Numbers stand for protocols and flags: `nft -n` lists them so, whatever the version calls them.
//!
//! Two tables of one name: `inet` classifies, clamps and guards; `ip` copies, because dup knows no inet family.

use std::borrow::Cow;

use ipnet::IpNet;
use nftables::{
    batch::Batch,
    expr::{Expression, MetaKey, NamedExpression, RT, RTKey, TcpOption},
    schema::{Chain, FlushObject, NfCmd, NfListObject, Nftables, Rule, Table},
    stmt::{Dup, JumpTarget, Operator, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};
use pathsteer_crds::{
    mark, ownership,
    plan::{CopyTarget, NftRule, NftTableSpec},
};

use super::{
    nft_expression::{binary_and, compare, ct_mark, field, interface, mangle, meta, named, prefix},
    nft_match::conditions,
};

/// Before conntrack (-200): what it must not track, and what a WAN must not bring.
const RAW: i32 = -300;
/// After conntrack, so that a flow's mark can be pinned.
const MANGLE: i32 = -150;
/// The SYN bit of a TCP header's flags.
const TCP_SYN: u32 = 2;
/// After everything that might still change a packet.
const LAST: i32 = 300;

/// One transaction that replaces our tables by those of `spec`. Adding before deleting makes the deletion succeed when
/// there is nothing yet.
pub fn replace(spec: &NftTableSpec) -> Nftables<'static> {
    let mut batch = clear();
    for object in objects(spec) {
        batch.add(object);
    }
    batch.to_nftables()
}

/// One transaction that removes our tables.
pub fn remove() -> Nftables<'static> {
    clear().to_nftables()
}

fn clear() -> Batch<'static> {
    let mut batch = Batch::new();
    for family in [NfFamily::INet, NfFamily::IP] {
        batch.add(table(family));
        batch.add_cmd(NfCmd::Flush(FlushObject::Table(Table {
            family,
            name: ownership::NFT_TABLE.into(),
            handle: None,
        })));
        batch.delete(table(family));
    }
    batch
}

/// Tables, chains and rules of `spec`.
pub fn objects(spec: &NftTableSpec) -> Vec<NfListObject<'static>> {
    let mut rendered = Rendered { classify: Vec::new(), objects: Vec::new() };
    for rule in &spec.rules {
        rendered.add(rule);
    }
    let Rendered { classify, objects: rules } = rendered;
    let mut objects = vec![table(NfFamily::INet), table(NfFamily::IP)];
    let inet = [
        base_chain(NfFamily::INet, "raw", NfHook::Prerouting, RAW),
        chain(NfFamily::INet, "classify"),
        base_chain(NfFamily::INet, "arrive", NfHook::Prerouting, MANGLE),
        base_chain(NfFamily::INet, "originate", NfHook::Output, MANGLE),
        base_chain(NfFamily::INet, "forward", NfHook::Forward, MANGLE),
        base_chain(NfFamily::INet, "leave", NfHook::Postrouting, LAST),
        base_chain(NfFamily::IP, "copy", NfHook::Postrouting, LAST),
    ];
    objects.extend(inet);
    if !classify.is_empty() {
        // shimmed packets are not flows: conntrack would see one flow per site
        objects.push(rule(
            "raw",
            vec![interface(MetaKey::Iifname, Operator::EQ, ownership::SHIM_PEER), Statement::Notrack],
        ));
        for hook in ["arrive", "originate"] {
            objects.push(rule(hook, vec![Statement::Jump(JumpTarget { target: "classify".into() })]));
        }
        objects.extend(pinning());
        objects.extend(classify);
    }
    objects.extend(rules);
    objects
}

struct Rendered {
    classify: Vec<NfListObject<'static>>,
    objects: Vec<NfListObject<'static>>,
}

impl Rendered {
    fn add(&mut self, spec: &NftRule) {
        match spec {
            NftRule::Classify { match_, remote, local, class } => {
                for mut statements in conditions(match_, *remote, local) {
                    statements.extend(pin(*class));
                    self.classify.push(rule("classify", statements));
                }
            }
            NftRule::DefaultClass { class } => self.classify.push(rule("classify", pin(*class))),
            NftRule::Copy { slot, link, to } => self.objects.push(copy(*slot, link, to)),
            NftRule::DropOverlay { link, overlay } => {
                let overlay = IpNet::V4(*overlay);
                let gre =
                    || compare(meta(MetaKey::L4proto), Operator::EQ, Expression::Number(libc::IPPROTO_GRE as u32));
                for (hook, side) in [("raw", MetaKey::Iifname), ("leave", MetaKey::Oifname)] {
                    let drop = |condition| {
                        rule(hook, vec![interface(side, Operator::EQ, link), condition, Statement::Drop(None)])
                    };
                    self.objects.extend([
                        drop(compare(field("ip", "saddr"), Operator::EQ, prefix(&overlay))),
                        drop(compare(field("ip", "daddr"), Operator::EQ, prefix(&overlay))),
                        drop(gre()),
                    ]);
                }
            }
            NftRule::ClampMss { link } => self.objects.push(rule(
                "forward",
                vec![
                    interface(MetaKey::Oifname, Operator::EQ, link),
                    compare(field("tcp", "flags"), Operator::IN, Expression::Number(TCP_SYN)),
                    mangle(
                        named(NamedExpression::TcpOption(TcpOption {
                            name: "maxseg".into(),
                            field: Some("size".into()),
                        })),
                        named(NamedExpression::RT(RT { key: RTKey::MTU, family: None })),
                    ),
                ],
            )),
        }
    }
}

/// A flow keeps what its first packet got: from its conntrack mark, or from the shim it arrived in.
fn pinning() -> [NfListObject<'static>; 3] {
    let masked = |value, mask| binary_and(value, mask);
    let back = Statement::Return(None);
    [
        rule(
            "classify",
            vec![
                compare(masked(meta(MetaKey::Mark), mark::PATH_MASK), Operator::NEQ, Expression::Number(0)),
                back.clone(),
            ],
        ),
        rule(
            "classify",
            vec![
                compare(masked(ct_mark(), mark::CLASS_MASK), Operator::NEQ, Expression::Number(0)),
                mangle(meta(MetaKey::Mark), masked(ct_mark(), mark::CLASS_MASK)),
                back.clone(),
            ],
        ),
        rule(
            "classify",
            vec![
                compare(masked(meta(MetaKey::Mark), mark::CLASS_MASK), Operator::NEQ, Expression::Number(0)),
                mangle(ct_mark(), masked(meta(MetaKey::Mark), mark::CLASS_MASK)),
                back,
            ],
        ),
    ]
}

fn pin(class: u8) -> Vec<Statement<'static>> {
    let value = || Expression::Number(mark::class(class));
    vec![mangle(meta(MetaKey::Mark), value()), mangle(ct_mark(), value()), Statement::Return(None)]
}

/// The copy of a packet that leaves by another path. Only what has the copy's bit; not what a backup route already
/// sends out of the copy's own link.
fn copy(slot: u8, link: &str, to: &CopyTarget) -> NfListObject<'static> {
    let bit = mark::copy_bit(slot);
    let others = format!("{}*", link.trim_end_matches(|c: char| c.is_ascii_digit()));
    let address = match to {
        CopyTarget::Gateway(gateway) => Expression::String(gateway.to_string().into()),
        CopyTarget::Destination => field("ip", "daddr"),
    };
    let statements = vec![
        compare(binary_and(meta(MetaKey::Mark), bit), Operator::EQ, Expression::Number(bit)),
        interface(MetaKey::Oifname, Operator::NEQ, link),
        interface(MetaKey::Oifname, Operator::EQ, &others),
        Statement::Dup(Dup { addr: address, dev: Some(Expression::String(link.to_owned().into())) }),
    ];
    rule_in(NfFamily::IP, "copy", statements)
}

fn table(family: NfFamily) -> NfListObject<'static> {
    NfListObject::Table(Table { family, name: ownership::NFT_TABLE.into(), handle: None })
}

fn chain(family: NfFamily, name: &'static str) -> NfListObject<'static> {
    NfListObject::Chain(Chain { family, table: ownership::NFT_TABLE.into(), name: name.into(), ..Chain::default() })
}

fn base_chain(family: NfFamily, name: &'static str, hook: NfHook, priority: i32) -> NfListObject<'static> {
    NfListObject::Chain(Chain {
        family,
        table: ownership::NFT_TABLE.into(),
        name: name.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    })
}

fn rule(chain: &'static str, statements: Vec<Statement<'static>>) -> NfListObject<'static> {
    rule_in(NfFamily::INet, chain, statements)
}

fn rule_in(family: NfFamily, chain: &'static str, statements: Vec<Statement<'static>>) -> NfListObject<'static> {
    NfListObject::Rule(Rule {
        family,
        table: ownership::NFT_TABLE.into(),
        chain: chain.into(),
        expr: Cow::Owned(statements),
        ..Rule::default()
    })
}
