//! The programs and maps in the running kernel. Needs root.

mod attach;
mod bpffs;
mod control;
mod maps;
mod netns;
mod pair;
mod selftest;
mod shim;
mod window;
