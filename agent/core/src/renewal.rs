//! Renewing who does WireGuard for a slot: another version of the program, another key. One slot at a time, while nothing
//! depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For so long it is waited until nothing is sent by the slot. There may be no other.
const LEAVE: Duration = Duration::from_secs(5);
/// For so long it is waited for the sessions that the slot had; sites and anchors may be away. A handshake that gets no
/// answer is sent again after 5 s (Rekey-Timeout), a keepalive comes every 25.
const RETURN: Duration = Duration::from_secs(30);

/// Who does WireGuard for a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worker {
    /// Of another version than the agent.
    pub outdated: bool,
    /// With a key that is no longer the slot's: somebody died between the change of the one and the other.
    pub forgotten: bool,
    /// Another key than the one in use is to be used, once the operator knows it.
    pub rekeyed: bool,
    /// The operator knows that key.
    pub told: bool,
    /// Peers that there is a session with.
    pub sessions: BTreeSet<String>,
}

impl Worker {
    /// There has to be another.
    pub fn is_due(&self) -> bool {
        self.outdated || self.forgotten || self.rekeyed
    }
}

/// Slots by which something is sent, and who has chosen them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Active {
    /// This node, which can leave one.
    Chosen(BTreeSet<u8>),
    /// Far ends. They leave one when they hear of another key for it.
    Followed(BTreeSet<u8>),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The slot is to get a next key, though its own is good: so that far ends leave it.
    MakeKey(u8),
    /// The operator is to be told of the slot's next key.
    Tell(u8),
    /// The slot is to get its next key, if it has one, and somebody new who does it.
    Replace(u8),
}

/// At most one slot is renewed at a time.
#[derive(Debug, Default)]
pub struct Renewal {
    underway: Option<Underway>,
}

#[derive(Debug)]
struct Underway {
    slot: u8,
    since: Duration,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Leaving,
    /// Whether the operator has not heard of it in time: then the slot is used as long as he does not.
    Telling {
        in_vain: bool,
    },
    /// With the sessions that it had before.
    Replaced(BTreeSet<String>),
}

impl Renewal {
    /// The slot that is being renewed.
    pub fn underway(&self) -> Option<u8> {
        self.underway.as_ref().map(|underway| underway.slot)
    }

    /// The slot by which nothing should be sent now.
    pub fn avoided(&self) -> Option<u8> {
        let used = |stage: &Stage| matches!(stage, Stage::Telling { in_vain: true });
        self.underway.as_ref().filter(|underway| !used(&underway.stage)).map(|underway| underway.slot)
    }

    /// What there is to do at `now`, on any clock that only goes forward. To be asked about once a second.
    pub fn step(&mut self, workers: &BTreeMap<u8, Worker>, active: &Active, now: Duration) -> Option<Step> {
        let (is_chosen, active) = match active {
            Active::Chosen(slots) => (true, slots),
            Active::Followed(slots) => (false, slots),
        };
        let Some(underway) = &mut self.underway else {
            let slot = next(workers, active)?;
            self.underway = Some(Underway { slot, since: now, stage: Stage::Leaving });
            return None;
        };
        let (slot, waited) = (underway.slot, now.saturating_sub(underway.since));
        let Some(worker) = workers.get(&slot) else {
            // While it is being replaced there is nobody.
            if waited > RETURN {
                self.underway = None;
            }
            return None;
        };
        let is_due = worker.is_due();
        let is_being_left = active.contains(&slot) && (is_chosen || worker.told);
        match &underway.stage {
            Stage::Replaced(before) if !before.is_subset(&worker.sessions) && waited <= RETURN => None,
            Stage::Leaving
                if !is_chosen && worker.outdated && !worker.rekeyed && active.contains(&slot) && waited <= LEAVE =>
            {
                Some(Step::MakeKey(slot))
            }
            Stage::Leaving if is_due && is_being_left && waited <= LEAVE => None,
            Stage::Leaving if worker.rekeyed && !worker.told => {
                (underway.stage, underway.since) = (Stage::Telling { in_vain: false }, now);
                Some(Step::Tell(slot))
            }
            Stage::Telling { .. } if worker.rekeyed && !worker.told => {
                underway.stage = Stage::Telling { in_vain: waited > LEAVE };
                None
            }
            Stage::Telling { in_vain } if is_due && (*in_vain || !is_chosen) => {
                (underway.stage, underway.since) = (Stage::Leaving, now);
                None
            }
            Stage::Leaving | Stage::Telling { .. } if is_due => {
                (underway.stage, underway.since) = (Stage::Replaced(worker.sessions.clone()), now);
                Some(Step::Replace(slot))
            }
            Stage::Leaving | Stage::Telling { .. } | Stage::Replaced(_) => {
                self.underway = None;
                None
            }
        }
    }
}

