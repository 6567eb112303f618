//! `pathsteer-bench`: what the datapath costs, measured with the product's own programs and rules beside plain routing,
//! plain WireGuard and others that do the same work; what the agent takes, beside raw netlink; and how fast what is declared
//! arrives at one node and at hundreds. See the README in this
//! folder.

mod command;
mod control;
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
