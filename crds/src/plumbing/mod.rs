//! What every edge is made of inside, whoever plans it: the compiler, or a node that has no plan yet. As both say the
//! same, the first plan finds what is there as it wants it.

mod namespace;
mod pair;
mod way;

pub use namespace::{namespace, uplink_namespace};
pub use pair::{
    host_networks, host_pair, in_place_addresses, in_place_pair, uplink_pair, veth_address, veth_gateway,
    veth_peer_address, veth_peer_gateway,
};
pub use way::{
    AFTER_OTHERS, BACKUP, NO_PATH, PINNED, PREFERRED, answers, direct, direct_end, direct_rules, host_way, outside_rule,
};
