//! `pathsteer-bench`: what the datapath costs, measured with the product's own programs and rules beside plain routing,
//! plain WireGuard and others that do the same work; and what the agent takes, beside raw netlink. See the README in this
//! folder.

mod command;
mod datapath;
mod inventory;
mod node;
mod plan;
mod processor;
mod reconcile;
mod report;
mod rig;
mod series;
mod statistics;
mod traffic;

fn main() -> std::process::ExitCode {
    command::main(&std::env::args_os().collect::<Vec<_>>())
}
