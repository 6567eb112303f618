//! What the segmentation self-test makes of a stock kernel. Either verdict is right; none is not.

use anyhow::{Result, ensure};
use pathsteer_bpf::selftest::{Outcome, segmentation_selftest};

/// Runs it and prints the verdict.
///
/// # Errors
/// When it came to none.
pub fn test() -> Result<()> {
    let Outcome { allowed, why } = segmentation_selftest();
    println!(
        "vm: packets of several segments {} the shim whole: {why}",
        if allowed { "may pass" } else { "may not pass" }
    );
    ensure!(!why.contains("could not run") && !why.contains("itself failed"), "the self-test has no verdict: {why}");
    Ok(())
}
