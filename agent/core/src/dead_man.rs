//! Dead-man: a plan with another underlay is on trial until the operator has heard of it. If it does not in time, the plan
//! before comes back, and that underlay is not tried again until it changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A machine that cannot stay up with a plan shall not try for ever, and one that is switched on again must have the time
/// that modems take.
const BOOTS: u32 = 4;

/// A point in time that no clock's owner can move, also across a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceBoot {
    /// Which boot of the machine.
    pub boot: String,
    /// Since then.
    pub at: Duration,
}

/// Where things stand. Kept on disk, so that it outlives the agent and the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadMan {
    trial: Option<Trial>,
    blamed: Option<Blamed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    /// Of the underlay on trial, and of the one to go back to.
    underlay: String,
    before: String,
    /// What is left at `from`.
    left: Duration,
    from: SinceBoot,
    patience: Duration,
    /// The plan before is in force again: now that is on trial.
    back: bool,
}

/// An underlay that took the operator away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    pub underlay: String,
    /// Generation of the plan that brought it.
    pub generation: i64,
    /// How long the operator was waited for.
    pub patience: Duration,
}

/// What has to be done once the time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The plan before has to come back.
    TakeBack,
    /// It has not helped to go back: the underlay was not to blame, and may be tried again.
    NotToBlame,
}

impl DeadMan {
    /// A plan with `underlay` is taken into force in the place of one with `before`. It has to be heard of within
    /// `patience`; zero trusts it.
    pub fn take(&mut self, before: &str, underlay: &str, patience: Duration, now: SinceBoot) {
        let known_good = match &self.trial {
            Some(trial) if trial.underlay == underlay => return,
            Some(trial) if !trial.back => trial.before.clone(),
            _ => before.to_owned(),
        };
        self.trial = (known_good != underlay && !patience.is_zero()).then(|| Trial {
            underlay: underlay.to_owned(),
            before: known_good,
            left: patience,
            from: now,
            patience,
            back: false,
        });
    }

    /// Why a plan with `underlay` must not be taken; none if it may.
    pub fn refusal(&self, underlay: &str, patience: Duration) -> Option<&Blamed> {
        self.blamed.as_ref().filter(|blamed| blamed.underlay == underlay && !patience.is_zero())
    }

    /// The operator has heard of the plan in force, so it can be reached.
    pub fn heard(&mut self) {
        if self.trial.take().is_some_and(|trial| !trial.back) {
            self.blamed = None;
        }
    }

    /// When [`DeadMan::expire`] is to be asked: after so long.
    pub fn poll_timeout(&self, now: &SinceBoot) -> Option<Duration> {
        self.trial.as_ref().map(|trial| trial.left_at(now))
    }

    /// What has to be done now, if the time is over. `generation` is of the plan in force.
    pub fn expire(&mut self, generation: i64, now: &SinceBoot) -> Option<Expiry> {
        let trial = self.trial.as_mut().filter(|trial| trial.left_at(now).is_zero())?;
        if trial.back {
            (self.trial, self.blamed) = (None, None);
            return Some(Expiry::NotToBlame);
        }
        let (underlay, patience) = (trial.underlay.clone(), trial.patience);
        self.blamed = Some(Blamed { underlay, generation, patience });
        *trial = Trial {
            underlay: trial.before.clone(),
            left: trial.patience,
            from: now.clone(),
            back: true,
            ..trial.clone()
        };
        Some(Expiry::TakeBack)
    }

    /// After a start. How long the machine was off is unknown and counts for nothing; but one that boots again and again
    /// has [`BOOTS`] tries.
    pub fn resume(&mut self, now: SinceBoot) {
        if let Some(trial) = &mut self.trial {
            let boot = if trial.from.boot == now.boot { Duration::ZERO } else { trial.patience / BOOTS };
            trial.left = trial.left_at(&now).saturating_sub(boot);
            trial.from = now;
        }
    }

    /// Whether the plan before is, or has to be, in force again.
    pub fn is_back(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.back)
    }

    /// Whether a plan is on trial, so that the one before has to be kept.
    pub fn is_on_trial(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| !trial.back)
    }

    /// The underlay that is not tried again.
    pub fn blamed(&self) -> Option<&Blamed> {
        self.blamed.as_ref()
    }
}

