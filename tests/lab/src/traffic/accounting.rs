//! Sequence accounting: what of a numbered flow arrived, how often, in which order.

use std::time::Duration;

/// Accounts for one flow whose packets are numbered from 0.
#[derive(Debug, Default)]
pub struct Accounting {
    /// How often each sequence number arrived.
    times: Vec<u32>,
    distinct: u64,
    duplicated: u64,
    reordered: u64,
    highest: Option<u64>,
    last_arrival: Option<Duration>,
    longest_gap: Duration,
}

/// The result for one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Sequence numbers that never arrived.
    pub lost: Vec<u64>,
    /// Arrivals beyond the first of each packet.
    pub duplicated: u64,
    /// First arrivals after a packet that was sent later.
    pub reordered: u64,
    /// Longest time between two arrivals.
    pub longest_gap: Duration,
}

impl Accounting {
    /// Packet `sequence` arrived at `arrival`.
    pub fn arrived(&mut self, sequence: u64, arrival: Duration) {
        let index = sequence as usize;
        if index >= self.times.len() {
            self.times.resize(index + 1, 0);
        }
        self.times[index] += 1;
        if self.times[index] > 1 {
            self.duplicated += 1;
            return;
        }
        self.distinct += 1;
        if self.highest.is_some_and(|highest| sequence < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(sequence));
        if let Some(last) = self.last_arrival {
            self.longest_gap = self.longest_gap.max(arrival.saturating_sub(last));
        }
        self.last_arrival = Some(arrival);
    }

    /// Different packets that arrived so far.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The result, given that `sent` packets were sent.
    pub fn close(self, sent: u64) -> Account {
        let arrived = |sequence: u64| self.times.get(sequence as usize).is_some_and(|times| *times > 0);
        Account {
            sent,
            received: self.distinct,
            lost: (0..sent).filter(|sequence| !arrived(*sequence)).collect(),
            duplicated: self.duplicated,
            reordered: self.reordered,
            longest_gap: self.longest_gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(arrivals: &[u64], sent: u64) -> Account {
        let mut accounting = Accounting::default();
        for (number, sequence) in arrivals.iter().enumerate() {
            accounting.arrived(*sequence, Duration::from_millis(number as u64));
        }
        accounting.close(sent)
    }

    #[test]
    fn everything_in_order_is_nothing_to_report() {
        let account = account(&[0, 1, 2, 3], 4);
        assert_eq!((account.received, account.duplicated, account.reordered), (4, 0, 0));
        assert!(account.lost.is_empty());
        assert_eq!(account.longest_gap, Duration::from_millis(1));
    }

    #[test]
    fn losses_are_named_at_the_start_in_the_middle_and_at_the_end() {
        assert_eq!(account(&[1, 2, 4], 7).lost, [0, 3, 5, 6]);
        assert_eq!(account(&[], 3).lost, [0, 1, 2]);
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_neither_received_nor_reordered() {
        let account = account(&[0, 1, 0, 1, 1, 2], 3);
        assert_eq!((account.received, account.duplicated, account.reordered), (3, 3, 0));
    }

    #[test]
    fn a_packet_after_a_later_one_is_reordered() {
        assert_eq!(account(&[0, 3, 1, 2, 4], 5).reordered, 2);
    }

    #[test]
    fn the_longest_gap_is_between_first_arrivals() {
        let mut accounting = Accounting::default();
        accounting.arrived(0, Duration::from_millis(0));
        accounting.arrived(0, Duration::from_millis(40));
        accounting.arrived(1, Duration::from_millis(50));
        assert_eq!(accounting.close(2).longest_gap, Duration::from_millis(50));
    }
}
