//! Whether this kernel may hand packets of several segments to the shim whole.
//!
//! Such a packet gets one outer header, as many sequence numbers as segments, and the kernel has to count the outer IP ID
//! up when it cuts the packet for the tunnel. Some kernels do not for what they merged from a sender with a fixed IP ID:
//! then every segment but the first is a false duplicate, and TCP stands still. Such packets are cut up before the shim
//! (see [`crate::offload`]); whether they are, and whether the others are counted rightly, is tried, with the very
//! programs, in a namespace that nobody else sees and that is gone with the thread, however that ends.

mod ground;
mod packets;

use std::{io, time::Duration};

use nix::sched::{CloneFlags, unshare};

use crate::{
    Datapath, Error, Kind,
    layout::{Behind, Chosen, Config, Remote},
    offload,
};
use ground::Ground;
use packets::{Segments, Shape};

/// Longer than this nothing is on its way any more: all of it happens on one machine, within system calls.
const QUIET: Duration = Duration::from_millis(100);
/// TC_ACT_OK (<linux/pkt_cls.h>).
const PASSED: u32 = 0;
/// The far end's shim endpoint.
const FAR: [u8; 4] = [10, 100, 0, 1];
const NEAR: [u8; 4] = [10, 100, 0, 2];
const FAR_ID: u32 = 1;
const NEAR_ID: u32 = 2;

/// What the self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// [`Config::gso`] may be set and ps0's `gso_max_segs` left alone, once ps0 is limited: see [`crate::offload`].
    pub allowed: bool,
    /// For people.
    pub why: String,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{what}: {source}")]
    Kernel { what: &'static str, source: io::Error },
    #[error(transparent)]
    Datapath(#[from] Error),
}

/// Sends TCP, TCP over IPv6, UDP, TCP with a fixed IP ID and TCP in somebody's GRE in packets of many segments through the
/// shim. Takes a few tenths of a second and leaves nothing behind.
pub fn segmentation_selftest() -> Outcome {
    // a thread of its own: the namespace it enters is nobody else's, and ends with it
    match std::thread::spawn(|| run(offload::limit)).join() {
        Ok(Ok(None)) => Outcome { allowed: true, why: "every segment of every shape was delivered once".to_owned() },
        Ok(Ok(Some(why))) => Outcome { allowed: false, why },
        Ok(Err(failure)) => Outcome { allowed: false, why: format!("the self-test could not run: {failure}") },
        Err(_) => Outcome { allowed: false, why: "the self-test itself failed".to_owned() },
    }
}

/// Whether the kernel takes the programs and their maps, and runs one on an interface. Leaves nothing behind.
///
/// # Errors
/// What the kernel says.
pub fn loads() -> Result<(), impl std::error::Error> {
    let work = || -> Result<(), Failure> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Failure::Kernel { what: "make a namespace", source: errno.into() })?;
        Datapath::scratch()?.programs.attach_unpinned("lo", Kind::Encap)?;
        Ok(())
    };
    let failed = |_| Failure::Kernel { what: "try the programs", source: io::Error::other("the test itself failed") };
    std::thread::spawn(work).join().map_err(failed).and_then(|done| done)
}

/// What went wrong with the first shape that did not pass, once `limit` has been done to ps0.
fn run(limit: fn(&str) -> io::Result<()>) -> Result<Option<String>, Failure> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| Failure::Kernel { what: "make a namespace", source: errno.into() })?;
    let ground = Ground::new()?;
    if let Err(error) = limit(ground::SHIM) {
        return Ok(Some(format!("what comes whole cannot be limited: {error}")));
    }
    let (mut near, mut far) = (near()?, far()?);
    near.programs.attach_unpinned(ground::SHIM_PEER, Kind::Encap)?;
    for shape in Shape::ALL {
        let _treated = shape.treatment().map(|program| ground.treat(program)).transpose()?;
        if let Some(why) = passes(&ground, &mut near, &mut far, shape)? {
            return Ok(Some(format!("{shape}: {why}")));
        }
    }
    Ok(None)
}

