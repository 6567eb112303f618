//! Copies that come much later, lines that put nothing in order, and nodes that begin to count anew.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::emulator::{Profile, Way};
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, UPLINKS};

use crate::shape::copied_and_alone;
use crate::shape::course::Course;
use crate::shape::flow::{flow, whole};
use crate::shape::tally::{self, Tallies, get};
use crate::stage::Stage;
use crate::talk::{socket, talk};

const PERIOD: Duration = Duration::from_millis(2);
const SIZE: usize = 1_000;
/// The slow line is this much slower.
const SLOW: Duration = Duration::from_millis(600);
/// Round trips of which the median is taken: they go on for longer than a copy is late.
const ROUNDS: usize = 100;

pub fn slow_copies(stage: &mut Stage) -> Result<()> {
    let copying = UPLINKS[1].router;
    let slow = |stage: &Stage, change: &dyn Fn(Profile) -> Profile| -> Result<()> {
        let link = stage.network.link(copying)?;
        for way in Way::BOTH {
            link.settings(way).set_profile(change(UPLINKS[1].profile(way)));
        }
        Ok(())
    };
    let courses = Course::all(&stage.network);
    let (up, down) = (&courses[0], &courses[1]);

    slow(stage, &|profile| Profile { delay: SLOW, jitter: Duration::ZERO, ..profile })?;
    let late = round_trip(up)?;
    tally::exact(stage, 1, |_| {
        for course in [up, down] {
            let account = whole(course, PERIOD, SIZE, Duration::from_secs(2))?;
            ensure!(account.reordered == 0, "{} datagrams were overtaken", account.reordered);
        }
        Ok(())
    })
    .context("with copies 600 ms late")?;

    // A twentieth of what is copied to it, and a queue that is always full.
    slow(stage, &|profile| Profile { rate_bps: 200_000, queue_packets: 50, ..profile })?;
    let before = stage.network.link(copying)?.count(Way::Up).overflowed;
    whole(up, PERIOD, SIZE, Duration::from_secs(1))?;
    let full = round_trip(up)?;
    ensure!(stage.network.link(copying)?.count(Way::Up).overflowed > before, "the queue of the slow line was not full");
    stage.every_line(|profile| profile)?;

    stage.without_copies()?;
    let alone = round_trip(up)?;
    stage.remark(format!(
        "median round trip alone {alone:?}, copies 600 ms late {late:?}, behind a full queue {full:?}"
    ));
    // Twice is what a loaded machine makes of it; a wait for the slow line would be eighty times as long.
    let most = 2 * alone + Duration::from_millis(10);
    ensure!(
        late < most && full < most,
        "the primary waits for its copies: {alone:?} alone, {late:?} and {full:?} copied"
    );
    Ok(())
}

pub fn distant(stage: &mut Stage) -> Result<()> {
    // 5,000 packets a second and 200 ms: 1,000 of a window of 16,384 packets.
    let link = stage.network.link(UPLINKS[1].router)?;
    for way in Way::BOTH {
        let profile = UPLINKS[1].profile(way);
        let delay = UPLINKS[0].profile(way).delay + Duration::from_millis(200);
        link.settings(way).set_profile(Profile { delay, rate_bps: 0, queue_packets: 10_000, ..profile });
    }
    let before = Tallies::at_rest(stage)?;
    let courses = Course::all(&stage.network);
    let arrived = courses
        .iter()
        .try_for_each(|course| whole(course, Duration::from_micros(200), 200, Duration::from_millis(1_500)).map(drop));
    let since = Tallies::at_rest(stage)?.since(&before);
    arrived.with_context(|| format!("counted: {since:?}"))?;
    for (way, from, to) in [("up", &since.edge, &since.anchor), ("down", &since.anchor, &since.edge)] {
        let (sent, late) = (get(from, "sent"), get(to, "late"));
        let (delivered, duplicate) = (get(to, "delivered"), get(to, "duplicate"));
        stage.remark(format!("{way}: {sent} sent, {delivered} delivered, {duplicate} copies dropped, {late} late"));
        ensure!(late == 0, "{way}: {late} of {sent} packets were late");
        ensure!(duplicate > sent / 10 * 9, "{way}: of {sent} packets {duplicate} copies only came to be judged");
    }
    Ok(())
}

pub fn reordered(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        // Every other one waits: as much disorder as there can be.
        let disorder = |profile| Profile { reorder_ppm: 500_000, hold: Duration::from_millis(60), ..profile };
        stage.every_line(disorder)?;
        let sent = Course::all(&stage.network).iter().try_for_each(|course| {
            let account = flow(course, PERIOD, 200, Duration::from_millis(700))?;
            ensure!(account.lost.is_empty() && account.duplicated == 0, "to {}: {account:?}", course.target);
            ensure!(account.reordered > account.sent / 5, "only {} were overtaken", account.reordered);
            Ok(())
        });
        stage.every_line(|profile| profile)?;
        sent
    })
}

pub fn epochs(stage: &mut Stage) -> Result<()> {
    let courses: Vec<_> = Course::all(&stage.network).into_iter().map(|course| (course.addresses(), course)).collect();
    // The same flows before and after: their windows are those of the epoch before.
    let talk_all = |rounds| {
        courses.iter().try_for_each(|((near, far), course)| talk((&course.from, *near), (&course.to, *far), rounds))
    };
    tally::exact(stage, 1, |_| talk_all(200))?;
    let switched = stage.report(EDGE)?.steering.iter().map(|one| one.switch_counter).max().unwrap_or(0);
    for node in [EDGE, ANCHOR_HOST] {
        stage.fleet.agent(node)?.kill()?;
        let host = stage.network.host(node).clone();
        stage.fleet.agent_command(&host, &["teardown"])?;
        stage.fleet.agent(node)?.restart()?;
        stage.on_fiber(true)?;
        stage.as_planned()?;
        stage.ready()?;
        // Wait for a first answer: tunnels shake hands when they are used.
        let ((near, far), course) = &courses[0];
        stage.until("the tunnel carries again", |_| Ok(talk((&course.from, *near), (&course.to, *far), 1).is_ok()))?;
        tally::exact(stage, 1, |_| talk_all(50)).with_context(|| format!("after {node} has begun a new epoch"))?;
        // Counters went on where they were, so that the anchor had nothing to object.
        let steering = stage.report(EDGE)?.steering;
        let objected = steering.iter().find(|one| one.switch_counter <= switched || one.reason.contains("the far end"));
        ensure!(objected.is_none(), "after {switched} switches: {objected:?}");
    }
    Ok(())
}

/// The median time from a question to its answer.
fn round_trip(course: &Course) -> Result<Duration> {
    let (near, far) = course.addresses();
    let (asking, answering) = (socket(&course.from, near)?, socket(&course.to, far)?);
    let mut bytes = [0; 16];
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let start = clock::now();
        asking.send_to(&[round as u8], far)?;
        answering.recv(&mut bytes)?;
        answering.send_to(&[round as u8], near)?;
        asking.recv(&mut bytes)?;
        times.push(clock::now() - start);
    }
    times.sort();
    Ok(times[ROUNDS / 2])
}
