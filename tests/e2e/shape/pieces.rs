//! IP options, extension headers and fragments.

use anyhow::{Context, Result, ensure};
use pathsteer_lab::capture::Recording;
use pathsteer_lab::probe;
use pathsteer_lab::shape::{self, Discovery};

use crate::shape::copied_and_alone;
use crate::shape::course::Course;
use crate::stage::Stage;

/// Router alert (RFC 2113), which routers leave in place; and three that do nothing, with the end of the list.
const OPTIONS: [[u8; 4]; 2] = [[148, 4, 0, 0], [1, 1, 1, 0]];
/// Bytes of padding in an extension header of destination options; with more, Linux takes the packet for an attack.
const FILLING: u8 = 4;
/// Longer than any MTU of the lab's hosts: three fragments, and four of what fits a tunnel.
const LONG: usize = 4_500;
/// What every card of the lab's hosts has.
const CARD_MTU: usize = 1_500;
/// Datagrams of every flow.
const ROUNDS: usize = 5;

pub fn options(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        for course in Course::all(&stage.network) {
            let all: &[[u8; 4]] = if course.source.is_ipv4() { &OPTIONS } else { &[[0; 4]] };
            for options in all {
                let (near, far, to) = course.sockets()?;
                let recording = Recording::start(&course.to.net, "eth0")?;
                match course.source.is_ipv4() {
                    true => shape::set_ip_options(&near, options)?,
                    false => shape::set_destination_options(&near, FILLING)?,
                }
                let mut bytes = [0; 64];
                for round in 0..ROUNDS {
                    near.send_to(&[round as u8; 30], to)?;
                    let length = far.recv(&mut bytes).with_context(|| format!("number {round} to {to} was lost"))?;
                    ensure!(bytes[..length] == [round as u8; 30], "not what was sent: {:?}", &bytes[..length]);
                }
                // A header of six words, or one that says that destination options come next.
                let has_options = |ip: &[u8]| match course.source.is_ipv4() {
                    true => ip[0] == 0x46 && ip[20..24] == *options,
                    false => ip[0] >> 4 == 6 && ip[6] == 60,
                };
                let frames = recording.finish()?;
                let arrived = frames.count(|frame| !frame.outgoing && frame.bytes.get(14..54).is_some_and(has_options));
                ensure!(arrived == ROUNDS, "{arrived} packets reached {to} with their options");
            }
        }
        Ok(())
    })
}

pub fn fragments(stage: &mut Stage) -> Result<()> {
    copied_and_alone(stage, |stage| {
        for course in Course::all(&stage.network) {
            if !course.source.is_ipv4() {
                // Only its sender cuts up an IPv6 packet, so he has to know how long one may be.
                let told = probe::complaint((&course.from, course.source), course.target, CARD_MTU)?;
                ensure!(told.is_some_and(|error| error.mtu.is_some()), "nobody told the MTU to {}", course.target);
            }
            let (near, far, to) = course.sockets()?;
            shape::set_discovery(&near, Discovery::Never)?;
            let recording = Recording::start(&course.to.net, "eth0")?;
            let mut bytes = vec![0; LONG + 1];
            for round in 0..ROUNDS {
                let sent: Vec<u8> = (0..LONG).map(|at| (at * 7 + at / 256 + round) as u8).collect();
                near.send_to(&sent, to)?;
                let length = far.recv(&mut bytes).with_context(|| format!("number {round} to {to} was lost"))?;
                ensure!(bytes[..length] == sent, "number {round} to {to} is not what was sent");
            }
            let frames = recording.finish()?;
            let fragments = frames.count(|frame| !frame.outgoing && is_fragment(&frame.bytes));
            ensure!(fragments == 4 * ROUNDS, "{fragments} fragments reached {to}");
        }
        Ok(())
    })
}

pub fn is_fragment(frame: &[u8]) -> bool {
    match frame.get(14..14 + 40) {
        Some(ip) if ip[0] >> 4 == 4 => u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0,
        Some(ip) => ip[6] == 44,
        None => false,
    }
}
