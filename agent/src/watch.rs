//! What wakes the reconciler: changes in our namespaces, cards that appear in the node's own, namespaces that come and go,
//! programs that come off their links, workers that are told otherwise or end.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_wireguard::{UserspaceBackend, WorkerStatus};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    drivers::datapath::Shim,
    ground::Calls,
    sys::{
        monitor::Monitor,
        netns::{self, Netns, NetnsId},
    },
};

/// Changes come in bursts, our own among them. What follows a change so closely is heard of afterwards, all at once; the
/// reconciler gives a burst longer than this to end.
const BURST: Duration = Duration::from_millis(10);

/// How often the programs are looked at: the kernel notifies nobody when one comes off its link. Without the shim's every
/// packet is lost, for so long at worst and a turn more. A look costs 0.05 ms, most of it to be woken.
const LOOK: Duration = Duration::from_millis(40);

/// The listeners.
pub struct Watch {
    pub calls: Calls,
    ours: BTreeMap<String, (NetnsId, Listener)>,
    host: Option<Listener>,
    /// While something of ours is in the node's own namespace, everything there matters.
    home: Option<Listener>,
    programs: Option<Lookout>,
    /// By slot, with the process and its configuration.
    workers: BTreeMap<u8, ((u32, String), Listener)>,
}

/// Ends when it is dropped.
struct Listener(JoinHandle<()>);

/// A thread that looks. Ends soon after it is dropped.
struct Lookout(Arc<AtomicBool>);

impl Watch {
    pub fn new() -> Self {
        Watch {
            calls: Calls::default(),
            ours: BTreeMap::new(),
            host: None,
            home: None,
            programs: None,
            workers: BTreeMap::new(),
        }
    }

    /// Listens where nobody does yet and lets go of what is gone: a socket of ours would keep a deleted namespace alive,
    /// with the cards in it. `at_home` says that something of ours is in the node's own namespace, too. Says whether any namespace of ours has come or gone since the last time.
    pub fn put(&mut self, at_home: bool) -> bool {
        let host = || Monitor::of_links(&Netns::current()?);
        Listener::keep(&mut self.host, host, &self.calls.plugged);
        if at_home {
            Listener::keep(&mut self.home, || Monitor::open(&Netns::current()?), &self.calls.changed);
        } else {
            self.home = None;
        }
        let there = namespaces().unwrap_or_default();
        let before = self.ours.len();
        self.ours.retain(|name, (id, listener)| there.get(name).is_some_and(|(now, _)| now == id) && listener.lives());
        let mut changed = self.ours.len() != before;
        for (name, (id, netns)) in there {
            if self.ours.contains_key(&name) {
                continue;
            }
            let mut listener = None;
            Listener::keep(&mut listener, || Monitor::open(&netns), &self.calls.changed);
            self.ours.extend(listener.map(|listener| (name, (id, listener))));
            changed = true;
        }
        changed
    }

    /// Looks after the programs of `shim` from now on, and of no other.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn put_programs(&mut self, shim: Option<&Shim>) -> io::Result<()> {
        self.programs = shim.map(|shim| Lookout::start(shim.clone(), Arc::clone(&self.calls.changed))).transpose()?;
        Ok(())
    }

    /// Hears from now on of `workers` as they are now, each behind its socket. The kernel's own WireGuard tells nobody.
    pub fn put_workers(&mut self, workers: &BTreeMap<u8, WorkerStatus>, socket: impl Fn(u8) -> PathBuf) {
        self.workers.retain(|slot, _| workers.contains_key(slot));
        for (slot, worker) in workers.iter().filter(|(_, worker)| worker.pid != 0) {
            let this = (worker.pid, worker.config_digest.clone());
            if self.workers.get(slot).is_some_and(|(heard, listener)| *heard == this && listener.lives()) {
                continue;
            }
            let (wake, socket, digest) = (Arc::clone(&self.calls.changed), socket(*slot), worker.config_digest.clone());
            let listener = tokio::spawn(async move {
                if let Err(error) = UserspaceBackend::changed(&socket, &digest).await {
                    tracing::debug!(%error, "cannot hear a worker");
                }
                wake.notify_one();
            });
            self.workers.insert(*slot, (this, Listener(listener)));
        }
    }
}

impl Lookout {
    fn start(shim: Shim, wake: Arc<Notify>) -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&end);
        std::thread::Builder::new().name("programs".to_owned()).spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                if shim.has_lost_a_program() {
                    wake.notify_one();
                }
                std::thread::sleep(LOOK);
            }
        })?;
        Ok(Lookout(end))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn namespaces() -> io::Result<BTreeMap<String, (NetnsId, Netns)>> {
    let names = netns::list()?.into_iter().filter(|name| is_owned_netns(name));
    // one that was deleted since has no entry
    let opened = names.filter_map(|name| Netns::open(&name).ok().map(|netns| (name, netns)));
    opened.map(|(name, netns)| Ok((name, (netns.id()?, netns)))).collect()
}

impl Listener {
    /// Puts a listener into `place` unless one lives there. What cannot be opened now is tried again next time.
    fn keep(place: &mut Option<Listener>, open: impl FnOnce() -> io::Result<Monitor>, wake: &Arc<Notify>) {
        if place.as_ref().is_some_and(Listener::lives) {
            return;
        }
        match open() {
            Ok(monitor) => {
                let wake = Arc::clone(wake);
                *place = Some(Listener(tokio::spawn(async move {
                    while monitor.changed().await.is_ok() {
                        wake.notify_one();
                        tokio::time::sleep(BURST).await;
                    }
                })));
            }
            Err(error) => tracing::warn!(%error, "cannot listen for changes"),
        }
    }

    fn lives(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}
