//! Network cards: found in the node's own namespace, taken into one of ours, and given back as they were.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use pathsteer_agent_core::is_card;
use pathsteer_crds::{
    ownership,
    plan::{CardSpec, LinkSpec},
};
use rtnetlink::{
    packet_core::DefaultNla,
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    },
};

use super::{Kernel, card_settings, gone_is_fine, link_message::format_mac, radio::Radio};
use crate::{
    state::{CardBefore, StateDir},
    sys::{
        KernelError,
        netlink::{Netlink, name_of},
    },
};

/// Begins the alias of a card that we have renamed; the name it had comes next, then the alias it had.
const RENAMED: &str = "pathsteer";
/// What the kernel calls a card that comes home where its name has been given away.
const NAMELESS: &str = "card%d";
/// `IFLA_NEW_IFINDEX` of <linux/if_link.h>.
const NEW_INDEX: u16 = 49;
/// Below `/proc/sys/net`.
const SYSCTLS: [&str; 4] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"];

/// What tells a card from others, as far as the kernel knows. The way to it is written out whole.
pub fn identity(link: &LinkMessage) -> CardSpec {
    let (mut permanent, mut current, mut device, mut bus) = (None, None, None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::PermAddress(mac) => permanent = Some(format_mac(mac)),
            LinkAttribute::Address(mac) => current = Some(format_mac(mac)),
            LinkAttribute::ParentDevName(name) => device = Some(name.as_str()),
            LinkAttribute::ParentDevBusName(name) => bus = Some(name.as_str()),
            _ => {}
        }
    }
    let way = device.zip(bus).and_then(|(device, bus)| way_to(bus, device));
    CardSpec { mac: permanent.or(current), bus: way, radio: false }
}

/// Names of the devices from the machine's root to this one.
fn way_to(bus: &str, device: &str) -> Option<String> {
    let link = PathBuf::from("/sys/bus").join(bus).join("devices").join(device);
    let way = fs::canonicalize(link).ok()?;
    Some(way.strip_prefix("/sys/devices").unwrap_or(&way).to_string_lossy().into_owned())
}

/// Takes a card from the node's own namespace; one of a radio with all that is of the same radio.
///
/// # Errors
/// What the kernel says; one that is nowhere, or cannot be taken as declared, says so.
pub async fn take(kernel: &Kernel, spec: &LinkSpec, state: &StateDir) -> Result<(), KernelError> {
    let LinkSpec { netns, name, card, .. } = spec;
    let host = kernel.netlink("")?;
    let links = host.links().await?;
    let found = find(spec, &links).ok_or_else(|| missing(spec))?;
    let called = name_of(found).unwrap_or_default().to_owned();
    let Names { home, alias } = names(found);
    let radio = Radio::of(host, found.header.index).await?;
    let is_taken = |link: &&LinkMessage| match &radio {
        Some(radio) => radio.interfaces.contains(&link.header.index),
        None => link.header.index == found.header.index,
    };
    for link in links.iter().filter(is_taken) {
        remember(host, link, state).await?;
    }
    let mut message = LinkMessage::default();
    message.header.index = found.header.index;
    if called != *name {
        // One message renames and notes: nobody sees a card of which nobody knows what it was called.
        message.attributes.push(LinkAttribute::IfName(name.clone()));
        message.attributes.push(LinkAttribute::IfAlias(format!("{RENAMED} {home} {alias}").trim_end().to_owned()));
    }
    let what = format!("link set {called} netns {netns} name {name}");
    let there = kernel.netlink(netns)?;
    let advice = |words: &str| KernelError::new(format!("link {called}"), io::Error::other(words.to_owned()));
    match (radio, card.as_ref().is_some_and(|card| card.radio)) {
        (Some(radio), true) => {
            radio.put_into(&what, there).await?;
            message.header.index = there.ifindex(&called).await?;
            rename(there, &what, message).await
        }
        (None, false) => {
            message.attributes.push(LinkAttribute::NetNsFd(there.netns.fd().as_raw_fd()));
            host.change(&what, RouteNetlinkMessage::SetLink(message)).await
        }
        (Some(_), false) => {
            Err(advice("it is of a radio, which is moved as a whole: declare the uplink with `attach: movePhy`"))
        }
        (None, true) => Err(advice("it is of no radio: declare the uplink with `attach: move`")),
    }
}

