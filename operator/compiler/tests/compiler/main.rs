//! The compiler seen from outside: golden cases, properties, and faults planted in finished plans.

mod case;
mod faults;
mod golden;
mod pools;
mod properties;
mod random;
