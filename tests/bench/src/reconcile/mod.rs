//! Section `reconcile`: how long the agent takes to make the kernel as declared, and what it takes when it is.

mod apply;
mod change;
mod edge;
pub mod netlink;
mod objects;
mod operator;
mod others;
mod served;

use anyhow::Result;

use crate::node::Folders;
use crate::report::Row;

/// The measurements of the section, by name.
pub const NAMES: [&str; 3] = ["apply", "growth", "edge"];

/// Measures what `wanted` says of [`NAMES`], and hands the rows of each over as soon as they are there, or why there are
/// none.
pub fn measure(folders: &Folders, wanted: &[&str], mut done: impl FnMut(&str, Result<Vec<Row>>)) {
    for name in wanted {
        let rows = match *name {
            "apply" => apply::measure(folders),
            "growth" => apply::growth(folders),
            _ => edge::measure(folders),
        };
        done(name, rows);
    }
}
