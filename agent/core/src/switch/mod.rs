//! The switching machine: which path carries each steering class towards each remote, and which further ones carry
//! copies.
//!
//! Sans I/O: feed it plans and acknowledgements with the time, then call [`Switch::poll_action`] until it has none, and
//! again at [`Switch::poll_timeout`]. Times are durations since one start, whichever the caller takes.
//!
//! Today a person decides (costs, overrides, modes). What will decide by measurement enters by another `handle_*` and
//! leaves by the same actions.

mod avoid;
mod nonce;
mod steering;
mod target;
mod telling;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pathsteer_crds::plan::{PathSpec, SteeringSpec};
use pathsteer_crds::report::SteeringReport;

use steering::Steering;
use telling::By;

pub use avoid::{Avoid, not_up};
pub use telling::{REMIND, RESEND_FIRST, RESEND_LONGEST};

/// What the pinned map says about one class towards one remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The active slot, 1 to 8.
    pub active: u8,
    /// Slots that carry copies, bit k-1 for slot k; never the active one.
    pub copies: u8,
    /// Grows with every choice of this class; modulo 16 it is the serial on the wire.
    pub counter: u64,
}

/// What a far end says it follows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    pub remote: u32,
    pub class: u8,
    pub active: u8,
    pub copies: u8,
    pub counter: u64,
    /// That of the control packet it answers.
    pub nonce: u64,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make this the highest counter that a restart begins with. Comes before the first choice that needs it; as a rule
    /// long before, when there is nothing else to do, because a disk takes longer than a switch may.
    PersistCounter(u64),
    /// Write the choice into the pinned map.
    Choose { remote: u32, class: u8, choice: Choice },
    /// Say it to the far end by each of these slots.
    SendControl { remote: u32, class: u8, choice: Choice, nonce: u64, slots: Vec<u8> },
    /// Tell people.
    Log(SwitchEvent),
}

/// One change of mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchEvent {
    pub remote: u32,
    pub class: u8,
    /// Absent for the first choice.
    pub from: Option<Choice>,
    pub to: Choice,
    /// Why, in words.
    pub reason: String,
}

/// So many counters are persisted ahead of their use, and again when half are used: more switches than that between two
/// quiet moments wait for the disk.
const AHEAD: u64 = 64;

/// Of a class towards a remote: the remote's node index and the class.
type Key = (u32, u8);

/// The machine. See the module.
#[derive(Debug)]
pub struct Switch {
    process: u64,
    /// The highest counter used or seen so far, by whichever class.
    highest: u64,
    persisted: u64,
    adopted: BTreeMap<Key, Choice>,
    steerings: BTreeMap<Key, Steering>,
    actions: VecDeque<Action>,
}

