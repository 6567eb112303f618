//! Routes.

use ipnet::IpNet;
use pathsteer_crds::plan::{PlanObjects, RouteKind, RouteSpec};

use crate::ChangeClass;
use crate::noun::{Noun, place};

impl Noun for RouteSpec {
    type Key<'a> = (&'a str, u32, IpNet, u32);

    fn key(&self) -> Self::Key<'_> {
        (&self.netns, self.table, self.destination, self.metric)
    }

    fn satisfied_by(&self, found: &Self) -> bool {
        self == found
    }

    fn class(&self, _found: &Self) -> ChangeClass {
        // One message replaces a route; no packet finds the table without it.
        ChangeClass::InPlace
    }

    fn name(&self) -> String {
        let destination = match self.destination {
            IpNet::V4(net) if net.prefix_len() == 0 => "default".to_owned(),
            other => other.to_string(),
        };
        format!("route {} {} {destination} metric {}", place(&self.netns), self.table, self.metric)
    }

    /// Blackholes first: no moment without the stop behind the paths. Then what is on the link, by which the gateways
    /// of the others are reached.
    fn rank(&self) -> u8 {
        match self.kind {
            RouteKind::Blackhole => 0,
            RouteKind::Unicast { gateway: None, .. } => 1,
            RouteKind::Unicast { gateway: Some(_), .. } => 2,
        }
    }

    fn list(objects: &PlanObjects) -> &[Self] {
        &objects.routes
    }
}
