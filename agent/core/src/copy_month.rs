//! What copies have used of their monthly budgets. The kernel counts; this remembers it over a reboot, and knows when a
//! month is over.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// Bytes copied in one calendar month (UTC), by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyMonth {
    /// Months since the year 0; 0 before the first look.
    month: u32,
    copied: BTreeMap<u8, u64>,
}

/// The month at `now`, which is the time since 1970 in UTC.
pub fn month_of(now: Duration) -> u32 {
    // Days to civil date as in Howard Hinnant's "chrono-compatible low-level date algorithms": years begin in March, so
    // that the leap day is their last, and repeat every 400 years (146,097 days).
    let days = now.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    ((era * 400 + year) * 12 + month_from_march + 2) as u32
}

impl CopyMonth {
    /// Whether the month counted is over in `month`, so that every quota has to begin anew. A clock that has run
    /// backwards gives nothing back, and one that was not set at boot nothing twice.
    pub fn is_over(&self, month: u32) -> bool {
        self.month != 0 && month > self.month
    }

    /// The quotas have begun anew with `month`.
    pub fn begin(&mut self, month: u32) {
        self.month = month;
        self.copied.clear();
    }

    /// Takes what the kernel has counted, by slot. What it has no quota for at the moment stays remembered.
    pub fn count(&mut self, month: u32, copied: &BTreeMap<u8, u64>) {
        if self.month == 0 {
            self.month = month;
        }
        self.copied.extend(copied);
    }

    /// Bytes by slot: what a quota that is made begins with.
    pub fn copied(&self) -> &BTreeMap<u8, u64> {
        &self.copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month_at(seconds: u64) -> (u32, u32) {
        let month = month_of(Duration::from_secs(seconds));
        (month / 12, month % 12 + 1)
    }

    #[test]
    fn months_begin_and_end_at_midnight_in_utc() {
        // `date -ud 2024-02-29T23:59:59 +%s` and so on.
        assert_eq!(month_at(0), (1970, 1));
        assert_eq!((month_at(1_709_251_199), month_at(1_709_251_200)), ((2024, 2), (2024, 3)));
        assert_eq!((month_at(1_735_689_599), month_at(1_735_689_600)), ((2024, 12), (2025, 1)));
        assert_eq!(month_at(4_107_542_400), (2100, 3), "1 March 2100, the day after 28 February");
        assert_eq!(month_at(4_107_542_399), (2100, 2));
    }

    #[test]
    fn a_new_month_gives_the_budget_back_and_a_reboot_or_a_wrong_clock_does_not() {
        let november = month_of(Duration::from_secs(1_700_000_000));
        let mut copied = CopyMonth::default();
        assert!(!copied.is_over(november), "the first month begins with the first look");
        copied.count(november, &BTreeMap::from([(2, 70), (3, 5)]));
        let saved = serde_json::to_string(&copied).unwrap();
        let mut copied: CopyMonth = serde_json::from_str(&saved).unwrap();
        copied.count(november, &BTreeMap::from([(3, 9)]));
        assert_eq!(copied.copied(), &BTreeMap::from([(2, 70), (3, 9)]), "slot 2 has no quota at the moment");
        assert!(!copied.is_over(november) && !copied.is_over(1970 * 12));
        assert!(copied.is_over(november + 1));
        copied.begin(november + 1);
        assert!(copied.copied().is_empty() && !copied.is_over(november + 1));
    }
}
