//! Section `datapath`: what packets cost.

mod bytes;
mod cost;
mod decision;
mod latency;
mod memory;
mod program;
mod rigs;
mod tap;
mod throughput;

use anyhow::Result;

use crate::node::Folders;
use crate::report::Row;

use rigs::Rigs;

/// The measurements of the section, by name.
pub const NAMES: [&str; 7] = ["program", "decision", "latency", "bytes", "cost", "memory", "throughput"];

/// Measures what `wanted` says of [`NAMES`], and hands the rows of each over as soon as they are there, or why there are
/// none.
pub fn measure(folders: &Folders, wanted: &[&str], mut done: impl FnMut(&str, Result<Vec<Row>>)) {
    let mut rigs = Rigs::new(folders);
    for name in wanted {
        let rows = match *name {
            "program" => program::measure(&mut rigs),
            "decision" => decision::measure(folders),
            "latency" => latency::measure(&mut rigs),
            "bytes" => bytes::measure(&mut rigs),
            "cost" => cost::measure(&mut rigs),
            "memory" => memory::measure(&mut rigs),
            _ => throughput::measure(&mut rigs),
        };
        done(name, rows);
    }
}
