//! The demo's table, for people.

use std::fmt::Write;

use super::report::{RepairRow, Report, Row};

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

const REPAIRS: [&str; 6] = ["scenario", "taken away by hand", "back after ms", "lost up", "down", "needed by"];

/// The rows of `report` as a table, what was put right and what was rejected below it.
pub fn table(report: &Report) -> String {
    let mut text = aligned(HEAD, report.scenarios.iter().map(cells));
    if !report.repairs.is_empty() {
        text.push('\n');
        text.push_str(&aligned(REPAIRS, report.repairs.iter().map(repaired)));
    }
    for rejected in &report.rejected {
        let _ = writeln!(text, "repeated: {} attempt {}: {}", rejected.name, rejected.attempt, rejected.reason);
    }
    text
}

fn aligned<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
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
    text
}

fn repaired(row: &RepairRow) -> [String; REPAIRS.len()] {
    [
        row.name.to_owned(),
        row.object.to_owned(),
        row.repair_ms.map_or_else(|| "NEVER".to_owned(), |time| format!("{time:.0}")),
        row.lost_up.to_string(),
        row.lost_down.to_string(),
        if row.every_packet_needs_it { "every packet" } else { "" }.to_owned(),
    ]
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
