//! The words of nft's JSON: what a rule looks at, compares and sets.

use ipnet::IpNet;
use nftables::{
    expr::{BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, SetItem},
    stmt::{Mangle, Match, Operator, Statement},
};

pub(super) fn named(expression: NamedExpression<'static>) -> Expression<'static> {
    Expression::Named(expression)
}

pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn ct_mark() -> Expression<'static> {
    named(NamedExpression::CT(CT { key: "mark".into(), family: None, dir: None }))
}

pub(super) fn field(protocol: &str, field: &str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.to_owned().into(), field: field.to_owned().into() };
    named(NamedExpression::Payload(Payload::PayloadField(field)))
}

pub(super) fn prefix(net: &IpNet) -> Expression<'static> {
    let address = Expression::String(net.network().to_string().into());
    if net.prefix_len() == net.max_prefix_len() {
        return address;
    }
    named(NamedExpression::Prefix(Prefix { addr: Box::new(address), len: net.prefix_len().into() }))
}

/// nft lists a set of one as that one.
pub(super) fn one_or_set(mut all: Vec<Expression<'static>>) -> Expression<'static> {
    match all.len() {
        1 => all.remove(0),
        _ => named(NamedExpression::Set(all.into_iter().map(SetItem::Element).collect())),
    }
}

pub(super) fn binary_and(value: Expression<'static>, mask: u32) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(value, Expression::Number(mask))))
}

pub(super) fn compare(left: Expression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

pub(super) fn interface(side: MetaKey, op: Operator, name: &str) -> Statement<'static> {
    compare(meta(side), op, Expression::String(name.to_owned().into()))
}

pub(super) fn mangle(key: Expression<'static>, value: Expression<'static>) -> Statement<'static> {
    Statement::Mangle(Mangle { key, value })
}
