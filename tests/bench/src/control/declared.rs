//! What is declared: sites with six uplinks each at two anchors, and policies that hold for all of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pathsteer_compiler::Inventory;
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::meta::API_VERSION;
use pathsteer_crds::{AnyObject, Kind, keys};
use serde_json::{Value, json};

use crate::inventory::underlay;

/// Uplinks of a site.
pub const UPLINKS: u8 = 6;
/// The anchors that every site has, in turn the one preferred and the other.
pub const ANCHORS: [&str; 2] = ["anchor-a", "anchor-b"];
/// The segment of a site that changes.
pub const SEGMENT: &str = "lan";
/// The policy that changes.
pub const POLICY: usize = 7;

/// How much is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub sites: usize,
    pub policies: usize,
    /// Segments of a site beside [`SEGMENT`]; they are tagged on the same card.
    pub segments: usize,
}

/// An object as somebody puts it into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub key: String,
    pub json: Value,
}

impl Object {
    fn new(kind: Kind, key: impl Into<String>, spec: Value) -> Object {
        let key = key.into();
        let metadata = match key.split_once('/') {
            Some((site, name)) => json!({"site": site, "name": name}),
            None => json!({"name": key}),
        };
        let json = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
        Object { kind, key, json }
    }

    /// Key and value in the store.
    pub fn entry(&self) -> (String, String) {
        (keys::spec(self.kind, &self.key), self.json.to_string())
    }
}

/// The name of the site with this number, counting from 0.
pub fn site(number: usize) -> String {
    format!("site-{number:04}")
}

/// Every object of a fabric of this size.
pub fn all(size: Size) -> Vec<Object> {
    let mut all = vec![Object::new(Kind::Fabric, "default", json!({"overlay": "10.100.0.0/16"}))];
    all.extend((0..ANCHORS.len()).map(|number| anchor(number, 0)));
    for number in 0..size.sites {
        all.extend(site_with_uplinks(number, size.segments));
    }
    all.extend((0..size.policies).map(|number| policy(number, 0)));
    all
}

/// An anchor, in as many versions as wanted: they differ in their ports, which every site has to know.
pub fn anchor(number: usize, version: u16) -> Object {
    let spec = json!({
        "endpoints": [{"address": format!("203.0.113.{}", 10 + number)}],
        "portBase": 51_820 + 10 * (version % 100),
        "internet": {"interface": "inet0", "addresses": [format!("198.51.100.{}/24", 1 + number)]},
    });
    Object::new(Kind::Anchor, ANCHORS[number], spec)
}

/// The segment of a site that changes: versions differ in the second of its addresses.
pub fn segment(number: usize, version: u16) -> Object {
    let [a, b] = bytes(number);
    let addresses = [1, 2 + version % 250].map(|host| format!("20.{a}.{b}.{host}/24"));
    let spec = json!({"interface": "lan0", "addresses": addresses});
    Object::new(Kind::Vlan, format!("{}/{SEGMENT}", site(number)), spec)
}

/// One of the policies, each with a network of its own; versions differ in the ports they name.
pub fn policy(number: usize, version: u16) -> Object {
    let [a, b] = bytes(number);
    let network = format!("11.{a}.{b}.0/24");
    let flows = match number % 4 {
        0 => json!({"protocol": "tcp", "prefix": network, "ports": ["443"]}),
        1 => json!({"protocol": "udp", "prefix": network, "ports": ["10000-20000"]}),
        2 => json!({"prefix": network}),
        _ => json!({"protocol": "udp", "prefix": network, "ports": [(5_060 + version).to_string()]}),
    };
    Object::new(Kind::TrafficPolicy, format!("policy-{number:04}"), json!({"match": [flows]}))
}

/// A mode whose versions differ in a label: no plan is another for it.
pub fn labelled_mode(version: u16) -> Object {
    let mut object = Object::new(Kind::Mode, "as-it-is", json!({"mode": "training"}));
    object.json["metadata"]["labels"] = json!({"version": version.to_string()});
    object
}

