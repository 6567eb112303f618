//! Every way between a site and an anchor, as the sites' agents last reported it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use pathsteer_crds::api::{List, PathState};
use pathsteer_crds::report::NodeReport;
use pathsteer_crds::{AnyObject, Kind, keys};

use super::{Server, stored};
use crate::store::Snapshot;

pub async fn list(State(server): State<Server>) -> Json<List<PathState>> {
    let (items, revision) = server.mirror.read(|snapshot| {
        let items = stored::keys_of(snapshot, Kind::Site).into_iter().flat_map(|site| {
            let connected = server.connected.contains(&site);
            of_site(snapshot, &site, connected)
        });
        (items.collect(), snapshot.revision)
    });
    Json(List { items, resource_version: Some(revision), next: None })
}

fn of_site(snapshot: &Snapshot, site: &str, connected: bool) -> Vec<PathState> {
    let report = snapshot.get(&keys::report(site));
    let Some(report) = report.and_then(|entry| serde_json::from_str::<NodeReport>(&entry.value).ok()) else {
        return Vec::new();
    };
    let uplinks = uplinks(snapshot, site);
    let paths = report.tunnels.iter().map(|tunnel| {
        let classes = |is_by: &dyn Fn(&pathsteer_crds::report::SteeringReport) -> bool| {
            let mut names: Vec<_> = report.steering.iter().filter(|s| is_by(s)).map(|s| s.class_name.clone()).collect();
            names.sort();
            names.dedup();
            names
        };
        PathState {
            site: site.to_owned(),
            slot: tunnel.slot,
            uplink: uplinks.get(&tunnel.slot).cloned(),
            anchor: tunnel.peer.clone(),
            connected,
            up: tunnel.is_up(),
            handshake_age_seconds: tunnel.handshake_age_seconds,
            active: classes(&|steering| steering.active == tunnel.slot),
            copies: classes(&|steering| steering.copies.contains(&tunnel.slot)),
            rx_bytes: tunnel.rx_bytes,
            tx_bytes: tunnel.tx_bytes,
        }
    });
    paths.collect()
}

/// Names of a site's uplinks by slot.
fn uplinks(snapshot: &Snapshot, site: &str) -> BTreeMap<u8, String> {
    let folder = keys::spec(Kind::Uplink, &format!("{site}/"));
    let named = snapshot.below(&folder).filter_map(|(_, entry)| {
        match AnyObject::from_json(Kind::Uplink, &entry.value).ok()? {
            AnyObject::Uplink(uplink) => Some((uplink.spec.slot, uplink.metadata.name)),
            _ => None,
        }
    });
    named.collect()
}
