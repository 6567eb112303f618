//! Segments: what hosts leave in one piece, what cards merge, and what has the same IP ID every time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_bpf::offload::is_limited;
use pathsteer_crds::ownership::{ANCHOR_NETNS, SHIM_LINK, VIP_NETNS};
use pathsteer_lab::capture::{Frame, Frames, Recording};
use pathsteer_lab::craft::SYN;
use pathsteer_lab::emulator::Profile;
use pathsteer_lab::netns::Namespace;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, SWITCHES};
use pathsteer_lab::offload::{self, Offload};
use pathsteer_lab::shape;
use pathsteer_lab::traffic::{Marker, transfer};

use crate::shape::copied_and_alone_of;
use crate::shape::course::Course;
use crate::shape::tally::{Sent, passes_whole};
use crate::stage::Stage;

const BYTES: usize = 2 << 20;
/// Segments that are cut wrongly come to 0.5 MB/s; cut rightly it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// A frame of an MTU of 1,500.
const FULL: usize = 1_514;
/// Datagrams sent in one go: fewer than fill any socket on the way.
const TRAIN: u8 = 20;
const DATAGRAM: u16 = 1_000;
const ROUNDS: usize = 10;
const NODES: [&str; 2] = [EDGE, ANCHOR_HOST];
/// The agents' own configuration.
const CONFIG: &str = "/etc/pathsteer/agent.yaml";

pub fn tcp(stage: &mut Stage) -> Result<()> {
    whole_and_cut_up(stage, Sent::InSegments, |stage| {
        for course in Course::all(&stage.network) {
            for family in ["-4", "-6"] {
                // What an earlier case has taught the hosts of the path would keep their segments small.
                course.from.output("ip", &[family, "route", "flush", "cache"])?;
            }
            let recording = Recording::start(&course.from.net, "eth0")?;
            send(&course)?;
            let frames = recording.finish()?;
            let long = frames.count(|frame| frame.outgoing && frame.bytes.len() > FULL);
            ensure!(long > 0, "{} sent no large segment", course.from.name);
            // What its card allows, and what came back through the tunnels: 1,388 bytes less the headers.
            let wanted = if course.source.is_ipv4() { (1_460, 1_348) } else { (1_440, 1_328) };
            let told = (mss(&frames, true)?, mss(&frames, false)?);
            ensure!(told == wanted, "{} and {} tell each other of segments {told:?}", course.source, course.target);
        }
        Ok(())
    })
}

pub fn fixed_ids(stage: &mut Stage) -> Result<()> {
    let cards = [(stage.edge().namespace(VIP_NETNS)?, "lan0"), (stage.anchor().namespace(ANCHOR_NETNS)?, "inet0")];
    for (node, (namespace, _)) in NODES.into_iter().zip(&cards) {
        limited_again(stage, node, namespace).with_context(|| format!("every kind of TCP let in whole on {node}"))?;
    }
    let courses: Vec<Course> =
        Course::all(&stage.network).into_iter().filter(|course| course.source.is_ipv4()).collect();
    // A card merges only what comes from one that leaves checksums and segments alone: here the port of its switch.
    let switches = stage.network.host(SWITCHES).clone();
    let port = format!("inet0-{ANCHOR_HOST}");
    switches.net.run(|| offload::complete_frames(&port))?;
    for (course, (namespace, card)) in courses.iter().zip(&cards) {
        shape::fix_ip_ids(&course.from, "eth0")?;
        offload::merge_segments(namespace, card)?;
    }
    // These are cut up before the shim in any case.
    let sent = whole_and_cut_up(stage, Sent::OneByOne, |_| {
        for (course, (namespace, card)) in courses.iter().zip(&cards) {
            let recording = Recording::start(namespace, card)?;
            send(course)?;
            let merged = |frame: &Frame| !frame.outgoing && frame.bytes.len() > FULL && frame.bytes[18..20] == [0, 0];
            let merged = recording.finish()?.count(merged);
            ensure!(merged > 0, "{card} merged no segments of {}", course.source);
        }
        Ok(())
    });
    for (course, (namespace, card)) in courses.iter().zip(&cards) {
        namespace.run(|| offload::set(card, Offload::ReceiveMerging, false))?;
        course.from.nft("delete table ip fixed-ids")?;
        course.from.ip("link set eth0 gso_max_segs 65535")?;
        course.from.net.run(|| offload::set("eth0", Offload::TransmitChecksum, true))?;
    }
    switches.net.run(|| offload::set(&port, Offload::TransmitChecksum, true))?;
    sent
}

/// Lets every kind of TCP in whole by hand, and waits until the agent has noticed and put that right.
fn limited_again(stage: &mut Stage, node: &str, namespace: &Namespace) -> Result<()> {
    let counted = stage.report(node)?.drift_repaired;
    namespace.run(|| offload::set(SHIM_LINK, Offload::TcpSegmentation, true))?;
    stage.until("it is put right and counted", |stage| {
        let limited = namespace.run(|| Ok(is_limited(SHIM_LINK)?))?;
        Ok(limited && stage.report(node)?.drift_repaired > counted)
    })
}

