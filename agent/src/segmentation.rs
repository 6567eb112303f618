//! Whether large segments pass the shim whole, found out once at start.

use pathsteer_bpf::selftest::{Outcome, segmentation_selftest};

use crate::config::SegmentationChoice;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmentation {
    pub whole: bool,
    /// For people: whether, and why (not).
    pub why: String,
}

impl Segmentation {
    /// Tries it, unless it is not wanted; takes less than a second.
    pub fn find(choice: SegmentationChoice) -> Self {
        match choice {
            SegmentationChoice::Always => Segmentation { whole: false, why: "always cut up, as configured".to_owned() },
            SegmentationChoice::Auto => {
                let Outcome { allowed, why } = segmentation_selftest();
                let does = if allowed {
                    "passed whole, but for TCP with a fixed IP ID and what is tunnelled already"
                } else {
                    "cut up before the shim"
                };
                Segmentation { whole: allowed, why: format!("{does}: {why}") }
            }
        }
    }
}
