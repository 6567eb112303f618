//! Judging a measurement. Pure: the same measurement always gets the same verdict.

use std::time::Duration;

use super::damage::Repair;
use super::scenario::{Expected, Scenario};
use crate::emulator::Way;
use crate::fleet::Paths;
use crate::hiccup::Stall;
use crate::measure::{Measurement, PERIOD};
use crate::traffic::Direction;

/// A lost packet may have been anywhere on its way this long: several times the longest one-way delay of the lab.
const FLIGHT: Duration = Duration::from_millis(200);

/// How long what every packet needs may be away: from the hand that takes it to a look that finds it again.
const REPAIR: Duration = Duration::from_millis(100);
/// Between two pings.
const PING: Duration = Duration::from_millis(100);

/// What was seen beside the traffic.
#[derive(Debug, Default)]
pub struct Findings {
    /// What somebody took away, in order.
    pub repairs: Vec<Repair>,
    /// What was not as it must be afterwards, a sentence each.
    pub wrong: Vec<String>,
}

/// What a measurement proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// It proves nothing, because the machine or the meters failed: to be repeated.
    Rejected(String),
    /// What is wrong, a sentence each.
    Fail(Vec<String>),
}

/// Both directions of one attempt.
pub fn judge(scenario: &Scenario, paths: &Paths, measurement: &Measurement, findings: &Findings) -> Verdict {
    let directions = [(Way::Up, &measurement.traffic.up), (Way::Down, &measurement.traffic.down)];
    let mut wrong = findings.wrong.clone();
    wrong.extend(findings.repairs.iter().filter_map(unrepaired));
    for (way, direction) in directions {
        wrong.extend(evidence(scenario, paths, measurement, way, direction));
        let defects = defects(scenario, way, direction, &findings.repairs);
        wrong.extend(defects.into_iter().map(|defect| format!("{}: {defect}", way.word())));
    }
    if wrong.is_empty() {
        return Verdict::Pass;
    }
    if wrong.len() == findings.repairs.iter().filter(|repair| is_a_little_late(repair)).count() {
        return Verdict::Rejected(format!("{}: the machine may be busy", wrong.join("; ")));
    }
    match excuse(measurement, &findings.repairs) {
        Some(reason) => Verdict::Rejected(format!("{reason} ({})", wrong.join("; "))),
        None => Verdict::Fail(wrong),
    }
}

/// What is wrong with a repair.
fn unrepaired(repair: &Repair) -> Option<String> {
    match repair.taken() {
        None => Some(format!("{} was not put right", repair.what)),
        Some(taken) if repair.vital && taken > REPAIR => {
            Some(format!("{} was back after {} ms only", repair.what, taken.as_millis()))
        }
        Some(_) => None,
    }
}

/// Machines that others use, too, are slower at times: an attempt in which nothing else is wrong is made again.
fn is_a_little_late(repair: &Repair) -> bool {
    repair.vital && repair.taken().is_some_and(|taken| taken > REPAIR && taken <= 2 * REPAIR)
}

/// How many packets sent in `direction` were lost while `repair` was under way.
pub fn lost_meanwhile(direction: &Direction, repair: &Repair) -> u64 {
    lost_at(direction).filter(|sent| is_meanwhile(repair, *sent)).count() as u64
}

fn is_meanwhile(repair: &Repair, sent: Duration) -> bool {
    repair.gone <= sent + FLIGHT && repair.back.is_none_or(|back| sent <= back)
}

/// Whether a packet sent then may be lost, because what every packet needs was away.
fn is_due(repairs: &[Repair], sent: Duration) -> bool {
    repairs.iter().any(|repair| repair.vital && is_meanwhile(repair, sent))
}

