//! Lines of very different MTUs: what fits the site's inner MTU passes on each of them, and what does not is told.

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{ANCHOR_NETNS, VIP_NETNS};
use pathsteer_lab::capture::{Frame, Recording};
use pathsteer_lab::emulator::Profile;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, INTERNET, LAN, UPLINKS, Uplink};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::probe;

use crate::attack::other;
use crate::kernel::shell;
use crate::shape::course::Course;
use crate::shape::tally::{self, Sent};
use crate::shape::{declare, pieces, segments, straight};
use crate::stage::Stage;

/// Of the three lines and of the anchor's network; what that leaves inside.
struct Widths {
    lines: [u16; 3],
    anchor: u16,
    inner: u32,
}

/// IPv6 inside needs 1,280 bytes, more than the tunnels over the two narrow lines would leave it.
const MIXED: Widths = Widths { lines: [9_000, 1_380, 1_280], anchor: 9_000, inner: 1_280 };
/// 4,000 less 80 for WireGuard over IPv6, less 32 for the shim.
const JUMBO: Widths = Widths { lines: [9_000, 6_000, 4_000], anchor: 9_000, inner: 3_888 };

pub fn mixed(stage: &mut Stage) -> Result<()> {
    narrow_lines(stage, "ipv4")
}

pub fn mixed_over_ipv6(stage: &mut Stage) -> Result<()> {
    narrow_lines(stage, "ipv6")
}

fn narrow_lines(stage: &mut Stage, underlay: &str) -> Result<()> {
    on_lines(stage, &MIXED, underlay, |stage| {
        for (uplink, narrow) in UPLINKS.iter().zip([false, true, true]) {
            let said = stage.fleet.cli(&["describe", "uplink", &format!("{EDGE}/{}", uplink.name)])?;
            ensure!(said.contains("will be fragmented") == narrow, "{} says {said}", uplink.name);
        }
        learn(stage, MIXED.inner)?;
        let wire = &stage.network.host(UPLINKS[2].router).net;
        let recording = Recording::start(wire, EDGE_SIDE)?;
        let passed = full_packets_pass(stage, MIXED.inner);
        let version = if underlay == "ipv6" { 6 } else { 4 };
        let is_cut = |frame: &Frame| pieces::is_fragment(&frame.bytes) && frame.bytes[14] >> 4 == version;
        let fragments = recording.finish()?.count(is_cut);
        passed?;
        ensure!(fragments > 0, "nothing was cut up on the narrowest line");
        for (uplink, mtu) in UPLINKS.iter().zip(MIXED.lines).skip(1) {
            force(stage, uplink)?;
            stage.as_planned()?;
            straight::fits(stage, mtu.into()).with_context(|| format!("straight out by {}", uplink.name))?;
        }
        // The anchor's own way into the shim is as wide as its widest site's; what goes to this one is not.
        other::declare(stage)?;
        full(stage, MIXED.inner).context("beside a site with wider lines")
    })
}

pub fn jumbo(stage: &mut Stage) -> Result<()> {
    let (edge, anchor) = (stage.edge().clone(), stage.anchor().clone());
    let (lan, internet) = (stage.network.host(LAN).clone(), stage.network.host(INTERNET).clone());
    let hosts = |mtu: u16| -> Result<()> {
        shell(&edge, VIP_NETNS, &format!("ip link set lan0 mtu {mtu}"))?;
        shell(&anchor, ANCHOR_NETNS, &format!("ip link set inet0 mtu {mtu}"))?;
        [&lan, &internet].iter().try_for_each(|host| host.ip(&format!("link set eth0 mtu {mtu}")))
    };
    hosts(9_000)?;
    let passed = on_lines(stage, &JUMBO, "ipv4", |stage| full_packets_pass(stage, JUMBO.inner));
    hosts(1_500)?;
    passed
}

