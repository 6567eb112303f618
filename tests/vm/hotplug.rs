//! Cards that are pulled out of the machine and plugged in again, as its kernel sees it: by the emulator. Each uplink's card
//! is found in another way, and comes back as another: the one found by its name under the kernel's own name until it is
//! given its own, the one found by its MAC in another place, the one found by its place with another MAC.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use serde_json::json;

use crate::dump;
use crate::monitor::Monitor;
use crate::node::{Isp, Node, links};

/// Uplinks whose cards can be pulled out; one place more is free.
pub const SLOTS: u8 = 3;
const DEADLINE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// What the card found by its name is called, as a distribution's own rules would see to.
const NAMED: &str = "wan1";

/// What the emulator is started with: for each slot a card in a place of its own, and its far end, which stays.
pub fn board() -> Vec<String> {
    let mut words = Vec::new();
    for place in 1..=SLOTS + 1 {
        words.extend(["-device".to_owned(), format!("pcie-root-port,id=place{place},chassis={place},slot={place}")]);
    }
    for slot in 1..=SLOTS {
        for end in ["near", "far"] {
            words.extend(["-netdev".to_owned(), format!("hubport,id={end}{slot},hubid={slot}")]);
        }
        // No firmware of theirs: nobody boots from them.
        let near = format!("bus=place{slot},id=card{slot},netdev=near{slot},mac={}", mac(slot, "00"));
        let far = format!("netdev=far{slot},mac={}", mac(slot, "fa"));
        for card in [near, far] {
            words.extend(["-device".to_owned(), format!("virtio-net-pci,romfile=,{card}")]);
        }
    }
    words
}

fn mac(slot: u8, kind: &str) -> String {
    format!("02:00:5e:20:{kind}:0{slot}")
}

/// Plays it; how long it took is printed.
///
/// # Errors
/// When a card is not taken up again, or anything else has changed.
pub fn play() -> Result<()> {
    ensure!(Command::new("modprobe").arg("virtio_net").status()?.success(), "there is no driver for the cards");
    let host = Host::own("machine")?;
    let mut isps = BTreeMap::new();
    for (slot, name) in [(1, "isp1"), (2, "isp2"), (3, "isp3")] {
        let far = wait_for_card(&host, &mac(slot, "fa"))?;
        let mut isp = Isp::new(name, slot)?;
        host.ip(&format!("link set {far} netns {}", isp.pid()))?;
        isp.serve(&far)?;
        isps.insert(slot, isp);
    }
    let place = place_of(&wait_for_card(&host, &mac(3, "00"))?)?;
    host.ip(&format!("link set {} name {NAMED}", wait_for_card(&host, &mac(1, "00"))?))?;
    // Somebody else's, that must not notice.
    host.ip("link add others type dummy\naddress add 198.18.0.1/24 dev others\nlink set others up")?;
    let mut node = Node::start(&uplinks(&place))?;
    for (slot, isp) in &isps {
        node.wait_for_lease(*slot, isp)?;
    }
    node.settle()?;
    let before = of_plan(&node.host)?;

    let mut monitor = Monitor::open()?;
    for (slot, found_by, back) in [
        (1, "its name", (1, mac(1, "00"))),
        (2, "its MAC, in another place", (4, mac(2, "00"))),
        (3, "its place, with another MAC", (3, mac(3, "99"))),
    ] {
        let mut undisturbed = String::new();
        node.wait("every link that has just come up says so", |node| {
            undisturbed = others(&node.host, slot)?;
            Ok(!undisturbed.contains("NO-CARRIER"))
        })?;
        monitor.execute("device_del", json!({"id": format!("card{slot}")}))?;
        let netns = format!("psup{slot}");
        let card = if slot == 1 { NAMED.to_owned() } else { format!("psn{slot}") };
        node.wait("the card is gone", |node| Ok(!links(&node.host, &netns)?.contains(&card)))?;
        node.wait("its absence is told", |node| Ok(node.said(&format!("link {netns}/{card}")) > 0))?;
        let meanwhile = others(&node.host, slot)?;
        ensure!(meanwhile == undisturbed, "{}", dump::difference(&undisturbed, &meanwhile));

        let (place, mac) = back;
        let arguments = json!({"driver": "virtio-net-pci", "romfile": "", "bus": format!("place{place}"),
            "id": format!("card{slot}"), "netdev": format!("near{slot}"), "mac": mac});
        // The emulator needs a moment more to forget the card than the kernel.
        clock::wait_for("the emulator plugs it in", DEADLINE, LOOK, || {
            monitor.execute("device_add", arguments.clone()).map(|_| true)
        })?;
        let plugged = clock::now();
        let mut called = String::new();
        if slot == 1 {
            called = wait_for_card(&node.host, &mac)?;
            node.host.ip(&format!("link set {called} name {NAMED}"))?;
        }
        node.wait("the card is taken up", |node| Ok(links(&node.host, &netns)?.contains(&card)))?;
        let taken = clock::now();
        node.wait_for_lease(slot, &isps[&slot])?;
        let leased = clock::now();
        let alias = dump::ip(&node.host, &netns, &format!("-d link show {card}"))?[0]["ifalias"].to_string();
        println!(
            "vm: the card found by {found_by}, {}: taken up {:.1} s after it was plugged in, its lease {:.1} s after",
            if slot == 1 { format!("called {called} first") } else { format!("alias {alias}") },
            (taken - plugged).as_secs_f64(),
            (leased - plugged).as_secs_f64()
        );
        let now = others(&node.host, slot)?;
        ensure!(now == undisturbed, "{}", dump::difference(&undisturbed, &now));
    }
    node.settle()?;
    let after = of_plan(&node.host)?;
    ensure!(before == after, "{}", dump::difference(&before, &after));
    node.end()?;
    let home = links(&host, "")?;
    ensure!(home.iter().all(|name| !name.starts_with("ps")) && home.iter().any(|name| name == NAMED), "home: {home:?}");
    host.ip("link del others")
}

