//! An agent as the operator sees it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{Client, Lines};
use crate::rig::Rig;

pub struct Node {
    pub name: String,
    /// A key per slot; any 32 bytes will do.
    key: &'static str,
}

/// What a node was sent: the newest root, and every fragment.
#[derive(Debug, Default)]
pub struct Plan {
    pub revision: i64,
    pub root: Value,
    pub fragments: BTreeMap<String, Value>,
}

impl Node {
    pub fn edge() -> Node {
        Node { name: "rv-07".into(), key: "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
    }

    pub fn anchor() -> Node {
        Node { name: "dal-a".into(), key: "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=" }
    }

    pub fn client(&self, rig: &Rig) -> Client {
        Client::new(rig.address, &rig.identity("node", &self.name))
    }

    /// Says hello, having a plan of this order.
    pub fn hello(&self, rig: &Rig, store_epoch: u64, generation: i64) -> (u16, Value) {
        let keys: BTreeMap<_, _> = (1..=8).map(|slot| (slot.to_string(), self.key)).collect();
        self.client(rig).post(
            "/v1/session/hello",
            json!({"agentVersion": "test", "planVersions": [1], "storeEpoch": store_epoch, "generation": generation,
                "identity": {"wireguardKeys": keys}}),
        )
    }

    pub fn stream(&self, rig: &Rig, revision: i64) -> Lines {
        self.client(rig).lines(&format!("/v1/session/plan?revision={revision}"))
    }

    /// Reports that the plan of `root` is carried out, with a handshake of this age on every tunnel.
    pub fn report(&self, rig: &Rig, plan: &Plan, age: u64) -> (u16, Value) {
        let lists = |noun: &str| -> Vec<Value> {
            let all = plan.fragments.values().filter_map(|fragment| fragment[noun].as_array().cloned());
            all.flatten().collect()
        };
        let tunnels: Vec<_> = lists("wireguardPeers")
            .iter()
            .map(|peer| {
                json!({"slot": 1, "link": peer["link"], "peer": peer["node"], "handshakeAgeSeconds": age,
                    "rxBytes": 0, "txBytes": 0})
            })
            .collect();
        self.client(rig).post(
            "/v1/session/report",
            json!({"node": self.name, "storeEpoch": plan.root["storeEpoch"], "generation": plan.root["generation"],
                "verified": true, "tunnels": tunnels}),
        )
    }
}

impl Plan {
    /// Reads `lines` until a root that is `wanted` has come with all its fragments.
    pub fn follow(&mut self, lines: &mut Lines, mut wanted: impl FnMut(&Plan) -> bool) {
        for event in lines {
            match event["type"].as_str().unwrap() {
                "fragment" => {
                    let json = serde_json::from_str(event["json"].as_str().unwrap()).unwrap();
                    self.fragments.insert(event["sha256"].as_str().unwrap().to_owned(), json);
                }
                "root" => {
                    (self.revision, self.root) = (event["revision"].as_i64().unwrap(), event["root"].clone());
                    let named: Vec<_> = self.root["fragments"].as_object().unwrap().values().cloned().collect();
                    assert!(named.iter().all(|name| self.fragments.contains_key(name.as_str().unwrap())));
                    self.fragments.retain(|sha256, _| named.iter().any(|name| name == sha256));
                    if wanted(self) {
                        return;
                    }
                }
                "heartbeat" => {}
                other => panic!("{other} instead of a plan"),
            }
        }
        panic!("the stream ended");
    }

    /// How many objects of `noun` the plan has.
    pub fn count(&self, noun: &str) -> usize {
        self.fragments.values().filter_map(|fragment| fragment[noun].as_array()).map(Vec::len).sum()
    }
}
