//! Writes `schemas/<kind>.schema.json` for every kind, for the plan and for the report, and the pages of the manifest
//! reference, `docs/reference/<kind>.md`: `make schemas`.

use std::path::Path;

use pathsteer_crds::{reference, schema};

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (folder, files) in [("schemas", schema::files()), ("docs/reference", reference::files())] {
        for (name, text) in files {
            std::fs::write(root.join(folder).join(&name), text)?;
            println!("{folder}/{name}");
        }
    }
    Ok(())
}
