//! The scenarios, as a table. To add one, add a row.

use std::time::Duration;

use super::fault::{Fault, Line};
use crate::emulator::Way;

/// One scenario.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// What happens, for whoever watches.
    pub story: &'static str,
    pub fault: Fault,
    /// Whether every packet is sent over a second path too (mode mirror), or over one only (training).
    pub copies: bool,
    /// The uplink to use, when it is not the cheapest.
    pub forced: Option<&'static str>,
    pub expected: Expected,
    /// Only with `--all`.
    pub extra: bool,
}

impl Scenario {
    /// What must come out one way: a fault of the other way alone may not show.
    pub fn expected_of(&self, way: Way) -> Expected {
        if self.fault.cuts(way) { self.expected } else { Expected::NothingLost }
    }
}

/// What must come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No datagram and no ping lost, none delivered twice, streams whole, flows unchanged.
    NothingLost,
    /// Datagrams are lost: the same fault without copies, which proves that it is one. None delivered twice.
    Loss,
}

impl Expected {
    pub fn words(self) -> &'static str {
        match self {
            Expected::NothingLost => "0 lost, 0 duplicated",
            Expected::Loss => "loss, 0 duplicated",
        }
    }
}

const START: Duration = Duration::from_secs(2);
const LENGTH: Duration = Duration::from_secs(3);

/// An ordinary row: copies on, the cheapest uplink, nothing may be lost.
const fn row(name: &'static str, story: &'static str, fault: Fault) -> Scenario {
    Scenario { name, story, fault, copies: true, forced: None, expected: Expected::NothingLost, extra: false }
}

const fn blackhole(line: Line, ways: &'static [Way]) -> Fault {
    Fault::Blackhole { line, ways, start: START, length: LENGTH, times: 1, every: LENGTH }
}

/// Every scenario, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    row("steady", "nothing happens: calls, a download and an upload run side by side", Fault::None),
    row(
        "mirror-silent-blackhole",
        "the uplink in use stops carrying anything, without a sign, for three seconds",
        blackhole(Line::Active, &Way::BOTH),
    ),
    row(
        "planned-switch",
        "someone moves the site to another uplink and back while people talk",
        Fault::Switch { to: "starlink", start: START, length: LENGTH },
    ),
    row(
        "agent-killed",
        "PathSteer's own agents are killed on both sides, and start again",
        Fault::KillAgents { start: START, length: Duration::from_millis(1_500) },
    ),
    Scenario {
        copies: false,
        expected: Expected::Loss,
        ..row(
            "silent-blackhole-without-copies",
            "the same silent failure with copies switched off, to show that the failure is real",
            blackhole(Line::Active, &Way::BOTH),
        )
    },
    Scenario {
        extra: true,
        copies: false,
        ..row(
            "planned-switch-without-copies",
            "the same planned move with copies switched off: it needs none",
            Fault::Switch { to: "starlink", start: START, length: LENGTH },
        )
    },
    Scenario {
        extra: true,
        ..row(
            "mirror-blackhole-up",
            "the uplink in use swallows what is sent, but still delivers",
            blackhole(Line::Active, &[Way::Up]),
        )
    },
    Scenario {
        extra: true,
        copies: false,
        expected: Expected::Loss,
        ..row("blackhole-up-without-copies", "the same without copies", blackhole(Line::Active, &[Way::Up]))
    },
    Scenario {
        extra: true,
        ..row(
            "mirror-blackhole-down",
            "the uplink in use still takes what is sent, but delivers nothing",
            blackhole(Line::Active, &[Way::Down]),
        )
    },
    Scenario {
        extra: true,
        copies: false,
        expected: Expected::Loss,
        ..row("blackhole-down-without-copies", "the same without copies", blackhole(Line::Active, &[Way::Down]))
    },
    Scenario {
        extra: true,
        ..row(
            "mirror-copy-path-blackhole",
            "the uplink that carries the copies fails in silence",
            blackhole(Line::Copy, &Way::BOTH),
        )
    },
    Scenario {
        extra: true,
        ..row(
            "mirror-flapping",
            "the uplink in use fails and comes back five times",
            Fault::Blackhole {
                line: Line::Active,
                ways: &Way::BOTH,
                start: START,
                length: Duration::from_millis(400),
                times: 5,
                every: Duration::from_millis(900),
            },
        )
    },
    Scenario {
        extra: true,
        ..row(
            "mirror-unplugged",
            "someone pulls the cable of the uplink in use and plugs it in again",
            Fault::Unplug { start: START, length: LENGTH },
        )
    },
    Scenario {
        extra: true,
        copies: false,
        expected: Expected::Loss,
        ..row("unplugged-without-copies", "the same without copies", Fault::Unplug { start: START, length: LENGTH })
    },
    Scenario {
        extra: true,
        ..row(
            "worker-killed",
            "the process that encrypts for the uplink in use is killed, on one side and then on the other",
            Fault::KillWorkers { start: START, length: LENGTH },
        )
    },
    Scenario {
        extra: true,
        forced: Some("starlink"),
        ..row(
            "mirror-starlink-blackhole",
            "the site lives on Starlink, jitter and all, and the dish stops carrying anything",
            blackhole(Line::Active, &Way::BOTH),
        )
    },
    Scenario {
        extra: true,
        copies: false,
        forced: Some("starlink"),
        expected: Expected::Loss,
        ..row("starlink-blackhole-without-copies", "the same without copies", blackhole(Line::Active, &Way::BOTH))
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::measure::DURATION;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }

    #[test]
    fn every_fault_is_over_a_second_before_the_traffic_ends() {
        for scenario in SCENARIOS {
            assert!(scenario.fault.end() + Duration::from_secs(1) <= DURATION, "{}", scenario.name);
        }
    }

    #[test]
    fn loss_is_expected_only_where_a_fault_meets_no_copies() {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.expected == Expected::Loss) {
            assert!(!scenario.copies && scenario.fault.cuts_a_line(), "{}", scenario.name);
        }
    }
}
