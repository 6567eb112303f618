//! The cases: a sentence each, and what it takes to show it.

mod heal;
mod kill;
mod settle;
mod teardown;

use anyhow::Result;

/// A case.
pub type Case = fn() -> Result<()>;

/// Every case by the sentence it shows.
pub fn all() -> Vec<(&'static str, Case)> {
    [settle::CASES, kill::CASES, heal::CASES, teardown::CASES].concat()
}
