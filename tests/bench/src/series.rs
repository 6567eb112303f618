//! Runs of several cases in turn (A B C A B C …), so that whatever else the machine does hits all alike.

use anyhow::{Context, Result};
use pathsteer_lab::hiccup::Meter;

use crate::statistics::{median, spread};

/// More rejected runs than this share of all, and a measurement says nothing.
pub const REJECTED_AT_MOST: f64 = 0.2;

/// Whether a run during which the machine stood still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// No: it is rejected. For latencies.
    Timed,
    /// Yes: the load is the point, and it is what keeps the meter from its processor.
    Saturating,
}

/// What one case came to, round by round.
#[derive(Debug, Clone, Default)]
pub struct Series<T> {
    /// Absent where the run was rejected.
    pub runs: Vec<Option<T>>,
    pub stalls: usize,
    /// Load averages of the last minute, at each run's begin.
    loads: Vec<f64>,
}

impl<T> Series<T> {
    /// The runs that count.
    pub fn valid(&self) -> impl Iterator<Item = &T> {
        self.runs.iter().flatten()
    }

    pub fn rejected(&self) -> usize {
        self.runs.iter().filter(|run| run.is_none()).count()
    }

    /// Whether enough runs count.
    pub fn is_sound(&self) -> bool {
        self.rejected() as f64 <= REJECTED_AT_MOST * self.runs.len() as f64
    }

    /// The machine's load while this was measured.
    pub fn load(&self) -> f64 {
        median(&self.loads).unwrap_or_default()
    }

    /// The same runs, each seen as a number.
    pub fn map<U>(&self, see: impl Fn(&T) -> U) -> Series<U> {
        let runs = self.runs.iter().map(|run| run.as_ref().map(&see)).collect();
        Series { runs, stalls: self.stalls, loads: self.loads.clone() }
    }
}

impl Series<f64> {
    pub fn median(&self) -> Option<f64> {
        median(&self.valid().copied().collect::<Vec<_>>())
    }

    pub fn spread(&self) -> Option<[f64; 2]> {
        spread(&self.valid().copied().collect::<Vec<_>>())
    }

    /// The median of the ratios to `reference`, each within one round: both sides saw the same machine.
    pub fn ratio_to(&self, reference: &Series<f64>) -> Option<f64> {
        let pairs = self.runs.iter().zip(&reference.runs);
        median(&pairs.filter_map(|(own, other)| Some((*own)? / (*other)?)).collect::<Vec<_>>())
    }

    /// The median of the differences to `reference`, each within one round.
    pub fn above(&self, reference: &Series<f64>) -> Option<f64> {
        let pairs = self.runs.iter().zip(&reference.runs);
        median(&pairs.filter_map(|(own, other)| Some((*own)? - (*other)?)).collect::<Vec<_>>())
    }
}

/// Runs every one of `cases` once in each of `rounds` rounds; the series are in the order of the cases. A run that returns
/// nothing saw by itself that it was disturbed, and is rejected too.
///
/// # Errors
/// The first run that failed.
pub fn interleave<C, T>(
    cases: &[C],
    rounds: usize,
    discipline: Discipline,
    run: impl FnMut(&C) -> Result<Option<T>>,
) -> Result<Vec<Series<T>>> {
    interleave_restoring(cases, rounds, discipline, run, |_| Ok(()))
}

/// The same, and after each run `restore` undoes what it did: not part of the run, whatever the machine does meanwhile.
///
/// # Errors
/// The first run that failed, or could not be undone.
pub fn interleave_restoring<C, T>(
    cases: &[C],
    rounds: usize,
    discipline: Discipline,
    mut run: impl FnMut(&C) -> Result<Option<T>>,
    mut restore: impl FnMut(&C) -> Result<()>,
) -> Result<Vec<Series<T>>> {
    let mut all: Vec<Series<T>> =
        cases.iter().map(|_| Series { runs: Vec::new(), stalls: 0, loads: Vec::new() }).collect();
    for _ in 0..rounds {
        for (case, series) in cases.iter().zip(&mut all) {
            series.loads.push(load()?);
            let meter = Meter::start()?;
            let outcome = run(case);
            let stalls = meter.finish()?.len();
            series.stalls += stalls;
            let rejected = discipline == Discipline::Timed && stalls > 0;
            series.runs.push(outcome?.filter(|_| !rejected));
            restore(case)?;
        }
    }
    Ok(all)
}

/// The load average of the last minute.
///
/// # Errors
/// When the kernel does not say.
pub fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().with_context(|| format!("the load average `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(runs: &[Option<f64>]) -> Series<f64> {
        Series { runs: runs.to_vec(), stalls: 0, loads: Vec::new() }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_only_where_both_count() {
        let reference = series(&[Some(10.0), Some(1000.0), None, Some(20.0)]);
        let own = series(&[Some(5.0), Some(500.0), Some(1.0), None]);
        assert_eq!(own.ratio_to(&reference), Some(0.5), "a machine that speeds up for a round speeds up both");
        assert_eq!(own.above(&reference), Some(-252.5));
    }

    #[test]
    fn a_fifth_of_the_runs_may_be_rejected_and_no_more() {
        assert!(series(&[Some(1.0), Some(1.0), Some(1.0), Some(1.0), None]).is_sound());
        assert!(!series(&[Some(1.0), Some(1.0), Some(1.0), None]).is_sound());
    }

    #[test]
    fn cases_take_turns_and_what_returns_nothing_is_rejected() {
        let mut order = Vec::new();
        let all = interleave(&["a", "b"], 2, Discipline::Saturating, |case| {
            order.push(*case);
            Ok(Some(order.len()).filter(|count| *count != 3))
        })
        .unwrap();
        assert_eq!(order, ["a", "b", "a", "b"]);
        assert_eq!(all[0].runs, [Some(1), None]);
        assert_eq!(all[1].runs, [Some(2), Some(4)]);
    }
}
