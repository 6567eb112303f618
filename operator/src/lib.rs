//! The operator: keeps what people declared in etcd, compiles it into one plan per node, hands each node its own, and
//! says how things stand.

pub mod api;
pub mod args;
pub mod backup;
pub mod confirm;
pub mod controller;
pub mod data_dir;
pub mod etcd;
pub mod issue;
pub mod pki;
pub mod run;
pub mod session;
pub mod store;
