//! All talk at once: every client with every other through the anchors, with the server where its sessions leave, and the
//! other anchors' servers with every client.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pathsteer_lab::emulator::Way;
use pathsteer_lab::hiccup::Meter;
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{Anchor, MANY, Segment};
use pathsteer_lab::traffic::udp::{self, Receiver};
use pathsteer_lab::traffic::{Account, Datagrams, Marker, exchange, transfer};
use pathsteer_lab::{clock, netns};

use crate::stage::Stage;

/// Between two datagrams of a flow. Most flows take two tunnels each way, and all are copied.
const PERIOD: Duration = Duration::from_millis(40);
/// With time before the fault and after it.
const DURATION: Duration = Duration::from_secs(7);
/// The line that dies, of the van's active path, and when.
const LINE: &str = "fiber";
const DEAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// Attempts at a measurement that the machine spoils.
const ATTEMPTS: u32 = 3;
/// Of whoever speaks first and of the other; each flow has its own above these.
const PORTS: (u16, u16) = (44_000, 12_000);
/// Each way between two sites.
const BYTES: usize = 200_000;
/// For a transfer over the satellite.
const PATIENCE: Duration = Duration::from_secs(20);

/// Datagrams from one host to another, with answers or without.
pub struct Talk {
    pub from: (Host, SocketAddr),
    pub to: (Host, SocketAddr),
    run: u64,
    pub answered: bool,
}

pub fn case(stage: &mut Stage) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        let meter = Meter::start()?;
        let talks = everybody(stage)?;
        let problems = while_a_line_dies(stage, &talks)?;
        let stalls = meter.finish()?;
        let longest = stalls.iter().map(|stall| stall.length()).max().unwrap_or_default();
        if problems.is_empty() {
            stage.remark(format!("{} conversations, nothing lost, nothing twice", talks.len()));
            return streams(stage);
        }
        // Lost while the machine stood still says nothing.
        if stalls.is_empty() || attempt == ATTEMPTS {
            bail!("{} (the machine stood still {} times, at most {longest:?})", problems.join("; "), stalls.len());
        }
        let first = &problems[0];
        stage.remark(format!("attempt {attempt} proves nothing, the machine stood still for {longest:?}: {first}"));
    }
    Ok(())
}

/// Every conversation that there is to be had.
pub fn everybody(stage: &mut Stage) -> Result<Vec<Talk>> {
    let mut talks = Vec::new();
    for site in MANY.sites {
        let preferred = stage.preferred_anchor(site.name)?;
        for one in site.segments {
            for other in MANY.segments().filter(|other| other.client != one.client) {
                let ends = addresses(one).into_iter().zip(addresses(other));
                talks.extend(ends.map(|(from, to)| talk(stage, (one.client, from), (other.client, to), true)));
            }
            for anchor in MANY.anchors {
                for (client, server) in addresses(one).into_iter().zip(servers(anchor)) {
                    // The way back leaves by the preferred anchor, from where no way leads to another's server.
                    talks.push(if anchor.name == preferred {
                        talk(stage, (one.client, client), (anchor.server, server), true)
                    } else {
                        talk(stage, (anchor.server, server), (one.client, client), false)
                    });
                }
            }
        }
    }
    Ok(talks)
}

fn talk(stage: &mut Stage, from: (&str, IpAddr), to: (&str, IpAddr), answered: bool) -> Talk {
    let run = stage.run();
    let number = (run % 1_000) as u16;
    let end = |(host, address), port| (stage.network.host(host).clone(), SocketAddr::new(address, port + number));
    Talk { from: end(from, PORTS.0), to: end(to, PORTS.1), run, answered }
}

/// What went wrong with all these at once while a line is silently dead for a time.
fn while_a_line_dies(stage: &Stage, talks: &[Talk]) -> Result<Vec<String>> {
    let line = stage.network.link(LINE)?;
    let dropped = || Way::BOTH.map(|way| line.count(way).dropped());
    let before = dropped();
    let start = clock::now() + Duration::from_millis(300);
    let span = (start, start + DURATION);
    let outcomes: Vec<Result<Vec<Account>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = talks.iter().map(|talk| scope.spawn(move || talk.hold(span))).collect();
        clock::sleep_until(start + DEAD.0);
        line.set_blackholes(true);
        clock::sleep_until(start + DEAD.1);
        line.set_blackholes(false);
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("panicked"))).collect()
    });
    let died = dropped().into_iter().zip(before).all(|(now, before)| now > before + 10);
    ensure!(died, "the line {LINE} carried nothing that could be lost");
    let mut problems = Vec::new();
    for (talk, outcome) in talks.iter().zip(outcomes) {
        let name = format!("{} ({}) to {}", talk.from.0.name, talk.from.1, talk.to.1);
        for (what, account) in ["", " back"].into_iter().zip(outcome?) {
            problems.extend(problem(&account).map(|problem| format!("{name}{what}: {problem}")));
        }
    }
    Ok(problems)
}

impl Talk {
    /// There, and back if it is answered.
    fn hold(&self, span: (Duration, Duration)) -> Result<Vec<Account>> {
        let ((from, source), (to, destination)) = ((&self.from.0, self.from.1), (&self.to.0, self.to.1));
        let datagrams = Datagrams::every(PERIOD, self.run);
        if self.answered {
            let exchanged = exchange((from, source), (to, destination), datagrams, span)?;
            return Ok(vec![exchanged.questions, exchanged.answers]);
        }
        let receiver = Receiver::start(to, destination, self.run)?;
        let sent_at = netns::join(udp::send(from, source, destination, datagrams, span)?)?;
        let (sent, last) = (sent_at.len() as u64, sent_at.last().copied().unwrap_or_default());
        Ok(vec![receiver.finish(sent, last)?.accounting.close(sent)])
    }
}

/// What is wrong with a flow of datagrams.
pub fn problem(account: &Account) -> Option<String> {
    let Account { sent, lost, duplicated, .. } = account;
    let is_well = *sent > 0 && lost.is_empty() && *duplicated == 0;
    (!is_well).then(|| format!("of {sent} {} lost, {duplicated} twice", lost.len()))
}

/// By TCP each way between every two sites, whose packets may take one anchor there and another back.
fn streams(stage: &mut Stage) -> Result<()> {
    let segments: Vec<&Segment> = MANY.segments().collect();
    for one in &segments {
        for other in segments.iter().filter(|other| other.client != one.client) {
            for (from, to) in addresses(one).into_iter().zip(addresses(other)) {
                let Talk { from, to, .. } = talk(stage, (one.client, from), (other.client, to), false);
                let took = transfer((&from.0, from.1), (&to.0, to.1), BYTES, Marker::SURVIVABLE, PATIENCE)?;
                ensure!(took < PATIENCE, "{} to {} took {took:?}", from.1, to.1);
            }
        }
    }
    Ok(())
}

/// A client's addresses, IPv4 first.
pub fn addresses(segment: &Segment) -> [IpAddr; 2] {
    [segment.v4.into(), segment.v6.into()]
}

/// The addresses of the server behind an anchor, IPv4 first.
pub fn servers(anchor: &Anchor) -> [IpAddr; 2] {
    [anchor.server_v4.into(), anchor.server_v6.into()]
}
