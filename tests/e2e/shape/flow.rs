//! A flow of numbered datagrams over one course, accounted where it arrives.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pathsteer_lab::hiccup::Meter;
use pathsteer_lab::traffic::{Account, Datagrams, udp};
use pathsteer_lab::{clock, netns};

use crate::shape::course::Course;

/// From the order to send until the first packet.
const LEAD: Duration = Duration::from_millis(50);
/// Attempts at a measurement that the machine spoils.
const ATTEMPTS: u32 = 3;
/// Not used by any other measurement.
static NEXT_RUN: AtomicU64 = AtomicU64::new(700_000);

/// Sends one datagram of `size` bytes every `period` for so long.
///
/// # Errors
/// When a socket is not to be had. Lost datagrams are in the account.
pub fn flow(course: &Course, period: Duration, size: usize, duration: Duration) -> Result<Account> {
    let (near, far) = course.addresses();
    let run = NEXT_RUN.fetch_add(1, Relaxed);
    let receiver = udp::Receiver::start(&course.to, far, run)?;
    let start = clock::now() + LEAD;
    let datagrams = Datagrams { size, ..Datagrams::every(period, run) };
    let sender = udp::send(&course.from, near, far, datagrams, (start, start + duration))?;
    let sent_at = netns::join(sender)?;
    let sent = sent_at.len() as u64;
    let received = receiver.finish(sent, sent_at.last().copied().unwrap_or_default())?;
    ensure!(received.socket_drops == 0, "the receiver's own socket dropped {} datagrams", received.socket_drops);
    Ok(received.accounting.close(sent))
}

/// The same, and every datagram must arrive exactly once. What a machine that stood still has spoilt is repeated.
///
/// # Errors
/// When a datagram was lost or came twice.
pub fn whole(course: &Course, period: Duration, size: usize, duration: Duration) -> Result<Account> {
    for _ in 0..ATTEMPTS {
        let meter = Meter::start()?;
        let account = flow(course, period, size, duration)?;
        let stalls = meter.finish()?;
        ensure!(account.duplicated == 0, "{} datagrams to {} came twice", account.duplicated, course.target);
        if account.lost.is_empty() {
            return Ok(account);
        }
        let first = &account.lost[..account.lost.len().min(5)];
        let (lost, sent) = (account.lost.len(), account.sent);
        ensure!(!stalls.is_empty(), "{lost} of {sent} datagrams to {} were lost, such as {first:?}", course.target);
    }
    bail!("datagrams to {} were lost in each of {ATTEMPTS} attempts", course.target)
}
