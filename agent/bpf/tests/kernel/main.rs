//! The programs and maps in the running kernel. Needs root.

mod attach;
mod bare;
mod bpffs;
mod control;
mod ecn;
mod hostile;
mod maps;
mod netns;
mod pair;
mod segments;
mod selftest;
mod shim;
mod window;
