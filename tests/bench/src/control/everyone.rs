//! A change that concerns everybody: another port of an anchor, which every site has to know. Beside it etcd alone, which
//! moves as many keys with values as long.

use std::time::Duration;

use anyhow::{Context, Result};
use pathsteer_lab::clock;

use super::declared::{self, ANCHORS};
use super::fleet::{Fleet, words};
use super::store::Change;
use crate::report::{Row, Target};
use crate::series::{Discipline, interleave};

/// From the design: milliseconds for 500 plans.
const EVERYBODY: f64 = 1_000.0;
const ROUNDS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(50);
/// Where etcd alone moves keys.
const ELSEWHERE: &str = "/bench/";

/// Who moves keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    Etcd,
}

/// What a run came to, milliseconds.
#[derive(Debug, Clone, Copy)]
struct Run {
    published: f64,
    acknowledged: f64,
}

/// # Errors
/// When a change does not arrive.
pub fn measure(fleet: &mut Fleet) -> Result<()> {
    // one of the anchors changes, and all sites with it; the other anchor does not
    let mut nodes: Vec<_> = (0..fleet.size.sites).map(declared::site).collect();
    nodes.push(ANCHORS[0].to_owned());
    let mut written: Vec<(usize, usize)> = Vec::new();
    let (mut plans, mut statuses) = (0, 0);
    let elsewhere = fleet.store.watch(ELSEWHERE)?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let series = interleave(&[Who::Operator, Who::Etcd], ROUNDS, Discipline::Saturating, |who| match who {
        Who::Operator => {
            let object = declared::anchor(0, fleet.version());
            let (begin, course) = fleet.put(&object, &nodes)?;
            let (published, acknowledged) = (course.published()? - begin, course.acknowledged()? - begin);
            (plans, statuses) = (course.plans(), course.statuses);
            written.clone_from(&course.written);
            Ok(Some(Run { published: milliseconds(published), acknowledged: milliseconds(acknowledged) }))
        }
        Who::Etcd => {
            fleet.rest()?;
            let keys = keys(&written);
            let last = keys.last().context("nothing was written")?.0.clone();
            // what the round before has deleted
            elsewhere.rest(QUIET, clock::now() + DEADLINE)?;
            let begin = clock::now();
            fleet.store.put_all(keys)?;
            let is_last = |change: &Change| change.key == last && change.at > begin && change.value.is_some();
            let arrived = elsewhere.until("the last key", clock::now() + DEADLINE, is_last)?.at;
            fleet.store.delete_all(ELSEWHERE)?;
            Ok(Some(Run { published: milliseconds(arrived - begin), acknowledged: milliseconds(arrived - begin) }))
        }
    })?;
    let [ours, etcd] = &series[..] else { return Ok(()) };
    let (published, ours, etcd) =
        (ours.map(|run| run.published), ours.map(|run| run.acknowledged), etcd.map(|run| run.published));
    let bytes: usize = written.iter().map(|(key, value)| key + value).sum();
    let what = words(fleet.size);
    let alone = format!("{what}: etcd alone moves as many keys in transactions of 100");
    let kilobytes = bytes as f64 / 1e3;
    let row = Row::of(format!("{what}: every plan changed, applied and acknowledged"), "ms", &ours)
        .compared(&ours, &alone, &etcd)
        .noted(format!("{plans} plans, {} keys, {kilobytes:.0} kB; {statuses} statuses beside", written.len()));
    fleet.rows.push(Row::of(&alone, "ms", &etcd));
    fleet.rows.push(Row::of(format!("{what}: every plan changed, the last published"), "ms", &published));
    fleet.rows.push(if fleet.size.sites == 500 { row.promised(Target::AtMost(EVERYBODY)) } else { row });
    Ok(())
}

/// Keys and values of these lengths, all different.
fn keys(written: &[(usize, usize)]) -> Vec<(String, String)> {
    let key = |number: usize, length: usize| {
        format!("{ELSEWHERE}{number:0width$}", width = length.saturating_sub(ELSEWHERE.len()).max(6))
    };
    written.iter().enumerate().map(|(number, (name, value))| (key(number, *name), "x".repeat(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_keys_with_values_as_long() {
        let written = [(40, 7), (33, 0)];
        let keys = keys(&written);
        assert_eq!(keys.iter().map(|(key, value)| (key.len(), value.len())).collect::<Vec<_>>(), written);
        assert_ne!(keys[0].0, keys[1].0);
    }
}
