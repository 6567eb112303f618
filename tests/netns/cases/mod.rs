//! The cases: a sentence each, and what it takes to show it.

mod foreign;
mod heal;
mod kill;
mod lease;
mod settle;
mod teardown;
mod transition;
mod trouble;

use anyhow::Result;

/// A case.
pub type Case = fn() -> Result<()>;

/// Every case by the sentence it shows.
pub fn all() -> Vec<(&'static str, Case)> {
    [
        settle::CASES,
        kill::CASES,
        heal::CASES,
        foreign::CASES,
        teardown::CASES,
        transition::CASES,
        trouble::CASES,
        lease::CASES,
    ]
    .concat()
}
