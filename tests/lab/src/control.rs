//! Orders to a running lab, one line each, over a socket in the lab's own `/run`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::emulator::{Profile, Way};
use crate::measure::{Measurement, measure};
use crate::network::Network;

/// Where the lab listens, in its own file system.
pub const SOCKET: &str = "/run/lab/control.sock";

/// What a lab can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "order")]
pub enum Order {
    Fault {
        uplink: String,
        fault: LineFault,
    },
    /// Traffic both ways for so many seconds.
    Measure {
        seconds: u64,
    },
    /// What the lines do and have counted.
    Show,
}

/// What can be done to a line.
#[derive(Debug, Clone, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "camelCase")]
pub enum LineFault {
    /// Drop everything silently, both ways
    Blackhole,
    /// Drop silently what the site sends
    BlackholeUp,
    /// Drop silently what the site should receive
    BlackholeDown,
    /// Pull the cable
    Unplug,
    /// Lose packets at random, both ways
    Loss {
        /// Of a million
        ppm: u32,
    },
    /// Delay packets, each way
    Delay {
        #[arg(value_name = "MS")]
        milliseconds: u64,
    },
    /// Mark packets as having met congestion, at random, both ways
    Congestion {
        /// Of a million
        ppm: u32,
    },
    /// Deliver packets twice, at random, both ways
    Double {
        /// Of a million
        ppm: u32,
    },
    /// Hold packets back, at random, both ways, so that others overtake them
    Reorder {
        /// Of a million
        ppm: u32,
        #[arg(value_name = "MS")]
        milliseconds: u64,
    },
    /// Make the line carry packets of so many bytes at most
    Mtu { bytes: u16 },
    /// Take every fault back
    Heal,
}

/// Carries out orders until the lab ends.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(network: &Network) -> Result<()> {
    let listener = UnixListener::bind(SOCKET).with_context(|| format!("listening on {SOCKET}"))?;
    let runs = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for connection in listener.incoming() {
            let mut connection = connection?;
            let runs = &runs;
            scope.spawn(move || {
                let answer = receive(&connection).and_then(|order| carry_out(network, runs, &order));
                let text = answer.unwrap_or_else(|error| format!("error: {error:#}\n"));
                // Whoever asked may have gone.
                let _ = connection.write_all(text.as_bytes());
            });
        }
        Ok(())
    })
}

/// Sends `order` to the lab that listens on `socket` and returns its answer.
///
/// # Errors
/// When no lab listens there, or it refuses.
pub fn send(socket: &Path, order: &Order) -> Result<String> {
    let mut connection = UnixStream::connect(socket).context("speaking to the lab")?;
    writeln!(connection, "{}", serde_json::to_string(order)?)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.strip_prefix("error: ") {
        Some(reason) => bail!("{}", reason.trim()),
        None => Ok(answer),
    }
}

fn receive(connection: &UnixStream) -> Result<Order> {
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn carry_out(network: &Network, runs: &AtomicU64, order: &Order) -> Result<String> {
    match order {
        Order::Fault { uplink, fault } => {
            break_line(network, uplink, fault)?;
            Ok(show(network))
        }
        Order::Show => Ok(show(network)),
        Order::Measure { seconds } => {
            let run = runs.fetch_add(1, Relaxed) + 1;
            let measurement = measure(network, run, Duration::from_secs(*seconds), |_| Ok(()))?;
            Ok(words(&measurement))
        }
    }
}

fn break_line(network: &Network, name: &str, fault: &LineFault) -> Result<()> {
    let link = network.link(name)?;
    let change = |change: &dyn Fn(Profile) -> Profile| {
        for way in Way::BOTH {
            let settings = link.settings(way);
            settings.set_profile(change(settings.profile()));
        }
    };
    match fault {
        LineFault::Blackhole => link.set_blackholes(true),
        LineFault::BlackholeUp => link.set_blackhole(Way::Up, true),
        LineFault::BlackholeDown => link.set_blackhole(Way::Down, true),
        LineFault::Unplug => link.set_plugged(false)?,
        LineFault::Loss { ppm } => change(&|profile| Profile { loss_ppm: *ppm, ..profile }),
        LineFault::Delay { milliseconds } => {
            change(&|profile| Profile { delay: Duration::from_millis(*milliseconds), ..profile });
        }
        LineFault::Congestion { ppm } => change(&|profile| Profile { mark_ppm: *ppm, ..profile }),
        LineFault::Double { ppm } => change(&|profile| Profile { double_ppm: *ppm, ..profile }),
        LineFault::Reorder { ppm, milliseconds } => {
            let hold = Duration::from_millis(*milliseconds);
            change(&|profile| Profile { reorder_ppm: *ppm, hold, ..profile });
        }
        LineFault::Mtu { bytes } => network.set_line_mtu(name, *bytes)?,
        LineFault::Heal => heal(network, name)?,
    }
    Ok(())
}

fn heal(network: &Network, name: &str) -> Result<()> {
    let (plan, link) = (network.plan(), network.link(name)?);
    let uplink = plan.uplinks().find(|uplink| uplink.router == name).context("every line has an uplink")?;
    for way in Way::BOTH {
        link.settings(way).set_profile(uplink.profile(way));
    }
    link.set_plugged(true)?;
    network.set_line_mtu(name, uplink.mtu)
}

fn show(network: &Network) -> String {
    let mut text = format!(
        "{:<13}{:<6}{:>9}{:>10}{:>10}{:>12}{:>11}\n",
        "line", "way", "delay ms", "loss ppm", "blackhole", "forwarded", "dropped"
    );
    for (name, link) in network.links() {
        for way in Way::BOTH {
            let (settings, count) = (link.settings(way), link.count(way));
            let profile = settings.profile();
            text.push_str(&format!(
                "{name:<13}{:<6}{:>9.1}{:>10}{:>10}{:>12}{:>11}\n",
                way.word(),
                profile.delay.as_secs_f64() * 1_000.0,
                profile.loss_ppm,
                if settings.blackhole() { "yes" } else { "no" },
                count.forwarded,
                count.dropped()
            ));
        }
    }
    text
}

/// A measurement in two lines.
pub fn words(measurement: &Measurement) -> String {
    let mut text = String::new();
    for (way, direction) in [(Way::Up, &measurement.traffic.up), (Way::Down, &measurement.traffic.down)] {
        let datagrams = &direction.datagrams;
        text.push_str(&format!(
            "{:<5}{} sent, {} lost, {} doubled, longest gap {} ms, {} pings lost, TCP stream {}\n",
            way.word(),
            datagrams.sent,
            datagrams.lost.len(),
            datagrams.duplicated,
            datagrams.longest_gap.as_millis(),
            direction.ping_lost,
            match &direction.stream {
                Ok(bytes) => format!("whole ({bytes} bytes)"),
                Err(error) => format!("broken: {error:#}"),
            }
        ));
    }
    text
}
