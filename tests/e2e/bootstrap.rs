//! The first minutes of a node: it reaches its operator by the bootstrap plan, and the first real plan finds the uplinks
//! as it wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use pathsteer_agent_core::bootstrap_plan;
use pathsteer_compiler::{Inventory, compile};
use pathsteer_crds::ownership::{DIRECT_TABLE, uplink_netns};
use pathsteer_crds::plan::{NftRule, RouteKind};
use pathsteer_crds::{manifest, plumbing};
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::network::plan::{EDGE, INTERNET, LAN, UPLINKS, Uplink, WEB, WEB_SERVER};

use crate::kernel::shell;
use crate::stage::{PATIENCE, Stage, examples, out};
use crate::talk::{ENDS, talk};

pub fn case(stage: &mut Stage) -> Result<()> {
    let (client, server) = ENDS[0];
    let (near, far) = (SocketAddr::new(client, 41_800), SocketAddr::new(server, 20_800));
    let hosts = [LAN, INTERNET].map(|name| stage.network.host(name).clone());
    talk((&hosts[0], near), (&hosts[1], far), 100)?;

    // Without an operator there is no first plan until the uplinks have been looked at.
    stage.fleet.kill_operator()?;
    stage.fleet.agent(EDGE)?.kill()?;
    stage.fleet.agent_command(stage.edge(), &["teardown"])?;
    // Only what the certificate is for is kept.
    shell(stage.edge(), "", "find /var/lib/pathsteer -mindepth 1 ! -name node.key -delete")?;
    stage.fleet.agent(EDGE)?.restart()?;
    stage.until("every uplink has a lease", |stage| {
        let routes = UPLINKS.iter().map(|uplink| routes(stage, uplink));
        Ok(routes.collect::<Result<Vec<_>>>()?.iter().all(|routes| routes.contains("default")))
    })?;
    ensure!(!shell(stage.edge(), "", "ls /var/lib/pathsteer")?.contains("plan.json"), "there is a plan");
    // The node itself has its network: by an address of ours, since its cards are elsewhere.
    let session = Session::open(stage)?;
    session.goes_on().context("before the first plan")?;
    let before = uplinks(stage)?;
    let monitors = UPLINKS.iter().map(|uplink| monitor(stage, uplink)).collect::<Result<Vec<_>>>()?;

    stage.fleet.start_operator()?;
    stage.ready()?;
    stage.as_planned()?;
    for (monitor, uplink) in monitors.iter().zip(&UPLINKS) {
        let deleted: Vec<String> = monitor
            .last_lines(usize::MAX)
            .into_iter()
            .filter(|line| line.starts_with("Deleted") && line.contains(uplink.card))
            .collect();
        ensure!(deleted.is_empty(), "the first plan has disturbed {}: {deleted:#?}", uplink.name);
        ensure!(monitor.last_lines(usize::MAX).len() > 1, "the monitor of {} has seen nothing at all", uplink.name);
    }
    ensure!(uplinks(stage)? == before, "uplinks were {before:#?}, are {:#?}", uplinks(stage)?);
    session.goes_on().context("after the first plan")?;
    stage.on_fiber(true)?;
    // The same flow again: the anchor remembers the numbers of the node that forgot them.
    talk((&hosts[0], near), (&hosts[1], far), 20)?;
    stage.nobody_notices(Duration::from_secs(2), |_, _, _, _| Ok(()))
}

/// A TCP session that the node itself has opened with a server on the internet.
struct Session {
    node: TcpStream,
    server: TcpStream,
}

