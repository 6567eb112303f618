//! The first file system of a machine: busybox, our init, and the modules that lead to the shared root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::kernel::Unpacked;
use crate::tools::Tools;

/// What a machine needs before it can load modules by itself: its bus, the port, the share, and the layer above it.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// Makes the initramfs for `kernel` in `folder`, which becomes `program` in the end; returns the file.
///
/// # Errors
/// When the kernel's package lacks a module, or a tool fails.
pub fn make(tools: &Tools, kernel: &Unpacked, program: &Path, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("initramfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for part in ["bin", "dev", "proc", "sys", "host", "layer", "new", "modules"] {
        fs::create_dir_all(root.join(part))?;
    }
    fs::copy(tools.busybox(), root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    fs::write(root.join("init"), include_str!("init.sh"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let order = [("RELEASE", kernel.release.clone()), ("KERNEL", text(&kernel.folder)?), ("PROGRAM", text(program)?)];
    let order: String = order.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    fs::write(root.join("order"), order)?;

    let mut names = String::new();
    for path in modules(kernel)? {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let packed = path.extension().is_some_and(|extension| extension == "xz");
        let bytes = if packed { tools.applet(&root, "unxz", &["-c"], &bytes)? } else { bytes };
        let name = path.file_stem().filter(|_| packed).or(path.file_name()).context("a module without a name")?;
        fs::write(root.join("modules").join(name), bytes)?;
        names.push_str(&format!("{}\n", name.to_string_lossy()));
    }
    fs::write(root.join("modules/order"), names)?;

    let list = tools.applet(&root, "find", &["."], b"")?;
    let archive = tools.applet(&root, "cpio", &["-o", "-H", "newc"], &list)?;
    let file = folder.join("initramfs.cpio");
    fs::write(&file, archive)?;
    Ok(file)
}

/// The files of [`MODULES`] and what they depend on, in the order in which they load. What is built into the kernel
/// has none.
fn modules(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().with_context(|| format!("starting {program}"))?;
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{program} {}: {error}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let folder = text(&kernel.folder)?;
    if !kernel.folder.join(format!("lib/modules/{}/modules.dep.bin", kernel.release)).exists() {
        output("depmod", &["-b", &folder, &kernel.release])?;
    }
    let mut files = Vec::new();
    for module in MODULES {
        let lines = output("modprobe", &["-d", &folder, "-S", &kernel.release, "--show-depends", module])?;
        for file in lines.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
}