fn site_with_uplinks(number: usize, segments: usize) -> Vec<Object> {
    let name = site(number);
    let [a, b] = bytes(number);
    let mut anchors = ANCHORS;
    anchors.rotate_left(number % ANCHORS.len());
    let networks = (0..segments).map(|tag| network(number, tag));
    let prefixes: Vec<_> = [format!("20.{a}.{b}.0/24")].into_iter().chain(networks).collect();
    let mut all = vec![Object::new(Kind::Site, &*name, json!({"anchors": anchors, "prefixes": prefixes}))];
    all.push(segment(number, 0));
    for tag in 0..segments {
        let address = network(number, tag).replace(".0/24", ".1/24");
        let spec = json!({"interface": "lan0", "id": 100 + tag, "addresses": [address]});
        all.push(Object::new(Kind::Vlan, format!("{name}/segment-{tag:02}"), spec));
    }
    for slot in 1..=UPLINKS {
        let (address, gateway) = underlay(slot);
        let spec = json!({
            "slot": slot,
            "kind": "ethernet",
            "interface": format!("wan{slot}"),
            "address": {"static": {"addresses": [format!("{address}/30")], "gateways": [gateway]}},
            "cost": 10 * u16::from(slot),
        });
        all.push(Object::new(Kind::Uplink, format!("{name}/wan{slot}"), spec));
    }
    all
}

/// The network of a tagged segment; a site has 16 at most.
fn network(site: usize, tag: usize) -> String {
    let first = Ipv4Addr::new(21, 0, 0, 0).to_bits();
    format!("{}/24", Ipv4Addr::from_bits(first + ((16 * site + tag) as u32) * 256))
}

fn bytes(number: usize) -> [usize; 2] {
    [number / 256, number % 256]
}

/// The same as the compiler takes it, with keys that nobody has.
///
/// # Errors
/// When an object is none.
pub fn inventory(size: Size) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    for object in all(size) {
        put(&mut inventory, &object)?;
    }
    let nodes: Vec<_> = (0..size.sites).map(site).chain(ANCHORS.map(str::to_owned)).collect();
    inventory.identities = nodes.into_iter().enumerate().map(|(number, node)| (node, stranger(number))).collect();
    Ok(inventory)
}

/// Declares `object`, or another version of it.
///
/// # Errors
/// When it is none.
pub fn put(inventory: &mut Inventory, object: &Object) -> Result<()> {
    let json = object.json.to_string();
    let read =
        AnyObject::from_json(object.kind, &json).with_context(|| format!("{} {}: {json}", object.kind, object.key));
    inventory.insert(read?);
    Ok(())
}

fn stranger(number: usize) -> NodeIdentity {
    let key = |slot: u8| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        (bytes[8], bytes[9]) = (slot, 1);
        STANDARD.encode(bytes)
    };
    let wireguard_keys: BTreeMap<u8, String> = (1..=UPLINKS).map(|slot| (slot, key(slot))).collect();
    NodeIdentity { wireguard_keys, incarnation: 1 }
}

#[cfg(test)]
mod tests {
    use pathsteer_compiler::compile;

    use super::*;

    const SMALL: Size = Size { sites: 3, policies: 8, segments: 2 };

    #[test]
    fn what_is_declared_compiles_without_a_fault() {
        let compiled = compile(&inventory(SMALL).unwrap());
        assert_eq!(compiled.diagnostics, []);
        assert_eq!(compiled.plans.len(), SMALL.sites + ANCHORS.len());
        let peers = &compiled.plans[&site(0)].objects().wireguard_peers;
        assert_eq!(peers.len(), usize::from(UPLINKS) * ANCHORS.len());
    }

    #[test]
    fn another_version_of_an_object_changes_the_plans_that_it_should() {
        let changed = |object: Object| {
            let mut inventory = inventory(SMALL).unwrap();
            let before = compile(&inventory).plans;
            put(&mut inventory, &object).unwrap();
            let after = compile(&inventory).plans;
            before.into_iter().filter(|(node, plan)| after[node] != *plan).map(|(node, _)| node).collect::<Vec<_>>()
        };
        assert_eq!(changed(segment(1, 1)), ["site-0001"]);
        assert_eq!(changed(policy(POLICY, 1)), ["anchor-a", "anchor-b", "site-0000", "site-0001", "site-0002"]);
        assert_eq!(changed(labelled_mode(1)), Vec::<String>::new());
        assert_eq!(changed(anchor(0, 1)), ["anchor-a", "site-0000", "site-0001", "site-0002"]);
    }
}
