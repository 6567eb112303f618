//! What sessions see: both families, both ways, and the MTU.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{INTERNET, LAN};

use crate::stage::Stage;
use crate::talk::{ENDS, talk};

/// What `Fabric.tunnelMtu` of 1,420 bytes leaves.
const MTU: usize = 1_388;

pub fn case(stage: &mut Stage) -> Result<()> {
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    for (client, server) in ENDS {
        let (near, far) = (SocketAddr::new(client, 41_000), SocketAddr::new(server, 20_500));
        talk((lan, near), (internet, far), 20).with_context(|| format!("{client} asks {server}"))?;
        let (near, far) = (SocketAddr::new(client, 41_001), SocketAddr::new(server, 20_501));
        talk((internet, far), (lan, near), 20).with_context(|| format!("{server} asks {client}"))?;
        for (from, to) in [(lan, server), (internet, client)] {
            let words = ["-q", "-c", "10", "-i", "0.05", "-W", "2", &to.to_string()];
            let answer = from.output("ping", &words)?;
            ensure!(
                answer.contains("10 received") && !answer.contains("duplicates"),
                "{} pings {to}: {answer}",
                from.name
            );
        }
    }
    Ok(())
}

pub fn mtu(stage: &mut Stage) -> Result<()> {
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    for (client, server) in ENDS {
        let headers = if client.is_ipv4() { 28 } else { 48 };
        for (from, to) in [(lan, server), (internet, client)] {
            let to = to.to_string();
            for family in ["-4", "-6"] {
                from.output("ip", &[family, "route", "flush", "cache"])?;
            }
            let fits = echo(from, &to, MTU - headers)?;
            ensure!(fits.contains("1 received"), "{} bytes to {to} do not pass: {fits}", MTU);
            let refused = echo(from, &to, MTU - headers + 1)?;
            let told = ["(mtu = 1388)", "mtu=1388"].iter().any(|words| refused.contains(words));
            ensure!(told, "{} bytes to {to} are not refused with the MTU: {refused}", MTU + 1);
        }
    }
    Ok(())
}

/// One echo that may not be cut into fragments, whatever comes of it.
fn echo(from: &Host, to: &str, payload: usize) -> Result<String> {
    let output = from
        .command("ping")
        .args(["-M", "do", "-c", "1", "-W", "2", "-s", &payload.to_string(), to])
        .output()
        .context("starting ping")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
