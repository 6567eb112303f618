//! Namespaces and their sysctls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network namespace, found under `/run/netns/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetnsSpec {
    pub name: String,
}

/// A sysctl of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SysctlSpec {
    pub netns: String,
    /// Path below `/proc/sys/`, such as `net/ipv4/ip_forward`.
    pub key: String,
    pub value: String,
}

/// A sysctl of a link in the node's own namespace: set for as long as it is declared, and then given back as it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LentSysctlSpec {
    /// Path below `/proc/sys/`, such as `net/ipv4/conf/wwan0/forwarding`.
    pub key: String,
    pub value: String,
}

/// The sysctls of every namespace of ours, key and value. Our namespaces route; a packet may leave by one path and be
/// answered by another, so no reverse-path filter (it takes the stricter of `all` and the interface's); both ends of our
/// links are ours, so no duplicate address detection. With `promote_secondaries` a new address of the same network stays
/// when the old one goes; without it the kernel takes it along, and the default route with it (measured).
const OF_NAMESPACE: [(&str, &str); 7] = [
    ("net/ipv4/conf/all/promote_secondaries", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

impl SysctlSpec {
    /// What every namespace of ours is set to, whoever plans it.
    pub fn of_namespace(netns: &str) -> Vec<SysctlSpec> {
        OF_NAMESPACE
            .iter()
            .map(|(key, value)| SysctlSpec { netns: netns.into(), key: (*key).into(), value: (*value).into() })
            .collect()
    }

    /// What an uplink's namespace is set to beside that, whoever plans it: 2 takes router advertisements also where the
    /// namespace forwards. A card is born with it when it is moved in.
    pub fn of_uplink(netns: &str) -> SysctlSpec {
        SysctlSpec { netns: netns.into(), key: "net/ipv6/conf/default/accept_ra".into(), value: "2".into() }
    }
}
