//! Veths between hosts.

use anyhow::Result;
use pathsteer_lab::host::Host;

/// Connects two cards, each named with its host. `from` is a host that sees the names of all: a node does not.
///
/// # Errors
/// When a card of that name is there already.
pub fn cable(from: &Host, (one, card): (&Host, &str), (other, far): (&Host, &str)) -> Result<()> {
    from.ip(&format!("link add {card} netns {} type veth peer name {far} netns {}", one.name, other.name))
}
