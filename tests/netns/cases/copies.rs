//! Copies to further paths, at a site with more of them than the lab has.

use anyhow::{Result, ensure};
use pathsteer_lab::capture::{Frame, Recording};

use super::Case;
use crate::node::Node;
use crate::plans::{EDGE, declare, example, plan};

pub const CASES: &[(&str, Case)] = &[("each_of_three_copies_goes_by_a_path_of_its_own", three)];

/// The path in use is that in slot 1; the order is that of cost.
const SLOTS: [u8; 4] = [1, 2, 3, 4];
const PACKETS: usize = 20;
/// Behind Ethernet: GRE in IPv4, with an IPv4 packet inside. Control packets have something else inside.
const GRE: u8 = 47;
const INNER: [u8; 2] = [0x08, 0x00];

fn three() -> Result<()> {
    let mut inventory = example()?;
    declare(
        &mut inventory,
        "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {site: rv-07, name: marina}\n\
         spec: {slot: 4, kind: wifi, interface: wan4, address: dhcp, cost: 40}\n",
    )?;
    let mode = |copies: usize| {
        format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Mode\nmetadata: {{name: fleet}}\n\
             spec: {{mode: mirror, copies: {copies}}}\n"
        )
    };
    declare(&mut inventory, &mode(1))?;
    let mut node = Node::start("edge18", &plan(&mut inventory, EDGE)?)?;
    for copies in 1..=3 {
        if copies > 1 {
            node.kill()?;
            declare(&mut inventory, &mode(copies))?;
            node.keep(&plan(&mut inventory, EDGE)?, copies as i64)?;
            node.restart()?;
            node.first_turn()?;
        }
        node.settle()?;
        let rules = node.ip("netns exec psvip nft list table ip pathsteer")?;
        ensure!(rules.matches("dup to").count() == SLOTS.len(), "one rule copies for each uplink: {rules}");
        // Paths are chosen by a task of its own, a moment later.
        let wanted: Vec<usize> =
            SLOTS.iter().map(|slot| if usize::from(*slot) <= copies + 1 { PACKETS } else { 0 }).collect();
        let mut carried = Vec::new();
        node.wait("copying to that many paths", |node| {
            carried = carried_by_slot(node).unwrap_or_default();
            carried == wanted
        })?;
        println!("edge18: {copies} copies: slots {SLOTS:?} carried {carried:?} of {PACKETS} packets");
    }
    Ok(())
}

/// Packets of sessions that reach each uplink's namespace while some are sent. Nobody answers: there is no anchor.
fn carried_by_slot(node: &Node) -> Result<Vec<usize>> {
    let recordings = SLOTS.map(|slot| Recording::start(&node.host.namespace(&format!("psup{slot}"))?, "psv"));
    let recordings: Vec<Recording> = recordings.into_iter().collect::<Result<_>>()?;
    let _unanswered = node.ip(&format!("netns exec psvip ping -c {PACKETS} -i 0.01 -W 1 198.51.100.77")).is_err();
    let shimmed = |frame: &Frame| {
        let ip = frame.bytes.get(14..14 + 24);
        !frame.outgoing && ip.is_some_and(|ip| ip[0] == 0x45 && ip[9] == GRE && ip[22..24] == INNER)
    };
    recordings.into_iter().map(|recording| Ok(recording.finish()?.count(shimmed))).collect()
}
