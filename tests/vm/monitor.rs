//! The machine's emulator, told from inside what to plug and to unplug, in its own language (QMP).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::guest;

/// Name of the virtio port that leads to the emulator's monitor.
pub const PORT: &str = "monitor";

/// A conversation.
pub struct Monitor {
    port: BufReader<File>,
}

impl Monitor {
    /// # Errors
    /// When the machine has no such port.
    pub fn open() -> Result<Monitor> {
        let port = OpenOptions::new().read(true).write(true).open(guest::named_port(PORT)?)?;
        let mut monitor = Monitor { port: BufReader::new(port) };
        // Only the first conversation has to begin so, any other is told that it is over.
        let _ = monitor.execute("qmp_capabilities", json!({}));
        Ok(monitor)
    }

    /// Carries out `command`; returns what it answers.
    ///
    /// # Errors
    /// When it is refused, with the emulator's words.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({"execute": command, "arguments": arguments});
        writeln!(self.port.get_mut(), "{line}")?;
        loop {
            let mut line = String::new();
            if self.port.read_line(&mut line)? == 0 {
                bail!("the monitor has hung up");
            }
            let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {}", error["desc"]);
            }
            // Greetings and events come in between.
            if let Some(answer) = answer.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }
}
