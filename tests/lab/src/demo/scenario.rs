//! The scenarios, as a table. To add one, add a row.

use std::time::Duration;

use super::damage::{self, Damage};
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
        if self.fault.harms(way) { self.expected } else { Expected::NothingLost }
    }
}

/// What must come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No datagram and no ping lost, none delivered twice, streams whole, flows unchanged.
    NothingLost,
    /// Datagrams are lost: the same fault without copies, or without anybody to put it right, which proves that it is one.
    /// None delivered twice.
    Loss,
    /// Nothing is lost but by what every packet needs, while it is away and not longer than that, and it is not away for
    /// long. None delivered twice, streams whole, flows unchanged.
    Repaired,
}

impl Expected {
    pub fn words(self) -> &'static str {
        match self {
            Expected::NothingLost => "0 lost, 0 duplicated",
            Expected::Loss => "loss, 0 duplicated",
            Expected::Repaired => {
                "what every packet needs: lost <= rate x repair, repair <= 100 ms; else 0 lost; 0 duplicated"
            }
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

const fn drift(damages: &'static [Damage]) -> Fault {
    Fault::Drift { damages, start: Duration::from_millis(1_000), every: Duration::from_millis(800) }
}

const FLAP: Fault = Fault::Blackhole {
    line: Line::Active,
    ways: &Way::BOTH,
    start: START,
    length: Duration::from_millis(400),
    times: 5,
    every: Duration::from_millis(900),
};

/// The same without copies: the fault is one.
const fn without_copies(name: &'static str, fault: Fault) -> Scenario {
    Scenario { copies: false, expected: Expected::Loss, extra: true, ..row(name, "the same without copies", fault) }
}

const fn extra(row: Scenario) -> Scenario {
    Scenario { extra: true, ..row }
}

/// Every scenario, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    row("steady", "nothing happens: calls, a download and an upload run side by side", Fault::None),
    row(
        "mirror-silent-blackhole",
        "the uplink in use stops carrying anything, without a sign, for three seconds",
        blackhole(Line::Active, &Way::BOTH),
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
    row("mirror-flap", "the uplink in use fails and comes back five times", FLAP),
    without_copies("flap-without-copies", FLAP),
    row(
        "mirror-uplink-admin-down",
        "someone sets the network card of the uplink in use down, and then the link that leads to it",
        drift(&[damage::CARD_DOWN, damage::VETH_DOWN]),
    ),
    without_copies("uplink-admin-down-without-copies", drift(&[damage::CARD_DOWN])),
    row(
        "mirror-copy-path-down",
        "someone pulls the cable of the uplink that carries the copies",
        Fault::Unplug { line: Line::Copy, start: START, length: Duration::from_millis(2_000) },
    ),
    Scenario {
        forced: Some("starlink"),
        story: "the same cable, when the site lives on that uplink and nothing is copied",
        ..without_copies(
            "starlink-unplugged-without-copies",
            Fault::Unplug { line: Line::Active, start: START, length: Duration::from_millis(2_000) },
        )
    },
    row(
        "planned-switch",
        "someone moves the site to another uplink and back while people talk",
        Fault::Switch { to: "starlink", start: START, length: LENGTH },
    ),
    extra(Scenario {
        copies: false,
        ..row(
            "planned-switch-without-copies",
            "the same planned move with copies switched off: it needs none",
            Fault::Switch { to: "starlink", start: START, length: LENGTH },
        )
    }),
    row(
        "worker-killed",
        "the process that encrypts for the uplink in use is killed, on one side and then on the other",
        Fault::KillWorkers { start: START, length: LENGTH },
    ),
    without_copies("worker-killed-without-copies", Fault::KillWorkers { start: START, length: LENGTH }),
    row(
        "agent-killed",
        "PathSteer's own agents are killed on both sides, and start again",
        Fault::KillAgents { start: START, length: Duration::from_millis(1_500) },
    ),
    row(
        "control-plane-gone",
        "the operator and its store die; the site's agent dies too, starts without them and goes on; then all come back",
        Fault::KillControlPlane { start: Duration::from_millis(500), length: Duration::from_millis(4_500) },
    ),
    Scenario {
        expected: Expected::Repaired,
        ..row(
            "drift",
            "someone deletes things of ours by hand on the site's node, one after another, and each is put right",
            drift(&[
                damage::MARK_RULE,
                damage::ROUTE,
                damage::CLASS_TABLE,
                damage::SHIM_PROGRAM,
                damage::PIN,
                damage::RETURN_PROGRAM,
                damage::PEER,
                damage::COPY_VETH,
            ]),
        )
    },
    Scenario {
        expected: Expected::Loss,
        ..row(
            "drift-without-agent",
            "the same by hand with nobody there to put it right, to show that it matters",
            Fault::Neglect {
                damages: &[damage::MARK_RULE, damage::SHIM_PROGRAM],
                start: START,
                length: Duration::from_millis(1_500),
            },
        )
    },
    Scenario {
        story: "what copies cover for is taken away by hand without them",
        ..without_copies("drift-without-copies", drift(&[damage::RETURN_PROGRAM, damage::PEER]))
    },
    extra(row(
        "mirror-copy-path-blackhole",
        "the uplink that carries the copies fails in silence",
        blackhole(Line::Copy, &Way::BOTH),
    )),
    extra(row(
        "mirror-blackhole-up",
        "the uplink in use swallows what is sent, but still delivers",
        blackhole(Line::Active, &[Way::Up]),
    )),
    without_copies("blackhole-up-without-copies", blackhole(Line::Active, &[Way::Up])),
    extra(row(
        "mirror-blackhole-down",
        "the uplink in use still takes what is sent, but delivers nothing",
        blackhole(Line::Active, &[Way::Down]),
    )),
    without_copies("blackhole-down-without-copies", blackhole(Line::Active, &[Way::Down])),
    extra(row(
        "mirror-unplugged",
        "someone pulls the cable of the uplink in use and plugs it in again",
        Fault::Unplug { line: Line::Active, start: START, length: LENGTH },
    )),
    without_copies("unplugged-without-copies", Fault::Unplug { line: Line::Active, start: START, length: LENGTH }),
    extra(Scenario {
        forced: Some("starlink"),
        ..row(
            "mirror-starlink-blackhole",
            "the site lives on Starlink, jitter and all, and the dish stops carrying anything",
            blackhole(Line::Active, &Way::BOTH),
        )
    }),
    Scenario {
        forced: Some("starlink"),
        ..without_copies("starlink-blackhole-without-copies", blackhole(Line::Active, &Way::BOTH))
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
    fn loss_is_expected_only_where_a_fault_meets_nothing_that_makes_up_for_it() {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.expected == Expected::Loss) {
            let fault = &scenario.fault;
            assert!(Way::BOTH.iter().any(|way| fault.harms(*way)), "{}", scenario.name);
            assert!(!scenario.copies || matches!(fault, Fault::Neglect { .. }), "{}", scenario.name);
        }
    }

    /// But for those that harm nobody, even without copies.
    #[test]
    fn every_fault_stands_beside_one_that_proves_it() {
        let proofs: Vec<_> = SCENARIOS.iter().filter(|scenario| scenario.expected == Expected::Loss).collect();
        for scenario in
            SCENARIOS.iter().filter(|scenario| scenario.fault.harms(Way::Up) || scenario.fault.harms(Way::Down))
        {
            let same =
                |proof: &&&Scenario| std::mem::discriminant(&proof.fault) == std::mem::discriminant(&scenario.fault);
            assert!(proofs.iter().any(|proof| same(&proof)), "{}", scenario.name);
        }
    }
}
