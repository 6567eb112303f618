//! The store epoch: what orders plans when the store's revisions ran backwards, as they do after a restore.

use pathsteer_crds::keys;
use pathsteer_crds::plan::PlanRoot;
use pathsteer_crds::session::Hello;

use crate::store::{Snapshot, Write, WriteError, Writer};

/// The epoch of a store that was never restored.
const FIRST: u64 = 1;

/// The epoch at this snapshot.
pub fn current(snapshot: &Snapshot) -> u64 {
    snapshot.get(keys::EPOCH).map_or(FIRST, |entry| parse(Some(&entry.value)))
}

/// Raises the stored epoch if `node`'s plan shows that revisions ran backwards. Plans are then published anew.
///
/// # Errors
/// The store failed, or another operator raised it at the same time: say hello again.
pub async fn learn(writer: &Writer, node: &str, hello: &Hello) -> Result<(), WriteError> {
    // Read through consensus, not from the mirror, which may be behind the plan this node was given a moment ago.
    let epoch = writer.read(keys::EPOCH).await?;
    let root = writer.read(&keys::plan_root(node)).await?;
    let stored = parse(epoch.value.as_deref());
    let published = root.value.as_deref().and_then(|json| serde_json::from_str::<PlanRoot>(json).ok());
    // Without a plan for this node no plan it ever had can be newer than the store itself.
    let newest = published.map_or(root.store_revision, |root| root.generation);
    let needed = needed(stored, newest, hello);
    if needed == stored {
        return Ok(());
    }
    tracing::warn!(node, from = stored, to = needed, generation = hello.generation, "store epoch raised");
    writer.commit(vec![Write::put(keys::EPOCH, needed.to_string()).if_at(epoch.mod_revision)]).await?;
    Ok(())
}

/// The epoch that makes the operator's plans newer than the node's, which was given its plan by a store that may be
/// lost: at least the node's, and above it if the node's plan is newer than any this store can have given it.
fn needed(stored: u64, newest: i64, hello: &Hello) -> u64 {
    if hello.store_epoch >= stored && hello.generation > newest {
        hello.store_epoch + 1
    } else {
        stored.max(hello.store_epoch)
    }
}

/// The epoch that the value of its key says.
pub fn parse(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pathsteer_crds::identity::NodeIdentity;

    fn hello(store_epoch: u64, generation: i64) -> Hello {
        let identity = NodeIdentity::default();
        Hello {
            agent_version: "0".into(),
            plan_versions: vec![1],
            store_epoch,
            generation,
            identity,
            heartbeat_seconds: None,
        }
    }

    #[test]
    fn a_plan_newer_than_any_this_store_gave_raises_the_epoch() {
        assert_eq!(needed(1, 300, &hello(1, 500)), 2);
        assert_eq!(needed(1, 300, &hello(4, 500)), 5);
    }

    #[test]
    fn a_plan_this_store_may_have_given_does_not() {
        assert_eq!(needed(1, 500, &hello(1, 500)), 1);
        assert_eq!(needed(1, 500, &hello(0, 0)), 1);
        assert_eq!(needed(3, 300, &hello(2, 900)), 3, "an older epoch is older whatever its generation");
        assert_eq!(needed(2, 700, &hello(3, 500)), 3, "a copy of the store from before the epoch was raised");
    }
}
