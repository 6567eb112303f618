//! What has happened to objects, and changes as they happen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AnyObject, Kind};

/// Something that has happened to an object. The newest 5,000 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// RFC 3339 in UTC.
    pub time: String,
    pub kind: Kind,
    /// The object's key: `<site>/<name>` for Uplink and Vlan.
    pub name: String,
    /// What of it has changed: the type of a condition, such as `Ready`.
    pub what: String,
    /// What it was; absent for what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub to: String,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// One line of a watch. Several changes of an object may come as one: the last state always comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchLine<T = AnyObject> {
    #[serde(rename = "type")]
    pub change: WatchChange,
    /// Where to go on after this line, as `resourceVersion` of the next watch.
    pub resource_version: i64,
    /// The object as it is now, or as it was last seen if it was deleted; absent in a bookmark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<T>,
}

/// What a line of a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WatchChange {
    Added,
    Modified,
    /// Or selected no longer.
    Deleted,
    /// Everything up to this revision has been sent. Comes after what was there at the beginning, then every 10 s.
    Bookmark,
}
