//! What an agent decides, without doing any of it: which changes turn the observed kernel into the desired one and in
//! which order, and which path and copies each steering class gets.
//!
//! Nothing in here names a clock, a socket, a file or a random source: time comes in as a [`std::time::Duration`] since
//! some start, the kernel as [`pathsteer_crds::plan::PlanObjects`]. So every decision can be replayed by the thousand.
//!
//! One turn of an agent is: observe (the drivers dump the kernel), [`changes`], apply in the given order, observe again,
//! [`Turn::new`].

mod apply_order;
mod bootstrap;
mod changes;
mod clock;
mod consequences;
mod copy_month;
mod dead_man;
mod desired;
mod history;
pub mod kernel;
mod lease;
mod leaving;
mod noun;
mod object;
pub mod ownership;
mod pace;
mod renewal;
mod since;
mod turn;
mod underlay;

mod address;
mod datapath;
mod lent_sysctl;
mod link;
mod neighbour;
mod netns;
mod nft_table;
mod prefix;
mod program;
mod remote;
mod route;
mod rule;
mod sysctl;
mod wireguard_device;
mod wireguard_peer;

pub mod switch;

pub use apply_order::names;
pub use bootstrap::bootstrap_plan;
pub use changes::{Action, Change, ChangeClass, Drifted, Sweep, changes, drift};
pub use clock::{Clock, KEEP_TIME_EVERY, TimeKept};
pub use copy_month::{CopyMonth, month_of};
pub use dead_man::{Blamed, DeadMan, Expiry, SinceBoot};
pub use desired::{LEASE_ROUTE_METRIC, Surroundings, desired};
pub use history::History;
pub use lease::{Lease, Leases, Lender, Resolvers, asked_for, resolvers};
pub use leaving::{Leaving, followed_by, sent_by};
pub use link::is_card;
pub use object::PlanObject;
pub use pace::Pace;
pub use renewal::{Active, Renewal, Step, Worker};
pub use since::Since;
pub use turn::{Outcome, Turn, latest, not_as_declared};
pub use underlay::underlay;
