//! Numbered packets through a tunnel and back, each accounted for.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::net::{Side, visit};

const ECHO_PORT: u16 = 7;
/// One packet per millisecond.
const PACE: Duration = Duration::from_millis(1);

/// Packets from one side to the other and back, until finished.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    echo: JoinHandle<()>,
    sender: JoinHandle<u32>,
    receiver: JoinHandle<Vec<Option<Instant>>>,
}

#[derive(Debug)]
pub struct Account {
    pub lost: usize,
    /// The longest time without an answer between the first and the last.
    pub longest_gap: Duration,
}

impl Traffic {
    pub fn start(from: &Side, to: &Side) -> Traffic {
        Traffic::between((&from.netns, from.address), (&to.netns, to.address))
    }

    /// From one namespace and address to another.
    pub fn between(from: (&str, Ipv4Addr), to: (&str, Ipv4Addr)) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let server = visit(to.0, || UdpSocket::bind((to.1, ECHO_PORT)).unwrap());
        let client = visit(from.0, || UdpSocket::bind((from.1, 0)).unwrap());
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        }
        client.connect((to.1, ECHO_PORT)).unwrap();

        let stopped = stop.clone();
        let echo = std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = server.recv_from(&mut buffer) {
                    let _ = server.send_to(&buffer[..length], peer);
                }
            }
        });
        let (stopped, socket) = (stop.clone(), client.try_clone().unwrap());
        let sender = std::thread::spawn(move || {
            let mut number = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                // A tunnel that is down for a moment is what we are here to see.
                let _ = socket.send(&number.to_be_bytes());
                number += 1;
                std::thread::sleep(PACE);
            }
            number
        });
        let stopped = stop.clone();
        let receiver = std::thread::spawn(move || {
            let (mut answers, mut buffer) = (Vec::new(), [0; 256]);
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(4) = client.recv(&mut buffer) {
                    let number = u32::from_be_bytes(buffer[..4].try_into().unwrap()) as usize;
                    answers.resize(answers.len().max(number + 1), None);
                    assert!(answers[number].is_none(), "packet {number} was answered twice");
                    answers[number] = Some(Instant::now());
                }
            }
            answers
        });
        Traffic { stop, echo, sender, receiver }
    }

    /// Stops and adds up. Packets of the last 100 ms do not count: they may still be on their way.
    pub fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap() as usize;
        let answers = self.receiver.join().unwrap();
        self.echo.join().unwrap();
        let counted = sent.saturating_sub(100);
        let lost = (0..counted).filter(|number| answers.get(*number).is_none_or(|answer| answer.is_none())).count();
        let mut times: Vec<Instant> = answers.into_iter().flatten().collect();
        times.sort();
        let longest_gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("answers");
        Account { lost, longest_gap }
    }
}
