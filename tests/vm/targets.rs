//! Test programs that cargo has built on the host, by the folder of their package and the name of the target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Where cargo has put them.
pub struct Targets {
    root: PathBuf,
    /// By manifest and target.
    programs: BTreeMap<(PathBuf, String), PathBuf>,
}

/// What cargo says about something it has built, as far as it matters here.
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
    /// Builds the test targets `names` of the workspace in `root`. Of the whole of it, so that features are those of
    /// `cargo test --workspace` and nothing is built twice.
    ///
    /// # Errors
    /// When cargo cannot.
    pub fn build<'a>(root: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Targets> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo says to a test about its package is nothing to another cargo, but build scripts that watch these
        // would run again, and everything above them be built again.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
        for name in names {
            command.args(["--test", name]);
        }
        let output = command.current_dir(root).stderr(Stdio::inherit()).output().context("starting cargo")?;
        ensure!(output.status.success(), "cargo could not build the tests");
        let mut programs = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // cargo has messages of other kinds too
            if let Ok(Artifact { manifest_path, target, executable: Some(program) }) = serde_json::from_str(line) {
                programs.insert((manifest_path, target.name), program);
            }
        }
        Ok(Targets { root: root.to_owned(), programs })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The program of the target `name` of the package in `folder`.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn program(&self, folder: &str, name: &str) -> Result<&Path> {
        let key = (self.root.join(folder).join("Cargo.toml"), name.to_owned());
        let found = self.programs.get(&key).map(PathBuf::as_path);
        found.with_context(|| format!("{folder} has no tests called {name}"))
    }
}
