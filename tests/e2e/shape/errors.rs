//! What comes back when a packet cannot go on: ICMP errors, traceroute, the MTU of the path.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::probe;

use crate::shape::copied_and_alone;
use crate::shape::course::Course;
use crate::stage::Stage;

/// What the example's lines leave inside: 1,500 less 80 for WireGuard over IPv6, less 32 for the shim.
const MTU: usize = 1_388;

pub fn case(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        Course::all(&stage.network).iter().try_for_each(|course| {
            every_hop_answers(course)?;
            a_closed_port_is_told(course)?;
            the_mtu_is_told(course)
        })
    })
}

fn every_hop_answers(course: &Course) -> Result<()> {
    let found = probe::hops((&course.from, course.source), course.target, 8)?;
    let wanted: Vec<Option<IpAddr>> = hops_of(course).map(|hop| hop.parse().ok()).into();
    ensure!(found == wanted, "to {}: {found:?}", course.target);
    Ok(())
}

fn a_closed_port_is_told(course: &Course) -> Result<()> {
    let error = probe::complaint((&course.from, course.source), course.target, MTU)?;
    let error = error.with_context(|| format!("{} says nothing about a closed port", course.target))?;
    // Port unreachable is 3/3 in ICMP and 1/4 in ICMPv6.
    let kind = if course.source.is_ipv4() { (3, 3) } else { (1, 4) };
    ensure!(error.from == course.target && (error.kind, error.code) == kind, "{error:?}");
    Ok(())
}

fn the_mtu_is_told(course: &Course) -> Result<()> {
    for size in [MTU + 1, 1_500] {
        let error = probe::complaint((&course.from, course.source), course.target, size)?;
        let error = error.with_context(|| format!("{size} bytes to {} vanish", course.target))?;
        let router: IpAddr = hops_of(course)[0].parse()?;
        ensure!((error.from, error.mtu) == (router, Some(MTU as u32)), "{size} bytes to {}: {error:?}", course.target);
    }
    Ok(())
}

/// Who answers on the way: every node with an address that its neighbours know.
fn hops_of(course: &Course) -> [&'static str; 3] {
    match (course.is_up(), course.source.is_ipv4()) {
        (true, true) => ["172.16.7.1", "198.51.100.1", "198.51.100.2"],
        (true, false) => ["2001:db8:7::1", "2001:db8:51::1", "2001:db8:51::2"],
        (false, true) => ["198.51.100.1", "198.18.7.1", "172.16.7.2"],
        (false, false) => ["2001:db8:51::1", "2001:db8:7:ff::1", "2001:db8:7::2"],
    }
}
