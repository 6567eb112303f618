//! What wakes the reconciler: changes in our namespaces, cards that appear in the node's own, namespaces that come and go.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use pathsteer_crds::ownership;
use tokio::{sync::Notify, task::JoinHandle};

use crate::sys::{
    monitor::Monitor,
    netns::{self, Netns, NetnsId},
};

/// Changes come in bursts, our own among them. What follows a change so closely is heard of afterwards, all at once; the
/// reconciler gives a burst longer than this to end.
const BURST: Duration = Duration::from_millis(10);

/// The listeners.
pub struct Watch {
    /// Something changed in a namespace of ours.
    pub changed: Arc<Notify>,
    /// An interface of the node's own namespace changed: a card that was missing may be there.
    pub plugged: Arc<Notify>,
    ours: BTreeMap<String, (NetnsId, Listener)>,
    host: Option<Listener>,
    /// While something of ours is in the node's own namespace, everything there matters.
    home: Option<Listener>,
}

/// Ends when it is dropped.
struct Listener(JoinHandle<()>);

impl Watch {
    pub fn new() -> Self {
        Watch { changed: Arc::default(), plugged: Arc::default(), ours: BTreeMap::new(), host: None, home: None }
    }

    /// Listens where nobody does yet and lets go of what is gone: a socket of ours would keep a deleted namespace alive,
    /// with the cards in it. `at_home` says that something of ours is in the node's own namespace, too. Says whether any namespace of ours has come or gone since the last time.
    pub fn put(&mut self, at_home: bool) -> bool {
        let host = || Monitor::of_links(&Netns::current()?);
        Listener::keep(&mut self.host, host, &self.plugged);
        if at_home {
            Listener::keep(&mut self.home, || Monitor::open(&Netns::current()?), &self.changed);
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
            Listener::keep(&mut listener, || Monitor::open(&netns), &self.changed);
            self.ours.extend(listener.map(|listener| (name, (id, listener))));
            changed = true;
        }
        changed
    }
}

fn namespaces() -> io::Result<BTreeMap<String, (NetnsId, Netns)>> {
    let names = netns::list()?.into_iter().filter(|name| name.starts_with(ownership::PREFIX));
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
