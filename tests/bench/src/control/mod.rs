//! Section `control`: how fast what is declared reaches the kernels, on one node and on hundreds, what it costs to compile,
//! and what the operator takes.

mod api;
mod cli;
mod compile;
mod declared;
mod edge;
mod everyone;
mod fleet;
mod folder;
mod headquarters;
mod nodes;
mod objects;
mod store;

use anyhow::Result;

use crate::node::Folders;
use crate::report::Row;

/// The measurements of the section, by name.
pub const NAMES: [&str; 5] = ["compile", "one-node", "fleet", "objects", "cli"];

/// Measures what `wanted` says of [`NAMES`], and hands the rows of each over as soon as they are there, or why there are
/// none.
pub fn measure(folders: &Folders, wanted: &[&str], mut done: impl FnMut(&str, Result<Vec<Row>>)) {
    for name in wanted {
        let rows = match *name {
            "compile" => compile::measure(),
            "one-node" => edge::measure(folders),
            "fleet" => fleet::measure(folders),
            "cli" => cli::measure(folders),
            _ => objects::measure(folders),
        };
        done(name, rows);
    }
}
