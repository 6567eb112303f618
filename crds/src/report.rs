//! What an agent reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// WireGuard's Reject-After-Time, seconds.
pub const REJECT_AFTER_SECONDS: u64 = 180;

/// The state of a node, as its agent last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReport {
    pub node: String,
    pub agent_version: String,
    /// Store epoch and generation of the plan in force; 0 and 0 before the first.
    pub store_epoch: u64,
    pub generation: i64,
    /// Every object of that plan was seen in the kernel as declared.
    pub verified: bool,
    /// Seconds since the node booted, suspended ones too, when this was reported: what began at `sinceUptime` has been so
    /// for the difference, whatever became of the node's clock. It alone changes nothing that is worth a report.
    pub uptime_seconds: u64,
    /// What is not as declared; empty when `verified`.
    pub not_as_declared: Vec<ObjectReport>,
    /// What else keeps the node from its work, or will.
    pub problems: Vec<ProblemReport>,
    /// What came of the last turn that changed something; absent before the first.
    pub last_changes: Option<ChangesReport>,
    /// Objects found changed by somebody else and put right, since the agent started.
    pub drift_repaired: u64,
    /// Which objects those were, the last 32 of them by name.
    pub drift: Vec<DriftReport>,
    pub uplinks: Vec<UplinkReport>,
    pub tunnels: Vec<TunnelReport>,
    /// What the node sends by (an edge decides, so only edges have it).
    pub steering: Vec<SteeringReport>,
    /// What the node follows (anchors).
    pub following: Vec<FollowingReport>,
    /// Packets by what became of them, since the datapath was made; zeros are left out.
    pub counters: Vec<CounterReport>,
    /// Whether large segments pass the shim whole, and why (not); empty before the start-up self-test.
    pub segmentation: String,
}

/// A count of packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CounterReport {
    /// What became of them, such as `delivered`, `duplicate` or `forged`.
    pub name: String,
    /// Where they are counted: `shim`, `worker <slot>` (what a WireGuard worker refused), or the namespace of an nft table.
    pub place: String,
    /// The remote node's index; 0 where none is known.
    pub remote: u32,
    pub packets: u64,
}

/// An object that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// Noun and name, such as `link psup1/wan1`.
    pub object: String,
    /// Why, with the remedy where there is one.
    pub reason: String,
    /// Since when at least; what had been so when the agent started was noticed by the one before, since the boot.
    #[serde(flatten)]
    pub since: Moment,
}

/// When something began, twice: a clock that is set makes the one wrong, a reboot ends the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Moment {
    /// By the node's clock as it was then, RFC 3339 in UTC; empty from an agent that does not tell.
    pub since: String,
    /// Seconds after the node's last boot.
    pub since_uptime: u64,
}

/// What keeps the node from its work, or will, though no object of the plan is wrong for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemReport {
    /// One CamelCase word for programs, such as `NoLease`: the reason of the condition.
    pub kind: String,
    /// What has it, such as `uplink 1` or `file plan.json`.
    pub object: String,
    /// The slot, if it is one uplink's; absent if the whole node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// What is wrong, with the remedy where there is one.
    pub reason: String,
    #[serde(flatten)]
    pub since: Moment,
}

/// What came of a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangesReport {
    #[serde(flatten)]
    pub at: Moment,
    /// How many changes had which outcome.
    pub created: u64,
    pub updated: u64,
    pub deleted: u64,
    pub failed: u64,
    /// Of these, how many put right what somebody else had changed.
    pub drift: u64,
    /// The first 64 of them, failures before drift before our own.
    pub objects: Vec<ChangeReport>,
}

/// What came of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReport {
    pub object: String,
    pub outcome: ChangeOutcome,
    /// Why it failed; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Somebody else had changed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drift: bool,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChangeOutcome {
    Failed,
    Created,
    Updated,
    Deleted,
}

/// An object that somebody else keeps changing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftReport {
    pub object: String,
    /// How it was found the last time.
    pub found: String,
    /// How often, since the agent started.
    pub times: u64,
    /// The last time.
    #[serde(flatten)]
    pub last: Moment,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UplinkReport {
    pub slot: u8,
    pub link: String,
    /// Address with prefix length, once there is one.
    pub address: Option<String>,
    pub gateway: Option<String>,
    /// Who resolves names there.
    #[serde(default)]
    pub resolvers: Vec<String>,
    /// Where its network wants people to agree to something first (RFC 8910).
    #[serde(default)]
    pub captive_portal: Option<String>,
    /// What it has lost and not been given again, such as a lease that nobody renewed.
    #[serde(default)]
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelReport {
    pub slot: u8,
    pub link: String,
    /// The node at the other end.
    pub peer: String,
    /// Seconds since the last handshake; absent if there was none.
    pub handshake_age_seconds: Option<u64>,
    pub endpoint: Option<String>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl TunnelReport {
    /// Whether it can carry anything: WireGuard refuses a session older than [`REJECT_AFTER_SECONDS`].
    pub fn is_up(&self) -> bool {
        self.handshake_age_seconds.is_some_and(|age| age <= REJECT_AFTER_SECONDS)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SteeringReport {
    /// The remote node's index.
    pub remote: u32,
    pub class: u8,
    pub class_name: String,
    /// The active slot.
    pub active: u8,
    /// Slots that carry copies.
    pub copies: Vec<u8>,
    /// Counts switches of this class.
    pub switch_counter: u64,
    /// The far end has said that it follows this.
    pub acknowledged: bool,
    /// Why this path, in words.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowingReport {
    /// The remote node's index.
    pub remote: u32,
    pub class: u8,
    pub active: u8,
    pub copies: Vec<u8>,
}
