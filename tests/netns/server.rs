//! What an uplink's network has for its customers: real servers on the far end of a card.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

const LOGS: &str = "/run/lab/logs";

/// A DHCP server for IPv4.
pub struct Server<'a> {
    pub card: &'a str,
    /// The server's own address, on a network of 24 bits, and the way out.
    pub gateway: &'a str,
    /// The only address there is to be lent, for two minutes (less dnsmasq does not).
    pub lends: &'a str,
    /// Tells one server of a case from the next in its place, which knows nothing of what the first has lent.
    pub life: u32,
}

impl Server<'_> {
    /// Starts it for the case called `name`, with further `arguments`. With it comes its file of leases.
    pub fn start(&self, outside: &Host, name: &str, arguments: &[&str]) -> Result<(Daemon, PathBuf)> {
        let Server { card, gateway, lends, life } = self;
        outside.output("ip", &["address", "replace", &format!("{gateway}/24"), "dev", &format!("far-{card}")])?;
        let name = format!("{name}-{card}-dhcp-{life}");
        let lends = [
            &format!("--dhcp-range={lends},{lends},255.255.255.0,2m")[..],
            &format!("--dhcp-option=option:router,{gateway}"),
        ];
        dnsmasq(outside, name, card, &[&lends, arguments].concat())
    }
}

/// A dnsmasq that serves the far end of `card` with `arguments`, and its file of leases.
pub fn dnsmasq(outside: &Host, name: String, card: &str, arguments: &[&str]) -> Result<(Daemon, PathBuf)> {
    std::fs::create_dir_all(LOGS)?;
    let leases = PathBuf::from(format!("/run/lab/{name}.leases"));
    let mut all = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--log-dhcp",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--except-interface=lo",
        "--dhcp-authoritative",
        "--no-ping",
        &format!("--interface=far-{card}"),
        &format!("--dhcp-leasefile={}", leases.display()),
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let recipe = Recipe { name, program: "dnsmasq".into(), arguments: all };
    Ok((Daemon::start(outside, recipe, Path::new(LOGS))?, leases))
}

/// A radvd that advertises on the far end of `card` every three to four seconds what `says` in its own words.
pub fn radvd(outside: &Host, name: &str, card: &str, says: &str) -> Result<Daemon> {
    outside.forward()?;
    std::fs::create_dir_all(LOGS)?;
    let files = [format!("/run/lab/{name}.radvd.conf"), format!("/run/lab/{name}.radvd.pid")];
    let often = "AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; MinDelayBetweenRAs 3;";
    std::fs::write(&files[0], format!("interface far-{card} {{ {often} {says} }};\n"))?;
    let arguments = ["--nodaemon", "--config", &files[0], "--pidfile", &files[1], "--logmethod", "stderr"];
    let arguments = arguments.map(str::to_owned).into();
    Daemon::start(
        outside,
        Recipe { name: format!("{name}-radvd"), program: "radvd".into(), arguments },
        Path::new(LOGS),
    )
}

/// Ends `daemon` as an administrator does, so that it takes its leave, and waits until it has.
pub fn dismiss(mut daemon: Daemon) -> Result<()> {
    let ended = Command::new("kill").arg(daemon.pid().to_string()).status()?;
    ensure!(ended.success(), "{} is not there", daemon.name());
    let deadline = pathsteer_lab::clock::now() + crate::node::DEADLINE;
    let gone = pathsteer_lab::clock::wait_until(deadline, crate::node::LOOK, || daemon.check().is_err());
    ensure!(gone, "{} does not end", daemon.name());
    Ok(())
}
