//! Carries out what [`pathsteer_agent_core::Renewal`] decides: other workers, other keys.

use std::{collections::BTreeMap, time::Instant};

use pathsteer_agent_core::{Active, Renewal, Step, Worker};
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_wireguard::WorkerStatus;
use tokio::sync::watch;

use crate::{drivers::wireguard::Wireguard, state::StateDir};

/// The driver of the renewal.
pub struct Renewing {
    state: StateDir,
    renewal: Renewal,
    /// What the operator is to know of the node, and what it has been told.
    identity: watch::Sender<NodeIdentity>,
    told: watch::Receiver<NodeIdentity>,
    start: Instant,
}

impl Renewing {
    /// `told` says what the operator has been told.
    pub fn new(state: StateDir, identity: watch::Sender<NodeIdentity>, told: watch::Receiver<NodeIdentity>) -> Self {
        Renewing { state, renewal: Renewal::default(), identity, told, start: Instant::now() }
    }

    /// The slot by which nothing should be sent now.
    pub fn avoided(&self) -> Option<u8> {
        self.renewal.avoided()
    }

    /// Those who do WireGuard now, if there is a step to go.
    pub fn due(&self, workers: &BTreeMap<u8, WorkerStatus>) -> Option<BTreeMap<u8, Worker>> {
        let known: BTreeMap<u8, Worker> =
            workers.iter().map(|(slot, status)| (*slot, self.worker(*slot, status))).collect();
        (self.renewal.underway().is_some() || known.values().any(Worker::is_due)).then_some(known)
    }

    /// Goes a step on. Says whether a worker has gone and a turn has to make another.
    pub fn step(&mut self, wireguard: &Wireguard, known: &BTreeMap<u8, Worker>, active: &Active) -> bool {
        let before = self.renewal.underway();
        let step = self.renewal.step(known, active, self.start.elapsed());
        match (before, self.renewal.underway()) {
            (None, Some(slot)) => tracing::info!(slot, "renewing WireGuard: another version, or another key"),
            (Some(slot), None) => tracing::info!(slot, "WireGuard renewed"),
            _ => {}
        }
        match step {
            Some(Step::MakeKey(slot)) => {
                if let Err(error) = self.state.make_next_key(slot) {
                    tracing::warn!(slot, %error, "no next key");
                }
                false
            }
            Some(Step::Tell(slot)) => {
                if let Ok(Some(key)) = self.state.next_key(slot) {
                    self.identity.send_modify(|identity| drop(identity.wireguard_keys.insert(slot, key)));
                }
                false
            }
            Some(Step::Replace(slot)) => {
                let replaced = self.state.use_next_key(slot).map_err(|error| error.to_string());
                let replaced = replaced.and_then(|()| wireguard.remove(slot).map_err(|error| error.to_string()));
                replaced.unwrap_or_else(|error| tracing::warn!(slot, error, "WireGuard is not renewed"));
                true
            }
            None => false,
        }
    }

    fn worker(&self, slot: u8, status: &WorkerStatus) -> Worker {
        let next = self.state.next_key(slot).unwrap_or_else(|error| {
            tracing::warn!(slot, %error, "the next key");
            None
        });
        let forgotten = self.state.key(slot).is_ok_and(|key| key.is_some_and(|key| key != status.public_key));
        let told = self.told.borrow();
        let sessions = status.devices.iter().flat_map(|device| &device.peers);
        let sessions = sessions.filter(|peer| peer.handshake_age_seconds.is_some());
        Worker {
            // What the kernel does is of the kernel's version.
            outdated: status.pid != 0 && status.version != pathsteer_wireguard::version(),
            forgotten,
            rekeyed: next.is_some(),
            told: next.is_some() && told.wireguard_keys.get(&slot) == next.as_ref(),
            sessions: sessions.map(|peer| peer.public_key.clone()).collect(),
        }
    }
}
