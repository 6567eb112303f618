//! The cases: a sentence each, and what it takes to show it.

mod budget;
mod card;
mod copies;
mod direct;
mod doctor;
mod expiry;
mod fault;
mod foreign;
mod heal;
mod host;
mod in_place;
mod ipv6;
mod kill;
mod lease;
mod plan;
mod random;
mod report;
mod resolver;
mod session;
mod settle;
mod teardown;
mod transition;
mod treatments;
mod trouble;
mod unseen;

use anyhow::Result;

/// A case.
pub type Case = fn() -> Result<()>;

/// Every case by the sentence it shows.
pub fn all() -> Vec<(&'static str, Case)> {
    [
        settle::CASES,
        kill::CASES,
        fault::CASES,
        heal::CASES,
        host::CASES,
        foreign::CASES,
        teardown::CASES,
        transition::CASES,
        trouble::CASES,
        plan::CASES,
        random::CASES,
        unseen::CASES,
        lease::CASES,
        expiry::CASES,
        ipv6::CASES,
        resolver::CASES,
        report::CASES,
        session::CASES,
        treatments::CASES,
        direct::CASES,
        budget::CASES,
        copies::CASES,
        card::CASES,
        in_place::CASES,
        doctor::CASES,
    ]
    .concat()
}

/// Cases for kernels with 802.1Q, and whether this is one.
pub fn stock() -> (&'static [(&'static str, Case)], bool) {
    (treatments::STOCK_CASES, treatments::has_802_1q())
}
