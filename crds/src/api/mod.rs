//! The API, for both sides of it: what may be asked, what is answered, and its description as OpenAPI.

mod answer;
mod event;
pub mod openapi;
mod operation;
mod problem;
mod query;

pub use answer::{Applied, ApplyResult, Health, List, NodeState, Outcome, PathState, PublishedPlan, Version};
pub use event::{Event, WatchChange, WatchLine};
pub use operation::{Method, Operation};
pub use problem::{Problem, ProblemItem};
pub use query::{ApplyQuery, DeleteQuery, EventQuery, ListQuery, LogQuery, WatchQuery, WriteQuery};
