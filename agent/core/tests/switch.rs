//! The switching machine under virtual time: plans, answers, losses and restarts in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use pathsteer_agent_core::switch::{
    Acknowledgement, Action, Avoid, Choice, REMIND, RESEND_FIRST, RESEND_LONGEST, Switch,
};
use pathsteer_crds::ModeKind;
use pathsteer_crds::plan::SteeringSpec;
use proptest::prelude::*;

type Key = (u32, u8);

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Plan(Vec<SteeringSpec>),
    /// Time passes.
    Wait(u16),
    /// The far end answers the last control packet, if one was sent; `late` adds to what it follows.
    Answer {
        key: Key,
        ahead: u64,
    },
    /// Somebody makes answers up.
    Forge {
        key: Key,
        counter: u64,
        nonce: u64,
    },
    /// The agent dies and starts again; with the machine's memory goes everything but pinned map and disk.
    Restart,
    /// The node boots: the pinned map is gone as well.
    Reboot,
}

fn key() -> impl Strategy<Value = Key> {
    (1..3u32, 1..3u8)
}

fn steering() -> impl Strategy<Value = SteeringSpec> {
    let mode = prop_oneof![Just(ModeKind::Mirror), Just(ModeKind::Training), Just(ModeKind::Tripwire)];
    let slots = Just((1..=8).collect::<Vec<u8>>()).prop_shuffle();
    (key(), mode, 1..4u8, slots, 0..9usize, proptest::option::of(1..9u8), prop::collection::btree_set(1..9u8, 0..4))
        .prop_map(|((remote, class), mode, copies, mut slots, count, forced, failed)| {
            slots.truncate(count);
            let failed = failed.into_iter().collect();
            SteeringSpec { remote, class, class_name: "voice".into(), mode, copies, slots, forced, failed }
        })
}

