//! The agent's own configuration: who it is and where its operator is. Everything else comes by plan.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use pathsteer_crds::Interface;
use serde::Deserialize;

/// `/etc/pathsteer/agent.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The node's name: that of its Site or Anchor.
    pub node: String,
    /// `https://HOST:PORT`.
    pub operator: String,
    /// PEM file with the authority that signed the operator's certificate and the node's own.
    pub ca: PathBuf,
    /// PEM file with the node's certificate.
    pub certificate: PathBuf,
    /// Folder for keys and the last good plan; default `/var/lib/pathsteer`.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Who does WireGuard; default `auto`. A change interrupts the tunnels.
    #[serde(default)]
    pub wireguard: WireguardChoice,
    /// Whether large segments are cut up before the shim; default `auto`.
    #[serde(default)]
    pub segmentation: SegmentationChoice,
    /// How the node reaches its operator before its first plan.
    #[serde(default)]
    pub bootstrap: Bootstrap,
}

/// Who does WireGuard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WireguardChoice {
    /// The kernel if it can, else workers.
    #[default]
    Auto,
    /// The kernel; without it the agent does not start.
    Kernel,
    /// A worker process per slot.
    Userspace,
}

/// Whether large segments are cut up before the shim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SegmentationChoice {
    /// Unless a test at start shows that this kernel counts whole ones up rightly. They cost less.
    #[default]
    Auto,
    /// Always, untested.
    Always,
}

/// Empty on an anchor, whose own network is there already.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// Interface by slot, by name, `mac:…` or `bus:…` as in an Uplink: taken into the slot's namespace and configured by
    /// DHCP. Use the slots of the Uplinks.
    #[serde(default)]
    pub uplinks: BTreeMap<u8, String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {cause}")]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/pathsteer")
}

impl Config {
    /// # Errors
    /// The file cannot be read, or says something else, with line and column.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        let fail = |message: String| ConfigError::Parse { path: path.to_owned(), message };
        let config: Config = serde_saphyr::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if let Some(slot) = config.bootstrap.uplinks.keys().find(|slot| !(1..=8).contains(*slot)) {
            return Err(fail(format!("bootstrap.uplinks: slot {slot} is out of range: slots are 1 to 8")));
        }
        for (slot, interface) in &config.bootstrap.uplinks {
            Interface::parse(interface).map_err(|why| fail(format!("bootstrap.uplinks.{slot}: {why}")))?;
        }
        if !config.operator.starts_with("https://") {
            return Err(fail(format!("operator: `{}` must begin with https://", config.operator)));
        }
        Ok(config)
    }
}