impl Switch {
    /// `last_counter` is what the last [`Action::PersistCounter`] said (0 on the first start), so that counters grow
    /// over restarts; `process` differs from one process to the next, so that no answer to an earlier one counts.
    pub fn new(last_counter: u64, process: u64) -> Switch {
        Switch {
            process,
            highest: last_counter,
            persisted: last_counter,
            adopted: BTreeMap::new(),
            steerings: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes over what the pinned map already says, at start, before the first plan: what is as the plan wants it is
    /// not chosen again, the far end is only asked whether it follows.
    pub fn adopt(&mut self, remote: u32, class: u8, choice: Choice) {
        self.highest = self.highest.max(choice.counter);
        self.adopted.insert((remote, class), choice);
    }

    /// A plan has come into force, or other paths are avoided. `paths` lend their names to the reasons.
    pub fn handle_plan(&mut self, steering: &[SteeringSpec], paths: &[PathSpec], avoid: &Avoid, now: Duration) {
        let mut before = std::mem::take(&mut self.steerings);
        for spec in steering {
            let key = (spec.remote, spec.class);
            let held = match before.remove(&key) {
                Some(held) => held,
                None => Steering::new(self.adopted.remove(&key), now),
            };
            self.steerings.insert(key, held);
            self.decide(key, spec, paths, avoid, now);
        }
        // A choice for what is no longer steered would have nowhere to go.
        let steerings = &self.steerings;
        self.actions.retain(|action| match action {
            Action::Choose { remote, class, .. } | Action::SendControl { remote, class, .. } => {
                steerings.contains_key(&(*remote, *class))
            }
            Action::Log(event) => steerings.contains_key(&(event.remote, event.class)),
            Action::PersistCounter(_) => true,
        });
        self.adopted.clear();
    }

    /// A far end has answered. Only an answer to a packet of this process about the choice in force counts. One with its
    /// counter has heard of it; what it follows then, it learns from where our packets come in.
    ///
    /// One that follows a later switch than ours would never follow us: then the choice is made again, above it.
    pub fn handle_acknowledgement(&mut self, acknowledgement: Acknowledgement, now: Duration) {
        let Acknowledgement { remote, class, active: _, copies: _, counter, nonce } = acknowledgement;
        let Some(held) = self.steerings.get_mut(&(remote, class)) else { return };
        let Some(choice) = held.choice else { return };
        if nonce != nonce::of(self.process, choice.counter) {
            return;
        }
        if counter == choice.counter {
            held.telling.acknowledged(now);
        } else if choice.counter < counter && counter < u64::MAX {
            self.highest = self.highest.max(counter);
            let again = Choice { counter: counter + 1, ..choice };
            let reason = format!("the far end followed switch {counter}, later than {}", choice.counter);
            self.choose((remote, class), again, reason, now);
        }
    }

    /// When to call [`Switch::poll_action`] again if nothing happens before; absent if nothing is chosen.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.actions.is_empty() {
            return Some(Duration::ZERO);
        }
        self.steerings.values().filter(|held| held.choice.is_some()).map(|held| held.telling.due).min()
    }

    /// The next thing to do; call it until there is none.
    pub fn poll_action(&mut self, now: Duration) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        for (&(remote, class), held) in &mut self.steerings {
            let Some(choice) = held.choice.filter(|_| held.telling.due <= now) else { continue };
            let slots = match held.telling.send(now) {
                By::EveryPath => held.live.clone(),
                By::ActivePath => vec![choice.active],
            };
            let nonce = nonce::of(self.process, choice.counter);
            return Some(Action::SendControl { remote, class, choice, nonce, slots });
        }
        (self.persisted < self.highest.saturating_add(AHEAD / 2)).then(|| self.persist_ahead())
    }

    /// What every class is sent by, for the node's report.
    pub fn report(&self) -> Vec<SteeringReport> {
        self.steerings.iter().map(|(&(remote, class), held)| held.report(remote, class)).collect()
    }

    fn decide(&mut self, key: Key, spec: &SteeringSpec, paths: &[PathSpec], avoid: &Avoid, now: Duration) {
        let Some(held) = self.steerings.get_mut(&key) else { return };
        let target = target::of(spec, paths, avoid, held.choice);
        held.declare(spec, &target);
        let Some((active, copies)) = target.wanted else { return };
        let next = match held.choice {
            Some(choice) if (choice.active, choice.copies) == (active, copies) => return,
            // One by one, so that serials of one class follow each other.
            Some(choice) => choice.counter + 1,
            // Above everything any class has used: this class may have been here before.
            None => self.highest + 1,
        };
        self.choose(key, Choice { active, copies, counter: next }, target.reason, now);
    }

    fn choose(&mut self, key: Key, choice: Choice, reason: String, now: Duration) {
        let Some(held) = self.steerings.get_mut(&key) else { return };
        let (remote, class) = key;
        let from = held.choose(choice, now);
        self.highest = self.highest.max(choice.counter);
        if self.persisted < choice.counter {
            let persist = self.persist_ahead();
            self.actions.push_back(persist);
        }
        self.actions.push_back(Action::Choose { remote, class, choice });
        self.actions.push_back(Action::Log(SwitchEvent { remote, class, from, to: choice, reason }));
    }

    fn persist_ahead(&mut self) -> Action {
        self.persisted = self.highest.saturating_add(AHEAD);
        Action::PersistCounter(self.persisted)
    }
}
