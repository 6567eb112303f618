//! Certificates: keys are made where they stay; requests and certificates are carried between the hosts by the lab.

use anyhow::{Context, Result};

use super::{CLI_CONFIG, DATA_FOLDER, Fleet, STATE_FOLDER};
use crate::host::Host;
use crate::network::plan::{OPERATOR, OPERATOR_PORT};

/// On every node, and on the operator's host for the command line.
pub(super) const AUTHORITY: &str = "/etc/pathsteer/ca.crt";
/// On a node.
pub(super) const NODE_CERTIFICATE: &str = "/etc/pathsteer/node.crt";
/// Whoever runs the fabric.
const USER: &str = "admin";

impl Fleet {
    /// A certificate for `node`, named as it is.
    pub(super) fn certify_node(&self, node: &Host) -> Result<()> {
        let request = format!("{STATE_FOLDER}/node.csr");
        let agent = self.programs.join("pathsteer-agent");
        node.output(&agent, &["csr", "--node", node.name, "--state-dir", STATE_FOLDER, "--out", &request])?;
        let certificate = self.issue("node", node.name, &node.read(&request)?)?;
        node.write(NODE_CERTIFICATE, &certificate)?;
        node.write(AUTHORITY, &self.authority()?)
    }

    /// A certificate for whoever uses the command line, and its configuration.
    pub(super) fn certify_user(&self) -> Result<()> {
        let folder = "/etc/pathsteer";
        self.hq.output(self.programs.join("pathsteer"), &["csr", USER, "--dir", folder])?;
        let certificate = self.issue("user", USER, &self.hq.read(&format!("{folder}/{USER}.csr"))?)?;
        self.hq.write(&format!("{folder}/{USER}.crt"), &certificate)?;
        self.hq.write(AUTHORITY, &self.authority()?)?;
        self.hq.write(
            CLI_CONFIG,
            &format!(
                "server: https://{OPERATOR}:{OPERATOR_PORT}
ca: ca.crt
cert: {USER}.crt
key: {USER}.key
"
            ),
        )
    }

    fn issue(&self, party: &str, name: &str, request: &str) -> Result<String> {
        let (file, certificate) = (format!("/run/{name}.csr"), format!("/run/{name}.crt"));
        self.hq.write(&file, request)?;
        let program = self.programs.join("pathsteer-operator");
        let words = ["issue", party, name, "--csr", &file, "--out", &certificate, "--data-dir", DATA_FOLDER];
        self.hq.output(program, &words).with_context(|| format!("issuing a certificate for {name}"))?;
        self.hq.read(&certificate)
    }

    fn authority(&self) -> Result<String> {
        self.hq.read(&format!("{DATA_FOLDER}/pki/ca.crt"))
    }
}