/// What a customer would complain about in one direction.
fn defects(scenario: &Scenario, way: Way, direction: &Direction, repairs: &[Repair]) -> Vec<String> {
    let mut defects = Vec::new();
    let datagrams = &direction.datagrams;
    if datagrams.duplicated > 0 {
        defects.push(format!("{} packets were delivered twice", datagrams.duplicated));
    }
    if let Some(flow) = direction.changed_flows.first() {
        defects.push(format!("{} flows changed or vanished, such as {flow}", direction.changed_flows.len()));
    }
    if scenario.expected_of(way) == Expected::Loss {
        if datagrams.lost.is_empty() {
            defects.push("nothing was lost without copies: the fault was none".to_owned());
        }
        return defects;
    }
    let repairs = if scenario.expected_of(way) == Expected::Repaired { repairs } else { &[] };
    let sent_at = |number: &u64| direction.sent_at.get(*number as usize).copied().unwrap_or_default();
    let lost: Vec<u64> = datagrams.lost.iter().filter(|number| !is_due(repairs, sent_at(number))).copied().collect();
    if !lost.is_empty() {
        defects.push(format!("{} packets were lost, numbers {}", lost.len(), ranges(&lost)));
    }
    for repair in repairs.iter().filter(|repair| repair.vital) {
        let (lost, taken) = (lost_meanwhile(direction, repair), repair.taken().unwrap_or_default());
        if u128::from(lost) > taken.as_micros().div_ceil(PERIOD.as_micros()) {
            let taken = taken.as_millis();
            defects.push(format!("{lost} packets were lost by {}, which was away for {taken} ms", repair.what));
        }
    }
    if scenario.expected == Expected::Loss {
        // An echo needs both ways, and one of them is cut; so does a stream, which waits.
        return defects;
    }
    let vital = repairs.iter().filter(|repair| repair.vital).filter_map(Repair::taken);
    let pings: u128 = vital.map(|taken| taken.as_millis() / PING.as_millis() + 1).sum();
    if u128::from(direction.ping_lost) > pings {
        defects.push(format!("{} pings were lost", direction.ping_lost));
    }
    if let Err(error) = &direction.stream {
        defects.push(format!("the TCP stream broke: {error:#}"));
    }
    defects
}

/// What must be seen on the wires for the scenario to have been what it says.
fn evidence(
    scenario: &Scenario,
    paths: &Paths,
    measurement: &Measurement,
    way: Way,
    direction: &Direction,
) -> Vec<String> {
    let mut missing = Vec::new();
    let (captured, sent) = (&measurement.captured[&way], direction.datagrams.sent);
    let on = |path: &str| captured.get(path).copied().unwrap_or(0);
    for path in &paths.copies {
        if on(path) < sent / 2 {
            missing.push(format!("{}: {path} should carry copies but carried {} packets only", way.word(), on(path)));
        }
    }
    if !scenario.copies {
        let used = [Some(paths.active), scenario.fault.moves_to()];
        for (path, packets) in captured.iter().filter(|(path, _)| !used.contains(&Some(**path))) {
            if *packets > sent / 20 {
                missing.push(format!("{}: {path} carried {packets} packets although copies are off", way.word()));
            }
        }
    }
    if scenario.fault.cuts(way) && measurement.emulator_dropped[&way] == 0 {
        missing.push(format!("{}: the line dropped nothing: the fault was none", way.word()));
    }
    missing
}

/// Why the measurement cannot be held against the system under test, if there is a reason. A lost packet is excused
/// only by a stall of the machine while it was under way, a late repair by stalls that took what it was late: any other
/// makes the attempt a failure.
fn excuse(measurement: &Measurement, repairs: &[Repair]) -> Option<String> {
    let traffic = &measurement.traffic;
    let directions = [&traffic.up, &traffic.down];
    let drops: u32 = directions.iter().map(|direction| direction.socket_drops).sum();
    if drops > 0 {
        return Some(format!("the receivers' own sockets dropped {drops} packets"));
    }
    let missed: u32 = directions.iter().map(|direction| direction.capture_missed).sum();
    if missed + measurement.capture_missed > 0 {
        return Some("a capture missed packets".to_owned());
    }
    let stalls = &measurement.stalls;
    let lost = || directions.iter().flat_map(|direction| lost_at(direction)).filter(|at| !is_due(repairs, *at));
    let late = || repairs.iter().filter(|repair| unrepaired(repair).is_some());
    let held_up = |repair: &Repair| {
        let stood = standing_still(stalls, repair.gone, repair.back.unwrap_or_default());
        repair.taken().is_some_and(|taken| taken <= REPAIR + stood)
    };
    if (lost().next().is_some() || late().next().is_some())
        && lost().all(|at| stalled(stalls, at))
        && late().all(held_up)
    {
        return Some(format!("the machine stood still for {} ms", worst(&measurement.stalls).as_millis()));
    }
    None
}