/// Keeps what a card is like before it is taken.
async fn remember(host: &Netlink, card: &LinkMessage, state: &StateDir) -> Result<(), KernelError> {
    let (called, home) = (name_of(card).unwrap_or_default().to_owned(), names(card).home);
    let (mut cards, index, boot) = (state.cards(), card.header.index, boot());
    // One that came home by itself, or whose way home was cut short, is not what it was before it was first taken.
    let is_known = cards.get(&home).is_some_and(|before| (before.index, &before.boot) == (index, &boot));
    if called != home || is_known {
        return Ok(());
    }
    let up = card.header.flags.contains(LinkFlags::Up);
    let fail = |error| KernelError::new(format!("remember {home}"), error);
    let sysctls = host.netns.inside(|| read_sysctls(&called)).map_err(fail)?;
    let settings = card_settings::read(host, index).await?;
    cards.insert(home.clone(), CardBefore { up, sysctls, settings, index, boot });
    // A card without its former settings is better than none.
    state.save_cards(&cards).unwrap_or_else(|error| tracing::warn!(%error, card = home, "cannot remember"));
    Ok(())
}

/// Gives a card back to the node's own namespace, under the name and with the settings it had there; one of a radio with
/// all that is of the same radio.
///
/// # Errors
/// What the kernel says.
pub async fn give_back(kernel: &Kernel, spec: &LinkSpec, state: &StateDir) -> Result<(), KernelError> {
    let LinkSpec { netns, name, .. } = spec;
    let here = kernel.netlink(netns)?;
    let links = here.links().await?;
    let Some(found) = links.iter().find(|link| name_of(link) == Some(name)) else { return Ok(()) };
    let Names { home, alias } = names(found);
    let host = kernel.netlink("")?;
    let there = host.link_names().await?;
    let is_taken = |name: &String| there.values().any(|other| other == name);
    let to = if is_taken(&home) { NAMELESS } else { &home };
    let mut message = LinkMessage::default();
    message.header.index = found.header.index;
    if to != name {
        message.attributes.push(LinkAttribute::IfName(to.to_owned()));
        message.attributes.push(LinkAttribute::IfAlias(alias));
    }
    let what = format!("link set {netns}/{name} netns of the node name {to}");
    let mut homes = vec![home.clone()];
    if let Some(radio) = Radio::of(here, found.header.index).await? {
        let company = links.iter().filter(|link| radio.interfaces.contains(&link.header.index) && *link != found);
        homes.extend(company.filter_map(name_of).map(str::to_owned));
        gone_is_fine(radio.put_into(&what, host).await)?;
        if let Ok(index) = host.ifindex(name).await {
            message.header.index = index;
            rename(host, &what, message).await?;
        }
    } else {
        message.attributes.push(LinkAttribute::NetNsFd(host.netns.fd().as_raw_fd()));
        // Others may know it by the number it had.
        let before = state.cards().remove(&home).filter(|before| before.boot == boot() && !is_taken(&home));
        if let Some(index) = before.map(|before| before.index).filter(|index| *index > 0 && !there.contains_key(index))
        {
            message.attributes.push(LinkAttribute::Other(DefaultNla::new(NEW_INDEX, index.to_ne_bytes().to_vec())));
        }
        gone_is_fine(here.change(&what, RouteNetlinkMessage::SetLink(message)).await)?;
    }
    for home in homes.iter().filter(|home| !is_taken(home)) {
        restore(host, home, state).await?;
    }
    Ok(())
}

/// Carries out a message that may have nothing to say.
async fn rename(netlink: &Netlink, what: &str, message: LinkMessage) -> Result<(), KernelError> {
    if message.attributes.is_empty() {
        return Ok(());
    }
    netlink.change(what, RouteNetlinkMessage::SetLink(message)).await
}

/// Completes the way home of cards whose way was cut short.
///
/// # Errors
/// What the kernel says.
pub async fn finish(kernel: &Kernel, state: &StateDir) -> Result<(), KernelError> {
    let host = kernel.netlink("")?;
    for (name, before) in state.cards() {
        if before.boot == boot() && host.ifindex(&name).await.is_ok_and(|index| index == before.index) {
            restore(host, &name, state).await?;
        }
    }
    Ok(())
}

