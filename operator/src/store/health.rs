//! What is wrong with the store or with what is in it, though the operator works on: sentences for people.

use std::collections::BTreeMap;

use pathsteer_crds::meta::{Condition, ConditionStatus};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

/// What a warning is about. At most one is said of each; what causes others comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// There is no room on the disk of the private etcd.
    Disk,
    /// etcd refuses writes for want of space.
    Space,
    /// etcd does not answer.
    Silence,
    /// What others do to the store is not seen.
    Reading,
    /// Nothing can be written.
    Writing,
    /// Objects have vanished and are kept in force.
    Vanished,
    /// What belongs together was written in steps.
    Steps,
    /// Plans are not compiled or published.
    Publishing,
}

impl Concern {
    /// In one word, if it is the store itself that is not well.
    fn reason(self) -> Option<&'static str> {
        match self {
            Concern::Disk => Some("DiskFull"),
            Concern::Space => Some("StoreFull"),
            Concern::Silence => Some("StoreSilent"),
            Concern::Reading => Some("StoreUnreadable"),
            Concern::Writing => Some("StoreReadOnly"),
            Concern::Vanished | Concern::Steps | Concern::Publishing => None,
        }
    }
}

/// The warnings of the moment, shared by those who notice and those who tell.
#[derive(Debug)]
pub struct Health {
    state: watch::Sender<State>,
}

/// What is wrong, and since when anything is wrong with the store.
#[derive(Debug)]
pub struct State {
    warnings: BTreeMap<Concern, String>,
    /// Since when the store has been well, or not.
    since: OffsetDateTime,
}

impl State {
    /// What is wrong with the store: the word, and the sentence.
    fn unwell(&self) -> Option<(&'static str, &str)> {
        self.warnings.iter().find_map(|(concern, sentence)| Some((concern.reason()?, sentence.as_str())))
    }

    /// Changes the warnings; what was said before of what is changed.
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<Concern, String>) -> Option<String>) -> Option<String> {
        let was_well = self.unwell().is_none();
        let before = change(&mut self.warnings);
        if self.unwell().is_none() != was_well {
            self.since = OffsetDateTime::now_utc();
        }
        before
    }
}

impl Default for Health {
    fn default() -> Self {
        Health { state: watch::Sender::new(State { warnings: BTreeMap::new(), since: OffsetDateTime::now_utc() }) }
    }
}

impl Health {
    /// Something is wrong; logged when it was not said before.
    pub fn warn(&self, concern: Concern, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let is_news = self.state.send_if_modified(|state| {
            state.change(|warnings| warnings.insert(concern, sentence.clone())).as_ref() != Some(&sentence)
        });
        if is_news {
            tracing::warn!(?concern, "{sentence}");
        }
    }

    /// It no longer is.
    pub fn well(&self, concern: Concern) {
        let mut before = None;
        self.state.send_if_modified(|state| {
            before = state.change(|warnings| warnings.remove(&concern));
            before.is_some()
        });
        if let Some(sentence) = before {
            tracing::info!(?concern, before = sentence, "well again");
        }
    }

    /// Whether something is wrong with it.
    pub fn is_warned(&self, concern: Concern) -> bool {
        self.state.borrow().warnings.contains_key(&concern)
    }

    /// What is wrong, in a fixed order.
    pub fn warnings(&self) -> Vec<String> {
        self.state.borrow().warnings.values().cloned().collect()
    }

    /// Wakes when a warning comes, changes or goes.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Whether the store is well, as a condition of the Fabric.
    pub fn condition(&self) -> Condition {
        let state = self.state.borrow();
        let (status, (reason, message)) = match state.unwell() {
            None => (ConditionStatus::True, ("NoProblems", "")),
            Some(unwell) => (ConditionStatus::False, unwell),
        };
        let since = state.since.replace_nanosecond(0).unwrap_or(state.since);
        Condition {
            kind: "StoreHealthy".to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: since.format(&Rfc3339).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_each_concern_counts() {
        let health = Health::default();
        health.warn(Concern::Vanished, "two");
        health.warn(Concern::Reading, "one");
        health.warn(Concern::Vanished, "three");
        assert_eq!(health.warnings(), ["one", "three"]);
        health.well(Concern::Reading);
        assert_eq!(health.warnings(), ["three"]);
    }

    #[test]
    fn the_condition_names_the_cause_before_what_comes_of_it_and_only_what_is_wrong_with_the_store() {
        let health = Health::default();
        let said = || {
            let Condition { status, reason, message, .. } = health.condition();
            (status, reason, message)
        };
        let unwell = |reason: &str, message: &str| (ConditionStatus::False, reason.to_owned(), message.to_owned());
        let well = (ConditionStatus::True, "NoProblems".to_owned(), String::new());
        health.warn(Concern::Vanished, "two objects have vanished");
        assert_eq!(said(), well);
        health.warn(Concern::Writing, "it cannot be written");
        assert_eq!(said(), unwell("StoreReadOnly", "it cannot be written"));
        health.warn(Concern::Space, "it is full");
        assert_eq!(said(), unwell("StoreFull", "it is full"));
        health.well(Concern::Writing);
        health.well(Concern::Space);
        assert_eq!(said(), well);
    }

    #[test]
    fn who_waits_is_woken_by_news_and_by_nothing_else() {
        let health = Health::default();
        let mut changes = health.changes();
        let mut is_woken = || {
            let woken = changes.has_changed().unwrap();
            changes.mark_unchanged();
            woken
        };
        health.well(Concern::Space);
        assert!(!is_woken(), "nothing was wrong with it");
        health.warn(Concern::Space, "full");
        assert!(is_woken());
        health.warn(Concern::Space, "full");
        assert!(!is_woken(), "that was known");
        health.well(Concern::Space);
        assert!(is_woken());
    }
}
