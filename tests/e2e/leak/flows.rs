//! Traffic of every treatment, both ways and in both families, that goes on whatever is done to the nodes: of each kind
//! a flow that runs all the time and one that begins anew again and again.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use pathsteer_lab::network::Network;
use pathsteer_lab::traffic::{Marker, Stamp};
use pathsteer_lab::{clock, netns};

use crate::treatment::{BEHIND_ANCHOR, CREW, Client, ON_THE_WEB, PLAYER, VISITOR};

/// Ports that no policy names, that a policy of these cases makes a service, and that the example's makes survivable.
const OTHER: u16 = 7_600;
const SERVICE: u16 = 7_300;
const VOICE: u16 = 5_060;
/// Between two datagrams of a flow.
const PERIOD: Duration = Duration::from_millis(20);
/// Datagrams of a flow until it begins anew.
const ANEW: u64 = 5;
const LOOK: Duration = Duration::from_millis(50);

/// Datagrams from one host to another.
struct Course {
    from: Client,
    to: Client,
    port: u16,
    marker: Marker,
}

const COURSES: [Course; 7] = [
    Course { from: CREW, to: BEHIND_ANCHOR, port: OTHER, marker: Marker::SURVIVABLE },
    Course { from: BEHIND_ANCHOR, to: CREW, port: OTHER, marker: Marker::SURVIVABLE },
    Course { from: CREW, to: BEHIND_ANCHOR, port: SERVICE, marker: Marker::SERVICE },
    // A mixed segment's call, which a policy makes survivable.
    Course { from: PLAYER, to: BEHIND_ANCHOR, port: VOICE, marker: Marker::SURVIVABLE },
    Course { from: VISITOR, to: ON_THE_WEB, port: OTHER, marker: Marker::GUEST },
    Course { from: VISITOR, to: BEHIND_ANCHOR, port: OTHER, marker: Marker::GUEST },
    Course { from: VISITOR, to: CREW, port: OTHER, marker: Marker::GUEST },
];

/// Who answers, and where.
const ANSWERS: [(Client, u16); 5] =
    [(BEHIND_ANCHOR, OTHER), (BEHIND_ANCHOR, SERVICE), (BEHIND_ANCHOR, VOICE), (CREW, OTHER), (ON_THE_WEB, OTHER)];

/// What makes flows to [`SERVICE`] a service.
pub const SERVICE_POLICY: &str = "apiVersion: pathsteer.io/v1alpha1
kind: TrafficPolicy
metadata: {name: payments}
spec:
  match: [{protocol: udp, ports: [\"7300\"]}]
  treatment: service
";

/// The traffic under way.
pub struct Flows {
    end: Arc<AtomicBool>,
    questions: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Flows {
    pub fn start(network: &Network) -> Result<Flows> {
        let end = Arc::new(AtomicBool::new(false));
        let questions = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for (server, port) in ANSWERS {
            let (ending, counter) = (Arc::clone(&end), Arc::clone(&questions));
            threads.push(network.host(server.host).net.thread("answers", move || answer(port, &counter, &ending))?);
        }
        for course in &COURSES {
            let ending = Arc::clone(&end);
            threads.push(network.host(course.from.host).net.thread("questions", move || send(course, &ending))?);
        }
        Ok(Flows { end, questions, threads })
    }

    /// Questions that have arrived until now, wherever they were meant for.
    pub fn arrived(&self) -> u64 {
        self.questions.load(Relaxed)
    }

    pub fn finish(self) -> Result<()> {
        self.end.store(true, Relaxed);
        self.threads.into_iter().try_for_each(netns::join)
    }
}

fn send(course: &Course, end: &AtomicBool) -> Result<()> {
    let bind = |from: &IpAddr| UdpSocket::bind(SocketAddr::new(*from, 0));
    let ends: Vec<(IpAddr, SocketAddr)> =
        course.from.addresses.into_iter().zip(course.to.addresses.map(|to| SocketAddr::new(to, course.port))).collect();
    let running: Vec<UdpSocket> = ends.iter().map(|(from, _)| bind(from)).collect::<Result<_, _>>()?;
    let mut due = clock::now();
    let mut fresh = Vec::new();
    for sequence in 0.. {
        if end.load(Relaxed) {
            break;
        }
        if sequence % ANEW == 0 {
            fresh = ends.iter().map(|(from, _)| bind(from)).collect::<Result<_, _>>()?;
        }
        let payload = Stamp { run: 0, sequence, sent: clock::now() }.write(course.marker, 0);
        for ((_, to), socket) in ends.iter().zip(&running).chain(ends.iter().zip(&fresh)) {
            // What the kernel refuses leaks nowhere.
            let _ = socket.send_to(&payload, to);
        }
        due += PERIOD;
        clock::sleep_until(due);
    }
    Ok(())
}

fn answer(port: u16, questions: &AtomicU64, end: &AtomicBool) -> Result<()> {
    let socket = UdpSocket::bind(("::", port))?;
    socket.set_read_timeout(Some(LOOK))?;
    let mut bytes = [0; 1_500];
    while !end.load(Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut bytes) {
            questions.fetch_add(1, Relaxed);
            let _ = socket.send_to(&bytes[..length], from);
        }
    }
    Ok(())
}