/// Gives the card `name`, which is at home, back what it had; forgets that, once it is done.
async fn restore(host: &Netlink, name: &str, state: &StateDir) -> Result<(), KernelError> {
    let mut cards = state.cards();
    let Some(CardBefore { up, sysctls, settings, index: _, boot: _ }) = cards.remove(name) else { return Ok(()) };
    host.netns
        .inside(|| {
            write_sysctls(name, &sysctls);
            Ok(())
        })
        .map_err(|error| KernelError::new(format!("restore {name}"), error))?;
    let index = host.ifindex(name).await?;
    if up {
        let mut message = LinkMessage::default();
        message.header.index = index;
        (message.header.flags, message.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
        host.change(&format!("link set {name} up"), RouteNetlinkMessage::SetLink(message)).await?;
    }
    card_settings::write(host, index, &settings).await;
    state.save_cards(&cards).unwrap_or_else(|error| tracing::warn!(%error, card = name, "cannot forget"));
    Ok(())
}

/// Tells one run of the machine from the next.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn find<'a>(spec: &LinkSpec, links: &'a [LinkMessage]) -> Option<&'a LinkMessage> {
    let by_identity = |card: &CardSpec| {
        let mut cards: Vec<_> =
            links.iter().filter(|link| is_hardware(link) && is_card(card, &identity(link))).collect();
        cards.sort_by_key(|link| link.header.index);
        cards.first().copied()
    };
    match &spec.card {
        Some(card) if card.mac.is_some() || card.bus.is_some() => by_identity(card),
        _ => links.iter().find(|link| name_of(link) == Some(&spec.name)),
    }
}

/// Bridges, bonds and tagged segments have the MAC of a card below them.
pub fn is_hardware(link: &LinkMessage) -> bool {
    let made = |info: &LinkInfo| matches!(info, LinkInfo::Kind(kind) if *kind != InfoKind::Veth);
    let is_made =
        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.iter().any(made));
    !link.header.flags.contains(LinkFlags::Loopback) && !link.attributes.iter().any(is_made)
}

struct Names {
    /// What the card is called in the node's own namespace.
    home: String,
    /// The alias that others have given it.
    alias: String,
}

fn names(link: &LinkMessage) -> Names {
    let alias = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    });
    let alias = alias.unwrap_or_default();
    let mut words = alias.splitn(3, ' ');
    let is_renamed = name_of(link).is_some_and(ownership::is_card_link) && words.next() == Some(RENAMED);
    match words.next().filter(|_| is_renamed) {
        Some(home) => Names { home: home.to_owned(), alias: words.next().unwrap_or_default().to_owned() },
        None => Names { home: name_of(link).unwrap_or_default().to_owned(), alias: alias.to_owned() },
    }
}

fn read_sysctls(name: &str) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for folder in SYSCTLS {
        // A kernel without IPv6 has none of its settings.
        let Ok(entries) = fs::read_dir(Path::new("/proc/sys/net").join(folder).join(name)) else { continue };
        for entry in entries {
            let entry = entry?;
            let key = format!("{folder}/{{}}/{}", entry.file_name().to_string_lossy());
            // Some can only be written, or read before they were ever set.
            all.extend(fs::read_to_string(entry.path()).ok().map(|value| (key, value.trim_end().to_owned())));
        }
    }
    Ok(all)
}

/// Those that differ. Some refuse what they show; the card works without them.
fn write_sysctls(name: &str, sysctls: &BTreeMap<String, String>) {
    for (key, value) in sysctls {
        let path = Path::new("/proc/sys/net").join(key.replace("{}", name));
        if fs::read_to_string(&path).is_ok_and(|now| now.trim_end() != value) {
            let written = fs::write(&path, value);
            written.unwrap_or_else(|error| tracing::debug!(%error, path = %path.display(), "not restored"));
        }
    }
}

/// A card that is nowhere: unplugged, or called something else.
fn missing(spec: &LinkSpec) -> KernelError {
    let advice = match &spec.card {
        Some(CardSpec { mac: Some(mac), .. }) => {
            format!("the node has no card with the MAC {mac}: plug it in, or correct it")
        }
        Some(CardSpec { bus: Some(bus), .. }) => {
            format!("the node has no card at {bus}: plug it in, or correct its place")
        }
        _ => "the node has no such interface: plug it in, or correct its name".to_owned(),
    };
    KernelError::new(format!("link {}", spec.name), io::Error::new(io::ErrorKind::NotFound, advice))
}
