//! Ten thousand objects and five hundred nodes: what a list takes, and how soon a watch hears.

use std::time::Duration;

use anyhow::Result;
use pathsteer_crds::keys;
use pathsteer_lab::clock;

use super::declared::{self, Size};
use super::edge::p99;
use super::fleet::Fleet;
use crate::node::Folders;
use crate::report::Row;
use crate::series::{Discipline, interleave};

/// 500 sites with 6 uplinks and 11 segments, 1,000 policies, 2 anchors and the fabric are 10,003 objects.
const SIZE: Size = Size { sites: 500, policies: 1_000, segments: 10 };
const ROUNDS: usize = 10;
const WATCHED: usize = 30;
const DEADLINE: Duration = Duration::from_secs(60);

/// # Errors
/// When the fleet does not get there, or something is not answered.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let mut fleet = Fleet::start(SIZE, folders)?;
    let user = fleet.operator.user()?;
    let objects = declared::all(SIZE).len();
    for (what, path) in [
        ("5,500 segments", "/v1/vlans"),
        ("1,000 policies", "/v1/trafficpolicies"),
        ("500 sites", "/v1/sites"),
        ("502 nodes with their reports", "/v1/nodes"),
    ] {
        let mut bytes = 0;
        let series = interleave(&[()], ROUNDS, Discipline::Saturating, |()| {
            let begin = clock::now();
            bytes = user.get(path)?.len();
            Ok(Some((clock::now() - begin).as_secs_f64() * 1e3))
        })?
        .remove(0);
        let row = Row::of(format!("{objects} objects: list {what}"), "ms", &series);
        fleet.rows.push(row.noted(format!("{:.1} MB", bytes as f64 / 1e6)));
    }
    watches(&mut fleet, objects)?;
    fleet.one_site(ROUNDS)?;
    fleet.memory("with all objects")?;
    Ok(fleet.rows)
}

/// From a put to what a watch hears of it, and to the operator's word about the object.
fn watches(fleet: &mut Fleet, objects: usize) -> Result<()> {
    let mut version = 0;
    let series = interleave(&[()], WATCHED, Discipline::Saturating, |()| {
        fleet.rest()?;
        version += 1;
        let object = declared::labelled_mode(version);
        let status = keys::status(object.kind, &object.key);
        let (key, value) = object.entry();
        let begin = clock::now();
        fleet.store.put(&key, &value)?;
        let heard = fleet.watch.until("the put", begin + DEADLINE, |change| change.key == key)?.at;
        let said = fleet.watch.until("its status", begin + DEADLINE, |change| change.key == status)?.at;
        Ok(Some([heard - begin, said - begin].map(|time| time.as_secs_f64() * 1e3)))
    })?
    .remove(0);
    let (heard, said) = (series.map(|[heard, _]| *heard), series.map(|[_, said]| *said));
    for (what, series) in [("put to a watch's word of it", &heard), ("put to the operator's status of it", &said)] {
        let row = |which: &str| Row::of(format!("{objects} objects: {what}, {which}"), "ms", series);
        fleet.rows.push(row("p50"));
        fleet.rows.push(Row { value: p99(series), ..row("p99") });
    }
    Ok(())
}
