//! Writes `schemas/<kind>.schema.json` for every kind, for the plan and for the report: `make schemas`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    for (name, json) in pathsteer_crds::schema::files() {
        std::fs::write(folder.join(&name), json)?;
        println!("schemas/{name}");
    }
    Ok(())
}
