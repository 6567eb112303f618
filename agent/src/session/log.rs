//! Answers about the agent's log, when the operator asks.

use std::time::Duration;

use pathsteer_crds::session::{LOG_PATH, LogAnswer};
use tokio::time::timeout;

use super::exchange::{Sender, post};

/// After that nobody waits for the answer any more.
const LATE: Duration = Duration::from_secs(10);

/// Posts an answer. One that does not arrive is asked for again by whoever wants it.
pub(super) async fn answer(mut sender: Sender, authority: String, answer: LogAnswer) {
    // told seldom, since it would stand in the next answer
    match timeout(LATE, post(&mut sender, &authority, LOG_PATH, &answer)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an answer was not taken"),
        Err(_) => tracing::debug!("an answer came too late"),
    }
}
