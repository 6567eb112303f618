//! TrafficPolicy: which traffic is treated how.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, Profile, Resource};

/// Which traffic is treated how, and which flows share a path. Of the policies that match a flow the one with the lowest
/// `priority` wins, equal ones by name; the flow keeps what its first packet got.
///
/// ```yaml
/// apiVersion: pathsteer.io/v1alpha1
/// kind: TrafficPolicy
/// metadata: {name: voice}
/// spec:
///   match:
///     - {protocol: udp, ports: ["5060", "10000-20000"]}
///   treatment: survivable
///   steeringClass: voice
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPolicySpec {
    /// Sites it holds for; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// Lower goes first; 0 to 65,535, default 100.
    #[serde(default = "default_priority")]
    pub priority: u16,
    /// A flow matches if any of these matches.
    #[serde(rename = "match")]
    pub matches: Vec<Match>,
    #[serde(default)]
    pub treatment: Treatment,
    /// What a path is chosen for: flows of one class share a path. `default` unless named. A survivable class and a
    /// service class of one name are two classes, because one is copied; at most 15 in a fabric.
    #[serde(default = "default_class")]
    pub steering_class: String,
}

/// Everything named must match. At least one field is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// A well-known application; only `prefix` and `dscp` may stand beside it, and narrow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// `icmp` is ICMP over IPv4 and ICMPv6 over IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Remote prefix: the destination of what a site sends, the source of what it receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub prefix: Option<IpNet>,
    /// Remote ports, `"443"` or `"10000-20000"`; needs `protocol: tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Differentiated services code point, 0 to 63.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 63))]
    pub dscp: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// `"443"` or `"10000-20000"`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a port or range: write \"443\" or \"10000-20000\"");
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let range = PortRange {
            first: first.trim().parse().map_err(|_| bad())?,
            last: last.trim().parse().map_err(|_| bad())?,
        };
        if range.first == 0 || range.first > range.last { Err(bad()) } else { Ok(range) }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        if range.first == range.last { range.first.to_string() } else { format!("{}-{}", range.first, range.last) }
    }
}

/// What happens to a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Treatment {
    /// Always in a tunnel, shimmed, copied as the mode says.
    #[default]
    Survivable,
    /// Always in a tunnel, shimmed, never copied.
    Service,
    /// Straight to the internet by the best uplink, with that uplink's address. Only flows of `mixed` segments: the other
    /// treatments of a segment are promises that no policy breaks.
    BestEffort,
}

fn default_priority() -> u16 {
    100
}

fn default_class() -> String {
    "default".to_owned()
}

impl Resource for TrafficPolicySpec {
    const KIND: Kind = Kind::TrafficPolicy;

    fn check(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.matches.is_empty() {
            problems.push(("match".into(), "at least one match is needed, or the policy could never apply".into()));
        }
        if self.steering_class.is_empty() {
            problems.push(("steeringClass".into(), "is empty: leave it out for `default`".into()));
        }
        if self.steering_class.contains('/') {
            // `<name>/service` is the service class of that name.
            problems.push(("steeringClass".into(), "must not contain `/`".into()));
        }
        for (index, one) in self.matches.iter().enumerate() {
            let path = |field: &str| format!("match[{index}].{field}");
            if *one == Match::default() {
                problems.push((
                    format!("match[{index}]"),
                    "names nothing: give profile, protocol, prefix, ports or dscp".into(),
                ));
            }
            if one.profile.is_some() && (one.protocol.is_some() || !one.ports.is_empty()) {
                problems.push((path("profile"), "a profile brings its own protocols and ports: leave them out".into()));
            }
            if !one.ports.is_empty() && !matches!(one.protocol, Some(Protocol::Tcp | Protocol::Udp)) {
                problems.push((path("ports"), "ports need `protocol: tcp` or `protocol: udp`".into()));
            }
            if one.dscp.is_some_and(|dscp| dscp > 63) {
                problems.push((path("dscp"), "must be from 0 to 63".into()));
            }
        }
        problems
    }
}
