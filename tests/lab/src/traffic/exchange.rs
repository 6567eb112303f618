//! Question and answer: a flow that only the client can open, because its address is translated on the way.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::accounting::Account;
use super::socket;
use super::udp::{Datagrams, Receiver, pace};
use crate::host::Host;
use crate::netns;

/// What became of an exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Questions that arrived at the server.
    pub questions: Account,
    /// Answers that came back.
    pub answers: Account,
    /// The client, as the server saw it.
    pub seen_as: BTreeSet<SocketAddr>,
}

/// Sends `datagrams` from the client to the server from `start` until `end`; the server sends each of them back.
///
/// # Errors
/// When a socket is not to be had. Lost traffic is an outcome, not an error.
pub fn exchange(
    client: (&Host, SocketAddr),
    server: (&Host, SocketAddr),
    datagrams: Datagrams,
    span: (Duration, Duration),
) -> Result<Exchange> {
    let answering = Receiver::answering(server.0, server.1, datagrams.run)?;
    let asking = client.0.net.run(|| socket::udp(client.1))?;
    let hearing = Receiver::on(asking.try_clone()?, datagrams.run, false)?;
    let to = server.1;
    let sent_at = netns::join(client.0.net.thread("asking", move || Ok(pace(&asking, to, datagrams, span)))?)?;
    let (sent, last) = (sent_at.len() as u64, sent_at.last().copied().unwrap_or_default());
    let (answers, questions) = (hearing.finish(sent, last)?, answering.finish(sent, last)?);
    Ok(Exchange {
        questions: questions.accounting.close(sent),
        answers: answers.accounting.close(sent),
        seen_as: questions.sources,
    })
}
