//! Packets of every shape through everything, both ways and in both families, each alone and copied.

pub mod class;
pub mod copies;
pub mod course;
pub mod declare;
pub mod errors;
pub mod flow;
pub mod mtu;
pub mod order;
pub mod pieces;
pub mod segments;
mod straight;
pub mod tally;
pub mod underlay;

use anyhow::{Context, Result};

use crate::shape::tally::Sent;
use crate::stage::Stage;

/// Does `act` while every packet is copied to one further path, then while none is, and insists each time that whatever
/// was shimmed was delivered once, its copy counted as such, and nothing dropped for any other reason.
pub fn copied_and_alone(stage: &mut Stage, act: impl FnMut(&mut Stage) -> Result<()>) -> Result<()> {
    copied_and_alone_of(stage, Sent::OneByOne, act)
}

/// The same for whatever `act` sends as `sent` says.
fn copied_and_alone_of(stage: &mut Stage, sent: Sent, mut act: impl FnMut(&mut Stage) -> Result<()>) -> Result<()> {
    tally::exact_of(stage, sent, 1, &mut act).context("copied")?;
    stage.without_copies()?;
    tally::exact_of(stage, sent, 0, &mut act).context("alone")
}