/// Of the slots to be renewed, one by which nothing is sent before the others, and none while it is all there is that works:
/// unless it is all there is.
fn next(workers: &BTreeMap<u8, Worker>, active: &BTreeSet<u8>) -> Option<u8> {
    let others_work = |slot: u8| {
        workers.len() == 1 || workers.iter().any(|(other, worker)| *other != slot && !worker.sessions.is_empty())
    };
    let due = workers.iter().filter(|(slot, worker)| worker.is_due() && others_work(**slot));
    due.map(|(slot, _)| *slot).min_by_key(|slot| (active.contains(slot), *slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn worker(outdated: bool, sessions: &[&str]) -> Worker {
        let sessions = sessions.iter().map(|peer| (*peer).to_owned()).collect();
        Worker { outdated, sessions, ..Worker::default() }
    }

    fn chosen(slots: &[u8]) -> Active {
        Active::Chosen(slots.iter().copied().collect())
    }

    fn site(outdated: bool) -> BTreeMap<u8, Worker> {
        [1, 2, 3].map(|slot| (slot, worker(outdated, &["dal-a"]))).into()
    }

    #[test]
    fn one_at_a_time_is_replaced_and_the_one_in_use_last_once_it_is_left() {
        let (mut renewal, mut workers) = (Renewal::default(), site(true));
        let mut active = BTreeSet::from([1]);
        let mut replaced = Vec::new();
        for now in 0..20 {
            if let Some(Step::Replace(slot)) = renewal.step(&workers, &Active::Chosen(active.clone()), second(now)) {
                assert!(!active.contains(&slot), "it is in use");
                assert!(workers.values().all(|worker| !worker.sessions.is_empty()), "another one has no session");
                replaced.push(slot);
                workers.insert(slot, worker(false, &[]));
            } else if let Some(slot) = renewal.avoided() {
                active = BTreeSet::from([if slot == 1 { 2 } else { 1 }]);
                // Its session comes a second after it.
                workers.get_mut(&slot).unwrap().sessions.insert("dal-a".into());
            }
        }
        assert_eq!(replaced, [2, 3, 1]);
        assert_eq!(renewal.avoided(), None, "nothing is avoided for ever");
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let (mut renewal, workers) = (Renewal::default(), site(false));
        for now in 0..5 {
            assert_eq!(renewal.step(&workers, &chosen(&[1]), second(now)), None);
            assert_eq!(renewal.avoided(), None);
        }
    }

    #[test]
    fn a_key_is_changed_when_the_operator_knows_the_next_one_and_not_before() {
        let (mut renewal, mut workers) = (Renewal::default(), site(false));
        workers.get_mut(&2).unwrap().rekeyed = true;
        let active = chosen(&[1]);
        assert_eq!(renewal.step(&workers, &active, second(0)), None);
        assert_eq!(renewal.step(&workers, &active, second(1)), Some(Step::Tell(2)));
        for now in 2..1_000 {
            assert_eq!(renewal.step(&workers, &active, second(now)), None, "the operator is away");
        }
        assert_eq!(renewal.avoided(), None, "an uplink is not given up for an operator who is away");
        workers.get_mut(&2).unwrap().told = true;
        assert_eq!(renewal.step(&workers, &active, second(1_000)), None);
        assert_eq!(renewal.avoided(), Some(2), "it is left first");
        assert_eq!(renewal.step(&workers, &active, second(1_001)), Some(Step::Replace(2)));
        workers.insert(2, worker(false, &[]));
        assert_eq!(renewal.step(&workers, &active, second(1_002)), None);
        assert_eq!(renewal.avoided(), Some(2), "it has no session yet");
        workers.insert(2, worker(false, &["dal-a"]));
        assert_eq!((renewal.step(&workers, &active, second(1_003)), renewal.avoided()), (None, None));
    }

    #[test]
    fn the_last_that_works_waits_for_another_but_the_only_one_for_nobody() {
        let (mut renewal, mut workers) = (Renewal::default(), site(true));
        workers.values_mut().for_each(|worker| worker.sessions.clear());
        workers.insert(1, worker(true, &["dal-a"]));
        workers.values_mut().skip(1).for_each(|worker| worker.outdated = false);
        for now in 0..100 {
            assert_eq!(renewal.step(&workers, &chosen(&[1]), second(now)), None);
            assert_eq!(renewal.avoided(), None);
        }
        workers.retain(|slot, _| *slot == 1);
        let steps: Vec<_> = (100..110).filter_map(|now| renewal.step(&workers, &chosen(&[1]), second(now))).collect();
        assert_eq!(steps, [Step::Replace(1)], "it cannot be left, and is replaced all the same");
    }

    #[test]
    fn peers_that_stay_away_hold_nothing_up_for_long() {
        let (mut renewal, mut workers) = (Renewal::default(), site(true));
        let mut replaced = Vec::new();
        for now in 0..200 {
            if let Some(Step::Replace(slot)) = renewal.step(&workers, &chosen(&[]), second(now)) {
                replaced.push((slot, now));
                workers.insert(slot, worker(false, &["yacht-2"]));
            }
        }
        assert_eq!(replaced.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(replaced.windows(2).all(|pair| pair[1].1 - pair[0].1 > 30), "{replaced:?}");
    }

    #[test]
    fn an_anchor_gets_another_key_once_the_sites_that_have_heard_of_it_have_left_the_slot_or_cannot() {
        let (mut renewal, mut workers) = (Renewal::default(), site(false));
        workers.get_mut(&2).unwrap().rekeyed = true;
        let followed = |slots: &[u8]| Active::Followed(slots.iter().copied().collect());
        assert_eq!(renewal.step(&workers, &followed(&[1, 2]), second(0)), None);
        assert_eq!(renewal.step(&workers, &followed(&[1, 2]), second(1)), Some(Step::Tell(2)), "no site knows before");
        workers.get_mut(&2).unwrap().told = true;
        assert_eq!(renewal.step(&workers, &followed(&[1, 2]), second(2)), None);
        assert_eq!(renewal.step(&workers, &followed(&[1, 2]), second(3)), None, "a site uses it still");
        let mut late = Renewal { underway: renewal.underway.take() };
        assert_eq!(late.step(&workers, &followed(&[1, 2]), second(7)), None);
        assert_eq!(late.step(&workers, &followed(&[1, 2]), second(8)), Some(Step::Replace(2)), "one has no other");
        let (mut renewal, left) = (Renewal::default(), followed(&[1]));
        assert_eq!(renewal.step(&workers, &left, second(0)), None);
        assert_eq!(renewal.step(&workers, &left, second(1)), Some(Step::Replace(2)));
    }

    #[test]
    fn sites_leave_an_outdated_worker_of_their_anchor_since_it_gets_another_key_with_it() {
        let (mut renewal, mut workers) = (Renewal::default(), site(false));
        workers.get_mut(&2).unwrap().outdated = true;
        let followed = |slots: &[u8]| Active::Followed(slots.iter().copied().collect());
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(0)), None);
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(1)), Some(Step::MakeKey(2)));
        workers.get_mut(&2).unwrap().rekeyed = true;
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(2)), Some(Step::Tell(2)));
        workers.get_mut(&2).unwrap().told = true;
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(3)), None);
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(4)), None, "it is in use");
        assert_eq!(renewal.step(&workers, &followed(&[1]), second(5)), Some(Step::Replace(2)));
    }

    #[test]
    fn nobody_needs_another_key_where_nothing_is_sent_or_the_worker_has_the_wrong_one_or_the_disk_takes_none() {
        let (mut renewal, mut workers) = (Renewal::default(), site(false));
        let followed = |slots: &[u8]| Active::Followed(slots.iter().copied().collect());
        workers.get_mut(&2).unwrap().outdated = true;
        assert_eq!(renewal.step(&workers, &followed(&[1]), second(0)), None);
        assert_eq!(renewal.step(&workers, &followed(&[1]), second(1)), Some(Step::Replace(2)), "nothing is sent");
        let mut renewal = Renewal::default();
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(0)), None);
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(5)), Some(Step::MakeKey(2)));
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(6)), Some(Step::Replace(2)), "the disk takes none");
        let mut renewal = Renewal::default();
        workers.insert(2, Worker { forgotten: true, ..worker(false, &["rv-07"]) });
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(0)), None);
        assert_eq!(renewal.step(&workers, &followed(&[2]), second(1)), Some(Step::Replace(2)), "sites know its key");
    }
}