impl Session {
    fn open(stage: &Stage) -> Result<Session> {
        let server = SocketAddr::new(IpAddr::V4(WEB_SERVER), 20_801);
        let listener = stage.network.host(WEB).net.run(|| Ok(TcpListener::bind(server)?))?;
        let node = stage.edge().net.run(|| Ok(TcpStream::connect_timeout(&server, PATIENCE)?))?;
        let (server, _) = listener.accept()?;
        for end in [&node, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        let own = node.local_addr()?.ip();
        ensure!(own == plumbing::host_networks()[0][0].addr(), "the node itself leaves as {own}");
        Ok(Session { node, server })
    }

    fn goes_on(&self) -> Result<()> {
        for (mut from, mut to) in [(&self.node, &self.server), (&self.server, &self.node)] {
            from.write_all(b"still here")?;
            let mut heard = [0; 10];
            to.read_exact(&mut heard)?;
            ensure!(heard == *b"still here", "{heard:?}");
        }
        Ok(())
    }
}

/// What the kernel tells about changes in the namespace of `uplink`, as a log.
fn monitor(stage: &Stage, uplink: &Uplink) -> Result<Daemon> {
    let netns = format!("--net=/run/netns/{}", uplink_netns(uplink.slot));
    let recipe = Recipe {
        name: format!("monitor-{}", uplink.name),
        program: "nsenter".into(),
        arguments: [&netns, "--", "ip", "monitor", "link", "address", "route"].map(str::to_owned).into(),
    };
    Daemon::start(stage.edge(), recipe, &out().join("logs"))
}

/// Card, addresses and routes of every uplink.
fn uplinks(stage: &Stage) -> Result<BTreeMap<&'static str, [String; 3]>> {
    let each = UPLINKS.iter().map(|uplink| {
        let netns = uplink_netns(uplink.slot);
        let link = shell(stage.edge(), &netns, &format!("ip -o link show dev {}", uplink.card))?;
        let addresses = shell(stage.edge(), &netns, &format!("ip -br address show dev {}", uplink.card))?;
        Ok((uplink.name, [link, addresses, routes(stage, uplink)?]))
    });
    each.collect()
}

fn routes(stage: &Stage, uplink: &Uplink) -> Result<String> {
    shell(stage.edge(), &uplink_netns(uplink.slot), &format!("ip -4 route show table all dev {}", uplink.card))
}

/// The bootstrap plan of the example's uplinks against the plan that the example is compiled to.
pub fn compare() -> Result<()> {
    let mut inventory = Inventory::default();
    for entry in std::fs::read_dir(examples())? {
        let path = entry?.path();
        let objects = manifest::parse(&std::fs::read_to_string(&path)?, &path.display().to_string());
        for located in objects.map_err(|errors| anyhow!("{errors:?}"))? {
            inventory.insert(located.object);
        }
    }
    let compiled = compile(&inventory);
    let plan = compiled.plans.get(EDGE).ok_or_else(|| anyhow!("no plan: {:?}", compiled.diagnostics))?.objects();
    let cards = UPLINKS.iter().map(|uplink| (uplink.slot, uplink.card.to_owned())).collect();
    let mut bootstrap = bootstrap_plan(EDGE, &cards).objects;
    for table in std::mem::take(&mut bootstrap.nft_tables) {
        let planned = plan.nft_tables.iter().find(|planned| planned.netns == table.netns).context("no such table")?;
        let links: BTreeSet<&str> = bootstrap.links.iter().map(|link| &*link.name).collect();
        let (ours, theirs) = (&table.rules, &planned.rules);
        let other: Vec<_> = ours.iter().filter(|rule| !theirs.contains(rule)).collect();
        let more: Vec<_> = theirs.iter().filter(|rule| speaks_of(rule, &links) && !ours.contains(rule)).collect();
        ensure!(other.is_empty(), "in {} the compiled plan lacks {other:#?}", table.netns);
        ensure!(more.is_empty(), "in {} the bootstrap plan lacks {more:#?}", table.netns);
    }
    // Paths are the session's, which dials by them; they make nothing. It does not know how large uplinks are, nor which one
    // is preferred.
    bootstrap.paths.clear();
    for link in &mut bootstrap.links {
        let planned = plan.links.iter().find(|one| (&one.netns, &one.name) == (&link.netns, &link.name));
        link.mtu = link.mtu.or(planned.and_then(|planned| planned.mtu));
    }
    bootstrap.routes.retain(|route| route.table != DIRECT_TABLE || route.kind == RouteKind::Blackhole);
    let mut both = plan.clone();
    both.merge(bootstrap.clone());
    ensure!(!bootstrap.links.is_empty() && !bootstrap.dhcp.is_empty(), "the bootstrap plan is empty");
    ensure!(both == plan, "the compiled plan lacks or changes objects of the bootstrap plan: {bootstrap:#?}");
    Ok(())
}

/// Whether `rule` is about links that are among `links`, and about no tunnels: of those there are none yet.
fn speaks_of(rule: &NftRule, links: &BTreeSet<&str>) -> bool {
    let named: Vec<&str> = match rule {
        // nobody is behind the node's own end
        NftRule::Forward { from, to, .. } if from != to => vec![from, to],
        NftRule::Masquerade { from, link } => vec![from, link],
        NftRule::Segment { link, .. }
        | NftRule::Direct { link, .. }
        | NftRule::ClampMss { link }
        | NftRule::Protect { link, .. } => vec![link],
        _ => Vec::new(),
    };
    !named.is_empty() && named.iter().all(|link| links.contains(link))
}
