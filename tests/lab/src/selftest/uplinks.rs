//! Every uplink of every site: what it leases and advertises, how long it takes, how wide it is, whom it reaches and as
//! whom.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::emulator::Way;
use crate::host::Host;
use crate::network::plan::{OPERATOR, Site, Uplink, WEB, WEB_SERVER, WEB_SERVER6};
use crate::network::{Network, dhcp};
use crate::probe::Prober;
use crate::progress::Progress;
use crate::shape::Discovery;
use crate::traffic::{Datagrams, exchange};

/// An advertisement answers the card's own question, a second or so after it came up.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
const PERIOD: Duration = Duration::from_millis(10);
const SPAN: Duration = Duration::from_millis(100);

/// Everything but the widths; leaves each card with the address `.10`.
pub(super) fn check(network: &Network, progress: &Progress) -> Result<()> {
    for site in network.plan().sites {
        for uplink in site.uplinks {
            one(network, site, uplink, progress).with_context(|| format!("{} of {}", uplink.name, site.name))?;
        }
    }
    Ok(())
}

fn one(network: &Network, site: &Site, uplink: &Uplink, progress: &Progress) -> Result<()> {
    let (edge, gateway) = (network.host(site.name), uplink.gateway());
    edge.ip(&format!("link set {} up", uplink.card))?;
    let offer = dhcp::discover(edge, uplink.card)?;
    let router = uplink.router;
    progress.say(&format!("{router} leases {} by way of {}", offer.address, offer.router));
    ensure!(offer.address.to_string().starts_with(uplink.private), "that is not {router}'s network");
    ensure!(offer.router.to_string() == gateway, "that is not {router}'s router");

    edge.ip(&format!("address add {}.10/24 dev {}\nroute replace default via {gateway}", uplink.private, uplink.card))?;
    let taken = round_trip(edge, &gateway)?;
    let wanted = 2.0 * uplink.profile(Way::Up).delay.as_secs_f64() * 1_000.0;
    ensure!((wanted - 3.0..wanted + 8.0).contains(&taken), "a round trip takes {taken:.1} ms, {wanted:.0} are wanted");
    let advertised = advertised(edge, uplink)?;

    let anchors = network.plan().anchors.iter().flat_map(|anchor| [IpAddr::from(anchor.v4), anchor.v6.into()]);
    for target in anchors.chain([OPERATOR.into()]) {
        let family = if target.is_ipv4() { "-4" } else { "-6" };
        let words = [family, "-I", uplink.card, "-q", "-c", "2", "-i", "0.1", "-W", "2", &target.to_string()];
        edge.output("ping", &words).with_context(|| format!("{target} does not answer"))?;
    }
    let own = format!("{}.10", uplink.private).parse()?;
    let seen = seen_by_web(network, edge, own, WEB_SERVER.into(), uplink)?;
    ensure!(seen == uplink.public()[0], "the web sees {seen} instead of the provider's address");
    let seen6 = seen_by_web(network, edge, advertised, WEB_SERVER6.into(), uplink)?;
    ensure!(seen6 == advertised, "the web sees {seen6} instead of {advertised}");
    progress.say(&format!("{router}: {taken:.1} ms; the web sees {seen} and {seen6}"));
    Ok(())
}

/// The average round trip to `gateway`, in milliseconds.
fn round_trip(edge: &Host, gateway: &str) -> Result<f64> {
    // The first one also asks for the neighbour.
    edge.output("ping", &["-q", "-c", "1", "-W", "2", gateway])?;
    let output = edge.output("ping", &["-q", "-c", "20", "-i", "0.02", "-W", "2", gateway])?;
    // rtt min/avg/max/mdev = 7.089/7.163/7.333/0.063 ms
    let numbers = output.rsplit_once("= ").and_then(|(_, numbers)| numbers.split('/').nth(1)?.parse().ok());
    numbers.with_context(|| format!("ping printed no round trip: {output}"))
}

/// The address that the card has given itself by what the router advertises.
fn advertised(edge: &Host, uplink: &Uplink) -> Result<IpAddr> {
    let prefix = uplink.prefix6().segments()[..4].to_vec();
    let mut found = None;
    clock::wait_until(clock::now() + PATIENCE, LOOK, || {
        let shown = edge.output("ip", &["-6", "-br", "address", "show", "dev", uplink.card]).unwrap_or_default();
        let addresses = shown.split_whitespace().filter_map(|word| word.split('/').next()?.parse().ok());
        found = addresses.into_iter().find(|address: &std::net::Ipv6Addr| address.segments()[..4] == prefix);
        found.is_some()
    });
    Ok(found.with_context(|| format!("no address of {}/64 was advertised", uplink.prefix6()))?.into())
}

/// As whom the server in the open internet sees `own`.
fn seen_by_web(network: &Network, edge: &Host, own: IpAddr, web: IpAddr, uplink: &Uplink) -> Result<IpAddr> {
    let (client, server) = (SocketAddr::new(own, 42_000), SocketAddr::new(web, 7_000));
    let start = clock::now() + LOOK;
    let datagrams = Datagrams::every(PERIOD, uplink.number.into());
    let outcome = exchange((edge, client), (network.host(WEB), server), datagrams, (start, start + SPAN))?;
    ensure!(outcome.answers.lost.is_empty(), "{:?} of the answers were lost", outcome.answers.lost);
    let seen = outcome.seen_as.first().context("nothing arrived")?;
    Ok(seen.ip())
}

/// A packet as wide as the line passes, and one byte more does not, whatever the line is set to.
pub(super) fn check_widths(network: &Network, progress: &Progress) -> Result<()> {
    for site in network.plan().sites {
        for uplink in site.uplinks {
            for mtu in [1_280, 9_000, uplink.mtu] {
                network.set_line_mtu(uplink.router, mtu)?;
                let (edge, gateway) = (network.host(site.name), uplink.gateway());
                let words = ["-q", "-M", "do", "-c", "1", "-W", "2", "-s", &(mtu - 28).to_string(), &gateway];
                edge.output("ping", &words).with_context(|| format!("{} does not carry {mtu}", uplink.router))?;
                let prober = Prober::open(edge, format!("{}.10", uplink.private).parse()?, Discovery::Probe)?;
                let longer = prober.send(SocketAddr::new(gateway.parse()?, 9), usize::from(mtu) + 1);
                ensure!(longer.is_err(), "{} carries more than {mtu} bytes", uplink.router);
            }
        }
    }
    progress.say("lines carry as much as they are set to, from 1,280 to 9,000 bytes");
    Ok(())
}
