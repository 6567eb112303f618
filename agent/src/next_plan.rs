//! The plan that comes into force as soon as the paths that it takes away are left.

use std::{collections::BTreeSet, time::Instant};

use pathsteer_agent_core::Leaving;
use pathsteer_crds::plan::NodePlan;

/// At most one waits. A later one takes its place and has waited as long: plans that follow each other quickly keep none
/// from coming into force.
pub struct NextPlan {
    start: Instant,
    waiting: Option<(NodePlan, Leaving)>,
}

impl NextPlan {
    pub fn none() -> Self {
        NextPlan { start: Instant::now(), waiting: None }
    }

    /// `plan` is to come after `current`; by paths that are `not_up` nothing comes.
    pub fn put(&mut self, plan: NodePlan, current: &NodePlan, not_up: &BTreeSet<(u32, u8)>) {
        let since = self.waiting.as_ref().map_or_else(|| self.start.elapsed(), |(_, leaving)| leaving.since());
        let leaving = Leaving::new(&current.objects, &plan.objects, not_up, since);
        self.waiting = Some((plan, leaving));
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Paths that nothing is to be sent by any more, as node index of the remote and slot.
    pub fn left(&self) -> impl Iterator<Item = (u32, u8)> {
        self.waiting.iter().flat_map(|(_, leaving)| leaving.paths().iter().copied())
    }

    /// Returns the plan once it may be put in force; `used` are the paths by which something is sent.
    pub fn take_if_left(&mut self, used: &BTreeSet<(u32, u8)>) -> Option<NodePlan> {
        let now = self.start.elapsed();
        self.waiting.take_if(|(_, leaving)| leaving.is_over(used, now)).map(|(plan, _)| plan)
    }
}
