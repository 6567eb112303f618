//! What the product makes of a stock kernel before it does anything: how programs are attached there, and whether packets
//! of several segments may pass the shim whole.

use anyhow::{Context, Result, ensure};
use pathsteer_bpf::Hook;
use pathsteer_bpf::selftest::{Outcome, segmentation_selftest};

/// The first kernel with tcx.
const TCX: (u32, u32) = (6, 6);

/// Prints both.
///
/// # Errors
/// When it is the wrong hook for this kernel, or the self-test does not let them.
pub fn test() -> Result<()> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let (hook, wanted) = (Hook::of_this_kernel()?, if version(&release)? < TCX { Hook::Clsact } else { Hook::Tcx });
    println!("vm: programs are attached by {hook:?}");
    ensure!(hook == wanted, "{release} has {wanted:?}");
    let Outcome { allowed, why } = segmentation_selftest();
    ensure!(allowed, "packets of several segments may not pass the shim whole: {why}");
    println!("vm: packets of several segments pass the shim whole: {why}");
    Ok(())
}

/// The first two numbers of a release like `6.1.0-56-cloud-amd64`.
fn version(release: &str) -> Result<(u32, u32)> {
    let mut numbers = release.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => None.with_context(|| format!("{release} is no release of Linux")),
    }
}
