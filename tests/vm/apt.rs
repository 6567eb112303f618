//! Debian's packages without installing any: apt with a configuration, lists and a cache of its own, below one folder.
//! What it fetches is signed by Debian's keyring; the machine's own apt and dpkg are not touched.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A stock kernel may come from each of these. A private `status` file that lists nothing as installed makes apt's
/// choices the same on every machine.
const SOURCES: &str = "\
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
";

/// A private apt.
pub struct Apt {
    folder: PathBuf,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
}

impl Apt {
    /// Makes the configuration below `folder` and reads what Debian has today.
    ///
    /// # Errors
    /// When Debian's mirror cannot be reached, or its signature is not Debian's.
    pub fn update(folder: &Path) -> Result<Apt> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("sources.list"), SOURCES)?;
        fs::write(folder.join("status"), "")?;
        let apt = Apt { folder: folder.to_owned() };
        apt.run("apt-get", ["-qq", "update"], folder)?;
        Ok(apt)
    }

    /// What the package `name` of each version it has depends on first, the newest first.
    ///
    /// # Errors
    /// When there is no such package.
    pub fn first_dependencies(&self, name: &str) -> Result<Vec<Package>> {
        let text = self.run("apt-cache", ["show", name], &self.folder)?;
        let dependencies = text.lines().filter_map(|line| line.strip_prefix("Depends: "));
        // `name (= version), …`
        let parse = |words: &str| {
            let (name, rest) = words.split_once(" (= ")?;
            let version = rest.split_once(')')?.0;
            Some(Package { name: name.to_owned(), version: version.to_owned() })
        };
        Ok(dependencies.filter_map(parse).collect())
    }

    /// Whether the mirror still has `package`.
    ///
    /// # Errors
    /// When apt does not run.
    pub fn has(&self, package: &Package) -> Result<bool> {
        let table = self.run("apt-cache", ["madison", &package.name], &self.folder)?;
        // `name | version | where`
        Ok(table.lines().any(|line| line.split('|').nth(1).map(str::trim) == Some(&package.version)))
    }

    /// Downloads `package` alone; returns the file.
    ///
    /// # Errors
    /// When the mirror does not have it, or what came is not what Debian signed.
    pub fn download(&self, package: &Package) -> Result<PathBuf> {
        let folder = self.folder.join("download");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        self.run("apt-get", ["-qq".to_owned(), "download".to_owned(), package.to_string()], &folder)?;
        let file = fs::read_dir(&folder)?.next().with_context(|| format!("{package} was not downloaded"))?;
        Ok(file?.path())
    }

    /// Downloads `names` of `release` and everything they depend on; returns the files.
    ///
    /// # Errors
    /// When the mirror does not have them, or what came is not what Debian signed.
    pub fn download_whole(&self, release: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
        self.run("apt-get", ["clean"], &self.folder)?;
        let order = ["-qq", "--yes", "--no-install-recommends", "--download-only", "-t", release, "install"];
        self.run("apt-get", order.iter().chain(names), &self.folder)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.join("cache/archives"))? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
        folder: &Path,
    ) -> Result<String> {
        let mut command = Command::new(program);
        let own = |part: &str| self.folder.join(part).display().to_string();
        for (option, value) in [
            ("Dir::Etc::SourceList", own("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::State", own("")),
            ("Dir::State::Lists", own("lists")),
            ("Dir::State::Status", own("status")),
            ("Dir::Cache", own("cache")),
            // neither translations nor descriptions for a shop window
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
            // its own user cannot enter the folders of a checkout in somebody's home
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        let output = command.args(arguments).current_dir(folder).env("LC_ALL", "C").output();
        let output = output.with_context(|| format!("starting {program}"))?;
        if !output.status.success() {
            bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl std::fmt::Display for Package {
    /// As apt takes it on its command line.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}={}", self.name, self.version)
    }
}

/// Unpacks the package in `file` below `folder`.
///
/// # Errors
/// When it is damaged.
pub fn unpack(file: &Path, folder: &Path) -> Result<()> {
    let status = Command::new("dpkg").arg("-x").args([file, folder]).status().context("starting dpkg")?;
    anyhow::ensure!(status.success(), "{} does not unpack", file.display());
    Ok(())
}
