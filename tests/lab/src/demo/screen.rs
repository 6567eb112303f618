//! The demo's table, for people.

use std::fmt::Write;

use super::report::{Report, Row};

const HEAD: [&str; 12] = [
    "scenario",
    "way",
    "path",
    "sent",
    "lost",
    "twice",
    "gap ms",
    "pings lost",
    "TCP",
    "5-tuple",
    "copies dropped",
    "",
];

/// The rows of `report` as a table, what was rejected below it.
pub fn table(report: &Report) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(report.scenarios.iter().map(cells));
    let mut widths = [0; HEAD.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", padded.join("  ").trim_end());
    }
    for rejected in &report.rejected {
        let _ = writeln!(text, "repeated: {} attempt {}: {}", rejected.name, rejected.attempt, rejected.reason);
    }
    text
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let path = std::iter::once(&row.active).chain(&row.copy).copied().collect::<Vec<_>>().join("+");
    [
        row.name.to_owned(),
        row.direction.to_owned(),
        path,
        row.sent.to_string(),
        row.lost.to_string(),
        row.duplicated.to_string(),
        format!("{:.0}", row.max_gap_ms),
        row.ping_lost.to_string(),
        if row.tcp_bytes_ok { "whole" } else { "BROKEN" }.to_owned(),
        if row.five_tuple_changed { "CHANGED" } else { "same" }.to_owned(),
        row.dedup_dropped.to_string(),
        if row.ok { "ok" } else { "FAILED" }.to_owned(),
    ]
}