fn plan() -> impl Strategy<Value = Vec<SteeringSpec>> {
    prop::collection::vec(steering(), 0..5).prop_map(|all| {
        let unique: BTreeMap<Key, SteeringSpec> = all.into_iter().map(|s| ((s.remote, s.class), s)).collect();
        unique.into_values().collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => plan().prop_map(Step::Plan),
        4 => (0..3_000u16).prop_map(Step::Wait),
        4 => (key(), prop_oneof![4 => Just(0), 1 => 1..40u64]).prop_map(|(key, ahead)| Step::Answer { key, ahead }),
        1 => (key(), any::<u64>(), any::<u64>()).prop_map(|(key, counter, nonce)| Step::Forge { key, counter, nonce }),
        1 => Just(Step::Restart),
        1 => Just(Step::Reboot),
    ]
}

/// An acknowledgement the machine got.
struct Heard {
    counter: u64,
    at: Duration,
    /// When it was asked again.
    reminded: Option<Duration>,
}

/// A node around the machine: its pinned map, its disk, and what a far end got to hear.
struct Node {
    machine: Switch,
    now: Duration,
    process: u64,
    plan: Vec<SteeringSpec>,
    map: BTreeMap<Key, Choice>,
    disk: u64,
    /// The highest counter every class ever used.
    used: BTreeMap<Key, u64>,
    heard: BTreeMap<Key, (Choice, u64)>,
    acknowledged: BTreeMap<Key, Heard>,
}

impl Node {
    fn new() -> Node {
        Node {
            machine: Switch::new(0, 1),
            now: Duration::ZERO,
            process: 1,
            plan: Vec::new(),
            map: BTreeMap::new(),
            disk: 0,
            used: BTreeMap::new(),
            heard: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    fn start(&mut self) {
        self.process += 1;
        self.machine = Switch::new(self.disk, self.process);
        self.heard.clear();
        self.acknowledged.clear();
        for (&(remote, class), &choice) in &self.map {
            self.machine.adopt(remote, class, choice);
        }
    }

    fn put_in_force(&mut self, plan: Vec<SteeringSpec>) {
        self.machine.handle_plan(&plan, &[], &Avoid::default(), self.now);
        self.map.retain(|key, _| plan.iter().any(|spec| (spec.remote, spec.class) == *key));
        self.heard.retain(|key, _| self.map.contains_key(key));
        self.plan = plan;
    }

    /// Does what the machine wants, and holds it to its promises. Returns the classes it chose for.
    fn act(&mut self) -> Result<Vec<Key>, TestCaseError> {
        let mut chosen = Vec::new();
        while let Some(action) = self.machine.poll_action(self.now) {
            match action {
                Action::PersistCounter(counter) => {
                    prop_assert!(counter > self.disk, "what is persisted grows");
                    self.disk = counter;
                }
                Action::Choose { remote, class, choice } => {
                    let key = (remote, class);
                    prop_assert!(choice.counter > self.used.get(&key).copied().unwrap_or(0), "counters only grow");
                    prop_assert!(choice.counter <= self.disk, "persisted before it is used");
                    prop_assert!((1..=8).contains(&choice.active));
                    prop_assert_eq!(choice.copies & 1 << (choice.active - 1), 0, "the active slot carries no copy");
                    self.used.insert(key, choice.counter);
                    self.map.insert(key, choice);
                    chosen.push(key);
                }
                Action::SendControl { remote, class, choice, nonce, slots } => {
                    let key = (remote, class);
                    prop_assert_eq!(self.map.get(&key), Some(&choice), "only the choice in force is sent");
                    self.check_reminder(key, choice, &slots)?;
                    let spec = self.plan.iter().find(|spec| (spec.remote, spec.class) == key);
                    prop_assert!(slots.iter().all(|slot| spec.is_some_and(|spec| spec.slots.contains(slot))));
                    self.heard.insert(key, (choice, nonce));
                }
                Action::Log(event) => {
                    prop_assert_eq!(chosen.last(), Some(&(event.remote, event.class)), "said after it is done");
                    prop_assert!(event.from != Some(event.to) && !event.reason.is_empty());
                }
            }
        }
        prop_assert!(self.machine.poll_timeout().is_none_or(|due| due > self.now));
        Ok(chosen)
    }

    /// What is acknowledged is said again by the active path alone, and by the others when that goes unanswered.
    fn check_reminder(&mut self, key: Key, choice: Choice, slots: &[u8]) -> Result<(), TestCaseError> {
        let Some(heard) = self.acknowledged.get_mut(&key).filter(|heard| heard.counter == choice.counter) else {
            return Ok(());
        };
        match heard.reminded {
            None => {
                prop_assert!(self.now >= heard.at + REMIND, "no more for a while once acknowledged");
                prop_assert_eq!(slots, [choice.active]);
                heard.reminded = Some(self.now);
            }
            Some(reminded) => {
                prop_assert!(self.now >= reminded + RESEND_FIRST);
                self.acknowledged.remove(&key);
            }
        }
        Ok(())
    }

    /// The far end answers what it heard last; it may already follow a switch `ahead` of that.
    fn answer(&mut self, key: Key, ahead: u64) {
        let Some(&(choice, nonce)) = self.heard.get(&key) else { return };
        let counter = choice.counter + ahead;
        if ahead == 0 && self.map.get(&key) == Some(&choice) {
            self.acknowledged.insert(key, Heard { counter, at: self.now, reminded: None });
        }
        let Choice { active, copies, .. } = choice;
        let (remote, class) = key;
        let answer = Acknowledgement { remote, class, active, copies, counter, nonce };
        self.machine.handle_acknowledgement(answer, self.now);
    }

    /// What is reported is what the pinned map says.
    fn check_report(&self) -> Result<(), TestCaseError> {
        for report in self.machine.report() {
            let key = (report.remote, report.class);
            let reported = (report.active, report.switch_counter);
            let in_map = self.map.get(&key).map_or((0, 0), |choice| (choice.active, choice.counter));
            prop_assert_eq!(reported, in_map);
            prop_assert!(!report.reason.is_empty());
            let acknowledged = self
                .map
                .get(&key)
                .is_some_and(|c| self.acknowledged.get(&key).is_some_and(|heard| heard.counter == c.counter));
            prop_assert_eq!(report.acknowledged, acknowledged);
        }
        prop_assert_eq!(self.machine.report().len(), self.plan.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_machine_keeps_its_promises_whatever_happens(steps in prop::collection::vec(step(), 1..40)) {
        let mut node = Node::new();
        for step in steps {
            let chosen = match step {
                Step::Plan(plan) => {
                    node.put_in_force(plan.clone());
                    let mut chosen = node.act()?;
                    // The same plan again is no news.
                    node.put_in_force(plan);
                    prop_assert_eq!(node.act()?, vec![]);
                    chosen.sort_unstable();
                    let count = chosen.len();
                    chosen.dedup();
                    prop_assert_eq!(chosen.len(), count, "one choice per change");
                    chosen
                }
                Step::Wait(milliseconds) => {
                    node.now += Duration::from_millis(milliseconds.into());
                    let chosen = node.act()?;
                    prop_assert_eq!(&chosen, &vec![], "time alone changes nothing");
                    chosen
                }
                Step::Answer { key, ahead } => {
                    let heard = node.heard.get(&key).copied();
                    let in_force = node.map.get(&key).copied();
                    node.answer(key, ahead);
                    let chosen = node.act()?;
                    let overtaken = heard.is_some_and(|(choice, _)| ahead > 0 && Some(choice) == in_force);
                    prop_assert_eq!(&chosen, &if overtaken { vec![key] } else { vec![] });
                    chosen
                }
                Step::Forge { key: (remote, class), counter, nonce } => {
                    let forged = Acknowledgement { remote, class, active: 1, copies: 0, counter, nonce };
                    node.machine.handle_acknowledgement(forged, node.now);
                    let chosen = node.act()?;
                    prop_assert_eq!(&chosen, &vec![], "a made-up answer counts for nothing");
                    chosen
                }
                Step::Restart => {
                    node.start();
                    node.put_in_force(node.plan.clone());
                    let chosen = node.act()?;
                    prop_assert_eq!(&chosen, &vec![], "nothing is chosen anew that is in force");
                    chosen
                }
                Step::Reboot => {
                    node.map.clear();
                    node.start();
                    node.put_in_force(node.plan.clone());
                    node.act()?
                }
            };
            prop_assert!(chosen.iter().all(|key| node.map.contains_key(key)));
            node.check_report()?;
        }
    }

    #[test]
    fn what_is_lost_is_said_again_until_it_is_answered(plan in plan(), waits in prop::collection::vec(0..30_000u64, 1..20)) {
        let mut node = Node::new();
        node.put_in_force(plan);
        node.act()?;
        for wait in waits {
            node.heard.clear();
            match node.machine.poll_timeout() {
                None => prop_assert!(node.map.is_empty(), "every choice waits for its answer"),
                Some(due) => {
                    prop_assert!(due - node.now <= RESEND_LONGEST);
                    node.now = due - Duration::from_nanos(1);
                    node.act()?;
                    prop_assert!(node.heard.is_empty(), "not before it is due");
                    node.now = due + Duration::from_millis(wait);
                    node.act()?;
                    prop_assert!(!node.heard.is_empty());
                }
            }
        }
        let waiting: Vec<Key> = node.map.keys().copied().collect();
        node.now += RESEND_LONGEST;
        node.act()?;
        for key in waiting {
            node.answer(key, 0);
        }
        let reminder = (!node.map.is_empty()).then_some(node.now + REMIND);
        prop_assert_eq!(node.machine.poll_timeout(), reminder, "acknowledged, so only a reminder is left to send");
        prop_assert!(node.machine.report().iter().all(|r| r.acknowledged == (r.active != 0)));
    }
}

#[test]
fn a_switch_does_not_wait_for_the_disk() {
    let spec = |forced| SteeringSpec {
        remote: 9,
        class: 1,
        class_name: "default".into(),
        mode: ModeKind::Mirror,
        copies: 1,
        slots: vec![1, 2],
        forced,
        failed: Vec::new(),
    };
    let mut machine = Switch::new(0, 1);
    let quiet = |machine: &mut Switch| while machine.poll_action(Duration::ZERO).is_some() {};
    quiet(&mut machine);
    for turn in 0u16..500 {
        machine.handle_plan(&[spec(Some(if turn % 2 == 0 { 1 } else { 2 }))], &[], &Avoid::default(), Duration::ZERO);
        let first = machine.poll_action(Duration::ZERO);
        assert!(matches!(first, Some(Action::Choose { .. })), "{turn}: {first:?}");
        quiet(&mut machine);
    }
}
