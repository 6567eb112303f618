//! From nothing to in sync.

use anyhow::{Result, ensure};
use ipnet::IpNet;
use pathsteer_crds::plan::MAIN_TABLE;
use pathsteer_crds::plan::PlanObjects;

use super::Case;
use crate::node::Node;
use crate::plans::{ANCHOR, EDGE, Plan, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("an_empty_node_becomes_the_edge_that_its_plan_describes", || becomes("edge1", &example_plan(EDGE)?)),
    ("an_empty_node_becomes_the_anchor_that_its_plan_describes", || becomes("anchor1", &example_plan(ANCHOR)?)),
];

fn becomes(name: &'static str, plan: &Plan) -> Result<()> {
    let mut node = Node::start(name, plan)?;
    let took = node.settle()?;
    println!("{name}: in sync after {took:?}");
    assert_as_declared(&plan.objects(), node.observe()?);

    node.kill()?;
    let applies = node.applies();
    node.restart()?;
    node.first_turn()?;
    ensure!(node.applies() == applies, "a second run changed something:\n{}", node.log().join("\n"));
    Ok(())
}

/// A plan's default routes that were found in the main table of `netns`: enough where nobody else makes any.
fn has_default(found: &PlanObjects, netns: &str, destination: IpNet) -> bool {
    found.routes.iter().any(|route| (&*route.netns, route.table, route.destination) == (netns, MAIN_TABLE, destination))
}

/// Compares what was found with what is declared, field by field where something is declared.
pub fn assert_as_declared(declared: &PlanObjects, mut found: PlanObjects) {
    // These four are no state of a kernel.
    let mut declared =
        PlanObjects { dhcp: vec![], paths: vec![], steering: vec![], dead_man: vec![], ..declared.clone() };
    declared.routes.retain_mut(|route| match route.while_default_in.take() {
        Some(netns) => has_default(&found, &netns, route.destination),
        None => true,
    });
    for link in &mut found.links {
        let Some(one) = declared.links.iter().find(|one| (&one.netns, &one.name) == (&link.netns, &link.name)) else {
            continue;
        };
        link.mtu = link.mtu.filter(|_| one.mtu.is_some());
        link.mac = link.mac.take().filter(|_| one.mac.is_some());
        link.card = link.card.take().filter(|_| one.card.is_some());
        link.gso_max_segs = link.gso_max_segs.filter(|_| one.gso_max_segs.is_some());
    }
    let json = |objects: &PlanObjects| serde_json::to_value(objects).unwrap();
    for (noun, all) in json(&declared).as_object().unwrap() {
        assert_eq!(&json(&found)[noun], all, "{noun}");
    }
    assert_eq!(json(&found).as_object().unwrap().len(), json(&declared).as_object().unwrap().len());
}
