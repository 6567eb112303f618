//! Since when what is wrong has been so.

use std::collections::BTreeMap;

use pathsteer_crds::report::Moment;
use serde::{Deserialize, Serialize};

/// What was wrong at the last look, by name, and when that began. It outlives the agent, not the boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since(BTreeMap<String, Moment>);

impl Since {
    /// Takes what is wrong at `now`. What was wrong before has been so since then, what is right again is forgotten; what
    /// a look that was not `whole` did not see stays remembered. What began later than now did so in another boot.
    pub fn look(&mut self, wrong: impl IntoIterator<Item = String>, whole: bool, now: &Moment) {
        let mut before = std::mem::take(&mut self.0);
        before.retain(|_, began| began.since_uptime <= now.since_uptime);
        for name in wrong {
            let began = before.remove(&name).unwrap_or_else(|| now.clone());
            self.0.insert(name, began);
        }
        if !whole {
            self.0.extend(before);
        }
    }

    /// When `name` became wrong; nothing of what was not at the last look.
    pub fn of(&self, name: &str) -> Moment {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock for people says `clock`, the one that nobody sets `uptime`.
    fn at(clock: &str, uptime: u64) -> Moment {
        Moment { since: clock.to_owned(), since_uptime: uptime }
    }

    fn look(since: &mut Since, wrong: &[&str], now: &Moment) {
        since.look(wrong.iter().map(|name| (*name).to_owned()), true, now);
    }

    #[test]
    fn what_stays_wrong_keeps_its_beginning_though_the_clock_jumps_and_the_agent_restarts() {
        let mut since = Since::default();
        look(&mut since, &["a"], &at("2026", 10));
        look(&mut since, &["a", "b"], &at("1970", 20));
        let json = serde_json::to_string(&since).unwrap();
        let mut since: Since = serde_json::from_str(&json).unwrap();
        look(&mut since, &["b", "a"], &at("2027", 30));
        assert_eq!((since.of("a"), since.of("b")), (at("2026", 10), at("1970", 20)));
    }

    #[test]
    fn what_is_right_again_begins_anew_when_it_breaks_once_more() {
        let mut since = Since::default();
        look(&mut since, &["a"], &at("x", 10));
        look(&mut since, &[], &at("x", 11));
        assert_eq!(since.of("a"), Moment::default());
        look(&mut since, &["a"], &at("x", 12));
        assert_eq!(since.of("a").since_uptime, 12);
    }

    #[test]
    fn a_look_that_saw_nothing_forgets_nothing() {
        let mut since = Since::default();
        look(&mut since, &["a"], &at("x", 10));
        since.look(["kernel".to_owned()], false, &at("x", 20));
        look(&mut since, &["a"], &at("x", 30));
        assert_eq!((since.of("a").since_uptime, since.of("kernel")), (10, Moment::default()));
    }

    #[test]
    fn what_began_in_another_boot_begins_anew() {
        let mut since = Since::default();
        look(&mut since, &["a"], &at("x", 1_000));
        look(&mut since, &["a"], &at("x", 5));
        assert_eq!(since.of("a").since_uptime, 5);
    }
}
