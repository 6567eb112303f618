//! Networks and the manifests that are declared on them name the same things.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use pathsteer_crds::{AnyObject, manifest};
use pathsteer_lab::network::plan::{MANY, OPERATOR, Plan, VAN, first_of};

fn declared(plan: &Plan) -> Vec<AnyObject> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(plan.examples);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let objects = files.flat_map(|path| {
        manifest::parse(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string()).unwrap()
    });
    objects.map(|located| located.object).collect()
}

/// A line for everything that must be the same: from the manifests, and from the plan.
fn both(plan: &Plan) -> [Vec<String>; 2] {
    let mut said = Vec::new();
    for object in declared(plan) {
        match object {
            AnyObject::Fabric(fabric) => said.push(format!("operators {:?}", fabric.spec.operators)),
            AnyObject::Anchor(anchor) => {
                let endpoints: Vec<IpAddr> = anchor.spec.endpoints.iter().map(|endpoint| endpoint.address).collect();
                let (name, spec) = (anchor.metadata.name, anchor.spec);
                let addresses: Vec<String> = spec.internet.addresses.iter().map(ToString::to_string).collect();
                said.push(format!("anchor {name} {} {addresses:?} {}", spec.internet.interface, spec.mtu));
                said.extend(endpoints.iter().map(|endpoint| format!("endpoint of {name} {endpoint}")));
            }
            AnyObject::Site(site) => said.push(format!("site {}", site.metadata.name)),
            AnyObject::Uplink(uplink) => {
                let (site, name, spec) = (uplink.metadata.site.unwrap(), uplink.metadata.name, uplink.spec);
                said.push(format!("uplink {site}/{name} {} {} {}", spec.slot, spec.interface, spec.mtu));
            }
            AnyObject::Vlan(vlan) => {
                let addresses: Vec<String> = vlan.spec.addresses.iter().map(ToString::to_string).collect();
                said.push(format!("segment of {} {} {addresses:?}", vlan.metadata.site.unwrap(), vlan.spec.interface));
            }
            AnyObject::TrafficPolicy(_) | AnyObject::Mode(_) | AnyObject::Override(_) => {}
        }
    }
    let gateways = |v4: IpAddr, v6: IpAddr| [format!("{}/24", first_of(v4, 24)), format!("{}/64", first_of(v6, 64))];
    let mut built = vec![format!("operators {:?}", [IpAddr::from(OPERATOR)])];
    for anchor in plan.anchors {
        let (name, mtu) = (anchor.name, anchor.mtu);
        let addresses = gateways(anchor.server_v4.into(), anchor.server_v6.into());
        built.push(format!("anchor {name} inet0 {addresses:?} {mtu}"));
        // A manifest need not name both.
        let endpoints = [IpAddr::from(anchor.v4), anchor.v6.into()].map(|at| format!("endpoint of {name} {at}"));
        built.extend(endpoints.into_iter().filter(|endpoint| said.contains(endpoint)));
    }
    for site in plan.sites {
        built.push(format!("site {}", site.name));
        for uplink in site.uplinks {
            built.push(format!("uplink {}/{} {} {} {}", site.name, uplink.name, uplink.slot, uplink.card, uplink.mtu));
        }
        for segment in site.segments {
            let addresses = gateways(segment.v4.into(), segment.v6.into());
            built.push(format!("segment of {} {} {addresses:?}", site.name, segment.card));
        }
    }
    said.sort();
    built.sort();
    [said, built]
}

#[test]
fn the_van_is_declared_as_it_is_built() {
    let [said, built] = both(&VAN);
    assert_eq!(said, built);
}

#[test]
fn the_many_sites_are_declared_as_they_are_built() {
    let [said, built] = both(&MANY);
    assert_eq!(said, built);
}

#[test]
fn one_site_of_many_prefers_the_other_anchor_and_one_anchor_translates() {
    let objects = declared(&MANY);
    let first: BTreeMap<String, String> = objects
        .iter()
        .filter_map(|object| match object {
            AnyObject::Site(site) => Some((site.metadata.name.clone(), site.spec.anchors[0].clone())),
            _ => None,
        })
        .collect();
    let wanted = [("clinic-3", "dal-a"), ("rv-07", "dal-a"), ("yacht-2", "chi-a")];
    assert_eq!(first, wanted.map(|(site, anchor)| (site.to_owned(), anchor.to_owned())).into());
    let translating = objects.iter().filter(|object| match object {
        AnyObject::Anchor(anchor) => matches!(anchor.spec.egress, pathsteer_crds::Egress::Snat { .. }),
        _ => false,
    });
    assert_eq!(translating.count(), 1);
}