impl Trial {
    fn left_at(&self, now: &SinceBoot) -> Duration {
        let passed = if self.from.boot == now.boot { now.at.saturating_sub(self.from.at) } else { Duration::ZERO };
        self.left.saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> SinceBoot {
        SinceBoot { boot: "one".into(), at: Duration::from_secs(seconds) }
    }

    fn on_trial() -> DeadMan {
        let mut dead_man = DeadMan::default();
        dead_man.take("good", "bad", PATIENCE, at(10));
        dead_man
    }

    #[test]
    fn a_plan_with_the_same_underlay_is_on_no_trial() {
        let mut dead_man = DeadMan::default();
        dead_man.take("good", "good", PATIENCE, at(10));
        assert_eq!((dead_man.poll_timeout(&at(10)), dead_man.expire(7, &at(1_000))), (None, None));
    }

    #[test]
    fn one_that_the_operator_hears_of_in_time_stays() {
        let mut dead_man = on_trial();
        assert_eq!(dead_man.poll_timeout(&at(100)), Some(Duration::from_secs(30)));
        assert_eq!(dead_man.expire(7, &at(129)), None);
        dead_man.heard();
        assert_eq!((dead_man.expire(7, &at(1_000)), dead_man), (None, DeadMan::default()));
    }

    #[test]
    fn one_that_it_does_not_hear_of_is_taken_back_and_refused_from_then_on() {
        let mut dead_man = on_trial();
        assert_eq!(dead_man.expire(7, &at(130)), Some(Expiry::TakeBack));
        assert!(dead_man.is_back() && !dead_man.is_on_trial());
        dead_man.heard();
        let blamed = dead_man.refusal("bad", PATIENCE).expect("it took the operator away");
        assert_eq!((blamed.generation, blamed.patience), (7, PATIENCE));
        assert_eq!(dead_man.refusal("other", PATIENCE), None);
        assert_eq!(dead_man.refusal("bad", Duration::ZERO), None, "somebody insists");
        // Another one that works clears it.
        dead_man.take("good", "other", PATIENCE, at(200));
        dead_man.heard();
        assert_eq!(dead_man, DeadMan::default());
    }

    #[test]
    fn one_that_was_not_to_blame_may_be_tried_again() {
        let mut dead_man = on_trial();
        assert_eq!(dead_man.expire(7, &at(130)), Some(Expiry::TakeBack));
        assert_eq!(dead_man.expire(5, &at(249)), None);
        assert_eq!(dead_man.expire(5, &at(250)), Some(Expiry::NotToBlame));
        assert_eq!(dead_man.refusal("bad", PATIENCE), None);
        assert_eq!(dead_man, DeadMan::default());
    }

    #[test]
    fn a_further_plan_neither_ends_nor_prolongs_a_trial_unless_its_underlay_is_another() {
        let mut dead_man = on_trial();
        dead_man.take("bad", "bad", PATIENCE, at(100));
        assert_eq!(dead_man.poll_timeout(&at(100)), Some(Duration::from_secs(30)), "the same underlay");
        let mut worse = dead_man.clone();
        worse.take("bad", "worse", PATIENCE, at(100));
        assert_eq!(worse.poll_timeout(&at(100)), Some(PATIENCE));
        assert_eq!(worse.expire(9, &at(220)), Some(Expiry::TakeBack));
        dead_man.take("bad", "good", PATIENCE, at(100));
        assert_eq!(dead_man, DeadMan::default(), "back at what was good");
    }

    #[test]
    fn time_goes_on_while_the_agent_is_dead_and_stands_still_while_the_machine_is_off() {
        let mut dead_man = on_trial();
        dead_man.resume(at(100));
        assert_eq!(dead_man.poll_timeout(&at(100)), Some(Duration::from_secs(30)));
        let rebooted = |seconds| SinceBoot { boot: "two".into(), at: Duration::from_secs(seconds) };
        let mut young = on_trial();
        young.resume(rebooted(20));
        assert_eq!(young.poll_timeout(&rebooted(25)), Some(Duration::from_secs(85)), "120 less a quarter and 5");
        dead_man.resume(rebooted(20));
        assert_eq!(dead_man.poll_timeout(&rebooted(20)), Some(Duration::ZERO), "30 less a quarter of 120");
        assert_eq!(dead_man.expire(7, &rebooted(20)), Some(Expiry::TakeBack));
    }

    #[test]
    fn without_patience_nothing_is_on_trial() {
        let mut dead_man = DeadMan::default();
        dead_man.take("good", "bad", Duration::ZERO, at(10));
        assert_eq!(dead_man, DeadMan::default());
    }
}
