//! An edge with three uplinks, in force and with its agent running: what it takes when nothing happens, how fast it puts
//! right what somebody changes, and how fast an agent that starts finds that all is well.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::SockProtocol;
use pathsteer_agent_core::{Sweep, changes};
use pathsteer_crds::ownership::{VIP_NETNS, path_table};
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;

use super::apply::NOTHING;
use super::change::{poke, rest};
use super::netlink::Socket;
use super::served::Turns;
use crate::inventory::{self, SLOTS};
use crate::node::{Blank, Folders, Node};
use crate::plan::plans;
use crate::processor;
use crate::report::{Row, Target};
use crate::rig::{Ends, cable};
use crate::series::{Discipline, interleave, load};

const ROUNDS: usize = 10;
/// From the design: milliseconds from the notification to the kernel as it was.
const REPAIRED: f64 = 100.0;
/// What is not put right within this time never is.
const DEADLINE: Duration = Duration::from_secs(60);
/// Nothing more comes back after so long a silence.
const SILENCE: Duration = Duration::from_millis(400);
/// How long the idle agent is watched: two of its resyncs.
const IDLE: Duration = Duration::from_secs(60);
const KIB: f64 = 1_024.0;

/// Message types of <linux/netfilter/nf_tables.h>, with their subsystem.
const NFT_NEWTABLE: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const NFT_DELTABLE: u16 = NFT_NEWTABLE | 2;
const NFT_NEWRULE: u16 = NFT_NEWTABLE | 6;
/// `NFNLGRP_NFTABLES`.
const NFT_GROUP: u32 = 7;

/// Something that somebody takes away.
struct Drift {
    what: &'static str,
    /// The command that does it, on the node.
    command: String,
    /// What the kernel says when it is gone, and when it or what went with it is back.
    gone: u16,
    back: &'static [u16],
}

fn drifts(plan: &PlanObjects) -> Result<Vec<Drift>> {
    let table = path_table(1, 1);
    let neighbour =
        plan.neighbours.iter().find(|one| one.netns == VIP_NETNS && one.link == "psu1" && one.address.is_ipv4());
    let neighbour = neighbour.context("no neighbour by psu1")?;
    let address =
        plan.addresses.iter().find(|one| one.netns == VIP_NETNS && one.link == "lan0" && one.address.addr().is_ipv4());
    let address = address.context("no address on lan0")?.address;
    let ip = |words: String| format!("ip -n {VIP_NETNS} {words}");
    let routes: &[u16] = &[libc::RTM_NEWROUTE];
    Ok(vec![
        Drift {
            what: "a rule",
            command: ip(format!("rule delete priority {table}")),
            gone: libc::RTM_DELRULE,
            back: &[libc::RTM_NEWRULE],
        },
        Drift {
            what: "a route",
            command: ip(format!("route delete default table {table} metric 10")),
            gone: libc::RTM_DELROUTE,
            back: routes,
        },
        Drift {
            what: "an address",
            command: ip(format!("address delete {address} dev lan0")),
            gone: libc::RTM_DELADDR,
            back: &[libc::RTM_NEWADDR, libc::RTM_NEWROUTE],
        },
        Drift {
            what: "a neighbour",
            command: ip(format!("neighbour delete {} dev psu1", neighbour.address)),
            gone: libc::RTM_DELNEIGH,
            back: &[libc::RTM_NEWNEIGH],
        },
        Drift {
            what: "a veth with all that was on it",
            command: ip("link delete psu1".to_owned()),
            gone: libc::RTM_DELLINK,
            back: routes,
        },
        Drift {
            what: "the nft table",
            command: format!("nsenter --net=/run/netns/{VIP_NETNS} nft delete table inet pathsteer"),
            gone: NFT_DELTABLE,
            back: &[NFT_NEWTABLE, NFT_NEWRULE],
        },
    ])
}

/// # Errors
/// When the node cannot be made, or does not put something right.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let (mut node, plan) = edge(folders)?;
    let mut turns = Turns::of(&node.agent)?;
    let mut rows = vec![starts(&mut node, &mut turns)?];

    let vip = node.host.namespace(VIP_NETNS)?;
    let once = |()| Ok(Some(poke(&vip, &mut node.agent, &mut turns)?.took));
    let mut once = once;
    let nothing = interleave(&[()], ROUNDS, Discipline::Timed, |()| once(()))?.remove(0);
    let count = count(&plan);
    let nothing = Row::of(format!("turn with nothing to do, an edge's {count} objects"), "ms", &nothing);
    rows.push(nothing.promised(Target::AtMost(NOTHING)));

    let drifts = drifts(&plan)?;
    let repaired = interleave(&drifts, ROUNDS, Discipline::Timed, |drift| {
        rest(&mut node.agent, &mut turns)?;
        repair(&node, drift).map(Some)
    })?;
    for (drift, series) in drifts.iter().zip(&repaired) {
        rows.push(Row::of(format!("drift repaired, {}", drift.what), "ms", series));
        let slowest = series.spread().map(|[_, most]| most);
        let row = Row::of(format!("drift repaired, {}, slowest", drift.what), "ms", series);
        rows.push(Row { value: slowest, spread: None, ..row }.promised(Target::AtMost(REPAIRED)));
    }

    rest(&mut node.agent, &mut turns)?;
    rows.extend(idle(&node, &mut turns)?);
    Ok(rows)
}

