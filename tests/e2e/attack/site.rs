//! A site that is enrolled and means ill: whoever runs the van has all of its keys, and sends what he likes into its
//! tunnels.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use pathsteer_lab::craft::udp;
use pathsteer_lab::network::plan::{ANCHOR_HOST, CLIENT, CLIENT6, INTERNET, LAN, SERVER, SERVER6};

use super::blow::{Blow, PACKETS, Target, strike_all};
use super::other::{self, Other};
use super::shim::{Shim, tunnel};
use super::steady::Steady;
use super::tally::Reason;
use super::wan::rejected;
use crate::stage::Stage;
use crate::talk::ENDS;

/// Addresses that nobody behind the van has, and whose they are.
const SPOOFED: [(&str, &str); 10] = [
    ("another site's prefix", "172.16.20.2"),
    ("another site's prefix", "2001:db8:20::2"),
    ("another site's VIP", "198.18.20.1"),
    ("the anchor's internet address", "198.51.100.1"),
    ("the anchor's internet address", "2001:db8:51::1"),
    ("the anchor's endpoint", "203.0.113.10"),
    ("the operator", "192.0.2.10"),
    ("the anchor's shim endpoint", "10.100.0.1"),
    ("a server in the internet", "198.51.100.77"),
    ("loopback", "127.0.0.1"),
];

/// Ports of what is forged; no policy names them.
const NEAR: u16 = 41_800;
const FAR: u16 = 7_100;

pub fn case(stage: &mut Stage) -> Result<()> {
    stage.without_copies()?;
    let other = other::declare(stage)?;
    let (client, server) = ENDS[0];
    let steady_ends = (SocketAddr::new(client, 41_810), SocketAddr::new(server, 7_110));
    let mut shim = Shim::caught(stage, 1, SocketAddr::new(client, NEAR), SocketAddr::new(server, FAR))?;
    let busy = Shim::caught(stage, 1, steady_ends.0, steady_ends.1)?;
    ensure!(shim.gre.key & 0xff != busy.gre.key & 0xff, "forged and honest packets share a bucket");

    let van = van(stage)?;
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    let steady = Steady::start((lan, steady_ends.0), (internet, steady_ends.1))?;
    let struck = blows(stage, van, &mut shim).and_then(|blows| strike_all(stage, &blows));
    let rounds = steady.finish().context("beside the attacks");
    struck?;
    let rounds = rounds?;
    as_another(stage, &other, &mut shim)?;
    other.is_untouched(stage)?;
    let following = stage.report(ANCHOR_HOST)?.following;
    ensure!(following.iter().all(|one| one.copies.is_empty()), "answers are copied: {following:?}");
    stage.remark(format!("{rounds} questions and answers beside the attacks"));
    Ok(())
}

/// With another site's shim endpoint outside: WireGuard knows whose tunnel it is.
fn as_another(stage: &mut Stage, other: &Other, shim: &mut Shim) -> Result<()> {
    let inner = udp(SocketAddr::new(CLIENT.into(), NEAR), SocketAddr::new(SERVER.into(), FAR), b"as another");
    let mut forged = shim.clone();
    forged.outer.source = other.endpoint;
    let packets: Vec<Vec<u8>> = (0..PACKETS).map(|_| forged.next().around_ip(&inner)).collect();
    let wanted = rejected(stage)? + u64::from(PACKETS);
    tunnel(stage, 1)?.fire(&packets)?;
    stage.until("the anchor has reported what it refused", |stage| Ok(rejected(stage)? >= wanted))?;
    let counted = rejected(stage)?;
    ensure!(counted == wanted, "refused are {} more than were sent", counted - wanted);
    Ok(())
}

/// The van's index, by which the anchor counts.
pub fn van(stage: &Stage) -> Result<u32> {
    let following = stage.report(ANCHOR_HOST)?.following;
    following.iter().find(|one| one.active != 0).map(|one| one.remote).context("the anchor follows nobody")
}

fn blows(stage: &Stage, van: u32, shim: &mut Shim) -> Result<Vec<Blow>> {
    let tunnel = tunnel(stage, 1)?;
    let server = |v6: bool| SocketAddr::new(if v6 { SERVER6.into() } else { SERVER.into() }, FAR);
    let client = |v6: bool| SocketAddr::new(if v6 { CLIENT6.into() } else { CLIENT.into() }, NEAR);
    let mut all = Vec::new();
    for (whose, address) in SPOOFED {
        let address: IpAddr = address.parse()?;
        let v6 = address.is_ipv6();
        let reason = Reason::shim(van, "forged");
        let what = format!("from {address}, {whose}");
        all.push(Blow::new(what, &tunnel, reason, Target::End(INTERNET), |payload, forged| {
            let source = if forged { SocketAddr::new(address, NEAR) } else { client(v6) };
            shim.next().around_ip(&udp(source, server(v6), payload))
        }));
    }
    let inner = |payload: &[u8]| udp(client(false), server(false), payload);
    // Fields of the key, the values that the van may not write there, and the reasons.
    for (what, shift, bits, value, reason) in [
        ("a version that does not exist", 29, 3, 1, "unknown"),
        ("class 0 with a packet inside", 20, 4, 0, "unknown"),
        ("a class that was never allocated", 20, 4, 14, "class"),
        ("copies by every slot", 12, 8, 0xff, "copySet"),
    ] {
        let reason = Reason::shim(van, reason);
        all.push(Blow::new(what, &tunnel, reason, Target::End(INTERNET), |payload, forged| {
            let next = shim.next();
            let next = if forged { next.with_key(shift, bits, value) } else { next };
            next.around_ip(&inner(payload))
        }));
    }
    Ok(all)
}
