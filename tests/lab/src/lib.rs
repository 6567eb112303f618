//! The lab: sites with several uplinks, anchors and the internet behind them, as network namespaces on one machine;
//! links with delay, loss and faults; traffic with an account of every packet; packets of every shape; and the demo that
//! puts them together.

pub mod capture;
pub mod clock;
pub mod command;
pub mod control;
pub mod craft;
pub mod daemon;
pub mod demo;
pub mod emulator;
pub mod fleet;
pub mod hiccup;
pub mod host;
pub mod lab;
pub mod measure;
mod mounts;
pub mod netns;
pub mod network;
pub mod offload;
pub mod probe;
pub mod progress;
pub mod realtime;
pub mod sandbox;
pub mod selftest;
pub mod shape;
pub mod traffic;
