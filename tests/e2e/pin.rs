//! What a flow's first packet was told holds for the flow: neither an uplink that recovers nor a policy that changes
//! moves it. And an uplink that goes takes no new flow with it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pathsteer_crds::ownership::{DIRECT_TABLE, VIP_NETNS, edge_tunnel, uplink_netns, uplink_veth};
use pathsteer_lab::capture::Recording;
use pathsteer_lab::network::Network;
use pathsteer_lab::network::plan::{UPLINKS, WEB};
use pathsteer_lab::network::provider::EDGE_SIDE;
use pathsteer_lab::traffic::{Marker, Stamp};
use pathsteer_lab::{clock, netns};

use crate::kernel::shell;
use crate::shape::declare;
use crate::stage::Stage;
use crate::talk::socket;
use crate::treatment::{BEHIND_ANCHOR, Client, ON_THE_WEB, PLAYER, VISITOR};

const PORT: u16 = 7_500;
/// No question or answer takes longer, handshake and a lost packet included.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a single datagram is waited for before the next flow is tried: starlink's round trip is 36 ms at most.
const TRY: Duration = Duration::from_millis(60);
/// What is promised: new flows use another uplink so soon after the kernel has said that theirs is gone. The kernel itself
/// says so at once, or gathers such news for up to a second when there was some within the last (linkwatch).
const PROMISED: Duration = Duration::from_secs(1);
const QUESTIONS: usize = 10;

