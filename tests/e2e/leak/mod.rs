//! Leaks: whatever is broken, nothing of a survivable or service flow is on a wire in clear, and nothing of a guest in a
//! tunnel.

pub mod dead;
pub mod emptied;
mod eyes;
mod flows;
pub mod reshaped;
pub mod torn;
