//! Another site of the fabric, which is declared but never there: whatever moves of it was moved by somebody else.

use anyhow::{Context, Result, ensure};
use pathsteer_crds::identity::NodeIdentity;
use pathsteer_crds::keys;
use pathsteer_crds::plan::NodePlan;
use pathsteer_crds::report::TunnelReport;
use pathsteer_lab::network::plan::{ANCHOR_HOST, HQ};

use crate::stage::Stage;

const NAME: &str = "yacht-2";
/// Its prefixes are those that the attacks name.
const MANIFEST: &str = r#"
apiVersion: pathsteer.io/v1alpha1
kind: Site
metadata: {name: yacht-2}
spec:
  anchors: [dal-a]
  vips: [198.18.20.1]
  prefixes: [172.16.20.0/24, "2001:db8:20::/64"]
---
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: yacht-2, name: starlink}
spec: {slot: 1, kind: starlink, interface: wan1}
"#;
/// The public key of RFC 7748, section 6.1 (Bob's): nobody here has the private one in use.
const KEY: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

pub struct Other {
    /// Its index: by which the anchor counts it.
    pub id: u32,
    /// Its shim endpoint.
    pub endpoint: std::net::Ipv4Addr,
}

/// Declares it, and waits until the anchor has it as a peer.
pub fn declare(stage: &mut Stage) -> Result<Other> {
    stage.network.host(HQ).write("/run/other.yaml", MANIFEST)?;
    stage.fleet.cli(&["apply", "-f", "/run/other.yaml"])?;
    let identity = NodeIdentity { wireguard_keys: [(1, KEY.to_owned())].into(), incarnation: 1 };
    stage.fleet.etcdctl(&["put", &keys::identity(NAME), &serde_json::to_string(&identity)?])?;
    stage.until("the anchor has the other site", |stage| {
        Ok(tunnel(stage)?.is_some() && stage.report(ANCHOR_HOST)?.verified)
    })?;
    stage.as_planned()?;
    let plan = stage.fleet.cli(&["plan", ANCHOR_HOST, "-o", "json"])?;
    let plan: NodePlan = serde_json::from_str(&plan).context("reading the anchor's plan")?;
    let remote = plan.objects.remotes.iter().find(|remote| remote.node == NAME);
    let remote = remote.context("the anchor's plan does not have the other site")?;
    Ok(Other { id: remote.id, endpoint: remote.address })
}

fn tunnel(stage: &Stage) -> Result<Option<TunnelReport>> {
    Ok(stage.report(ANCHOR_HOST)?.tunnels.into_iter().find(|tunnel| tunnel.peer == NAME))
}

impl Other {
    /// Nothing was counted for it, nothing was learned of it, no datagram came from it.
    pub fn is_untouched(&self, stage: &Stage) -> Result<()> {
        let report = stage.report(ANCHOR_HOST)?;
        let counted: Vec<_> = report.counters.iter().filter(|counter| counter.remote == self.id).collect();
        ensure!(counted.is_empty(), "counted for {NAME}: {counted:?}");
        let followed = report.following.iter().find(|one| one.remote == self.id && one.active != 0);
        ensure!(followed.is_none(), "the anchor has learned a path to {NAME}: {followed:?}");
        let tunnel = tunnel(stage)?.context("the anchor has lost the other site")?;
        ensure!(tunnel.endpoint.is_none() && tunnel.rx_bytes == 0, "something came from {NAME}: {tunnel:?}");
        Ok(())
    }
}
