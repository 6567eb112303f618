//! Compiling alone: everything, after one site has changed, after one policy has; and what publishing adds to each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use pathsteer_compiler::{Compiled, Compiler, Inventory, compile};
use pathsteer_crds::canonical;
use pathsteer_crds::plan::split;
use pathsteer_lab::clock;

use super::declared::{self, ANCHORS, POLICY, Size};
use crate::report::Row;
use crate::series::{Discipline, Series, interleave};

const POLICIES: usize = 1_000;
/// Sites, and how often everything is compiled. An overlay has numbers for 2,047 nodes, so no more than 2,045 sites beside
/// the anchors are compiled however many are declared.
const STEPS: [(usize, usize); 4] = [(50, 10), (500, 5), (2_045, 3), (5_000, 3)];

/// What is done to an inventory and with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Everything, from an inventory that was never compiled before.
    First,
    Site,
    Policy,
    /// Cutting all plans into fragments and hashing them.
    Publish,
}

impl Case {
    const ALL: [Case; 4] = [Case::First, Case::Site, Case::Policy, Case::Publish];

    fn words(self) -> &'static str {
        match self {
            Case::First => "everything, for the first time",
            Case::Site => "one site changed",
            Case::Policy => "one policy changed",
            Case::Publish => "all plans as fragments, hashed",
        }
    }
}

/// # Errors
/// When what is declared is wrong.
pub fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut smallest: Option<(usize, Vec<Series<f64>>)> = None;
    for (sites, rounds) in STEPS {
        let size = Size { sites, policies: POLICIES, segments: 0 };
        let mut bench = Bench::new(size)?;
        let plans = bench.compiled.plans.len();
        let series = interleave(&Case::ALL, rounds, Discipline::Saturating, |case| bench.run(*case).map(Some))?;
        let of = |case: Case, series: &Series<f64>| {
            let row = Row::of(format!("compile, {sites} sites, {POLICIES} policies: {}", case.words()), "ms", series);
            if plans == sites + ANCHORS.len() { row } else { row.noted(format!("{plans} plans: the overlay is full")) }
        };
        rows.extend(Case::ALL.into_iter().zip(&series).map(|(case, series)| of(case, series)));
        let one = &series[1];
        match &smallest {
            // what does not depend on the size of the fleet stays at 1
            Some((few, before)) => {
                let row = Row::of(format!("one site changed, {sites} sites beside {few}"), "ms", one);
                rows.push(row.compared(one, "the same with fewer", &before[1]));
            }
            None => smallest = Some((sites, series)),
        }
    }
    Ok(rows)
}

/// An inventory as the operator has it after its first compilation, and what came of that.
struct Bench {
    fresh: Inventory,
    inventory: Inventory,
    compiled: Compiled,
    /// As an operator has it, which has compiled everything before.
    compiler: Compiler,
    version: u16,
    middle: usize,
}

impl Bench {
    fn new(size: Size) -> Result<Bench> {
        let fresh = declared::inventory(size)?;
        let mut compiler = Compiler::default();
        let compiled = compiler.compile(&fresh);
        let inventory = Inventory { allocations: compiled.allocations.clone(), ..fresh.clone() };
        Ok(Bench { fresh, inventory, compiled, compiler, version: 0, middle: size.sites.min(2_000) / 2 })
    }

    /// Milliseconds.
    fn run(&mut self, case: Case) -> Result<f64> {
        self.version += 1;
        match case {
            Case::First | Case::Publish => {}
            Case::Site => declared::put(&mut self.inventory, &declared::segment(self.middle, self.version))?,
            Case::Policy => declared::put(&mut self.inventory, &declared::policy(POLICY, self.version))?,
        }
        let begin = clock::now();
        let took = match case {
            Case::First => kept(begin, compile(&self.fresh)),
            Case::Site | Case::Policy => kept(begin, self.compiler.compile(&self.inventory)),
            Case::Publish => kept(begin, hashes(&self.compiled)),
        };
        Ok(took.as_secs_f64() * 1e3)
    }
}

/// How long it took to make `result`, without the time to drop it.
fn kept<T>(begin: Duration, result: T) -> Duration {
    let took = clock::now() - begin;
    drop(result);
    took
}

/// As the operator cuts plans up that it has never published.
fn hashes(compiled: &Compiled) -> BTreeMap<String, BTreeMap<String, String>> {
    let of =
        |scopes| split(scopes).into_iter().map(|(name, json)| (name, canonical::sha256(json.as_bytes()))).collect();
    compiled.plans.iter().map(|(node, plan)| (node.clone(), of(&plan.scopes))).collect()
}
