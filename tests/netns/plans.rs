//! Plans as an operator would publish them: of the example, and of what cases make of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use pathsteer_compiler::{Compiled, Inventory, compile};
use pathsteer_crds::plan::{LinkKind, PLAN_VERSION, PlanObjects, PlanRoot, Role, split};
use pathsteer_crds::{canonical, manifest};

/// The example's nodes.
pub const EDGE: &str = "rv-07";
pub const ANCHOR: &str = "dal-a";

/// One node's plan.
#[derive(Debug, Clone)]
pub struct Plan {
    pub node: &'static str,
    pub role: Role,
    scopes: BTreeMap<String, Arc<PlanObjects>>,
}

impl Plan {
    /// All objects of the plan.
    pub fn objects(&self) -> PlanObjects {
        let mut all = PlanObjects::default();
        self.scopes.values().cloned().for_each(|objects| all.extend(Arc::unwrap_or_clone(objects)));
        all.sort();
        all
    }

    /// Names of the cards it takes, sorted.
    pub fn cards(&self) -> Vec<String> {
        let links = self.objects().links.into_iter();
        let mut cards: Vec<String> = links.filter(|link| link.kind == LinkKind::Nic).map(|link| link.name).collect();
        cards.sort();
        cards
    }

    /// The plan as an agent keeps it on disk, in the order of `generation`.
    pub fn saved(&self, generation: i64) -> String {
        let (root, fragments) = self.cut(generation);
        serde_json::json!({"revision": generation, "root": root, "fragments": fragments}).to_string()
    }

    /// The plan as it travels, in the order of `generation`: its root, and the fragments by their hashes.
    pub fn cut(&self, generation: i64) -> (PlanRoot, BTreeMap<String, String>) {
        let fragments = split(&self.scopes);
        let root = PlanRoot {
            version: PLAN_VERSION,
            node: self.node.to_owned(),
            role: self.role,
            store_epoch: 1,
            generation,
            fragments: fragments.iter().map(|(name, json)| (name.clone(), hash(json))).collect(),
        };
        (root, fragments.into_values().map(|json| (hash(&json), json)).collect())
    }
}

/// What a fragment is called by.
pub fn hash(json: &String) -> String {
    canonical::sha256(json.as_bytes())
}

/// What the example declares, and what its nodes have said about themselves.
pub fn example() -> Result<Inventory> {
    let identities = root().join("operator/compiler/tests/cases/rv/identities.yaml");
    let mut inventory = Inventory { identities: serde_saphyr::from_str(&read(&identities)?)?, ..Inventory::default() };
    for entry in std::fs::read_dir(root().join("examples/rv"))? {
        let path = entry?.path();
        declare(&mut inventory, &read(&path)?).with_context(|| path.display().to_string())?;
    }
    Ok(inventory)
}

/// Adds the objects of `manifests` (YAML) to `inventory`, in the place of those of the same name.
pub fn declare(inventory: &mut Inventory, manifests: &str) -> Result<()> {
    let located = manifest::parse(manifests, "the case's manifests").map_err(|errors| anyhow!("{errors:?}"))?;
    located.into_iter().for_each(|one| inventory.insert(one.object));
    Ok(())
}

/// The plan of `node`. Numbers given out are kept in `inventory`, as an operator keeps them.
pub fn plan(inventory: &mut Inventory, node: &'static str) -> Result<Plan> {
    let Compiled { mut plans, allocations, diagnostics } = compile(inventory);
    inventory.allocations = allocations;
    let plan = plans.remove(node).with_context(|| format!("{node} has no plan: {diagnostics:?}"))?;
    Ok(Plan { node, role: plan.role, scopes: plan.scopes })
}

/// Every node's plan.
pub fn all_plans(inventory: &Inventory) -> Vec<Plan> {
    let plans = compile(inventory).plans.into_iter();
    // For as long as the process lives: names of nodes are few.
    plans.map(|(node, plan)| Plan { node: node.leak(), role: plan.role, scopes: plan.scopes }).collect()
}

/// The example's plan of `node`.
pub fn example_plan(node: &'static str) -> Result<Plan> {
    plan(&mut example()?, node)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
