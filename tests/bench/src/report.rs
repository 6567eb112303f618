//! The report: rows for programs (`report.json`) and the same as a table for people.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::series::Series;

/// What is promised of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The ratio to the reference is at least this.
    Ratio(f64),
    /// The ratio to the reference is at most this.
    RatioAtMost(f64),
    /// The value is at most this.
    AtMost(f64),
}

/// One thing that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub metric: String,
    /// The median of the valid runs, or the quantile that the metric names; absent when there is none, and then `note`
    /// says why.
    pub value: Option<f64>,
    pub unit: String,
    /// The metric it is compared with.
    pub reference: Option<String>,
    /// Median of the ratios to the reference, round by round.
    pub ratio: Option<f64>,
    /// What is promised, such as `ratio >= 0.65`.
    pub target: Option<String>,
    /// Whether the promise is kept; absent where nothing is promised.
    pub ok: Option<bool>,
    /// How many runs or samples count.
    pub n: usize,
    /// The machine's load average meanwhile.
    pub load: f64,
    /// The smallest and the largest run.
    pub spread: Option<[f64; 2]>,
    /// Runs that did not count, because the machine stood still for more than 5 ms.
    pub rejected: usize,
    /// How often it did, counted or not.
    pub stalls: usize,
    pub note: Option<String>,
    /// Too many runs were rejected, or there were none: no promise can be called kept.
    #[serde(skip)]
    pub unsound: bool,
}

impl Row {
    /// The median of `series`.
    pub fn of(metric: impl Into<String>, unit: &str, series: &Series<f64>) -> Row {
        let row = Row {
            metric: metric.into(),
            value: series.median(),
            unit: unit.to_owned(),
            n: series.valid().count(),
            load: series.load(),
            spread: series.spread(),
            rejected: series.rejected(),
            stalls: series.stalls,
            ..Row::default()
        };
        if series.is_sound() { row } else { row.unsound("too many runs were rejected: the machine was not on time") }
    }

    /// A value that was read once, where there is nothing to repeat.
    pub fn read(metric: impl Into<String>, unit: &str, value: f64, load: f64) -> Row {
        Row { metric: metric.into(), value: Some(value), unit: unit.to_owned(), n: 1, load, ..Row::default() }
    }

    /// Something that could not be measured, and why.
    pub fn missing(metric: impl Into<String>, unit: &str, why: impl Into<String>) -> Row {
        Row { metric: metric.into(), unit: unit.to_owned(), ..Row::default() }.unsound(why)
    }

    /// Compares `own` with `reference`, a row called `name`.
    pub fn compared(mut self, own: &Series<f64>, name: &str, reference: &Series<f64>) -> Row {
        self.reference = Some(name.to_owned());
        self.ratio = own.ratio_to(reference);
        self
    }

    /// Holds the row to a promise. What was measured on a machine that was not on time keeps none.
    pub fn promised(mut self, target: Target) -> Row {
        let (text, kept, miss) = match target {
            Target::Ratio(least) => {
                let ratio = self.ratio.unwrap_or_default();
                (format!("ratio >= {least}"), ratio >= least, format!("missed by {:.3}", least - ratio))
            }
            Target::RatioAtMost(most) => {
                let ratio = self.ratio.unwrap_or(f64::INFINITY);
                (format!("ratio <= {most}"), ratio <= most, format!("missed by {:.3}", ratio - most))
            }
            Target::AtMost(most) => {
                let value = self.value.unwrap_or(f64::INFINITY);
                (format!("<= {most}"), value <= most, format!("missed by {:.1} {}", value - most, self.unit))
            }
        };
        if !kept {
            self.remark(miss);
        }
        self.target = Some(text);
        self.ok = Some(kept && !self.unsound);
        self
    }

    /// Says why the row proves nothing.
    pub fn unsound(mut self, why: impl Into<String>) -> Row {
        self.unsound = true;
        self.noted(why)
    }

    /// Adds to what is said about the row.
    fn remark(&mut self, words: impl Into<String>) {
        let words = words.into();
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {words}"),
            None => words,
        });
    }

    /// The same, in passing.
    pub fn noted(mut self, words: impl Into<String>) -> Row {
        self.remark(words);
        self
    }
}

/// Writes `rows` to `path`.
///
/// # Errors
/// The disk.
pub fn write(rows: &[Row], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

/// `rows` as a table that is both plain text and Markdown.
pub fn table(rows: &[Row]) -> String {
    let number = |value: f64| match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    let mut lines =
        vec![["metric", "value", "spread", "ratio", "target", "ok", "n", "load", "note"].map(str::to_owned)];
    for row in rows {
        let ok = match row.ok {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        lines.push([
            row.metric.clone(),
            row.value.map(|value| format!("{} {}", number(value), row.unit)).unwrap_or_else(|| "-".to_owned()),
            row.spread.map(|[least, most]| format!("{}-{}", number(least), number(most))).unwrap_or_default(),
            row.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            row.target.clone().unwrap_or_default(),
            ok.to_owned(),
            row.n.to_string(),
            format!("{:.1}", row.load),
            row.note.clone().unwrap_or_default(),
        ]);
    }
    let widths: Vec<usize> =
        (0..lines[0].len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("| {} |\n", rule.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, ratio: f64) -> Row {
        Row { ratio: Some(ratio), ..Row::read("a", "us", value, 0.0) }
    }

    #[test]
    fn a_promise_is_kept_at_its_very_limit_and_missed_beyond_it() {
        assert_eq!(row(1.0, 0.65).promised(Target::Ratio(0.65)).ok, Some(true));
        let missed = row(1.0, 0.6).promised(Target::Ratio(0.65));
        assert_eq!((missed.ok, missed.note.as_deref()), (Some(false), Some("missed by 0.050")));
        assert_eq!(row(1.0, 1.25).promised(Target::RatioAtMost(1.25)).ok, Some(true));
        assert_eq!(row(1.0, 1.26).promised(Target::RatioAtMost(1.25)).ok, Some(false));
        assert_eq!(Row::read("a", "ms", 1.0, 0.0).promised(Target::RatioAtMost(1.25)).ok, Some(false), "no ratio");
        assert_eq!(row(200.0, 0.0).promised(Target::AtMost(200.0)).ok, Some(true));
        assert_eq!(row(200.5, 0.0).promised(Target::AtMost(200.0)).ok, Some(false));
    }

    #[test]
    fn what_could_not_be_measured_keeps_no_promise() {
        assert_eq!(Row::missing("a", "us", "no such program").promised(Target::AtMost(9.0)).ok, Some(false));
        assert_eq!(row(1.0, 1.0).unsound("not on time").promised(Target::AtMost(9.0)).ok, Some(false));
    }

    #[test]
    fn the_table_has_a_line_for_every_row() {
        let text = table(&[row(1.0, 0.5), Row::missing("b", "us", "why")]);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("| b ") && text.contains("why"), "{text}");
    }
}
