//! A case: a folder below `tests/cases` with manifests, what nodes have reported, and what must come of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pathsteer_compiler::{Compiled, CompiledPlan, Inventory, compile};
use pathsteer_crds::{AnyObject, manifest};

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

/// The names of all cases.
pub fn all() -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder("")).unwrap().map(|entry| name_of(&entry.unwrap().path())).collect();
    names.sort();
    names
}

/// What the case `name` declares. `identities.yaml` and `allocations.yaml` (of an earlier compilation) may be missing.
pub fn inventory(name: &str) -> Inventory {
    let mut inventory = Inventory {
        identities: read(&folder(name).join("identities.yaml")),
        allocations: read(&folder(name).join("allocations.yaml")),
        ..Inventory::default()
    };
    objects(name).into_iter().for_each(|object| inventory.insert(object));
    inventory
}

/// The objects of a case: its own `manifests.yaml`, or else the example of the same name.
pub fn objects(name: &str) -> Vec<AnyObject> {
    let parsed = files(name)
        .into_iter()
        .map(|file| manifest::parse(&fs::read_to_string(&file).unwrap(), &file.display().to_string()));
    parsed.flat_map(|located| located.unwrap()).map(|located| located.object).collect()
}

/// The same as it is written.
pub fn texts(name: &str) -> Vec<String> {
    files(name).into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

fn files(name: &str) -> Vec<PathBuf> {
    let own = folder(name).join("manifests.yaml");
    if own.exists() { vec![own] } else { example(name) }
}

/// What comes of it, file name to content.
pub fn results(inventory: &Inventory) -> BTreeMap<String, String> {
    let Compiled { plans, diagnostics, allocations: _ } = compile(inventory);
    let diagnostics = diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
    let mut files = BTreeMap::from([("diagnostics.txt".to_owned(), diagnostics)]);
    files.extend(plans.iter().map(|(node, plan)| (format!("{node}.plan.yaml"), yaml(plan))));
    files
}

fn yaml(plan: &CompiledPlan) -> String {
    let scopes: BTreeMap<_, _> = plan.scopes.iter().map(|(name, objects)| (name, &**objects)).collect();
    serde_saphyr::to_string(&scopes).unwrap()
}

pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn example(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{} has no manifests.yaml and there is no {}: {error}", name, folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

fn read<T: serde::de::DeserializeOwned + Default>(file: &Path) -> T {
    match fs::read_to_string(file) {
        Ok(text) => serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        Err(_) => T::default(),
    }
}
