//! How much goes: TCP bits and UDP packets a second. The machine is saturated on purpose, so no run is rejected.

use std::time::Duration;

use anyhow::Result;

use super::rigs::{Carrier, Case, Rigs, gotatun, wireguard_go};
use crate::report::{Row, Target};
use crate::rig::Tunnel;
use crate::series::{Discipline, Series, interleave};
use crate::traffic::udp::Pace;
use crate::traffic::{Window, tcp, udp};

/// Rounds; the median of five is not moved by two that something else disturbed.
const ROUNDS: usize = 5;
/// Slow start ends within this time even where a round trip takes a millisecond.
const WARM_UP: Duration = Duration::from_millis(250);
/// Long enough for a hundred thousand packets.
const LENGTH: Duration = Duration::from_millis(600);

/// What is sent.
#[derive(Debug, Clone, Copy)]
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
    let mut veth = rigs.on_veth()?;
    veth.push(Case { name: "nft dup", carrier: Carrier::Chain(rigs.chain(&Tunnel::VethCopied)?) });
    let mut wireguard = rigs.on_wireguard()?;
    let unsegmented = rigs.chain(&Tunnel::Worker { segmentation: false })?;
    wireguard.push(Case { name: "plain WireGuard, TUN without segmentation", carrier: Carrier::Chain(unsegmented) });
    let mut absent = Vec::new();
    for (name, (program, arguments)) in [("wireguard-go", wireguard_go()), ("gotatun-cli", gotatun())] {
        if !program.exists() {
            absent.push((name, format!("{} is not installed", program.display())));
            continue;
        }
        match rigs.chain(&Tunnel::Other { program, arguments }) {
            Ok(chain) => wireguard.push(Case { name, carrier: Carrier::Chain(chain) }),
            Err(error) => absent.push((name, format!("{error:#}"))),
        }
    }

    let mut rows = Vec::new();
    for load in Load::ALL {
        rows.extend(group(load, "veth", &veth, [0.65, 0.45])?);
        rows.extend(group(load, "WireGuard", &wireguard, [0.70, 0.50])?);
        for (name, why) in &absent {
            rows.push(Row::missing(format!("{}, WireGuard, {name}", load.name()), load.unit(), why));
        }
    }
    Ok(rows)
}

/// One load through `cases`, of which the first is what the others are compared with. `promised` are the least ratios of
/// TCP with the shim and with one copy.
fn group(load: Load, medium: &str, cases: &[Case], promised: [f64; 2]) -> Result<Vec<Row>> {
    let name = |case: &Case| format!("{}, {medium}, {}", load.name(), case.name);
    let all = interleave(cases, ROUNDS, Discipline::Saturating, |case| load.run(&case.carrier))?;
    let rates: Vec<Series<f64>> = all.iter().map(|series| series.map(|(rate, _)| *rate)).collect();
    let mut rows = Vec::new();
    for ((case, series), outcomes) in cases.iter().zip(&rates).zip(&all) {
        let mut row = Row::of(name(case), load.unit(), series);
        if case.name != cases[0].name {
            row = row.compared(series, &name(&cases[0]), &rates[0]);
        }
        let doubled: u64 = outcomes.valid().map(|(_, doubled)| doubled).sum();
        match &case.carrier {
            Carrier::Shim(..) if doubled > 0 => row = row.unsound(format!("{doubled} packets were delivered twice")),
            Carrier::Chain(_) if doubled > 0 => row = row.noted("second copies are delivered too"),
            _ => {}
        }
        let least = match (load, &case.carrier) {
            (Load::Tcp, Carrier::Shim(_, copies)) => promised.get(*copies),
            _ => None,
        };
        rows.push(match least {
            Some(least) => row.promised(Target::Ratio(*least)),
            None => row,
        });
    }
    Ok(rows)
}
