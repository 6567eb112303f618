//! The system's clock: kept on disk while the agent runs, and stepped forward before WireGuard begins where it lies behind.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};
use pathsteer_agent_core::{Clock, KEEP_TIME_EVERY, TimeKept};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    config::Config,
    reconcile::RUN_DIR,
    state::StateDir,
    sys::clock,
    tls::{self, TlsError},
};

/// In [`RUN_DIR`]: what was done to the clock in this life of the machine.
const STEPPED: &str = "clock";

/// Sets the clock forward if it lies behind. Where that is not permitted it says so, and the node goes on.
///
/// # Errors
/// The node's certificate cannot be read.
pub fn put_right(config: &Config, state: &StateDir) -> Result<(), TlsError> {
    let known = Clock {
        now: now(),
        synchronised: is_synchronised(),
        boot: clock::boot_id().unwrap_or_default(),
        kept: state.time_kept(),
        valid: tls::validity(&config.certificate)?,
    };
    let Some(to) = known.step() else { return Ok(()) };
    let (from, to_text) = (text(known.now), text(to));
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(to)) {
        Ok(()) => {
            let seconds = (to - known.now).as_secs();
            tracing::warn!(from, to = to_text, seconds, "the clock lay behind and was stepped forward");
            let noted = fs::write(Path::new(RUN_DIR).join(STEPPED), format!("{from} to {to_text}"));
            noted.unwrap_or_else(|error| tracing::debug!(%error, "the step is not noted"));
        }
        Err(errno) => tracing::warn!(
            now = from,
            at_least = to_text,
            error = %io::Error::from(errno),
            "the clock lies behind and cannot be set, so far ends may refuse this node's handshakes: give the agent CAP_SYS_TIME"
        ),
    }
    Ok(())
}

/// Keeps the time every now and then, for ever.
pub async fn keep(state: StateDir) {
    loop {
        keep_now(&state);
        tokio::time::sleep(KEEP_TIME_EVERY).await;
    }
}

/// Keeps the time as it is now.
pub fn keep_now(state: &StateDir) {
    let kept = state.save_time(&TimeKept { time: now(), boot: clock::boot_id().unwrap_or_default() });
    kept.unwrap_or_else(|error| tracing::warn!(%error, "cannot keep the time"));
}

/// What there is to say about the clock, for people.
pub fn describe() -> String {
    let kept = if is_synchronised() { "synchronised" } else { "not synchronised" };
    match fs::read_to_string(Path::new(RUN_DIR).join(STEPPED)) {
        Ok(stepped) => format!("{kept}; it lay behind and was stepped forward from {stepped}"),
        Err(_) => kept.to_owned(),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Somebody, such as a time server's client, has told the kernel that its clock is right.
fn is_synchronised() -> bool {
    // SAFETY: plain numbers, for which all zeros are valid; with no `modes` the kernel only fills them in.
    let status = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut timex) >= 0).then_some(timex.status)
    };
    status.is_some_and(|status| status & libc::STA_UNSYNC == 0)
}

fn text(time: Duration) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
