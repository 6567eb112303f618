//! WireGuard interfaces, as their workers hold them.

use pathsteer_crds::plan::{PlanObjects, WireguardDeviceSpec};

use crate::ChangeClass;
use crate::noun::Noun;

impl Noun for WireguardDeviceSpec {
    type Key<'a> = &'a str;

    fn key(&self) -> Self::Key<'_> {
        &self.link
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, found: &Self) -> ChangeClass {
        let Self { slot, netns, link: _, underlay_netns, listen_port: _ } = self;
        // A worker rebinds its socket to another port, but the keys and the namespaces it was made with stay.
        if (slot, netns, underlay_netns) == (&found.slot, &found.netns, &found.underlay_netns) {
            ChangeClass::InPlace
        } else {
            ChangeClass::Disruptive
        }
    }

    fn name(&self) -> String {
        format!("wireguard device {}", self.link)
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.wireguard_devices
    }
}
