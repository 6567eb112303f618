//! A long-running program of the lab, its log, and how it is killed and started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use crate::host::Host;

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// For people, and the name of the log.
    pub name: String,
    pub program: OsString,
    pub arguments: Vec<String>,
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    host: Host,
    recipe: Recipe,
    log: PathBuf,
    child: Child,
    /// What it finds in its environment when it is started again.
    pub variables: BTreeMap<String, String>,
}

impl Daemon {
    /// Starts `recipe` on `host`; what it prints goes to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(host: &Host, recipe: Recipe, logs: &Path) -> Result<Daemon> {
        let log = logs.join(format!("{}.log", recipe.name));
        let variables = BTreeMap::new();
        let child = spawn(host, &recipe, &log, &variables)?;
        Ok(Daemon { host: host.clone(), recipe, log, child, variables })
    }

    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, as seen inside the sandbox.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a chance to clean up (SIGKILL to its process id, and to no other).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, with the same log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.host, &self.recipe, &self.log, &self.variables)?;
        Ok(())
    }

    /// # Errors
    /// When it has ended by itself: how, and where its log is.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}); its log is {}", self.recipe.name, self.log.display()),
        }
    }

    /// The last `lines` of its log.
    pub fn last_lines(&self, lines: usize) -> Vec<String> {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(host: &Host, recipe: &Recipe, log: &Path, variables: &BTreeMap<String, String>) -> Result<Child> {
    let mut output: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening the log {}", log.display()))?;
    writeln!(output, "--- {} starts on {}", recipe.name, host.name)?;
    host.command(&recipe.program)
        .args(&recipe.arguments)
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("starting {} ({})", recipe.name, recipe.program.to_string_lossy()))
}
