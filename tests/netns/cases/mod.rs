//! The cases: a sentence each, and what it takes to show it.

mod settle;

use anyhow::Result;

/// A case.
pub type Case = fn() -> Result<()>;

/// Every case by the sentence it shows.
pub fn all() -> Vec<(&'static str, Case)> {
    [settle::CASES].concat()
}
