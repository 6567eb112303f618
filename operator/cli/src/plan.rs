//! `plan`: the plan compiled for a node, what of it is still to be carried out, and what manifests would change in it.

use std::io::Write;

use pathsteer_crds::AnyObject;
use pathsteer_crds::api::{Applied, List, NodeState};
use pathsteer_crds::plan::NodePlan;
use serde_json::Value;
use similar::TextDiff;

use crate::args::PlanOutput;
use crate::client::Client;
use crate::failure::Failure;
use crate::table::Table;
use crate::{diff, object, query, table};

/// Lines shown around a change: objects of a plan have many.
const CONTEXT: usize = 8;

/// Everything in the order the compiler gave it.
pub async fn plan(client: &mut Client, node: &str, output: PlanOutput, out: &mut dyn Write) -> Result<(), Failure> {
    let plan: Value = client.get(&format!("/v1/plans/{}", object::node(node)?)).await?;
    Ok(out.write_all(text(&plan, output).as_bytes())?)
}

/// By the type where it fits, for its order of fields; else as it is, so that no version hides a plan.
fn text(plan: &Value, output: PlanOutput) -> String {
    match (serde_json::from_value::<NodePlan>(plan.clone()), output) {
        (Ok(plan), PlanOutput::Yaml) => serde_saphyr::to_string(&plan).expect("plans always serialize"),
        (Err(_), PlanOutput::Yaml) => serde_saphyr::to_string(plan).expect("JSON can always be written as YAML"),
        (Ok(plan), PlanOutput::Json) => format!("{}\n", serde_json::to_string_pretty(&plan).expect("as above")),
        (Err(_), PlanOutput::Json) => format!("{plan:#}\n"),
    }
}

/// What the node has yet to carry out of its plan.
pub async fn pending(client: &mut Client, node: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let state: NodeState = client.get(&format!("/v1/nodes/{}", object::node(node)?)).await?;
    Ok(out.write_all(pending_text(&state).as_bytes())?)
}

fn pending_text(state: &NodeState) -> String {
    let NodeState { name, plan: published, report, .. } = state;
    let (Some(published), Some(report)) = (published, report) else {
        let lacks = if published.is_none() { "no plan is published for it" } else { "it has not reported yet" };
        return format!("{name}: {lacks}\n");
    };
    let mut text = String::new();
    let (wanted, has) = ((published.store_epoch, published.generation), (report.store_epoch, report.generation));
    if wanted != has {
        text.push_str(&format!("{name} carries out generation {}, published is generation {}\n", has.1, wanted.1));
    }
    let mut rows = Table::new(&["OBJECT", "REASON"]);
    for object in &report.not_as_declared {
        rows.rows.push(vec![object.object.as_str().into(), object.reason.as_str().into()]);
    }
    if !rows.rows.is_empty() {
        text.push_str(&rows.render(false));
    }
    if text.is_empty() { format!("{name} carries out its plan, generation {}\n", has.1) } else { text }
}

/// What applying `objects` would change in the node's plan.
pub async fn changes(
    client: &mut Client,
    node: &str,
    objects: Vec<AnyObject>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let node = object::node(node)?;
    let before: Option<NodePlan> = match client.get(&format!("/v1/plans/{node}")).await {
        Ok(plan) => Some(plan),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let body = serde_json::to_string(&List::of(objects)).expect("objects always serialize");
    let path = query::with("/v1/apply", &[("dryRun", "true"), ("plan", &node)]);
    let applied: Applied = client.post(&path, body).await?;
    let difference = difference(&node, before, applied.plan);
    match difference.is_empty() {
        true => writeln!(out, "the plan of {node} would not change")?,
        false => out.write_all(diff::painted(&difference, table::wants_colour()).as_bytes())?,
    }
    Ok(())
}

fn difference(node: &str, before: Option<NodePlan>, after: Option<NodePlan>) -> String {
    let text = |plan: &NodePlan| {
        // Which compilation it is of is no change of the plan.
        let plan = NodePlan { generation: 0, store_epoch: 0, ..plan.clone() };
        serde_saphyr::to_string(&plan).expect("plans always serialize")
    };
    let (old, new) = (before.as_ref().map(text).unwrap_or_default(), after.as_ref().map(text).unwrap_or_default());
    let name = |place: &str, is_there| if is_there { format!("{place}/{node}") } else { "/dev/null".to_owned() };
    let (from, to) = (name("published", before.is_some()), name("planned", after.is_some()));
    TextDiff::from_lines(&old, &new).unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

#[cfg(test)]
mod tests {
    use pathsteer_crds::api::PublishedPlan;
    use pathsteer_crds::plan::Role;
    use pathsteer_crds::report::{Moment, NodeReport, ObjectReport};

    use super::*;

    fn state(generation: i64, not_as_declared: Vec<ObjectReport>) -> NodeState {
        NodeState {
            name: "rv-07".into(),
            role: Role::Edge,
            connected: true,
            plan: Some(PublishedPlan { store_epoch: 1, generation: 7 }),
            report: Some(NodeReport { store_epoch: 1, generation, not_as_declared, ..NodeReport::default() }),
            reported_at: None,
        }
    }

    #[test]
    fn a_node_says_what_it_has_yet_to_carry_out() {
        assert_eq!(pending_text(&state(7, vec![])), "rv-07 carries out its plan, generation 7\n");
        let object = ObjectReport {
            object: "link psup4/wlan7".into(),
            reason: "there is no such card".into(),
            since: Moment::default(),
        };
        insta::assert_snapshot!(pending_text(&state(6, vec![object])), @r"
        rv-07 carries out generation 6, published is generation 7
        OBJECT             REASON
        link psup4/wlan7   there is no such card
        ");
        let silent = NodeState { report: None, ..state(7, vec![]) };
        assert_eq!(pending_text(&silent), "rv-07: it has not reported yet\n");
    }

    #[test]
    fn another_generation_alone_is_no_change() {
        let plan = |generation| {
            serde_json::from_value::<NodePlan>(serde_json::json!({
                "version": 1, "node": "rv-07", "role": "edge", "storeEpoch": 1, "generation": generation
            }))
            .unwrap()
        };
        assert_eq!(difference("rv-07", Some(plan(1)), Some(plan(2))), "");
        assert!(difference("rv-07", None, Some(plan(2))).starts_with("--- /dev/null\n+++ planned/rv-07\n"));
    }
}
