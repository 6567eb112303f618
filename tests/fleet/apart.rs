//! Sites do not touch each other: what happens to one moves nothing that is kept for another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::capture::inject;
use pathsteer_lab::clock;
use pathsteer_lab::craft::{Gre, Ipv4, udp};
use pathsteer_lab::network::plan::{ANCHOR_HOST, CHI_A, CLIENT, CLINIC_3, EDGE, INTERNET, LAN, MANY, SERVER, YACHT_2};
use pathsteer_lab::traffic::{Datagrams, exchange};
use sha2::{Digest, Sha256};

use crate::rogue::{endpoint, tunnel};
use crate::stage::{Stage, with_maps};

/// Packets with another site's source, into the van's tunnel.
const FORGED: u64 = 200;
/// A thousand questions a second, and as many answers.
const FLOOD: Duration = Duration::from_millis(1);
const DURATION: Duration = Duration::from_secs(3);
/// How long control packets may still be counted.
const QUIET: Duration = Duration::from_millis(300);

/// What an anchor keeps for one site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    /// Without that of control packets: reminders come by themselves.
    counters: BTreeMap<&'static str, u64>,
    /// Class to active slot and copy set.
    paths: BTreeMap<u8, (u8, u8)>,
}

/// Digests of whole windows, by class.
type Windows = BTreeMap<u8, String>;
/// By anchor and site.
type Of<T> = BTreeMap<(&'static str, u32), T>;

pub fn case(stage: &mut Stage) -> Result<()> {
    let van = stage.index(EDGE)?;
    let others = [stage.index(YACHT_2)?, stage.index(CLINIC_3)?];
    let before = still(stage, &others)?;
    for (place, kept) in &before {
        ensure!(!kept.paths.is_empty(), "at {place:?} no path is known");
    }
    let (before_windows, van_windows) = (each(stage, &others, windows)?, windows(stage, ANCHOR_HOST, van)?);
    let van_before = kept(stage, ANCHOR_HOST, van)?;

    flood_and_fault(stage)?;
    attack(stage, van)?;

    let van_after = kept(stage, ANCHOR_HOST, van)?;
    let risen = |name| van_after.counters[name] - van_before.counters[name];
    let (delivered, forged) = (risen("delivered"), risen("forged"));
    ensure!(forged == FORGED, "{forged} of {FORGED} forged packets are counted for the van");
    ensure!(windows(stage, ANCHOR_HOST, van)? != van_windows, "no window has seen the flood");
    let after = each(stage, &others, kept)?;
    ensure!(after == before, "others were moved: {after:#?}\nbefore: {before:#?}");
    let after_windows = each(stage, &others, windows)?;
    ensure!(after_windows == before_windows, "others' windows were moved: {after_windows:#?}\n{before_windows:#?}");
    stage.remark(format!("{delivered} packets of the van and {forged} forged ones moved nobody"));
    Ok(())
}

/// What both anchors keep for `others`, once it does not move any more.
fn still(stage: &mut Stage, others: &[u32]) -> Result<Of<Kept>> {
    let mut last = each(stage, others, kept)?;
    stage.until("the others are silent", |stage| {
        clock::sleep_until(clock::now() + QUIET);
        let before = std::mem::replace(&mut last, each(stage, others, kept)?);
        Ok(last == before)
    })?;
    Ok(last)
}

fn each<T>(stage: &Stage, others: &[u32], of: impl Fn(&Stage, &'static str, u32) -> Result<T>) -> Result<Of<T>> {
    let places = [ANCHOR_HOST, CHI_A].into_iter().flat_map(|anchor| others.iter().map(move |other| (anchor, *other)));
    places.map(|(anchor, other)| Ok(((anchor, other), of(stage, anchor, other)?))).collect()
}

fn kept(stage: &Stage, anchor: &'static str, remote: u32) -> Result<Kept> {
    with_maps(stage.network.host(anchor), |maps| {
        let mut counters = maps.counters()?.remove(&remote).context("a remote without counters")?;
        counters.remove("control");
        let learned = maps.learned()?.into_iter().filter(|((id, _), _)| *id == remote);
        let paths = learned.map(|((_, class), learned)| (class, (learned.active, learned.copies))).collect();
        Ok(Kept { counters, paths })
    })
}

fn windows(stage: &Stage, anchor: &'static str, remote: u32) -> Result<Windows> {
    let node = stage.network.host(anchor);
    let classes = with_maps(node, |maps| Ok(maps.remotes()?.remove(&remote).context("a remote")?.1))?;
    let digest = |class| {
        let key = pathsteer_bpf::layout::class_key(remote, class).to_ne_bytes().map(|byte| byte.to_string());
        // The outer map tells the number of the inner one, which is then read as a whole.
        let script = "cd /sys/fs/bpf/pathsteer/* && value=$(bpftool map lookup pinned ps_window key \"$@\") && \
                      set -- ${value#*value: } && bpftool map dump id $((0x$4$3$2$1)) | sha256sum";
        let digest = node.output("sh", &["-c", script, "sh", &key[0], &key[1], &key[2], &key[3]])?;
        let of_nothing = hex::encode(Sha256::digest(""));
        ensure!(!digest.starts_with(&of_nothing), "the window of remote {remote} and class {class} cannot be read");
        Ok((class, digest))
    };
    classes.into_iter().map(digest).collect()
}

/// The van's client asks a thousand times a second while its line dies silently and comes back.
fn flood_and_fault(stage: &mut Stage) -> Result<()> {
    let run = stage.run();
    let network = &stage.network;
    let line = network.link("fiber")?;
    let start = clock::now() + Duration::from_millis(100);
    let ends = [(LAN, SocketAddr::new(CLIENT.into(), 45_000)), (INTERNET, SocketAddr::new(SERVER.into(), 13_000))];
    let [client, server] = ends.map(|(host, address)| (network.host(host), address));
    let exchanged = std::thread::scope(|scope| {
        let flood = scope.spawn(|| exchange(client, server, Datagrams::every(FLOOD, run), (start, start + DURATION)));
        clock::sleep_until(start + DURATION / 3);
        line.set_blackholes(true);
        clock::sleep_until(start + DURATION * 2 / 3);
        line.set_blackholes(false);
        flood.join().unwrap_or_else(|_| anyhow::bail!("panicked"))
    })?;
    // How much of it the machine carries is not the question here.
    ensure!(exchanged.answers.received > exchanged.answers.sent / 2, "hardly an answer came: {:?}", exchanged.answers);
    Ok(())
}

/// The van's owner puts packets into its tunnel that claim to come from behind the yacht.
fn attack(stage: &mut Stage, van: u32) -> Result<()> {
    let datapath = stage.plan(ANCHOR_HOST)?.objects.datapath;
    let own = datapath.first().context("the anchor has no datapath")?.address;
    let (namespace, link) = tunnel(stage, EDGE, 1, ANCHOR_HOST)?;
    let victim = MANY.site(YACHT_2).segments[0].v4;
    let inner = udp(SocketAddr::new(victim.into(), 12_345), SocketAddr::new(SERVER.into(), 12_345), b"forged");
    let outer = Ipv4::new(endpoint(stage, EDGE)?, own, Gre::PROTOCOL);
    let packets: Vec<Vec<u8>> = (1..=FORGED as u32)
        .map(|sequence| outer.packet(&Gre { protocol: 0x0800, key: 1 << 20, sequence }.payload(&inner)))
        .collect();
    let before = with_maps(stage.network.host(ANCHOR_HOST), |maps| Ok(maps.counters()?))?;
    let count = |all: &BTreeMap<u32, BTreeMap<&'static str, u64>>| all.get(&van).map_or(0, |one| one["forged"]);
    inject(&namespace, &link, &packets)?;
    stage.until("the forged packets are counted", |stage| {
        let now = with_maps(stage.network.host(ANCHOR_HOST), |maps| Ok(maps.counters()?))?;
        Ok(count(&now) >= count(&before) + FORGED)
    })
}
