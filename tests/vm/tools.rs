//! What a machine is emulated with: QEMU, the server of the shared root and a static busybox, with every library they
//! need down to the C library. Unpacked into a folder and run from there by their own loader, so that it does not matter
//! what is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use pathsteer_lab::daemon::Recipe;

use crate::apt::{self, Apt};

/// From the backports: before 8.1 an emulated processor may run a breakpoint that another has just taken out of the
/// kernel's code, and the kernel dies of it ("Oops: int3").
const QEMU: (&str, &[&str]) = ("bookworm-backports", &["qemu-system-x86"]);
/// The QEMU of Debian 12 is the last that brings a server of shared folders.
const OTHERS: (&str, &[&str]) = ("bookworm", &["qemu-system-common", "busybox-static"]);

/// What logs in to a Wi-Fi network, what it logs in to, and what adds an interface to a radio. Used in a machine.
const WIFI: (&str, &[&str]) = ("bookworm", &["hostapd", "wpasupplicant", "iw"]);

/// Unpacked tools.
pub struct Tools {
    qemu: PathBuf,
    others: PathBuf,
    wifi: PathBuf,
}

impl Tools {
    /// The tools below `cache`: from there if they were there before, else from Debian.
    ///
    /// # Errors
    /// When they are not to be had.
    pub fn fetch(cache: &Path) -> Result<Tools> {
        let fetch = |name: &str, (release, packages)| {
            let folder = cache.join(name);
            if !folder.exists() {
                let partial = folder.with_extension("partial");
                let _ = fs::remove_dir_all(&partial);
                for file in Apt::update(&cache.join("apt"))?.download_whole(release, packages)? {
                    apt::unpack(&file, &partial)?;
                }
                fs::rename(&partial, &folder)?;
            }
            Ok::<_, anyhow::Error>(folder)
        };
        Ok(Tools { qemu: fetch("qemu", QEMU)?, others: fetch("tools", OTHERS)?, wifi: fetch("wifi", WIFI)? })
    }

    /// QEMU, knowing where its firmware and its parts are: started by another's loader, it does not find them itself.
    pub fn qemu(&self) -> Command {
        let mut command = program(&self.qemu, "usr/bin/qemu-system-x86_64");
        command.env("QEMU_MODULE_DIR", self.qemu.join("usr/lib/x86_64-linux-gnu/qemu"));
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.qemu.join(folder));
        }
        command
    }

    /// The program that serves a folder to a machine.
    pub fn virtiofsd(&self) -> Command {
        program(&self.others, "usr/lib/qemu/virtiofsd")
    }

    /// A program for Wi-Fi at `path` of its package, with `arguments`.
    pub fn wifi(&self, path: &str, arguments: &[&str]) -> Recipe {
        let command = program(&self.wifi, path);
        let before = command.get_args().map(|word| word.to_string_lossy().into_owned());
        Recipe {
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            program: command.get_program().to_owned(),
            arguments: before.chain(arguments.iter().map(|word| (*word).to_owned())).collect(),
        }
    }

    /// The static busybox.
    pub fn busybox(&self) -> PathBuf {
        self.others.join("bin/busybox")
    }

    /// What busybox's `applet` makes of `arguments`, run in `folder`.
    ///
    /// # Errors
    /// When it fails.
    pub fn applet(&self, folder: &Path, applet: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        use std::io::Write;
        use std::process::Stdio;
        let mut child = Command::new(self.busybox())
            .arg(applet)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting busybox {applet}"))?;
        let mut stdin = child.stdin.take().context("busybox has no input")?;
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output()
        })?;
        anyhow::ensure!(output.status.success(), "busybox {applet} {} failed", arguments.join(" "));
        Ok(output.stdout)
    }
}

/// The program at `path` of the unpacked packages in `root`, with their libraries.
fn program(root: &Path, path: &str) -> Command {
    let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|part| root.join(part));
    let [first, second] = libraries.map(|path| path.display().to_string());
    let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(format!("{first}:{second}")).arg(root.join(path));
    command
}
