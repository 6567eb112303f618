//! Turns of an agent that has everything as declared: nothing to do, and one object of another plan.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::SockProtocol;
use pathsteer_crds::ownership::VIP_NETNS;
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::Daemon;
use pathsteer_lab::netns::Namespace;

use super::netlink::{Message, Socket};
use super::objects::{Quad, route};
use super::served::{Served, Turn, Turns};
use crate::report::Row;
use crate::series::{Discipline, Series, interleave};

/// Something the kernel does not do within this time it never does.
const DEADLINE: Duration = Duration::from_secs(60);
/// Path MTUs of a route that changes: the first is the one it has.
const MTUS: [Option<u32>; 2] = [None, Some(1_400)];

/// Milliseconds of turns that find nothing to do, each woken by a route of somebody else that comes and goes.
///
/// # Errors
/// When the agent does not wake up.
pub fn nothing_to_do(agent: &mut Served, rounds: usize, discipline: Discipline) -> Result<Series<f64>> {
    let netns = agent.namespace(VIP_NETNS)?;
    let mut once = || Ok(Some(poke(&netns, &mut agent.agent, &mut agent.turns)?.took));
    Ok(interleave(&[()], rounds, discipline, |()| once())?.remove(0))
}

/// Makes the agent take a turn, and waits until it has taken it.
///
/// # Errors
/// When it does not.
pub fn poke(netns: &Namespace, agent: &mut Daemon, turns: &mut Turns) -> Result<Turn> {
    rest(agent, turns)?;
    let mut socket = Socket::open(netns)?;
    let foreign = |kind, flags| {
        let header = [libc::AF_INET as u8, 32, 0, 0, 99, libc::RTPROT_STATIC, 0, libc::RTN_BLACKHOLE, 0, 0, 0, 0];
        Message::new(kind, flags, &header).attribute(libc::RTA_DST, &[198, 18, 0, 1])
    };
    let there = foreign(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    socket.carry_out([there, foreign(libc::RTM_DELROUTE, 0)].into_iter(), 2)?;
    turns.wait(agent, "without a change", |turn| turn.changes == 0 && turn.verified)
}

/// Waits until the agent has digested what it was told of so far: no turn for a while.
///
/// # Errors
/// The disk.
pub fn rest(agent: &mut Daemon, turns: &mut Turns) -> Result<()> {
    const QUIET: Duration = Duration::from_millis(200);
    let mut since = clock::now();
    while clock::now() - since < QUIET {
        if !turns.ended()?.is_empty() {
            since = clock::now();
        }
        agent.check()?;
        clock::sleep_until(clock::now() + QUIET / 10);
    }
    Ok(())
}

/// Has one route of `all` changed by a new plan, time and again: the turn, and from the plan's departure to the kernel.
///
/// # Errors
/// When the agent does not get there.
pub fn one_change(
    agent: &mut Served,
    what: &str,
    all: &PlanObjects,
    rounds: usize,
    discipline: Discipline,
) -> Result<Vec<Row>> {
    let quad = Quad::first(2).last().context("two")?;
    let mut mtus = MTUS.into_iter().cycle();
    let from = mtus.next();
    ensure!(all.routes.contains(&route(quad, from.flatten())), "no such route");
    let netns = agent.namespace(VIP_NETNS)?;
    let once = |()| {
        rest(&mut agent.agent, &mut agent.turns)?;
        let wanted = route(quad, mtus.next().flatten());
        let mut plan = all.clone();
        for one in
            plan.routes.iter_mut().filter(|one| (one.table, one.destination) == (wanted.table, wanted.destination))
        {
            *one = wanted.clone();
        }
        let routes = Socket::subscribed(&netns, SockProtocol::NetlinkRoute, &[libc::RTNLGRP_IPV4_ROUTE])?;
        let begin = clock::now();
        agent.send(&plan)?;
        ensure!(!routes.await_messages(begin + DEADLINE)?.is_empty(), "the route did not change");
        let kernel = (clock::now() - begin).as_secs_f64() * 1e3;
        let turn = agent.turns.wait(&mut agent.agent, "with one change", |turn| turn.changes == 1)?;
        Ok(Some((turn.took, kernel)))
    };
    let mut once = once;
    let series = interleave(&[()], rounds, discipline, |()| once(()))?.remove(0);
    Ok(vec![
        Row::of(format!("one object changed, {what}, the turn"), "ms", &series.map(|(turn, _)| *turn)),
        Row::of(
            format!("one object changed, {what}, from plan sent to kernel"),
            "ms",
            &series.map(|(_, kernel)| *kernel),
        ),
    ])
}
