//! An operator with a fleet of simulated nodes: one site's change, one policy's, everybody's, and the memory all of it takes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use pathsteer_crds::keys;
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use super::declared::{self, ANCHORS, Object, POLICY, Size};
use super::edge::p99;
use super::everyone;
use super::headquarters::Headquarters;
use super::nodes::{Course, Nodes};
use super::store::{Store, Watch};
use crate::node::{Folders, leak};
use crate::report::{Row, Target};
use crate::series::{Discipline, Series, interleave, load};

const POLICIES: usize = 1_000;
/// Sites, and how often one of them changes.
const STEPS: [(usize, usize); 2] = [(50, 30), (500, 30)];
/// One site's change is to take as long however many others there are; this is what a noisy machine makes of the same.
const INDEPENDENT: f64 = 1.5;
/// How often a policy that holds for all of them does.
const POLICY_ROUNDS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(300);
/// So long nothing is written when everything has been said about a change.
const QUIET: Duration = Duration::from_millis(300);
const MIB: f64 = 1_048_576.0;

/// A running operator and its nodes, all of which carry out their plans.
pub struct Fleet {
    pub nodes: Nodes,
    pub watch: Watch,
    pub store: Store,
    pub operator: Headquarters,
    pub size: Size,
    pub rows: Vec<Row>,
    version: u16,
}

/// # Errors
/// When a fleet does not get there.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut smallest: Option<(usize, Series<f64>)> = None;
    for (sites, rounds) in STEPS {
        let mut fleet = Fleet::start(Size { sites, policies: POLICIES, segments: 0 }, folders)?;
        let published = fleet.one_site(rounds)?;
        match &smallest {
            Some((few, before)) => {
                let row = Row::of(
                    format!("one site changed, put to plan published, {sites} sites beside {few}"),
                    "ms",
                    &published,
                );
                let row = row.compared(&published, "the same with fewer", before);
                fleet.rows.push(row.promised(Target::RatioAtMost(INDEPENDENT)));
            }
            None => smallest = Some((sites, published)),
        }
        fleet.one_policy(POLICY_ROUNDS)?;
        everyone::measure(&mut fleet)?;
        fleet.memory("after all that")?;
        rows.append(&mut fleet.rows);
    }
    Ok(rows)
}

impl Fleet {
    /// Declares everything to a new operator, and lets all nodes begin at once.
    ///
    /// # Errors
    /// When they do not get there.
    pub fn start(size: Size, folders: &Folders) -> Result<Fleet> {
        let host = Host::new(leak(&format!("hq-{}-{}", size.sites, size.segments)))?;
        host.publish()?;
        let operator = Headquarters::open(&host, folders)?;
        let store = operator.store()?;
        let watch = store.watch(keys::ROOT)?;
        let (load, mut rows) = (load()?, Vec::new());
        let what = words(size);
        let empty = operator.resident()?;
        let objects = declared::all(size);
        rows.push(Row::read(format!("{what}: objects declared"), "", objects.len() as f64, load));
        let begin = clock::now();
        store.put_all(objects.iter().map(Object::entry))?;
        let put = clock::now() - begin;
        let names: Vec<_> = (0..size.sites).map(declared::site).chain(ANCHORS.map(str::to_owned)).collect();
        let mut left: BTreeSet<_> = names.iter().map(|node| keys::plan_root(node)).collect();
        let last = watch.until("every node's first plan", begin + DEADLINE, |change| {
            left.remove(&change.key);
            left.is_empty()
        })?;
        let read = |what: String, took: Duration| Row::read(what, "ms", took.as_secs_f64() * 1e3, load);
        rows.push(read(format!("{what}: all put in etcd, in transactions of 100"), put));
        rows.push(read(format!("{what}: from the first put to the last plan published"), last.at - begin));
        let mut nodes = Nodes::start(&operator, names, folders)?;
        let begin = clock::now();
        nodes.in_force(&store)?;
        rows.push(read(format!("{what}: all nodes begin at once, until all have acknowledged"), clock::now() - begin));
        rows.push(Row::read("the operator before anything is declared", "MiB", empty as f64 / MIB, load));
        let mut fleet = Fleet { nodes, watch, store, operator, size, rows, version: 0 };
        fleet.rest()?;
        fleet.memory("when all have begun")?;
        Ok(fleet)
    }

