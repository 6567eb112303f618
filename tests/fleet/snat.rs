//! Two anchors, two egresses: sites prefer different ones, and only one of them translates.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use pathsteer_crds::plan::NftRule;
use pathsteer_lab::clock;
use pathsteer_lab::network::plan::{CHI_A, MANY};
use pathsteer_lab::traffic::{Datagrams, exchange};

use crate::mesh::{addresses, problem, servers};
use crate::stage::Stage;

const PERIOD: Duration = Duration::from_millis(20);
const DURATION: Duration = Duration::from_secs(1);
const PORTS: (u16, u16) = (46_000, 14_000);

pub fn case(stage: &mut Stage) -> Result<()> {
    let rules = stage.plan(CHI_A)?.objects.nft_tables.into_iter().flat_map(|table| table.rules);
    let pool: Vec<IpNet> = rules
        .filter_map(|rule| if let NftRule::Snat { pool, .. } = rule { Some(pool) } else { None })
        .flatten()
        .collect();
    ensure!(!pool.is_empty(), "{CHI_A} translates nothing");
    for site in MANY.sites {
        let preferred = stage.preferred_anchor(site.name)?;
        let anchor = MANY.anchors.iter().find(|anchor| anchor.name == preferred).context("an anchor of the lab")?;
        for segment in site.segments {
            for (from, to) in addresses(segment).into_iter().zip(servers(anchor)) {
                let seen = seen_as(stage, (segment.client, from), (anchor.server, to))?;
                let what = format!("{} of {} is {seen} to {to}", from, site.name);
                if preferred == CHI_A {
                    ensure!(pool.iter().any(|one| one.contains(&seen)), "{what}, which is not of the pool {pool:?}");
                } else {
                    ensure!(seen == from, "{what}");
                }
            }
        }
    }
    Ok(())
}

/// The address as which the server sees the client, who gets every answer.
pub fn seen_as(stage: &mut Stage, client: (&str, IpAddr), server: (&str, IpAddr)) -> Result<IpAddr> {
    let run = stage.run();
    let port = (run % 1_000) as u16;
    let start = clock::now() + Duration::from_millis(50);
    let exchanged = exchange(
        (stage.network.host(client.0), SocketAddr::new(client.1, PORTS.0 + port)),
        (stage.network.host(server.0), SocketAddr::new(server.1, PORTS.1 + port)),
        Datagrams::every(PERIOD, run),
        (start, start + DURATION),
    )?;
    for (what, account) in [("questions", &exchanged.questions), ("answers", &exchanged.answers)] {
        if let Some(problem) = problem(account) {
            bail!("{what} of {} to {}: {problem}", client.1, server.1);
        }
    }
    let mut seen = exchanged.seen_as.iter();
    let one = seen.next().with_context(|| format!("{} was not seen", client.1))?;
    ensure!(seen.next().is_none(), "{} has several addresses: {:?}", client.1, exchanged.seen_as);
    Ok(one.ip())
}