/// Declares the widths and gives them to the lines, does `act`, and gives the lines their own back.
fn on_lines(
    stage: &mut Stage,
    widths: &Widths,
    underlay: &str,
    act: impl FnOnce(&mut Stage) -> Result<()>,
) -> Result<()> {
    for (uplink, mtu) in UPLINKS.iter().zip(widths.lines) {
        stage.network.set_line_mtu(uplink.router, mtu)?;
    }
    stage.network.set_anchor_mtu(ANCHOR_HOST, widths.anchor)?;
    let uplinks = UPLINKS
        .iter()
        .zip(widths.lines)
        .map(|(uplink, mtu)| declare::uplink(uplink, &format!("mtu: {mtu}, underlay: {underlay}")));
    let manifests: Vec<String> = uplinks.chain([declare::anchor(widths.anchor)]).collect();
    let done = declare::apply(stage, &manifests).and_then(|()| stage.without_copies()).and_then(|_| act(stage));
    for uplink in &UPLINKS {
        stage.network.set_line_mtu(uplink.router, uplink.mtu)?;
    }
    stage.network.set_anchor_mtu(ANCHOR_HOST, 1_500)?;
    done
}

/// Only the sender of an IPv6 packet cuts it up: the first that is too large for a line further on is lost, and the kernel
/// that sent it learns how large its tunnel's datagrams may be.
fn learn(stage: &mut Stage, inner: u32) -> Result<()> {
    for uplink in &UPLINKS {
        force(stage, uplink)?;
        stage.until("both nodes know what the line carries", |stage| {
            let courses = Course::all(&stage.network);
            let mut answers = courses
                .iter()
                .map(|course| probe::complaint((&course.from, course.source), course.target, inner as usize));
            answers.try_fold(true, |all, answer| Ok(all && answer?.is_some()))
        })?;
    }
    Ok(())
}

/// Over each line in turn and over all at once full packets pass. The lines are as fast as can be: in fragments, a stream
/// fills a queue with half as much.
fn full_packets_pass(stage: &mut Stage, inner: u32) -> Result<()> {
    stage.every_line(|profile| Profile { rate_bps: 0, queue_packets: 100_000, ..profile })?;
    for uplink in &UPLINKS {
        force(stage, uplink)?;
        tally::exact_of(stage, Sent::InSegments, 0, |stage| full(stage, inner))
            .with_context(|| format!("over {}", uplink.name))?;
    }
    for override_of in ["uplink", "mode"] {
        stage.fleet.cli(&[override_of, "auto", EDGE])?;
    }
    declare::apply(stage, &[declare::copies(2)])?;
    stage.fleet.wait_for_paths("two copies", |paths| paths.copies.len() == 2)?;
    tally::exact_of(stage, Sent::InSegments, 2, |stage| full(stage, inner)).context("over all at once")
}

fn force(stage: &mut Stage, uplink: &Uplink) -> Result<()> {
    stage.fleet.cli(&["uplink", "force", &format!("{EDGE}/{}", uplink.name)])?;
    stage.fleet.wait_for_paths("the forced uplink", |paths| paths.active == uplink.name).map(drop)
}

/// A packet of the inner MTU passes and one byte more is refused with it; a stream passes whole.
fn full(stage: &Stage, inner: u32) -> Result<()> {
    for course in Course::all(&stage.network) {
        let ask = |size: u32| -> Result<_> {
            let error = probe::complaint((&course.from, course.source), course.target, size as usize)?;
            error.with_context(|| format!("{size} bytes to {} vanish", course.target))
        };
        let fits = ask(inner)?;
        ensure!((fits.from, fits.mtu) == (course.target, None), "{inner} bytes to {}: {fits:?}", course.target);
        let refused = ask(inner + 1)?;
        ensure!(refused.mtu == Some(inner), "{} bytes to {}: {refused:?}", inner + 1, course.target);
        segments::send(&course)?;
    }
    Ok(())
}
