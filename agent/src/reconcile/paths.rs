//! Paths in use: which of them are left, and what that keeps waiting.

use std::collections::{BTreeMap, BTreeSet};

use pathsteer_agent_core::{
    Active, followed_by, sent_by,
    switch::{Avoid, not_up},
};
use pathsteer_crds::plan::Role;
use pathsteer_wireguard::WorkerStatus;

use super::Reconciler;
use crate::{ground::Ground, report};

impl<G: Ground> Reconciler<G> {
    /// Puts the next plan in force if the paths that it takes away are left, and says whether it has.
    pub(super) fn succeed(&mut self) -> bool {
        let Some(plan) = self.next.take_if_left(&self.used()) else { return false };
        self.plan = plan;
        self.own = None;
        true
    }

    /// Paths by which something is sent; those of an edge have been chosen here, those of an anchor there.
    fn used(&self) -> BTreeSet<(u32, u8)> {
        match self.plan.role {
            Role::Edge => sent_by(&self.ground.steering()),
            Role::Anchor => followed_by(&self.ground.following()),
        }
    }

    pub(super) fn not_up(&self, workers: &BTreeMap<u8, WorkerStatus>) -> BTreeSet<(u32, u8)> {
        let objects = &self.plan.objects;
        not_up(&objects.remotes, &report::tunnels(objects, workers))
    }

    pub(super) fn active(&self, workers: &BTreeMap<u8, WorkerStatus>) -> Active {
        match self.plan.role {
            Role::Edge => Active::Chosen(self.ground.steering().iter().map(|steering| steering.active).collect()),
            Role::Anchor => {
                let arrives = &self.used() - &self.not_up(workers);
                Active::Followed(arrives.into_iter().map(|(_, slot)| slot).collect())
            }
        }
    }

    /// Hands the plan's steering on. An anchor follows and has none.
    pub(super) fn steer(&mut self, avoid: Avoid) {
        if self.plan.role == Role::Edge {
            self.ground.steer(&self.plan.objects, avoid);
        }
    }

    /// What steering is to keep off, as `workers` are.
    pub(super) fn avoid(&self, workers: &BTreeMap<u8, WorkerStatus>) -> Avoid {
        if self.plan.role == Role::Anchor {
            return Avoid::default();
        }
        let remotes = self.plan.objects.remotes.iter();
        let renewed = remotes.filter_map(|remote| Some((remote.id, self.ground.renewed()?)));
        let not_up = self.not_up(workers);
        Avoid { leave: renewed.chain(self.next.left()).collect(), not_up }
    }
}