pub fn udp(stage: &mut Stage) -> Result<()> {
    whole_and_cut_up(stage, Sent::InSegments, |stage| {
        for course in Course::all(&stage.network) {
            let (near, far, to) = course.sockets()?;
            let recording = Recording::start(&course.from.net, "eth0")?;
            let sent: Vec<u8> = (0..TRAIN).flat_map(|number| vec![number; DATAGRAM.into()]).collect();
            for _ in 0..ROUNDS {
                shape::send_segments(&near, to, DATAGRAM, &sent)?;
                let mut bytes = [0; 2 * DATAGRAM as usize];
                let mut came = Vec::new();
                for _ in 0..TRAIN {
                    let length = far.recv(&mut bytes).with_context(|| format!("to {to} came {came:?} alone"))?;
                    let right = length == usize::from(DATAGRAM) && bytes[1..length] == bytes[..length - 1];
                    ensure!(right, "behind {came:?} to {to} came {length} bytes: {:?}…", &bytes[..length.min(8)]);
                    came.push(bytes[0]);
                }
                // Nobody promises their order.
                let each_once = BTreeSet::from_iter(came.iter().copied()) == BTreeSet::from_iter(0..TRAIN);
                ensure!(each_once, "to {to} came {came:?}");
            }
            let long = recording.finish()?.count(|frame| frame.outgoing && frame.bytes.len() > FULL);
            ensure!(long > 0, "{} cut its datagrams up by itself", course.from.name);
        }
        Ok(())
    })
}

/// Does `act` while the shims let segments pass in one piece, which is how nodes begin here, and while everything is cut
/// up before them. Each time copied and alone, over lines on which nothing has to wait long enough to be lost.
fn whole_and_cut_up(stage: &mut Stage, sent: Sent, mut act: impl FnMut(&mut Stage) -> Result<()>) -> Result<()> {
    for node in NODES {
        ensure!(passes_whole(stage, node)?, "{node} does not: {}", stage.report(node)?.segmentation);
    }
    on_wide_lines(stage, sent, &mut act).context("whole")?;
    let found = NODES.map(|node| stage.network.host(node).read(CONFIG));
    let found: Vec<String> = found.into_iter().collect::<Result<_>>()?;
    let always: Vec<String> = found.iter().map(|text| format!("{text}segmentation: always\n")).collect();
    let done = configure(stage, &always, false).and_then(|()| on_wide_lines(stage, sent, &mut act)).context("cut up");
    configure(stage, &found, true)?;
    done
}

/// Gives each agent its configuration and waits until the node is as it says.
fn configure(stage: &mut Stage, texts: &[String], whole: bool) -> Result<()> {
    for (node, text) in NODES.into_iter().zip(texts) {
        stage.network.host(node).write(CONFIG, text)?;
        let agent = stage.fleet.agent(node)?;
        agent.kill()?;
        agent.restart()?;
        stage.until("what it does with segments", |stage| Ok(passes_whole(stage, node)? == whole))?;
    }
    stage.settle()
}

fn on_wide_lines(stage: &mut Stage, sent: Sent, act: impl FnMut(&mut Stage) -> Result<()>) -> Result<()> {
    stage.every_line(|profile| Profile { rate_bps: 0, queue_packets: 100_000, ..profile })?;
    let done = copied_and_alone_of(stage, sent, act);
    stage.every_line(|profile| profile)?;
    done
}

pub fn send(course: &Course) -> Result<()> {
    let (near, far) = course.addresses();
    let ends = ((&course.from, near), (&course.to, far));
    transfer(ends.0, ends.1, BYTES, Marker::SURVIVABLE, PATIENCE).with_context(|| format!("{near} to {far}"))?;
    Ok(())
}

/// The largest segment that a handshake allows, as the recording host said it or heard it.
fn mss(frames: &Frames, said: bool) -> Result<u16> {
    let option = |frame: &Frame| {
        let ip = frame.bytes.get(14..)?;
        let (protocol, header) = if ip[0] >> 4 == 4 { (*ip.get(9)?, 20) } else { (*ip.get(6)?, 40) };
        let tcp = ip.get(header..header + 24).filter(|tcp| protocol == 6 && tcp[13] & SYN != 0)?;
        // It is the first option, of kind 2 and four bytes (RFC 9293).
        (tcp[20..22] == [2, 4]).then(|| u16::from_be_bytes([tcp[22], tcp[23]]))
    };
    let mut told = frames.0.iter().filter(|frame| frame.outgoing == said).filter_map(option);
    told.next().context("no handshake was seen")
}
