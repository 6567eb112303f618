//! Debian's stock kernels: which were tested, and which can be had today.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::apt::{self, Apt, Package};

/// The series of the kernel that has drivers for everything; the others are for machines in a cloud.
pub const GENERIC: &str = "6.1";

/// A kernel the product has to run on.
pub struct Kernel {
    /// As people call it.
    pub series: &'static str,
    /// The package that was tested when this line was written. Debian's mirrors drop a kernel when the next one comes
    /// out: then that one is tested, and says so, until somebody writes it down here.
    package: &'static str,
    version: &'static str,
    sha256: &'static str,
    /// The package that depends on the newest kernel of its kind in each release.
    newest: &'static str,
}

/// Every one of them, the oldest first.
pub const KERNELS: [Kernel; 2] = [
    // Debian 12's own: clsact is all there is to attach a program by
    Kernel {
        series: GENERIC,
        package: "linux-image-6.1.0-56-amd64",
        version: "6.1.192-2",
        sha256: "a86e2049672f52354c4536a089203b6c82639420424d31c91cf31a181fd4d8f1",
        newest: "linux-image-amd64",
    },
    // the one from its backports: tcx
    Kernel {
        series: "6.12",
        package: "linux-image-6.12.95+deb12-cloud-amd64",
        version: "6.12.95-1~bpo12+1",
        sha256: "69c92f43b23821de79576fa4d7c86e2924ae2c1b247a47cc5ed9339e220fbcb7",
        newest: "linux-image-cloud-amd64",
    },
];

/// A kernel on disk.
pub struct Unpacked {
    /// Where its package is unpacked.
    pub folder: PathBuf,
    /// As `uname -r` says.
    pub release: String,
    pub image: PathBuf,
    /// Which package it is, and how it relates to the one that was tested before.
    pub origin: String,
}

impl Kernel {
    /// The kernel, unpacked below `cache`: from there if it was there before, else from Debian.
    ///
    /// # Errors
    /// When it is not to be had, or is not the one that was tested although it says so.
    pub fn fetch(&self, cache: &Path) -> Result<Unpacked> {
        let tested = Package { name: self.package.to_owned(), version: self.version.to_owned() };
        let place = |package: &Package| cache.join(format!("{}_{}", package.name, package.version));
        if place(&tested).exists() {
            return self.unpacked(&tested, place(&tested));
        }
        let apt = Apt::update(&cache.join("apt"))?;
        let package = if apt.has(&tested)? { tested } else { self.newest(&apt)? };
        let folder = place(&package);
        if !folder.exists() {
            let file = apt.download(&package)?;
            self.check(&package, &sha256(&file)?)?;
            let partial = folder.with_extension("partial");
            let _ = fs::remove_dir_all(&partial);
            apt::unpack(&file, &partial)?;
            fs::rename(&file, partial.join("package.deb"))?;
            fs::rename(&partial, &folder)?;
        }
        self.unpacked(&package, folder)
    }

    /// The newest of this series that Debian has.
    fn newest(&self, apt: &Apt) -> Result<Package> {
        let prefix = format!("linux-image-{}.", self.series);
        let found = apt.first_dependencies(self.newest)?.into_iter().find(|package| package.name.starts_with(&prefix));
        found.with_context(|| {
            format!("Debian has neither {} {} nor another {}", self.package, self.version, self.series)
        })
    }

    fn check(&self, package: &Package, sha256: &str) -> Result<()> {
        if package.version == self.version && sha256 != self.sha256 {
            bail!("{package} has SHA-256 {sha256}, not {}: it is not the package that was tested", self.sha256);
        }
        Ok(())
    }

    fn unpacked(&self, package: &Package, folder: PathBuf) -> Result<Unpacked> {
        let sha256 = sha256(&folder.join("package.deb"))?;
        self.check(package, &sha256)?;
        let origin = if package.version == self.version {
            format!("{package}, SHA-256 as recorded: {sha256}")
        } else {
            format!(
                "{package}, SHA-256 {sha256}, signed by Debian: NEWER than the recorded {} {}, SHA-256 {}",
                self.package, self.version, self.sha256
            )
        };
        let release = package.name.trim_start_matches("linux-image-").to_owned();
        let image = folder.join(format!("boot/vmlinuz-{release}"));
        ensure!(image.exists(), "{} has no {}", package, image.display());
        Ok(Unpacked { folder, release, image, origin })
    }
}

fn sha256(file: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut source = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let mut block = vec![0; 1 << 20];
    loop {
        let length = source.read(&mut block)?;
        if length == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&block[..length]);
    }
}
