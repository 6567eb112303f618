//! How much goes: TCP bits and UDP packets a second. The machine is saturated on purpose, so no run is rejected.

use std::time::Duration;

use anyhow::Result;

use super::rigs::{Carrier, Case, NFT_EMPTIED, Rigs, Shim, gotatun, wireguard_go};
use crate::report::{Row, Target};
use crate::rig::{Medium, Tunnel};
use crate::series::{Discipline, Series, interleave};
use crate::traffic::udp::Pace;
use crate::traffic::{Window, tcp, udp};

/// Rounds; the median of five is not moved by two that something else disturbed.
const ROUNDS: usize = 5;
/// Slow start ends within this time even where a round trip takes a millisecond.
const WARM_UP: Duration = Duration::from_millis(250);
/// Long enough for a hundred thousand packets.
const LENGTH: Duration = Duration::from_millis(600);

/// Plain routing that cuts big sends up: what of a difference to plain routing is the shim's, and what is segmentation's.
const CUT: &str = "plain routing, segmented";

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Tcp,
    /// UDP with so many bytes of payload.
    Udp(usize),
}

impl Load {
    const ALL: [Load; 4] = [Load::Tcp, Load::Udp(64), Load::Udp(200), Load::Udp(1_200)];

    fn name(self) -> String {
        match self {
            Load::Tcp => "TCP".to_owned(),
            Load::Udp(bytes) => format!("UDP {bytes} B"),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Load::Tcp => "Gb/s",
            Load::Udp(_) => "kpps",
        }
    }

    /// One run: how much arrived, and how many packets did so twice.
    fn run(self, carrier: &Carrier) -> Result<(f64, u64)> {
        carrier.prepare()?;
        carrier.with(|ends| {
            let window = Window::after(WARM_UP, LENGTH);
            let at = ends.server_address();
            match self {
                Load::Tcp => Ok((tcp::stream(&ends.client, &ends.server, at, window)? / 1e9, 0)),
                Load::Udp(bytes) => {
                    let outcome = udp::stream(&ends.client, &ends.server, at, bytes, Pace::Flood, window)?;
                    Ok((outcome.rate / 1e3, outcome.doubled))
                }
            }
        })
    }
}

/// Every load through every carrier, on veth and through WireGuard.
///
/// # Errors
/// When a rig cannot be built or a run fails.
pub fn measure(rigs: &mut Rigs) -> Result<Vec<Row>> {
    let veth = on_veth(rigs)?;
    let (wireguard, absent) = through_wireguard(rigs)?;
    let mut rows = Vec::new();
    for load in Load::ALL {
        // of the loads only TCP is sent in big pieces
        let is_told_apart = |case: &&Case| load == Load::Tcp || !case.is_forced() && case.name != CUT;
        rows.extend(group(load, "veth", &veth.iter().filter(is_told_apart).collect::<Vec<_>>())?);
        rows.extend(group(load, "WireGuard", &wireguard.iter().filter(is_told_apart).collect::<Vec<_>>())?);
        for (name, why) in &absent {
            rows.push(Row::missing(format!("{}, WireGuard, {name}", load.name()), load.unit(), why));
        }
    }
    Ok(rows)
}

/// The product between plain routing and nft's bare copies, with big sends cut up, and without its rules.
fn on_veth(rigs: &mut Rigs) -> Result<Vec<Case>> {
    let mut cases = rigs.on_veth()?;
    cases.extend(rigs.cut_up(Medium::Wires)?);
    cases.push(rigs.without_nft()?);
    cases.push(Case { name: CUT, carrier: Carrier::Chain(rigs.chain(&Tunnel::VethSegmented)?) });
    cases.push(Case { name: "nft dup", carrier: Carrier::Chain(rigs.chain(&Tunnel::VethCopied)?) });
    Ok(cases)
}

/// Who is missing, and why.
type Absent = (&'static str, String);

/// The product beside the same worker alone and other people's WireGuard, and whom of these there is not, and why.
fn through_wireguard(rigs: &mut Rigs) -> Result<(Vec<Case>, Vec<Absent>)> {
    let mut cases = rigs.on_wireguard()?;
    cases.extend(rigs.cut_up(Medium::Wireguard)?);
    let unsegmented = rigs.chain(&Tunnel::Worker { segmentation: false })?;
    cases.push(Case { name: "plain WireGuard, TUN without segmentation", carrier: Carrier::Chain(unsegmented) });
    let mut absent = Vec::new();
    for (name, (program, arguments)) in [("wireguard-go", wireguard_go()), ("gotatun-cli", gotatun())] {
        if !program.exists() {
            absent.push((name, format!("{} is not installed", program.display())));
            continue;
        }
        match rigs.chain(&Tunnel::Other { program, arguments }) {
            Ok(chain) => cases.push(Case { name, carrier: Carrier::Chain(chain) }),
            Err(error) => absent.push((name, format!("{error:#}"))),
        }
    }
    Ok((cases, absent))
}

/// One load through `cases`, of which the first is what the others are compared with.
fn group(load: Load, medium: &str, cases: &[&Case]) -> Result<Vec<Row>> {
    let name = |case: &Case| format!("{}, {medium}, {}", load.name(), case.name);
    let all = interleave(cases, ROUNDS, Discipline::Saturating, |case| load.run(&case.carrier).map(Some))?;
    let rates: Vec<Series<f64>> = all.iter().map(|series| series.map(|(rate, _)| *rate)).collect();
    let mut rows = Vec::new();
    for ((case, series), outcomes) in cases.iter().zip(&rates).zip(&all) {
        let mut row = Row::of(name(case), load.unit(), series);
        if case.name != cases[0].name {
            row = row.compared(series, &name(cases[0]), &rates[0]);
        }
        let doubled: u64 = outcomes.valid().map(|(_, doubled)| doubled).sum();
        if doubled > 0 {
            row = match &case.carrier {
                Carrier::Shim(_) => row.unsound(format!("{doubled} packets were delivered twice")),
                Carrier::Chain(_) => row.noted("second copies are delivered too"),
            };
        }
        rows.push(match least(load, medium, case) {
            Some(least) => row.promised(Target::Ratio(least)),
            None => row,
        });
    }
    Ok(rows)
}

/// The least ratio that is promised of a case.
fn least(load: Load, medium: &str, case: &Case) -> Option<f64> {
    let Carrier::Shim(Shim { copies, whole, .. }) = &case.carrier else { return None };
    if load != Load::Tcp || case.name == NFT_EMPTIED {
        return None;
    }
    let [single, copied] = match (medium, whole) {
        ("veth", false) => [0.65, 0.45],
        ("veth", true) => [0.90, 0.65],
        _ => [0.70, 0.50],
    };
    match copies {
        0 => Some(single),
        1 => Some(copied),
        _ => None,
    }
}
