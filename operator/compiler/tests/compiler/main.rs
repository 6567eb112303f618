//! The compiler seen from outside: golden cases, properties, and faults planted in finished plans.

mod case;
mod coverage;
mod faults;
mod fuzz;
mod golden;
mod policies;
mod pools;
mod properties;
mod random;
mod stable;
mod vain;
