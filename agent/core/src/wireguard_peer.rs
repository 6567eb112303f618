//! WireGuard peers.

use pathsteer_crds::plan::{PlanObjects, WireguardPeerSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for WireguardPeerSpec {
    type Key<'a> = (&'a str, &'a str);

    fn key(&self) -> Self::Key<'_> {
        (&self.link, &self.public_key)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        // The node is for people. An absent endpoint is learned, so any will do.
        let Self { link: _, public_key: _, node: _, endpoint, allowed_ips, keepalive_seconds } = self;
        (endpoint.is_none() || *endpoint == found.endpoint)
            && (allowed_ips, keepalive_seconds) == (&found.allowed_ips, &found.keepalive_seconds)
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // The session is kept while endpoint, allowed IPs or keepalive change.
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        format!("wireguard peer {} {}", self.link, self.public_key)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.wireguard_peers
    }
}