fn passes(ground: &Ground, near: &mut Datapath, far: &mut Datapath, shape: Shape) -> Result<Option<String>, Failure> {
    let whole_before = whole(near)?;
    let wanted = ground.send(shape)?;
    let mut delivered = Segments::new();
    let mut twice = 0;
    while let Some(packet) = ground.receive(QUIET)? {
        let trial = far.programs.try_packet(Kind::DecapEthernet, &packet, 0)?;
        if trial.verdict == PASSED
            && let Some(segment) = packets::segment(&trial.packet)
            && !delivered.insert(segment)
        {
            twice += 1;
        }
        if delivered.len() == wanted.len() {
            break;
        }
    }
    let whole = whole(near)? - whole_before;
    let arrived = delivered.intersection(&wanted).count();
    Ok(if arrived < wanted.len() {
        Some(format!("{arrived} of {} segments were delivered", wanted.len()))
    } else if twice > 0 || delivered.len() > wanted.len() {
        Some(format!("{} segments too many were delivered", delivered.len() - wanted.len() + twice))
    } else if shape.comes_whole() && whole == 0 {
        Some("the kernel hands over no packets of several segments, so that nothing was shown".to_owned())
    } else if !shape.comes_whole() && whole > 0 {
        Some("packets of several segments came whole, though the kernel was told to cut them up".to_owned())
    } else {
        None
    })
}

/// Segments of packets that came whole to the shim.
fn whole(near: &Datapath) -> Result<u64, Failure> {
    Ok(near.maps.counters().map_err(Error::Map)?.values().map(|counters| counters["whole"]).sum())
}

/// An edge with one anchor.
fn near() -> Result<Datapath, Error> {
    let mut datapath = Datapath::scratch()?;
    let maps = &mut datapath.maps;
    let remote = Remote { address: FAR, anchor: 1, identity: 1, slots: 1, ..Remote::default() };
    maps.set_config(Config { self_address: NEAR, window_shift: 10, role: 1, gso: 1, ..Config::default() })?;
    maps.set_remote(FAR_ID, remote, &[1], 1 << 10)?;
    for (address, length) in ground::INSIDE {
        maps.set_prefix(address, length, Behind::Own)?;
    }
    for (address, length) in ground::OUTSIDE {
        maps.set_prefix(address, length, Behind::Remote(FAR_ID))?;
    }
    maps.choose(FAR_ID, 1, Chosen { active: 1, ..Chosen::default() })?;
    Ok(datapath)
}

/// That anchor. Its packets come in by the loopback: so it is where programs are tried without an interface.
fn far() -> Result<Datapath, Error> {
    const LOOPBACK: u32 = 1;
    let mut datapath = Datapath::scratch()?;
    let maps = &mut datapath.maps;
    let remote = Remote { address: NEAR, anchor: 0, identity: 1, slots: 1, ..Remote::default() };
    maps.set_config(Config { self_address: FAR, window_shift: 10, role: 2, ..Config::default() })?;
    maps.set_remote(NEAR_ID, remote, &[1], 1 << 10)?;
    for (address, length) in ground::INSIDE {
        maps.set_prefix(address, length, Behind::Remote(NEAR_ID))?;
    }
    maps.set_slot(LOOPBACK, 1)?;
    Ok(datapath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(limit: fn(&str) -> io::Result<()>) -> String {
        std::thread::spawn(move || run(limit)).join().unwrap().unwrap().expect("every shape passed")
    }

    #[test]
    fn a_shim_that_takes_packets_of_any_length_whole_is_refused() {
        let why = refused(|_| Ok(()));
        assert_eq!(why, "TCP: 80 of 144 segments were delivered");
    }

    #[test]
    fn a_shim_that_takes_tcp_with_a_fixed_ip_id_whole_is_refused() {
        let why = refused(offload::limit_length);
        assert!(why.starts_with("TCP with a fixed IP ID: "), "{why}");
    }

    #[test]
    fn a_kernel_that_cannot_be_told_what_comes_whole_is_refused() {
        let why = refused(|_| Err(io::ErrorKind::Unsupported.into()));
        assert_eq!(why, "what comes whole cannot be limited: unsupported");
    }
}
