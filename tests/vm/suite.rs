//! What runs on each kernel: the test binaries that cargo has built for the host, and programs of this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::job::Job;

/// A suite.
pub struct Suite {
    /// What it shows, as the end of a test's name.
    pub name: &'static str,
    pub program: Program,
    pub arguments: &'static [&'static str],
    /// Seconds, on a loaded host.
    pub deadline: u64,
}

/// What a suite is carried out by.
pub enum Program {
    /// The test target of a package.
    Target { package: &'static str, name: &'static str },
    /// This program.
    Own,
}

/// In the order in which they run.
pub const SUITES: &[Suite] = &[Suite {
    name: "programs_verify_attach_and_carry_packets",
    program: Program::Target { package: "pathsteer-bpf", name: "kernel" },
    arguments: &[],
    deadline: 240,
}];

/// Where cargo has put the test targets: by package and target, the program and its package's folder.
pub struct Targets(BTreeMap<(String, String), (PathBuf, PathBuf)>);

/// What cargo says about a program it has built, as far as it matters here.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

impl Targets {
    /// Builds the test targets in `root` that the suites need. For the whole workspace, so that features are those of
    /// `cargo test --workspace` and nothing is built twice.
    ///
    /// # Errors
    /// When cargo cannot.
    pub fn build(root: &Path) -> Result<Targets> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
        for suite in SUITES {
            if let Program::Target { name, .. } = suite.program {
                command.args(["--test", name]);
            }
        }
        let output = command.current_dir(root).stderr(Stdio::inherit()).output().context("starting cargo")?;
        ensure!(output.status.success(), "cargo could not build the tests");
        let mut targets = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // cargo has other messages too
            let Ok(Artifact { manifest_path, target, executable: Some(program) }) = serde_json::from_str(line) else {
                continue;
            };
            let folder = manifest_path.parent().context("a manifest in no folder")?.to_owned();
            targets.insert((package(&manifest_path)?, target.name), (program, folder));
        }
        Ok(Targets(targets))
    }

    /// What carries out `suite`.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn job(&self, suite: &Suite) -> Result<Job> {
        let (program, folder) = match suite.program {
            Program::Own => (std::env::current_exe()?, PathBuf::from("/")),
            Program::Target { package, name } => self
                .0
                .get(&(package.to_owned(), name.to_owned()))
                .with_context(|| format!("{package} has no tests called {name}"))?
                .clone(),
        };
        let environment = [
            ("CARGO_MANIFEST_DIR", folder.to_string_lossy().into_owned()),
            // What a stock kernel has must be there: no test may be left out.
            ("PATHSTEER_REQUIRE_STOCK", "1".to_owned()),
            // Emulated, everything takes ten times as long.
            ("PATHSTEER_PATIENCE", "10".to_owned()),
        ];
        Ok(Job {
            program,
            arguments: suite.arguments.iter().map(|word| (*word).to_owned()).collect(),
            folder,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            deadline: suite.deadline,
        })
    }
}

/// The name of the package whose manifest is at `path`.
fn package(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).with_context(|| format!("{} names no package", path.display()))
}

/// What `output` of a test program says was left out or not run at all, if anything.
pub fn gaps(output: &str) -> Option<String> {
    let results: Vec<&str> = output.lines().filter(|line| line.starts_with("test result: ")).collect();
    let count = |word: &str| -> u64 {
        let counts = results.iter().flat_map(|line| line.split("; "));
        counts.filter_map(|part| part.trim().strip_suffix(word)?.trim().rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    match (count(" passed"), count(" ignored")) {
        (0, _) => Some("no test has run".to_owned()),
        (_, 0) => None,
        (_, ignored) => Some(format!("{ignored} tests were left out")),
    }
}
