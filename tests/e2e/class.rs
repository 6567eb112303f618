//! Steering classes: what a policy names travels as such, the rest as `default`, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{edge_tunnel, uplink_netns};
use pathsteer_lab::capture::Watch;
use pathsteer_lab::network::plan::{ANCHOR_HOST, EDGE, INTERNET, LAN};

use crate::kernel::packet_socket;
use crate::packet::Shimmed;
use crate::stage::Stage;
use crate::talk::{ENDS, talk};

/// The far end's port of a call, which the example's policy names, and one that no policy names.
const VOICE: u16 = 5_060;
const OTHER: u16 = 7_000;

/// Classes by way (true is up) and far port.
type Classes = BTreeMap<(bool, u16), BTreeSet<u8>>;

pub fn case(stage: &mut Stage) -> Result<()> {
    let steering = stage.report(EDGE)?.steering;
    let class = |name: &str| {
        let found = steering.iter().find(|steering| steering.class_name == name);
        found.map(|steering| steering.class).with_context(|| format!("{EDGE} steers no class `{name}`"))
    };
    let (voice, default) = (class("voice")?, class("default")?);
    ensure!(voice != default, "`voice` and `default` are the same class");

    // On the tunnel of the path in use, before encryption, and after decryption.
    let socket = packet_socket(stage.edge(), &uplink_netns(1), &edge_tunnel(1, 1))?;
    let watch = Watch::start(socket, |classes: &mut Classes, frame, outgoing| {
        if let Some(Shimmed { class, ports: (source, destination) }) = Shimmed::of(frame) {
            let far = if outgoing { destination } else { source };
            classes.entry((outgoing, far)).or_default().insert(class);
        }
    })?;
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    let talks: Result<()> = ENDS.iter().enumerate().try_for_each(|(family, &(client, server))| {
        for (number, port) in [VOICE, OTHER].into_iter().enumerate() {
            // Both who begins: the class is pinned by the first packet, at either end.
            let near = |offset| SocketAddr::new(client, 42_000 + (family * 4 + number * 2 + offset) as u16);
            let far = SocketAddr::new(server, port);
            talk((lan, near(0)), (internet, far), 5)?;
            talk((internet, far), (lan, near(1)), 5)?;
        }
        Ok(())
    });
    let classes = watch.finish()?;
    talks?;
    for (port, class) in [(VOICE, voice), (OTHER, default)] {
        for up in [true, false] {
            let found = classes.get(&(up, port)).cloned().unwrap_or_default();
            let way = if up { "up" } else { "down" };
            ensure!(found == BTreeSet::from([class]), "{way}, port {port}: classes {found:?}, {class} is meant");
        }
    }
    stage.until("the anchor follows both classes over the fiber", |stage| {
        let following = stage.report(ANCHOR_HOST)?.following;
        let on_fiber: BTreeSet<u8> = following.iter().filter(|one| one.active == 1).map(|one| one.class).collect();
        Ok(on_fiber.is_superset(&BTreeSet::from([voice, default])))
    })
}
