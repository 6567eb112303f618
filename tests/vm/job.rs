//! What the host asks of the machine and what it answers: a line of JSON each.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the virtio port they talk through.
pub const PORT: &str = "orders";

/// The machine's first word.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// As `uname -r` says.
    pub release: String,
    /// Seconds since the kernel began.
    pub uptime: f64,
}

/// A program to be run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Added to what every job has.
    pub environment: BTreeMap<String, String>,
    /// After that many seconds every process in the machine is killed.
    pub deadline: u64,
    /// What it leaves running goes on.
    pub stays: bool,
}

/// What became of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// None when it was killed.
    pub code: Option<i32>,
    pub seconds: f64,
    /// The end of what it printed, both streams in their order.
    pub output: String,
}

/// Writes `message` to the other side.
///
/// # Errors
/// When the other side has gone.
pub fn say(wire: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    wire.write_all(&line)?;
    Ok(wire.flush()?)
}

/// Reads the other side's next message.
///
/// # Errors
/// When it has gone, is silent for longer than the wire allows, or speaks another language.
pub fn hear<T: DeserializeOwned>(wire: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    ensure!(wire.read_line(&mut line)? > 0, "the other side has hung up");
    serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
}
