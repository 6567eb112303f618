//! The operator as its users meet it: the real program, its private etcd, Debian's etcdctl, and clients over TLS.

mod access;
mod admission;
mod api;
mod backup;
mod client;
mod cluster;
mod degraded;
mod disk;
mod events;
mod limits;
mod logs;
mod node;
mod objects;
mod openapi;
mod outage;
mod preview;
mod prune;
mod rest;
mod rig;
mod session;
mod vanished;
mod watch;
mod writers;
