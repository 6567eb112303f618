//! The operator as its users meet it: the real program, its private etcd, Debian's etcdctl, and clients over TLS.

mod access;
mod admission;
mod api;
mod backup;
mod client;
mod cluster;
mod degraded;
mod node;
mod objects;
mod outage;
mod prune;
mod rig;
mod session;
mod vanished;
mod writers;