/// Where frames with a marker were.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Place {
    Wire(&'static str),
    Tunnel(&'static str),
}

const FIBER: &str = UPLINKS[0].name;
const STARLINK: &str = UPLINKS[1].name;

pub fn recovery(stage: &mut Stage) -> Result<()> {
    for family in [0, 1] {
        unplug(stage)?;
        let mut running = Conversation::open(&stage.network, VISITOR, ON_THE_WEB, family)?;
        let talked = places(stage, Marker::GUEST, || running.talk(Marker::GUEST))?;
        ensure!(talked == BTreeSet::from([Place::Wire(STARLINK)]), "without the fiber a flow was on {talked:?}");
        plug(stage)?;
        let talked = places(stage, Marker::GUEST, || running.talk(Marker::GUEST))?;
        ensure!(talked == BTreeSet::from([Place::Wire(STARLINK)]), "once it was back the flow was on {talked:?}");
        let mut new = Conversation::open(&stage.network, VISITOR, ON_THE_WEB, family)?;
        let talked = places(stage, Marker::BEST_EFFORT, || new.talk(Marker::BEST_EFFORT))?;
        ensure!(talked == BTreeSet::from([Place::Wire(FIBER)]), "a new flow was on {talked:?}");
        running.close()?;
        new.close()?;
    }
    Ok(())
}

pub fn gone(stage: &mut Stage) -> Result<()> {
    let echo = Echo::start(&stage.network)?;
    for family in [0, 1] {
        answered_anew(stage, family).context("with all uplinks")?;
    }
    let unplugged = clock::now();
    stage.network.link(FIBER)?.set_plugged(false)?;
    stage.until("the kernel says that the carrier is gone", |stage| {
        let card = shell(stage.edge(), &uplink_netns(1), &format!("ip -o link show dev {}", UPLINKS[0].card))?;
        Ok(card.contains("NO-CARRIER"))
    })?;
    let start = clock::now();
    stage.remark(format!("carrier gone: the kernel said so after {:.2} s", (start - unplugged).as_secs_f64()));
    for (family, name) in [(0, "IPv4"), (1, "IPv6")] {
        answered_anew(stage, family)?;
        let taken = clock::now() - start;
        ensure!(taken < PROMISED, "{name}: answered {:.2} s after the carrier had gone", taken.as_secs_f64());
        stage.remark(format!("a new {name} flow was answered {:.2} s after that", taken.as_secs_f64()));
    }
    plug(stage)?;
    answered_anew(stage, 1)?;
    // As if its time had run out and no router advertised another.
    shell(stage.edge(), &uplink_netns(1), "ip -6 route delete default proto ra")?;
    let start = clock::now();
    answered_anew(stage, 1)?;
    let taken = clock::now() - start;
    ensure!(taken < PROMISED, "answered {:.2} s after the route had gone", taken.as_secs_f64());
    stage.remark(format!("default route gone: a new IPv6 flow was answered after {:.2} s", taken.as_secs_f64()));
    // A link that is set up asks for routers, one whose carrier comes back does not.
    for state in ["down", "up"] {
        shell(stage.edge(), &uplink_netns(1), &format!("ip link set {} {state}", UPLINKS[0].card))?;
    }
    plug(stage)?;
    echo.finish()
}

pub fn policy(stage: &mut Stage) -> Result<()> {
    let policy = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: pinned}
spec:
  match: [{protocol: tcp, ports: [\"7500\"]}, {protocol: udp, ports: [\"7500\"]}]
  treatment: service
";
    let open = |stage: &Stage, server| {
        let both = [0, 1].map(|family| Conversation::open(&stage.network, PLAYER, server, family));
        both.into_iter().collect::<Result<Vec<_>>>()
    };
    let (wire, tunnel) = (BTreeSet::from([Place::Wire(FIBER)]), BTreeSet::from([Place::Tunnel(FIBER)]));
    let mut straight = open(stage, ON_THE_WEB)?;
    expect(stage, &mut straight, &wire, "before there was a policy, a flow")?;
    declare::apply(stage, &[policy.to_owned()])?;
    stage.on_fiber(true)?;
    expect(stage, &mut straight, &wire, "a flow older than the policy")?;
    let mut carried = open(stage, BEHIND_ANCHOR)?;
    expect(stage, &mut carried, &tunnel, "a flow of the policy")?;
    one_way(stage, ON_THE_WEB, &tunnel).context("a flow to the same server, younger than the policy")?;
    stage.fleet.cli(&["delete", "trafficpolicy", "pinned"])?;
    stage.ready()?;
    stage.as_planned()?;
    expect(stage, &mut carried, &tunnel, "a flow that outlives its policy")?;
    expect(stage, &mut straight, &wire, "a flow that has seen it come and go")?;
    one_way(stage, BEHIND_ANCHOR, &wire).context("a flow to the same server, younger than the deletion")?;
    straight.into_iter().chain(carried).try_for_each(Conversation::close)
}

fn expect(stage: &Stage, flows: &mut [Conversation], wanted: &BTreeSet<Place>, what: &str) -> Result<()> {
    for flow in flows {
        let talked = places(stage, Marker::MIXED, || flow.talk(Marker::MIXED))?;
        ensure!(talked == *wanted, "{what} to {} was on {talked:?}", flow.server);
    }
    Ok(())
}

/// New flows of datagrams, one by family, whoever may answer them.
fn one_way(stage: &Stage, server: Client, wanted: &BTreeSet<Place>) -> Result<()> {
    for family in [0, 1] {
        let to = SocketAddr::new(server.addresses[family], PORT);
        let asking = socket(stage.network.host(PLAYER.host), SocketAddr::new(PLAYER.addresses[family], 0))?;
        let sent = places(stage, Marker::MIXED, || {
            for number in 0..QUESTIONS as u64 {
                asking.send_to(&payload(number, Marker::MIXED), to)?;
                clock::sleep_until(clock::now() + Duration::from_millis(5));
            }
            Ok(())
        })?;
        ensure!(sent == *wanted, "to {to} by {sent:?}");
    }
    Ok(())
}

/// Where `marker` is while `act` is done.
fn places(stage: &Stage, marker: Marker, act: impl FnOnce() -> Result<()>) -> Result<BTreeSet<Place>> {
    let mut recordings = Vec::new();
    for uplink in &UPLINKS {
        let router = &stage.network.host(uplink.name).net;
        recordings.push((Place::Wire(uplink.name), Recording::start(router, EDGE_SIDE)?));
        let netns = stage.edge().namespace(&uplink_netns(uplink.slot))?;
        recordings.push((Place::Tunnel(uplink.name), Recording::start(&netns, &edge_tunnel(uplink.slot, 1))?));
    }
    act()?;
    // What went up last is still on its line.
    clock::sleep_until(clock::now() + TRY);
    let mut found = BTreeSet::new();
    for (place, recording) in recordings {
        if recording.finish()?.marked(marker) > 0 {
            found.insert(place);
        }
    }
    Ok(found)
}

fn unplug(stage: &mut Stage) -> Result<()> {
    stage.network.link(FIBER)?.set_plugged(false)?;
    stage.until("no flow is led to the fiber", |stage| Ok(!leads(stage, "-4")? && !leads(stage, "-6")?))
}

fn plug(stage: &mut Stage) -> Result<()> {
    stage.network.link(FIBER)?.set_plugged(true)?;
    let led = stage.until("flows are led to the fiber", |stage| Ok(leads(stage, "-4")? && leads(stage, "-6")?));
    led.with_context(|| {
        let routes = ["-4", "-6"].map(|family| shell(stage.edge(), &uplink_netns(1), &format!("ip {family} route")));
        format!("routes of the fiber: {routes:?}")
    })
}

/// Whether flows straight to the internet are led to the fiber.
fn leads(stage: &Stage, family: &str) -> Result<bool> {
    let routes = shell(stage.edge(), VIP_NETNS, &format!("ip {family} route show table {DIRECT_TABLE}"));
    Ok(routes?.contains(&uplink_veth(UPLINKS[0].slot).0))
}

fn payload(number: u64, marker: Marker) -> Vec<u8> {
    Stamp { run: 0, sequence: number, sent: clock::now() }.write(marker, 0)
}

/// Opens one flow after another until one is answered.
fn answered_anew(stage: &Stage, family: usize) -> Result<()> {
    let to = SocketAddr::new(ON_THE_WEB.addresses[family], PORT);
    let deadline = clock::now() + PATIENCE;
    let mut number = 0;
    while clock::now() < deadline {
        let asking = socket(stage.network.host(VISITOR.host), SocketAddr::new(VISITOR.addresses[family], 0))?;
        asking.set_read_timeout(Some(TRY))?;
        let question = payload(number, Marker::GUEST);
        // Refused is unanswered.
        let _ = asking.send_to(&question, to);
        let mut answer = [0; 64];
        if asking.recv(&mut answer).is_ok_and(|length| answer[..length] == question[..]) {
            return Ok(());
        }
        number += 1;
    }
    bail!("none of {number} flows to {to} was answered within {} s", PATIENCE.as_secs())
}

/// Answers datagrams on the web, in both families.
struct Echo {
    thread: JoinHandle<Result<()>>,
    end: Arc<AtomicBool>,
}

impl Echo {
    fn start(network: &Network) -> Result<Echo> {
        let answering = socket(network.host(WEB), SocketAddr::new("::".parse()?, PORT))?;
        answering.set_read_timeout(Some(TRY))?;
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("echo".into()).spawn(move || {
            let mut bytes = [0; 1_500];
            while !ending.load(Relaxed) {
                if let Ok((length, from)) = answering.recv_from(&mut bytes) {
                    answering.send_to(&bytes[..length], from)?;
                }
            }
            Ok(())
        })?;
        Ok(Echo { thread, end })
    }

    fn finish(self) -> Result<()> {
        self.end.store(true, Relaxed);
        netns::join(self.thread)
    }
}

/// A TCP connection whose far end says everything again.
struct Conversation {
    connection: TcpStream,
    server: SocketAddr,
    answering: JoinHandle<Result<()>>,
}

impl Conversation {
    fn open(network: &Network, client: Client, server: Client, family: usize) -> Result<Conversation> {
        let to = SocketAddr::new(server.addresses[family], PORT);
        let listener = network.host(server.host).net.run(|| Ok(TcpListener::bind(to)?))?;
        let connecting = || Ok(TcpStream::connect_timeout(&to, PATIENCE)?);
        let connection =
            network.host(client.host).net.run(connecting).with_context(|| format!("connecting to {to}"))?;
        let (mut accepted, _) = listener.accept()?;
        let answering = std::thread::Builder::new().name("tcp-echo".into()).spawn(move || {
            let mut bytes = [0; 1_500];
            loop {
                match accepted.read(&mut bytes)? {
                    0 => return Ok(()),
                    length => accepted.write_all(&bytes[..length])?,
                }
            }
        })?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        Ok(Conversation { connection, server: to, answering })
    }

    fn talk(&mut self, marker: Marker) -> Result<()> {
        for number in 0..QUESTIONS {
            let question = payload(number as u64, marker);
            self.connection.write_all(&question)?;
            let mut answer = vec![0; question.len()];
            self.connection.read_exact(&mut answer).with_context(|| format!("{}: answer {number}", self.server))?;
            ensure!(answer == question, "{}: answer {number} is {answer:?}", self.server);
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.connection.shutdown(std::net::Shutdown::Both)?;
        netns::join(self.answering)
    }
}
