//! What is wrong with the store or with what is in it, though the operator works on: sentences for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a warning is about. At most one is said of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// There is no room on the disk of the private etcd.
    Disk,
    /// etcd does not answer.
    Silence,
    /// What others do to the store is not seen.
    Reading,
    /// Nothing can be written.
    Writing,
    /// etcd refuses writes for want of space.
    Space,
    /// Objects have vanished and are kept in force.
    Vanished,
    /// What belongs together was written in steps.
    Steps,
    /// Plans are not compiled or published.
    Publishing,
}

/// The warnings of the moment, shared by those who notice and those who tell.
#[derive(Debug, Default)]
pub struct Health {
    warnings: Mutex<BTreeMap<Concern, String>>,
}

impl Health {
    /// Something is wrong; logged when it was not said before.
    pub fn warn(&self, concern: Concern, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let before = self.lock().insert(concern, sentence.clone());
        if before.as_ref() != Some(&sentence) {
            tracing::warn!(?concern, "{sentence}");
        }
    }

    /// It no longer is.
    pub fn well(&self, concern: Concern) {
        if let Some(sentence) = self.lock().remove(&concern) {
            tracing::info!(?concern, before = sentence, "well again");
        }
    }

    /// Whether something is wrong with it.
    pub fn is_warned(&self, concern: Concern) -> bool {
        self.lock().contains_key(&concern)
    }

    /// What is wrong, in a fixed order.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Concern, String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
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
}
