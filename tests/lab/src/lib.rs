//! The lab: a site with three uplinks, an anchor and the internet behind it, as network namespaces on one machine;
//! links with delay, loss and faults; traffic with an account of every packet; and the demo that puts them together.

pub mod capture;
pub mod clock;
pub mod command;
pub mod control;
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
pub mod progress;
pub mod realtime;
pub mod sandbox;
pub mod selftest;
pub mod traffic;
