//! End to end: the real programs in the lab, one fleet, one case after another.

mod attack;
mod bootstrap;
mod bulk;
mod change;
mod class;
mod cli;
mod drift;
mod foreign;
mod forged;
mod gitops;
mod inside;
mod isp;
mod kernel;
mod leak;
mod lease;
mod logs;
mod management;
mod nat;
mod one_way;
mod outage;
mod packet;
mod pin;
mod renewal;
mod shape;
mod stage;
mod store;
mod suite;
mod talk;
mod treatment;
mod walk;

fn main() -> std::process::ExitCode {
    suite::SUITE.main()
}
