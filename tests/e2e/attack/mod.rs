//! Attacks, each beside a twin that differs in the forged field alone and is delivered.

mod blow;
pub mod order;
pub mod other;
pub mod segment;
mod shim;
pub mod site;
mod steady;
mod tally;
pub mod wan;
mod witness;
