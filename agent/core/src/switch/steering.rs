//! One class towards one remote, as the machine holds it.

use std::time::Duration;

use pathsteer_crds::mark::copy_bit;
use pathsteer_crds::plan::SteeringSpec;
use pathsteer_crds::report::SteeringReport;

use super::Choice;
use super::target::Target;
use super::telling::Telling;

#[derive(Debug)]
pub(super) struct Steering {
    /// In force; absent until there has been a target.
    pub choice: Option<Choice>,
    /// What the far end knows of it.
    pub telling: Telling,
    /// Slots by which the far end is told.
    pub live: Vec<u8>,
    class_name: String,
    reason: String,
}

impl Steering {
    /// An adopted choice is in force, but whether the far end follows it is not known.
    pub fn new(adopted: Option<Choice>, now: Duration) -> Steering {
        Steering {
            choice: adopted,
            telling: Telling::new(now),
            live: Vec::new(),
            class_name: String::new(),
            reason: String::new(),
        }
    }

    pub fn declare(&mut self, spec: &SteeringSpec, target: &Target) {
        self.class_name = spec.class_name.clone();
        self.reason = target.reason.clone();
        self.live = target.live.clone();
    }

    /// Puts `choice` in force and returns the one before.
    pub fn choose(&mut self, choice: Choice, now: Duration) -> Option<Choice> {
        self.telling = Telling::new(now);
        self.choice.replace(choice)
    }

    pub fn report(&self, remote: u32, class: u8) -> SteeringReport {
        let copies = self.choice.map_or(0, |choice| choice.copies);
        SteeringReport {
            remote,
            class,
            class_name: self.class_name.clone(),
            active: self.choice.map_or(0, |choice| choice.active),
            copies: (1..=8).filter(|slot| copies & copy_bit(*slot) as u8 != 0).collect(),
            switch_counter: self.choice.map_or(0, |choice| choice.counter),
            acknowledged: self.choice.is_some() && self.telling.is_acknowledged(),
            reason: self.reason.clone(),
        }
    }
}