fn lost_at(direction: &Direction) -> impl Iterator<Item = Duration> {
    direction.datagrams.lost.iter().filter_map(|number| direction.sent_at.get(*number as usize).copied())
}

fn stalled(stalls: &[Stall], sent: Duration) -> bool {
    stalls.iter().any(|stall| stall.overlaps(sent, sent + FLIGHT))
}

/// How much of the time from `start` to `end` any processor stood still; `stalls` are in order.
fn standing_still(stalls: &[Stall], start: Duration, end: Duration) -> Duration {
    let (mut all, mut counted) = (Duration::ZERO, start);
    for stall in stalls {
        let (from, to) = (stall.start.max(counted), stall.end.min(end));
        if to > from {
            (all, counted) = (all + (to - from), to);
        }
    }
    all
}

/// The longest stall; zero if there was none.
pub fn worst(stalls: &[Stall]) -> Duration {
    stalls.iter().map(Stall::length).max().unwrap_or_default()
}

/// Sorted numbers, those in a row as one range.
fn ranges(numbers: &[u64]) -> String {
    let in_a_row = numbers.chunk_by(|a, b| a + 1 == *b);
    let words = in_a_row.map(|run| match run {
        [first, .., last] => format!("{first} to {last}"),
        [one] => one.to_string(),
        [] => String::new(),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::scenario::SCENARIOS;
    use crate::traffic::{Account, Outcome};

    const MS: Duration = Duration::from_millis(1);

    fn scenario(name: &str) -> &'static Scenario {
        SCENARIOS.iter().find(|scenario| scenario.name == name).expect("the table has it")
    }

    fn direction() -> Direction {
        Direction {
            datagrams: Account {
                sent: 8_000,
                received: 8_000,
                lost: Vec::new(),
                duplicated: 0,
                reordered: 0,
                longest_gap: MS,
            },
            sent_at: (0..8_000).map(|number| number * MS).collect(),
            socket_drops: 0,
            ping_lost: 0,
            stream: Ok(5_000_000),
            changed_flows: BTreeSet::new(),
            capture_missed: 0,
        }
    }

    fn paths() -> Paths {
        Paths { active: "fiber", copies: vec!["starlink"] }
    }

    fn clean() -> Measurement {
        let captured = [("fiber", 9_000), ("starlink", 9_000), ("cellular", 0)];
        Measurement {
            traffic: Outcome { up: direction(), down: direction() },
            stalls: Vec::new(),
            captured: Way::BOTH.map(|way| (way, captured.into())).into(),
            emulator_dropped: Way::BOTH.map(|way| (way, 5)).into(),
            capture_missed: 0,
        }
    }

    /// The verdict where nothing was taken away.
    fn judge(scenario: &Scenario, paths: &Paths, measurement: &Measurement) -> Verdict {
        super::judge(scenario, paths, measurement, &Findings::default())
    }

    /// The verdict on the row `drift` after a vital thing went at 2,000 ms and came back so much later.
    fn judge_drift(measurement: &Measurement, taken: Option<Duration>) -> Verdict {
        let gone = 2_000 * MS;
        let repair = Repair { what: "the mark rule", vital: true, gone, back: taken.map(|taken| gone + taken) };
        let findings = Findings { repairs: vec![repair], wrong: Vec::new() };
        super::judge(scenario("drift"), &paths(), measurement, &findings)
    }

    #[test]
    fn what_every_packet_needs_costs_as_many_as_were_sent_while_it_was_away_and_no_more() {
        let mut measurement = clean();
        lose(&mut measurement, &(2_000..2_050).collect::<Vec<_>>());
        measurement.traffic.down.ping_lost = 1;
        assert_eq!(judge_drift(&measurement, Some(50 * MS)), Verdict::Pass);
        let Verdict::Fail(why) = judge_drift(&measurement, Some(49 * MS)) else { panic!("it passed") };
        assert_eq!(why, ["down: 50 packets were lost by the mark rule, which was away for 49 ms"]);
        lose(&mut measurement, &[2_000, 2_051]);
        assert!(matches!(judge_drift(&measurement, Some(50 * MS)), Verdict::Fail(_)), "lost after it was back");
        lose(&mut measurement, &[]);
        measurement.traffic.down.ping_lost = 2;
        assert!(matches!(judge_drift(&measurement, Some(50 * MS)), Verdict::Fail(_)));
    }

    #[test]
    fn a_late_repair_is_tried_again_and_fails_if_the_machine_did_not_stand_still_and_none_fails_always() {
        let mut measurement = clean();
        assert_eq!(judge_drift(&measurement, Some(100 * MS)), Verdict::Pass);
        assert!(matches!(judge_drift(&measurement, Some(200 * MS)), Verdict::Rejected(_)), "once more");
        let Verdict::Fail(why) = judge_drift(&measurement, Some(220 * MS)) else { panic!("it passed") };
        assert_eq!(why, ["the mark rule was back after 220 ms only"]);
        lose(&mut measurement, &[4_000]);
        assert!(matches!(judge_drift(&measurement, Some(120 * MS)), Verdict::Fail(_)), "that is not all");
        lose(&mut measurement, &[]);
        // two processors that stand still at once do it once
        measurement.stalls = vec![Stall { start: 2_010 * MS, end: 2_115 * MS }; 2];
        assert!(matches!(judge_drift(&measurement, Some(220 * MS)), Verdict::Fail(_)));
        measurement.stalls.push(Stall { start: 2_120 * MS, end: 2_140 * MS });
        assert!(matches!(judge_drift(&measurement, Some(220 * MS)), Verdict::Rejected(_)));
        assert!(matches!(judge_drift(&measurement, None), Verdict::Fail(_)));
    }

    #[test]
    fn loss_by_what_copies_cover_fails() {
        let mut measurement = clean();
        lose(&mut measurement, &[2_000]);
        let repair = Repair { what: "a peer", vital: false, gone: 1_999 * MS, back: Some(2_400 * MS) };
        let findings = Findings { repairs: vec![repair], wrong: Vec::new() };
        assert!(matches!(super::judge(scenario("drift"), &paths(), &measurement, &findings), Verdict::Fail(_)));
    }

    #[test]
    fn what_is_wrong_afterwards_fails_although_nothing_was_lost() {
        let findings = Findings { repairs: Vec::new(), wrong: vec!["rv-07 is not connected".to_owned()] };
        let verdict = super::judge(scenario("control-plane-gone"), &paths(), &clean(), &findings);
        assert!(matches!(verdict, Verdict::Fail(_)));
    }

    fn lose(measurement: &mut Measurement, numbers: &[u64]) {
        measurement.traffic.down.datagrams.lost = numbers.to_vec();
    }

    #[test]
    fn a_clean_measurement_passes() {
        assert_eq!(judge(scenario("steady"), &paths(), &clean()), Verdict::Pass);
    }

    #[test]
    fn one_lost_packet_fails_at_once() {
        let mut measurement = clean();
        lose(&mut measurement, &[4_000]);
        let Verdict::Fail(why) = judge(scenario("steady"), &paths(), &measurement) else { panic!("it passed") };
        assert_eq!(why, ["down: 1 packets were lost, numbers 4000"]);
    }

    #[test]
    fn loss_during_a_stall_proves_nothing_but_beside_it_fails() {
        let mut measurement = clean();
        measurement.stalls = vec![Stall { start: 4_050 * MS, end: 4_070 * MS }];
        lose(&mut measurement, &[4_000, 4_060]);
        assert!(matches!(judge(scenario("steady"), &paths(), &measurement), Verdict::Rejected(_)));
        lose(&mut measurement, &[4_000, 4_500]);
        assert!(matches!(judge(scenario("steady"), &paths(), &measurement), Verdict::Fail(_)));
    }

    #[test]
    fn a_stall_does_not_excuse_a_second_delivery_or_a_changed_flow() {
        let mut measurement = clean();
        measurement.stalls = vec![Stall { start: Duration::ZERO, end: 9_000 * MS }];
        measurement.traffic.up.datagrams.duplicated = 1;
        assert!(matches!(judge(scenario("steady"), &paths(), &measurement), Verdict::Fail(_)));
    }

    #[test]
    fn a_stall_without_loss_spoils_nothing() {
        let mut measurement = clean();
        measurement.stalls = vec![Stall { start: Duration::ZERO, end: 100 * MS }];
        assert_eq!(judge(scenario("steady"), &paths(), &measurement), Verdict::Pass);
    }

    #[test]
    fn drops_of_our_own_sockets_reject_the_attempt() {
        let mut measurement = clean();
        lose(&mut measurement, &[1]);
        measurement.traffic.down.socket_drops = 1;
        assert!(matches!(judge(scenario("steady"), &paths(), &measurement), Verdict::Rejected(_)));
    }

    #[test]
    fn copies_that_were_not_on_the_wire_fail() {
        let mut measurement = clean();
        measurement.captured.insert(Way::Up, [("fiber", 9_000)].into());
        assert!(matches!(judge(scenario("steady"), &paths(), &measurement), Verdict::Fail(_)));
    }

    #[test]
    fn a_fault_that_dropped_nothing_fails_even_when_nothing_was_lost() {
        let mut measurement = clean();
        assert_eq!(judge(scenario("mirror-silent-blackhole"), &paths(), &measurement), Verdict::Pass);
        measurement.emulator_dropped.insert(Way::Up, 0);
        assert!(matches!(judge(scenario("mirror-silent-blackhole"), &paths(), &measurement), Verdict::Fail(_)));
    }

    #[test]
    fn a_fault_of_one_way_may_not_lose_anything_the_other_way() {
        let alone = Paths { active: "fiber", copies: Vec::new() };
        let row = scenario("blackhole-up-without-copies");
        let mut measurement = clean();
        for way in Way::BOTH {
            measurement.captured.insert(way, [("fiber", 9_000)].into());
        }
        measurement.traffic.up.datagrams.lost = vec![2_000];
        measurement.traffic.down.ping_lost = 30;
        assert_eq!(judge(row, &alone, &measurement), Verdict::Pass);
        lose(&mut measurement, &[3_000]);
        assert!(matches!(judge(row, &alone, &measurement), Verdict::Fail(_)));
    }

    #[test]
    fn without_copies_the_fault_must_show_as_loss_and_on_one_path_only() {
        let alone = Paths { active: "fiber", copies: Vec::new() };
        let row = scenario("silent-blackhole-without-copies");
        let mut measurement = clean();
        for way in Way::BOTH {
            measurement.captured.insert(way, [("fiber", 9_000), ("starlink", 12)].into());
        }
        let Verdict::Fail(why) = judge(row, &alone, &measurement) else { panic!("it passed") };
        assert_eq!(
            why,
            ["up", "down"].map(|way| format!("{way}: nothing was lost without copies: the fault was none"))
        );
        for direction in [&mut measurement.traffic.up, &mut measurement.traffic.down] {
            direction.datagrams.lost = vec![2_000, 2_001];
        }
        assert_eq!(judge(row, &alone, &measurement), Verdict::Pass);
        measurement.captured.insert(Way::Up, [("fiber", 9_000), ("starlink", 9_000)].into());
        assert!(matches!(judge(row, &alone, &measurement), Verdict::Fail(_)));
    }
}
