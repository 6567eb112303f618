//! The plan of one node: complete, immutable, ordered by (store epoch, generation), and without a choice left to
//! whoever carries it out.
//!
//! A plan travels as content-addressed fragments, one per noun and scope (`node`, or the site it is there for), and a
//! root that lists them. The root is written last, so that a reader never sees half a plan, and one site's change is
//! one small key even on an anchor with 500 peers.

mod datapath;
mod fragment;
mod link;
mod netns;
mod nft;
mod route;
mod steering;
mod wireguard;

pub use datapath::{Behind, DatapathSpec, PrefixSpec, Program, ProgramSpec, RemoteSpec, Role};
pub use fragment::{Cut, FragmentError, PlanRoot, assemble, split};
pub use link::{AddressSpec, CardSpec, DhcpSpec, LinkKind, LinkSpec, NeighbourSpec};
pub use netns::{LentSysctlSpec, NetnsSpec, SysctlSpec};
pub use nft::{
    ClassElement, ClassMap, CopyTarget, FlowTo, NftRule, NftTableSpec, Only, PolicySet, RemoteSide, Welcome,
};
pub use route::{Family, MAIN_TABLE, RouteKind, RouteSpec, RuleAction, RuleSpec};
pub use steering::{DeadManSpec, PathSpec, SteeringSpec};
pub use wireguard::{WireguardDeviceSpec, WireguardPeerSpec};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ownership::HOST;

/// The plan format this crate writes and reads. A reader accepts any plan of this version and ignores fields it does
/// not know.
pub const PLAN_VERSION: u32 = 1;

/// The scope of what belongs to the node itself rather than to one of its remotes.
pub const NODE_SCOPE: &str = "node";

/// One node's plan, put together from its fragments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    pub version: u32,
    pub node: String,
    pub role: Role,
    /// Counts restores of the store: raised when its revisions run backwards.
    pub store_epoch: u64,
    /// The store revision this plan was compiled from.
    pub generation: i64,
    #[serde(flatten)]
    pub objects: PlanObjects,
}

impl NodePlan {
    /// What orders plans: a plan with a lower one is refused.
    pub fn order(&self) -> (u64, i64) {
        (self.store_epoch, self.generation)
    }

    /// Something of it is in the node's own namespace: an uplink whose card stays there.
    pub fn reaches_home(&self) -> bool {
        self.objects.links.iter().any(|link| link.netns == HOST)
    }
}

/// Everything a plan declares, each list sorted and without doubles. A fragment is one of these with a single list
/// filled. `netns` fields name a namespace; the empty string is the node's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanObjects {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub netns: Vec<NetnsSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<SysctlSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lent_sysctls: Vec<LentSysctlSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dhcp: Vec<DhcpSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wireguard_devices: Vec<WireguardDeviceSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wireguard_peers: Vec<WireguardPeerSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nft_tables: Vec<NftTableSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datapath: Vec<DatapathSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<RemoteSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<PrefixSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steering: Vec<SteeringSpec>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dead_man: Vec<DeadManSpec>,
}

/// Runs `$each!(field, "noun")` for every list of [`PlanObjects`]: the one place that lists the nouns.
macro_rules! each_noun {
    ($each:ident) => {
        $each!(netns);
        $each!(sysctls);
        $each!(lent_sysctls);
        $each!(links);
        $each!(addresses);
        $each!(dhcp);
        $each!(neighbours);
        $each!(wireguard_devices);
        $each!(wireguard_peers);
        $each!(routes);
        $each!(rules);
        $each!(nft_tables);
        $each!(datapath);
        $each!(programs);
        $each!(remotes);
        $each!(prefixes);
        $each!(paths);
        $each!(steering);
        $each!(dead_man);
    };
}
pub(crate) use each_noun;

impl PlanObjects {
    /// Adds everything of `other` and restores order.
    pub fn merge(&mut self, other: PlanObjects) {
        self.extend(other);
        self.sort();
    }

    /// Adds everything of `other` at the ends. After the last one, [`PlanObjects::sort`] restores order: an anchor's
    /// plan has thousands of fragments, too many to sort after each.
    pub fn extend(&mut self, other: PlanObjects) {
        macro_rules! one {
            ($field:ident) => {
                self.$field.extend(other.$field);
            };
        }
        each_noun!(one);
    }

    /// Sorts every list and drops doubles.
    pub fn sort(&mut self) {
        macro_rules! one {
            ($field:ident) => {
                self.$field.sort();
                self.$field.dedup();
            };
        }
        each_noun!(one);
    }
}
