//! Which way a session goes, and how much it says there.

use anyhow::{Result, ensure};

use super::Case;
use super::report::{metered, reporting};
use crate::operator::Operator;
use crate::plans::{EDGE, example_plan};

pub const CASES: &[(&str, Case)] = &[
    ("a_session_that_cannot_go_by_an_uplink_does_not_go_by_it_from_the_nodes_own_namespace", goes_by_uplinks),
    ("a_session_is_begun_anew_when_a_plan_says_that_its_bytes_cost_money_and_when_they_no_longer_do", follows_the_plan),
];

/// What one over a metered uplink asks for.
const SELDOM: Option<u64> = Some(60);

fn last(operator: &Operator) -> Option<Option<u64>> {
    operator.heartbeats().last().copied()
}

/// From the node's own namespace the way leads through the uplinks too, and what it costs there nobody can tell.
fn goes_by_uplinks() -> Result<()> {
    let (mut node, operator, _server) = reporting("edge42", &metered()?)?;
    ensure!(last(&operator) == Some(SELDOM), "{:?}", operator.heartbeats());
    let drop = "ip netns exec psup1 nft 'table inet someones { chain out { type filter hook output priority 0;
        tcp dport 7443 drop; }; }'";
    node.host.output("sh", &["-c", drop])?;
    node.kill()?;
    let begun = operator.heartbeats().len();
    node.restart()?;
    node.wait("said that this is no way of its own", |node| node.said("it leads through the uplinks") > 0)?;
    ensure!(operator.heartbeats().len() == begun, "it went all the same: {:?}", operator.heartbeats());
    node.host.output("ip", &["netns", "exec", "psup1", "nft", "delete table inet someones"])?;
    node.wait("in a session again", |_| operator.heartbeats().len() > begun)?;
    ensure!(last(&operator) == Some(SELDOM), "{:?}", operator.heartbeats());
    Ok(())
}

fn follows_the_plan() -> Result<()> {
    let (free, dear) = (example_plan(EDGE)?, metered()?);
    let (mut node, operator, _server) = reporting("edge43", &free)?;
    ensure!(last(&operator) == Some(None), "{:?}", operator.heartbeats());
    for (generation, plan, asked) in [(2, &dear, SELDOM), (3, &free, None)] {
        let begun = operator.heartbeats().len();
        operator.send(plan.cut(generation))?;
        node.wait("in another session", |_| operator.heartbeats().len() > begun && last(&operator) == Some(asked))?;
        ensure!(operator.heartbeats().len() == begun + 1, "one is enough: {:?}", operator.heartbeats());
        ensure!(operator.sessions().last() == Some(&(1, generation)), "{:?}", operator.sessions());
        let streams = begun + 1;
        node.wait("listening", |_| operator.streams() == streams)?;
    }
    Ok(())
}
