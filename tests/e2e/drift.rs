//! Drift: what somebody changes by hand is put right, noticed and counted.

use std::time::Duration;

use anyhow::{Context, Result};
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::EDGE;

use crate::kernel::shell;
use crate::stage::Stage;

/// Something of ours on the edge, how to see it, and how to spoil it.
struct Drift {
    what: &'static str,
    netns: &'static str,
    show: &'static str,
    spoil: &'static str,
}

/// Names and numbers are those of ARCHITECTURE.md for slot 1 and anchor 1.
const DRIFTS: [Drift; 8] = [
    Drift { what: "a rule", netns: "psvip", show: "ip rule show priority 7717", spoil: "ip rule delete priority 7717" },
    Drift {
        what: "a route",
        netns: "psvip",
        show: "ip route show table 7717",
        spoil: "ip route delete default table 7717 metric 10",
    },
    Drift {
        what: "the blackhole of the overlay",
        netns: "psup1",
        show: "ip route show type blackhole",
        spoil: "ip route delete blackhole 10.100.0.0/16 metric 4000",
    },
    Drift {
        what: "the nft table",
        netns: "psvip",
        show: "nft -s list table inet pathsteer",
        spoil: "nft delete table inet pathsteer",
    },
    Drift {
        what: "a chain of the nft table",
        netns: "psup1",
        show: "nft -s list table inet pathsteer",
        spoil: "nft flush table inet pathsteer",
    },
    Drift {
        what: "the shim's neighbour",
        netns: "psvip",
        show: "ip neighbour show nud permanent",
        spoil: "ip neighbour delete 169.254.77.2 dev ps0",
    },
    Drift {
        what: "a tunnel's address",
        netns: "psup1",
        show: "ip -4 -br address show dev psw1a1",
        spoil: "ip address flush dev psw1a1",
    },
    Drift {
        what: "an uplink's veth",
        netns: "psvip",
        show: "ip -4 -br address show dev psu1",
        spoil: "ip link delete psu1",
    },
];

pub fn case(stage: &mut Stage) -> Result<()> {
    for drift in &DRIFTS {
        let taken = repaired(stage, drift).with_context(|| drift.what)?;
        stage.remark(format!("{} was back after {:.2} s", drift.what, taken.as_secs_f64()));
    }
    Ok(())
}

/// Spoils it and waits until it is as before, verified, and counted; how long the first of these took.
fn repaired(stage: &mut Stage, drift: &Drift) -> Result<Duration> {
    stage.as_planned()?;
    let before = shown(stage, drift).context("it was not there before")?;
    let counted = stage.report(EDGE)?.drift_repaired;
    shell(stage.edge(), drift.netns, drift.spoil)?;
    let start = clock::now();
    stage.until("it is as before", |stage| Ok(shown(stage, drift).as_ref() == Some(&before)))?;
    let taken = clock::now() - start;
    stage.until("it is counted", |stage| Ok(stage.report(EDGE)?.drift_repaired > counted))?;
    stage.as_planned()?;
    Ok(taken)
}

/// What is there, line by line; none if nothing is. Interfaces come back with other numbers, chains and the elements of
/// a map in another order.
fn shown(stage: &Stage, drift: &Drift) -> Option<Vec<String>> {
    let text = shell(stage.edge(), drift.netns, drift.show).ok()?;
    let bare = |line: &str| {
        let words = line.split_whitespace().map(|word| word.split("@if").next().unwrap_or(word).trim_end_matches(','));
        let mut words: Vec<&str> = words.collect();
        words.sort_unstable();
        words.join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(bare).filter(|line| !line.is_empty()).collect();
    lines.sort();
    (!lines.is_empty()).then_some(lines)
}