    /// Waits until nothing more is said.
    ///
    /// # Errors
    /// When something has ended, or there is no end to it.
    pub fn rest(&mut self) -> Result<()> {
        self.operator.check()?;
        self.nodes.process.check()?;
        self.watch.rest(QUIET, clock::now() + DEADLINE)
    }

    /// The next version of something.
    pub fn version(&mut self) -> u16 {
        self.version += 1;
        self.version
    }

    /// Puts `object` and follows what comes of it at `nodes`; when it was put, and its course.
    ///
    /// # Errors
    /// When it does not come.
    pub fn put(&mut self, object: &Object, nodes: &[String]) -> Result<(Duration, Course)> {
        self.rest()?;
        let (key, value) = object.entry();
        let begin = clock::now();
        let revision = self.store.put(&key, &value)?;
        Ok((begin, Course::of(revision, nodes, &self.watch)?))
    }

    /// One site after another has another address on its segment. How long it took until its plan was published.
    ///
    /// # Errors
    /// When that does not arrive.
    pub fn one_site(&mut self, rounds: usize) -> Result<Series<f64>> {
        let sites = self.size.sites;
        let mut number = 0;
        let once = |()| {
            number = (number + 7) % sites;
            let object = declared::segment(number, self.version());
            let (begin, course) = self.put(&object, &[declared::site(number)])?;
            Ok(Some([course.published()? - begin, course.acknowledged()? - begin].map(|time| time.as_secs_f64() * 1e3)))
        };
        let mut once = once;
        let series = interleave(&[()], rounds, Discipline::Saturating, |()| once(()))?.remove(0);
        let what = words(self.size);
        let published = series.map(|[published, _]| *published);
        let acknowledged = series.map(|[_, acknowledged]| *acknowledged);
        let row =
            |words: &str, series: &Series<f64>| Row::of(format!("{what}: one site changed, {words}"), "ms", series);
        self.rows.push(row("put to plan published, p50", &published));
        self.rows.push(row("put to carried out and acknowledged, p50", &acknowledged));
        let slow = row("put to carried out and acknowledged, p99", &acknowledged);
        self.rows.push(Row { value: p99(&acknowledged), ..slow });
        Ok(published)
    }

    fn one_policy(&mut self, rounds: usize) -> Result<()> {
        let nodes: Vec<_> = (0..self.size.sites).map(declared::site).chain(ANCHORS.map(str::to_owned)).collect();
        let mut bytes = 0;
        let once = |()| {
            let object = declared::policy(POLICY, self.version());
            let (begin, course) = self.put(&object, &nodes)?;
            bytes = course.written.iter().map(|(key, value)| key + value).sum::<usize>();
            Ok(Some([course.published()? - begin, course.acknowledged()? - begin].map(|time| time.as_secs_f64() * 1e3)))
        };
        let mut once = once;
        let series = interleave(&[()], rounds, Discipline::Saturating, |()| once(()))?.remove(0);
        let what = words(self.size);
        let row = |words: &str, series: &Series<f64>| {
            Row::of(format!("{what}: one policy of {POLICIES} changed, {words}"), "ms", series)
        };
        self.rows.push(row("put to the last plan published", &series.map(|[published, _]| *published)));
        let all = row("put to all carried out and acknowledged", &series.map(|[_, acknowledged]| *acknowledged));
        self.rows.push(all.noted(format!("{:.1} MB written", bytes as f64 / 1e6)));
        Ok(())
    }

    /// The operator's memory, in all and by site.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&mut self, when: &str) -> Result<()> {
        let (load, what) = (load()?, words(self.size));
        let resident = self.operator.resident()? as f64;
        self.rows.push(Row::read(format!("{what}: the operator {when}"), "MiB", resident / MIB, load));
        let by_site = resident / 1_024.0 / self.size.sites as f64;
        self.rows.push(Row::read(format!("{what}: the operator {when}, by site"), "KiB", by_site, load));
        Ok(())
    }
}

/// What is declared, in words.
pub fn words(size: Size) -> String {
    format!("{} sites", size.sites)
}
