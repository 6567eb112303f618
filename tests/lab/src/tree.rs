//! The source tree that this was built from: where manifests are read and logs are written.

use std::io;
use std::path::{Path, PathBuf};

use crate::network::plan::Plan;

/// The manifests that match `plan`.
pub fn examples(plan: &Plan) -> PathBuf {
    root().join(plan.examples)
}

/// Where a suite writes.
pub fn out(suite: &str) -> PathBuf {
    root().join("target").join(suite)
}

/// A fresh folder for logs below `out`. Those of the run before are gone then.
///
/// # Errors
/// When it cannot be made.
pub fn logs(out: &Path) -> io::Result<PathBuf> {
    let logs = out.join("logs");
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }
    std::fs::create_dir_all(&logs)?;
    Ok(logs)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"))
}
