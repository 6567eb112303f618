//! The programs and maps in the running kernel. Needs root.

mod bpffs;
mod control;
mod maps;
mod pair;
mod shim;
mod window;