/// An edge with three uplinks that lead to a host which does not answer, and its plan.
fn edge(folders: &Folders) -> Result<(Node, PlanObjects)> {
    let blank = Blank::new("edge-n")?;
    let ends = Ends::new("edge")?;
    let cards = SLOTS.map(|slot| format!("wan{slot}"));
    for card in cards.iter().map(String::as_str).chain(["lan0"]) {
        let far = format!("far-{card}");
        cable(&ends.server, (&blank.host, card), (&ends.server, &far))?;
        ends.server.ip(&format!("link set {far} up"))?;
    }
    let site = inventory::site(0);
    let inventory = inventory::declare(1, 1, [(site.clone(), blank.identity.clone())].into())?;
    let [plan] = plans(&inventory, [&site])?;
    let objects = plan.objects();
    Ok((blank.become_node(&plan, folders)?, objects))
}

/// From the start of an agent's program to its knowing that all is as declared, which it is.
fn starts(node: &mut Node, turns: &mut Turns) -> Result<Row> {
    let once = |()| {
        rest(&mut node.agent, turns)?;
        node.agent.kill()?;
        let begin = clock::now();
        node.agent.restart()?;
        let turn = turns.wait(&mut node.agent, "of a new agent", |turn| turn.verified)?;
        ensure!(turn.changes == 0, "an agent that starts changes nothing: {turn:?}");
        Ok(Some((clock::now() - begin).as_secs_f64() * 1e3))
    };
    let mut once = once;
    let series = interleave(&[()], ROUNDS, Discipline::Timed, |()| once(()))?.remove(0);
    Ok(Row::of("agent's start to in sync, on a running node", "ms", &series))
}

/// Milliseconds from the kernel's word that something is gone to its last that something is back.
fn repair(node: &Node, drift: &Drift) -> Result<f64> {
    let netns = node.host.namespace(VIP_NETNS)?;
    let rtnetlink = [
        libc::RTNLGRP_LINK,
        libc::RTNLGRP_NEIGH,
        libc::RTNLGRP_IPV4_IFADDR,
        libc::RTNLGRP_IPV4_ROUTE,
        libc::RTNLGRP_IPV4_RULE,
    ];
    let socket = match drift.gone {
        NFT_DELTABLE => Socket::subscribed(&netns, SockProtocol::NetlinkNetFilter, &[NFT_GROUP])?,
        _ => Socket::subscribed(&netns, SockProtocol::NetlinkRoute, &rtnetlink)?,
    };
    let mut words = drift.command.split(' ');
    let program = words.next().context("no command")?;
    let mut child = Ended(node.host.command(program).args(words).stdin(Stdio::null()).spawn()?);
    let deadline = clock::now() + DEADLINE;
    let (mut gone, mut back) = (None, None);
    loop {
        let until = if back.is_some() { (clock::now() + SILENCE).min(deadline) } else { deadline };
        let heard = socket.await_messages(until)?;
        if heard.is_empty() {
            break;
        }
        let now = clock::now();
        if gone.is_none() && heard.iter().any(|(kind, _)| *kind == drift.gone) {
            gone = Some(now);
        }
        if gone.is_some() && heard.iter().any(|(kind, _)| drift.back.contains(kind)) {
            back = Some(now);
        }
    }
    ensure!(child.0.wait()?.success(), "`{}` failed", drift.command);
    let (gone, back) = gone.zip(back).with_context(|| format!("{} did not come back", drift.what))?;
    Ok((back - gone).as_secs_f64() * 1e3)
}

/// A process that does not outlive its measurement.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an agent takes while nothing happens.
fn idle(node: &Node, turns: &mut Turns) -> Result<Vec<Row>> {
    turns.ended()?;
    let load = load()?;
    let before = processor::of(&[node.pid()])?;
    clock::sleep_until(clock::now() + IDLE);
    let spent = processor::of(&[node.pid()])? - before;
    let taken = turns.ended()?.len();
    let minutes = IDLE.as_secs_f64() / 60.0;
    let read = |metric: &str, unit: &str, value: f64| Row::read(metric, unit, value, load);
    Ok(vec![
        read("agent, idle at an edge, processor time a minute", "ms", spent.as_secs_f64() * 1e3 / minutes)
            .noted(format!("{taken} turns in {} s", IDLE.as_secs())),
        read("agent, idle at an edge, resident memory", "KiB", processor::resident(node.pid())? as f64 / KIB),
    ])
}

/// How many kernel objects a plan has.
fn count(plan: &PlanObjects) -> usize {
    changes(plan, &PlanObjects::default(), Sweep::Everything).len()
}