fn uplinks(place: &str) -> String {
    let mac = mac(2, "00");
    let of = |(slot, name, interface): (u8, &str, &str)| {
        format!(
            "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: rv-07, name: {name}}}\n\
             spec: {{slot: {slot}, kind: fiber, interface: \"{interface}\", address: dhcp, cost: {slot}0}}\n"
        )
    };
    let (by_mac, by_place) = (format!("mac:{mac}"), format!("bus:{place}"));
    [(1, "fiber", NAMED), (2, "starlink", &by_mac), (3, "cellular", &by_place)].map(of).join("---\n")
}

/// The name of the card with this MAC, once there is one.
fn wait_for_card(host: &Host, mac: &str) -> Result<String> {
    let mut found = None;
    clock::wait_for(&format!("there is a card with the MAC {mac}"), DEADLINE, LOOK, || {
        let links = dump::ip(host, "", "link")?;
        let mut links = links.as_array().into_iter().flatten();
        found = links.find(|link| link["address"] == mac).and_then(|link| link["ifname"].as_str().map(str::to_owned));
        Ok(found.is_some())
    })?;
    found.context("it has no name")
}

/// The PCI device that the card `name` is on.
fn place_of(name: &str) -> Result<String> {
    let device = fs::canonicalize(Path::new("/sys/class/net").join(name).join("device"))?;
    // above it there is the virtio bus
    let pci = device.parent().and_then(Path::file_name).context("a card without a place")?;
    Ok(pci.to_string_lossy().into_owned())
}

/// What the plan decides: all but addresses and routes of the uplinks' networks, which their providers decide.
fn of_plan(host: &Host) -> Result<String> {
    let all = dump::ours(host)?;
    let is_of_plan = |line: &&str| !(1..=SLOTS).any(|slot| line.contains(&format!("\"192.0.{slot}.")));
    Ok(all.lines().filter(is_of_plan).map(|line| format!("{line}\n")).collect())
}

/// What must not notice that the card of the uplink in `slot` has gone: the other uplinks' namespaces, and somebody else.
/// With the indexes of links, which tell one that was made anew.
fn others(host: &Host, slot: u8) -> Result<String> {
    let mut all = host.output("ip", &["-o", "address", "show", "dev", "others"])?;
    for netns in (1..=SLOTS).filter(|other| *other != slot).map(|other| format!("psup{other}")) {
        for words in [&["link"][..], &["address"], &["-4", "route", "show", "table", "all"]] {
            all += &host.output("ip", &[&["-n", &netns, "-o"], words].concat())?;
        }
    }
    Ok(all)
}
