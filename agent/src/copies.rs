//! What copies have used of their monthly budgets: taken from the kernel, kept on disk, given back when a month begins.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pathsteer_agent_core::{CopyMonth, month_of};
use pathsteer_crds::plan::{NftRule, NftTableSpec};

use crate::{
    drivers::{Kernel, nft},
    state::StateDir,
};

/// Growing counts are written so often at most; a reboot forgets what was copied since.
const SAVE: Duration = Duration::from_secs(10);

/// The budgets of this node.
pub struct Copies {
    month: CopyMonth,
    state: StateDir,
    /// As it is on disk, and since when.
    saved: (CopyMonth, Option<Instant>),
}

impl Copies {
    pub fn new(state: StateDir) -> Self {
        let month = state.copy_month();
        Copies { saved: (month.clone(), None), month, state }
    }

    /// Bytes by slot: what a quota that is made begins with.
    pub fn copied(&self) -> &BTreeMap<u8, u64> {
        self.month.copied()
    }

    /// Takes what the kernel has counted by slot. A quota that cannot be begun anew is tried again with the next count.
    pub fn count(&mut self, kernel: &Kernel, tables: &[NftTableSpec], copied: &BTreeMap<u8, u64>) {
        let month = month_of(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        if self.month.is_over(month) {
            let slots: Vec<u8> = copied.keys().copied().collect();
            let limited = |rule: &NftRule| matches!(rule, NftRule::Copy { budget: Some(_), .. });
            let table = tables.iter().find(|table| table.rules.iter().any(limited));
            if let Some(Err(error)) = table.map(|table| nft::reset_quotas(kernel, &table.netns, &slots)) {
                tracing::warn!(%error, "cannot begin the month's budgets of copies");
                return;
            }
            tracing::info!(?slots, "a month begins: budgets of copies begin anew");
            self.month.begin(month);
        } else {
            self.month.count(month, copied);
        }
        self.save(month);
    }

    fn save(&mut self, month: u32) {
        let (saved, when) = &self.saved;
        if *saved == self.month || (!saved.is_over(month) && when.is_some_and(|when| when.elapsed() < SAVE)) {
            return;
        }
        match self.state.save_copy_month(&self.month) {
            Ok(()) => self.saved = (self.month.clone(), Some(Instant::now())),
            Err(error) => tracing::warn!(%error, "cannot save what copies have used"),
        }
    }
}
